"""Are probabilities frequencies? Calibration errors, proper scores, reliability table, temperature scaling.

Three forms of predictions are read off the shapes: softmax probabilities (n, classes) with labels (n,), of which the
predicted class is judged; probabilities of one class (n,) with labels (n,) of 0 and 1; multi-label probabilities
(n, classes) with labels (n, classes) of 0, 1 and NaN where unknown, all decisions pooled. Everything is computed in
float64. Calibration belongs to a population: measured on one site's validation cases it says nothing of another's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from scipy.optimize import brentq
from torch import Tensor

from cfcam.capture.answers.probabilities import probabilities as _probabilities
from cfcam.clinical.bootstrap import Estimate as Estimate
from cfcam.clinical.bootstrap import bootstrap_by_patient as bootstrap_by_patient
from cfcam.errors import InputError

Scheme = Literal["width", "mass"]


@dataclass(frozen=True)
class ReliabilityTable:
    """Predictions in bins of their confidence; empty bins are left out.

    Attributes:
        low: smallest confidence that belongs to each bin.
        high: where the next bin begins; 1 for the last.
        count: predictions in it.
        confidence: their mean.
        frequency: share of them that came true.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    count: tuple[int, ...]
    confidence: tuple[float, ...]
    frequency: tuple[float, ...]

    @property
    def gaps(self) -> tuple[float, ...]:
        """Frequency less confidence of each bin: negative where the network is too sure."""
        return tuple(f - c for f, c in zip(self.frequency, self.confidence, strict=True))

    def to_text(self) -> str:
        """Returns the table for a terminal."""
        rows = ["confidence      cases    mean  came true"]
        for low, high, n, mean, share in zip(
            self.low, self.high, self.count, self.confidence, self.frequency, strict=True
        ):
            rows.append(f"{low:.3f} - {high:.3f} {n:6d}   {mean:.3f}      {share:.3f}")
        return "\n".join(rows)


def reliability_table(
    probabilities: Tensor, labels: Tensor, bins: int = 15, scheme: Scheme = "width"
) -> ReliabilityTable:
    """Returns the predictions in bins of their confidence, with how often they came true.

    Args:
        probabilities: see the module.
        labels: likewise.
        bins: how many.
        scheme: "width": of equal width in [0, 1]; "mass": of about equally many cases, equal confidences together.

    Raises:
        InputError: the shapes or values do not fit.

    Source: DeGroot and Fienberg 1983, The Statistician 32; Guo et al. 2017, arXiv 1706.04599, sec. 2.

    Example:
        >>> table = reliability_table(torch.tensor([0.1, 0.2, 0.9]), torch.tensor([0, 1, 1]), bins=2)
        >>> table.count, table.frequency
        ((2, 1), (0.5, 1.0))
    """
    confidence, outcome = _decisions(probabilities, labels)
    edges = _edges(confidence, bins, scheme)
    which = torch.bucketize(confidence, edges[1:-1], right=True)
    size = len(edges) - 1
    count = torch.bincount(which, minlength=size)
    filled = count > 0
    mean, share = (
        (torch.bincount(which, weights=values, minlength=size) / count)[filled].tolist()
        for values in (confidence, outcome)
    )
    low, high = edges[:-1][filled].tolist(), edges[1:][filled].tolist()
    return ReliabilityTable(tuple(low), tuple(high), tuple(count[filled].tolist()), tuple(mean), tuple(share))


# By hand: torchmetrics 1.9.0 has no table or equal mass, and bins p = 1 apart: 0.525, not 0.475, of (1, 0.95).
def expected_calibration_error(
    probabilities: Tensor, labels: Tensor, bins: int = 15, scheme: Scheme = "width"
) -> float:
    """Returns the ECE: the mean over cases of |frequency - confidence| of their bin, in [0, 1]; lower is better.

    It depends on the bins, and is above 0 for a perfectly calibrated network too, the more so the fewer cases there
    are: compare only with one number of cases and bins.

    Args:
        probabilities: see the module.
        labels: likewise.
        bins: how many.
        scheme: see `reliability_table`.

    Raises:
        InputError: the shapes or values do not fit.

    Source: Guo et al. 2017, arXiv 1706.04599, eq. 3; "mass": Nixon et al. 2019, arXiv 1904.01685, sec. 3.

    Example:
        >>> round(expected_calibration_error(torch.tensor([0.1, 0.2, 0.9]), torch.tensor([0, 1, 1]), bins=2), 4)
        0.2667
    """
    table = reliability_table(probabilities, labels, bins, scheme)
    return math.fsum(n * abs(gap) for n, gap in zip(table.count, table.gaps, strict=True)) / sum(table.count)


def maximum_calibration_error(probabilities: Tensor, labels: Tensor, bins: int = 15, scheme: Scheme = "width") -> float:
    """Returns the MCE: the largest |frequency - confidence| of a bin, in [0, 1]; lower is better.

    One case alone in its bin can decide it: look at the counts of the table.

    Args:
        probabilities: see the module.
        labels: likewise.
        bins: how many.
        scheme: see `reliability_table`.

    Raises:
        InputError: the shapes or values do not fit.

    Source: Guo et al. 2017, arXiv 1706.04599, eq. 5.
    """
    return max(map(abs, reliability_table(probabilities, labels, bins, scheme).gaps))


def brier_score(probabilities: Tensor, labels: Tensor) -> float:
    """Returns the Brier score, a proper score; lower is better.

    ``mean (p - y)^2`` in [0, 1] for one class and for multi-label; the sum over the classes, in [0, 2], for a softmax,
    as Brier defined it.

    Args:
        probabilities: see the module.
        labels: likewise.

    Raises:
        InputError: the shapes or values do not fit.

    Source: Brier 1950, Monthly Weather Review 78, eq. 2.

    Example:
        >>> round(brier_score(torch.tensor([0.25, 0.5]), torch.tensor([0, 1])), 5)
        0.15625
    """
    p, y = _read(probabilities, labels)
    if p.ndim == 2:
        y = torch.nn.functional.one_hot(y.long(), p.shape[1]).double()
        return float((p - y).square().sum(1).mean())
    return float((p - y).square().mean())


def negative_log_likelihood(probabilities: Tensor, labels: Tensor) -> float:
    """Returns the mean of -log p of what came true, in nats; lower is better, infinite if that had probability 0.

    Args:
        probabilities: see the module.
        labels: likewise.

    Raises:
        InputError: the shapes or values do not fit.
    """
    p, y = _read(probabilities, labels)
    came_true = p.gather(1, y.long()[:, None])[:, 0] if p.ndim == 2 else torch.where(y > 0, p, 1 - p)
    return float(-came_true.log().mean())


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Returns the temperature T > 0 with which ``logits / T`` have the least negative log-likelihood.

    Above 1 the network was too sure. The predicted classes stay as they are, and so do maps of methods that do not
    look at the scale of the logits. Fit it on cases that neither trained the network nor test it.

    The likelihood is convex in 1 / T, so that its derivative has one root; that is found by Brent's method.

    Args:
        logits: (n, classes) with labels (n,); (n,) or (n, 1) of a single logit with labels (n,) of 0 and 1; or
            (n, classes) with labels (n, classes) of 0, 1 and NaN for a multi-label network.
        labels: of validation cases.

    Raises:
        InputError: the shapes or values do not fit, or no temperature is best: the logits separate the labels without
            an error, or have nothing to do with them.

    Source: Guo et al. 2017, arXiv 1706.04599, sec. 4.2.

    Example:
        >>> logits, labels = torch.tensor([2.0, 2.0, 2.0, -2.0]), torch.tensor([1, 1, 0, 0])
        >>> round(fit_temperature(logits, labels), 4)  # three of four right: logit(3/4) = 1.0986 = 2 / T
        1.8205
    """
    slope, largest = _slope(logits, labels)
    if slope(0.0) >= 0:
        raise InputError(
            "no temperature improves on guessing: the logits do not go with the labels; are the classes in the"
            " network's order?"
        )
    if not largest > 0:
        raise InputError(
            "the logits are right in every case, so that the best temperature is 0: fit it on more or harder cases"
        )
    sharpness = 1.0
    while slope(sharpness) <= 0:
        sharpness *= 2
    return 1 / float(brentq(slope, 0.0, sharpness, xtol=1e-300, rtol=1e-13))


def calibrated(logits: Tensor, temperature: float, kind: Literal["softmax", "sigmoid"] = "softmax") -> Tensor:
    """Returns probabilities (n, classes) of ``logits / temperature``, for a single logit (n,) those of class 1.

    Args:
        logits: (n, classes), (n, 1) or (n,).
        temperature: above 0, of `fit_temperature`.
        kind: "softmax", or "sigmoid" for a multi-label network.

    Raises:
        InputError: a temperature that is not above 0, or another shape.
    """
    if not 0 < temperature < math.inf:
        raise InputError(f"a temperature of {temperature}: give a number above 0")
    if logits.ndim not in (1, 2):
        raise InputError(f"logits {tuple(logits.shape)}: give (n, classes), (n, 1) or (n,)")
    if logits.ndim == 1 or logits.shape[1] == 1:
        return (logits.reshape(-1).double() / temperature).sigmoid()
    return _probabilities(logits.double() / temperature, kind)


def _read(probabilities: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Returns probabilities (n, classes) and labels (n,) of a softmax, or one decision each (m,) and (m,) in {0, 1}.

    Raises:
        InputError: the shapes or values do not fit.
    """
    p, y = _paired(probabilities, labels, "probabilities")
    if bool(((p < 0) | (p > 1)).any()):
        raise InputError(f"probabilities from {float(p.min()):.3g} to {float(p.max()):.3g}: give numbers in [0, 1]")
    if p.ndim == 2 and bool(((p.sum(1) - 1).abs() > 1e-3).any()):
        raise InputError(
            "probabilities with labels (n,) do not sum to 1: give the softmax; or, for a multi-label network, labels"
            " (n, classes)"
        )
    return p, y


def _paired(values: Tensor, labels: Tensor, what: str) -> tuple[Tensor, Tensor]:
    """Returns (n, classes) and (n,) for one label of several classes, else (m,) and (m,) without unknown labels."""
    given = f"{what} {tuple(values.shape)} and labels {tuple(labels.shape)}"
    v, y = values.detach().double(), labels.detach().to(values.device).double()
    if v.ndim == 2 and v.shape[1] == 1 and y.ndim == 1:
        v = v[:, 0]
    if not v.numel() or not bool(v.isfinite().all()):
        raise InputError(f"{given}: {what} are missing or not finite")
    if v.ndim == 2 and y.shape == v.shape[:1]:
        if bool(((y < 0) | (y >= v.shape[1]) | (y != y.round())).any()):
            raise InputError(f"{given}: labels are class indices from 0 to {v.shape[1] - 1}")
        return v, y
    if v.shape != y.shape or v.ndim not in (1, 2):
        raise InputError(f"{given}: give (n, classes) and (n,), (n,) and (n,), or (n, classes) and (n, classes)")
    v, y = v.flatten(), y.flatten()
    known = ~y.isnan()
    v, y = v[known], y[known]
    if not len(y) or bool(((y != 0) & (y != 1)).any()):
        raise InputError(f"{given}: labels are 0 or 1, and at least one is known")
    return v, y


def _decisions(probabilities: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Confidences (m,) and whether they came true (m,), in float64."""
    p, y = _read(probabilities, labels)
    if p.ndim == 1:
        return p, y
    confidence, predicted = p.max(1)
    return confidence.clamp(max=1), (predicted == y).double()


def _edges(confidence: Tensor, bins: int, scheme: Scheme) -> Tensor:
    if bins < 1:
        raise InputError(f"{bins} bins: give 1 or more")
    if scheme == "width":
        return torch.linspace(0, 1, bins + 1, dtype=torch.float64, device=confidence.device)
    if scheme != "mass":
        raise InputError(f"scheme {scheme!r}: 'width' or 'mass'")
    ordered = confidence.sort().values
    places = [round(k * len(ordered) / bins) for k in range(1, bins)]
    inner = ordered[[place for place in places if 0 < place < len(ordered)]].unique()
    return torch.cat([inner.new_zeros(1), inner, inner.new_ones(1)])


def _slope(logits: Tensor, labels: Tensor) -> tuple[Callable[[float], float], float]:
    """The derivative of the mean negative log-likelihood by 1 / T, which increases with it, and what it tends to."""
    z, y = _paired(logits, labels, "logits")
    if z.ndim == 1:
        z = torch.stack([torch.zeros_like(z), z], dim=1)
    ahead = z - z.gather(1, y.long()[:, None])  # of the logit of what came true

    def slope(sharpness: float) -> float:
        return float(((sharpness * z).softmax(1) * ahead).sum(1).mean())

    return slope, float(ahead.amax(1).mean())
