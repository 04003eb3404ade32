"""Where a later image lies over an earlier one, and how well. Nothing here imports numpy."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from cfcam.clinical.comparison.placed import Matrix

RegistrationKind = Literal["rigid", "affine", "none"]


@dataclass(frozen=True)
class Quality:
    """How well a registration lays one image over the other.

    Attributes:
        correlation_before: Pearson correlation of the grey values where both images are, without registration; NaN if
            they do not overlap there.
        correlation: likewise, with it.
        mutual_information_before: in nats, 32 x 32 bins, without registration.
        mutual_information: likewise, with it.
        overlap: share of the prior image that the current one covers.
        shift: how far the middle of the prior image moves, in mm (pixels if the spacing is unknown).
        shift_share: that, as a share of the prior's longest side.
        rotation: angle in degrees.
        scale: the factor along an axis that differs most from 1.
    """

    correlation_before: float
    correlation: float
    mutual_information_before: float
    mutual_information: float
    overlap: float
    shift: float
    shift_share: float
    rotation: float
    scale: float

    def as_dict(self) -> dict[str, float | None]:
        """Returns plain values; None for what is no number."""
        return {name: value if math.isfinite(value) else None for name, value in asdict(self).items()}


@dataclass(frozen=True, eq=False)
class Registration:
    """Where the current image lies over the prior one.

    Attributes:
        matrix: (n + 1, n + 1), from a place in the prior image to that in the current one.
        kind: "rigid", "affine", or "none": places are taken as they are.
        quality: how well they fit.
    """

    matrix: Matrix
    kind: RegistrationKind
    quality: Quality

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values."""
        return {"kind": self.kind, "matrix": self.matrix.tolist(), **self.quality.as_dict()}
