"""The interval of a number that predictions and labels give: whole patients are drawn, with replacement."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cfcam.errors import InputError

Cases = NDArray[np.int64]
Statistic = Callable[[Tensor, Tensor], float]
"""Probabilities or logits, and labels -> one number."""

_FEWEST_PATIENTS, _FEWEST_RESAMPLES = 3, 100


@dataclass(frozen=True)
class Estimate:
    """A number with its bootstrap interval.

    Attributes:
        value: on all cases.
        low: lower end; NaN with fewer than three patients, or if too few resamples gave a number.
        high: upper end.
        n: cases.
        patients: they come from; ``n`` where none were given.
        failed: resamples that gave no number.
    """

    value: float
    low: float
    high: float
    n: int
    patients: int
    failed: int


def bootstrap_by_patient(
    statistic: Statistic,
    predictions: Tensor,
    labels: Tensor,
    patients: Sequence[Any] | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Returns a number with its percentile bootstrap interval, whole patients drawn.

    Calibration errors are biased upwards, in resamples more than in the cases themselves: read their intervals as
    how far the number may move with other patients.

    Args:
        statistic: such as those of `cfcam.clinical.calibration`, or one of your own.
        predictions: (n, ...) what it takes: probabilities, or logits.
        labels: (n, ...).
        patients: (n,) the patient of each case; None: each case is its own.
        confidence: in (0, 1).
        resamples: draws, at least 100.
        seed: of the draws; the global random state is neither used nor changed.

    Raises:
        InputError: the arguments do not fit; or the statistic has no value on all cases.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, ch. 13; by cluster: Field and Welsh 2007, J. R.
    Stat. Soc. B 69.
    """
    n = len(predictions)
    members = _members(patients, n)
    if not 0 < confidence < 1 or resamples < _FEWEST_RESAMPLES or len(labels) != n:
        raise InputError(
            f"confidence {confidence}, {resamples} resamples, {n} predictions, {len(labels)} labels: give a confidence"
            f" in (0, 1), {_FEWEST_RESAMPLES} resamples or more, and one label for each prediction"
        )
    value = statistic(predictions, labels)
    drawn = resamples if len(members) >= _FEWEST_PATIENTS else 0
    found = _resampled(statistic, predictions, labels, members, drawn, seed)
    low = high = math.nan
    if len(found) >= _FEWEST_RESAMPLES:
        low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2]).tolist()
    return Estimate(value, low, high, n, len(members), drawn - len(found))


# By hand: scipy 1.17.1's bootstrap draws the same in the same time, but warns of BCa where a draw has no number.
def _resampled(
    statistic: Statistic, predictions: Tensor, labels: Tensor, members: list[Cases], draws: int, seed: int
) -> list[float]:
    """The statistic on cases of drawn patients, where it has a value."""
    rng = np.random.default_rng(seed)
    found: list[float] = []
    for _ in range(draws):
        chosen = rng.integers(0, len(members), len(members))
        cases = torch.from_numpy(np.concatenate([members[m] for m in chosen]))
        try:
            found.append(statistic(predictions[cases.to(predictions.device)], labels[cases.to(labels.device)]))
        except InputError:  # such as a temperature of patients in whom the network is always right
            continue
    return [number for number in found if math.isfinite(number)]


def _members(patients: Sequence[Any] | None, n: int) -> list[Cases]:
    """The cases of each patient."""
    if patients is None:
        return list(np.arange(n)[:, None])
    if len(patients) != n or any(p is None or p == "" or p != p for p in patients):
        raise InputError(f"{len(patients)} patients for {n} cases: give the patient of every case, or none at all")
    _, member = np.unique([str(p) for p in patients], return_inverse=True)
    order = np.argsort(member, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(member[order])) + 1)
