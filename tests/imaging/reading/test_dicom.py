"""DICOM pictures: shown as the standard says, refused in one line, and silent about the patient."""

from __future__ import annotations

import logging
import struct
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pydicom
import pytest
import torch
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.pixels import apply_windowing
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from cfcam.errors import CfcamError, ImageError, InputError
from cfcam.imaging import list_images, read_image
from cfcam.imaging.reading.dicom import read_dicom
from cfcam.imaging.reading.dicom_object import quiet
from cfcam.imaging.windows import WINDOWS, windowed
from tests.imaging.dicoms import (
    AXIAL,
    PLANTED,
    base,
    ct,
    enhanced,
    phantom,
    radiograph,
    rotated,
    save,
    ultrasound,
    with_pixels,
)
from tests.waiting import PATIENCE

RAMP = np.arange(4096).reshape(64, 64)


def complaint(call, *args, **options):
    with pytest.raises(CfcamError) as caught:
        call(*args, **options)
    message = str(caught.value)
    assert message.isprintable()  # and so in one line
    assert ";" in message  # what is wrong; what to do
    assert not any(word in message for word in PLANTED)
    return message


def offline(name):
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"pydicom does not bring {name} along")
    return path


# --- grey values


def test_without_a_window_the_values_span_black_to_white(tmp_path):
    image = read_image(save(radiograph(RAMP), tmp_path / "a.dcm"))
    assert image.pixels.dtype == np.uint16
    np.testing.assert_array_equal(image.pixels, np.rint(RAMP / 4095 * 65535))
    assert image.spacing == (0.2, 0.1)
    assert image.affine is None


def test_monochrome_1_is_white_where_it_is_low(tmp_path):
    up = read_image(save(radiograph(RAMP), tmp_path / "a.dcm")).pixels
    down = read_image(save(radiograph(RAMP, photometric="MONOCHROME1"), tmp_path / "b.dcm")).pixels
    np.testing.assert_array_equal(down, 65535 - up)


def test_a_presentation_shape_inverts_once_even_beside_monochrome_1(tmp_path):
    ds = radiograph(RAMP, photometric="MONOCHROME1")
    ds.PresentationLUTShape = "INVERSE"
    assert read_image(save(ds, tmp_path / "a.dcm")).pixels[0, 0] == 65535
    ds.PhotometricInterpretation = "MONOCHROME2"
    assert read_image(save(ds, tmp_path / "b.dcm")).pixels[0, 0] == 65535


def test_the_first_window_of_the_file_is_used_on_rescaled_values(tmp_path):
    path = save(ct(RAMP, (0, 0, 0)), tmp_path / "a.dcm")  # intercept -1024, windows 40/400 and -600/1500
    image = read_image(path)
    hounsfield = RAMP - 1024.0
    expected = np.clip((hounsfield - 39.5) / 399 + 0.5, 0, 1)
    np.testing.assert_array_equal(image.pixels, np.rint(expected * 65535))


@pytest.mark.filterwarnings("ignore:overflow")  # of theirs
@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("centre", "width"), [(40, 400), (0, 1), (-600.5, 1500.25)])
def test_windows_are_those_of_pydicom(function, centre, width):
    ds = with_pixels(base("1.2.840.10008.5.1.4.1.1.2", "CT"), RAMP, signed=True)
    ds.WindowCenter, ds.WindowWidth, ds.VOILUTFunction = centre, width, function
    theirs = apply_windowing((RAMP - 2048).astype(np.int16), ds)
    ours = windowed(RAMP - 2048, (centre, width), function)
    np.testing.assert_allclose(ours, (theirs + 32768) / 65535, atol=1e-6)


def test_a_window_may_be_chosen_by_numbers_or_by_name(tmp_path):
    path = save(ct(RAMP, (0, 0, 0)), tmp_path / "a.dcm")
    lung = read_dicom(path, window="lung")
    np.testing.assert_array_equal(lung.pixels, read_dicom(path, window=WINDOWS["lung"]).pixels)
    np.testing.assert_array_equal(lung.pixels, np.rint(windowed(RAMP - 1024.0, (-600, 1500)) * 65535))
    with pytest.raises(InputError, match="no window is called 'lungs'"):
        read_dicom(path, window="lungs")
    with pytest.raises(InputError, match="width above 0"):
        read_dicom(path, window=(40, 0))


def test_a_voi_table_goes_before_a_window(tmp_path):
    ds = radiograph(np.arange(16).reshape(4, 4), bits=8)
    ds.RescaleSlope, ds.RescaleIntercept = 1, 0  # as CR files have it: values are still whole
    ds.WindowCenter, ds.WindowWidth = 8, 16
    table = Dataset()
    table.LUTDescriptor = [4, 6, 8]
    table.add_new(0x00283006, "US", [10, 20, 200, 255])
    ds.VOILUTSequence = Sequence([table])
    image = read_image(save(ds, tmp_path / "a.dcm"))
    expected = np.array([10] * 7 + [20, 200] + [255] * 7).reshape(4, 4) / 255
    np.testing.assert_array_equal(image.pixels, np.rint(expected * 65535))


def test_a_modality_table_is_applied(tmp_path):
    ds = radiograph(np.array([[0, 1], [2, 3]]), bits=8)
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [4, 0, 16], "OD"
    table.add_new(0x00283006, "US", [0, 100, 100, 1000])
    ds.ModalityLUTSequence = Sequence([table])
    pixels = read_image(save(ds, tmp_path / "a.dcm")).pixels
    np.testing.assert_array_equal(pixels, np.rint(np.array([[0, 0.1], [0.1, 1]]) * 65535))


def test_a_window_that_leaves_nothing_to_see_is_not_used(tmp_path):
    ds = radiograph(RAMP)
    ds.WindowCenter, ds.WindowWidth = 90000, 100
    assert np.ptp(read_image(save(ds, tmp_path / "a.dcm")).pixels) == 65535
    ds.WindowWidth = -3
    assert np.ptp(read_image(save(ds, tmp_path / "b.dcm")).pixels) == 65535


def test_padding_is_black_and_does_not_stretch_the_rest(tmp_path):
    stored = np.full((8, 8), 3000)
    stored[4:] = 2000
    stored[:, :2] = 0
    ds = radiograph(stored, photometric="MONOCHROME1")
    ds.PixelPaddingValue = 0
    pixels = read_image(save(ds, tmp_path / "a.dcm")).pixels
    assert (pixels[:, :2] == 0).all()
    assert (pixels[:4, 2:] == 0).all()
    assert (pixels[4:, 2:] == 65535).all()


def test_signed_values_of_a_real_scan():
    path = offline("CT_small.dcm")
    ds = pydicom.dcmread(path)
    stored = ds.pixel_array.astype(np.float64)
    expected = (stored - stored.min()) / np.ptp(stored)
    np.testing.assert_allclose(read_image(path).pixels / 65535, expected, atol=1e-5)


# --- colours, frames, geometry


def test_frames_and_calibration_of_an_ultrasound_loop(tmp_path):
    frames = np.random.default_rng(1).integers(0, 256, (3, 8, 10, 3))
    path = save(ultrasound(frames), tmp_path / "a.dcm")
    np.testing.assert_array_equal(read_image(path).pixels, frames[0])
    np.testing.assert_array_equal(read_dicom(path, frame=2).pixels, frames[2])
    assert "it holds 3 frames: the first is read" in read_image(path).notices
    assert "it holds 3 frames: number 3 is read" in read_dicom(path, frame=2).notices
    assert read_image(path).spacing == (0.3, 0.2)  # from 0.03 and 0.02 cm
    with pytest.raises(InputError, match="no frame 3: give 0 to 2"):
        read_dicom(path, frame=3)


@pytest.mark.parametrize(
    "name", ["examples_palette.dcm", "examples_ybr_color.dcm", "SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_rle_16bit.dcm"]
)
def test_colours_of_real_files(name):
    from PIL import Image as PILImage

    path = offline(name)
    image = read_image(path)
    ds = pydicom.dcmread(path)
    theirs = pydicom.pixels.pixel_array(path, index=0)
    if ds.PhotometricInterpretation == "PALETTE COLOR":
        theirs = pydicom.pixels.apply_color_lut(theirs, ds)
    np.testing.assert_array_equal(image.pixels, theirs)
    assert PILImage.fromarray(image.rgb()).mode == "RGB"


def test_the_place_of_a_slice_is_kept(tmp_path):
    axes = rotated(AXIAL, 20)
    image = read_image(save(ct(RAMP, (10, 20, 30), axes), tmp_path / "a.dcm"))
    assert image.spacing == (0.8, 0.7)
    row, column = 5, 9
    place = np.array(image.affine) @ (row, column, 0, 1)
    lps = np.array([10, 20, 30]) + column * 0.7 * np.array(axes[0]) + row * 0.8 * np.array(axes[1])
    np.testing.assert_allclose(place[:3], lps * (-1, -1, 1), atol=1e-4)


def test_a_frame_of_an_enhanced_object_has_its_own_values(tmp_path):
    stored = phantom((3, 8, 8))
    path = save(enhanced(stored, slopes=[1, 2, 3]), tmp_path / "a.dcm")
    image = read_dicom(path, frame=1, window=(0, 2000))
    np.testing.assert_array_equal(image.pixels, np.rint(windowed(stored[1] * 2 - 1024.0, (0, 2000)) * 65535))
    assert image.spacing == (0.8, 0.7)
    assert np.array(image.affine)[2, 3] == pytest.approx(52.5)


def test_pictures_in_a_folder_are_found(tmp_path):
    save(radiograph(RAMP), tmp_path / "b.DCM")
    save(radiograph(RAMP), tmp_path / "a.dicom")
    assert [p.name for p in list_images(tmp_path)] == ["a.dicom", "b.DCM"]


def test_a_file_without_a_preamble_is_known_by_its_name(tmp_path):
    ds = radiograph(RAMP)
    del ds.file_meta
    ds.save_as(tmp_path / "old.dcm", implicit_vr=True, little_endian=True)
    assert read_image(tmp_path / "old.dcm").size == (64, 64)


def test_a_picture_called_dcm_is_still_a_picture(tmp_path):
    from PIL import Image as PILImage

    PILImage.fromarray(RAMP.astype(np.uint8)).save(tmp_path / "a.dcm", format="PNG")
    np.testing.assert_array_equal(read_image(tmp_path / "a.dcm").pixels, RAMP.astype(np.uint8))


# --- transfer syntaxes


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_lossless_compression_changes_nothing(tmp_path, syntax, bits):
    stored = np.random.default_rng(2).integers(0, 2**bits, (33, 47))
    plain = read_image(save(radiograph(stored, bits=bits), tmp_path / "plain.dcm"))
    ds = radiograph(stored, bits=bits)
    ds.compress(syntax)
    np.testing.assert_array_equal(read_image(save(ds, tmp_path / "packed.dcm")).pixels, plain.pixels)


def test_compressed_frames_are_decoded_one_by_one(tmp_path):
    frames = np.random.default_rng(2).integers(0, 256, (4, 16, 16, 3))
    ds = ultrasound(frames)
    ds.compress(RLELossless)
    np.testing.assert_array_equal(read_dicom(save(ds, tmp_path / "a.dcm"), frame=3).pixels, frames[3])


@pytest.mark.parametrize(
    "name",
    [
        "MR_small_bigendian.dcm", "MR_small_expb.dcm", "MR_small_implicit.dcm", "MR_small_RLE.dcm",
        "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_padded.dcm",
    ],
)  # fmt: skip
def test_one_real_scan_in_every_syntax(name):
    np.testing.assert_array_equal(read_image(offline(name)).pixels, read_image(offline("MR_small.dcm")).pixels)


def test_deflated_files(tmp_path):
    ds = radiograph(RAMP)
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    assert read_image(save(ds, tmp_path / "a.dcm")).pixels.max() == 65535


# --- what is refused


def test_an_object_without_pixels(tmp_path):
    message = complaint(read_image, save(base("1.2.840.10008.5.1.4.1.1.88.33", "SR"), tmp_path / "a.dcm"))
    assert "is a DICOM file without pixels" in message
    ds = radiograph(RAMP)
    del ds.PixelData
    assert "pixels are missing" in complaint(read_image, save(ds, tmp_path / "b.dcm"))
    for name in ("rtplan.dcm", "test-SR.dcm", "reportsi.dcm"):
        assert "without pixels" in complaint(read_image, offline(name))


def test_pixels_that_are_cut_off(tmp_path):
    assert "cut off (8130 of 8192 bytes)" in complaint(read_image, offline("MR_truncated.dcm"))
    ds = radiograph(RAMP)
    ds.NumberOfFrames = 3  # missing frames
    assert "cut off (8192 of 24576 bytes)" in complaint(read_image, save(ds, tmp_path / "a.dcm"))


def test_a_wrong_transfer_syntax(tmp_path):
    ds = radiograph(RAMP, bits=8)
    ds.compress(RLELossless)
    data = save(ds, tmp_path / "a.dcm").read_bytes()
    lying = data.replace(b"1.2.840.10008.1.2.5\0", b"1.2.840.10008.1.2.1\0")
    assert lying != data
    (tmp_path / "b.dcm").write_bytes(lying)
    assert "transfer syntax is wrong" in complaint(read_image, tmp_path / "b.dcm")
    # RLE fragments called JPEG
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    assert "not what its transfer syntax says, JPEG Baseline" in complaint(read_image, save(ds, tmp_path / "c.dcm"))
    ds.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.100")  # MPEG-2
    assert "not one of pictures" in complaint(read_image, save(ds, tmp_path / "d.dcm"))


def test_a_compressed_stream_that_claims_a_picture_of_terabytes(tmp_path):
    ds = radiograph(RAMP, bits=12)
    ds.compress(JPEG2000Lossless)
    data = save(ds, tmp_path / "a.dcm").read_bytes()
    start = data.index(b"\xff\x4f\xff\x51") + 8
    (tmp_path / "b.dcm").write_bytes(data[:start] + struct.pack(">2I", 4_000_000, 4_000_000) + data[start + 8 :])
    assert "claim to be 4000000 x 4000000, its header says 64 x 64" in complaint(read_image, tmp_path / "b.dcm")


def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    path = save(radiograph(RAMP), tmp_path / "a.dcm")
    monkeypatch.setattr("cfcam.imaging.reading.dicom.decoded", lambda *args: pytest.fail("was decoded"))
    assert "0.004096 megapixels (64 x 64)" in complaint(read_image, path, max_pixels=4095)


@pytest.mark.parametrize("content", [b"", b"DICM", bytes(128) + b"DICM", bytes(200), b"not a picture"])
def test_what_is_no_dicom_at_all(tmp_path, content):
    (tmp_path / "a.dcm").write_bytes(content)
    complaint(read_image, tmp_path / "a.dcm")


def test_files_of_pydicom_are_read_or_refused_in_a_line():
    folder = __import__("pathlib").Path(offline("CT_small.dcm")).parent
    read = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # pydicom's never come through
        for path in sorted(folder.glob("*.dcm")):
            try:
                read += read_image(path).pixels.size > 0
            except CfcamError as error:
                assert str(error).isprintable()  # noqa: PT017
    assert read >= 55


# --- identity


def test_nothing_of_the_patient_is_parsed(tmp_path):
    from cfcam.imaging.reading.dicom_object import parsed

    path = save(ct(RAMP, (0, 0, 0)), tmp_path / "a.dcm")
    with parsed(path.read_bytes(), "a.dcm") as ds:
        text = str(ds)
    assert "Pixel Data" in text
    assert not any(word in text for word in PLANTED)


def test_mutated_files_neither_crash_nor_tell(tmp_path, caplog, capfd):
    """Bytes changed, cut out and repeated; what pydicom says of them stays inside."""
    rng = np.random.default_rng(5)
    packed = radiograph(RAMP[:32, :32], bits=8)
    packed.compress(JPEG2000Lossless)
    originals = [
        save(ct(RAMP[:16, :16], (0, 0, 0)), tmp_path / "ct.dcm").read_bytes(),
        save(enhanced(phantom((2, 8, 8))), tmp_path / "enhanced.dcm").read_bytes(),
        save(packed, tmp_path / "packed.dcm").read_bytes(),
    ]
    path = tmp_path / "mutated.dcm"
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings():
        warnings.simplefilter("error")
        for n in range(240):
            data = bytearray(originals[n % len(originals)])
            header = len(data) - 600 if n % 2 else len(data)
            for _ in range(int(rng.integers(1, 8))):
                at = int(rng.integers(128, max(header, 200)))
                kind = rng.integers(3)
                if kind == 0:
                    data[at] = int(rng.integers(256))
                elif kind == 1:
                    del data[at : at + int(rng.integers(1, 40))]
                else:
                    data[at:at] = data[at : at + int(rng.integers(1, 40))]
                header = min(header, len(data))
            path.write_bytes(data)
            try:
                read_image(path)
            except CfcamError as error:
                message = str(error)
                assert message.isprintable()
                assert not any(word in message for word in PLANTED), message
    assert not any(word in record.getMessage() for record in caplog.records for word in PLANTED)
    out, err = capfd.readouterr()
    assert not any(word in out + err for word in PLANTED)


def test_pydicom_may_warn_again_afterwards(tmp_path):
    filters = list(warnings.filters)
    read_image(save(radiograph(RAMP), tmp_path / "a.dcm"))
    assert list(warnings.filters) == filters
    with pytest.warns(UserWarning, match="heard"):
        pydicom.misc.warn_and_log("heard")


def test_threads_are_silent_side_by_side_and_the_last_one_gives_back_what_was_before():
    """Of two that overlap neither waits for the other, nor ends the other's silence."""
    log = logging.getLogger("pydicom")
    before = log.level, list(warnings.filters)
    inside, leave = threading.Event(), threading.Event()

    def first():
        with quiet():
            inside.set()
            assert leave.wait(PATIENCE)

    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(first)
        assert inside.wait(PATIENCE)
        with quiet():
            leave.set()
            ended.result(PATIENCE)
            assert log.level > logging.CRITICAL
            assert warnings.filters[0][0] == "ignore"
        assert (log.level, list(warnings.filters)) == before


def test_a_missing_library_is_named_with_its_command(tmp_path, monkeypatch):
    path = save(radiograph(RAMP), tmp_path / "a.dcm")
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(ImportError, match=r"reading DICOM needs pydicom.*pip install 'cfcam\[dicom\]'"):
        read_image(path)


def test_reading_changes_no_random_state(tmp_path):
    before = torch.get_rng_state()
    read_image(save(radiograph(RAMP), tmp_path / "a.dcm"))
    assert torch.get_rng_state().equal(before)


def test_an_unknown_window_is_found_before_the_file_is_decoded(tmp_path):
    ds = radiograph(RAMP)
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    with pytest.raises(InputError):
        read_dicom(save(ds, tmp_path / "a.dcm"), window="bones")
    with pytest.raises(ImageError, match="no such file"):
        read_dicom(tmp_path / "none.dcm")
