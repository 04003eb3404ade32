"""Checks of a map: is it where it may be, does it rest on an artefact, does it hold still, does it miss a finding?

Every check gives pass, flag or not assessed, with its number and the limit that the site has set. A flag asks a person
to look. Maps are (*spatial) in [0, 1], two- or three-dimensional; masks are bool on the same grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy import ndimage
from torch import Tensor

from cfcam.clinical.checks.interventions import (
    dilate,
)
from cfcam.clinical.checks.network_checks import INTERVENTION
from cfcam.clinical.checks.results import (
    DEFAULT_LIMITS,
    CheckResult,
    Limits,
    at_least,
    at_most,
    not_assessed,
)
from cfcam.errors import InputError
from cfcam.imaging.measured import Measured, measured_in
from cfcam.metrics.functional.components import lesion_coverage
from cfcam.metrics.functional.heatmaps import nan_unless, read_pair
from cfcam.metrics.functional.localization import energy_in_ground_truth, enrichment, hit_rate
from cfcam.metrics.functional.trust import c_score
from cfcam.shown import probability_text

Spacing = tuple[float, ...]
_ORGAN = ("organ: energy", "organ: enrichment", "organ: rank accuracy")
_ARTEFACT = ("artefact: energy", "artefact: enrichment", "artefact: peak inside")
_FINDINGS = ("findings: covered", "findings: false regions")
_ZONE = "reported zone"
_OF_MASK = {"organ": _ORGAN, "artefacts": (*_ARTEFACT, *INTERVENTION), "findings": _FINDINGS, "zone": (_ZONE,)}
_SHOWN = 10  # places that are listed in one line


def plausibility(
    heatmap: Tensor,
    organ: Tensor,
    *,
    spacing: Spacing | None = None,
    measured: Measured | None = None,
    affine: ArrayLike | None = None,
    probability: float | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> list[CheckResult]:
    """Checks whether the map lies in the organ: share of energy, enrichment and rank accuracy.

    A large organ holds much of any map: the share alone says little, the enrichment over the organ's share of the
    picture says more.

    Args:
        heatmap: (*spatial) in [0, 1], on the picture's grid.
        organ: (*spatial) bool.
        spacing: mm between positions; with it the organ is widened by ``limits.tolerance_mm``.
        measured: where these mm are measured (`cfcam.imaging.Image.measured`).
        affine: (4, 4), index to mm, if known: distances are then right on sheared grids too.
        probability: of the explained class; below ``limits.min_probability`` nothing is assessed.
        limits: of the site.

    Raises:
        InputError: the shapes or values do not fit.
    """
    reason = _unassessable(heatmap, organ, "organ", probability, limits)
    if reason:
        return not_assessed(_ORGAN, reason)
    wide = organ if spacing is None else dilate(organ, limits.tolerance_mm, spacing, affine=affine)
    mm = measured_in("mm", measured)
    how = "no tolerance: spacing unknown" if spacing is None else f"tolerance {limits.tolerance_mm:g} {mm}"
    heat, mask = heatmap[None], wide[None]
    area = float(wide.double().mean())
    values = [float(f(heat, mask)[0]) for f in (energy_in_ground_truth, enrichment, rank_accuracy)]
    bounds = (limits.organ_energy, limits.organ_enrichment, limits.organ_rank_accuracy)
    details = (
        f"share of the map's energy in the organ, which is {area:.1%} of the picture ({how})",
        "share of energy over share of the picture; 1 is chance",
        "share of the strongest positions, as many as the organ has, that lie in it",
    )
    units = ("share", "ratio", "share")
    return [at_least(*row) for row in zip(_ORGAN, values, bounds, details, units, strict=True)]


def rank_accuracy(heatmap: Tensor, mask: Tensor) -> Tensor:
    """The share of a map's K strongest positions that lie in a mask of K positions: (B,) in [0, 1], higher is better.

    Positions of one value at the border of the K strongest count by their share, so that a constant map scores the
    mask's share of the picture. Source: relevance rank accuracy of CLEVR-XAI, arXiv 2003.07258.

    Args:
        heatmap: (B, *spatial) in [0, 1].
        mask: (B, *spatial) bool.

    Returns:
        (B,); NaN where the map has no positive evidence, or the mask is empty or fills the frame.

    Raises:
        InputError: the shapes or values do not fit.

    Example:
        >>> heatmap = torch.tensor([[[1.0, 0.8], [0.3, 0.3]]])
        >>> rank_accuracy(heatmap, torch.tensor([[[True, False], [True, False]]]))
        tensor([0.5000])
    """
    heat, truth = read_pair(heatmap, mask)
    size = truth.sum(1, keepdim=True)
    ordered = heat.sort(1, descending=True).values
    last = ordered.gather(1, (size - 1).clamp(min=0))
    above, level = heat > last, heat == last
    of_level = (level & truth).sum(1) / level.sum(1) * (size[:, 0] - above.sum(1))
    assessed = (heat > 0).any(1) & truth.any(1) & ~truth.all(1)
    return nan_unless(assessed, ((above & truth).sum(1) + of_level) / size[:, 0])


def artefact_sensitivity(
    heatmap: Tensor, artefact: Tensor, *, probability: float | None = None, limits: Limits = DEFAULT_LIMITS
) -> list[CheckResult]:
    """Checks whether the map rests on a device, a border or a marker: energy, enrichment, and the peak inside or not.

    Args:
        heatmap: (*spatial) in [0, 1].
        artefact: (*spatial) bool.
        probability: of the explained class; below ``limits.min_probability`` nothing is assessed.
        limits: of the site.

    Raises:
        InputError: the shapes or values do not fit.
    """
    reason = _unassessable(heatmap, artefact, "artefact", probability, limits)
    if reason:
        return not_assessed(_ARTEFACT, reason)
    heat, mask = heatmap[None], artefact[None]
    energy, dense, peak = (float(f(heat, mask)[0]) for f in (energy_in_ground_truth, enrichment, hit_rate))
    area = float(artefact.double().mean())
    return [
        at_most(
            _ARTEFACT[0],
            energy,
            limits.artefact_energy,
            f"share of the map's energy in the artefact, which is {area:.1%} of the picture",
        ),
        at_most(
            _ARTEFACT[1],
            dense,
            limits.artefact_enrichment,
            "share of energy over share of the picture; 1 is chance",
            "ratio",
        ),
        at_most(
            _ARTEFACT[2],
            peak,
            0.0,
            "1: the map's maximum lies in the artefact; 0: it does not; it may move by a cell (peak: stays)",
        ),
    ]


def similar_cases(heatmaps: Tensor, probabilities: Tensor, *, limits: Limits = DEFAULT_LIMITS) -> CheckResult:
    """Checks whether similar cases have similar maps: the C-score-style consistency of `c_score`.

    Args:
        heatmaps: (n, *spatial) of cases that are alike: one class, one view; at the layer's or the input's size.
        probabilities: (n,) of the class.
        limits: of the site.

    Raises:
        InputError: the shapes do not fit.
    """
    value, cases = c_score(heatmaps, probabilities)
    if cases < 2:
        return not_assessed("similar cases", f"{cases} case with a map: two or more are needed")[0]
    detail = f"consistency of the maps of {cases} cases of one class"
    return at_least("similar cases", float(value), limits.similar_cases, detail)


def finding_coverage(heatmap: Tensor, findings: Tensor, *, limits: Limits = DEFAULT_LIMITS) -> list[CheckResult]:
    """Checks whether the map hits every finding, and what it marks besides; missed and false ones are listed.

    A connected part of the mask is one finding; it is hit if the share ``limits.finding_overlap`` of it is marked.

    Args:
        heatmap: (*spatial) in [0, 1].
        findings: (*spatial) bool.
        limits: of the site.

    Raises:
        InputError: the shapes or values do not fit.
    """
    reason = _unassessable(heatmap, findings, "findings", None, limits)
    if reason:
        return not_assessed(_FINDINGS, reason)
    around = np.ones((3,) * heatmap.ndim, dtype=bool)
    lesions, count = ndimage.label(findings.cpu().numpy(), structure=around)
    masks = torch.stack([torch.from_numpy(lesions == n + 1) for n in range(count)]).to(heatmap.device)
    hit = lesion_coverage(
        heatmap.expand(count, *heatmap.shape), masks, limits.finding_threshold, limits.finding_overlap
    )
    missed = [n + 1 for n, found in enumerate(hit.tolist()) if not found]
    marked, parts = ndimage.label((heatmap >= limits.finding_threshold).cpu().numpy(), structure=around)
    false = sorted(set(range(1, parts + 1)) - set(np.unique(marked[lesions > 0]).tolist()))
    return [
        at_least(
            _FINDINGS[0],
            (count - len(missed)) / count,
            limits.findings_covered,
            f"{count - len(missed)} of {count} hit{_listed('missed', lesions, missed)}",
        ),
        at_most(
            _FINDINGS[1],
            len(false),
            limits.false_regions,
            f"{len(false)} of {parts} marked regions touch no finding{_listed('at', marked, false)}",
            "count",
        ),
    ]


def zone_agreement(
    heatmap: Tensor, zones: Mapping[str, Tensor], reported: str, *, limits: Limits = DEFAULT_LIMITS
) -> CheckResult:
    """Checks whether the zone that the report names is the one with most of the map's energy.

    Args:
        heatmap: (*spatial) in [0, 1].
        zones: name -> (*spatial) bool; zones of about equal size, for a large one holds more.
        reported: one of the names.
        limits: of the site.

    Returns:
        Its value is the reported zone's share of the energy in all zones; its limit that of the strongest.

    Raises:
        InputError: the reported zone is none of these, or the shapes do not fit.
    """
    if reported not in zones:
        raise InputError(f"the reported zone {reported!r} is not among the zones {', '.join(zones)}: name one of them")
    for mask in zones.values():
        read_pair(heatmap[None], mask[None])
    if not bool(heatmap.isfinite().all()):
        return not_assessed(_ZONE, "the map is not finite")[0]
    energies = {name: float(torch.where(mask, heatmap.double(), 0).sum()) for name, mask in zones.items()}
    total = sum(energies.values())
    if not total:
        return not_assessed(_ZONE, "the map has no energy in any zone")[0]
    strongest = max(energies, key=lambda name: energies[name])
    detail = f"share of {reported} (reported); most lies in {strongest} ({energies[strongest] / total:.1%})"
    return at_least(_ZONE, energies[reported] / total, energies[strongest] / total, detail)


def without_mask(kind: Literal["organ", "artefacts", "findings", "zone"], reason: str) -> list[CheckResult]:
    """Returns the results of all checks that need a mask where there is none, or nothing is marked in it.

    Args:
        kind: what the mask would have marked.
        reason: why there is none.
    """
    return not_assessed(_OF_MASK[kind], reason)


def _unassessable(heatmap: Tensor, mask: Tensor, what: str, probability: float | None, limits: Limits) -> str | None:
    """Says why a map cannot be held against a mask; None if it can."""
    read_pair(heatmap[None], mask[None])
    if not bool(mask.any()):
        return f"the mask of the {what} is empty"
    if bool(mask.all()):
        return f"the mask of the {what} fills the picture: every map lies in it"
    if not bool(heatmap.isfinite().all() & (heatmap > 0).any()):
        return "the map has no positive evidence, or is not finite"
    if probability is not None and probability < limits.min_probability:
        seen = probability_text(probability, 3)
        return f"the class has a probability of {seen}, below {limits.min_probability:g}: it is not seen"
    return None


def _listed(word: str, labels: np.ndarray[tuple[int, ...], np.dtype[np.int32]], which: Sequence[int]) -> str:
    """The centres of labelled parts, as an index each."""
    if not which:
        return ""
    centres = ndimage.center_of_mass(labels > 0, labels, list(which[:_SHOWN]))
    places = ["(" + ", ".join(f"{place:.0f}" for place in centre) + ")" for centre in centres]
    return f"; {word} " + " ".join(places) + (" ..." if len(which) > _SHOWN else "")
