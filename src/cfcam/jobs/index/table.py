"""The lines of the page as plain values, short enough that ten thousand of them are read in a blink."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from cfcam.jobs.index.entry import Entry
from cfcam.shown import margin_text, probability_text

COLUMNS = (
    "name", "status", "error", "explained", "probability", "answer", "confidence", "label", "thumb", "folder",
    "original", "views", "further", "peak", "typical", "where", "margin", "probability_text", "confidence_text",
)  # fmt: skip
"""What the values of a line stand for, in this order; folder.js reads them by these names. Probabilities are there to
sort by, and as texts to be shown: a number that is rounded twice is another than the command's table says."""


class _Words:
    """Numbers texts and lists, each but once."""

    def __init__(self) -> None:
        self.all: list[Any] = []
        self._place: dict[Hashable, int] = {}

    def __call__(self, word: Hashable, shown: Any = None) -> int:
        if word not in self._place:
            self._place[word] = len(self.all)
            self.all.append(word if shown is None else shown)
        return self._place[word]


def table(entries: Sequence[Entry], names: Mapping[int, str], typical: Sequence[float | None]) -> dict[str, Any]:
    """Returns the lines and the words that they refer to by number.

    Files are stated by what their names have beside that of the picture, which is the same for most of them.

    Args:
        entries: of the page.
        names: of the classes.
        typical: of each entry, from `cfcam.jobs.index.numbers.typicality`.
    """
    classes, statuses, folders, methods, views, further, endings, texts = (_Words() for _ in range(8))

    def numbered(index: int | None) -> int | None:
        return None if index is None else classes(index, names[index])

    rows = []
    for entry, like in zip(entries, typical, strict=True):
        stem = _common(entry)
        shown = tuple((methods(v.method), numbered(v.index), endings(quote(v.file[len(stem) :]))) for v in entry.views)
        more = tuple((endings(quote(file[len(stem) :])), words) for file, words in entry.further)
        folder, _, file = entry.original.rpartition("/")
        rows.append(
            [
                entry.name,
                statuses(entry.status),
                entry.error,
                numbered(entry.explained),
                _number(entry.probability),
                numbered(entry.answer),
                _number(entry.confidence),
                numbered(entry.label),
                quote(entry.thumb),
                folders(folder),
                file,
                [quote(stem), views(shown, shown)],
                further(more, more),
                None if entry.peak is None else list(entry.peak),
                None if like is None else round(like, 3),
                entry.where,
                None if entry.margin is None else margin_text(entry.margin).removeprefix("margin "),
                texts(probability_text(entry.probability, 3)),
                texts(probability_text(entry.confidence, 3)),
            ]
        )
    return {
        "columns": COLUMNS,
        "rows": rows,
        "classes": classes.all,
        "statuses": statuses.all,
        "folders": folders.all,
        "methods": methods.all,
        "views": views.all,
        "further": further.all,
        "endings": endings.all,
        "texts": texts.all,
    }


def _number(probability: float | None) -> float | None:
    """With the nine digits that tell any two numbers of 32 bits apart; None for what is no number."""
    return None if probability is None or not math.isfinite(probability) else float(f"{probability:.9g}")


def _common(entry: Entry) -> str:
    """What the names of the files of an entry begin with."""
    files = [view.file for view in entry.views] + [file for file, _ in entry.further]
    first, last = min(files, default=""), max(files, default="")
    same = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[: first.rfind("_", 0, same + 1)] if "_" in first[: same + 1] else ""
