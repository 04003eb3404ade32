"""What is special about a run over volumes: reading, preparing, and the files that are written."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cfcam.capture.layers.placement import upsampled
from cfcam.errors import CfcamError
from cfcam.explanation import Explanation, unique_columns
from cfcam.files import sha256_of
from cfcam.imaging import (
    Panel,
    Volume,
    VolumePreprocess,
    save_image,
    save_map_nifti,
    slices_figure,
    volume_sheet,
)
from cfcam.imaging.reading.stacking import digest_of_series
from cfcam.imaging.volume import raw_range
from cfcam.imaging.windows import named_window
from cfcam.jobs.inputs.find import Input
from cfcam.jobs.inputs.names import safe
from cfcam.jobs.inputs.preparing import VolumeSettings, prepared_volumes_for
from cfcam.jobs.inputs.reading import load_volume
from cfcam.jobs.runs.drawing import FIGURE_LOCK, MOST_PANELS, column_suffixes, footer_of
from cfcam.jobs.runs.run import FolderRun
from cfcam.jobs.runs.settings import Save, Settings
from cfcam.maps import Status
from cfcam.models import LoadedModel, model_name

_SHEET_VOXELS = 8_000_000  # a sheet of a larger volume is made of every second voxel, or third, ...


class VolumeRun(FolderRun):
    """A run over volumes, one after the other; see `FolderRun`.

    For each volume, class and method it writes the raw map as NIfTI on the volume's own grid, and three slices through
    its peak; for each volume a sheet.

    Args:
        model: a network that takes (N, C, D, H, W).
        inputs: the volumes, from `find_inputs`.
        settings: what to do with them; their ``preprocess`` is a `VolumePreprocess`.
        volumes: what concerns volumes alone.
    """

    def __init__(
        self,
        model: LoadedModel,
        inputs: Sequence[Input],
        settings: Settings,
        volumes: VolumeSettings | None = None,
    ) -> None:
        self.volumes = volumes or VolumeSettings()
        super().__init__(model, inputs, replace(settings, batch_size=1))

    def _preparation(self) -> VolumePreprocess:
        return prepared_volumes_for(self._model, self.settings.preprocess)

    def _rehearse(self) -> None:
        self._engine.windows = self.volumes.windows
        size = self._first_size()
        if size is None:
            return  # no volume can be read: the run will say why
        if self.volumes.windows is not None:
            window = self.volumes.windows.size
            window = (window,) * 3 if isinstance(window, int) else window
            size = (min(size[0], window[0]), min(size[1], window[1]), min(size[2], window[2]))
        rehearsed = replace(self.preprocess, spacing=None, size=size)
        self._engine.rehearse(rehearsed, leave_out=self.settings.leave_out)

    def _first_size(self) -> tuple[int, int, int] | None:
        """The input size: that of the settings, or what the first volume that can be read is brought to."""
        preprocess: VolumePreprocess = self.preprocess
        if preprocess.input_size is not None:
            return preprocess.input_size
        for source in self.inputs:
            try:
                return preprocess.grid(self._loaded(source))[0]
            except CfcamError:
                continue
        return None

    def _drawing(self) -> Callable[[Any, Explanation, str], list[Path]]:
        return VolumeArtist(self.settings, self.preprocess, self._model.spec)

    def _load(self, source: Input) -> Volume:
        volume = load_volume(source, self.volumes)
        for notice in volume.notices:
            note = f"{source.shown.name}: {notice}"
            if note not in self._engine.notes:
                self._engine.notes.append(note)
        return volume

    def _digest(self, source: Input) -> str:
        return digest_of_series(source.path, self.volumes.series) if source.path.is_dir() else sha256_of(source.path)

    def _bytes(self, image: Any) -> int:
        return int(image.voxels.nbytes)

    def _ahead(self) -> int:
        return 1 if self.settings.study is not None else 2

    def _describe(self) -> dict[str, Any]:
        how = self.volumes
        chosen = {"time": how.time, "channel": how.channel, "series": how.series, "irregular": how.irregular}
        windows = None if how.windows is None else vars(how.windows)
        return {**super()._describe(), "volumes": {**chosen, "windows": windows}}


@dataclass(frozen=True)
class VolumeArtist:
    """Writes the files of one volume after the other; may be called from several threads.

    Attributes:
        settings: what is written, how, and where.
        preprocess: the way from the volume to the network, which the maps go back.
        model: what to call the network on a sheet.
    """

    settings: Settings
    preprocess: VolumePreprocess
    model: str

    def __call__(self, volume: Volume, explanation: Explanation, name: str) -> list[Path]:
        """Writes the files of a volume.

        Args:
            volume: as it was read.
            explanation: of this one volume.
            name: what the names of its files begin with.

        Returns:
            The files.
        """
        stem = self.settings.output / name
        stem.parent.mkdir(parents=True, exist_ok=True)
        columns = unique_columns(explanation)
        names = column_suffixes(explanation, columns)
        shown = columns[: max(1, MOST_PANELS // len(explanation.methods))]
        small, thin = _thinned(volume)
        panels: list[Panel] = []
        files: list[Path] = []
        for k in columns:
            for method in explanation.methods:
                heat = self._heat(explanation, method, k, volume)
                if Save.OVERLAY in self.settings.save:
                    suffix = f"{stem.name}_{safe(method, 40)}{names[k]}"
                    files += self._write(volume, explanation, (method, k), heat, stem.with_name(suffix))
                if Save.SHEET in self.settings.save and k in shown:
                    panels.append(
                        _panel(explanation, method, k, None if heat is None else np.ascontiguousarray(heat[thin]))
                    )
        if Save.SHEET in self.settings.save:
            title = _title(volume) + (f" (the first {len(shown)} of {len(columns)} classes)" * (shown != columns))
            with FIGURE_LOCK:
                sheet = volume_sheet(small, panels, title=title, footer=self._footer(explanation), **self._look())
            files.append(save_image(sheet, stem.with_name(f"{stem.name}_sheet.png")))
        if Save.MAPS in self.settings.save:
            folder = explanation.save(stem.with_name(f"{stem.name}_maps"))
            files += [folder / "maps.safetensors", folder / "explanation.json"]
        return files

    def _write(
        self,
        volume: Volume,
        explanation: Explanation,
        which: tuple[str, int],
        heat: NDArray[np.float32] | None,
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
        panel = _panel(explanation, method, k, heat)
        known = "" if panel.probability is None else f" {panel.probability:.2f}"
        title, footer = f"{_title(volume)} · {method} · {panel.label}{known}", self._footer(explanation)
        with FIGURE_LOCK:
            if heat is None:
                drawn = volume_sheet(volume, [panel], title=title, footer=footer, **self._look())
            else:
                drawn = slices_figure(volume, heat, title=title, footer=footer, **self._look())
        return [*files, save_image(drawn, f"{stem}.png")]

    def _heat(self, explanation: Explanation, method: str, k: int, volume: Volume) -> NDArray[np.float32] | None:
        """A heatmap in [0, 1] on the volume's grid; None if there is no map to show."""
        if explanation.status[method][0, k] != Status.OK:
            return None
        one = explanation.select(slice(0, 1), slice(k, k + 1), [method])
        heat: NDArray[np.float32] = self.preprocess.to_original(one.heatmaps(method)[0, 0], volume).numpy()
        return heat

    def _back(self, explanation: Explanation, method: str, k: int, volume: Volume) -> Tensor:
        """A raw map on the volume's grid: signed, linear between the cells of the layer."""
        raw = explanation.maps[method][:1, k : k + 1]
        whole = upsampled(raw, explanation.input_size, explanation.placements.get(method))
        return self.preprocess.to_original(whole[0, 0], volume)

    def _look(self) -> dict[str, Any]:
        window = named_window(self.settings.window)
        return {"palette": self.settings.palette, "opacity": self.settings.opacity, "window": window}

    def _footer(self, explanation: Explanation) -> str:
        return footer_of(model_name(self.model), explanation.layer, self.preprocess)


def _panel(explanation: Explanation, method: str, k: int, heat: NDArray[np.float32] | None) -> Panel:
    status = str(explanation.status[method][0, k])
    return Panel(heat, method, explanation.label(0, k), explanation.probability(0, k), status)


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
