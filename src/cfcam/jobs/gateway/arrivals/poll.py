"""DICOM in by asking an archive what is new: what is not in the spool is fetched, and kept like everything else."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from datetime import datetime, timedelta

from cfcam.errors import CfcamError
from cfcam.exchange.pacs.fetching import fetch
from cfcam.exchange.pacs.place import Place
from cfcam.exchange.pacs.querying import query
from cfcam.exchange.pacs.wanted import Wanted, listing
from cfcam.jobs.gateway.access import access_of
from cfcam.jobs.gateway.arrivals.intake import Intake
from cfcam.jobs.gateway.arrivals.watch import bring
from cfcam.jobs.gateway.header import key_of
from cfcam.jobs.gateway.index import Index
from cfcam.jobs.gateway.places import Poll
from cfcam.jobs.gateway.spool import FullError, Spool
from cfcam.log import Log

SENDER = "poll"
_AT_ONCE = 64  # objects that lie beside the spool at a time


class Poller:
    """Asks an archive again and again.

    Args:
        settings: whom, and what for.
        spool: with a folder for what is fetched.
        index: what was taken before.
        intake: takes the objects.
        log: takes a line when the archive does not answer.

    Raises:
        InputError: a password is not there.
    """

    def __init__(self, settings: Poll, spool: Spool, index: Index, intake: Intake, log: Log) -> None:
        self._settings, self._spool, self._index, self._intake, self._log = settings, spool, index, intake, log
        self._place, self._access = Place.parse(settings.place), access_of(settings)
        self._refused: set[str] = set()
        self._closing = threading.Event()
        self._down = False
        self.counts: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._run, name="cfcam-poll", daemon=True)

    def start(self) -> None:
        """Begins to ask."""
        self._thread.start()

    def close(self) -> None:
        """Ends."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(self._settings.timeout_s + 5)

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self.look()
                if self._down:
                    self._log.info("the archive that is asked answers again")
                self._down = False
            except FullError:
                pass  # there is room again later
            except Exception as error:  # noqa: BLE001 (the thread has to live on)
                if not self._down:
                    why = str(error) if isinstance(error, CfcamError) else type(error).__name__
                    self._log.warn("the archive that is asked does not answer, and is asked again", why=why)
                self._down = True
            self._closing.wait(self._settings.every_s)

    def look(self) -> None:
        """Takes what is new.

        Raises:
            NetworkError: the archive does not answer.
            FullError: there is no room for more.
        """
        today = datetime.now().astimezone().date()
        first = today - timedelta(days=self._settings.days - 1)
        keys = {"StudyDate": f"{first:%Y%m%d}-{today:%Y%m%d}"}
        for study in query(self._place, "study", keys, self._access):
            if self._closing.is_set():
                return
            self._take(str(study.StudyInstanceUID))

    def _take(self, study: str) -> None:
        modalities = set(self._settings.modalities)
        keys = {"StudyInstanceUID": study}
        series = [
            str(one.SeriesInstanceUID)
            for one in query(self._place, "series", keys, self._access)
            if str(one.get("Modality") or "") in modalities
        ]
        if not series:
            return
        new = [one for one in listing(self._place, [study], self._access, series=series) if self._is_new(one.uid)]
        for at in range(0, len(new), _AT_ONCE):
            self._fetch(new[at : at + _AT_ONCE])

    def _is_new(self, uid: str) -> bool:
        return not (key_of(uid) in self._refused or self._index.known(key_of(uid)) or self._index.ours(uid))

    def _fetch(self, wanted: list[Wanted]) -> None:
        folder = self._spool.folder / "fetched"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            for sent in fetch(self._place, wanted, folder, self._access).sent:
                self.counts[str(sent.outcome)] += 1
                if sent.path is None:
                    continue
                try:
                    bring(sent.path, self._intake, SENDER)
                except FullError:
                    raise
                except CfcamError as error:
                    self._refused.add(key_of(sent.uid))
                    self._log.warn("an object of the archive is not taken", object=key_of(sent.uid), why=str(error))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self._intake.settle()
