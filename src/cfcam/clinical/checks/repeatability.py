"""How much a map and its numbers move when nothing has changed: test-retest of one study, and what follows from it.

The repeatability coefficient is 1.96 * sqrt(2) * wSD, where wSD is the within-subject standard deviation: 95 % of the
differences between two measurements of an unchanged subject lie below it (Bland & Altman 1999, Statistical Methods in
Medical Research 8:135, section 4). As few retests know the deviation only roughly, 1.96 is replaced by Student's t.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import qmc, t
from torch import Tensor

from cfcam.capture.layers.placement import upsampled
from cfcam.clinical.checks.interventions import RETEST_DEGREES, RETEST_NOISE, RETEST_ZOOM, Explain
from cfcam.clinical.checks.motions import inverse_motion, warp
from cfcam.errors import InputError
from cfcam.metrics.functional.robustness import add_noise, window

_LINEAR = {2: "bilinear", 3: "trilinear"}
_WINDOW_WIDTH, _WINDOW_CENTRE = 0.1, 0.05
_AT_ONCE = {2: 8, 3: 1}  # inputs in one pass

S = TypeVar("S")


@dataclass(frozen=True, eq=False)
class Retest:
    """A raw map of one class, and what the network says of it.

    Attributes:
        raw: (*spatial) float32, raw, at the size of the network's input.
        probability: of the class, in [0, 1]; None if the network gives none.
    """

    raw: NDArray[np.float32]
    probability: float | None


def retest_samples(
    explain: Explain,
    x: Tensor,
    target: int,
    method: str,
    *,
    count: int = 8,
    steps: Sequence[float] | NDArray[np.float64] | None = None,
    degrees: float = RETEST_DEGREES,
    zoom: float = RETEST_ZOOM,
    seed: int = 0,
) -> list[Retest]:
    """Explains one class of an image as it is, and as other acquisitions of the same patient would show it.

    Each retest changes everything at a time: noise (0.05 of the image's standard deviation), a grey window of 0.9 to
    1.1 of the range, turned by up to +-2 degrees about every axis, larger or smaller by up to 2 %, and shifted by up to
    half a cell of the layer along every axis. The shift matters most: a network sees an image through a coarse grid,
    and the same finding between two cells has another map than in the middle of one. The maps are brought back to
    where the image was. The draws are a Latin hypercube, so that few retests cover each range evenly.

    Args:
        explain: an `Explainer`.
        x: (1, C, *spatial) with 2 or 3 spatial axes.
        target: class index.
        method: one of the explainer's.
        count: how many retests; 0: none.
        steps: mm between the input's positions along each axis, so that a turn is one in the patient; of a sheared
            grid its (n, n) `cfcam.imaging.geometry.metric_of`; None: all alike.
        degrees: largest turn about an axis; that between the two studies, if it is more than 2.
        zoom: largest change of size, as a share; that between the two studies, if it is more than 0.02.
        seed: of the draws and the noise.

    Returns:
        The image as it is, then the retests.

    Raises:
        InputError: another number of axes or of steps, or a negative count.
    """
    axes = x.ndim - 2
    metric = np.array((1.0,) * axes if steps is None else steps, dtype=np.float64)
    metric = np.diag(metric) if metric.ndim == 1 else metric
    if axes not in _LINEAR or len(x) != 1 or metric.shape != (axes, axes) or count < 0:
        raise InputError(
            f"retests of x {tuple(x.shape)}, steps {steps}, count {count}: give (1, C, *spatial), 2 or 3 axes"
        )
    first, cells = _explained(explain, x, target, method)
    found = list(first)
    motions, changed = [], []
    turns = 1 if axes == 2 else 3
    draws = 2 * qmc.LatinHypercube(turns + 1 + axes + 2, rng=seed).random(count) - 1
    for n, draw in enumerate(draws):
        turn, size, shift, (width, centre) = np.split(draw, np.cumsum([turns, 1, axes]))
        moved = [part * extent / cell / 2 for part, extent, cell in zip(shift, x.shape[2:], cells, strict=True)]
        linear = rotation(np.radians(degrees) * turn) * (1 + zoom) ** float(size[0])
        motions.append(_theta(linear, metric @ np.array(moved), x.shape[2:], metric))
        still = window(add_noise(x, RETEST_NOISE, seed=seed + n), 1 + _WINDOW_WIDTH * width, _WINDOW_CENTRE * centre)
        changed.append(warp(still, motions[-1], "border"))
    for begin in range(0, count, _AT_ONCE[axes]):
        part = slice(begin, begin + _AT_ONCE[axes])
        again, _ = _explained(explain, torch.cat(changed[part]), target, method, motions[part])
        found += again
    return found


def within_subject_sd(states: Sequence[Sequence[S]], distance: Callable[[S, S], float]) -> float | None:
    """Returns the within-subject standard deviation of a number, a place or a map, over the subjects given.

    Its square is half of the mean squared distance between two states of one subject, averaged over subjects. For
    numbers this is the mean of the subjects' sample variances.

    Args:
        states: for each subject its repeated measurements.
        distance: between two of them; NaN where there is none, such as that from the centre of an empty region.

    Returns:
        The deviation; None if there are fewer than two states of any subject, or no distance at all.
    """
    variances = []
    for several in states:
        squares = np.array([distance(a, b) ** 2 for a, b in combinations(several, 2)])
        if np.isfinite(squares).any():
            variances.append(float(np.nanmean(squares)) / 2)
        elif not len(squares):
            return None
    return math.sqrt(sum(variances) / len(variances)) if variances else None


def repeatability_coefficient(sd: float | None, freedom: int) -> float | None:
    """Returns t * sqrt(2) * wSD, with the 97.5 % point of Student's t; None for None.

    Args:
        sd: within-subject standard deviation.
        freedom: degrees of freedom that it rests on: over the subjects, one less than the states of each. With many it
            is the usual 1.96 * sqrt(2) * wSD; with 8 retests of two studies (16) it is 2.12 instead of 1.96.
    """
    return None if sd is None else float(t.ppf(0.975, freedom)) * math.sqrt(2) * sd


def rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the rotation of one angle in a plane (2, 2), or of three about the axes in turn (3, 3), in radians."""
    if len(angles) == 1:
        cos, sin = math.cos(angles[0]), math.sin(angles[0])
        return np.array([[cos, -sin], [sin, cos]])
    turned = np.eye(3)
    for axis, angle in enumerate(angles):
        others = [other for other in range(3) if other != axis]
        one = np.eye(3)
        one[np.ix_(others, others)] = rotation(np.array([angle]))
        turned = one @ turned
    return turned


def _explained(
    explain: Explain, x: Tensor, target: int, method: str, motions: Sequence[Tensor] | None = None
) -> tuple[list[Retest], tuple[int, ...]]:
    """Maps at the input's size, moved back, and how many cells the layer has along each axis."""
    explanation = explain(x, torch.full((len(x), 1), target))
    maps = explanation.maps[method].detach().float()
    raw = upsampled(maps, explanation.input_size, explanation.placements.get(method))
    if motions is not None:
        raw = torch.cat([warp(one[None], inverse_motion(m), "border") for one, m in zip(raw, motions, strict=True)])
    samples = [Retest(one[0].cpu().numpy(), explanation.probability(n, 0)) for n, one in enumerate(raw)]
    return samples, tuple(maps.shape[2:])


def _theta(
    linear: NDArray[np.float64], shift: NDArray[np.float64], size: Sequence[int], metric: NDArray[np.float64]
) -> Tensor:
    """A motion about the middle, in mm, as `F.affine_grid` takes it: the last axis first, in units of half an axis."""
    half = metric * np.array(size) / 2  # from units of half an axis to mm
    matrix = np.linalg.solve(half, np.concatenate([linear @ half, shift[:, None]], axis=1))
    axes = len(half)
    return torch.from_numpy(np.ascontiguousarray(matrix[::-1][:, [*reversed(range(axes)), axes]]))
