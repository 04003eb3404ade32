"""What the files of a picture and of a volume have in common: their names, their sheet's words, the raw maps."""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cfcam.clinical.regions import threshold_value
from cfcam.explanation import Explanation, unique_columns
from cfcam.files import make_folder, write_whole
from cfcam.imaging import Panel, Preprocess, Volume, VolumePreprocess
from cfcam.imaging.drawing.charts.bars import Measured, region_page
from cfcam.imaging.drawing.formats import QUALITY, quality_under, write_picture
from cfcam.imaging.drawing.page import Page
from cfcam.jobs.engine.batch import Batch
from cfcam.jobs.index.glance import Glance
from cfcam.jobs.inputs.names import label_names, safe
from cfcam.jobs.runs.boxes import Corners, box_on
from cfcam.jobs.runs.manifest import Explained
from cfcam.jobs.runs.settings import Save, Settings
from cfcam.jobs.study.regions import ByRegion
from cfcam.maps import Status
from cfcam.models import model_name
from cfcam.shown import MARGIN_MEANING, answer_text

FIGURE_LOCK = threading.Lock()
"""Held while a figure is drawn: matplotlib promises nothing to threads."""

BY_REGION = "_by_region"
"""What the names of files end in that say what lies in each region."""

_MOST_MEASURED = 12  # maps on the page of regions; the table has all
Places = Mapping[str, tuple[float, float]]

_MOST_PANELS = 60  # a sheet of more would not be looked at; the rest are in the overlays, and its title says so


@dataclass(frozen=True)
class Artist(ABC):
    """Writes the files of one input after the other; may be called from several threads.

    Attributes:
        settings: what is written, how, and where.
        preprocess: the way from the input to the network, which the maps go back.
        model: what to call the network on a sheet.
    """

    settings: Settings
    preprocess: Any
    model: str

    def __call__(self, image: Any, explanation: Explanation, name: str) -> list[Path]:
        """Writes the files of an input.

        Args:
            image: picture or volume, as it was read.
            explanation: of this one.
            name: what the names of its files begin with.

        Returns:
            The files.
        """
        stem = self.settings.output / name
        make_folder(stem.parent)
        files = self._drawn(image, explanation, unique_columns(explanation), stem)
        if Save.MAPS in self.settings.save:
            folder = explanation.save(stem.with_name(f"{stem.name}_maps"))
            files += [folder / "maps.safetensors", folder / "explanation.json"]
        return files

    def regions(self, image: Any, explanation: Explanation, found: ByRegion, name: str) -> list[Path]:
        """Writes what was measured in the regions of an input: bars beside its maps, a table, and JSON.

        Args:
            image: picture or volume, as it was read.
            explanation: of this one.
            found: the numbers; nothing is written where there are none.
            name: what the names of its files begin with.
        """
        if not found.shares:
            return []
        stem = self.settings.output / f"{name}{BY_REGION}"
        tables = list(found.shares.values())
        lines = [table.to_csv().splitlines(keepends=True)[bool(n) :] for n, table in enumerate(tables)]
        texts = {
            ".csv": "".join(chain.from_iterable(lines)),
            ".json": json.dumps([table.as_dict() for table in tables], indent=2, ensure_ascii=False, allow_nan=False),
        }
        for ending, text in texts.items():
            write_whole(Path(f"{stem}{ending}"), text.encode())
        shown = list(found.shares.items())[:_MOST_MEASURED]
        measured = [
            Measured(picture, table, answer_text(explanation.probability(0, k), explanation.margin(0, k)), places)
            for (method, k), table in shown
            for picture, places in [self.small(image, explanation, (method, k), found.masks)]
        ]
        more = len(found.shares) - len(shown)
        title = (image.path.name if image.path else "") + (f" (and {more} maps more, in the table)" if more else "")
        title += " · slices through the peaks of the maps" if isinstance(image, Volume) else ""
        with FIGURE_LOCK:
            page = region_page(measured, title=title, footer=self._footer(explanation))
        return [self._written(page, stem, sheet=True), *(Path(f"{stem}{ending}") for ending in texts)]

    def _written(
        self, drawn: NDArray[np.uint8] | Page, stem: Path, source: Path | None = None, *, sheet: bool = False
    ) -> Path:
        """Writes a figure as the settings say.

        Args:
            drawn: the figure.
            stem: what its path begins with.
            source: the file of a picture that it is laid over.
            sheet: it keeps its size, which is no more than its words need, however large its picture is.
        """
        page = (drawn if isinstance(drawn, Page) else Page.of(drawn)).within(None if sheet else self.settings.max_size)
        kind = self.settings.format
        with nullcontext() if kind != "pdf" and not page.texts else FIGURE_LOCK:
            return write_picture(page, stem, kind, quality=quality_under(source) if kind == "jpg" else QUALITY)

    @abstractmethod
    def glance(self, image: Any, explanation: Explanation, name: str, *, embeddable: bool) -> Glance:
        """Returns what the page of the run shows of an input at first, and writes the files of that.

        Args:
            image: picture or volume, as it was read.
            explanation: of this one; its files are written.
            name: what the names of its files begin with.
            embeddable: whether browsers can show the input itself.
        """

    @abstractmethod
    def small(
        self, image: Any, explanation: Explanation, which: tuple[str, int], regions: Mapping[str, Tensor]
    ) -> tuple[NDArray[np.uint8], Places]:
        """Returns a small picture of an input with a map over it, of a volume the axial slice through its peak.

        Args:
            image: picture or volume, as it was read.
            explanation: of this one.
            which: method and column of the targets.
            regions: name -> (*spatial) bool on the grid of the network's input; those of a picture are outlined.

        Returns:
            uint8 RGB, and where each region of a picture lies in it, as `Measured` has it.
        """

    @abstractmethod
    def _drawn(self, image: Any, explanation: Explanation, columns: list[int], stem: Path) -> list[Path]:
        """Writes overlays and sheet, for the targets in some columns; ``stem`` is what their paths begin with."""

    def _level(self, heat: Tensor, missing: NDArray[np.bool_] | None = None) -> float | None:
        """The threshold of a map on the grid of its source: that of the study's regions, without a study Otsu's."""
        if self.settings.blend == "uniform":
            return None
        rule = "otsu" if self.settings.study is None else self.settings.study.threshold
        return threshold_value(heat if missing is None else heat[torch.from_numpy(~missing)], rule)

    def _footer(self, explanation: Explanation) -> str:
        meaning = f"{MARGIN_MEANING} · " if any(explanation.margins) else ""
        return meaning + footer_of(model_name(self.model), explanation.layer, self.preprocess)


def footer_of(network: str, layer: str, preprocess: Preprocess | VolumePreprocess) -> str:
    """Returns the small line under a sheet: what was explained, and what was assumed about its input."""
    assumed = f" · assumed: {preprocess.assumed}" if preprocess.assumed else ""
    return f"{network}, layer {layer}{assumed} · research use, not a medical device"


def on_sheet(explanation: Explanation, columns: list[int]) -> tuple[list[int], str]:
    """Returns which of some columns a sheet shows, and what its title says of that: "" if it shows all."""
    shown = columns[: max(1, _MOST_PANELS // len(explanation.methods))]
    return shown, f" (the first {len(shown)} of {len(columns)} classes)" if len(shown) < len(columns) else ""


def panel_of(
    explanation: Explanation,
    method: str,
    k: int,
    heat: Any,
    threshold: float | None = None,
    box: Corners | None = None,
) -> Panel:
    """Returns a map of one image's explanation, on its sheet.

    Args:
        explanation: of one image.
        method: whose map it is.
        k: column of the targets.
        heat: on the picture's grid; None where there is no map to show.
        threshold: of its outline, if it is known.
        box: of a detector, which is explained, on the picture's grid.
    """
    status = str(explanation.status[method][0, k])
    probability, margin = explanation.probability(0, k), explanation.margin(0, k)
    return Panel(heat, method, explanation.label(0, k), probability, status, margin, threshold, box)


def heat_of(explanation: Explanation, method: str, k: int) -> Tensor | None:
    """Returns a heatmap at the network's input size (*spatial); None if there is no map to show."""
    if explanation.status[method][0, k] != Status.OK:
        return None
    return explanation.select(slice(0, 1), slice(k, k + 1), [method]).heatmaps(method)[0, 0]


def beside(stem: Path, method: str, suffix: str) -> Path:
    """Returns what the paths of a map's files begin with; ``suffix`` is that of `column_suffixes`."""
    return stem.with_name(f"{stem.name}_{safe(method, 40)}{suffix}")


def explained(batch: Batch, n: int, preprocess: Any = None, size: Sequence[int] = ()) -> tuple[Explained, ...]:
    """Returns what the explanation of an image of a batch says, without its maps.

    Args:
        batch: that was explained.
        n: number of the image there.
        preprocess: what was done to it, for boxes of a detector.
        size: of the picture itself.
    """
    return tuple(
        Explained(
            index=batch.targets[n][k],
            label=batch.labels[n][k],
            probability=batch.probabilities[n][k],
            maps={method: found[n][k] for method, found in batch.statuses.items()},
            margin=batch.margins[n][k],
            box=box_on(batch.explanation, k, preprocess, size),
        )
        for k in batch.columns(n)
    )


def column_suffixes(explanation: Explanation, columns: list[int]) -> dict[int, str]:
    """Returns what tells the files of the targets in some columns apart: column -> "_class", "" for a single target."""
    if explanation.targets.shape[1] == 1:
        return {columns[0]: ""}
    indices = {k: int(explanation.targets[0, k]) for k in columns}
    keys = {k: index if index >= 0 else -1 - k for k, index in indices.items()}
    names = label_names({keys[k]: explanation.label(0, k) for k in columns})
    return {k: f"_{names[keys[k]]}" for k in columns}
