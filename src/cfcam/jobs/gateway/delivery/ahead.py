"""Objects that go to the archive while the rest of their study is in the making: a head start, and nothing more.

Why each result is still there once. The index alone says what is delivered, and knows nothing of a study until all of
it lies in its place: what went ahead is looked up here when the study's results are due, and is not sent again. If the
gateway is killed before, all of them are sent, some for the second time, as after every kill between an archive's
answer and its entry. The second time they are the same bytes: before an object goes ahead, it is flushed to the disk
and linked into a folder that outlives the process, and whoever makes the study again takes it from there, although it
would find another moment of its making, and on some devices another last digit of its map. A name in that folder is
never given to other bytes, and goes when all of the study lies where its results do.

Why a root never comes before what it names. Objects of a study go in the order in which they are made, the root at the
end; after one that did not arrive the others stay, and go with it once all are due.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from cfcam.errors import LinkError
from cfcam.files import make_folder
from cfcam.jobs.gateway.job import Written
from cfcam.jobs.gateway.spool import Spool, flush


class Ahead:
    """What waits to go ahead, and what has arrived so.

    Args:
        spool: where objects that go ahead are kept.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._lock = threading.Lock()
        self._waiting: list[Written] = []
        self._arrived: set[str] = set()
        self._over: dict[str, bool] = {}  # study -> whether it is done
        self._held = ""  # the study of which one did not arrive
        for study in spool.ahead.iterdir():
            if (spool.results / study.name).is_dir():  # all of it lies there
                shutil.rmtree(study, ignore_errors=True)

    def offer(self, one: Written) -> None:
        """Takes an object that may go."""
        with self._lock:
            self._waiting.append(one)

    def end(self, study: str, *, done: bool) -> None:
        """Lets nothing more of a study go ahead, which is done, or may be made anew."""
        with self._lock:
            self._waiting = [one for one in self._waiting if _study(one) != study]
            self._over[study] = done
            if not done:
                self._arrived = {name for name in self._arrived if not name.startswith(f"{study}/")}

    def take(self, name: str) -> bool:
        """Tells whether a result has arrived so, and forgets it."""
        with self._lock:
            there = name in self._arrived
            self._arrived.discard(name)
        return there

    def send(self, send: Callable[[Path], bool]) -> bool:
        """Sends what waits, one after the other; tells whether its study has ended meanwhile.

        Args:
            send: sends a file, and tells whether it has arrived; that it has not is no more than that.
        """
        while (one := self._next()) is not None:
            file = self._kept(one)
            if file is None or _study(one) == self._held:
                continue
            if not send(file):
                self._held = _study(one)
                continue
            with self._lock:
                self._arrived.add(one.name)
        with self._lock:
            over, self._over = self._over, {}
        for study, done in over.items():
            if done:
                shutil.rmtree(self._spool.ahead / study, ignore_errors=True)
        return bool(over)

    def _next(self) -> Written | None:
        with self._lock:
            return self._waiting[0] if self._waiting else None

    def _kept(self, one: Written) -> Path | None:
        """The file under a name that outlives the process; None where it does not go any more."""
        folder = self._spool.ahead / _study(one)
        kept = folder / one.file.name
        try:
            flush(one.file)
            with self._lock:
                if not (self._waiting and self._waiting[0] is one):
                    return None  # its study has ended meanwhile
                del self._waiting[0]
                make_folder(folder, 0o700)
                if not kept.exists():
                    kept.hardlink_to(one.file)
                elif not kept.samefile(one.file):
                    return None
            flush(folder)
            flush(folder.parent)
        except (OSError, LinkError):  # the disk is full, or the study lies at its place already
            with self._lock:
                self._waiting = [other for other in self._waiting if other is not one]
            return None
        return kept


def _study(one: Written) -> str:
    return one.name.partition("/")[0]
