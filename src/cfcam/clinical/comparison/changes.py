"""Two maps of one patient at two times: registered, on one scale, and each change held against repeatability.

A change of the map is not a change of disease. It is a change of what a network looked at, and a network looks
elsewhere for many reasons.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cfcam.clinical.checks.repeatability import repeatability_coefficient, within_subject_sd
from cfcam.clinical.comparison.comparable import StudyMaps, check_comparable
from cfcam.clinical.comparison.gate import Gate
from cfcam.clinical.comparison.placed import Grid, Matrix, Placed
from cfcam.clinical.comparison.quality import Registration, RegistrationKind
from cfcam.clinical.comparison.registration import register
from cfcam.clinical.comparison.result import BEYOND, NOT_ASSESSED, WITHIN, Change, Comparison
from cfcam.clinical.regions import measure
from cfcam.errors import InputError
from cfcam.imaging.measured import measured_in

THRESHOLD = 0.5
HOT = "hot region"

_THIN = 2**18  # positions on which the retests are measured
_PICTURE = 2  # axes
_ROUNDING = 1e-6  # relative to the scale of a number


@dataclass(frozen=True, eq=False)
class _State:
    """The numbers of one map."""

    probability: float
    area: float
    centroid: NDArray[np.float64]
    heat: NDArray[np.float32]
    means: Mapping[str, float]


def compare(
    prior: StudyMaps,
    current: StudyMaps,
    *,
    registration: RegistrationKind | Registration = "rigid",
    gate: Gate | None = None,
    threshold: float = THRESHOLD,
    masks: Mapping[str, NDArray[np.bool_]] | None = None,
) -> Comparison:
    """Compares the maps of two studies of one patient.

    The current map is laid onto the prior's grid, linearly. Both raw maps are divided by one number, the greater of
    their two maxima, never each by its own: a map that became weaker everywhere is weaker here. Evidence against the
    class counts as none. Every number is held against its repeatability coefficient, from both studies' retests.

    Args:
        prior: the earlier study.
        current: the later one; of the same network, method, layer and class.
        registration: how the images are registered, or the registration itself, if it is already known.
        gate: what the registration must reach; None: the defaults. Not asked where ``registration`` is "none".
        threshold: in (0, 1], on the common scale: from there on a position is hot.
        masks: name -> (*spatial) bool on the prior's grid: the mean of the map in each is followed.

    Raises:
        ComparisonError: the maps are of another network, method, layer, class or patient, or are not finite.
        RegistrationError: the registration is not good enough.
        InputError: the threshold or a mask does not fit.
        MissingExtraError: SimpleITK is not installed.
    """
    check_comparable(prior, current)
    if not 0 < threshold <= 1:
        raise InputError(f"threshold {threshold!r}: give a number in (0, 1]: the share of the common scale")
    regions = _checked_masks(masks or {}, prior.picture.grid)
    found = registration
    if not isinstance(found, Registration):
        found = register(prior.picture, current.picture, found)
    if found.kind != "none":
        (gate or Gate()).check(found)

    grid = prior.picture.grid
    seen = _seen(prior, current, grid, found.matrix)
    maps = _evidence(prior.raw(), grid, None, seen), _evidence(current.raw(), grid, found.matrix, seen)
    scale = max(float(values.max()) for values in maps)
    heats = tuple(values / np.float32(scale) if scale > 0 else values for values in maps)
    regions = {HOT: (heats[0] >= threshold) | (heats[1] >= threshold), **regions} if scale > 0 else regions
    states = [
        _state(heat, study.probability, grid, threshold, regions)
        for heat, study in zip(heats, (prior, current), strict=True)
    ]
    retests = min(len(prior.samples), len(current.samples)) - 1
    repeated = _repeated(prior, current, found.matrix, scale, threshold, regions) if retests > 0 else ([], [])
    return Comparison(
        registration=found,
        scale=scale,
        threshold=threshold,
        changes=tuple(_changes(states[0], states[1], repeated, _units(prior))),
        prior=heats[0],
        current=heats[1],
        difference=heats[1] - heats[0],
        picture=current.picture.sampled(grid, found.matrix),
        seen=seen,
        unit=measured_in("mm", prior.measured) if prior.physical else "pixels",
        model=prior.model,
        method=prior.method,
        class_index=prior.class_index,
        class_name=prior.class_name,
        retests=max(0, retests),
        notes=(*prior.notes, *(n for n in current.notes if n not in prior.notes), *_notes(maps, found, seen, retests)),
    )


def _checked_masks(masks: Mapping[str, NDArray[np.bool_]], grid: Grid) -> dict[str, NDArray[np.bool_]]:
    for name, mask in masks.items():
        if name in (HOT, "map") or mask.shape != grid.size or mask.dtype != np.bool_:
            raise InputError(
                f"mask {name!r} of shape {mask.shape} and type {mask.dtype}: give bool {grid.size} on the prior's grid,"
                f" under another name than {HOT!r} and 'map'"
            )
    return dict(masks)


def _seen(prior: StudyMaps, current: StudyMaps, grid: Grid, matrix: Matrix) -> NDArray[np.bool_]:
    here = prior.raw().covers(grid)
    here &= current.raw().covers(grid, matrix)
    here &= current.picture.covers(grid, matrix)
    return here


def _evidence(raw: Placed, grid: Grid, matrix: Matrix | None, seen: NDArray[np.bool_]) -> NDArray[np.float32]:
    values = raw.sampled(grid, matrix)
    np.maximum(values, 0, out=values)
    values[~seen] = 0
    return values


def _state(
    heat: NDArray[np.float32],
    probability: float | None,
    grid: Grid,
    threshold: float,
    regions: Mapping[str, NDArray[np.bool_]],
) -> _State:
    table = measure(
        torch.from_numpy(heat), grid.spacing, threshold, {name: torch.from_numpy(m) for name, m in regions.items()}
    )
    marked = table["map"]
    centroid = np.full(len(grid.size), np.nan) if marked.centroid is None else grid.places(marked.centroid)
    means = {name: math.nan if (mean := table[name].mean) is None else mean for name in regions}
    area = marked.count * grid.cell
    return _State(math.nan if probability is None else probability, area, centroid, heat, means)


def _repeated(
    prior: StudyMaps,
    current: StudyMaps,
    matrix: Matrix,
    scale: float,
    threshold: float,
    regions: Mapping[str, NDArray[np.bool_]],
) -> tuple[list[_State], list[_State]]:
    """The numbers of every map of both studies, on a grid that is thinned out where it is large."""
    grid = prior.picture.grid
    index = grid.every(_THIN)
    thin = grid.picked(index)
    small = {name: mask[index] for name, mask in regions.items()}
    seen = _seen(prior, current, thin, matrix)

    def states(study: StudyMaps, way: Matrix | None) -> list[_State]:
        found = []
        for n, sample in enumerate(study.samples):
            heat = _evidence(study.raw(n), thin, way, seen)
            heat = np.minimum(heat / np.float32(scale), 1) if scale > 0 else heat
            found.append(_state(heat, sample.probability, thin, threshold, small))
        return found

    return states(prior, None), states(current, matrix)


def _units(study: StudyMaps) -> tuple[str, str, str]:
    """What the size of a region is called, its unit, and that of a length."""
    flat = len(study.grid.size) == _PICTURE
    name, size, counted = ("hot area", "mm²", "pixels") if flat else ("hot volume", "mm³", "voxels")
    if not study.physical:
        return name, counted, counted
    return name, measured_in(size, study.measured), measured_in("mm", study.measured)


def _changes(
    prior: _State, current: _State, repeated: tuple[list[_State], list[_State]], units: tuple[str, str, str]
) -> list[Change]:
    area, size, length = units

    # 1 - soft IoU of the pair is |a - b| over max(a, b). Retests are held to the pair's max(a, b): by their own, those
    # of a map that has all but vanished would be far apart.
    union = float(np.maximum(prior.heat, current.heat).mean(dtype=np.float64))
    freedom = sum(len(states) - 1 for states in repeated)

    def number(name: str, unit: str, value: Any) -> Change:
        sd = within_subject_sd(repeated, lambda a, b: abs(value(a) - value(b)))
        here, there = value(prior), value(current)
        return _judged(name, unit, here, there, there - here, repeatability_coefficient(sd, freedom))

    def apart(name: str, unit: str, distance: Any) -> Change:
        sd = within_subject_sd(repeated, distance)
        return _judged(name, unit, math.nan, math.nan, distance(prior, current), repeatability_coefficient(sd, freedom))

    found = [
        number("probability", "probability", lambda state: state.probability),
        number(area, size, lambda state: state.area),
        apart("centroid shift", length, lambda a, b: float(np.linalg.norm(a.centroid - b.centroid))),
        apart("map change", "1 - soft IoU", lambda a, b: _apart(a, b) / union if union > 0 else math.nan),
    ]
    means = [
        number(f"mean in {name}", "share of scale", lambda state, of=name: state.means[of]) for name in prior.means
    ]
    return found + means


def _apart(a: _State, b: _State) -> float:
    """The mean distance of two maps."""
    return float(np.abs(a.heat - b.heat).mean(dtype=np.float64))


def _judged(name: str, unit: str, prior: float, current: float, change: float, limit: float | None) -> Change:
    slack = _ROUNDING * max(1.0, *(abs(v) for v in (prior, current) if math.isfinite(v)), 0.0)
    if limit is None or not math.isfinite(change):
        verdict = NOT_ASSESSED
    else:
        verdict = WITHIN if abs(change) <= limit + slack else BEYOND
    here, there, moved = (value if math.isfinite(value) else None for value in (prior, current, change))
    return Change(name, unit, here, there, moved, limit, verdict)


def _notes(
    maps: tuple[NDArray[np.float32], NDArray[np.float32]], found: Registration, seen: NDArray[np.bool_], retests: int
) -> list[str]:
    notes = [
        f"the {which} map has no evidence for the class where both studies saw the patient"
        for which, values in zip(("prior", "current"), maps, strict=True)
        if not (values > 0).any()
    ]
    if found.kind == "none":
        notes.append("not registered: places were taken as they are in the two images")
    if retests <= 0:
        notes.append("no test-retest was done: how far numbers move without a change is not known")
    notes.append(f"compared where both networks saw the patient: {seen.mean():.0%} of the prior image")
    return notes
