"""The reports of a run: one for each study, and the page that lists them, also those of an earlier run."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from cfcam import csv_text, json_text
from cfcam.clinical.study_result import StudyResult
from cfcam.clinical.where import steadiness, where
from cfcam.files import stays_inside, write_whole
from cfcam.jobs.study.settings import StudySettings

REPORTS = "reports.html"
"""The page that lists the reports of a run; ``index.html`` is the one that shows all its pictures."""
LINE = "_index.json"
"""What the file of a study's line in the page ends in."""


def write_pages(
    study: StudyResult,
    folder: Path,
    files: Sequence[Path],
    how: StudySettings,
    *,
    palette: str,
    opacity: float,
    blend: str,
) -> list[Path]:
    """Writes the report of a study, and its line of the page that lists all.

    Args:
        study: the study.
        folder: for the files.
        files: what was written of the study before, for the links of the line.
        how: what was asked for.
        palette: of the maps.
        opacity: of the maps.
        blend: what it follows.

    Raises:
        CfcamError: a file cannot be written, or a library is missing.
    """
    if not (how.report or how.patient_page):
        return []
    from cfcam.clinical.report import IndexEntry, write_report

    look: dict[str, Any] = {"palette": palette, "opacity": opacity, "blend": blend}
    page: dict[str, Any] = {"patient_page": how.patient_page, "patient_language": how.patient_language}
    pages = write_report(study, folder, formats=how.report, **page, **look)
    entry = IndexEntry.of(study, [*pages, *files], **look)
    values = {**asdict(entry), "files": [file.relative_to(folder).as_posix() for file in entry.files]}
    line = folder / f"{study.name}{LINE}"
    write_whole(line, json.dumps(values, indent=1, ensure_ascii=False).encode())
    return [*pages, line]


def write_batch_page(lines: Sequence[Path], folder: Path, *, beside: str = "") -> Path:
    """Writes the page that lists the studies of a run.

    Args:
        lines: the files that `write_pages` wrote last for each study.
        folder: the output folder.
        beside: name of the page that shows all pictures of the run, which this one links to; "" without one.

    Raises:
        CfcamError: the page cannot be written.
    """
    from cfcam.clinical.report import IndexEntry, write_index

    entries = []
    for line in lines:
        entry = IndexEntry(**json_text.read(line, then="explain the study again"))
        entries.append(replace(entry, files=tuple(line.parent / file for file in entry.files if stays_inside(file))))
    return write_index(entries, folder, name=REPORTS, beside=beside)


_OF_MAP = ("method", "class", "class_index", "probability", "status")


def regions_csv(study: StudyResult) -> str:
    """Returns one line for each map and region, as `RegionTable.to_csv` writes them; what is unknown is empty."""
    file = io.StringIO()
    writer = csv_text.Writer(file)
    for n, one in enumerate(study.maps):
        header, *rows = (
            [csv_text.plain(field) for field in line.fields]
            for line in csv_text.lines_of(one.regions.to_csv(), "regions")
        )
        if n == 0:
            writer.write([*_OF_MAP, *header, "where", "peak", "margin"])
        probability = "" if one.probability is None else repr(one.probability)
        margin = "" if one.margin is None else repr(one.margin)
        for number, row in enumerate(rows):  # the map's own region comes first; of masks' peaks no more is known
            known = ("", "") if number else (where(study, one), steadiness(study, one))
            writer.write([one.method, one.class_name, one.class_index, probability, one.status, *row, *known, margin])
    return file.getvalue()
