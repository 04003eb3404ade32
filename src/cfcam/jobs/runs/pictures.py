"""A run's pictures: how one is read, what it takes of memory, and its files: overlays at full size, a contact sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cfcam.explanation import Explanation, unique_columns
from cfcam.files import sha256_of
from cfcam.imaging import Image, Preprocess, banner
from cfcam.imaging.drawing.charts.bars import outlined
from cfcam.imaging.drawing.look import Look
from cfcam.imaging.drawing.outline import boxed
from cfcam.imaging.drawing.overlay import Ink
from cfcam.imaging.drawing.page import Page, shrunk
from cfcam.imaging.drawing.sheet import contact_page
from cfcam.imaging.drawing.sides import Letters, lettered, letters_of, scale_of
from cfcam.imaging.reading.elsewhere import Elsewhere
from cfcam.jobs.index.glance import SIDE, Glance, packed, peak_of, reduced, save_original, save_thumb
from cfcam.jobs.inputs.aside import Wanted, is_small
from cfcam.jobs.inputs.find import Input, Kind
from cfcam.jobs.inputs.preparing import prepared_for
from cfcam.jobs.inputs.reading import load_picture
from cfcam.jobs.runs.boxes import box_on
from cfcam.jobs.runs.drawing import FIGURE_LOCK, Artist, Places, beside, column_suffixes, heat_of, on_sheet, panel_of
from cfcam.jobs.runs.settings import Save, Settings
from cfcam.models import LoadedModel

_PANEL_SIDE = 320
_SHEET_SIDE = 960  # thrice the side of a panel

_Levels = dict[tuple[str, int], float | None]  # of method and target: the threshold of its outline


@dataclass(frozen=True)
class Pictures:
    """Pictures as a kind of input; see `cfcam.jobs.runs.work.InputKind`.

    Attributes:
        settings: of the run.
        preprocess: what is done to each picture.
        draw: writes the files of a picture.
    """

    settings: Settings
    preprocess: Preprocess
    draw: Artist
    windows: ClassVar[None] = None
    most_ahead: ClassVar[None] = None

    @classmethod
    def of(cls, model: LoadedModel, settings: Settings) -> Pictures:
        """Returns the pictures of a run, prepared as its settings or the network say.

        Raises:
            InputError: the settings prepare volumes, or nobody says how the network's channels are normalised.
        """
        preprocess = prepared_for(model, settings.preprocess)
        return cls(settings, preprocess, PictureArtist(settings, preprocess, model.spec))

    def shape(self, inputs: Iterable[Input], read: Callable[[Input], Any]) -> Preprocess:
        """Returns what gives noise the shape of the network's input, which is the same for all pictures."""
        return self.preprocess

    def read(self, source: Input) -> Image:
        """Reads a picture.

        Raises:
            ImageError: it cannot be read, or is a volume.
        """
        return load_picture(source, max_pixels=self.settings.max_pixels, window=self.settings.window)

    def wanted(self, sources: Sequence[Input]) -> Wanted | None:
        """Returns what a process of its own is asked that reads small pictures; None where these are not for it."""
        of_files = all(
            one.kind is Kind.PICTURE and not (one.problem or isinstance(one.path, Elsewhere)) for one in sources
        )
        if not of_files or not is_small(sources[0].path):
            return None
        return Wanted(tuple(source.path for source in sources), self.settings.max_pixels, self.settings.window)

    def note(self, notice: str, source: Input) -> tuple[str, str]:
        """Returns what a run says of a notice, and of which notices it says so but once: of those in these words."""
        return notice, f"{source.shown.name}: {notice} (the first such file; others are not listed)"

    def digest(self, source: Input) -> str:
        """Returns the SHA-256 that the picture would have, if it was read."""
        return source.path.sha256() if isinstance(source.path, Elsewhere) else sha256_of(source.path)

    def pixels(self, image: Image) -> int:
        """Returns how many pixels a picture has."""
        return math.prod(image.size)

    def memory(self, image: Image) -> int:
        """Returns what a picture takes of memory."""
        return int(image.pixels.nbytes)

    def described(self) -> dict[str, Any]:
        """Returns what changes the files, beside the settings and the preparation: nothing."""
        return {}


@dataclass(frozen=True)
class PictureArtist(Artist):
    """Writes the files of one picture after the other; see `Artist`."""

    def glance(self, image: Image, explanation: Explanation, name: str, *, embeddable: bool) -> Glance:
        """Returns what the page of the run shows of a picture at first; see `Artist.glance`."""
        small, which = reduced(image.rgb(), SIDE), (explanation.methods[0], unique_columns(explanation)[0])
        heat = self._heat(explanation, *which, small)
        levels = {} if heat is None else {which: self._level(heat)}
        drawn = small if heat is None else self._overlay(small, explanation, which, levels, None)
        output = self.settings.output
        return Glance(
            thumb=save_thumb(output, name, drawn),
            original="" if embeddable and image.pixels.dtype == np.uint8 else save_original(output, name, image.rgb()),
            peak=None if heat is None else peak_of(heat),
            grid="" if heat is None else packed(heat),
        )

    def small(
        self, image: Image, explanation: Explanation, which: tuple[str, int], regions: Mapping[str, Tensor]
    ) -> tuple[NDArray[np.uint8], Places]:
        """Returns a small picture with a map over it and the borders of regions; see `Artist.small`."""
        rgb = reduced(image.rgb(), _PANEL_SIDE)
        heat = self._heat(explanation, *which, rgb)
        drawn = self._overlay(
            rgb, explanation, which, {} if heat is None else {which: self._level(heat)}, letters_of(image)
        )
        size = (rgb.shape[0], rgb.shape[1])
        masks = {name: self.preprocess.to_original(mask.float(), size) > 0.5 for name, mask in regions.items()}
        return outlined(drawn, {name: mask.numpy() for name, mask in masks.items()})

    def _drawn(self, image: Image, explanation: Explanation, columns: list[int], stem: Path) -> list[Path]:
        files: list[Path] = []
        whole = image.rgb()
        rgb = shrunk(whole, self.settings.scale_of(image.size))
        levels = self._levels(explanation, columns, whole)
        if Save.OVERLAY in self.settings.save:
            names = column_suffixes(explanation, columns)
            for method in explanation.methods:
                for k in columns:
                    drawn = self._overlay(rgb, explanation, (method, k), levels, letters_of(image))
                    files.append(self._written(drawn, beside(stem, method, names[k]), image.path))
        if Save.SHEET in self.settings.save:
            sheet = self._sheet(image, whole, explanation, columns, levels)
            files.append(self._written(sheet, stem.with_name(f"{stem.name}_sheet"), sheet=True))
        return files

    def _levels(self, explanation: Explanation, columns: list[int], whole: NDArray[np.uint8]) -> _Levels:
        """Of a study, the thresholds of its regions: of the maps at full size, which its numbers are of."""
        if self.settings.study is None:
            return {}
        heats = {(m, k): self._heat(explanation, m, k, whole) for k in columns for m in explanation.methods}
        return {which: self._level(heat) for which, heat in heats.items() if heat is not None}

    def _overlay(
        self,
        rgb: NDArray[np.uint8],
        explanation: Explanation,
        which: tuple[str, int],
        levels: _Levels,
        letters: Letters | None,
    ) -> NDArray[np.uint8]:
        method, k = which
        heat = self._heat(explanation, method, k, rgb)
        box = box_on(explanation, k, self.preprocess, rgb.shape[:2])
        if heat is None:
            return banner(
                lettered(boxed(rgb, box), letters),
                f"{method}: {explanation.status[method][0, k]} for {explanation.label(0, k)}",
            )
        ink = Ink.of(heat, Look(**self.settings.look()), levels.get(which, "otsu"))
        del heat  # of a large picture it takes more than the picture
        return lettered(boxed(ink.over(rgb), box), letters)

    def _heat(self, explanation: Explanation, method: str, k: int, rgb: NDArray[np.uint8]) -> Tensor | None:
        """A heatmap in [0, 1] on a picture's grid; None if there is no map to show."""
        heat = heat_of(explanation, method, k)
        if heat is None:
            return None
        moved: Tensor = self.preprocess.to_original(heat, (rgb.shape[0], rgb.shape[1])).clamp_(0, 1)
        return moved

    def _sheet(
        self, image: Image, rgb: NDArray[np.uint8], explanation: Explanation, columns: list[int], levels: _Levels
    ) -> Page:
        shown, which = on_sheet(explanation, columns)
        small = reduced(rgb, _SHEET_SIDE)
        panels = [
            panel_of(explanation, method, k, self._heat(explanation, method, k, small), levels.get((method, k)), box)
            for k in shown
            for box in [box_on(explanation, k, self.preprocess, small.shape[:2])]
            for method in explanation.methods
        ]
        with FIGURE_LOCK:
            return contact_page(
                small,
                panels,
                title=(image.path.name if image.path else "") + which,
                footer=self._footer(explanation),
                letters=letters_of(image),
                scale=scale_of(image),
                **self.settings.look(),
            )
