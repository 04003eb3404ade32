"""Broken DICOM files by seeded chance: from pydicom's own test files and made ones, with an identity in each."""

from __future__ import annotations

import warnings
from io import BytesIO

import numpy as np
import pydicom
from pydicom.data import get_testdata_file
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from tests.imaging import dicoms

SMALL_FILES = (
    "CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm",
    "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_padded.dcm", "MR_truncated.dcm",
    "SC_rgb_jpeg.dcm", "SC_rgb_rle_16bit_2frame.dcm", "SC_rgb_rle_32bit.dcm", "SC_rgb_small_odd.dcm",
    "SC_ybr_full_422_uncompressed.dcm", "rtdose.dcm", "rtdose_rle.dcm", "liver_1frame.dcm", "image_dfl.dcm",
    "JPEG2000.dcm", "JPGExtended.dcm", "SC_rgb_jls_lossy_line.dcm", "test-SR.dcm", "nested_priv_SQ.dcm",
)  # fmt: skip
NASTY = {
    "Rows": (b"\0\0", b"\1\0", b"\xff\xff", b"\x00\x10"),
    "Columns": (b"\0\0", b"\1\0", b"\xff\xff", b"\x00\x10"),
    "NumberOfFrames": (b"0 ", b"-1", b"2 ", b"999999999999", b"many", b""),
    "BitsAllocated": (b"\0\0", b"\1\0", b"\x08\0", b"\x20\0", b"\x11\0", b"\xff\xff"),
    "BitsStored": (b"\0\0", b"\x21\0", b"\x05\0", b"\xff\xff"),
    "HighBit": (b"\0\0", b"\x2f\0"),
    "PixelRepresentation": (b"\1\0", b"\7\0"),
    "SamplesPerPixel": (b"\0\0", b"\3\0", b"\x09\0"),
    "PlanarConfiguration": (b"\1\0", b"\5\0"),
    "PhotometricInterpretation": (b"MONOCHROME1 ", b"PALETTE COLOR ", b"YBR_FULL_422", b"PLANTED "),
    "PixelSpacing": (b"0\\0 ", b"-1\\2", b"nan\\nan ", b"1e400\\1 ", b"PLANTED ", b"1 ", b""),
    "ImagerPixelSpacing": (b"0\\0 ", b"inf\\1 ", b"PLANTED "),
    "RescaleSlope": (b"0 ", b"nan ", b"1e308 ", b"PLANTED "),
    "RescaleIntercept": (b"-1e308", b"PLANTED "),
    "WindowWidth": (b"0 ", b"-5", b"1e-300", b"PLANTED "),
    "WindowCenter": (b"nan ", b"PLANTED ", b"1\\2\\3 "),
    "ImageOrientationPatient": (b"0\\0\\0\\0\\0\\0 ", b"1\\0\\0\\1\\0\\0 ", b"PLANTED "),
    "ImagePositionPatient": (b"1\\2", b"nan\\0\\0 ", b"PLANTED "),
    "SliceThickness": (b"0 ", b"-1", b"PLANTED "),
    "PixelPaddingValue": (b"\0\0", b"\xff\xff"),
    "SOPInstanceUID": (b"", b"PLANTED\0", b"1..2"),
    "Modality": (b"", b"PLANTED "),
    "PatientSex": (b"PLANTED ",),
    "PatientID": (b"", b"PLANTED" * 20),
    "StudyDate": (b"PLANTED ", b"00000000"),
    "SpecificCharacterSet": (b"PLANTED ", b"ISO_IR 9999 ", b"ISO 2022 IR 87"),
}
SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99",
            "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90",
            "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.100", "1.2.3.4")  # fmt: skip


def originals():
    """The bytes of small files, each with an identity."""
    found = [_planted(pydicom.dcmread(get_testdata_file(name, download=False), force=True)) for name in SMALL_FILES]
    made = np.random.default_rng(0).integers(0, 4000, (24, 32))
    found += [_encoded(dicoms.radiograph(made)), _encoded(dicoms.ct(made, (0, 0, 0)))]
    found += [_encoded(dicoms.ultrasound(np.zeros((2, 16, 16, 3), int)))]
    return [data for data in found if data]


def mutated(originals, seed):
    """One broken file: by bytes, by elements, by lies, or by another transfer syntax."""
    rng = np.random.default_rng(seed)
    data = originals[seed % len(originals)]
    kind = int(rng.choice(5, p=(0.2, 0.1, 0.2, 0.35, 0.15)))
    if kind == 0:
        return _bytes_changed(data, rng)
    if kind == 1:
        return data[: int(rng.integers(140, len(data)))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = pydicom.dcmread(BytesIO(data), force=True)
        if kind == 2:
            data = _elements_changed(source, data, rng)
        elif kind == 3:
            data = _lies(source, rng)
        else:
            data = _other_syntax(source, data, rng)
    return data


def _planted(source):
    source.PatientName, source.PatientID, source.PatientBirthDate = dicoms.NAME, dicoms.ID, dicoms.BIRTH
    source.InstitutionName, source.StudyDescription, source.ImageComments = dicoms.PLACE, dicoms.TEXT, dicoms.TEXT
    return _encoded(source)


def _encoded(source):
    stream = BytesIO()
    source.preamble = getattr(source, "preamble", None) or b"\0" * 128
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            source.save_as(stream)
        except (ValueError, AttributeError, TypeError, LookupError, NotImplementedError):
            return b""
    return stream.getvalue()


def _bytes_changed(data, rng):
    changed = bytearray(data)
    header = min(len(changed), 2500) if rng.integers(2) else len(changed)
    for _ in range(int(rng.integers(1, 12))):
        at = int(rng.integers(128, max(header, 200)))
        kind = rng.integers(3)
        if kind == 0 and at < len(changed):
            changed[at] = int(rng.integers(256))
        elif kind == 1:
            del changed[at : at + int(rng.integers(1, 60))]
        else:
            changed[at:at] = changed[at : at + int(rng.integers(1, 60))]
    return bytes(changed)


def _elements_changed(source, data, rng):
    tags = [tag for tag in source.keys() if tag.group > 4]  # noqa: SIM118
    if rng.integers(2):
        for _ in range(int(rng.integers(1, 4))):
            tag = tags[int(rng.integers(len(tags)))]
            if tag in source:
                del source[tag]
        return _encoded(source) or data
    start = int(rng.integers(200, len(data) - 50))
    part = data[start : start + int(rng.integers(20, 600))]
    return data[:start] + part + data[start:]


def _lies(source, rng):
    for _ in range(int(rng.integers(1, 4))):
        keyword = list(NASTY)[int(rng.integers(len(NASTY)))]
        values = NASTY[keyword]
        value = values[int(rng.integers(len(values)))]
        tag = Tag(tag_for_keyword(keyword))
        vr = pydicom.datadict.dictionary_VR(tag)
        vr = "US" if vr == "US or SS" else vr
        implicit, little = source.original_encoding
        if vr == "US" and little is False:
            value = value[::-1]
        source._dict[tag] = RawDataElement(tag, vr, len(value), value, 0, bool(implicit), little is not False)
    return _encoded(source)


def _other_syntax(source, data, rng):
    meta = getattr(source, "file_meta", None)
    if meta is None or "TransferSyntaxUID" not in meta:
        return data[:300]
    old, new = str(meta.TransferSyntaxUID), SYNTAXES[int(rng.integers(len(SYNTAXES)))]
    at = data.find(old.encode(), 132)
    if at < 0:
        return data
    length = int.from_bytes(data[at - 2 : at], "little")
    new_bytes = new.encode() + b"\0" * (len(new) % 2)
    grown = len(new_bytes) - length
    total = int.from_bytes(data[140:144], "little") + grown
    return (
        data[:140]
        + total.to_bytes(4, "little")
        + data[144 : at - 2]
        + len(new_bytes).to_bytes(2, "little")
        + (new_bytes + data[at + length :])
    )
