"""Objects on disk, kept before anybody is told that they arrived: a file is there whole, once, and is never changed.

A file is written beside the others, flushed to the disk (fsync), and then linked to its name, which follows from the
object's UID; the folder is flushed too. So a crash, or the power's, leaves either the object or nothing, and of two
objects with one UID the first stays.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from cfcam.errors import CfcamError, JobError
from cfcam.files import make_folder, output_of
from cfcam.imaging.reading.dicom_object import quiet
from cfcam.imaging.reading.parsing import parse
from cfcam.jobs.gateway.places import Spool as SpoolSettings

AHEAD = "ahead"
"""Folder of the spool for objects that went to the archive while their study was in the making."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_PIECE = 1 << 20


class FullError(CfcamError, OSError):
    """The disk or the queue is full: whoever sends has to try again later."""


class Kept(StrEnum):
    """What became of an object that arrived."""

    NEW = "new"
    SAME = "there already"
    OTHER = "another object with its UID is there"


@dataclass(frozen=True)
class Arrived:
    """A file that was kept.

    Attributes:
        kept: whether it is new.
        sha256: of its data set, as it came.
        size: of its file, bytes.
    """

    kept: Kept
    sha256: str
    size: int


class Spool:
    """The folder of a gateway. One process at a time owns it; others may read.

    Args:
        settings: where it is, and how much it takes.

    Raises:
        JobError: it cannot be made or written into, or another gateway owns it.
    """

    def __init__(self, settings: SpoolSettings) -> None:
        self.folder = settings.folder
        self.objects, self.results, self.work = (self.folder / name for name in ("objects", "results", "work"))
        self.ahead = self.folder / AHEAD
        self._new = self.folder / "new"
        self._least_free = settings.least_free_mb << 20
        with ExitStack() as held:
            try:
                make_folder(self.folder, 0o700)
                held.enter_context(output_of(self.folder))  # until it is closed no link in it is followed
                parts = [self.objects / f"{n:02x}" for n in range(256)]
                for folder in (self.objects, self.results, self.work, self.ahead, self._new, *parts):
                    make_folder(folder, 0o700)
                flush(self.objects)
                lock = os.open(self.folder / "lock", os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
            except OSError as error:
                raise JobError(f"the spool cannot be written into ({error.strerror}): check [spool] folder") from error
            held.callback(os.close, lock)
            self._lock = lock
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise JobError("another gateway works in this spool: end it, or name another [spool] folder") from None
            for left in self._new.iterdir():  # by a process that was killed: nobody was told that it arrived
                left.unlink(missing_ok=True)
            self._held = held.pop_all()

    def is_lost(self) -> bool:
        """Tells whether the file of its lock was removed, so that another gateway may have it, too."""
        try:
            return not os.path.samestat(os.fstat(self._lock), (self.folder / "lock").lstat())
        except FileNotFoundError:
            return True

    def close(self) -> None:
        """Lets another gateway have it."""
        self._held.close()

    def incoming(self) -> Incoming:
        """Returns a file that is being written.

        Raises:
            FullError: the disk is full.
        """
        if self.free() < self._least_free:
            raise FullError("the disk is full")
        return Incoming(self._new / secrets.token_hex(16))

    def free(self) -> int:
        """Returns how many bytes of the disk are free."""
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize

    def path(self, key: str) -> Path:
        """Returns where an object lies.

        Args:
            key: see `cfcam.jobs.gateway.header.key_of`.
        """
        return self.objects / key[:2] / f"{key}.dcm"

    def keep(self, incoming: Incoming, key: str) -> Arrived:
        """Keeps a file under its name; when this returns, it is on the disk.

        Raises:
            FullError: the disk is full.
        """
        sha256, size = incoming.finish()
        target = self.path(key)
        try:
            os.link(incoming.path, target)
            kept = Kept.NEW
        except FileExistsError:
            same = digest_of(target) == sha256 or _equal(target, incoming.path)
            kept = Kept.SAME if same else Kept.OTHER
        except OSError as error:
            raise _full(error) from error
        flush(target.parent)  # of what was there, too: whoever brought it first may not have come so far
        return Arrived(kept, sha256, size)

    def names(self) -> Iterator[str]:
        """Yields the names of all objects."""
        for folder in sorted(self.objects.iterdir()):
            yield from (file.stem for file in sorted(folder.glob("*.dcm")))

    def remove(self, key: str) -> None:
        """Removes an object of which nothing is to be done any more."""
        self.path(key).unlink(missing_ok=True)


class Incoming:
    """A file that is being written; it goes, unless it was kept, at the end of the ``with`` block.

    Attributes:
        path: where it is.
        size: bytes of the data set so far.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.size = path, 0
        self._hash = hashlib.sha256()
        try:
            self._file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except OSError as error:
            raise _full(error) from error

    def begin(self, head: bytes) -> None:
        """Writes what stands before the data set, and is not of its content."""
        self._all(memoryview(head))

    def write(self, data: bytes | memoryview) -> None:
        """Writes a piece of the data set.

        Raises:
            FullError: the disk is full.
        """
        view = memoryview(data)
        self._hash.update(view)
        self.size += len(view)
        self._all(view)

    def _all(self, view: memoryview) -> None:
        try:
            while view:
                view = view[os.write(self._file, view) :]
        except OSError as error:
            raise _full(error) from error

    def finish(self) -> tuple[str, int]:
        """Flushes it to the disk; returns the SHA-256 of the data set and the size of the file.

        Raises:
            FullError: the disk is full.
        """
        try:
            os.fsync(self._file)
            size = os.fstat(self._file).st_size
        except OSError as error:
            raise _full(error) from error
        return self._hash.hexdigest(), size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _a: type[BaseException] | None, _b: BaseException | None, _c: TracebackType | None) -> None:
        with suppress(OSError):
            os.close(self._file)
        self.path.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Flushes a file, or the names in a folder, to the disk.

    Raises:
        FullError: the disk is full.
    """
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as error:
        raise _full(error) from error
    finally:
        os.close(opened)


def digest_of(path: Path) -> str:
    """Returns the SHA-256 of the data set in a file of PS3.10, as `Incoming` takes it."""
    with path.open("rb") as file:
        head = file.read(144)
        file.seek(144 + int.from_bytes(head[140:144], "little"))  # preamble, mark and the length of group 2
        digest = hashlib.sha256()
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def sender_of(path: Path) -> str:
    """Returns who sent the object of a file: what its group 2 says (0002,0016)."""
    from pydicom.filereader import read_file_meta_info

    with quiet():
        return str(read_file_meta_info(path).get("SourceApplicationEntityTitle") or "").strip()


def _equal(one: Path, other: Path) -> bool:
    """Whether two files hold the same elements, in whatever transfer syntax that does not touch pixels."""
    with quiet():
        try:
            first, second = parse(one), parse(other)
            compressed = [each.file_meta.TransferSyntaxUID.is_compressed for each in (first, second)]
            same = not any(compressed) and first == second
        except Exception:  # noqa: BLE001 (whatever a broken file brings: it is not the same)
            same = False
    return bool(same)


def _full(error: OSError) -> OSError:
    return FullError(error.errno or 0, "the disk is full") if error.errno in _FULL else error
