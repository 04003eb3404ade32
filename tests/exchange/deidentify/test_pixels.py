from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("dicomanonymizer")

from pydicom.dataset import Dataset  # noqa: E402
from pydicom.encaps import encapsulate, generate_frames  # noqa: E402
from pydicom.uid import (  # noqa: E402
    HEVCMP51,
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from cfcam.errors import ImageError  # noqa: E402
from cfcam.exchange import Deidentifier, write_objects  # noqa: E402
from cfcam.exchange.deidentify import pixels as deidentify_pixels  # noqa: E402
from cfcam.exchange.deidentify.codestream import without_comments  # noqa: E402
from cfcam.exchange.deidentify.folder import deidentify_folder  # noqa: E402
from cfcam.exchange.deidentify.one import cleaned as file_cleaned  # noqa: E402
from tests.exchange.phantoms import RESULT, ct_sources, heatmap, radiograph  # noqa: E402
from tests.imaging import dicoms  # noqa: E402

KEY = b"a key of the tests only"
SECRET = b"PLANTEDSECRET"

# Of pydicom's own test files: the rest of them are no pictures, or lack UIDs or pixels.
REAL = (
    "693_J2KI.dcm", "CT_small.dcm", "ExplVR_BigEnd.dcm", "GDCMJ2K_TextGBR.dcm", "J2K_pixelrep_mismatch.dcm",
    "JPEG2000.dcm", "JPGExtended.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm", "MR_small_padded.dcm", "SC_jpeg_no_color_transform.dcm",
    "SC_jpeg_no_color_transform_2.dcm", "SC_rgb_dcmtk_+eb+cr.dcm", "SC_rgb_dcmtk_+eb+cy+n1.dcm",
    "SC_rgb_dcmtk_+eb+cy+n2.dcm", "SC_rgb_dcmtk_+eb+cy+np.dcm", "SC_rgb_dcmtk_+eb+cy+s2.dcm",
    "SC_rgb_dcmtk_+eb+cy+s4.dcm", "SC_rgb_gdcm_KY.dcm", "SC_rgb_jpeg.dcm", "SC_rgb_jpeg_app14_dcmd.dcm",
    "SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_jpeg_gdcm.dcm", "SC_rgb_jpeg_lossy_gdcm.dcm", "SC_rgb_rle_16bit_2frame.dcm",
    "SC_rgb_rle_32bit.dcm", "SC_rgb_small_odd.dcm", "SC_rgb_small_odd_big_endian.dcm", "SC_rgb_small_odd_jpeg.dcm",
    "SC_ybr_full_422_uncompressed.dcm", "examples_jpeg2k.dcm", "examples_overlay.dcm", "examples_palette.dcm",
    "examples_rgb_color.dcm", "examples_ybr_color.dcm", "image_dfl.dcm", "liver_1frame.dcm", "liver_expb_1frame.dcm",
    "rtdose.dcm", "rtdose_expb.dcm", "rtdose_rle.dcm",
)  # fmt: skip


def cleaned(source: Dataset) -> Dataset:
    """De-identified, written and read back, as a user gets it."""
    stream = BytesIO()
    Deidentifier(KEY, allow_burned_in=True)(source).save_as(stream, enforce_file_format=True)
    stream.seek(0)
    return pydicom.dcmread(stream)


def assert_same_picture(before: Dataset, after: Dataset):
    one, other = before.pixel_array, after.pixel_array
    assert one.shape == other.shape
    assert one.dtype.newbyteorder("=") == other.dtype.newbyteorder("=")
    assert np.array_equal(one, other)


def written(source: Dataset, path: Path) -> Dataset:
    source.save_as(path, enforce_file_format=True)
    return pydicom.dcmread(path)


def bits() -> Dataset:
    """A binary Segmentation of 24 frames, a bit for each pixel."""
    from highdicom.seg import Segmentation

    from cfcam.exchange.dicom.job import Job
    from cfcam.exchange.dicom.segmentation import _segment
    from cfcam.exchange.dicom.sources import headers_of

    sources = [dicoms.ct(np.zeros((64, 48)), (-100, -80, 50 + 2.5 * number)) for number in range(24)]
    mask = np.random.default_rng(4).random((24, 64, 48)) > 0.5
    job = Job(headers_of(sources), mask.astype(np.float32), RESULT, 0.5, sources)
    return Segmentation(
        job.sources, mask.astype(np.uint8), "BINARY", [_segment(job, "seg-binary")], omit_empty_frames=False,
        **job.common("seg-binary"),
    )  # fmt: skip


def compressed_bits(path: Path) -> Dataset:
    from openjpeg.utils import encode_array

    source = bits()
    frames = [encode_array(frame.astype(bool), use_mct=False) for frame in source.pixel_array]
    source.file_meta.TransferSyntaxUID, source.PixelData = JPEG2000Lossless, encapsulate(frames)
    source["PixelData"].VR, source["PixelData"].is_undefined_length = "OB", True
    return written(source, path)


@pytest.mark.parametrize("name", REAL)
def test_real_files_of_every_syntax_keep_every_value(name):
    path = pydicom.data.get_testdata_file(name, download=False)
    assert_same_picture(pydicom.dcmread(path, force=True), cleaned(pydicom.dcmread(path, force=True)))


def test_bits_stay_bits(tmp_path):
    """pydicom decompresses a bit of JPEG 2000 to a byte for each pixel, and leaves the header at one bit."""
    expected = bits().pixel_array
    assert_same_picture(bits(), cleaned(bits()))
    compressed = compressed_bits(tmp_path / "bits.dcm")
    assert np.array_equal(compressed.pixel_array, expected)
    clean = cleaned(compressed)
    assert clean.pixel_array.shape == (24, 64, 48)
    assert np.array_equal(clean.pixel_array, expected)


def test_bits_that_have_to_be_decompressed_stay_bits(monkeypatch, tmp_path):
    monkeypatch.setattr(deidentify_pixels, "without_comments", lambda frame, bits: None)
    clean = cleaned(compressed_bits(tmp_path / "bits.dcm"))
    assert clean.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert len(clean.PixelData) == 24 * 64 * 48 // 8
    assert np.array_equal(clean.pixel_array, bits().pixel_array)


def _grey(kind, allocated, stored, frames=1):
    """A radiograph-like source of any integer type, with an odd number of pixels."""
    source = radiograph()
    info = np.iinfo(kind)
    low, high = (0, 2**stored) if info.min == 0 else (-(2 ** (stored - 1)), 2 ** (stored - 1))
    values = np.random.default_rng(6).integers(low, high, (frames, 33, 35)).astype(kind)
    source.Rows, source.Columns, source.PixelData = 33, 35, values.tobytes() + b"\0" * (values.nbytes % 2)
    source.BitsAllocated, source.BitsStored, source.HighBit = allocated, stored, stored - 1
    source.PixelRepresentation = int(info.min < 0)
    if frames > 1:
        source.NumberOfFrames = frames
    source["PixelData"].VR = "OB" if allocated == 8 else "OW"
    return source, values


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless, JPEGLSNearLossless, JPEG2000])
@pytest.mark.parametrize(
    ("kind", "allocated", "stored", "frames"),
    [("u1", 8, 8, 1), ("i1", 8, 8, 2), ("u2", 16, 12, 3), ("i2", 16, 13, 1), ("u2", 16, 16, 1), ("u1", 8, 6, 2)],
)
def test_compressed_pixels_of_every_type_keep_every_value(tmp_path, syntax, kind, allocated, stored, frames):
    source, _ = _grey(kind, allocated, stored, frames)
    if kind.startswith("i") and syntax == JPEGLSNearLossless:
        pytest.skip("pydicom encodes no signed values with losses in JPEG-LS")
    lossy = {JPEGLSNearLossless: {"jls_error": 2}, JPEG2000: {"j2k_cr": [4]}}.get(syntax, {})
    source.compress(syntax, generate_instance_uid=False, **lossy)
    source = written(source, tmp_path / "a.dcm")
    assert_same_picture(source, cleaned(source))


@pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize(
    ("kind", "allocated", "stored"), [("u1", 8, 8), ("i1", 8, 7), ("u2", 16, 12), ("i2", 16, 16), ("u4", 32, 20)]
)
def test_other_encodings_of_a_file_keep_every_value(tmp_path, syntax, kind, allocated, stored):
    source, values = _grey(kind, allocated, stored)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    source.PixelData = values.astype(order + kind).tobytes() + b"\0" * (values.nbytes % 2)
    source.file_meta.TransferSyntaxUID = syntax
    source = written(source, tmp_path / "a.dcm")
    assert np.array_equal(source.pixel_array, values[0])
    assert_same_picture(source, cleaned(source))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("keyword", "kind"), [("FloatPixelData", "f4"), ("DoubleFloatPixelData", "f8")])
def test_floats_keep_every_bit(tmp_path, order, keyword, kind):
    source = radiograph()
    values = np.random.default_rng(3).standard_normal((24, 20)).astype(order + kind)
    values[0, :3] = np.nan, np.inf, -0.0
    for key in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(source, key)
    source.BitsAllocated = values.itemsize * 8
    source.add_new(keyword, "OF" if kind == "f4" else "OD", values.tobytes() + SECRET + b"\0" * 3)
    source.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if order == "<" else ExplicitVRBigEndian
    clean = cleaned(written(source, tmp_path / "a.dcm"))
    assert clean[keyword].value == values.astype("<" + kind).tobytes()


def test_lookup_tables_of_big_endian_files_keep_their_values(tmp_path):
    source, _ = _grey("u1", 8, 8)
    source.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    source.PhotometricInterpretation = "PALETTE COLOR"
    source.PixelData = bytes(source.PixelData)[: 33 * 35] + b"\0"
    table = np.arange(256) * 257
    for colour in ("Red", "Green", "Blue"):
        source.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [256, 0, 16])
        source.add_new(f"{colour}PaletteColorLookupTableData", "OW", table.astype(">u2").tobytes())
    clean = cleaned(written(source, tmp_path / "a.dcm"))
    assert np.array_equal(np.frombuffer(clean.RedPaletteColorLookupTableData, "<u2"), table)


@pytest.mark.parametrize("name", ["MR_small_jpeg_ls_lossless.dcm", "SC_rgb_jpeg_dcmtk.dcm", "examples_jpeg2k.dcm"])
def test_compressed_frames_with_nothing_to_take_away_stay_as_they_are(name):
    source = pydicom.dcmread(pydicom.data.get_testdata_file(name, download=False))
    (frame,) = generate_frames(source.PixelData, number_of_frames=1)
    plain = without_comments(frame, int(source.BitsStored))
    source.PixelData = encapsulate([plain])
    clean = cleaned(source)
    assert clean.file_meta.TransferSyntaxUID == source.file_meta.TransferSyntaxUID
    assert clean.PixelData == source.PixelData


def _with_secret(frame: bytes, marker: int) -> bytes:
    segment = bytes((0xFF, marker)) + (len(SECRET) + 4).to_bytes(2, "big") + b"\0\1" + SECRET
    at = frame.index(b"\xff\x52") if frame[1] == 0x4F else 2
    return frame[:at] + segment + frame[at:]


@pytest.mark.parametrize(
    ("name", "markers"),
    [("MR_small_jp2klossless.dcm", (0x64,)), ("MR_small_jpeg_ls_lossless.dcm", (0xFE, 0xE3, 0xE8)),
     ("SC_rgb_jpeg_dcmtk.dcm", (0xFE, 0xE0, 0xE1, 0xEE)), ("JPGExtended.dcm", (0xFE, 0xED))],
)  # fmt: skip
def test_nothing_hides_beside_compressed_pixels(name, markers):
    path = pydicom.data.get_testdata_file(name, download=False)
    for marker in markers:
        source = pydicom.dcmread(path)
        (frame,) = generate_frames(source.PixelData, number_of_frames=1)
        source.PixelData = encapsulate([_with_secret(frame, marker) + SECRET])
        assert source.PixelData.count(SECRET) == 2
        clean = cleaned(source)
        assert SECRET not in clean.PixelData
        assert clean.file_meta.TransferSyntaxUID == source.file_meta.TransferSyntaxUID
        assert_same_picture(pydicom.dcmread(path), clean)


def test_a_comment_between_tile_parts_goes_too():
    """There its length is part of another one; so the picture is decompressed."""
    source = pydicom.dcmread(pydicom.data.get_testdata_file("MR_small_jp2klossless.dcm", download=False))
    (frame,) = generate_frames(source.PixelData, number_of_frames=1)
    start = frame.index(b"\xff\x90")
    segment = b"\xff\x64" + (len(SECRET) + 4).to_bytes(2, "big") + b"\0\1" + SECRET
    length = int.from_bytes(frame[start + 6 : start + 10], "big") + len(segment)
    source.PixelData = encapsulate(
        [
            frame[: start + 6]
            + length.to_bytes(4, "big")
            + frame[start + 10 : start + 12]
            + segment
            + frame[start + 12 :]
        ]
    )
    clean = cleaned(source)
    assert SECRET not in clean.PixelData
    assert clean.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert_same_picture(source, clean)


@pytest.mark.parametrize("cut", range(2, 400, 7))
def test_codestreams_that_are_cut_off_are_not_taken_for_whole(cut):
    for name in ("MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "SC_rgb_jpeg_dcmtk.dcm"):
        source = pydicom.dcmread(pydicom.data.get_testdata_file(name, download=False))
        (frame,) = generate_frames(source.PixelData, number_of_frames=1)
        assert without_comments(frame[:cut], 16) is None


def test_pixels_within_items_and_behind_the_end_go():
    source = radiograph()
    icon = Dataset()
    icon.Rows = icon.Columns = 2
    icon.PixelData = SECRET + b"\0"
    source.IconImageSequence, source.SourceImageSequence = [icon], [icon]
    expected = source.pixel_array.copy()
    source.PixelData += SECRET + b"\0"
    stream = BytesIO()
    clean = Deidentifier(KEY)(source)
    clean.save_as(stream, enforce_file_format=True)
    assert SECRET not in stream.getvalue()
    assert np.array_equal(clean.pixel_array, expected)


@pytest.mark.parametrize("spoil", ["value", "frames", "type", "shape"])
def test_a_picture_whose_pixels_would_change_is_refused_and_not_written(monkeypatch, spoil):
    """Whatever a decoder or pydicom does one day: nothing is said to be de-identified that is another picture."""
    real = deidentify_pixels._decompress

    def wrong(dataset):
        real(dataset)
        if spoil == "value":
            dataset.PixelData = bytes(dataset.PixelData[:-2]) + bytes(
                (dataset.PixelData[-2] ^ 1, dataset.PixelData[-1])
            )
        elif spoil == "frames":
            dataset.NumberOfFrames, dataset.PixelData = 2, bytes(dataset.PixelData) * 2
        elif spoil == "type":
            dataset.PixelRepresentation = 1 - dataset.PixelRepresentation
        else:
            dataset.Rows, dataset.Columns = dataset.Rows // 2, dataset.Columns * 2

    monkeypatch.setattr(deidentify_pixels, "_decompress", wrong)
    source = Path(pydicom.data.get_testdata_file("MR_small_RLE.dcm", download=False))
    with pytest.raises(ImageError, match="nothing is written"):  # in whichever process: what is refused has no bytes
        file_cleaned(source, "picture 1 of 1", Deidentifier(KEY))


def test_bits_beside_the_grey_values_of_compressed_pixels_do_not_get_out(tmp_path):
    """An overlay in them is no part of the picture, but decoders give it out: to change it or to keep it is wrong."""
    source, _ = _grey("u2", 16, 16)
    source.compress(JPEG2000Lossless, generate_instance_uid=False)
    source.BitsStored, source.HighBit = 12, 11
    source = written(source, tmp_path / "a.dcm")
    with pytest.raises(ImageError, match="bits that belong to no grey value"):
        Deidentifier(KEY)(source)


def test_a_video_is_refused_and_the_rest_of_the_folder_is_done(tmp_path):
    (tmp_path / "in").mkdir()
    video = radiograph()
    video.file_meta.TransferSyntaxUID = HEVCMP51
    video.PixelData = encapsulate([b"\0" * 64])
    video["PixelData"].VR, video["PixelData"].is_undefined_length = "OB", True
    video.save_as(tmp_path / "in" / "a.dcm", enforce_file_format=True)
    radiograph().save_as(tmp_path / "in" / "b.dcm", enforce_file_format=True)
    report = deidentify_folder(tmp_path / "in", tmp_path / "out", Deidentifier(KEY))
    assert len(report.written) == 1
    assert len(report.refused) == 1
    assert "cannot be decoded here" in report.refused[0]


def test_objects_of_cfcam_itself_keep_every_value(tmp_path):
    for path in write_objects(
        ct_sources(), heatmap(), RESULT, kinds={"pm", "seg", "sc"}, threshold=0.5, output=tmp_path
    ):
        source = pydicom.dcmread(path)
        assert_same_picture(source, cleaned(source))


@pytest.mark.parametrize("interpretation", ["YBR_FULL", "YBR_FULL_422"])
def test_colours_are_not_converted_twice(tmp_path, interpretation):
    from PIL import Image

    picture = np.random.default_rng(2).integers(0, 256, (4, 4, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
    stream = BytesIO()
    subsampling = 0 if interpretation == "YBR_FULL" else 1
    Image.fromarray(picture).save(stream, "JPEG", quality=95, subsampling=subsampling)
    source = radiograph()
    source.Rows = source.Columns = 32
    source.SamplesPerPixel, source.PlanarConfiguration, source.PhotometricInterpretation = 3, 0, interpretation
    source.BitsAllocated = source.BitsStored = 8
    source.HighBit = 7
    source.PixelData = encapsulate([stream.getvalue()])
    source["PixelData"].VR, source["PixelData"].is_undefined_length = "OB", True
    source.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
    source = written(source, tmp_path / "a.dcm")
    clean = cleaned(source)
    assert_same_picture(source, clean)
    assert np.abs(clean.pixel_array.astype(int) - picture).mean() < 6
