"""Whether a record still holds: its input and its files are as they were."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from cfcam.errors import ImageError
from cfcam.files import Stamp, is_settled, sha256_of, stamp_of, stamp_of_file
from cfcam.imaging.reading.elsewhere import Elsewhere
from cfcam.jobs.inputs.find import Input, Kind
from cfcam.jobs.runs.manifest import Record
from cfcam.shown import absence


def stamp_before(source: Input) -> Stamp | None:
    """Returns the stamp of a picture's file that is about to be read; None where it would say too little.

    Raises:
        OSError: it cannot be asked.
        ImageError: there is no file; likewise of what lies elsewhere.
    """
    if source.kind is not Kind.PICTURE:
        return None
    try:
        stamp = _stamp_of(source.path)
    except FileNotFoundError as error:
        raise ImageError(f"{absence(source.path)}; check the path") from error
    if stamp is None:
        return None
    return stamp if is_settled(stamp) else None


def _stamp_of(path: Path) -> Stamp | None:
    return path.stamp() if isinstance(path, Elsewhere) else stamp_of_file(path)


def stamps_of(before: Stamp | None, files: Iterable[str], folder: Path) -> dict[str, Stamp]:
    """Returns what a record has of stamps.

    Args:
        before: of its input.
        files: that were written, relative to the output folder.
        folder: that is.

    Raises:
        OSError: a file is gone.
    """
    return {} if before is None else {"": before} | {name: stamp_of(folder / name) for name in files}


def verified(record: Record, folder: Path) -> bool:
    """Tells whether all files of a record are in the folder, as they were written."""
    try:
        return all(sha256_of(folder / name) == digest for name, digest in record.files.items())
    except OSError:
        return False


def untouched(record: Record, source: Path, folder: Path) -> bool:
    """Tells whether the input of a record and its files have the stamps that they had: nothing is read then.

    Args:
        record: of an input that was explained.
        source: the input's file.
        folder: of the files.
    """
    stamps = record.stamps
    if len(stamps) <= len(record.files) or "" not in stamps:
        return False
    try:
        same = all(stamp_of(f"{folder}/{name}") == stamps[name] for name in record.files)
        return same and _stamp_of(source) == stamps[""]
    except (OSError, KeyError, ImageError):
        return False


def stands(record: Record, digest: Callable[[], str], folder: Path) -> bool:
    """Tells whether a record still holds: its input and its files are as they were.

    Args:
        record: of an input that was explained.
        digest: returns the SHA-256 that the input would have, if it was read.
        folder: of the files.
    """
    try:
        same = record.sha256 == digest()
    except Exception:  # noqa: BLE001 (whatever it is, reading the input will meet it too, and say so)
        return False
    return same and verified(record, folder)
