"""The lines of the page of a run, from its manifest: a run that was stopped and went on makes those of one that ran."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from cfcam.imaging.reading.files import NIFTI_EXTENSIONS
from cfcam.jobs.index.entry import Entry, View
from cfcam.jobs.index.labels import Labels
from cfcam.jobs.inputs.find import Input, Kind
from cfcam.jobs.inputs.names import label_names, safe
from cfcam.jobs.runs.manifest import Explained, Record, State

_PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
_SHOWN_BY_BROWSERS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
_FURTHER = {"_sheet": "sheet", "_report": "report", "_patient": "page for the patient", "_regions": "regions"}


class Entries:
    """Makes the lines of the page of a run.

    Args:
        output: the run's folder.
        targets: what was asked for.
        classes: names of the network's classes, if known.
        labels: the true classes, if known.

    Attributes:
        names: of the classes that occur, by their index in the lines; of what is no class by a number below 0.
    """

    def __init__(
        self, output: Path, targets: Sequence[int | str], classes: Sequence[str] | None, labels: Labels | None
    ) -> None:
        self._output = output
        self._predicted = targets[0] == "predicted" or str(targets[0]).startswith("top")
        self._classes = classes
        self._labels: Mapping[str, int] = {} if labels is None else labels.of
        self.names: dict[int, str] = {}

    def __call__(self, source: Input, record: Record) -> Entry:
        """Returns the line of an input."""
        label = self._labels.get(str(source.absolute))
        names = list(record.probabilities) or self._classes
        if label is not None:
            self._name(label, names)
        shown = _shown(source, record)
        if record.status is not State.DONE or not record.targets:
            return Entry(shown, str(State.FAILED), error=record.error or "", label=label)
        first = record.targets[0]
        answer, confidence = self._answer(record)
        glance = record.glance
        views = self._views(record)
        return Entry(
            name=shown,
            status=next(iter(first.maps.values()), ""),
            explained=self._index(first, names),
            probability=first.probability,
            answer=None if answer is None else self._name(answer, names),
            confidence=confidence,
            label=label,
            thumb=_thumb(record, views),
            original=self._original(source, record),
            views=views,
            further=_further(record),
            peak=None if glance is None else glance.peak,
            grid="" if glance is None else glance.grid,
            where=first.where,
            margin=first.margin,
        )

    def _name(self, index: int, names: Sequence[str] | None) -> int:
        if index not in self.names:
            known = names is not None and 0 <= index < len(names)
            self.names[index] = names[index] if known and names is not None else f"class {index}"
        return index

    def _index(self, target: Explained, names: Sequence[str] | None) -> int:
        """The index of a class; a contrast of two, or a score of a user's own, has none, and is numbered below 0."""
        if target.index >= 0:
            if names is None:
                self.names.setdefault(target.index, target.label)
            return self._name(target.index, names)
        for index, name in self.names.items():
            if index < 0 and name == target.label:
                return index
        index = min(0, *self.names, 0) - 1
        self.names[index] = target.label
        return index

    def _answer(self, record: Record) -> tuple[int | None, float | None]:
        if record.probabilities:
            values = list(record.probabilities.values())
            best = max(range(len(values)), key=values.__getitem__)
            return best, values[best]
        first = record.targets[0]
        return (first.index, first.probability) if self._predicted and first.index >= 0 else (None, None)

    def _views(self, record: Record) -> tuple[View, ...]:
        names = list(record.probabilities) or self._classes
        keys = {n: target.index if target.index >= 0 else -1 - n for n, target in enumerate(record.targets)}
        suffixes = label_names({keys[n]: target.label for n, target in enumerate(record.targets)})
        stems = {_stem(file): file for file in record.files if file.endswith(_ENDINGS)}
        found = []
        for n, target in enumerate(record.targets):
            for method in target.maps:
                stem = f"{record.name}_{safe(method, 40)}"
                endings = (f"_{suffixes[keys[n]]}", "") if len(record.targets) == 1 else (f"_{suffixes[keys[n]]}",)
                file = next((stems[stem + ending] for ending in endings if stem + ending in stems), None)
                if file is not None:
                    found.append(View(method, self._index(target, names), file))
        return tuple(found)

    def _original(self, source: Input, record: Record) -> str:
        if record.glance is not None and record.glance.original:
            return quote(record.glance.original)
        if source.label is not None or source.kind is not Kind.PICTURE:
            return ""
        if record.glance is None and source.path.suffix.lower() not in _SHOWN_BY_BROWSERS:
            return ""
        try:
            place = os.path.relpath(source.absolute, os.path.abspath(self._output))  # noqa: PTH100  links are kept
        except ValueError:  # another drive
            return ""
        return quote(os.fsencode(place.replace(os.sep, "/")))


_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".svg", ".pdf")


def _stem(file: str) -> str:
    return file.rpartition(".")[0]


def _shown(source: Input, record: Record) -> str:
    """What a picture is called; DICOM as its files are, for its own name is nobody's business."""
    name = source.path.name
    if source.label is None and name.lower().endswith((*_PICTURES, *NIFTI_EXTENSIONS)):
        return os.fsencode(str(source.folder / name)).decode(errors="replace")
    return record.name


def _thumb(record: Record, views: Sequence[View]) -> str:
    if record.glance is not None and record.glance.thumb:
        return record.glance.thumb
    shown = [view.file for view in views] + [file for file in record.files if _stem(file) == f"{record.name}_sheet"]
    return next((file for file in shown if not file.endswith(".pdf")), "")


def _further(record: Record) -> tuple[tuple[str, str], ...]:
    found = []
    for file in record.files:
        words = _FURTHER.get(_stem(file).removeprefix(record.name))
        if words is not None:
            kind = file.rpartition(".")[2].upper()
            found.append((file, words if kind in ("PNG", "HTML") else f"{words} ({kind})"))
    return tuple(found)
