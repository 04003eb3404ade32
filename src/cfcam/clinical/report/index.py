"""The page of a batch: one line a study, to be sorted and filtered without any library."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cfcam._version import __version__
from cfcam.clinical.checks.results import Outcome
from cfcam.clinical.report import words
from cfcam.clinical.report.encoding import thumbnail
from cfcam.clinical.report.pictures import resampled
from cfcam.clinical.report.planes import planes_of
from cfcam.clinical.report.sections import readable
from cfcam.clinical.report.templating import templates, text_of
from cfcam.clinical.study_result import StudyResult
from cfcam.clinical.where import steadiness, where
from cfcam.errors import InputError
from cfcam.files import save
from cfcam.imaging.drawing.look import OPACITY, Look
from cfcam.imaging.drawing.overlay import overlay
from cfcam.imaging.drawing.palettes import EMBER

INDEX = "index.html"
"""Name of the page."""

_THUMBNAIL = 128  # pixels of the longer side


@dataclass(frozen=True)
class IndexEntry:
    """One study in the page of a batch.

    Attributes:
        name: of the study.
        prediction: the most probable class; None if no probability is known.
        probability: of that class, in [0, 1].
        explained: class of the first map; None without a map.
        method: of the first map; None without a map.
        status: of the first map, "ok" or why it cannot be read; "no map" without one.
        region_size: of what the first map marks, in ``unit``; None without a map that can be read.
        unit: "mm²", "mm³", "pixels" or "voxels"; "" without a map.
        flags: checks that were flagged.
        assessed: checks that passed or were flagged.
        files: what was written of this study, within the folder of the page.
        thumbnail: data URI of a small picture with the first map.
        doubt: that the class of the first map is one that the network does not predict; "" for a likely one.
        where: where the first map points, in words; "" without a map.
        peak: how steady that is.
        origin: date, body part and view of the study, as far as they are known.
        measured: where the millimetres of a radiograph are measured; "" where nothing is to be said of them.
    """

    name: str
    prediction: str | None
    probability: float | None
    explained: str | None
    method: str | None
    status: str
    region_size: float | None
    unit: str
    flags: int
    assessed: int
    files: tuple[Path, ...]
    thumbnail: str = ""
    doubt: str = ""
    where: str = ""
    peak: str = ""
    origin: str = ""
    measured: str = ""

    @classmethod
    def of(
        cls,
        study: StudyResult,
        files: Iterable[Path],
        *,
        palette: str = EMBER,
        opacity: float = OPACITY,
        blend: str = "value",
    ) -> IndexEntry:
        """Returns the line of a study.

        Args:
            study: the study.
            files: its files, such as `write_report` returned them.
            palette: of the small picture.
            opacity: as for `cfcam.imaging.overlay`.
            blend: likewise.

        Raises:
            InputError: the palette is none, or the map has a value outside of [0, 1].
        """
        first = study.maps[0] if study.maps else None
        known = {name: value for name, value in study.probabilities.items() if value is not None}
        prediction = max(known, key=lambda name: known[name]) if known else None
        outcomes = [check.outcome for check in study.checks]
        region = first.regions.regions[0] if first is not None and readable([first]) else None
        return cls(
            name=study.name,
            prediction=prediction,
            probability=None if prediction is None else known[prediction],
            explained=None if first is None else first.class_name,
            method=None if first is None else first.method,
            status="no map" if first is None else first.status,
            region_size=None if region is None else region.size,
            unit="" if region is None else region.unit,
            flags=outcomes.count(Outcome.FLAG),
            assessed=len(outcomes) - outcomes.count(Outcome.NOT_ASSESSED),
            files=tuple(files),
            thumbnail=_thumbnail(study, Look(palette, opacity, blend)),
            doubt="" if first is None else words.doubt(study, first),
            where="" if region is None or first is None else where(study, first),
            peak="" if region is None or first is None else steadiness(study, first),
            origin=_origin(study),
            measured="" if region is None or first is None else first.regions.measured or "",
        )

    @property
    def size_shown(self) -> str:
        """The size of the region with its unit."""
        if self.region_size is None:
            return words.NOT_KNOWN
        return " ".join(filter(None, (words.size(self.region_size, self.unit), self.measured)))

    @property
    def probability_shown(self) -> str:
        """The probability as text."""
        return words.probability(self.probability)


def write_index(entries: Sequence[IndexEntry], folder: Path, *, name: str = INDEX, beside: str = "") -> Path:
    """Writes the page of a batch into a folder: whole or not at all, the same bytes for the same entries.

    Args:
        entries: in the order in which they are to stand at first.
        folder: the folder; the entries' files lie in it or below.
        name: of the page.
        beside: name of another page in the folder that shows all pictures, to be linked; "" without one.

    Raises:
        InputError: a file lies elsewhere, or the page cannot be written.
    """
    script = text_of("sort.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = (
        templates()
        .get_template("index.html.j2")
        .render(
            rows=[(entry, [_link(file, entry, folder) for file in entry.files]) for entry in entries],
            flagged=sum(entry.flags > 0 for entry in entries),
            unassessed=sum(entry.assessed == 0 for entry in entries),
            beside=beside,
            research=words.RESEARCH,
            not_known=words.NOT_KNOWN,
            style=text_of("style.css"),
            script=script,
            script_hash=f"sha256-{digest}",
            version=__version__,
        )
    )
    return save(folder / name, page.encode())


def _link(file: Path, entry: IndexEntry, folder: Path) -> tuple[str, str]:
    """Where a file is, seen from the page, and what it is called there."""
    inside, root = Path(os.path.abspath(file)), Path(os.path.abspath(folder))  # noqa: PTH100  links are kept
    if not inside.is_relative_to(root):
        raise InputError(f"{file.name}: lies outside of the folder of {INDEX}; write it there, or leave it out")
    return inside.relative_to(root).as_posix(), file.name.removeprefix(entry.name).lstrip("_.") or file.name


def _origin(study: StudyResult) -> str:
    origin = study.origin
    return "" if origin is None else ", ".join(filter(None, (origin.date, origin.part, origin.view)))


def _thumbnail(study: StudyResult, look: Look) -> str:
    shown = readable(study.maps[:1])
    plane = planes_of(study, [one.heatmap for one in shown])[0]
    if not shown:
        return thumbnail(plane.base, _THUMBNAIL)
    heat = resampled(np.asarray(plane.cut(shown[0].heatmap), dtype=np.float32), plane.base.shape)
    drawn = overlay(plane.base, heat, **look._asdict(), threshold=shown[0].regions.threshold)
    return thumbnail(drawn, _THUMBNAIL)
