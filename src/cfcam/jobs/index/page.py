"""Writes the page of a folder: one file of HTML, with its lines, its styles and its script in it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from cfcam._version import __version__
from cfcam.errors import JobError
from cfcam.files import whole, writing
from cfcam.imaging import colorize
from cfcam.imaging.drawing.look import Look
from cfcam.imaging.drawing.overlay import blended
from cfcam.imaging.drawing.palettes import levels
from cfcam.imaging.drawing.palettes import table as colours_of
from cfcam.imaging.drawing.parts import COLORBAR_LABEL, MID_GREY, described_label
from cfcam.jobs.index.embedded import embedded
from cfcam.jobs.index.entry import Entry
from cfcam.jobs.index.glance import GRID
from cfcam.jobs.index.numbers import Group, confusion, groups, typicality, wilson
from cfcam.jobs.index.table import table

if TYPE_CHECKING:
    from jinja2 import Environment

PAGE = "index.html"
"""Name of the page, in the output folder."""

_MEAN_SIDE = 192
_SHOWN_GROUPS = 24
_SHOWN_MEMBERS = 4
_FEWEST = 3  # maps of a class that make a mean worth comparing with
_LARGEST_TABLE = 12  # classes; more are told as the most frequent errors
_SHOWN_ERRORS = 20
_PLAIN = Look()
_RAMP = np.linspace(0, 1, 256, dtype=np.float32)[None]
_PICTURES_GO_HERE = "<!-- the pictures -->"


@dataclass(frozen=True)
class Facts:
    """What the page says of the run as a whole.

    Attributes:
        network: what the network is called.
        layer: the layer that was mapped.
        methods: of the maps, in order; small pictures and mean maps are of the first.
        total: how many inputs the run has; those that it has not reached are on no line.
        look: of the maps.
        notes: what a reader should know.
        reports: file with the reports of all studies, relative to the output folder; "" without one.
    """

    network: str
    layer: str
    methods: Sequence[str]
    total: int
    look: Look = _PLAIN
    notes: Sequence[str] = ()
    reports: str = ""


@dataclass(frozen=True)
class _Shown:
    """A group as the page shows it."""

    group: Group
    words: str
    short: str
    picture: str
    typical: Sequence[int]
    untypical: Sequence[int]


def write_page(
    entries: Sequence[Entry],
    names: Mapping[int, str],
    folder: Path,
    facts: Facts,
    *,
    labelled: bool = False,
    self_contained: bool = False,
) -> Path:
    """Writes the page.

    Args:
        entries: its lines.
        names: of the classes in them.
        folder: the output folder.
        facts: of the run.
        labelled: whether true classes are known.
        self_contained: put the pictures into the page, reduced to `cfcam.jobs.index.embedded.SIDE` pixels.

    Raises:
        JobError: it cannot be written.
    """
    html = render(entries, names, facts, labelled=labelled, self_contained=self_contained)
    before, _, after = html.partition(_PICTURES_GO_HERE)
    path = folder / PAGE
    with writing(str(path), JobError), whole(path) as temporary, temporary.open("xb") as stream:
        for part in _parts(before, after, entries if self_contained else (), folder):
            stream.write(part.encode())
    return path


def _parts(before: str, after: str, entries: Sequence[Entry], folder: Path) -> Iterator[str]:
    yield before
    for number, entry in enumerate(entries):
        yield from embedded(entry, number, folder)
    yield after


def render(
    entries: Sequence[Entry],
    names: Mapping[int, str],
    facts: Facts,
    *,
    labelled: bool = False,
    self_contained: bool = False,
) -> str:
    """Returns the page as HTML, without the pictures of one that is self-contained."""
    typical = typicality(entries)
    shown = groups(entries, typical)
    palette = facts.look.palette
    style, script = _text("folder.css"), _text("folder.js")
    data = table(entries, names, typical) | {"labelled": labelled, "embedded": self_contained}
    failed = sum(entry.status == "failed" for entry in entries)
    return (
        _templates()
        .get_template("folder.html.j2")
        .render(
            facts=facts,
            labelled=labelled,
            explained=len(entries) - failed,
            failed=failed,
            waiting=facts.total - len(entries),
            accuracy=_accuracy(entries) if labelled else None,
            confusion=_Confusion.of(entries, names) if labelled else None,
            groups=[_shown(group, names, palette, typical, labelled=labelled) for group in shown[:_SHOWN_GROUPS]],
            more_groups=max(0, len(shown) - _SHOWN_GROUPS),
            ramp=_as_png(colorize(_RAMP, palette)),
            bar="" if facts.look.blend == "contour" else _bar(facts.look),
            legend=described_label(COLORBAR_LABEL, facts.look),
            grid=GRID,
            fewest=_FEWEST,
            data=_as_script(data),
            style=style,
            script=script,
            style_hash=_hash(style),
            script_hash=_hash(script),
            self_contained=self_contained,
            pictures_go_here=_PICTURES_GO_HERE,
            version=__version__,
        )
    )


@cache
def _templates() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


@cache
def _text(name: str) -> str:
    return files(__package__).joinpath("templates", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _as_script(values: Any) -> str:
    """Returns values as JSON that can stand in a script element, whatever names they hold."""
    text = json.dumps(values, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _accuracy(entries: Sequence[Entry]) -> tuple[int, int, float, float]:
    """Right answers, pictures of which that is known, and the interval of their share."""
    known = [entry.wrong for entry in entries if entry.wrong is not None]
    return known.count(False), len(known), *wilson(known.count(False), len(known))


@dataclass(frozen=True)
class _Confusion:
    """What is taken for what: as a table of classes, or, of many, as a list of the most frequent errors."""

    classes: Sequence[tuple[int, str]]
    counts: Mapping[tuple[int, int], int]
    errors: Sequence[tuple[str, str, int, int, int]]
    more: int

    @classmethod
    def of(cls, entries: Sequence[Entry], names: Mapping[int, str]) -> _Confusion:
        counts = confusion(entries)
        classes = sorted({index for pair in counts for index in pair})
        if len(classes) <= _LARGEST_TABLE:
            return cls([(index, names[index]) for index in classes], counts, (), 0)
        wrong = sorted(((n, pair) for pair, n in counts.items() if pair[0] != pair[1]), key=lambda e: (-e[0], e[1]))
        errors = [(names[label], names[answer], n, label, answer) for n, (label, answer) in wrong[:_SHOWN_ERRORS]]
        return cls((), counts, errors, len(wrong) - len(errors))


def _shown(
    group: Group, names: Mapping[int, str], palette: str, typical: Sequence[float | None], *, labelled: bool
) -> _Shown:
    explained = names[group.explained]
    if not labelled or group.label is None or group.answer is None:
        words = short = explained
    elif group.wrong:
        short = f"{names[group.label]} taken for {names[group.answer]}"
        words = short if group.explained == group.answer else f"{short}, map for {explained}"
    else:
        short = f"{names[group.label]}, right"
        words = short if group.explained == group.answer else f"{short}, map for {explained}"
    ranked = [place for place in group.members if typical[place] is not None]
    enough = len(ranked) >= _FEWEST and not (labelled and group.wrong)
    half = min(_SHOWN_MEMBERS, len(ranked) // 2)
    first, last = (ranked[:half], ranked[::-1][:half]) if enough else ([], [])
    return _Shown(group, words, short, _mean_picture(group.mean, palette), first, last)


def _mean_picture(mean: NDArray[np.float32], palette: str) -> str:
    """A mean map in its colours, as data URI."""
    grey = PILImage.fromarray(mean).resize((_MEAN_SIDE, _MEAN_SIDE), PILImage.Resampling.BICUBIC)
    return _as_png(colorize(np.clip(np.asarray(grey), 0, 1), palette))


def _bar(look: Look) -> str:
    """A colour bar in two halves, as under a sheet: the colours, and what becomes of them over mid-grey."""
    grey = np.full((1, _RAMP.size, 3), MID_GREY, np.uint8)
    over = blended(grey, levels(_RAMP), colours_of(look.palette), look.shares())
    return _as_png(np.concatenate([colorize(_RAMP, look.palette), over]))


def _as_png(rgb: NDArray[np.uint8]) -> str:
    stream = BytesIO()
    PILImage.fromarray(rgb).quantize(256).save(stream, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
