"""Files that were sent: kept in a folder that goes at the end, under names that say nothing."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from cfcam.errors import ImageError
from cfcam.imaging.reading.dicom_object import HEAD, is_dicom
from cfcam.imaging.reading.files import is_nifti
from cfcam.imaging.reading.kinds import recognise
from cfcam.jobs.inputs.find import Input, Kind
from cfcam.jobs.inputs.privacy import labelled
from cfcam.web.problems import RefusedError

MOST = 200
"""Files that are kept, at most."""

_TIMES = 4  # the folder holds so many of the largest files
_GZIP, _NIFTI = b"\x1f\x8b", (b"n+1\0", b"n+2\0", b"ni1\0", b"ni2\0")


class Uploads:
    """The folder of files that were sent; may be used from several threads.

    Args:
        most_bytes: of a file.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes * _TIMES
        self._lock = threading.Lock()
        self._folder: Path | None = None
        self._kept: dict[str, tuple[Input, int]] = {}

    def take(self, pieces: Iterator[bytes]) -> tuple[Input, str]:
        """Writes a file down.

        Args:
            pieces: of its bytes.

        Returns:
            The file as an input, and its SHA-256; one that was sent before is not kept twice.

        Raises:
            ImageError: it is empty.
            RefusedError: there is no more room.
        """
        digest, size = hashlib.sha256(), 0
        with tempfile.NamedTemporaryFile(dir=self._place(), prefix="coming-", delete=False) as stream:
            path = Path(stream.name)
            try:
                for piece in pieces:
                    digest.update(piece)
                    size += len(piece)
                    stream.write(piece)
                stream.flush()
                sha256 = digest.hexdigest()
                return self._named(path, sha256, size), sha256
            finally:
                path.unlink(missing_ok=True)

    def _named(self, path: Path, sha256: str, size: int) -> Input:
        if size == 0:
            raise ImageError("the file that was sent is empty (0 bytes): choose another")
        with self._lock:
            if sha256 in self._kept:
                return self._kept[sha256][0]
            if len(self._kept) >= MOST or sum(size for _, size in self._kept.values()) + size > self._most:
                raise RefusedError(
                    413, "no more files are taken: end cfcam view and start it again, which removes them"
                )
            kept = path.with_name(f"upload-{len(self._kept) + 1}{_ending(path)}")
            path.replace(kept)
            found = labelled(kept)
            source = Input(kept, kind=Kind.VOLUME if is_nifti(kept) else found.kind, label=found.label or kept.name)
            self._kept[sha256] = source, size
            return source

    def forget(self, sha256: str) -> None:
        """Removes a file that cannot be read."""
        with self._lock:
            found = self._kept.pop(sha256, None)
        if found is not None:
            found[0].path.unlink(missing_ok=True)

    def close(self) -> None:
        """Removes all of them."""
        with self._lock:
            folder, self._folder = self._folder, None
            self._kept.clear()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def _place(self) -> Path:
        with self._lock:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="cfcam-view-"))
            return self._folder


def _ending(path: Path) -> str:
    """What the name of a file ends in, by its first bytes alone."""
    with path.open("rb") as stream:
        start = stream.read(HEAD)
    if start.startswith(_GZIP):
        return ".nii.gz"
    if start[344:348] in _NIFTI or start[4:8] in _NIFTI:
        return ".nii"
    if is_dicom(start):
        return ".dcm"
    try:
        return f".{recognise(start, 'it')[0].lower()}"
    except ImageError:
        return ""  # reading it will say what it is
