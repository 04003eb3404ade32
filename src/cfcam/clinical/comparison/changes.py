"""Two maps of one patient at two times: registered, on one scale, and each change held against repeatability.

A change of the map is not a change of disease. It is a change of what a network looked at, and a network looks
elsewhere for many reasons.
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cfcam._version import __version__
from cfcam.clinical.checks.repeatability import Sample, repeatability_coefficient, within_subject_sd
from cfcam.clinical.comparison.placed import Grid, Matrix, Placed
from cfcam.clinical.comparison.registration import Gate, Kind, Registration, register
from cfcam.clinical.regions import measure
from cfcam.clinical.study_result import ModelIdentity
from cfcam.errors import CfcamError, InputError

SENTENCE = "A change of the map is not a change of disease."
RESEARCH = "Research use only, not a medical device."

WITHIN, BEYOND, NOT_ASSESSED = "within repeatability", "beyond repeatability", "not assessed"

THRESHOLD = 0.5
HOT = "hot region"

_THIN = 2**18  # positions on which the retests are measured
_PICTURE, _VOLUME = 2, 3
_ROUNDING = 1e-6  # relative to the scale of a number


class ComparisonError(CfcamError, ValueError):
    """Two maps that may not be compared."""


@dataclass(frozen=True, eq=False)
class StudyMaps:
    """One study on its way into a comparison: its image, and the raw map of one class by one method.

    Attributes:
        picture: grey values, on the grid of the source.
        samples: the raw map as it is, then those of test-retest (`retest_samples`), all on ``grid``.
        grid: of the raw maps, often the network's input; its places are those of the picture's grid.
        model: the network and its layer.
        method: name of the method.
        class_index: number of the explained class.
        class_name: its name.
        physical: whether places are in mm; else in pixels of the source.
        parameters: of the method.
        patient: anything that differs between patients, such as a hash of the id; it is shown nowhere. None: unknown.
        notes: what a user should know of how it was read.
    """

    picture: Placed
    samples: tuple[Sample, ...]
    grid: Grid
    model: ModelIdentity
    method: str
    class_index: int
    class_name: str
    physical: bool = True
    parameters: Mapping[str, Any] = field(default_factory=dict)
    patient: str | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.samples or len({sample.raw.shape for sample in self.samples} | {self.grid.size}) > 1:
            raise InputError("a study needs its raw map, and all of its retests on the same grid")

    @property
    def probability(self) -> float | None:
        """Of the class, in [0, 1]."""
        return self.samples[0].probability

    def raw(self, n: int = 0) -> Placed:
        """Returns the raw map, or that of the n-th retest."""
        return Placed(self.samples[n].raw, self.grid)


@dataclass(frozen=True)
class Change:
    """One number of a comparison.

    Attributes:
        name: what it is of.
        unit: of the change: "mm²", "mm³", "mm", "pixels", "voxels", "probability", "share of the scale", "distance".
        prior: value in the prior study; None for a number of the pair.
        current: value in the current study.
        change: current less prior; for a place or a map how far they are apart, never negative. None: not assessed.
        repeatability: the coefficient: 95 % of the changes without any cause lie below it; None: unknown.
        verdict: "within repeatability", "beyond repeatability" or "not assessed".
    """

    name: str
    unit: str
    prior: float | None
    current: float | None
    change: float | None
    repeatability: float | None
    verdict: str


@dataclass(frozen=True, eq=False)
class Comparison:
    """What came of comparing two studies; all maps lie on the prior's grid.

    Attributes:
        registration: where the current image lies over the prior one.
        scale: the one number by which both raw maps were divided: the greater of their maxima; 0: both are empty.
        threshold: from which value on the common scale a position is hot.
        changes: the numbers.
        prior: (*spatial) the prior map on the common scale, in [0, 1]; what is against the class is 0.
        current: likewise, the current map, registered.
        difference: current less prior, in [-1, 1]; 0 where one of the two studies saw nothing.
        picture: (*spatial) the current image, registered.
        seen: (*spatial) where both networks saw the patient; nothing else is compared.
        unit: of lengths, "mm" or "pixels".
        model: the network and layer of both.
        method: of both.
        class_index: of both.
        class_name: of both.
        retests: how many of each study the repeatability rests on.
        notes: what a reader should know, a line each.
    """

    registration: Registration
    scale: float
    threshold: float
    changes: tuple[Change, ...]
    prior: NDArray[np.float32]
    current: NDArray[np.float32]
    difference: NDArray[np.float32]
    picture: NDArray[np.float32]
    seen: NDArray[np.bool_]
    unit: str
    model: ModelIdentity
    method: str
    class_index: int
    class_name: str
    retests: int
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Change:
        """Returns the number of a name.

        Raises:
            InputError: there is none.
        """
        for change in self.changes:
            if change.name == name:
                return change
        raise InputError(f"no number {name!r} in this comparison: it has {', '.join(c.name for c in self.changes)}")

    @property
    def verdict(self) -> str:
        """Of all numbers together, in words."""
        beyond = [change.name for change in self.changes if change.verdict == BEYOND]
        if beyond:
            return f"beyond repeatability: {', '.join(beyond)}"
        if not any(change.verdict == WITHIN for change in self.changes):
            return "not assessed: no repeatability is known"
        return "no change beyond repeatability"

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values, as JSON takes them: no NaN, no maps, nothing of a patient."""
        return {
            "statement": SENTENCE,
            "use": RESEARCH,
            "verdict": self.verdict,
            "changes": [vars(change) for change in self.changes],
            "class": {"index": self.class_index, "name": self.class_name},
            "method": self.method,
            "layer": self.model.layer,
            "model": {
                "name": self.model.name,
                "version": self.model.version,
                "weights_sha256": self.model.weights_sha256,
            },
            "scale": self.scale,
            "threshold": self.threshold,
            "retests": self.retests,
            "seen": float(self.seen.mean()),
            "registration": {**self.registration.as_dict(), "unit": self.unit},
            "notes": list(self.notes),
            "cfcam": __version__,
        }

    def as_row(self) -> dict[str, str]:
        """Returns one line of a table: column -> text, empty where a number is unknown."""
        row = {"verdict": self.verdict, "class": self.class_name, "method": self.method, "layer": self.model.layer}
        for change in self.changes:
            row[f"{change.name} [{change.unit}]"] = _text(change.change)
            row[f"{change.name}: prior"], row[f"{change.name}: current"] = _text(change.prior), _text(change.current)
            row[f"{change.name}: repeatability"] = _text(change.repeatability)
            row[f"{change.name}: verdict"] = change.verdict
        found = self.registration.quality
        row |= {
            "scale": _text(self.scale),
            "threshold": _text(self.threshold),
            "registration": self.registration.kind,
            "correlation": _text(found.correlation),
            "overlap": _text(found.overlap),
            "statement": SENTENCE,
        }
        return row


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
    registration: Kind | Registration = "rigid",
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
        changes=tuple(_changes(states[0], states[1], repeated, prior.physical, len(grid.size))),
        prior=heats[0],
        current=heats[1],
        difference=heats[1] - heats[0],
        picture=current.picture.sampled(grid, found.matrix),
        seen=seen,
        unit="mm" if prior.physical else "pixels",
        model=prior.model,
        method=prior.method,
        class_index=prior.class_index,
        class_name=prior.class_name,
        retests=max(0, retests),
        notes=(*prior.notes, *(n for n in current.notes if n not in prior.notes), *_notes(maps, found, seen, retests)),
    )


def check_comparable(prior: StudyMaps, current: StudyMaps) -> None:
    """Raises a `ComparisonError` unless two maps are of one network, method, layer, class and patient.

    Two patients are told apart where both studies say who they are of; no id is quoted.
    """
    if prior.patient is not None and current.patient is not None:
        check_patient(prior.patient, current.patient)
    here, there = prior.model, current.model
    differing = {
        "weights": here.weights_sha256 != there.weights_sha256,
        f"layer ({here.layer} and {there.layer})": here.layer != there.layer,
        f"method ({prior.method} and {current.method})": prior.method != current.method,
        "parameters of the method": dict(prior.parameters) != dict(current.parameters),
        f"class ({prior.class_name} and {current.class_name})": prior.class_index != current.class_index,
    }
    wrong = [what for what, differs in differing.items() if differs]
    if wrong:
        raise ComparisonError(
            f"the two maps differ in {', '.join(wrong)}: not compared; explain both studies with one network, method,"
            " layer and class"
        )
    if len(prior.picture.grid.size) != len(current.picture.grid.size):
        raise ComparisonError("one study is a picture and the other a volume: not compared; give two of a kind")
    if prior.physical != current.physical:
        raise ComparisonError(
            "the spacing of one study alone is known: not compared; give places of both in mm or pixels"
        )
    for which, study in (("prior", prior), ("current", current)):
        if not np.isfinite(study.samples[0].raw).all():
            raise ComparisonError(f"the map of the {which} study is not finite: not compared; check the network")


def check_patient(prior: str, current: str) -> None:
    """Raises a `ComparisonError` unless two ids are the same; it quotes neither."""
    if not hmac.compare_digest(prior.encode(), current.encode()):
        raise ComparisonError(
            "the prior and the current study are of two patients by their DICOM patient ids: not compared; give two"
            " studies of one patient, both de-identified with one key or neither"
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


def _changes(
    prior: _State, current: _State, repeated: tuple[list[_State], list[_State]], physical: bool, axes: int
) -> list[Change]:
    length = "mm" if physical else "pixels" if axes == _PICTURE else "voxels"
    size = {(True, _PICTURE): "mm²", (True, _VOLUME): "mm³"}.get((physical, axes), length)
    names = {"probability": "probability", "hot volume" if axes == _VOLUME else "hot area": size}

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

    probability, area = names.items()
    found = [
        number(*probability, lambda state: state.probability),
        number(*area, lambda state: state.area),
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


def _text(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:.6g}"
