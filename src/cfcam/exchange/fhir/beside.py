"""What ``cfcam explain`` wrote of a study, and what the audit holds of it: all that goes into its Bundle."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfcam.clinical.report.read import ENDING, Numbers, read_study
from cfcam.errors import InputError
from cfcam.exchange.fhir.documents import DicomFile
from cfcam.exchange.fhir.transaction import bundle

if TYPE_CHECKING:
    from cfcam.clinical.audit import Audit
    from cfcam.clinical.review import Review


_ATTACHED = re.compile(rb"application#2fjson\b.{0,60}?/CheckSum\s*<([0-9A-Fa-f]{32})>", re.DOTALL)
_OTHER_PDF = "no report is in it, for the PDF beside the numbers was made of other ones: explain anew with --report pdf"
_NO_PDF = "no report is in it, for there is no PDF beside the numbers: explain with --report pdf"
_NO_OBJECT = "no DICOM object is in it, for there is none beside the numbers: explain DICOM with --dicom seg,sr"


@dataclass(frozen=True)
class Gathered:
    """What a Bundle is made of.

    Attributes:
        study: the numbers.
        recorded: when they were: by the audit, by who asks, or when their file was written.
        report: the PDF; None: there is none.
        objects: DICOM objects of this network.
        reviews: what readers said of the maps.
        notes: what is not in it, a line each.
    """

    study: Numbers
    recorded: datetime
    report: bytes | None = None
    objects: tuple[DicomFile, ...] = ()
    reviews: tuple[Review, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def bundle(self, *, keep_uids: bool = False) -> dict[str, Any]:
        """Returns the Bundle, see `cfcam.exchange.fhir.bundle`."""
        return bundle(
            self.study,
            recorded=self.recorded,
            report=self.report,
            objects=self.objects,
            reviews=self.reviews,
            keep_uids=keep_uids,
        )


def gather(path: Path, *, audit: str | None = None, recorded: datetime | None = None) -> Gathered:
    """Finds what lies beside the numbers of a study: NAME_report.pdf, and the folder NAME_dicom.

    Args:
        path: NAME_regions.json.
        audit: a file or URL; None: no record and no answers of readers are known.
        recorded: when the result was made; None: as the audit says, else when the file was written.

    Raises:
        CfcamError: a file cannot be read, or the audit is not whole, or does not hold the study.
    """
    study = read_study(path)
    name = path.name.removesuffix(ENDING)
    report, objects, notes = None, [], []
    if name != path.name:
        file = path.with_name(f"{name}_report.pdf")
        report = file.read_bytes() if file.is_file() else None
        if report is not None and not _is_of(report, path.read_bytes()):
            report = None
            notes.append(_OTHER_PDF)
        found = [DicomFile.read(one) for one in sorted(path.with_name(f"{name}_dicom").glob("*.dcm"))]
        objects = [one for one in found if one.weights == study["model"]["weights_sha256"]]
        if len(objects) < len(found):
            notes.append(f"{len(found) - len(objects)} DICOM objects are of another network, and are left out")
    if report is None and _OTHER_PDF not in notes:
        notes.append(_NO_PDF)
    if not objects:
        notes.append(_NO_OBJECT)
    reviews: tuple[Review, ...] = ()
    if audit is not None:
        when, reviews = _in_audit(study, audit)
        recorded = recorded or when
    if recorded is None:
        recorded = datetime.fromtimestamp(int(path.stat().st_mtime), UTC)
    return Gathered(study, recorded, report, tuple(objects), reviews, tuple(notes))


def _is_of(report: bytes, numbers: bytes) -> bool:
    """Tells whether a PDF may be of these numbers: its attachment has their MD5, if it says one (ISO 32000, 7.11.4)."""
    told = {found.decode().lower() for found in _ATTACHED.findall(report)}
    return not told or hashlib.md5(numbers, usedforsecurity=False).hexdigest() in told


def _in_audit(study: Numbers, place: str) -> tuple[datetime | None, tuple[Review, ...]]:
    """When a study was recorded, and the answers on its maps, from a chain that is whole."""
    from cfcam.clinical.audit import Audit

    audit = Audit(place, create=False)
    verified = audit.verify()
    if not verified.ok:
        raise InputError(f"record {verified.first_bad} of the audit was changed or is missing: see cfcam audit verify")
    when = None
    if (record_id := study["record_id"]) is not None:
        when = next((one.time for one in audit.records(action="explain") if one.id == record_id), None)
        if when is None:
            raise InputError(f"record {record_id} of this study is not in the audit: give the one it was entered in")
    return when, tuple(_reviews(study, audit, lambda number: number <= verified.count))


def _reviews(study: Numbers, audit: Audit, seen: Callable[[int], bool]) -> list[Review]:
    from cfcam.clinical.review import Review

    maps = {(one["method"], one["class_index"]) for one in study["maps"]}
    answers = [Review.of(one) for one in audit.records(action="review") if seen(one.sequence)]
    return [
        one
        for one in answers
        if one is not None
        and one.shown.source_sha256 == study["source"]["sha256"]
        and one.shown.weights_sha256 in ("", study["model"]["weights_sha256"])
        and (one.shown.method, one.shown.class_index) in maps
    ]
