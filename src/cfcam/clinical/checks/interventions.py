"""What a network says when something is taken out of an image, put in, or changed as another acquisition would."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from torch import Tensor

from cfcam.clinical.checks.motions import inverse_motion, motion_of, warp
from cfcam.errors import InputError, MissingExtraError
from cfcam.explanation import Explanation
from cfcam.imaging.geometry import metric_of
from cfcam.metrics.functional.imputation import noisy_linear_imputation
from cfcam.metrics.functional.robustness import add_noise, window
from cfcam.metrics.functional.similarity import soft_iou

Explain = Callable[[Tensor, Tensor], Explanation]
"""Inputs (N, C, *spatial) and class indices (N, 1) -> their explanation: an `Explainer`."""
Inpaint = Literal["biharmonic", "linear"]

RETEST_NOISE = 0.05
"""Standard deviation of a retest's noise, in those of the image."""
RETEST_DEGREES, RETEST_ZOOM = 2.0, 0.02
"""How far a retest turns an image, in degrees, and by which share it becomes larger or smaller."""

_RIM = 2.0
_SKEW = 1e-3  # of a step: axes that are less off right angles are at right angles, as far as headers say


@dataclass(frozen=True)
class Effect:
    """What a change of the image did to the explained class.

    Attributes:
        probability_before: of the class, in [0, 1].
        probability_after: likewise.
        map_change: 1 - soft IoU of the two heatmaps, in [0, 1]; NaN if one has no positive evidence.
    """

    probability_before: float
    probability_after: float
    map_change: float

    @property
    def probability_change(self) -> float:
        """After less before."""
        return self.probability_after - self.probability_before


def remove_artefact(x: Tensor, mask: Tensor, inpaint: Inpaint = "biharmonic", rim: float = _RIM) -> Tensor:
    """Returns an image with what a mask covers filled in from its surroundings: (1, C, *spatial).

    Biharmonic inpainting goes on with the slopes around the hole. The linear one, which is flat inside, leaves smears
    that a network may take for a finding: on 40 phantoms with a pacemaker and a rim of 2 it took up to 0.76 off the
    probability of "no finding" of the honest demo network, the biharmonic one up to 0.36
    (``benchmarks/results/checks.md``).

    Args:
        x: (1, C, *spatial), as the network takes it.
        mask: (*spatial) bool, on the network's grid.
        inpaint: "biharmonic" (scikit-image's `inpaint_biharmonic`), or "linear" (`noisy_linear_imputation` without
            noise; needs nothing more than cfcam).
        rim: how far around the mask the image is filled in too, in positions: a blurred edge left behind would show
            the shape of what was there.

    Raises:
        InputError: the shapes do not fit, another name, or the mask covers everything.
        MissingExtraError: scikit-image is not installed.
    """
    if mask.dtype is not torch.bool or mask.shape != x.shape[2:] or len(x) != 1:
        raise InputError(
            f"a mask {tuple(mask.shape)} of {mask.dtype} for x {tuple(x.shape)}: give bool (*spatial), N=1"
        )
    hole = dilate(mask, rim)
    if bool(hole.all()):
        raise InputError("the artefact with its rim covers the whole image: nothing is left to fill it from")
    if inpaint == "linear":
        return noisy_linear_imputation(x, ~hole[None], noise=0.0)
    if inpaint != "biharmonic":
        raise InputError(f"inpaint {inpaint!r}: give 'biharmonic' or 'linear'")
    try:
        from skimage.restoration import inpaint_biharmonic
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "scikit-image", "clinical", "biharmonic inpainting (inpaint='linear' needs none)"
        ) from error
    filled = inpaint_biharmonic(x[0].detach().double().cpu().numpy(), hole.cpu().numpy(), channel_axis=0)
    return torch.where(hole, torch.from_numpy(filled).to(x)[None], x)


def paste_artefact(x: Tensor, donor: Tensor, mask: Tensor) -> Tensor:
    """Returns an image with the donor's pixels where the mask is: (N, C, *spatial).

    Args:
        x: (N, C, *spatial).
        donor: the same shape, an image with the artefact.
        mask: (*spatial) bool.

    Raises:
        InputError: the shapes do not fit.
    """
    if donor.shape != x.shape or mask.shape != x.shape[2:] or mask.dtype is not torch.bool:
        raise InputError(
            f"x {tuple(x.shape)}, donor {tuple(donor.shape)}, mask {tuple(mask.shape)} of {mask.dtype}: give two images"
            " of one shape and a bool mask (*spatial)"
        )
    return torch.where(mask, donor, x)


def effect(explain: Explain, x: Tensor, changed: Tensor, target: int, method: str) -> Effect:
    """Explains one class before and after a change, in one pass.

    Args:
        explain: an `Explainer`.
        x: (1, C, *spatial).
        changed: (1, C, *spatial).
        target: class index.
        method: one of the explainer's.

    Raises:
        InputError: the network gives no probability of the class.
    """
    maps, probabilities = heatmaps_and_probabilities(explain, torch.cat([x, changed]), target, method)
    return Effect(probabilities[0], probabilities[1], float(1 - soft_iou(maps[:1], maps[1:])[0]))


def heatmaps_and_probabilities(explain: Explain, x: Tensor, target: int, method: str) -> tuple[Tensor, list[float]]:
    """Returns the heatmaps (N, *spatial) and N probabilities of one class.

    Raises:
        InputError: the network gives no probability of the class.
    """
    explanation = explain(x, torch.full((len(x), 1), target))
    found = [explanation.probability(n, 0) for n in range(len(x))]
    probabilities = [p for p in found if p is not None]
    if len(probabilities) < len(found):
        raise InputError("the network gives no vector of class scores: checks that change the image need probabilities")
    return explanation.heatmaps(method)[:, 0], probabilities


def retest(explain: Explain, x: Tensor, target: int, method: str, *, seed: int = 0) -> dict[str, Effect]:
    """Explains one class again under small changes, as between two acquisitions of the same patient.

    Noise (0.05 of the image's standard deviation), turned by +-2 degrees, larger and smaller by 2 %, and another grey
    window (0.9 of the range). Maps of turned and scaled images are brought back, and compared where both show the
    patient. Volumes are turned about their first axis.

    Args:
        explain: an `Explainer`.
        x: (1, C, *spatial) with 2 or 3 spatial axes.
        target: class index.
        method: one of the explainer's.
        seed: of the noise, together with the image's content.

    Returns:
        Name of the change -> its effect.
    """
    motions = {
        "turned by +2 degrees": motion_of(x, RETEST_DEGREES, 1.0),
        "turned by -2 degrees": motion_of(x, -RETEST_DEGREES, 1.0),
        "larger by 2 %": motion_of(x, 0.0, 1 / (1 + RETEST_ZOOM)),
        "smaller by 2 %": motion_of(x, 0.0, 1 + RETEST_ZOOM),
    }
    still = {"noise": add_noise(x, RETEST_NOISE, seed=seed), "window": window(x)}
    moved = {name: warp(x, motion, "border") for name, motion in motions.items()}
    inputs = torch.cat([x, *still.values(), *moved.values()])
    maps, probabilities = heatmaps_and_probabilities(explain, inputs, target, method)
    effects = {}
    for n, name in enumerate([*still, *moved], start=1):
        first, again = maps[:1], maps[n : n + 1]
        if name in motions:
            back = inverse_motion(motions[name])
            seen = warp(torch.ones_like(x[:, :1]), motions[name], "zeros")
            seen = warp((seen > 0.999).to(x), back, "zeros")[:, 0] > 0.999
            again = torch.where(seen, warp(again[:, None], back, "zeros")[:, 0], 0)
            first = torch.where(seen, first, 0)
        effects[name] = Effect(probabilities[0], probabilities[n], float(1 - soft_iou(first, again)[0]))
    return effects


def dilate(
    mask: Tensor, distance: float, spacing: tuple[float, ...] | None = None, *, affine: ArrayLike | None = None
) -> Tensor:
    """Returns the positions within a Euclidean distance of a mask: (*spatial) bool.

    Args:
        mask: (*spatial) bool.
        distance: in mm, or in positions without a spacing.
        spacing: mm between positions along each axis.
        affine: (4, 4), index to mm; given, distances are those of its axes, also where these are not at right angles.
    """
    if not distance or not bool(mask.any()):
        return mask
    if affine is not None:
        metric = metric_of(np.asarray(affine, dtype=np.float64), mask.ndim)
        if np.abs(metric - np.diag(np.diag(metric))).max() > _SKEW * np.diag(metric).min():
            return torch.from_numpy(_widened(mask.cpu().numpy(), distance, metric)).to(mask.device)
    away = ndimage.distance_transform_edt(~mask.cpu().numpy(), sampling=spacing)
    return torch.from_numpy(away <= distance).to(mask.device)


def _widened(mask: NDArray[np.bool_], distance: float, metric: NDArray[np.float64]) -> NDArray[np.bool_]:
    """A mask and all positions within a distance, on a grid whose axes are not at right angles.

    A distance transform knows right angles only; so the ball is laid about every marked position, by convolution, in
    the part of the grid that it can reach.
    """
    from scipy.signal import fftconvolve

    reach = np.ceil(distance * np.linalg.norm(np.linalg.inv(metric), axis=1) - 1e-9).astype(int)
    offsets = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in reach], indexing="ij"), -1)
    ball = np.linalg.norm(offsets @ metric.T, axis=-1) <= distance * (1 + 1e-9)
    box = tuple(
        slice(max(0, int(at.min()) - n), int(at.max()) + n + 1) for at, n in zip(np.nonzero(mask), reach, strict=True)
    )
    wide = mask.copy()
    wide[box] |= fftconvolve(mask[box].astype(np.float32), ball.astype(np.float32), mode="same") > 0.5
    return wide
