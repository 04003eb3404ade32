"""The files of one picture: overlays at its full size, the contact sheet, the raw maps."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfcam.explanation import Explanation, unique_columns
from cfcam.imaging import Image, Panel, Preprocess, VolumePreprocess, banner, contact_sheet, overlay, save_image
from cfcam.jobs.inputs.names import label_names, safe
from cfcam.jobs.runs.manifest import Explained
from cfcam.jobs.runs.settings import Save, Settings
from cfcam.maps import Status
from cfcam.models import model_name

MOST_PANELS = 60
"""A sheet with more maps than this would not be looked at; the rest are in the overlays, and its title says so."""

FIGURE_LOCK = threading.Lock()
"""Held while a figure is drawn: matplotlib promises nothing to threads."""

_SHEET_SIDE = 960  # thrice the side of a panel


@dataclass(frozen=True)
class Artist:
    """Writes the files of one picture after the other; may be called from several threads.

    Attributes:
        settings: what is written, how, and where.
        preprocess: the way from the picture to the network, which the maps go back.
        model: what to call the network on a sheet.
    """

    settings: Settings
    preprocess: Preprocess
    model: str

    def __call__(self, image: Image, explanation: Explanation, name: str) -> list[Path]:
        """Writes the files of a picture.

        Args:
            image: the picture.
            explanation: of this one image.
            name: what the names of its files begin with.

        Returns:
            The files.
        """
        stem = self.settings.output / name
        stem.parent.mkdir(parents=True, exist_ok=True)
        columns = unique_columns(explanation)
        files: list[Path] = []
        rgb = image.rgb()
        if Save.OVERLAY in self.settings.save:
            names = column_suffixes(explanation, columns)
            for method in explanation.methods:
                for k in columns:
                    suffix = f"_{safe(method, 40)}{names[k]}.png"
                    drawn = self._overlay(rgb, explanation, method, k)
                    files.append(save_image(drawn, stem.with_name(stem.name + suffix)))
        if Save.SHEET in self.settings.save:
            files.append(
                save_image(self._sheet(image, rgb, explanation, columns), stem.with_name(f"{stem.name}_sheet.png"))
            )
        if Save.MAPS in self.settings.save:
            folder = explanation.save(stem.with_name(f"{stem.name}_maps"))
            files += [folder / "maps.safetensors", folder / "explanation.json"]
        return files

    def _overlay(self, rgb: NDArray[np.uint8], explanation: Explanation, method: str, k: int) -> NDArray[np.uint8]:
        status = explanation.status[method][0, k]
        if status != Status.OK:
            return banner(rgb, f"{method}: {status} for {explanation.label(0, k)}")
        heat = self._heat(explanation, method, k, rgb)
        return overlay(rgb, heat, opacity=self.settings.opacity, palette=self.settings.palette)

    def _heat(self, explanation: Explanation, method: str, k: int, rgb: NDArray[np.uint8]) -> Any:
        one = explanation.select(slice(0, 1), slice(k, k + 1), [method])
        return self.preprocess.to_original(one.heatmaps(method)[0, 0], (rgb.shape[0], rgb.shape[1])).clamp_(0, 1)

    def _sheet(
        self, image: Image, rgb: NDArray[np.uint8], explanation: Explanation, columns: list[int]
    ) -> NDArray[np.uint8]:
        methods = explanation.methods
        shown = columns[: max(1, MOST_PANELS // len(methods))]
        small = _shrunk(rgb)
        panels = []
        for k in shown:
            label, probability = explanation.label(0, k), explanation.probability(0, k)
            for method in methods:
                status = explanation.status[method][0, k]
                heat = self._heat(explanation, method, k, small) if status == Status.OK else None
                panels.append(Panel(heat, method, label, probability, str(status)))
        title = image.path.name if image.path else ""
        if len(shown) < len(columns):
            title += f" (the first {len(shown)} of {len(columns)} classes)"
        footer = footer_of(model_name(self.model), explanation.layer, self.preprocess)
        with FIGURE_LOCK:
            return contact_sheet(
                small,
                panels,
                title=title,
                footer=footer,
                palette=self.settings.palette,
                opacity=self.settings.opacity,
            )


def footer_of(network: str, layer: str, preprocess: Preprocess | VolumePreprocess) -> str:
    """Returns the small line under a sheet: what was explained, and what was assumed about its input."""
    assumed = f" · assumed: {preprocess.assumed}" if preprocess.assumed else ""
    return f"{network}, layer {layer}{assumed} · research use, not a medical device"


def explained(explanation: Explanation) -> tuple[Explained, ...]:
    """Returns what one image's explanation says, without its maps."""
    return tuple(
        Explained(
            index=int(explanation.targets[0, k]),
            label=explanation.label(0, k),
            probability=explanation.probability(0, k),
            maps={method: str(explanation.status[method][0, k]) for method in explanation.methods},
        )
        for k in unique_columns(explanation)
    )


def column_suffixes(explanation: Explanation, columns: list[int]) -> dict[int, str]:
    """Returns what tells the files of the targets in some columns apart: column -> "_class", "" for a single target."""
    if explanation.targets.shape[1] == 1:
        return {columns[0]: ""}
    indices = {k: int(explanation.targets[0, k]) for k in columns}
    keys = {k: index if index >= 0 else -1 - k for k, index in indices.items()}
    names = label_names({keys[k]: explanation.label(0, k) for k in columns})
    return {k: f"_{names[keys[k]]}" for k in columns}


def _shrunk(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A copy for the sheet, so that its maps need not be drawn at full size."""
    from PIL import Image as PILImage

    height, width = rgb.shape[:2]
    scale = _SHEET_SIDE / max(height, width)
    if scale >= 1:
        return rgb
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(PILImage.fromarray(rgb).resize(size, PILImage.Resampling.LANCZOS, reducing_gap=2.0))
