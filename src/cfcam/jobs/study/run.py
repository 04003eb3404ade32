"""Everything that is written of a study, each from its one `StudyResult`: objects, tables, report, record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from cfcam.clinical.study_result import StudyResult
from cfcam.clinical.where import steadiness, where
from cfcam.errors import CfcamError
from cfcam.exchange.dicom.study import DicomSource, write_dicom
from cfcam.explanation import Explanation
from cfcam.files import write_whole
from cfcam.imaging import Image, Volume
from cfcam.jobs.inputs.find import Input
from cfcam.jobs.study.explained import Results
from cfcam.jobs.study.pages import regions_csv, write_pages
from cfcam.jobs.study.record import enter, enter_failure
from cfcam.jobs.study.settings import StudySettings
from cfcam.maps import Status
from cfcam.memory import give_back

if TYPE_CHECKING:
    from cfcam.clinical.audit.audit import Audit

_NO_DICOM = "inputs that are no DICOM get no DICOM objects; their maps are written as pictures, of volumes as NIfTI too"


@dataclass(frozen=True)
class Written:
    """What was written of a study.

    Attributes:
        files: all of them.
        left_out: which DICOM objects were asked for and not written, and why.
        places: (index, name) of a class -> where its first map that can be read is hottest, and how steady that is.
    """

    files: tuple[Path, ...]
    left_out: tuple[str, ...]
    places: Mapping[tuple[int, str], str]


class Studies:
    """Writes what is asked for of one study after the other, each while it is in memory.

    Args:
        results: makes the result of a study.
        folder: for the files.
        palette: of overlays.
        opacity: of overlays.
        blend: what it follows.

    Raises:
        CfcamError: the audit cannot be opened, or a library is missing.
    """

    def __init__(self, results: Results, folder: Path, *, palette: str, opacity: float, blend: str) -> None:
        self._results, self._how, self._engine = results, results.how, results.engine
        self._folder = folder
        self._look: dict[str, Any] = {"palette": palette, "opacity": opacity, "blend": blend}
        self._audit = _opened(self._how)

    def __call__(self, image: Image | Volume, explanation: Explanation, x: Tensor, name: str, given: Input) -> Written:
        """Writes the files of a study, and enters it in the audit.

        Args:
            image: picture or volume, as it was read.
            explanation: of this one.
            x: (C, *spatial), as the network saw it.
            name: what the names of its files begin with, with sub-folders.
            given: the input.

        Raises:
            CfcamError: an object, the report or the record cannot be written.
        """
        stem = self._folder / name
        made = self._results(image, explanation, x, stem.name, given)
        self._note(made.notes)
        study, files, left_out = made.study, *self._objects(made.study, made.source, stem)
        if self._audit is not None:
            record = enter(self._audit, study, files, made.masks, self._how, self._results.settings_sha256)
            study = replace(study, record_id=record.id)
        tables = self._tables(study, stem)
        pages = write_pages(study, stem.parent, tables, self._how, **self._look)
        return Written((*files, *tables, *pages), left_out, _places(study))

    def failed(self, data_sha256: str | None, cause: str) -> None:
        """Enters in the audit that a study failed; what cannot be entered becomes a note."""
        if self._audit is not None and cause != "AuditError":
            try:
                enter_failure(self._audit, data_sha256, self._engine, cause, self._results.settings_sha256)
            except CfcamError as error:
                self._note([f"a failed study is not in the audit: {error}"])

    def _objects(
        self, study: StudyResult, source: DicomSource | None, stem: Path
    ) -> tuple[list[Path], tuple[str, ...]]:
        """The DICOM objects, and why some of them were not written."""
        if not self._how.dicom:
            return [], ()
        if source is None:
            self._note([_NO_DICOM])
            return [], ()
        if len(source.objects) > 1:
            give_back()  # once more: the objects are as large as the volume in bytes
        files, notes = write_dicom(
            study,
            source,
            self._how.dicom,
            stem.with_name(f"{stem.name}_dicom"),
            **self._look,
        )
        self._note(notes)
        return files, tuple(notes)

    def _tables(self, study: StudyResult, stem: Path) -> list[Path]:
        from cfcam.clinical.report.numbers import as_json

        files = {".csv": regions_csv(study).encode(), ".json": as_json(study)}
        written = []
        for suffix, data in files.items():
            file = stem.with_name(f"{stem.name}_regions{suffix}")
            write_whole(file, data)
            written.append(file)
        return written

    def _note(self, notes: Iterable[str]) -> None:
        self._engine.notes += [note for note in dict.fromkeys(notes) if note not in self._engine.notes]


def _places(study: StudyResult) -> dict[tuple[int, str], str]:
    """For each class where the first map that can be read is hottest, and how steady that is."""
    found: dict[tuple[int, str], str] = {}
    for one in study.maps:
        if one.status == Status.OK:
            found.setdefault((one.class_index, one.class_name), f"{where(study, one)}, {steadiness(study, one)}")
    return found


def _opened(how: StudySettings) -> Audit | None:
    if how.record is None:
        return None
    from cfcam.clinical.audit.audit import Audit

    return Audit(how.record)
