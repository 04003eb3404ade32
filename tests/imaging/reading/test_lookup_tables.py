"""Lookup tables as files really hold them: packed, of other depths than declared, empty, big endian, segmented."""

from __future__ import annotations

import struct

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from cfcam.errors import ImageError
from cfcam.imaging import read_image, read_volume
from tests.imaging.dicoms import base, ct, radiograph, save, with_pixels

GREYS = np.arange(256).reshape(16, 16)


def table(descriptor, vr, data, *, descriptor_vr="US"):
    item = Dataset()
    item.add_new("LUTDescriptor", descriptor_vr, descriptor)
    item.add_new("LUTData", vr, data)
    return item


def shown(ds, path, syntax=ExplicitVRLittleEndian):
    if syntax == ExplicitVRBigEndian and ds.BitsAllocated == 16:
        ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
        ds["PixelData"].VR = "OW"
    ds.file_meta.TransferSyntaxUID = syntax
    ds.save_as(path, enforce_file_format=True)
    return read_image(path)


def with_voi(*items, bits=8):
    ds = radiograph(GREYS, bits=bits, spacing=None)
    ds.VOILUTSequence = list(items)
    return ds


DOWN = np.arange(255, -1, -1)
WHITE = {8: 255, 10: 1023, 12: 4095, 16: 65535}


@pytest.mark.parametrize("declared", [8, 16])
@pytest.mark.parametrize("how", ["OW bytes", "OB bytes", "US packed", "US words", "OW words", "SS words"])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_tables_of_8_bits_in_bytes_or_in_words(tmp_path, declared, how, syntax):
    """The length tells, PS3.3 C.7.6.3.1.6: a byte for each entry, or two."""
    vr, lie = how.split()
    little = syntax == ExplicitVRLittleEndian
    packed = DOWN.astype(np.uint8)
    if vr == "OB":
        data = packed.tobytes()
    elif lie == "words":
        data = DOWN.tolist() if vr != "OW" else DOWN.astype("<u2" if little else ">u2").tobytes()
    else:
        words = packed.view("<u2")
        data = words.tolist() if vr == "US" else words.astype("<u2" if little else ">u2").tobytes()
    image = shown(with_voi(table([256, 0, declared], vr, data)), tmp_path / "a.dcm", syntax)
    np.testing.assert_array_equal(image.pixels.ravel(), DOWN * 257)
    assert any("says 16 bits" in notice for notice in image.notices) == (declared == 16)


@pytest.mark.parametrize(("declared", "held"), [(8, 16), (10, 16), (12, 16), (8, 12), (12, 12), (16, 16), (0, 16)])
def test_a_depth_other_than_declared_is_that_of_the_data_and_told(tmp_path, declared, held):
    data = np.rint(GREYS.ravel() / 255 * WHITE[held]).astype(int)
    image = shown(with_voi(table([256, 0, declared], "US", data.tolist())), tmp_path / "a.dcm")
    np.testing.assert_array_equal(image.pixels.ravel(), np.rint(data / WHITE[held] * 65535))
    assert any(f"says {declared} bits" in notice for notice in image.notices) == (declared != held)


def test_a_table_that_ends_early_is_shown_as_it_says_and_told(tmp_path):
    image = shown(with_voi(table([256, 0, 16], "US", (DOWN * 16).tolist())), tmp_path / "a.dcm")
    np.testing.assert_array_equal(image.pixels.ravel(), DOWN * 16)
    assert image.notices == (
        "its VOI LUT says 16 bits for each entry and ends at 4080: it is shown as dark as it says",
    )


def test_empty_items_are_as_if_they_were_absent(tmp_path):
    plain = read_image(save(radiograph(GREYS, bits=16), tmp_path / "a.dcm")).pixels
    for n, item in enumerate(
        [Dataset(), table(None, "US", None), table([256, 0, 16], "OW", b""), table([], "US", [1])]
    ):
        ds = radiograph(GREYS, bits=16)
        ds.VOILUTSequence = ds.ModalityLUTSequence = [item]
        np.testing.assert_array_equal(read_image(save(ds, tmp_path / f"{n}.dcm")).pixels, plain)
    ds = radiograph(GREYS, bits=16)
    ds.ModalityLUTSequence, ds.RescaleSlope, ds.RescaleIntercept = [Dataset()], 2, 5  # these hold then
    ds.VOILUTSequence = []
    assert read_image(save(ds, tmp_path / "r.dcm"), window=(255, 510)).pixels[0, 0] == round(5 / 509 * 65535)


def test_of_several_tables_the_first_that_holds_data_is_taken_and_told(tmp_path):
    up, down = table([256, 0, 8], "US", GREYS.ravel().tolist()), table([256, 0, 8], "US", DOWN.tolist())
    image = shown(with_voi(Dataset(), down, up), tmp_path / "a.dcm")
    np.testing.assert_array_equal(image.pixels.ravel(), DOWN * 257)
    assert image.notices == ("it has 2 VOI LUTs: the first is taken",)


def test_0_entries_are_65536_and_too_many_are_cut_off(tmp_path):
    whole = np.arange(65536) ^ 0xFFFF
    ds = radiograph(np.array([[0, 1000], [40000, 65535]]), bits=16)
    ds.VOILUTSequence = [table([0, 0, 16], "OW", whole.astype("<u2").tobytes())]
    np.testing.assert_array_equal(shown(ds, tmp_path / "a.dcm").pixels, [[65535, 64535], [25535, 0]])
    image = shown(
        with_voi(table([256, 0, 8], "OW", np.append(DOWN, [9] * 50).astype("<u2").tobytes())), tmp_path / "b.dcm"
    )
    np.testing.assert_array_equal(image.pixels.ravel(), DOWN * 257)


def test_a_table_that_is_cut_off(tmp_path):
    short = table([256, 0, 16], "US", (np.arange(200) * 300).tolist())
    few = radiograph(GREYS.clip(0, 199), bits=8)
    few.VOILUTSequence = [short]
    np.testing.assert_array_equal(shown(few, tmp_path / "a.dcm").pixels.ravel(), np.arange(256).clip(0, 199) * 300)
    plain = read_image(save(radiograph(GREYS, bits=8), tmp_path / "b.dcm")).pixels
    image = shown(with_voi(short), tmp_path / "c.dcm")
    np.testing.assert_array_equal(image.pixels, plain)
    assert image.notices == ("its VOI LUT holds 200 of 256 entries, and its pixels need more: it is left out",)
    ds = radiograph(GREYS, bits=8)
    ds.ModalityLUTSequence = [short]
    with pytest.raises(ImageError, match="its modality LUT holds 200 of 256 entries, and its pixels need more; "):
        shown(ds, tmp_path / "d.dcm")


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize(("vr", "first"), [("SS", -100), ("US", 65436)])
def test_the_first_value_is_signed_where_values_are(tmp_path, syntax, vr, first):
    """PS3.3 C.11.2.1.1: of a VOI LUT where values after rescaling may be negative; written in either VR."""
    ds = with_pixels(base("1.2.840.10008.5.1.4.1.1.1", "CR"), GREYS, signed=False)
    ds.RescaleSlope, ds.RescaleIntercept = 1, -100
    ds.VOILUTSequence = [table([256, first, 16], "US", (GREYS.ravel() * 257).tolist(), descriptor_vr=vr)]
    np.testing.assert_array_equal(shown(ds, tmp_path / "a.dcm", syntax).pixels, GREYS * 257)
    signed = with_pixels(base("1.2.840.10008.5.1.4.1.1.1", "CR"), GREYS - 100, signed=True)
    signed.ModalityLUTSequence = [table([256, first, 16], "US", (GREYS.ravel() * 257).tolist(), descriptor_vr=vr)]
    np.testing.assert_array_equal(shown(signed, tmp_path / "b.dcm", syntax).pixels, GREYS * 257)


@pytest.mark.parametrize(("vr", "first"), [("US", 40000), ("SS", 40000 - 65536)])
def test_the_first_value_is_unsigned_where_values_are(tmp_path, vr, first):
    ds = radiograph(GREYS + 40000, bits=16)
    ds.VOILUTSequence = [table([256, first, 16], "US", (DOWN * 257).tolist(), descriptor_vr=vr)]
    np.testing.assert_array_equal(shown(ds, tmp_path / "a.dcm").pixels.ravel(), DOWN * 257)


def test_a_modality_table_of_bytes_holds_in_volumes_and_its_voi_table_is_told(tmp_path):
    for n in range(3):
        ds = ct(GREYS[:4, :4], (0, 0, 2.5 * n))
        del ds.RescaleSlope, ds.RescaleIntercept
        ds.ModalityLUTSequence = [table([256, 0, 8], "OW", DOWN.astype(np.uint8).tobytes())]
        ds.VOILUTSequence = [table([256, 0, 8], "OW", DOWN.astype(np.uint8).tobytes())]
        save(ds, tmp_path / f"{n}.dcm")
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.voxels[1], 255 - GREYS[:4, :4])
    assert volume.notices == ("its VOI LUT is for pictures and is not used: the volume keeps its values",)


def test_the_table_of_a_frame(tmp_path):
    from tests.imaging.dicoms import enhanced, phantom

    stored = phantom((3, 8, 8))
    ds = enhanced(stored)
    voi = ds.SharedFunctionalGroupsSequence[0].FrameVOILUTSequence[0]
    del voi.WindowCenter, voi.WindowWidth
    voi.VOILUTSequence = [table([0, -1024 & 0xFFFF, 16], "OW", np.arange(65536).astype("<u2").tobytes())]
    np.testing.assert_array_equal(read_image(save(ds, tmp_path / "a.dcm")).pixels, stored[0])


# --- palettes

COLOURS = ("Red", "Green", "Blue")


def palette(pixels, entries, descriptor, vr="OW", *, segmented="", bits=8):
    """A picture in palette colours; entries: bytes for each colour."""
    ds = with_pixels(base("1.2.840.10008.5.1.4.1.1.7", "OT"), pixels, bits=bits)
    ds.PhotometricInterpretation = "PALETTE COLOR"
    for colour, data in zip(COLOURS, entries, strict=True):
        ds.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", descriptor)
        ds.add_new(f"{segmented}{colour}PaletteColorLookupTableData", vr, data)
    return ds


RGB = [np.arange(256), np.arange(255, -1, -1), np.arange(256) // 2]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("declared", [8, 16])
@pytest.mark.parametrize("how", ["bytes", "words of 8", "words of 16"])
def test_palettes_in_every_order_and_depth(tmp_path, syntax, declared, how):
    order = ">u2" if syntax == ExplicitVRBigEndian else "<u2"
    scale = 257 if how == "words of 16" else 1
    if how == "bytes":
        data = [c.astype(np.uint8).view("<u2").astype(order).tobytes() for c in RGB]
    else:
        data = [(c * scale).astype(order).tobytes() for c in RGB]
    image = shown(palette(GREYS, data, [256, 0, declared]), tmp_path / "a.dcm", syntax)
    expected = np.stack([c[GREYS] for c in RGB], axis=-1)
    assert image.pixels.dtype == (np.uint16 if scale == 257 else np.uint8)
    np.testing.assert_array_equal(image.pixels, expected * scale)
    np.testing.assert_array_equal(image.rgb(), expected)
    assert bool(image.notices) == (how == "words of 8" and declared == 16)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("bits", [8, 16])
def test_segmented_palettes(tmp_path, syntax, bits):
    """PS3.3 C.7.9.2: values one by one, a line, and a copy of earlier segments, whose offset counts bytes."""
    most = 2**bits - 1
    start = [0, 4, 0, 1, 2, 3]  # 4 values
    line = [1, 100, most]
    width = bits // 8
    offset = len(start) * width  # the line again, from where the copy begins: all of it is white
    words = [offset] + ([0] if bits == 16 else [0, 0, 0])
    data = [*start, *line, 0, 2, 5, 6, 2, 1, *words]
    expected = [0, 1, 2, 3, *np.rint(3 + (most - 3) * np.arange(1, 101) / 100), 5, 6]
    expected += list(np.rint(6 + (most - 6) * np.arange(1, 101) / 100))
    if bits == 16:
        order = "<" if syntax == ExplicitVRLittleEndian else ">"
        packed = struct.pack(f"{order}{len(data)}H", *data)
    else:
        data += [0] * (len(data) % 2)
        packed = bytes(data)
        if syntax == ExplicitVRBigEndian:
            packed = np.frombuffer(packed, "<u2").astype(">u2").tobytes()
    pixels = np.arange(206).reshape(2, 103)
    ds = palette(pixels, [packed] * 3, [206, 0, bits], segmented="Segmented")
    image = shown(ds, tmp_path / "a.dcm", syntax)
    np.testing.assert_array_equal(image.pixels[..., 1].ravel(), expected)


@pytest.mark.parametrize(
    "data", [[1, 5, 9], [2, 1, 0, 0], [7, 1, 0], [0, 2, 1, 2, 2, 1, 8, 0, 2, 1, 8, 0], []]
)  # a line or a copy at first, an unknown code, copies of copies, nothing
def test_broken_segments_are_refused(tmp_path, data):
    packed = struct.pack(f"<{len(data)}H", *data)
    with pytest.raises(ImageError, match=r"palette"):
        shown(palette(GREYS, [packed] * 3, [256, 0, 16], segmented="Segmented"), tmp_path / "a.dcm")


def test_a_palette_that_is_missing_or_cut_off(tmp_path):
    ds = palette(GREYS, [b"\0\1" * 256] * 3, [256, 0, 16])
    del ds.BluePaletteColorLookupTableData
    with pytest.raises(ImageError, match="has none for blue; export it again"):
        shown(ds, tmp_path / "a.dcm")
    with pytest.raises(ImageError, match="its palette holds 200 of 256 entries, and its pixels need more; "):
        shown(palette(GREYS, [b"\0\1" * 200] * 3, [256, 0, 16]), tmp_path / "b.dcm")
    assert shown(palette(GREYS.clip(0, 199), [b"\0\1" * 200] * 3, [256, 0, 16]), tmp_path / "c.dcm").pixels.max() == 256


def test_palettes_that_begin_later_and_end_sooner(tmp_path):
    """Lower values get the first entry, higher ones the last (C.7.6.3.1.5)."""
    data = np.array([1000, 2000, 3000]).astype("<u2").tobytes()
    image = shown(palette(np.array([[0, 100, 101, 102, 255]]), [data] * 3, [3, 100, 16]), tmp_path / "a.dcm")
    assert image.pixels[0, :, 2].tolist() == [1000, 1000, 2000, 3000, 3000]


def test_values_of_a_supplemental_palette_are_colours(tmp_path):
    """PS3.3 C.7.6.19: grey below the first value of the palette, colours from it on."""
    ds = with_pixels(base("1.2.840.10008.5.1.4.1.1.2.1", "CT"), np.array([[0, 50, 100, 101]]))
    ds.WindowCenter, ds.WindowWidth, ds.PixelPresentation = 50.5, 101, "COLOR"
    for colour, data in zip(COLOURS, ([65535, 1], [2, 3], [4, 5]), strict=True):
        ds.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [2, 100, 16])
        ds.add_new(f"{colour}PaletteColorLookupTableData", "OW", struct.pack("<2H", *data))
    image = shown(ds, tmp_path / "a.dcm")
    assert image.pixels.tolist() == [[[0] * 3, [32768] * 3, [65535, 2, 4], [1, 3, 5]]]
    assert image.notices == ("its values from 100 on are colours: it is read as a colour picture",)
    ds.PixelPresentation = "TRUE_COLOR"
    assert "they are shown grey" in shown(ds, tmp_path / "b.dcm").notices[0]
    ds.PixelPresentation = "MONOCHROME"
    assert shown(ds, tmp_path / "c.dcm").notices == ()


def test_the_order_of_a_table_is_read_as_pydicom_writes_it(tmp_path):
    """So that the tests above do not agree with themselves alone."""
    ds = with_voi(table([256, 0, 16], "OW", (DOWN * 257).astype(">u2").tobytes()))
    shown(ds, tmp_path / "a.dcm", ExplicitVRBigEndian)
    again = pydicom.dcmread(tmp_path / "a.dcm")
    assert (pydicom.pixels.apply_voi(again.pixel_array, again) == (DOWN * 257)[GREYS]).all()
