"""How the numbers of a scorecard are computed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, get_args

from cfcam.errors import InputError, seed_number, shown, whole_number
from cfcam.metrics.scorecard.catalogue import METRICS

ExplainedClass = Literal["predicted", "label"]


@dataclass(frozen=True)
class Settings:
    """How the numbers of a scorecard are computed; part of its provenance.

    Attributes:
        metrics: names, in the order of the catalogue.
        explained: which class is explained: the "predicted" one, or the "label".
        black: the network-input value of a black pixel, a number or one per channel.
        white: likewise of a white one; None: unknown, and "peak-shift" leaves out JPEG and brightness.
        steps: of insertion and deletion curves.
        threshold: of "iou-tuned", "lesion-coverage" and "false-components", in (0, 1]; tuned on other images.
        overlap: share of a ground-truth component that has to be covered for it to count as found.
        stages: of cascading randomisation.
        draws: of the perturbation behind max-sensitivity.
        seed: of everything random.
        passes_at_once: inputs in one forward pass.
    """

    metrics: tuple[str, ...]
    explained: ExplainedClass = "predicted"
    black: float | tuple[float, ...] = 0.0
    white: float | tuple[float, ...] | None = None
    steps: int = 20
    threshold: float | None = None
    overlap: float = 0.1
    stages: int = 4
    draws: int = 4
    seed: int = 0
    passes_at_once: int = 16

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", seed_number(self.seed))
        if self.explained not in get_args(ExplainedClass):
            raise InputError(f"explained={shown(self.explained)}: 'predicted', or 'label'")
        for name in ("steps", "stages", "draws", "passes_at_once"):
            object.__setattr__(self, name, whole_number(getattr(self, name), name, 1))
        for name in ("threshold", "overlap"):  # their ranges are the metrics' own
            if not _is_number(getattr(self, name)) and not (name == "threshold" and self.threshold is None):
                raise InputError(f"{name}={shown(getattr(self, name))}: give a share, from 0 to 1")
        for name in ("black", "white"):
            value = getattr(self, name)
            several = value if isinstance(value, tuple) and value else (value,)
            if not all(map(_is_number, several)) and not (name == "white" and value is None):
                raise InputError(f"{name}={shown(value)}: give a number, or a tuple of one for each channel")

    def wants(self, *names: str) -> bool:
        """Whether one of these metrics is asked for."""
        return any(name in self.metrics for name in names)

    def wants_group(self, group: str) -> bool:
        """Whether a metric of this group is asked for."""
        return any(METRICS[name].group == group for name in self.metrics)


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)
