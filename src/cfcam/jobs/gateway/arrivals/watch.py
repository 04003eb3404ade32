"""DICOM in from a folder: what rests there is taken, and leaves it once it is on the disk of the spool."""

from __future__ import annotations

import threading
import time
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from cfcam.errors import CfcamError
from cfcam.imaging.reading.dicom_object import complete_meta, quiet
from cfcam.imaging.reading.kinds import is_dicom_file
from cfcam.imaging.reading.parsing import parse
from cfcam.jobs.gateway.arrivals.intake import Intake, RefusedError
from cfcam.jobs.gateway.arrivals.wire import file_head
from cfcam.jobs.gateway.dry import files_of
from cfcam.jobs.gateway.places import Watch
from cfcam.jobs.gateway.spool import FullError
from cfcam.log import Log

SENDER = "watch"
_PIECE = 1 << 20
_UNFINISHED = (".tmp", ".part", ".partial")


class Watcher:
    """Looks into a folder.

    Args:
        settings: which one.
        intake: takes the objects.
        log: takes a line for what is not taken.
    """

    def __init__(self, settings: Watch, intake: Intake, log: Log) -> None:
        self._settings, self._intake, self._log = settings, intake, log
        self._seen: dict[Path, tuple[int, int, float]] = {}  # size and moment of change, and since when they are so
        self._left: dict[Path, tuple[int, int]] = {}  # what is not taken, as it was then
        self._closing = threading.Event()
        self.counts: Counter[str] = Counter()
        settings.folder.mkdir(parents=True, exist_ok=True)
        self._thread = threading.Thread(target=self._run, name="cfcam-watch", daemon=True)

    def start(self) -> None:
        """Begins to look."""
        self._thread.start()

    def close(self) -> None:
        """Ends."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def _run(self) -> None:
        while not self._closing.wait(self._settings.every_s):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 (a folder of the network may come back)
                self._log.error("the watched folder cannot be read at the moment", error=type(error).__name__)

    def look(self) -> None:
        """Takes what has rested long enough."""
        now, seen = time.monotonic(), {}
        for path in files_of(self._settings.folder):
            if path.is_symlink() or path.suffix.lower() in _UNFINISHED or self._closing.is_set():
                continue
            try:
                stat = path.stat()
            except OSError:
                continue
            state = (stat.st_size, stat.st_mtime_ns)
            if self._left.get(path) == state:
                continue
            before = self._seen.get(path)
            since = before[2] if before is not None and before[:2] == state else now
            if now - since < self._settings.settle_s:
                seen[path] = (*state, since)
            elif not self._take(path, state):
                break
        self._seen = seen
        self._left = {path: state for path, state in self._left.items() if path.exists()}

    def _take(self, path: Path, state: tuple[int, int]) -> bool:
        """Takes a file; tells whether there is room for more."""
        try:
            if not is_dicom_file(path):
                raise RefusedError("the file: is no DICOM")
            bring(path, self._intake, SENDER)
        except FullError:
            return False
        except CfcamError as error:
            self._left[path] = state
            self.counts["left"] += 1
            self._log.warn("a file in the watched folder is left there", why=str(error))
        else:
            path.unlink()
            self.counts["taken"] += 1
        return True


def bring(path: Path, intake: Intake, sender: str) -> None:
    """Brings a file of DICOM into the spool.

    Raises:
        RefusedError: it is broken, or not taken.
        FullError: there is no room.
    """
    try:
        with quiet():
            header = parse(path, stop_before_pixels=True, specific_tags=["SOPClassUID", "SOPInstanceUID"])
            complete_meta(header)
            syntax = str(header.file_meta.TransferSyntaxUID)
            uid, sop_class = str(header.get("SOPInstanceUID") or ""), str(header.get("SOPClassUID") or "")
            stream, start = _data_set(path)
    except Exception as error:  # whatever pydicom says of a broken file
        raise RefusedError("the file: is broken") from error
    with intake.incoming() as file, stream:
        file.begin(file_head(sop_class, uid, syntax, sender))
        stream.seek(start)
        while piece := stream.read(_PIECE):
            file.write(piece)
        intake.take(file, sender=sender)


def _data_set(path: Path) -> tuple[BinaryIO, int]:
    """A file of PS3.10, and where its data set begins: behind group 2."""
    stream = path.open("rb")
    head = stream.read(144)
    if head[128:140] == b"DICM\2\0\0\0UL\4\0":
        return stream, 144 + int.from_bytes(head[140:144], "little")
    stream.close()
    dataset = parse(path)
    complete_meta(dataset)
    whole = BytesIO()
    dataset.save_as(whole, enforce_file_format=True)
    return whole, 144 + int.from_bytes(whole.getvalue()[140:144], "little")
