"""NIfTI headers that claim what is not there: refused before the file is unpacked."""

from __future__ import annotations

import gzip
import re
import struct

import nibabel as nib
import numpy as np
import pytest

from cfcam.errors import ImageError
from cfcam.imaging import read_volume
from cfcam.imaging.reading import nifti

VOXELS = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
OFFSET, DATATYPE = 108, 70  # of vox_offset (float32) and datatype (int16) in a NIfTI-1 header (nifti1.h)


def file_of(folder, **fields):
    data = bytearray(nib.Nifti1Image(VOXELS, np.eye(4)).to_bytes())
    for place, (kind, value) in fields.items():
        struct.pack_into(kind, data, {"offset": OFFSET, "datatype": DATATYPE, "bits": 72}[place], value)
    path = folder / "a.nii.gz"
    path.write_bytes(gzip.compress(bytes(data)))
    return path


@pytest.mark.parametrize("offset", [float("nan"), float("inf"), 2.1e9, 3e38])
def test_an_offset_that_cannot_be_is_refused_before_the_file_is_unpacked_to_it(offset, tmp_path, monkeypatch):
    path = file_of(tmp_path, offset=("<f", offset))
    monkeypatch.setattr(nifti, "_read", None)
    with pytest.raises(ImageError, match=re.escape(f"its voxels begin at byte {offset:g}, which cannot be")):
        read_volume(path)


@pytest.mark.parametrize("offset", [-1.0, 351.0, -3e38])
def test_an_offset_in_the_header_is_refused(offset, tmp_path):
    with pytest.raises(ImageError, match=r"header is broken|cannot be"):
        read_volume(file_of(tmp_path, offset=("<f", offset)))


def test_extensions_before_the_voxels_are_passed_over(tmp_path):
    image = nib.Nifti1Image(VOXELS, np.eye(4))
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"x" * 100_000))
    nib.save(image, tmp_path / "a.nii.gz")
    assert np.array_equal(read_volume(tmp_path / "a.nii.gz").voxels, VOXELS)


def test_colours_are_refused_before_their_voxels_are_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(nifti, "_read", None)
    with pytest.raises(ImageError, match="holds complex numbers"):
        read_volume(file_of(tmp_path, datatype=("<h", 1792), bits=("<h", 128)))


def test_no_more_is_asked_for_than_is_there():
    class Stream:
        asked = 0

        def read(self, size):
            self.asked = max(self.asked, size)
            return b""

    stream = Stream()
    assert nifti._read(stream, b"start", 2**40) == b"start"
    assert stream.asked <= 2**20
