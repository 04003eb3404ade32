"""What is special about an evaluation of volumes: one after the other, sizes that may differ, sheets of slices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cfcam.errors import CfcamError, InputError, JobError, MissingExtraError
from cfcam.imaging import VolumePreprocess
from cfcam.jobs.cases.volumes import VolumeCase
from cfcam.jobs.evaluate.examples import Example, volume_example
from cfcam.jobs.evaluate.run import EvaluationRun, Measure, measured_here
from cfcam.jobs.evaluate.settings import EvaluationSettings
from cfcam.jobs.inputs.preparing import prepared_volumes_for, refuse_windows
from cfcam.metrics.scorecard.catalogue import resolve_metrics
from cfcam.models import LoadedModel
from cfcam.shown import counted

_VOXELS_AT_ONCE, _PASSES_AT_ONCE = 4 * 2**20, 16  # of changed inputs in one pass: 16 of 64 x 64 x 64 voxels
_NEED_A_NETWORK = ("repeatability", "reproducibility")


class VolumeEvaluationRun(EvaluationRun):
    """Measures what the maps of a network are worth on volumes, one after the other; see `EvaluationRun`.

    Args:
        model: a network that takes (N, C, D, H, W).
        cases: see `cfcam.jobs.cases.volumes.find_volume_cases`.
        settings: what to measure, and how; their ``preprocess`` is a `VolumePreprocess`.
        output: the folder to write into.
        measure: as there.

    Raises:
        CfcamError: the settings do not fit the network, the output folder cannot be used, or, where the size of the
            network's input depends on the volume, none of them can be read.
    """

    kind = "volume"
    _usual_batch_size = 1

    def __init__(
        self,
        model: LoadedModel,
        cases: Sequence[VolumeCase],
        settings: EvaluationSettings,
        output: str | Path,
        *,
        measure: Measure = measured_here,
    ) -> None:
        if settings.protocol is not None:
            raise InputError(f"the protocol {settings.protocol} is one of pictures: leave --protocol out for volumes")
        super().__init__(model, cases, settings, output, measure=measure)

    def _preparation(self) -> VolumePreprocess:
        refuse_windows(self._model)
        return prepared_volumes_for(self._model, self.settings.preprocess)

    def _with_size(self) -> VolumePreprocess:
        preprocess: VolumePreprocess = self.preprocess
        size = preprocess.input_size or self._first_size()
        return replace(preprocess, spacing=None, size=size)

    def _first_size(self) -> tuple[int, int, int]:
        """What the first volume that can be read is brought to."""
        first: CfcamError | None = None
        for case in self.cases:
            try:
                size: tuple[int, int, int] = self.preprocess.grid(case.read())[0]  # type: ignore[attr-defined]
            except MissingExtraError:
                raise
            except CfcamError as error:
                first = first or error
            else:
                return size
        raise JobError(f"none of {counted(len(self.cases), 'volume')} can be read; the first: {first}") from first

    def _metrics(self) -> str | tuple[str, ...]:
        chosen = self.settings.metrics
        names = resolve_metrics(chosen)
        black = [name for name in names if name.endswith("-black")]
        if self._black() is not None or not black:
            return super()._metrics()
        told = (
            f"the darkest value of the input differs from volume to volume with intensity {self.preprocess.intensity}"
        )
        kept = tuple(n for n in names if n not in black and (n in chosen or n not in _NEED_A_NETWORK))
        if not kept:
            raise InputError(f"{black[0]}: {told}: give --intensity unit, or the metrics that end in blur or mean")
        self.notes.append(f"{', '.join(black)}: left out, for {told}")
        return kept

    def _measuring(self) -> dict[str, Any]:
        voxels = math.prod(self._input_shape()[2:])
        black, white = self._black(), self._white()
        return {
            "passes_at_once": max(1, min(_PASSES_AT_ONCE, _VOXELS_AT_ONCE // voxels)),
            **({} if black is None else {"black": black, "white": white}),
        }

    def _black(self) -> tuple[float, ...] | None:
        """What the darkest voxel becomes, channel by channel; None if that depends on the volume."""
        return self._becomes(0.0, -0.5)

    def _white(self) -> tuple[float, ...] | None:
        """What the brightest voxel becomes, likewise."""
        return self._becomes(1.0, 0.5)

    def _becomes(self, unit: float, of_window: float) -> tuple[float, ...] | None:
        preprocess: VolumePreprocess = self.preprocess
        if preprocess.intensity == "unit":
            value = unit
        elif preprocess.intensity == "none" and preprocess.window is not None:
            value = preprocess.window[0] + of_window * preprocess.window[1]
        else:
            return None
        return tuple((value - mean) / std for mean, std in zip(preprocess.mean, preprocess.std, strict=True))

    def _example(self, case: VolumeCase) -> Example:
        volume = case.read()
        sample = case.prepared(volume, self.preprocess, self._classes, lambda _: None)
        return volume_example(self.evaluator, sample, self.preprocess.grid(volume)[1], placed=volume.placed)

    def _setup(self) -> dict[str, Any]:
        how = [case.identity()["how"] for case in self.cases[:1]]
        return super()._setup() | {"volumes": how[0]}
