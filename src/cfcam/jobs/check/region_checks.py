"""The checks that a map's masks allow, the same for ``cfcam check``, a study and an evidence pack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import ArrayLike
from torch import Tensor

from cfcam.clinical import checks
from cfcam.clinical.checks.results import CheckResult, Limits
from cfcam.imaging.measured import Measured
from cfcam.jobs.inputs.masks import MarkedRegion, RegionKind


def region_checks(
    regions: Mapping[RegionKind, MarkedRegion],
    heatmap: Tensor,
    intervention: Callable[[Tensor], list[CheckResult]],
    *,
    spacing: tuple[float, ...] | None,
    affine: ArrayLike | None = None,
    measured: Measured | None = None,
    probability: float | None,
    limits: Limits,
) -> list[CheckResult]:
    """Checks a map against what is marked in its image.

    Args:
        regions: kind -> what is marked.
        heatmap: (*spatial) in [0, 1], on the image's grid.
        intervention: what becomes of the map without an artefact, given its mask on that grid.
        spacing: mm along the axes; None if unknown.
        affine: (4, 4), index to mm in the patient; None if unknown.
        measured: where the mm of a picture are measured (`cfcam.imaging.Image.measured`).
        probability: of the explained class; None if the network gives none.
        limits: of the site.
    """
    found: list[CheckResult] = []
    for kind, region in regions.items():
        if region.reason:
            found += checks.without_mask(kind, region.reason)
        elif kind == "organ":
            where: dict[str, Any] = {"spacing": spacing, "affine": affine, "measured": measured}
            found += checks.plausibility(heatmap, region.mask, **where, probability=probability, limits=limits)
        elif kind == "artefacts":
            found += checks.artefact_sensitivity(heatmap, region.mask, probability=probability, limits=limits)
            found += intervention(region.mask)
        else:
            found += checks.finding_coverage(heatmap, region.mask, limits=limits)
    return found
