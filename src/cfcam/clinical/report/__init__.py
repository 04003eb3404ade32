"""Reports of a study: a page, a PDF with its numbers attached, a page for the patient, and the page of a batch.

Research use only; not a medical device.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from cfcam.clinical.report.index import INDEX, IndexEntry, write_index
from cfcam.clinical.report.numbers import as_json, study_numbers
from cfcam.clinical.report.page import render
from cfcam.clinical.report.patient import render_patient
from cfcam.clinical.report.pdf import as_pdf
from cfcam.clinical.study_result import StudyResult
from cfcam.errors import InputError
from cfcam.files import save
from cfcam.imaging.drawing.look import OPACITY
from cfcam.imaging.drawing.palettes import EMBER

__all__ = ["FORMATS", "INDEX", "IndexEntry", "study_numbers", "write_index", "write_report"]

FORMATS = ("html", "pdf")
"""The formats of a report."""


def write_report(
    study: StudyResult,
    folder: Path,
    *,
    formats: Collection[str] = ("html",),
    palette: str = EMBER,
    opacity: float = OPACITY,
    blend: str = "value",
    patient_page: bool = False,
    patient_language: str = "en",
) -> list[Path]:
    """Writes the report of a study; every file is there whole or not at all, and has the same bytes on repeat.

    Args:
        study: the study.
        folder: made if missing; files of the same names are replaced.
        formats: some of `FORMATS`: `{name}_report.html`, and `{name}_report.pdf`, which is PDF/A-3b and has the
            numbers (`study_numbers`) attached as study.json.
        palette: of the maps.
        opacity: as for `cfcam.imaging.overlay`; the page on the screen lets the reader change it.
        blend: likewise.
        patient_page: also write `{name}_patient.html`, in plain words; it says that somebody must release it.
        patient_language: of that page, "en" or "de".

    Returns:
        The files written.

    Raises:
        InputError: an unknown format, palette or language, an opacity or a map out of its range, a study whose name is
            no file name, or a file cannot be written.
        MissingExtraError: "pdf" without WeasyPrint.
    """
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown or not (formats or patient_page):
        raise InputError(f"formats are {', '.join(sorted(formats)) or 'none'}: give some of {', '.join(FORMATS)}")
    if not study.name or Path(study.name).name != study.name:
        raise InputError("a study's name is what its files are called: give one without slashes")
    contents: dict[str, bytes] = {}
    if formats:
        page = render(study, palette=palette, opacity=opacity, blend=blend)
        if "html" in formats:
            contents["report.html"] = page.encode()
        if "pdf" in formats:
            contents["report.pdf"] = as_pdf(page, as_json(study))
    if patient_page:
        look: dict[str, Any] = {"palette": palette, "opacity": opacity, "blend": blend}
        contents["patient.html"] = render_patient(study, **look, language=patient_language).encode()
    return [save(folder / f"{study.name}_{ending}", data) for ending, data in contents.items()]
