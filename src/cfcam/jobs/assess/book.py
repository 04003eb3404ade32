"""The answers of readers: written into the audit, and found again by study."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from cfcam.clinical.review import MapReviews, Review, Shown, Verdict, by_map
from cfcam.errors import CfcamError

if TYPE_CHECKING:
    from cfcam.clinical.audit import Audit

T = TypeVar("T")

_GENESIS = "0" * 64  # as in the audit, whose libraries are imported with the first answer
_TRIES = 100


class Trouble(StrEnum):
    """Why an answer is not taken, or not handed on."""

    NO_AUDIT = "no audit"
    NO_READER = "no reader"
    OTHER_READER = "other reader"
    BUSY = "busy"
    DAMAGED = "damaged"
    UNUSABLE = "unusable"


class BookError(CfcamError):
    """An answer is not taken, or not handed on."""


class ReviewBook:
    """The answers in an audit; may be used from several threads, and beside other programs that write to it.

    Args:
        place: the audit, a file or a database's URL; None: nothing is kept, and whoever answers is told so.
        reviewer: whose answers they are; None: each says so itself.
    """

    no_audit: ClassVar[str] = "no answers are kept, as no audit is given: give one with --audit FILE"
    no_reader: ClassVar[str] = "who answers is not known: give --reviewer NAME"
    other_reader: ClassVar[str] = "these are the answers of {}: answer under that name"

    def __init__(self, place: str | None, reviewer: str | None = None) -> None:
        self._place, self._reviewer = place, reviewer
        self._lock = threading.Lock()
        self._audit: Audit | None = None
        self._read: list[Review] = []
        self._last, self._head = 0, _GENESIS

    def trouble(self, kind: Trouble, message: str) -> CfcamError:
        """Returns the error to raise."""
        del kind
        return BookError(message)

    @property
    def open(self) -> bool:
        """Whether there is an audit."""
        return self._place is not None

    def reader(self, given: str | None) -> str:
        """Returns whose answer it is.

        Raises:
            CfcamError: nobody says, or two say different names.
        """
        own = " ".join((given or "").split())
        if self._reviewer is not None and own not in ("", self._reviewer):
            raise self.trouble(Trouble.OTHER_READER, self.other_reader.format(self._reviewer))
        if not (found := self._reviewer or own):
            raise self.trouble(Trouble.NO_READER, self.no_reader)
        return found

    def add(
        self,
        shown: Shown,
        verdict: Verdict,
        reviewer: str,
        *,
        comment: str = "",
        amended: Mapping[str, Any] | None = None,
        view: Mapping[str, Any] | None = None,
    ) -> Review:
        """Records an answer; it takes the place of the map's latest, which stays as it is.

        Raises:
            CfcamError: there is no audit, it cannot be written, or something may not be recorded.
        """
        from cfcam.clinical.audit.fields import checked_details

        review = Review(shown, verdict, reviewer, comment, amended or {}, view or {})
        checked_details(review.details())  # what may not be recorded is told apart from an audit that cannot be used
        with self._lock:
            for _ in range(_TRIES):
                before = [one for one in self._all() if one.shown.map == shown.map]
                review = replace(review, supersedes=before[-1].record_id if before else None)
                if (written := self._tried(partial(self._append, review))) is not None:
                    return written
        raise self.trouble(Trouble.BUSY, "others write into the audit all the time: answer again in a moment")

    def _append(self, review: Review, audit: Audit) -> Review | None:
        """Writes an answer behind the last record that was read; None if that is not the last any more."""
        from cfcam.clinical.audit import MovedError

        try:
            written = Review.of(audit.append("review", review.details(), head=self._head))
        except MovedError:
            return None
        assert written is not None  # noqa: S101 (it was written as one)
        return written

    def of(self, study: str, source_sha256: str) -> list[Review]:
        """Returns the answers on the maps of a study, oldest first.

        Args:
            study: its id.
            source_sha256: of its content, for another file may lie at the same place by now.

        Raises:
            CfcamError: there is no audit, or it cannot be read.
        """
        with self._lock:
            return [r for r in self._all() if r.shown.study == study and r.shown.source_sha256 == source_sha256]

    def maps_of(self, study: str, source_sha256: str) -> list[MapReviews]:
        """Returns the same map by map."""
        return list(by_map(self.of(study, source_sha256)).values())

    def certified(self, study: str, source_sha256: str) -> tuple[list[Review], str]:
        """Returns the answers as `of`, read anew from a chain that is whole, and the hash of its last record.

        Raises:
            CfcamError: there is no audit, or a record was changed or is missing.
        """
        with self._lock:
            verified = self._tried(lambda audit: audit.verify())
            if not verified.ok:
                bad = f"record {verified.first_bad} of the audit was changed or is missing"
                raise self.trouble(Trouble.DAMAGED, f"nothing is handed on, for {bad}: see cfcam audit verify")
            self._read, self._last, self._head = [], 0, _GENESIS
            self._all()
        found = self.of(study, source_sha256)
        return [one for one in found if int(one.record_id.partition("-")[0]) <= verified.count], verified.head

    def _all(self) -> list[Review]:
        """All answers; what was read before is not read again."""
        self._tried(self._read_on)
        return self._read

    def _read_on(self, audit: Audit) -> None:
        for record in audit.records(after=self._last):
            self._last, self._head = record.sequence, record.hash
            if record.action.value == "review" and (review := Review.of(record)) is not None:
                self._read.append(review)

    def _tried(self, work: Callable[[Audit], T]) -> T:
        """Has something done with the audit; what is said of it where that fails names no place."""
        from cfcam.clinical.audit import Audit, AuditError

        if self._place is None:
            raise self.trouble(Trouble.NO_AUDIT, self.no_audit)
        try:
            if self._audit is None:
                self._audit = Audit(self._place)
        except AuditError as problem:
            raise self.trouble(Trouble.UNUSABLE, "the audit cannot be opened: cfcam audit log tells why") from problem
        try:
            return work(self._audit)
        except AuditError as problem:
            said = str(problem).replace(f"the audit in {self._audit.where}", "the audit")
            known = self._audit.where not in said
            raise self.trouble(
                Trouble.UNUSABLE, said if known else "the audit cannot be used: cfcam audit log tells why"
            ) from problem
