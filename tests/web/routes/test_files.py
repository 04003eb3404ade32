"""Files that are sent: decoded before they are taken, kept under neutral names, gone at the end."""

from __future__ import annotations

import gzip
import io
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from tests.web.server import client_of, settings_of

NAME = "DOE^JANE-1901.png"


def picture(height=20, width=30):
    stream = io.BytesIO()
    PILImage.fromarray(np.arange(height * width, dtype=np.uint32).astype(np.uint8).reshape(height, width)).save(
        stream, "PNG"
    )
    return stream.getvalue()


def huge_png(side=60_000):
    """A file of a few bytes that says it is 3.6 gigapixels."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def client(temporary):
    with client_of(settings_of(max_upload=2**20, max_pixels=10_000_000, max_voxels=1000)) as found:
        yield found


def send(client, data, name=NAME):
    return client.post("/api/studies", files={"file": (name, data)})


def test_a_picture_that_is_sent_is_a_study_with_a_neutral_name_and_its_file_goes_at_the_end(temporary):
    with client_of(settings_of()) as client:
        answer = send(client, picture())
        assert answer.status_code == 201
        study = answer.json()
        assert study["name"] == "upload-1.png"
        assert client.get("/api/studies").json()["total"] == 1
        assert send(client, picture()).json()["id"] == study["id"]  # the same file is the same study
        sent = client.get(f"/api/studies/{study['id']}/original.nii").content
        assert len(sent) == 352 + 600
        kept = [path for path in temporary.rglob("*") if path.is_file()]
        assert [path.name for path in kept] == ["upload-1.png"]
        assert kept[0].parent.stat().st_mode & 0o077 == 0
        assert "JANE" not in client.get("/api/studies").text + answer.text
    assert list(temporary.rglob("*")) == []


@pytest.mark.parametrize(
    ("data", "status", "told"),
    [
        (b"hello", 415, "is a text file"),
        (b"", 415, "is empty"),
        (b"PK\x03\x04" + bytes(60), 415, "is a zip archive"),
        (picture()[:50], 415, "cut off"),
        (huge_png(), 415, "3600.0 megapixels"),
        (b"x" * (2**20 + 2**17), 413, "--max-upload"),
        (gzip.compress(bytes(10**6)), 415, "is no NIfTI file"),
    ],
)
def test_what_cannot_be_shown_is_told_and_not_kept(client, temporary, data, status, told):
    answer = send(client, data)
    assert answer.status_code == status
    assert told in answer.json()["error"]
    assert str(temporary) not in answer.text
    assert [path for path in temporary.rglob("*") if path.is_file()] == []
    assert client.get("/api/studies").json()["total"] == 0


def test_a_bomb_of_zeros_behind_a_nifti_header_is_not_unpacked(client):
    nib = pytest.importorskip("nibabel")
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape((2000, 2000, 500))
    stored = bytearray(header.binaryblock)
    stored[344:348] = b"n+1\0"
    struct.pack_into("<f", stored, 108, 352.0)
    answer = send(client, gzip.compress(bytes(stored) + bytes(4 + 10**6)))
    assert answer.status_code == 415
    assert "more than the limit" in answer.json()["error"]


def test_a_body_is_counted_while_it_comes_where_nobody_says_how_long_it_is(client):
    def pieces():
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(40):
            yield bytes(2**16)

    answer = client.post("/api/studies", content=pieces(), headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"abc", "text/plain", 415),
        (b"abc", "multipart/form-data", 400),
        (b"abc", "multipart/form-data; boundary=x", 400),
        (b"--x\r\n\r\n--x--", "multipart/form-data; boundary=x", 400),
    ],
)
def test_a_form_that_is_none_is_told(client, content, kind, status):
    answer = client.post("/api/studies", content=content, headers={"Content-Type": kind})
    assert (answer.status_code, list(answer.json())) == (status, ["error"])


def test_a_nifti_and_a_dicom_are_told_by_what_they_hold_and_not_by_their_names(client, tmp_path):
    nib, _ = pytest.importorskip("nibabel"), pytest.importorskip("pydicom")
    from tests.imaging import dicoms

    nib.save(nib.Nifti1Image(np.ones((3, 4, 5), np.float32), np.eye(4)), tmp_path / "a.nii")
    film = dicoms.save(dicoms.radiograph(np.arange(24).reshape(4, 6)), tmp_path / "film.dcm")
    volume = send(client, (tmp_path / "a.nii").read_bytes(), "x.png").json()
    assert (volume["kind"], volume["shape"]) == ("volume", [3, 4, 5])
    found = send(client, Path(film).read_bytes(), "x.png").json()
    assert found["kind"] == "picture"
    assert found["name"].startswith("study-")
    assert not any(planted in str(found) for planted in dicoms.PLANTED)
