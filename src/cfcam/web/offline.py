"""A study in one file: the viewer's own page, with the picture, its maps and their numbers in it.

The page asks nobody for anything, and its Content-Security-Policy forbids that it could: the scripts that may run are
those in it, by their hashes. What only Python can compute is computed before. The same input gives the same bytes; they
hold no path, and of DICOM no name.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cfcam.clinical.regions import RegionTable, measure
from cfcam.errors import CfcamError
from cfcam.files import write_whole
from cfcam.imaging import Volume
from cfcam.imaging.drawing.look import Look
from cfcam.imaging.drawing.palettes import table
from cfcam.imaging.drawing.visibility import note
from cfcam.jobs.runs.boxes import Corners, box_on
from cfcam.jobs.runs.further import Seen, Written
from cfcam.web.library.cache import Cache
from cfcam.web.library.explained import RULE, maps_of
from cfcam.web.library.maps import StudyMap, of_channel
from cfcam.web.library.nifti import Nifti
from cfcam.web.library.study import Said, Study
from cfcam.web.routes.info import info
from cfcam.web.routes.page import html
from cfcam.web.schemas import Info, ModelInfo, PaletteInfo
from cfcam.web.settings import ViewSettings

ENDING = "_view.html"
"""What the file's name ends in."""

MOST_BYTES = 128 * 2**20
"""A larger page is not written: browsers take long to open it, and mail programs refuse it."""

_STATIC = Path(__file__).with_name("static")
_STYLE = re.compile(r'<link rel="stylesheet" href="/static/([\w./-]+)">\n?')
_SCRIPT = re.compile(r'<script src="/static/([\w./-]+)" defer></script>\n?')
_INSTEAD = {"js/api.js": "js/offline.js"}


class PageTooLargeError(CfcamError):
    """A page would be larger than it may be."""


@dataclass(frozen=True)
class OfflinePages:
    """Writes the page of each input of a run: what `cfcam.jobs.runs.settings.Settings` takes as ``further``.

    Attributes:
        model: what the network is called, without its path.
        look: how maps are drawn at first.
        most: bytes of a page, at most.
    """

    model: str
    look: Look
    most: int = MOST_BYTES

    def __call__(self, seen: Seen) -> Written:
        """Writes the page of an input, or says why it does not."""
        explained, study = seen.explanation, study_of(seen)
        classes = explained.classes or tuple(explained.class_probabilities(0))
        told = info_of(ModelInfo(name=self.model, layer=explained.layer, classes=list(classes)), self.look)
        try:
            page = page_of(study, told, preparation=seen.preprocess.as_dict(), most=self.most)
        except PageTooLargeError as error:
            return Written(left_out=(f"{seen.name}: {error}",))
        file = seen.stem.with_name(f"{seen.stem.name}{ENDING}")
        write_whole(file, page)
        return Written((file,))

    def described(self) -> dict[str, Any]:
        """Returns what changes the page beside the settings of the run."""
        return {"page": "offline", "most": self.most}


@dataclass(frozen=True)
class _Known:
    """A network that is known and not there."""

    model: ModelInfo

    def info(self) -> ModelInfo:
        return self.model


def info_of(model: ModelInfo, look: Look) -> Info:
    """Returns what the page can do: all that needs no network.

    Args:
        model: what is known of the network.
        look: how maps are drawn at first; its palette is offered first.
    """
    told = info(ViewSettings(token="0" * 16), _Known(model))
    told.default.palette, told.default.opacity, told.default.blend = look
    if all(one.name != look.palette for one in told.palettes):
        colours = base64.b64encode(table(look.palette).tobytes()).decode("ascii")
        told.palettes.insert(0, PaletteInfo(name=look.palette, colours=colours, note=note(look)))
    return told


def study_of(seen: Seen) -> Study:
    """Returns an input of a run as a study with its maps, those of the most probable class first."""
    image, explained = seen.image, seen.explanation
    grid = image if isinstance(image, Volume) else image.size
    probabilities = explained.class_probabilities(0)
    predicted = max(probabilities, key=lambda name: probabilities[name], default=None)
    said = Said(
        status="ok",
        predicted=predicted,
        probability=None if predicted is None else probabilities[predicted],
        probabilities=probabilities or None,
        notices=seen.notices,
    )

    def onto(heat: Tensor) -> Tensor:
        moved: Tensor = seen.preprocess.to_original(heat.float().cpu(), grid)
        return moved

    def box_of(k: int) -> Corners | None:
        return None if isinstance(image, Volume) else box_on(explained, k, seen.preprocess, image.size)

    def maps(study: Study) -> list[StudyMap]:
        made_by = {name: explained.provenance.get(name) for name in ("model", "methods", "output")}
        key = json.dumps(made_by, sort_keys=True, default=str)
        found = maps_of(explained, study.facts(), onto, key=key, box_of=box_of)
        return sorted(found, key=lambda one: -(one.probability or 0))

    kind: Any = "volume" if isinstance(image, Volume) else "picture"
    return Study(image.sha256, seen.name, kind, lambda: image, Cache(2**62), said=lambda: said, maps=maps)


def table_of(study: Study, one: StudyMap) -> RegionTable:
    """Returns the numbers of what a map marks at its own threshold."""
    image = study.image()
    missing = image.missing if isinstance(image, Volume) else None
    how: Any = {"affine": image.affine, "missing": missing, "measured": image.measured}
    return measure(torch.from_numpy(one.heat()), image.spacing, RULE, **how)


def page_of(study: Study, told: Info, *, preparation: dict[str, Any] | None = None, most: int = MOST_BYTES) -> bytes:
    """Returns the page.

    Args:
        study: with its maps.
        told: what the viewer says of itself.
        preparation: what was done to the picture before the network saw it.
        most: bytes that the page may have.

    Raises:
        PageTooLargeError: it would have more.
    """
    several = len(study.facts().channels)
    if several:
        with suppress(PageTooLargeError):
            return _page_of(study, told, preparation, most, several)
    return _page_of(study, told, preparation, most, 1)


def _page_of(study: Study, told: Info, preparation: dict[str, Any] | None, most: int, channels: int) -> bytes:
    """The page with so many of the channels."""
    detail = study.detail()
    if channels < len(detail.channels):
        shown = f"it has {len(detail.channels)} channels, and this page holds the first: open it with cfcam view"
        detail.channels, detail.notices = [], [*detail.notices, shown]
    held = {
        "info": told.model_dump(mode="json"),
        "studies": [study.brief().model_dump(mode="json")],
        "details": {study.id: {**detail.model_dump(mode="json"), "preprocess": preparation}},
        "tables": {key: table_of(study, one).as_dict() for key, one in study.maps.items()},
        "pictures": {
            f"/studies/{study.id}/{name}.png": f"data:image/png;base64,{_base64(png())}"
            for name, png in (("picture", study.picture), ("thumbnail", study.thumbnail))
        },
    }
    head, foot = _front()
    text = json.dumps(held, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    blocks = [f'<script type="application/json" id="cfcam-held">{text}</script>\n'.encode("utf-8", "backslashreplace")]
    size = len(head) + len(foot) + len(blocks[0])
    files = [
        *(f"/studies/{study.id}/original.nii{of_channel(number)}" for number in range(channels)),
        *(f"/studies/{study.id}/maps/{one.id}.nii" for one in detail.maps),
    ]
    for number, (path, file) in enumerate(zip(files, _files(study, channels), strict=True), start=1):
        block = f'<script type="text/plain" data-file="{path}">{_base64(_packed(file))}</script>\n'.encode()
        size += len(block)
        if size > most:
            raise PageTooLargeError(_too_large(size * len(files) / number, most))
        blocks.append(block)
    return b"".join((head, *blocks, foot))


def _too_large(size: float, most: int) -> str:
    return (
        f"its page would have about {size / 2**20:.0f} MB, more than {most / 2**20:.0f}: ask for fewer classes or"
        " methods, or open it with cfcam view"
    )


def _files(study: Study, channels: int) -> Iterator[Nifti]:
    """The original, channel by channel, and the maps, one at a time."""
    for channel in range(channels):
        yield study.original(channel)
    for one in study.maps.values():
        yield study.as_file(one.heat(), levels=True)


def _packed(file: Nifti) -> bytes:
    return gzip.compress(b"".join(file.pieces()), compresslevel=6, mtime=0)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


@cache
def _front() -> tuple[bytes, bytes]:
    """The page before the data and after them, with its styles and scripts in it."""
    page = html()
    names = [_INSTEAD.get(name, name) for name in _SCRIPT.findall(page)]
    scripts = [(_STATIC / name).read_text(encoding="utf-8") for name in names]
    hashes = " ".join(f"'sha256-{_base64(hashlib.sha256(one.encode()).digest())}'" for one in scripts)
    policy = (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none';"
        " form-action 'none'"
    )
    page = _STYLE.sub(lambda found: f"<style>\n{(_STATIC / found[1]).read_text(encoding='utf-8')}</style>\n", page)
    page = _SCRIPT.sub("", page)
    charset = '<meta charset="utf-8">\n'
    page = page.replace(charset, f'{charset}<meta http-equiv="Content-Security-Policy" content="{policy}">\n', 1)
    before, end, after = page.partition("</body>")
    run = "".join(f"<script>{one}</script>\n" for one in scripts)
    return before.encode(), f"{run}{end}{after}".encode()
