"""Whole objects from a DICOM node by C-GET (PS3.4 C.4.3): over the connection that asked, so that no port is opened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from cfcam.errors import JobError
from cfcam.exchange.pacs.association import MOST_CONTEXTS, Context, NotOfferedError, associated, library
from cfcam.exchange.pacs.outcome import NetworkError, Outcome, Sent
from cfcam.exchange.pacs.place import Access, Place
from cfcam.exchange.pacs.wanted import Wanted, not_fetched

_GET = "1.2.840.10008.5.1.4.1.2.2.3"  # Study Root Query/Retrieve Information Model - GET
_PLAIN = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
# Each in a context of its own: of several in one, Orthanc takes an uncompressed one and decodes what is compressed.
_COMPRESSED = tuple(
    f"1.2.840.10008.1.2.{rest}"
    for rest in ("4.50", "4.51", "4.57", "4.70", "4.80", "4.81", "4.90", "4.91", "4.201", "4.202", "4.203", "5", "1.99")
)
_CLASSES = (MOST_CONTEXTS - 1) // (1 + len(_COMPRESSED))  # that one association holds
_AT_ONCE = 50  # UIDs in one request: what the place has sent is kept, whatever comes of the next
_FULL, _UNKNOWN = 0xA700, 0xC000


def c_get(place: Place, wanted: Sequence[Wanted], folder: Path, access: Access) -> Iterator[Sent]:
    """Yields what becomes of each object; series by series, since that is how nodes are asked.

    Raises:
        JobError: the folder cannot be written into.
    """
    for _, of_series in groupby(wanted, lambda one: (one.study, one.series)):
        waiting, most = list(of_series), _AT_ONCE
        while waiting:
            some = _some(waiting, most)
            got, error = _Getting(some, folder), None
            try:
                yield from got.ask(place, access)
            except NotOfferedError as refusal:
                yield from not_fetched(waiting, refusal)
                break
            except NetworkError as problem:
                error = problem
            missing = [one for one in some if one.number not in got.told]
            if missing and error is None and most > 1:
                most = 1  # Orthanc sends none of a list of which one is not there any more
                waiting = [*missing, *waiting[len(some) :]]
                continue
            if missing:
                yield from not_fetched(missing, error or got.silent(place))
            waiting = waiting[len(some) :]


def _some(waiting: Sequence[Wanted], most: int) -> list[Wanted]:
    """The first that one request can ask for: so many objects, of so many classes."""
    classes: set[str] = set()
    some = []
    for one in waiting[:most]:
        classes.add(one.sop_class)
        if len(classes) > _CLASSES:
            break
        some.append(one)
    return some


class _Getting:
    """One request: what it asks for, and what came."""

    def __init__(self, wanted: Sequence[Wanted], folder: Path) -> None:
        self.wanted, self.folder = {one.uid: one for one in wanted}, folder
        self.told: dict[int, Sent] = {}
        self.status: int | None = None
        self._problem: JobError | None = None

    def ask(self, place: Place, access: Access) -> Iterator[Sent]:
        """Yields the objects as they come.

        Raises:
            NetworkError: the place cannot be asked, or the connection broke.
            JobError: an object cannot be written.
        """
        net = library()
        first = next(iter(self.wanted.values()))
        classes = list(dict.fromkeys(filter(None, (one.sop_class for one in self.wanted.values()))))
        if not classes:  # the place does not say: what most pictures and results are
            classes = [str(one.abstract_syntax) for one in net.StoragePresentationContexts][: MOST_CONTEXTS - 1]
            contexts = [Context(uid, _PLAIN) for uid in classes]
        else:
            contexts = [Context(uid, (one,)) for uid in classes for one in _COMPRESSED]
            contexts += [Context(uid, _PLAIN) for uid in classes]
        handlers = [(net.evt.EVT_C_STORE, self._take)]
        seen = 0
        with associated(
            place, access, [Context(_GET, _PLAIN), *contexts], storing=classes, handlers=handlers
        ) as opened:
            if not any(str(one.abstract_syntax) == _GET for one in opened.accepted_contexts):
                raise NotOfferedError(f"{place}: gives nothing back by C-GET: fetch by DICOMweb", again=False)
            for status, _ in opened.send_c_get(self._identifier(first), _GET):
                self.status = status.get("Status")
                yield from list(self.told.values())[seen:]
                seen = len(self.told)
                if self._problem is not None:
                    opened.abort()
                    raise self._problem
                if self.status is None:
                    raise NetworkError(f"{place}: broke the connection before all had come", again=True)

    def silent(self, place: Place) -> NetworkError:
        """Returns why an object did not come though the place says that it is done."""
        code = self.status or 0
        told = f"did not send it (0x{code:04X})" if code else "did not send it, and says that it is done"
        return NetworkError(f"{place}: {told}", again=code >> 8 == 0xA7)

    def _identifier(self, first: Wanted) -> Any:
        from pydicom import Dataset

        identifier = Dataset()
        identifier.QueryRetrieveLevel = "IMAGE"
        identifier.StudyInstanceUID, identifier.SeriesInstanceUID = first.study, first.series
        identifier.SOPInstanceUID = list(self.wanted)
        return identifier

    def _take(self, event: Any) -> int:
        """Keeps one object that the place sends, as its bytes came."""
        one = self.wanted.get(str(event.request.AffectedSOPInstanceUID))
        if one is None:
            return _UNKNOWN
        try:
            data = event.encoded_dataset()
            self.told[one.number] = one.kept(self.folder, lambda path: path.write_bytes(data))
        except JobError as problem:
            self._problem = problem
            return _FULL
        return 0 if self.told[one.number].outcome is Outcome.STORED else _UNKNOWN
