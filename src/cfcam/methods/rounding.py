"""What is nothing but rounding: differences and means that are 0 in exact arithmetic, and would be drawn as a map."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cfcam.capture import Capture
from cfcam.methods.base import places, spatial_mean, sum_of_products

_OF_MEANS, _OF_PRODUCTS, _OF_SCORES = 1000, 64, 16  # steps of the floating type
_NEAR = 8  # steps of half precision: less than that may be what passes of other sizes differ by
_COARSE = 1e-2  # of half precision, whose steps are that large: no more than this share of what is averaged


def mean_gradient(capture: Capture, gradients: Tensor | None = None) -> Tensor:
    """Returns the gradients' means over the places, (N, K, C); 0 for an image and target if all are only rounding.

    A normalisation over the places (instance norm, group norm of single channels) takes each channel's mean away, so
    that at the layer before it no score depends on a mean: gradients there average to 0, or in a computer to some
    1e-8 of their size. Weights made of that give a map as large as any other once it is scaled for drawing.

    Args:
        capture: of these gradients; where they mean nothing, its notes say so.
        gradients: (N, K, C, *spatial); None: the capture's own.
    """
    means, nothing = averages(capture, capture.gradients if gradients is None else gradients)
    say_empty(capture, capture.layer, nothing)
    return means


def averages(capture: Capture, values: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the means over the places, (N, K, C), and (N, K) bool where all are nothing but rounding, and made 0.

    Args:
        capture: whose floating types say what rounding is.
        values: (N, K, C, *spatial).
    """
    values = places(values)
    means = spatial_mean(values, 3)
    if values.shape[-1] == 1:
        return means, torch.zeros_like(means[..., 0], dtype=torch.bool)
    nothing = _cancel(means, values.abs().mean(-1), negligible(capture))
    return (means.masked_fill(nothing[..., None], 0) if bool(nothing.any()) else means), nothing


def products(capture: Capture, gradients: Tensor, activations: Tensor) -> Tensor:
    """Returns ``sum_s(g A)``, (N, K, C); 0 for an image and target if all are only rounding.

    They are 0 before a normalisation that takes each channel's mean and size away, but for its epsilon: of activations
    that are large beside that, rounding is left.

    Args:
        capture: of these gradients; where they mean nothing, its notes say so.
        gradients: (N, K, C, S).
        activations: (N, C, S).
    """
    sums = torch.einsum("nkcs,ncs->nkc", gradients, activations)
    sizes = torch.einsum("nkcs,ncs->nkc", gradients.abs(), activations.abs())
    nothing = _cancel(sums, sizes, min(_OF_PRODUCTS * _step(capture), _COARSE))
    say_empty(capture, capture.layer, nothing)
    return sums.masked_fill(nothing[..., None], 0)


def products_by_place(capture: Capture, gradients: Tensor, activations: Tensor) -> Tensor:
    """Returns ``sum_k g_k A_k``, (N, K, *spatial); 0 for an image and target if all are only rounding.

    They are 0 before a layer norm, which takes the size of each place's channels away (Euler's theorem: no step along
    A changes the score), but for its epsilon: of activations that are large beside that, rounding is left.

    Args:
        capture: of these gradients; where they mean nothing, its notes say so.
        gradients: (N, K, C, S) or (N, K, C, 1).
        activations: (N, C, *spatial).
    """
    found = sum_of_products(gradients, activations)
    limit = min(_OF_PRODUCTS * _step(capture), _COARSE)
    g, a = (torch.linalg.vector_norm(t.flatten(n), torch.inf, -1) for t, n in ((gradients, 2), (activations, 1)))
    # The terms themselves are only looked at where the largest that they could be leave it open.
    if bool((found.flatten(2).abs().amax(2) > limit * gradients.shape[2] * g * a[:, None]).all()):
        return found
    sizes = sum_of_products(gradients.abs(), activations.abs())
    nothing = _cancel(found.flatten(2), sizes.flatten(2), limit)
    _say(
        capture,
        f"the gradients at layer {capture.layer!r} times its activations add up to 0 at every place, as before a layer"
        " norm, which takes their size away: a map of such sums is empty; name the layer behind it, or use grad-cam",
        nothing,
    )
    return found.masked_fill(nothing.reshape(*nothing.shape, *[1] * (found.ndim - 2)), 0)


def _cancel(sums: Tensor, sizes: Tensor, limit: float) -> Tensor:
    """Returns (N, K) bool, whether all sums (N, K, C) are next to nothing beside the sizes of their terms."""
    return (sums.abs() <= limit * sizes).all(2) & (sizes > 0).any(2)


def say_empty(capture: Capture, layer: str, nothing: Tensor) -> None:
    """Puts into a capture's notes which images, of (N, K) bool, have an empty map at a layer."""
    _say(
        capture,
        f"the gradients at layer {layer!r} average to 0 over the places of every channel, as before a"
        " normalisation that takes means away: a map of such averages is empty; name the layer behind it, or use"
        " hires-cam",
        nothing,
    )


def _say(capture: Capture, words: str, some: Tensor) -> None:
    if bool(some.any()):
        said: dict[str, list[int]] = capture.memo("notes", dict)
        said[words] = some.any(1).nonzero().flatten().tolist()


def negligible(capture: Capture) -> float:
    """Returns how large a sum may be beside the mean size of its terms, and still be nothing but rounding."""
    return min(_OF_MEANS * _step(capture), _COARSE)


def beyond_rounding(
    capture: Capture,
    changes: Tensor,
    scores: Tensor,
    again: Callable[[Tensor], Tensor] | None = None,
    *,
    probability: bool = False,
) -> Tensor:
    """Returns changes of scores (N, K, ...); 0 for an image and target of which none is more than rounding.

    Passes of different batch sizes give the same score with other last digits. Where a score depends on nothing that
    was changed, these digits alone are left. In half precision real changes are often of a few steps of the score, and
    still show what they should. There it is tried out: what was not changed is scored once more, as many at once as
    what was; changes of at most twice of what these scores differ by are nothing. The capture's notes say either.

    Args:
        capture: whose scores they are.
        changes: of them.
        scores: (N, K) what was changed.
        again: gives what was not changed of an image, (1,) int64, scored several times in one pass, (M, K); None: no
            pass was made, and they are computed in double precision.
        probability: class scores are probabilities instead of logits.
    """
    if changes[0, 0].numel() == 0:
        return changes
    step = torch.finfo(torch.float64 if again is None else torch.promote_types(capture.logits.dtype, torch.float32)).eps
    size, most = _sizes(capture, scores, probability=probability), changes.flatten(2).abs().amax(2)
    nothing = most <= (_OF_SCORES * step * size).to(changes.dtype)
    if again is not None and _step(capture) > step:
        none, near = nothing.clone(), ~nothing & (most <= (_NEAR * _step(capture) * size).to(changes.dtype))
        for image in near.any(1).nonzero():
            differ = (again(image) - scores[image]).abs().amax(0)
            nothing[image] |= near[image] & (most[image] <= 2 * differ)
        _say_coarse(capture, none, near & nothing, near & ~nothing)
    return changes.masked_fill(nothing.reshape(*nothing.shape, *[1] * (changes.ndim - 2)), 0)


def _sizes(capture: Capture, scores: Tensor, *, probability: bool) -> Tensor:
    """Returns (N, K) of how large a number the rounding of each score is a few steps.

    That of a logit goes with the largest of them, from whose terms it may be what is left over. It is a factor of its
    probability, as it may be of what a callable makes of the output.
    """
    logits = capture.logits
    if logits.ndim != 2 or not logits.shape[1]:
        return scores.abs()
    largest = logits.abs().amax(1, keepdim=True).to(scores)
    factors = scores.abs() * largest.clamp(min=1)
    classes = torch.tensor([k not in capture.targets.functions for k in range(scores.shape[1])], device=scores.device)
    return factors if probability else torch.where(classes, largest, factors)


def _step(capture: Capture) -> float:
    """Returns the relative step of the coarsest floating type that the network is known to work in."""
    kinds = [capture.input.dtype, capture.logits.dtype]
    kinds += [capture.autocast.dtype] if capture.autocast.enabled else []
    return max(torch.finfo(kind).eps for kind in kinds if kind.is_floating_point)


def _say_coarse(capture: Capture, none: Tensor, nothing: Tensor, coarse: Tensor) -> None:
    few = "scores change by no more than a few steps of half precision"
    for some, what in (
        (none, "scores do not change by a step of half precision: the map is empty"),
        (nothing, f"{few}, and as much without any change: the map is empty"),
        (coarse, f"{few}, so that the map is coarse"),
    ):
        _say(capture, f"{what}; explain the network in float32", some)
