"""All that was opened: the list of studies, in which each is found by its id."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

from cfcam.errors import CfcamError
from cfcam.web.library.cache import Cache
from cfcam.web.library.found import studies_in, study_of
from cfcam.web.library.study import Study
from cfcam.web.library.uploads import Uploads
from cfcam.web.problems import NotFoundError
from cfcam.web.settings import ViewSettings

_ORDERS = {
    "name": lambda study: study.name.casefold(),
    "probability": lambda study: -(study.said().probability or -1.0),
    "status": lambda study: study.said().status or "",
    "predicted": lambda study: study.said().predicted or "",
    "label": lambda study: study.said().label or "",
}


class Library:
    """What was opened; may be used from several threads.

    Args:
        studies: in the order in which they are listed.
        cache: what is read is kept there.
        settings: of the viewer.
    """

    def __init__(
        self, studies: Iterable[Study] = (), cache: Cache | None = None, settings: ViewSettings | None = None
    ) -> None:
        self._settings = settings or ViewSettings()
        self.cache = cache or Cache(self._settings.memory)
        self._uploads = Uploads(self._settings.max_upload)
        self._lock = threading.Lock()
        self._studies = {study.id: study for study in studies}

    @classmethod
    def open(cls, settings: ViewSettings) -> Library:
        """Finds what there is in the paths of the settings; nothing is read yet.

        Raises:
            ImageError: a path is not there, or there is nothing in it.
        """
        cache = Cache(settings.memory)
        return cls(studies_in(settings, cache), cache, settings)

    def studies(self, *, text: str = "", sort: str = "") -> list[Study]:
        """Returns the studies.

        Args:
            text: what their name, class or label holds.
            sort: "name", "probability", "status", "predicted", "label"; "": as they were opened.
        """
        with self._lock:
            found = list(self._studies.values())
        if wanted := text.casefold().strip():
            found = [study for study in found if wanted in _text_of(study)]
        order = _ORDERS.get(sort)
        return found if order is None else sorted(found, key=order)

    def find(self, study_id: str) -> Study:
        """Returns a study.

        Raises:
            NotFoundError: there is none of this id.
        """
        with self._lock:
            study = self._studies.get(study_id)
        if study is None:
            raise NotFoundError(f"there is no study {study_id} here: see /api/studies for those that were opened")
        return study

    def add(self, study: Study) -> Study:
        """Takes a further study."""
        with self._lock:
            return self._studies.setdefault(study.id, study)

    def add_upload(self, pieces: Iterator[bytes]) -> Study:
        """Takes a file that was sent, once it was read.

        Args:
            pieces: of its bytes.

        Raises:
            ImageError: it is no picture and no volume, or is larger than the settings allow.
            RefusedError: there is no more room for files.
        """
        source, sha256 = self._uploads.take(pieces)
        study = study_of(source, self._settings, self.cache, place=f"upload/{sha256}")
        with self._lock:
            if study.id in self._studies:
                return self._studies[study.id]
        try:
            study.facts()
        except CfcamError:
            self._uploads.forget(sha256)
            raise
        return self.add(study)

    def close(self) -> None:
        """Removes the files that were sent."""
        self._uploads.close()


def _text_of(study: Study) -> str:
    said = study.said()
    return " ".join(filter(None, (study.name, said.predicted, said.label, said.status))).casefold()
