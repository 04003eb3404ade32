"""What is nothing but rounding: differences and means that are 0 in exact arithmetic, and would be drawn as a map."""

from __future__ import annotations

import torch
from torch import Tensor

from cfcam.capture import Capture
from cfcam.methods.base import places, spatial_mean

_OF_MEANS, _OF_SCORES = 1000, 16  # steps of the floating type
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
    g = places(capture.gradients if gradients is None else gradients)
    means = spatial_mean(g, 3)
    if g.shape[-1] == 1:
        return means
    sizes = g.abs().mean(-1)
    nothing = (means.abs() <= negligible(capture) * sizes).all(2) & (sizes > 0).any(2)
    if bool(nothing.any()):
        said: dict[str, list[int]] = capture.memo("notes", dict)
        said[
            f"the gradients at layer {capture.layer!r} average to 0 over the places of every channel, as before a"
            " normalisation that takes means away: a map of such averages is empty; name the layer behind it, or use"
            " hires-cam"
        ] = nothing.any(1).nonzero().flatten().tolist()
        means = means.masked_fill(nothing[..., None], 0)
    return means


def negligible(capture: Capture) -> float:
    """Returns how large a sum may be beside the mean size of its terms, and still be nothing but rounding."""
    return min(_OF_MEANS * _step(capture), _COARSE)


def beyond_rounding(capture: Capture, changes: Tensor, scores: Tensor) -> Tensor:
    """Returns changes of scores (N, K, ...); 0 for an image and target of which none is more than rounding.

    Passes of different batch sizes give the same score with other last digits. Where a score depends on nothing that
    was changed, these digits alone are left. In half precision real changes are often smaller than a step of the score,
    and still show what they should: there, too, only what is nothing in float32 is taken for nothing.

    Args:
        capture: whose scores they are.
        changes: of them.
        scores: (N, K) what was changed.
    """
    if changes[0, 0].numel() == 0:
        return changes
    logits = capture.logits
    step = torch.finfo(torch.promote_types(logits.dtype, torch.float32)).eps
    # the rounding of a logit is a factor of its probability
    largest = logits.abs().amax(1).clamp(min=1)[:, None] if logits.ndim == 2 and logits.shape[1] else 1
    least = (_OF_SCORES * step * scores.abs() * largest).to(changes.dtype)
    nothing = changes.flatten(2).abs().amax(2) <= least
    return changes.masked_fill(nothing.reshape(*nothing.shape, *[1] * (changes.ndim - 2)), 0)


def _step(capture: Capture) -> float:
    """Returns the relative step of the coarsest floating type that the network is known to work in."""
    kinds = [capture.input.dtype, capture.logits.dtype]
    kinds += [capture.autocast.dtype] if capture.autocast.enabled else []
    return max(torch.finfo(kind).eps for kind in kinds if kind.is_floating_point)
