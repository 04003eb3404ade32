"""A run's volumes: how one is read, what it takes of memory, and its files: maps as NIfTI, slices, a sheet."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cfcam.capture.layers.placement import upsampled
from cfcam.errors import CfcamError, InputError
from cfcam.explainer_windows import Windows
from cfcam.explanation import Explanation, unique_columns
from cfcam.files import sha256_of
from cfcam.imaging import (
    Panel,
    Volume,
    VolumePreprocess,
    overlay,
    save_map_nifti,
    slices_figure,
    volume_sheet,
)
from cfcam.imaging.drawing.planes import NORMAL_AXIS, VolumeView, cut_plane, heat_picture, peak_voxel
from cfcam.imaging.drawing.sides import lettered
from cfcam.imaging.reading.stacking import digest_of_series
from cfcam.imaging.volume import raw_range
from cfcam.imaging.windows import named_window
from cfcam.jobs.index.glance import SIDE, Glance, save_thumb
from cfcam.jobs.inputs.find import Input
from cfcam.jobs.inputs.preparing import VolumeSettings, noise_shape, prepared_volumes_for
from cfcam.jobs.inputs.privacy import without_channel_names
from cfcam.jobs.inputs.reading import load_volume
from cfcam.jobs.runs.drawing import FIGURE_LOCK, Artist, Places, beside, column_suffixes, heat_of, on_sheet, panel_of
from cfcam.jobs.runs.settings import Save, Settings
from cfcam.maps import Status
from cfcam.models import LoadedModel

_SHEET_VOXELS = 8_000_000  # a sheet of a larger volume is made of every second voxel, or third, ...


@dataclass(frozen=True)
class Volumes:
    """Volumes as a kind of input; see `cfcam.jobs.runs.work.InputKind`.

    Attributes:
        how: what concerns volumes alone.
        preprocess: what is done to each volume.
        draw: writes the files of a volume.
    """

    how: VolumeSettings
    preprocess: VolumePreprocess
    draw: Artist
    most_ahead: ClassVar[int] = 2

    @classmethod
    def of(cls, model: LoadedModel, settings: Settings, how: VolumeSettings) -> Volumes:
        """Returns the volumes of a run, prepared as its settings or the network say.

        Raises:
            InputError: the settings prepare pictures, or the files of a study are not as many as the channels.
        """
        how = how.of(model)
        preprocess = how.filled(prepared_volumes_for(model, settings.preprocess))
        if how.channels and not preprocess.by and len(how.channels) != preprocess.channels:
            due = "1 file, as a path" if preprocess.channels == 1 else f"{preprocess.channels} files"
            raise InputError(
                f"--channels names {len(how.channels)} files, and the network takes {preprocess.channels}"
                f" channel{'s' * (preprocess.channels > 1)}: give {due}"
            )
        return cls(how, preprocess, VolumeArtist(settings, preprocess, model.spec))

    @property
    def windows(self) -> Windows | None:
        """How volumes are explained window by window; None: in one piece."""
        return self.how.windows

    def shape(self, inputs: Iterable[Input], read: Callable[[Input], Any]) -> VolumePreprocess | None:
        """Returns what gives noise the shape of the network's input, or of a window of it.

        Args:
            inputs: where the settings state no size, the first that can be read says which it is brought to.
            read: reads one of them.

        Returns:
            None if none of them can be read: the run will say why.
        """
        size = self.preprocess.input_size or self._first_size(inputs, read)
        return None if size is None else noise_shape(self.preprocess, size, self.windows)

    def _first_size(self, inputs: Iterable[Input], read: Callable[[Input], Any]) -> tuple[int, int, int] | None:
        for source in inputs:
            try:
                return self.preprocess.grid(read(source))[0]
            except CfcamError:
                continue
        return None

    def read(self, source: Input) -> Volume:
        """Reads a volume.

        Raises:
            ImageError: it cannot be read, or is a picture.
        """
        volume, study = load_volume(source, self.how), self.draw.settings.study
        return volume if study is None or study.keep_names else without_channel_names(volume)

    def wanted(self, sources: Sequence[Input]) -> None:
        """Returns nothing: volumes are large."""

    def note(self, notice: str, source: Input) -> tuple[str, str]:
        """Returns what a run says of a notice, and of which notices it says so but once: of those of this volume."""
        note = f"{source.shown.name}: {notice}"
        return note, note

    def digest(self, source: Input) -> str:
        """Returns the SHA-256 that the volume would have, if it was read."""
        if len(files := self.how.files(source.path)) > 1:
            return hashlib.sha256("".join(map(self._digest, files)).encode()).hexdigest()
        return self._digest(source.path)

    def _digest(self, path: Path) -> str:
        return digest_of_series(path, self.how.series) if path.is_dir() else sha256_of(path)

    def pixels(self, image: Volume) -> int:
        """Returns how many voxels a volume has, those of a channel."""
        return math.prod(image.size)

    def memory(self, image: Volume) -> int:
        """Returns what a volume takes of memory."""
        return int(image.voxels.nbytes)

    def described(self) -> dict[str, Any]:
        """Returns what changes the files, beside the settings and the preparation."""
        return {"volumes": self.how.drawn()}


@dataclass(frozen=True)
class VolumeArtist(Artist):
    """Writes the files of one volume after the other; see `Artist`."""

    def glance(self, image: Volume, explanation: Explanation, name: str, *, embeddable: bool) -> Glance:
        """Returns what the page of the run shows of a volume at first; see `Artist.glance`.

        Volumes have no place in a mean map: theirs differ in slices and orientation.
        """
        heat = self._heat(explanation, explanation.methods[0], unique_columns(explanation)[0], image)
        return Glance(thumb=save_thumb(self.settings.output, name, self._axial(image, heat)))

    def small(
        self, image: Volume, explanation: Explanation, which: tuple[str, int], regions: Mapping[str, Tensor]
    ) -> tuple[NDArray[np.uint8], Places]:
        """Returns a small slice with a map over it; see `Artist.small`."""
        letters = VolumeView.of(image, self.settings.window).letters("axial")
        return lettered(self._axial(image, self._heat(explanation, *which, image)), letters), {}

    def _axial(self, volume: Volume, heat: NDArray[np.float32] | None) -> NDArray[np.uint8]:
        """A small axial slice through the peak of a map, or through the middle where there is no map."""
        view = VolumeView.of(volume, self.settings.window)
        scale, axis = view.scale(SIDE), NORMAL_AXIS["axial"]
        if heat is None:
            return view.picture("axial", view.voxels.shape[axis] // 2, scale)
        turned = view.heat(heat)
        index = peak_voxel(turned)[axis]
        shown = heat_picture(cut_plane(turned, axis, index), view.size("axial", scale))
        level = self._level(torch.from_numpy(heat), volume.missing)
        return overlay(view.picture("axial", index, scale), shown, threshold=level, **self.settings.look())

    def _drawn(self, image: Volume, explanation: Explanation, columns: list[int], stem: Path) -> list[Path]:
        names = column_suffixes(explanation, columns)
        shown, which = on_sheet(explanation, columns)
        small, thin = _thinned(image)
        panels: list[Panel] = []
        files: list[Path] = []
        for k in columns:
            for method in explanation.methods:
                heat = self._heat(explanation, method, k, image)
                level = None if heat is None else self._level(torch.from_numpy(heat), image.missing)
                if Save.OVERLAY in self.settings.save:
                    path = beside(stem, method, names[k])
                    files += self._write(image, explanation, (method, k), heat, level, path)
                if Save.SHEET in self.settings.save and k in shown:
                    thinned = None if heat is None else np.ascontiguousarray(heat[thin])
                    panels.append(panel_of(explanation, method, k, thinned, level))
        if Save.SHEET in self.settings.save:
            with FIGURE_LOCK:
                sheet = volume_sheet(
                    small, panels, title=_title(image) + which, footer=self._footer(explanation), **self._look()
                )
            files.append(self._written(sheet, stem.with_name(f"{stem.name}_sheet"), sheet=True))
        return files

    def _write(
        self,
        volume: Volume,
        explanation: Explanation,
        which: tuple[str, int],
        heat: NDArray[np.float32] | None,
        level: float | None,
        stem: Path,
    ) -> list[Path]:
        """The raw map on the volume's grid, and three slices through its peak."""
        method, k = which
        status = explanation.status[method][0, k]
        files = []
        if status != Status.NOT_FINITE:
            raw = self._back(explanation, method, k, volume)
            description = f"{method}, raw map, {status}; research use"
            shown = raw_range(raw.numpy())
            files.append(save_map_nifti(raw, volume, f"{stem}.nii.gz", description=description, window=shown))
        panel = panel_of(explanation, method, k, heat)
        about = f"{panel.label} {panel.answer}".rstrip()
        title, footer = f"{_title(volume)} · {method} · {about}", self._footer(explanation)
        with FIGURE_LOCK:
            if heat is None:
                drawn = volume_sheet(volume, [panel], title=title, footer=footer, **self._look())
            else:
                drawn = slices_figure(volume, heat, title=title, footer=footer, threshold=level, **self._look())
        return [*files, self._written(drawn, stem)]

    def _heat(self, explanation: Explanation, method: str, k: int, volume: Volume) -> NDArray[np.float32] | None:
        """A heatmap in [0, 1] on the volume's grid; None if there is no map to show."""
        found = heat_of(explanation, method, k)
        if found is None:
            return None
        heat: NDArray[np.float32] = self.preprocess.to_original(found, volume).numpy()
        return heat

    def _back(self, explanation: Explanation, method: str, k: int, volume: Volume) -> Tensor:
        """A raw map on the volume's grid: signed, linear between the cells of the layer."""
        raw = explanation.maps[method][:1, k : k + 1]
        whole = upsampled(raw, explanation.input_size, explanation.placements.get(method))
        moved: Tensor = self.preprocess.to_original(whole[0, 0], volume)
        return moved

    def _look(self) -> dict[str, Any]:
        window = named_window(self.settings.window)
        return {**self.settings.look(), "window": window}


def _title(volume: Volume) -> str:
    return volume.path.name if volume.path else ""


def _thinned(volume: Volume) -> tuple[Volume, tuple[slice, slice, slice]]:
    """The volume, or every second (third, ...) voxel of a large one, and the index that thins out its maps too."""
    step = max(1, math.ceil((math.prod(volume.size) / _SHEET_VOXELS) ** (1 / 3)))
    index = (slice(None, None, step),) * 3
    if step == 1:
        return volume, index
    affine = volume.affine @ np.diag([step, step, step, 1])
    missing = None if volume.missing is None else volume.missing[index]
    return replace(volume, voxels=volume.voxels[(..., *index)], affine=affine, missing=missing), index
