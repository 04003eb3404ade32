"""Old files without a preamble: one rule for what is DICOM, whoever asks; and deflated frames for all of them."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from PIL import Image as PILImage
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from cfcam.errors import CfcamError
from cfcam.exchange.deidentify.deidentifier import Deidentifier
from cfcam.exchange.deidentify.folder import deidentify_folder
from cfcam.exchange.dicom.read_segmentation import is_segmentation
from cfcam.exchange.dicom.sources import read_source
from cfcam.imaging import list_images, read_image, read_volume
from cfcam.imaging.reading.dicom_object import is_dicom
from cfcam.imaging.reading.kinds import is_dicom_file
from cfcam.jobs.compare.studies import check_patients
from cfcam.jobs.inputs.find import find_inputs
from cfcam.jobs.inputs.privacy import labelled
from tests.imaging.dicoms import ct, ct_series, phantom, radiograph, save
from tests.imaging.reading.test_dicom_values import deflate, framed, save_framed, words

ENCODINGS = {
    "implicit": ImplicitVRLittleEndian, "explicit": ExplicitVRLittleEndian, "big endian": ExplicitVRBigEndian,
}  # fmt: skip


def bare(ds, path, encoding, *, meta=False):
    """A file that begins with its first element; with the group of meta elements, or without."""
    path.parent.mkdir(parents=True, exist_ok=True)
    syntax = ENCODINGS[encoding]
    if not syntax.is_little_endian:
        words(ds, np.frombuffer(ds.PixelData, "<u2"), ">u2")
    ds.file_meta.TransferSyntaxUID = syntax
    ds.preamble = None
    whole = path.with_suffix(".whole")
    ds.save_as(whole, enforce_file_format=True)
    data = whole.read_bytes()[132:]
    whole.unlink()
    if not meta:  # group 0002: its length stands in its first element
        data = data[12 + int.from_bytes(data[8:12], "little") :]
    path.write_bytes(data)
    assert data[128:132] != b"DICM"
    return path


@pytest.mark.parametrize("name", ["IM0001", "old.dcm"])
@pytest.mark.parametrize("meta", [False, True])
@pytest.mark.parametrize("encoding", list(ENCODINGS))
def test_pictures_series_and_de_identification_agree(tmp_path, encoding, meta, name):
    stored = np.arange(256).reshape(16, 16)
    path = bare(radiograph(stored, bits=16), tmp_path / "in" / name, encoding, meta=meta)
    assert is_dicom_file(path)
    np.testing.assert_array_equal(read_image(path).pixels, np.rint(stored / 255 * 65535))
    assert labelled(path).label.startswith("study-")  # and so no name of a patient is shown
    report = deidentify_folder(tmp_path / "in", tmp_path / "out", Deidentifier(b"k" * 16))
    assert report.others == 0
    assert report.refused == []
    np.testing.assert_array_equal(pydicom.dcmread(report.written[0]).pixel_array, stored)


@pytest.mark.parametrize("marked", [True, False])
def test_a_folder_gives_dicom_pictures_under_any_name_as_de_identification_does(tmp_path, marked):
    """Beside a picture with an extension those without one were passed over without a word."""
    folder = tmp_path / "in"
    for name in ("IM0001", "1.2.840.5", "b.dcm"):
        if marked:
            save(radiograph(phantom()[0]), folder / name)
        else:
            bare(radiograph(phantom()[0]), folder / name, "implicit")
    PILImage.new("L", (9, 9)).save(folder / "c.png")
    report = radiograph(phantom()[0])
    del report.Rows, report.Columns, report.PixelData
    save(report, folder / "SR0001")
    save(radiograph(phantom()[0]), folder / "DICOMDIR")
    (folder / "notes").write_bytes(b"notes" * 100)
    taken = ["1.2.840.5", "b.dcm", "c.png", "IM0001"]
    assert [path.name for path in list_images(folder)] == taken
    assert [path.name for path in list_images(f"{folder}/*")] == taken
    assert sorted(one.path.name for one in find_inputs([folder], output=tmp_path / "out")) == sorted(taken)


@pytest.mark.parametrize("encoding", list(ENCODINGS))
def test_slices(tmp_path, encoding):
    for n in range(3):
        bare(ct(phantom((3, 8, 8))[n], (0, 0, 2.5 * n)), tmp_path / f"IM{n}", encoding)
    np.testing.assert_array_equal(read_volume(tmp_path).voxels, phantom((3, 8, 8)) - 1024)


def test_two_patients_are_not_compared(tmp_path):
    first, second = radiograph(phantom()[0]), radiograph(phantom()[0])
    second.PatientID = "another"
    paths = [bare(ds, tmp_path / name, "implicit") for name, ds in (("a", first), ("b", second))]
    with pytest.raises(CfcamError, match="patient"):
        check_patients(*paths)


def test_a_segmentation_is_known(tmp_path):
    ds = radiograph(phantom()[0])
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.66.4"
    assert is_segmentation(bare(ds, tmp_path / "seg", "explicit"))


def test_what_is_called_dcm_and_is_broken_is_refused_and_not_passed_over(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.dcm").write_bytes(b"broken" * 100)
    (tmp_path / "in" / "b.txt").write_bytes(b"notes" * 100)
    PILImage.new("L", (9, 9)).save(tmp_path / "in" / "c.dcm", format="PNG")
    report = deidentify_folder(tmp_path / "in", tmp_path / "out", Deidentifier(b"k" * 16))
    assert (len(report.refused), report.others, report.written) == (1, 2, [])
    assert report.refused[0].startswith("file 1 of 3: ")


def test_what_is_no_dicom_is_not_taken_for_one():
    rng = np.random.default_rng(0)
    for data in (
        b"",
        bytes(2000),
        b"\x08\0",
        b"\x08\0\x05\0CS",
        b"\x08\0" + b"x" * 900,
        b"\x89PNG\r\n\x1a\n" + bytes(900),
    ):
        assert not is_dicom(data)
    assert not any(is_dicom(rng.bytes(600)) for _ in range(500))
    assert not any(is_dicom(b"\x08\0" + rng.bytes(600)) for _ in range(500))


def test_deflated_frames_are_de_identified_and_carried_on(tmp_path):
    stored = np.arange(256).reshape(16, 16)
    ds = framed(radiograph(stored, bits=16), "1.2.840.10008.1.2.8.1", [deflate(stored.astype("<u2").tobytes())])
    path = save_framed(ds, tmp_path / "in.dcm")
    clean = Deidentifier(b"k" * 16)(read_source(path))
    np.testing.assert_array_equal(clean.pixel_array, stored)
    assert clean.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian


def test_the_whole_of_a_series_may_lack_its_mark(tmp_path):
    files = ct_series(tmp_path / "marked", phantom())
    for file in files:
        bare(pydicom.dcmread(file), tmp_path / "bare" / file.stem, "explicit", meta=True)
    a, b = read_volume(tmp_path / "marked"), read_volume(tmp_path / "bare")
    np.testing.assert_array_equal(a.voxels, b.voxels)
    np.testing.assert_allclose(a.affine, b.affine)
