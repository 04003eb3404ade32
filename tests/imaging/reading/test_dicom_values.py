"""What stored values mean: padding, rescaling, bits, windows, proportions, frames that pydicom does not open."""

from __future__ import annotations

import zlib

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from cfcam.errors import ImageError
from cfcam.imaging import read_image, read_volume
from cfcam.imaging.drawing.planes import VolumeView
from cfcam.imaging.reading.dicom import read_dicom
from cfcam.imaging.windows import windowed
from tests.imaging.dicoms import base, ct, ct_series, enhanced, phantom, radiograph, save, with_pixels
from tests.jobs.world import run

GREYS = np.arange(256).reshape(16, 16)


def words(ds, array, kind):
    """Puts an array into a dataset as words of a kind, whatever the header says of them."""
    ds.PixelData = np.asarray(array).astype(kind).tobytes()
    ds["PixelData"].VR = "OW" if np.dtype(kind).itemsize > 1 else "OB"
    ds.BitsAllocated = 8 * np.dtype(kind).itemsize
    return ds


def grey(array, kind, bits=None, *, high=None, syntax=ExplicitVRLittleEndian):
    kind = np.dtype(kind)
    ds = with_pixels(base("1.2.840.10008.5.1.4.1.1.7", "OT"), np.zeros(np.shape(array)))
    ds.file_meta.TransferSyntaxUID = syntax
    words(ds, array, kind.newbyteorder(">" if syntax == ExplicitVRBigEndian else "<"))
    ds.BitsStored = bits or ds.BitsAllocated
    ds.HighBit = ds.BitsStored - 1 if high is None else high
    ds.PixelRepresentation = int(kind.kind == "i")
    return ds


# --- padding


PADDINGS = [
    ("i2", None, -2000, "US", 63536), ("i2", None, -2000, "SS", -2000), ("i2", None, -2000, "OW", b"\x30\xf8"),
    ("u2", None, 63536, "SS", -2000), ("u2", None, 63536, "US", 63536), ("u2", 12, 63536, "US", 63536),
    ("u2", 12, 63536, "SS", -2000), ("i2", 12, -2000, "US", 63536), ("i2", 12, -32768, "US", 32768),
    ("u1", None, 255, "US", 255), ("u1", None, 255, "SS", -1), ("i1", None, -128, "US", 128),
    ("i1", None, -128, "US", 65408), ("i4", None, -2000, "SS", -2000), ("u4", None, 63536, "SS", -2000),
]  # fmt: skip


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless])
@pytest.mark.parametrize(("kind", "bits", "value", "vr", "written"), PADDINGS)
def test_padding_is_known_by_its_bits(tmp_path, kind, bits, value, vr, written, syntax):
    """Written signed or unsigned, beyond the stored bits or not: what it is follows from the pixels."""
    stored = np.linspace(0, 100, 256).round().reshape(16, 16)
    stored[0, :4] = value
    ds = grey(stored, kind, bits)
    ds.add_new("PixelPaddingValue", vr, written)
    if syntax == RLELossless and ds.BitsAllocated < 32:
        ds.compress(syntax, generate_instance_uid=False)
    else:
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax == RLELossless else syntax
    pixels = read_image(save(ds, tmp_path / "a.dcm")).pixels
    assert (pixels[0, :4] == 0).all()
    kept = stored[1:]
    low, high = stored.ravel()[4], 100
    np.testing.assert_array_equal(pixels[1:], np.rint((kept - low) / (high - low) * 65535))


@pytest.mark.parametrize(
    ("kind", "vr", "value", "limit"),
    [("i2", "US", 63536, 63537), ("i2", "SS", -1999, -2000), ("u2", "SS", -2000, -1999)],
)
def test_the_limit_of_padding_too(tmp_path, kind, vr, value, limit):
    """PS3.3 C.7.5.1.1.2: both ends belong to it, whichever is the greater."""
    stored = GREYS.copy()
    stored[0, :2] = (-2000, -1999) if kind == "i2" else (63536, 63537)
    ds = grey(stored, kind)
    ds.add_new("PixelPaddingValue", vr, value)
    ds.add_new("PixelPaddingRangeLimit", vr, limit)
    pixels = read_image(save(ds, tmp_path / "a.dcm")).pixels
    assert (pixels[0, :2] == 0).all()
    assert pixels[0, 2] == 0
    assert pixels[-1, -1] == 65535


@pytest.mark.parametrize(("vr", "written"), [("US", 0x800), ("US", 0xF800), ("SS", -2048)])
def test_padding_of_signed_values_may_be_written_in_the_stored_bits_alone(tmp_path, vr, written):
    stored = GREYS.astype(int).copy()
    stored[0, :4] = -2048
    ds = grey(stored, "i2", 12)
    ds.add_new("PixelPaddingValue", vr, written)
    pixels = read_image(save(ds, tmp_path / "a.dcm")).pixels
    low, high = stored.ravel()[4], stored.max()
    np.testing.assert_array_equal(pixels[1:], np.rint((stored[1:] - low) / (high - low) * 65535))
    assert (pixels[0, :4] == 0).all()


@pytest.mark.parametrize(("keyword", "kind", "name"), [("Float", "f4", "FL"), ("DoubleFloat", "f8", "FD")])
def test_padding_of_fractions(tmp_path, keyword, kind, name):
    stored = np.linspace(0, 1, 16).reshape(4, 4)
    stored[0, :2] = -1e30, -1e20
    ds = grey(np.zeros((4, 4)), "u2")
    del ds.PixelData, ds.PixelRepresentation, ds.BitsStored, ds.HighBit
    ds.BitsAllocated = 8 * np.dtype(kind).itemsize
    setattr(ds, f"{keyword}PixelData", stored.astype(f"<{kind}").tobytes())
    ds.add_new(f"{keyword}PixelPaddingValue", name, -1e30)
    ds.add_new(f"{keyword}PixelPaddingRangeLimit", name, -1e20)
    pixels = read_image(save(ds, tmp_path / "a.dcm")).pixels
    assert pixels[0].tolist() == [0, 0, 0, round(65535 / 13)]


def test_padding_in_volumes_and_in_frames(tmp_path):
    stored = np.broadcast_to(GREYS, (3, 16, 16)).astype(int) - 128
    stored[:, 0, :4] = -2000
    for n in range(3):
        ds = ct(stored[n], (0, 0, 2.5 * n), slope=2, intercept=10)
        words(ds, stored[n], "<i2").PixelRepresentation = 1
        ds.add_new("PixelPaddingValue", "US", 63536)
        save(ds, tmp_path / "series" / f"{n}.dcm")
    ds = words(enhanced(stored, slopes=[2, 2, 2]), stored, "<i2")
    ds.PixelRepresentation = 1
    ds.add_new("PixelPaddingValue", "US", 63536)
    save(ds, tmp_path / "frames.dcm")
    for path, intercept in ((tmp_path / "series", 10), (tmp_path / "frames.dcm", -1024)):
        volume = read_volume(path)
        assert volume.voxels.min() == (-128 + 4) * 2 + intercept
        np.testing.assert_array_equal(volume.voxels[0, 1:], stored[0, 1:] * 2 + intercept)


# --- bits


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless])
@pytest.mark.parametrize("kind", ["u2", "i2"])
@pytest.mark.parametrize(("bits", "high"), [(12, 11), (12, 15), (10, 12), (16, 15)])
def test_values_between_other_bits(tmp_path, syntax, kind, bits, high):
    """PS3.5 8.1.1: overlays and noise in bits that are not stored belong to no value; old files store at the top."""
    values = np.linspace(-(2 ** (bits - 1)) * (kind == "i2"), 2 ** (bits - 1) - 1, 256).round().astype(int)
    stored = (values & (2**bits - 1)) << (high + 1 - bits)
    noise = np.random.default_rng(0).integers(0, 2**16, 256) & ~(((1 << bits) - 1) << (high + 1 - bits)) & 0xFFFF
    ds = grey((stored | noise).astype("u2").view(kind).reshape(16, 16), kind, bits, high=high)
    if syntax == RLELossless:
        ds.compress(syntax, generate_instance_uid=False)
    elif syntax == ExplicitVRBigEndian:
        words(ds, np.frombuffer(ds.PixelData, "<u2"), ">u2")
    ds.file_meta.TransferSyntaxUID = syntax
    pixels = read_image(save(ds, tmp_path / "a.dcm")).pixels
    np.testing.assert_array_equal(pixels.ravel(), np.rint((values - values[0]) / np.ptp(values) * 65535))


@pytest.mark.parametrize(("bits", "high"), [(12, 10), (12, 16)])
def test_bits_that_cannot_be(tmp_path, bits, high):
    with pytest.raises(ImageError, match=f"says that 12 bits end at bit {high} of 16, which cannot be; "):
        read_image(save(grey(GREYS, "u2", bits, high=high), tmp_path / "a.dcm"))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4"])
def test_every_width_and_order(tmp_path, kind, syntax):
    info = np.iinfo(kind)
    values = np.linspace(info.min, info.max, 256).round().reshape(16, 16)
    stored = values.clip(info.min, info.max).astype(np.int64)
    ds = grey(stored, kind, syntax=syntax)
    pixels = read_image(save(ds, tmp_path / "a.dcm")).pixels
    np.testing.assert_allclose(pixels, (values - info.min) / (float(info.max) - info.min) * 65535, atol=0.51)


def test_single_bits(tmp_path):
    marks = np.random.default_rng(1).integers(0, 2, (9, 11))
    ds = grey(marks, "u1", 1)
    ds.BitsAllocated, ds.PixelData = 1, np.packbits(marks, axis=None, bitorder="little").tobytes() + b"\0"
    np.testing.assert_array_equal(read_image(save(ds, tmp_path / "a.dcm")).pixels, marks * 65535)


@pytest.mark.parametrize("kind", ["HSV", "ARGB", "CMYK", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "MONOCHROME2", "NONE"])
def test_colours_that_are_not_red_green_and_blue_are_refused(tmp_path, kind):
    ds = with_pixels(base("1.2.840.10008.5.1.4.1.1.7", "OT"), np.zeros((4, 4, 3)), bits=8)
    ds.PhotometricInterpretation = kind
    with pytest.raises(ImageError, match=r"colours that are .*; export it in RGB or in grey"):
        read_image(save(ds, tmp_path / "a.dcm"))


# --- rescaling


def test_slope_or_intercept_alone(tmp_path):
    ds = ct(GREYS, (0, 0, 0), slope=2)
    del ds.RescaleIntercept
    expected = np.rint(windowed(GREYS * 2, (255, 510)) * 65535)
    np.testing.assert_array_equal(read_dicom(save(ds, tmp_path / "a.dcm"), window=(255, 510)).pixels, expected)
    ds.RescaleIntercept, ds.RescaleSlope = -100, None
    expected = np.rint(windowed(GREYS - 100.0, (0, 200)) * 65535)
    np.testing.assert_array_equal(read_dicom(save(ds, tmp_path / "b.dcm"), window=(0, 200)).pixels, expected)


def test_a_slope_of_0_is_refused(tmp_path):
    for read, name in ((read_image, "a.dcm"), (read_volume, "")):
        save(ct(GREYS, (0, 0, 0), slope=0), tmp_path / "a.dcm")
        with pytest.raises(ImageError, match="its rescale slope is 0, so that its values are lost; "):
            read(tmp_path / name)


def test_a_dose_is_in_grays(tmp_path):
    for n in range(3):
        ds = ct(GREYS + 10 * n, (0, 0, 2.5 * n), slope=1, intercept=0)
        ds.Modality, ds.DoseGridScaling = "RTDOSE", 0.01
        save(ds, tmp_path / f"{n}.dcm")
    np.testing.assert_allclose(read_volume(tmp_path).voxels[2], (GREYS + 20) / 100, rtol=1e-6)


# --- windows


def with_window(folder, function, *, centre=100.0, width=50.0):
    for n in range(3):
        ds = ct(GREYS, (0, 0, 2.5 * n), slope=1, intercept=0)
        ds.WindowCenter, ds.WindowWidth = centre, width
        if function:
            ds.VOILUTFunction = function
        save(ds, folder / f"{n}.dcm")
    return folder


@pytest.mark.parametrize("function", ["SIGMOID", "LINEAR_EXACT", "LINEAR", ""])
def test_the_function_of_a_window_holds_in_pictures_and_volumes(tmp_path, function):
    with_window(tmp_path, function)
    expected = windowed(GREYS, (100, 50), function or "LINEAR")
    np.testing.assert_array_equal(read_image(tmp_path / "1.dcm").pixels, np.rint(expected * 65535))
    volume = read_volume(tmp_path)
    assert (volume.window, volume.window_function) == ((100, 50), function or "LINEAR")
    view = VolumeView.of(volume, None)
    scale = 1 / 0.7  # a pixel of the picture for each of the file, across
    drawn = view.picture("axial", 1, scale)[..., 0]
    rows = np.rint((np.arange(drawn.shape[0]) + 0.5) / drawn.shape[0] * 16 - 0.5).astype(int)
    shown = np.rint(expected * 255)
    assert np.abs(drawn[3].astype(float) - shown[rows[3]]).max() < 30  # resized between rows
    assert (np.unique(drawn[8]).size > 4) == (np.unique(shown[rows[8]]).size > 4)
    wide = VolumeView.of(volume, (100, 50))
    assert wide.function == "LINEAR_EXACT"


def test_a_sigmoid_reaches_the_report(tmp_path):
    from cfcam.jobs.study.explained import shown_as

    volume = read_volume(with_window(tmp_path, "SIGMOID"))
    assert shown_as(volume, None)[1:] == ((75, 125), "SIGMOID")
    assert shown_as(volume, "lung")[2] == "LINEAR_EXACT"


def test_a_function_that_is_none_is_taken_as_linear_and_told(tmp_path):
    with_window(tmp_path, "PARABOLA")
    image = read_image(tmp_path / "1.dcm")
    np.testing.assert_array_equal(image.pixels, np.rint(windowed(GREYS, (100, 50)) * 65535))
    told = "its window has a function that is none of the standard's: it is taken as linear"
    assert told in image.notices
    assert read_volume(tmp_path).notices == (told,)


@pytest.mark.parametrize(("width", "function"), [(0.5, "LINEAR_EXACT"), (0.5, ""), (1, ""), (0.5, "SIGMOID")])
def test_narrow_windows(tmp_path, width, function):
    with_window(tmp_path, function, width=width)
    expected = {"SIGMOID": 1 / (1 + np.exp(np.clip(-4 * (GREYS - 100) / width, -700, 700)))}.get(
        function, 100 - (width == 1) / 2 < GREYS
    )
    shown = read_image(tmp_path / "1.dcm").pixels / 65535
    if width < 1 and function != "SIGMOID":
        expected = np.where(GREYS == 100, 0.5, expected)
    np.testing.assert_allclose(shown, expected, atol=1e-5)


@pytest.mark.parametrize("width", [0, -5])
def test_of_several_windows_the_first_usable_one(tmp_path, width):
    ds = ct(GREYS, (0, 0, 0), slope=1, intercept=0)
    ds.WindowCenter, ds.WindowWidth = [40, 100], [width, 50]
    np.testing.assert_array_equal(
        read_image(save(ds, tmp_path / "a.dcm")).pixels, np.rint(windowed(GREYS, (100, 50)) * 65535)
    )


@pytest.mark.parametrize(("centre", "width"), [("100", "-80"), ("100", "0"), ("100", None), (None, "80")])
def test_a_window_that_is_none_is_told(tmp_path, centre, width):
    ds = grey(GREYS, "u2")
    ds.WindowCenter, ds.WindowWidth = centre, width
    image = read_image(save(ds, tmp_path / "a.dcm"))
    assert "its window has no centre or no width above 0: it is left out" in image.notices
    np.testing.assert_array_equal(image.pixels, np.rint((GREYS - GREYS.min()) / np.ptp(GREYS) * 65535))
    ds.WindowCenter = ds.WindowWidth = None
    assert read_image(save(ds, tmp_path / "b.dcm")).notices == ()


def test_a_window_that_leaves_nothing_to_see_is_told_and_one_value_alone_is_shown_as_it_says(tmp_path):
    ds = ct(GREYS, (0, 0, 0), spacing=(1, 1), slope=1, intercept=0)
    ds.WindowCenter, ds.WindowWidth = 5000, 100
    image = read_image(save(ds, tmp_path / "a.dcm"))
    np.testing.assert_array_equal(image.pixels, GREYS * 257)
    told = "its window (centre 5000, width 100) would leave nothing to see of values from 0 to 255: these are shown"
    assert image.notices[0].startswith(told)
    ds = ct(np.full((4, 4), 30), (0, 0, 0), spacing=(1, 1), slope=1, intercept=0)
    ds.WindowCenter, ds.WindowWidth = 40, 100
    image = read_image(save(ds, tmp_path / "b.dcm"))
    assert (image.pixels == round(float(windowed(30, (40, 100))) * 65535)).all()
    assert image.notices == ()


def test_windows_that_differ_by_frame(tmp_path):
    stored = phantom((3, 8, 8))
    ds = enhanced(stored)
    del ds.SharedFunctionalGroupsSequence[0].FrameVOILUTSequence
    for n, groups in enumerate(ds.PerFrameFunctionalGroupsSequence):
        voi = Dataset()
        voi.WindowCenter, voi.WindowWidth, voi.VOILUTFunction = -900 + 10 * n, 300, "SIGMOID"
        groups.FrameVOILUTSequence = [voi]
    path = save(ds, tmp_path / "a.dcm")
    for n in range(3):
        expected = windowed(stored[n] - 1024.0, (-900 + 10 * n, 300), "SIGMOID")
        np.testing.assert_array_equal(read_dicom(path, frame=n).pixels, np.rint(expected * 65535))
    volume = read_volume(path)
    assert (volume.window, volume.window_function) == ((-890, 300), "SIGMOID")
    assert volume.notices == ("its slices have 3 different windows: that of the middle slice is shown",)


def test_a_presentation_that_is_inverse_mirrors_volumes_as_it_inverts_pictures(tmp_path):
    files = ct_series(tmp_path, phantom())
    for file in files:
        ds = pydicom.dcmread(file)
        ds.PresentationLUTShape = "INVERSE"
        ds.save_as(file)
    volume = read_volume(tmp_path)
    low, high = phantom().min() - 1024, phantom().max() - 1024
    np.testing.assert_array_equal(volume.voxels, low + high - (phantom() - 1024))
    assert "count downwards" in volume.notices[0]


# --- proportions


def test_pixels_that_are_not_square_are_told(tmp_path):
    ds = radiograph(GREYS, spacing=None)
    ds.PixelAspectRatio = [4, 3]
    image = read_image(save(ds, tmp_path / "a.dcm"))
    assert image.spacing is None
    assert "4 high to 3 wide, in unknown units: overlays show them as squares, and sizes" in image.notices[0]
    ds.PixelAspectRatio = [1, 1]
    assert read_image(save(ds, tmp_path / "b.dcm")).notices == ()
    image = read_image(save(radiograph(GREYS, spacing=(0.2, 0.1)), tmp_path / "c.dcm"))
    assert image.notices == ("its pixels are 0.2 mm high and 0.1 wide: overlays show them as squares",)
    ds.ImagerPixelSpacing, ds.PixelAspectRatio = [0.1, 0.1], [4, 3]  # millimetres are the better word
    image = read_image(save(ds, tmp_path / "d.dcm"))
    assert (image.spacing, image.notices) == ((0.1, 0.1), ())


def test_a_magnification_is_told(tmp_path):
    ds = radiograph(GREYS, spacing=(0.1, 0.1))
    ds.EstimatedRadiographicMagnificationFactor = 1.25
    notices = read_image(save(ds, tmp_path / "a.dcm")).notices
    assert "at the detector: the file estimates that the patient is 1.25 times smaller" in notices[0]
    ds.PixelSpacing = [0.08, 0.08]  # calibrated
    image = read_image(save(ds, tmp_path / "b.dcm"))
    assert (image.spacing, image.notices) == ((0.08, 0.08), ())


def test_what_a_picture_tells_reaches_the_report_and_the_run(tmp_path):
    from cfcam.imaging import Preprocess
    from cfcam.jobs.inputs.preparing import prepare

    ds = radiograph(GREYS, spacing=None)
    ds.PixelAspectRatio = [4, 3]
    path = save(ds, tmp_path / "a.dcm")
    assert prepare(path, preprocess=Preprocess(size=16)).notices == read_image(path).notices != ()
    save(ds, tmp_path / "b.dcm")
    started = run([tmp_path / "a.dcm", tmp_path / "b.dcm"], tmp_path / "out")
    assert [outcome.status for outcome in started] == ["done", "done"]
    told = [note for note in started.notes if "overlays show them as squares" in note]
    assert len(told) == 1
    assert told[0].endswith("(the first such file; others are not listed)")


# --- frames that pydicom 3.0 does not open


def framed(ds, syntax, streams):
    ds.PixelData = encapsulate(streams)
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    return ds


def save_framed(ds, path):
    """Also under transfer syntaxes that pydicom does not know."""
    ds.preamble = b"\0" * 128
    ds.file_meta.FileMetaInformationVersion = b"\0\1"
    pydicom.dcmwrite(path, ds, implicit_vr=False, little_endian=True, force_encoding=True)
    return path


def deflate(data):
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(data) + packer.flush()
    return packed + b"\0" * (len(packed) % 2)


@pytest.mark.parametrize("kind", ["u1", "u2", "i2"])
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.8.1", "1.2.840.10008.1.2.1.98"])
def test_frames_deflated_or_wrapped_by_themselves(tmp_path, syntax, kind):
    """PS3.5 A.4.13 and A.4.11."""
    stored = np.random.default_rng(4).integers(0, 100, (3, 5, 7))
    pack = deflate if syntax.endswith("8.1") else lambda data: data + b"\0" * (len(data) % 2)
    plain = grey(stored, kind)
    ds = framed(grey(stored, kind), syntax, [pack(frame.astype(f"<{kind}").tobytes()) for frame in stored])
    for frame in range(3):
        expected = read_dicom(save(plain, tmp_path / "plain.dcm"), frame=frame).pixels
        np.testing.assert_array_equal(read_dicom(save_framed(ds, tmp_path / "a.dcm"), frame=frame).pixels, expected)


def test_a_deflated_frame_in_colour(tmp_path):
    stored = np.random.default_rng(4).integers(0, 256, (5, 7, 3))
    ds = with_pixels(base("1.2.840.10008.5.1.4.1.1.7", "OT"), stored, bits=8)
    ds = framed(ds, "1.2.840.10008.1.2.8.1", [deflate(ds.PixelData[:105])])
    np.testing.assert_array_equal(read_image(save_framed(ds, tmp_path / "a.dcm")).pixels, stored)


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"\0" * 100, "holds 100 of 512 bytes"), (b"\0" * 10**6, "holds 514 or more of 512 bytes"), (None, "are broken")],
    ids=["cut off", "bomb", "broken"],
)
def test_deflated_frames_that_are_cut_off_or_bombs(tmp_path, data, words):
    stream = b"\xff" * 40 if data is None else deflate(data)
    ds = framed(grey(GREYS, "u2"), "1.2.840.10008.1.2.8.1", [stream])
    with pytest.raises(ImageError, match=words):
        read_image(save_framed(ds, tmp_path / "a.dcm"))


def test_a_syntax_that_is_not_decoded_is_refused_in_a_line(tmp_path):
    for syntax in ("1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.102", "1.2.3.4"):  # JPEG XL, MPEG-4, unknown
        ds = framed(grey(GREYS, "u2"), syntax, [b"\0\0"])
        with pytest.raises(ImageError, match="not one of pictures, or that cfcam does not decode; export it"):
            read_image(save_framed(ds, tmp_path / "a.dcm"))
