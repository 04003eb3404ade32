"""One run at a time in a folder: a lock of the operating system, which a kill frees and which names who holds it."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cfcam.errors import CfcamError, JobError, few, one_line

try:
    import fcntl
except ImportError:  # Windows
    _THERE = False
else:
    _THERE = True

NAME = ".cfcam-lock"
_LONGEST = 400  # bytes of what a lock says of its holder; a longer one is none of ours
_PATIENCE_SECONDS = 0.2  # `at_work` holds a lock for a moment, to see whether it is free


def is_lock(name: str) -> bool:
    """Tells whether a file in an output folder is the lock of a run, and no part of what it wrote."""
    return name.startswith(NAME)


@dataclass(frozen=True)
class Holder:
    """A run that is at work, as its lock says it; which may be nothing.

    Attributes:
        part: of the folder; "" all of it.
        pid: its process; 0 unknown.
        host: on which machine.
        since: when it began, ISO 8601, UTC.
    """

    part: str = ""
    pid: int = 0
    host: str = ""
    since: str = ""

    def __str__(self) -> str:
        if not self.pid:
            return "it does not say which"
        return one_line(f"process {self.pid} on {self.host}, since {self.since}")


def at_work(folder: Path) -> list[Holder]:
    """Returns the runs that hold a folder, or parts of it, at this moment; those of dead processes are none."""
    try:
        names = sorted(filter(is_lock, os.listdir(folder)), reverse=True)  # noqa: PTH208
    except OSError:
        return []
    parts = [_holder(folder / name) for name in names if name != NAME and _is_held(folder / name)]
    if parts or NAME not in names or not _is_held(folder / NAME):
        return parts
    return [_holder(folder / NAME)]


def is_lost(folder: Path) -> bool:
    """Tells whether this process holds a folder by a lock whose file was removed: another run may hold it, too.

    Whoever keeps the file open keeps its lock, and a file that is made anew at its place has another.
    """
    real = os.path.realpath(folder)
    with _guard:
        held = [(Path(key), one.file) for key, one in _held.items() if one.file >= 0 and os.path.dirname(key) == real]  # noqa: PTH120
        return any(not _Lock(path)._is(file) for path, file in held)


@contextmanager
def alone_in(
    folder: Path,
    error: type[CfcamError] = JobError,
    *,
    part: str = "",
    shown: str = "",
    option: str = "--output folder",
) -> Iterator[None]:
    """Holds a folder for one run, as long as the context lasts or the process lives.

    Whoever holds it already, in the same thread, holds it once more. Where the system or the folder's file system has
    no such lock (flock(2)), there is a warning and none is held. The file that a killed run leaves is no lock any more:
    the next run takes it, and removes it.

    Args:
        folder: which exists.
        error: what is raised where another run holds it.
        part: what of the folder is meant, if several runs share it, such as ``"2-of-4"``: each part is held by one, and
            the folder as a whole by none meanwhile.
        shown: what the message calls the folder; "" its path.
        option: what would name another.

    Raises:
        CfcamError: another run is at work there; the message says which.
        OSError: nothing can be written there.
    """
    locks = [_Lock(folder / NAME, shared=bool(part)), *([_Lock(folder / f"{NAME}-{part}")] if part else [])]
    taken: list[_Lock] = []
    try:
        for lock in locks:
            if not lock.take():
                mine = "" if lock.shared else part  # of all shards at work only that one is in the way
                others = few(str(one) for one in at_work(folder) if mine in ("", one.part)) or "it has just ended"
                raise error(
                    f"{shown or folder}: another run is at work there ({others}): wait until it ends, or choose another"
                    f" {option}"
                )
            taken.append(lock)
        if not part:
            _clear(folder)
        yield
    finally:
        for lock in reversed(taken):
            lock.give_back()


@dataclass
class _Held:
    """A lock of this process: of which thread, how often, through which file; -1 where there can be none."""

    file: int
    thread: int = field(default_factory=threading.get_ident)
    times: int = 1


_held: dict[str, _Held] = {}
_guard = threading.Lock()


def _forget() -> None:
    """In a process that was forked: the lock is its parent's, and must not outlive it here."""
    global _guard
    for held in _held.values():
        if held.file >= 0:
            os.close(held.file)
    _held.clear()
    _guard = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


@dataclass(frozen=True)
class _Lock:
    path: Path
    shared: bool = False

    @property
    def _key(self) -> str:
        return os.path.join(os.path.realpath(self.path.parent), self.path.name)  # noqa: PTH118

    def take(self) -> bool:
        patience = time.monotonic() + _PATIENCE_SECONDS
        while not self._taken():
            if time.monotonic() > patience:
                return False
            time.sleep(_PATIENCE_SECONDS / 20)
        return True

    def _taken(self) -> bool:
        with _guard:
            held = _held.get(self._key)
            if held is not None and held.thread == threading.get_ident():
                held.times += 1
                return True
            file = self._locked()
            if file is not None:
                _held[self._key] = _Held(file)
            return file is not None

    def give_back(self) -> None:
        with _guard:
            held = _held.get(self._key)
            if held is None:  # of the process that this one was forked from
                return
            held.times -= 1
            if held.times:
                return
            del _held[self._key]
            if held.file < 0:
                return
            with suppress(OSError):  # of a folder that went away, or that others share
                if self.shared:
                    fcntl.flock(held.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is(held.file):
                    self.path.unlink()
            os.close(held.file)

    def _locked(self) -> int | None:
        """The open file once it is locked; None while another run holds it."""
        if not _THERE:
            return _without("this system")
        while True:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(file, (fcntl.LOCK_SH if self.shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                os.close(file)
                return None
            except OSError as problem:  # ENOLCK, ENOSYS, EOPNOTSUPP
                os.close(file)
                return _without(f"the file system of {self.path.parent} ({problem.strerror})")
            if self._is(file):
                if not self.shared:
                    _say(file)
                return file
            os.close(file)  # its holder has just ended, and removed it

    def _is(self, file: int) -> bool:
        try:
            return os.path.samestat(os.fstat(file), os.stat(self.path, follow_symlinks=False))  # noqa: PTH116
        except OSError:
            return False


def _clear(folder: Path) -> None:
    """Removes the locks of shards that were killed, for whoever holds the whole folder: nobody takes one meanwhile."""
    with _guard:
        held = _held.get(_Lock(folder / NAME)._key)
    if held is None or held.file < 0:  # no lock is held: others may be at work
        return
    for name in os.listdir(folder):  # noqa: PTH208
        if name.startswith(f"{NAME}-"):
            (folder / name).unlink(missing_ok=True)


def _without(what: str) -> int:
    warnings.warn(f"{what} knows no locks: see to it that no other run writes there", RuntimeWarning, stacklevel=5)
    return -1


def _say(file: int) -> None:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    line = json.dumps({"pid": os.getpid(), "host": socket.gethostname()[:200], "since": since}).encode()
    with suppress(OSError):  # a full disk: the lock holds without a name
        os.ftruncate(file, 0)
        os.pwrite(file, line, 0)


def _is_held(path: Path) -> bool:
    if not _THERE:
        return False
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return True
    except OSError:
        return False
    else:
        return False
    finally:
        os.close(file)


def _holder(path: Path) -> Holder:
    part = path.name.removeprefix(NAME).removeprefix("-")
    try:
        with path.open("rb") as file:
            said = json.loads(file.read(_LONGEST))
        return Holder(part, int(said["pid"]), str(said["host"]), str(said["since"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return Holder(part)
