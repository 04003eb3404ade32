"""The curves behind insertion, deletion and ROAD: kept with each row, averaged over images with a band by patient."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cfcam.errors import InputError
from cfcam.metrics.scorecard.catalogue import BASELINES, METRICS
from cfcam.metrics.scorecard.rows import Rows
from cfcam.metrics.scorecard.samples import Row

Floats = NDArray[np.float64]

ROAD_PERCENTILES = (20, 40, 60, 80)
_ELEMENTS_AT_ONCE = 2**22  # bounds the memory of resampling to some 100 MB
_FEWEST_PATIENTS = 3


@dataclass(frozen=True)
class CurveInfo:
    """A curve of the class's probability over a share of the picture.

    Attributes:
        name: as in the tables.
        title: as shown to people.
        family: curves of one family stand side by side: the baseline of insertion and deletion, or "road".
        higher_is_better: whether a curve that lies higher is better.
        share: what the share is of: the picture "shown" or "removed".
        metrics: names of the metrics that are made of it; it is kept if one of them is asked for.
        shares: where it is known, in (0, 1); empty: at equal steps from 0 to 1.
    """

    name: str
    title: str
    family: str
    higher_is_better: bool
    share: str
    metrics: tuple[str, ...]
    shares: tuple[float, ...] = ()

    @property
    def key(self) -> str:
        """Under which a row keeps it in ``extra``."""
        return f"curve-{self.name}"


def _curves() -> Iterator[CurveInfo]:
    for kind in BASELINES:
        for mode, better, share in (("insertion", True, "shown"), ("deletion", False, "removed")):
            name = f"{mode}-{kind}"
            yield CurveInfo(name, METRICS[name].title, kind, better, share, (name, f"insertion-deletion-{kind}"))
    shares = tuple(percentile / 100 for percentile in ROAD_PERCENTILES)
    yield CurveInfo("road-morf", "ROAD, most relevant first", "road", False, "removed", ("road",), shares)
    yield CurveInfo("road-lerf", "ROAD, least relevant first", "road", True, "removed", ("road",), shares)


CURVES: dict[str, CurveInfo] = {info.name: info for info in _curves()}
"""Name -> curve."""


@dataclass(frozen=True)
class MeanCurve:
    """The mean curve of one method.

    Attributes:
        method: name.
        name: of the curve, see `CURVES`.
        shares: (S,) of the picture, in [0, 1].
        mean: (S,) probability of the explained class, averaged over images.
        low, high: (S,) 95 % bootstrap band by patient, at each share by itself; NaN with fewer than three patients.
        n: images; those where the metric was not assessed are not among them.
    """

    method: str
    name: str
    shares: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    n: int


def stored(curves: Tensor) -> list[list[float] | None]:
    """Returns curves (N, S) as plain values for the rows; None for one that is not finite: it was not assessed."""
    known = curves.isfinite().all(1).tolist()
    return [values if ok else None for values, ok in zip(curves.float().tolist(), known, strict=True)]


def mean_curves(
    rows: Sequence[Row], patients: Sequence[str] | NDArray[np.str_], *, resamples: int = 2000, seed: int = 0
) -> list[MeanCurve]:
    """Returns the mean curves of all methods, in the order of the rows' methods and of `CURVES`.

    The area under a mean curve of insertion or deletion (trapezoidal rule) is the mean of the metric; half the mean
    difference of the two curves of ROAD is the mean of ROAD. Rows without a curve are left out: their metric was not
    assessed, not asked for, or they were written before curves were kept.

    Args:
        rows: of any number of images and methods.
        patients: (len(rows),) the patient of each row.
        resamples: draws of the bootstrap.
        seed: of the draws; the same seed gives the same band.

    Raises:
        InputError: the curves of a method have different numbers of steps.
    """
    columns, names, found = Rows.of(rows), np.asarray(patients), []
    for method in columns.texts("method"):
        own = set(columns.where("method", method).tolist())
        for info in CURVES.values():
            known = {number: curve for number, curve in columns.carried(info.key) if number in own}
            if known:
                values = _table(list(known.values()), info, method)
                found.append(_mean(method, info, values, names[list(known)], resamples, seed))
    return found


def _table(curves: Sequence[Sequence[float]], info: CurveInfo, method: str) -> Floats:
    lengths = sorted({len(curve) for curve in curves})
    if len(lengths) > 1 or (info.shares and lengths != [len(info.shares)]):
        raise InputError(
            f"{info.name} of {method}: curves of {' and '.join(map(str, lengths))} points cannot be averaged: evaluate"
            " all images with the same number of steps"
        )
    return np.array(curves, dtype=np.float64)


def _mean(
    method: str, info: CurveInfo, values: Floats, patients: NDArray[np.str_], resamples: int, seed: int
) -> MeanCurve:
    low, high = band(values, patients, resamples=resamples, seed=seed)
    shares = info.shares or tuple(np.linspace(0, 1, values.shape[1]).tolist())
    mean = values.mean(0)
    return MeanCurve(
        method, info.name, shares, tuple(mean.tolist()), tuple(low.tolist()), tuple(high.tolist()), len(values)
    )


def band(
    curves: Floats,
    patients: Sequence[str] | NDArray[np.str_],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[Floats, Floats]:
    """Returns the lower and the upper end (S,), (S,) of the band round the mean of curves (N, S).

    Whole patients are drawn, the same ones for all points of a curve, and the percentiles of the drawn means taken
    point by point: at each share the band holds the mean with the given confidence, not the whole curve at once.
    NaN with fewer than three patients.

    Source: percentile bootstrap, Efron 1979, Ann. Stat. 7; by cluster: Field and Welsh 2007, J. R. Stat. Soc. B 69.

    Args:
        curves: (N, S), all finite.
        patients: (N,) the patient of each curve.
        confidence: in (0, 1).
        resamples: draws.
        seed: of the draws.
    """
    _, member = np.unique(np.asarray(patients), return_inverse=True)
    counts = np.bincount(member).astype(np.float64)
    clusters = len(counts)
    if clusters < _FEWEST_PATIENTS:
        unknown = np.full(curves.shape[1], math.nan)
        return unknown, unknown
    sums = np.zeros((clusters, curves.shape[1]))
    np.add.at(sums, member, curves)
    rng = np.random.default_rng(seed)
    at_once = max(1, _ELEMENTS_AT_ONCE // clusters)
    means = []
    for start in range(0, resamples, at_once):
        drawn = rng.multinomial(clusters, np.full(clusters, 1 / clusters), min(at_once, resamples - start))
        weights = drawn.astype(np.float64)
        means.append(weights @ sums / (weights @ counts)[:, None])
    low, high = np.quantile(np.concatenate(means), [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return low, high
