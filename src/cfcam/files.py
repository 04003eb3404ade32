"""Files written whole or not at all, their hashes, and JSON in one form; what a killed run leaves can be read."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import secrets
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any

from cfcam.errors import CfcamError, DiskError, InputError, JobError, LinkError, is_full, one_line
from cfcam.json_text import parse_line
from cfcam.locks import NAME as LOCK
from cfcam.locks import alone_in, is_lock, is_lost
from cfcam.stages import WRITE, stage

_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")  # what `_temporary` makes, and nothing of a user's
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*")  # neither drives nor the other separator; most names are such
_STALE_SECONDS = 3600  # no single file takes as long to write


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


Stamp = tuple[int, int, int, int]


def stamp_of(path: str | os.PathLike[str]) -> Stamp:
    """Returns what the system says of a file: size, time of its content, time of its entry (ns), and number.

    A file with the same stamp was not written to: the third of them nobody can set but the system's clock. What may
    come within the clock's own step is for `is_settled` to say.

    Raises:
        OSError: there is none.
    """
    return _stamp(os.stat(path))  # noqa: PTH116 (a path for each of a hundred thousand is slow)


def stamp_of_file(path: str | os.PathLike[str]) -> Stamp | None:
    """Returns what the system says of a file, see `stamp_of`; None of a folder.

    Raises:
        OSError: there is none.
    """
    found = os.stat(path)  # noqa: PTH116 (as above)
    return None if stat.S_ISDIR(found.st_mode) else _stamp(found)


def _stamp(found: os.stat_result) -> Stamp:
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def is_settled(stamp: Stamp) -> bool:
    """Tells whether a file has been as it is for so long that a change from now on gives it another stamp.

    Two seconds: the coarsest step of a file system's clock.
    """
    return is_past(max(stamp[1:3]))


def is_past(changed: int) -> bool:
    """Tells whether a time of a file, in nanoseconds, is past so long that a later change has another; see above."""
    return changed + 2_000_000_000 < time.time_ns()


def stays_inside(name: object) -> bool:
    """Tells whether what a file names can only lie in the folder it is taken from: relative, without ``..``."""
    if not isinstance(name, str) or not name.strip("/\\.") or "\0" in name:
        return False
    if _PLAIN.fullmatch(name) and ".." not in name:
        return True
    path = PureWindowsPath(name)  # knows both separators, and drives
    return not path.anchor and ".." not in path.parts


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yields a name beside a file to write to, and renames it at the end: the file is there whole or not at all.

    Raises:
        LinkError: see `check_inside`.
        OSError: it cannot be written; nothing is left behind then.
    """
    check_inside(path.parent)
    temporary = _temporary(path.parent)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes | memoryview) -> Path:
    """Writes a file so that it is there whole or not at all, and returns its path.

    Raises:
        OSError: it cannot be written.
    """
    with stage(WRITE), whole(path) as temporary, temporary.open("xb") as stream:
        stream.write(data)
    return path


def save(path: Path, data: bytes, error: type[CfcamError] = InputError, *, shown: str = "") -> Path:
    """Writes a file as `write_whole` does, for a user: its folder is made, and what goes wrong is one line.

    Args:
        path: the file; its folder is made if missing. A file with the same bytes is left as it is.
        data: the content.
        error: what is raised where it cannot be written.
        shown: what the message calls the file; "" its name, for its folders may name a patient.

    Returns:
        The path.
    """
    with writing(shown or path.name, error):
        make_folder(path.parent)
        return path if holds(path, data) else write_whole(path, data)


def holds(path: Path, data: bytes) -> bool:
    """Tells whether a file is there with these bytes."""
    return path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data


_outputs: list[tuple[str, Callable[[], str]]] = []  # what this process writes into, absolute, and why it may no more
_guard = threading.Lock()


@contextmanager
def output_of(folder: Path, lost: Callable[[], str] = str) -> Iterator[None]:
    """Says that a folder is an output of this process while the context lasts: see `check_inside`.

    Args:
        folder: which.
        lost: says why this process may not write there any more; "": it may.
    """
    output = os.path.abspath(folder), lost  # noqa: PTH100 (links stay as they are)
    with _guard:
        _outputs.append(output)
    try:
        yield
    finally:
        with _guard:
            _outputs.remove(output)


def _lock_lost(folder: Path) -> str:
    return f"its lock {LOCK} was removed, so that another run may be at work there" if is_lost(folder) else ""


def check_inside(path: str | os.PathLike[str], error: type[CfcamError] | None = None) -> None:
    """Raises an error where an output of this process is its own no longer, or a link would lead out of it.

    The output itself may be a link: that is where its user wants it. A link in it was laid by whoever may write there,
    and what is behind it is not the run's.

    Args:
        path: a folder or a file, which need not be there.
        error: what is raised; None: a `DiskError`, which ends a run, of a link a `LinkError`.
    """
    name = os.path.abspath(path)  # noqa: PTH100 (as above)
    with _guard:
        outputs = [one for one in _outputs if f"{name}{os.sep}".startswith(os.path.join(one[0], ""))]  # noqa: PTH118
    for output, lost in outputs:
        if why := lost():
            gone = DiskError(output, why, "see what cfcam status says of it")
            raise gone if error is None else error(str(gone))
    for output in dict.fromkeys(output for output, _ in outputs):
        real = os.path.realpath(output)
        place = Path(output)
        for part in Path(name).relative_to(output).parts:
            place /= part
            if os.path.commonpath([real, os.path.realpath(place)]) != real:
                link = LinkError(str(place.relative_to(output)))
                raise link if error is None else error(str(link))


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Makes a folder, with those above it, unless it is there. An output of this process is not made again.

    Raises:
        LinkError: see `check_inside`.
        OSError: it cannot be made, or the output that it belongs to was removed.
    """
    check_inside(folder)
    place = Path(os.path.abspath(folder))  # noqa: PTH100 (as above)
    with _guard:
        outputs = [Path(output) for output, _ in _outputs]
    for output in outputs:
        if output in (place, *place.parents) and not output.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(output))
    folder.mkdir(mode=mode, parents=True, exist_ok=True)


@contextmanager
def writing(shown: str, error: type[CfcamError] = InputError) -> Iterator[None]:
    """Turns what the system says of a file that cannot be written into one line, which calls the file ``shown``."""
    try:
        yield
    except OSError as cause:
        reason = cause.strerror or one_line(cause)
        raise error(f"{shown}: cannot be written ({reason}); check the folder, its permissions and the disk") from cause


def make_output(
    folder: Path,
    error: type[CfcamError] = JobError,
    *,
    part: str = "",
    shown: str = "",
    option: str = "--output folder",
) -> None:
    """Makes the folder that a run writes into and tries it, so that nothing is computed for a disk that is full.

    Args:
        folder: with those above it.
        error: what is raised where it cannot be written into, or another run is at work there.
        part: what of the folder the run works on, if several share it; see `cfcam.locks.alone_in`.
        shown: what the message calls it; "" its path.
        option: what would name another.
    """
    with own_output(folder, error, part=part, shown=shown, option=option):
        pass


@contextmanager
def own_output(
    folder: Path,
    error: type[CfcamError] = JobError,
    *,
    part: str = "",
    shown: str = "",
    option: str = "--output folder",
) -> Iterator[None]:
    """Makes a folder as `make_output` does, and holds it for this run alone while the context lasts.

    What killed runs left there half written goes; of parts only once it is an hour old, as others may be at work. A
    folder that was made here goes again where nothing was written before an error. In another output of this process it
    is no link that leads out of that one.

    Raises:
        CfcamError: it cannot be written into; of the kind `DiskError` where it fills, or goes away, in the context.
    """
    check_inside(folder, error)
    with ExitStack() as stack:
        probe, made = _temporary(folder), not folder.exists()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe.touch(exist_ok=False)
            probe.unlink()
            if made:  # before the lock, so that it comes after it
                stack.push(lambda kind, _error, _trace: _gone(folder) if kind is not None else None)
            stack.enter_context(alone_in(folder, error, part=part, shown=shown, option=option))
            stack.enter_context(output_of(folder, partial(_lock_lost, folder)))
            sweep(folder, older=_STALE_SECONDS if part else 0)
        except OSError as cause:
            raise error(
                f"{shown or folder}: cannot be written into ({cause.strerror}): choose another {option}"
            ) from cause
        try:
            yield
        except OSError as cause:
            if is_full(cause) or not folder.is_dir():  # else it may be of what is read
                raise DiskError(shown or folder, cause) from cause
            raise


def _gone(folder: Path) -> None:
    with suppress(OSError):  # it is not empty
        folder.rmdir()


def _temporary(folder: Path) -> Path:
    return folder / f".{secrets.token_hex(8)}.tmp"  # nobody can guess it, and lay a link there


def sweep(folder: Path, older: float = 0) -> None:
    """Removes the temporary files of runs that were killed; folders in it that other runs hold are left alone.

    Args:
        folder: which nobody writes into.
        older: than so many seconds; 0: all.
    """
    for place, folders, names in os.walk(folder):
        if Path(place) != folder and any(map(is_lock, names)):
            folders.clear()
            continue
        for name in filter(_TEMPORARY.fullmatch, names):
            file = Path(place, name)
            with suppress(FileNotFoundError):  # its run has just renamed it, or another sweeps too
                if not older or time.time() - file.stat(follow_symlinks=False).st_mtime > older:
                    file.unlink()


@dataclass(frozen=True)
class Line:
    """A line of a file that grows.

    Attributes:
        start: its place in the file, in bytes.
        length: its bytes, with the line feed.
        values: what it holds; None where that is no JSON object.
    """

    start: int
    length: int
    values: dict[str, Any] | None


def lines_of(path: Path) -> Iterator[Line]:
    """Yields the lines of a file of JSON objects, one on each line, that a run appends to.

    A last line without its line feed is what a killed run leaves of a line: it is none.
    """
    place = 0
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield Line(place, len(line), parse_line(line))
            place += len(line)


def as_line(values: Mapping[str, Any]) -> bytes:
    """Returns an object as one line of JSON, in ASCII."""
    return json.dumps(values, separators=(",", ":")).encode("ascii") + b"\n"


@contextmanager
def _of_the_disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as cause:
        raise DiskError(folder, cause) from cause


def append_line(path: Path, values: Mapping[str, Any]) -> Line:
    """Adds an object to a file of lines, hands it to the operating system at once, and returns where it lies.

    Raises:
        DiskError: it cannot be written, or is a link that leads out of the output.
    """
    check_inside(path)
    line = as_line(values)
    with _of_the_disk(path.parent), path.open("ab") as file:
        start = file.tell()
        file.write(line)
    return Line(start, len(line), dict(values))


def settings_hash(settings: dict[str, Any]) -> str:
    """Returns the SHA-256 of plain values, independent of the order of keys."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()


def canonical(values: Any) -> bytes:
    """Returns plain values as JSON with sorted keys and no white space, ASCII: equal values give equal bytes."""
    return json.dumps(without_nan(values), sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def digest(values: Any) -> str:
    """Returns the SHA-256 of plain values, hexadecimal."""
    return hashlib.sha256(canonical(values)).hexdigest()


def without_nan(values: Any) -> Any:
    """Returns plain values with None for numbers that are not finite."""
    if isinstance(values, dict):
        return {str(key): without_nan(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [without_nan(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values


def write_json(path: Path, values: Any) -> Path:
    """Writes plain values for people and programs, whole or not at all."""
    text = json.dumps(without_nan(values), indent=2, ensure_ascii=False, allow_nan=False)
    return write_whole(path, f"{text}\n".encode())
