"""What a few masked passes, one pair per cluster of channels, say of a gradient map: its Bayesian update."""

from __future__ import annotations

import torch
from torch import Tensor

from cfcam.capture import Capture
from cfcam.methods.clustering import one_hot
from cfcam.methods.scored.score_cam import blurred, chunk_size

_EXTREME = 1e-5  # probabilities nearer to 0 or 1 than this are rounding


def updated(capture: Capture, prior: Tensor, masks: Tensor, labels: Tensor, groups: int, doubt: float = 1.0) -> Tensor:
    """Returns maps (N, K, *layer_spatial), signed: a gradient map, corrected by what the network answers to masks.

    Each group's mean mask H hides all but its place (the score rises from that of the blurred input: how sufficient the
    place is), and then its place alone (the score falls from the input's: how necessary). Both are taken as noisy sums
    of the map over the mask, ``y = H m + noise``. The prior mean of m is the gradient map, scaled to fit y best; its
    prior variance grows with its own size; the noise's variance is that of the residual ``y - H m``. The posterior mean
    ``m + V H' (H V H' + s I)^-1 (y - H m)`` is the map. Scores are log-odds for classes, a callable's numbers else.

    Args:
        capture: of N images and K targets.
        prior: (N, K, *layer_spatial) signed gradient maps.
        masks: (N, C, *layer_spatial) each channel scaled to [0, 1].
        labels: (N, C) the group of each channel; -1 for none.
        groups: number of groups G; two passes each, and two more.
        doubt: the noise's variance is so many times that of the residual: more of it stays nearer to the prior.
    """
    H = _group_masks(masks, labels, groups)
    y = _answers(capture, H)
    ones = H.new_ones(len(H), 1, *H.shape[2:])
    design = torch.cat([H, H, ones], dim=1).flatten(2).double()[:, None]  # (N, 1, 2G+1, S)
    m = prior.flatten(2).double()
    fitted = (design @ m[..., None])[..., 0]
    scale = (fitted * y).sum(-1, keepdim=True) / fitted.square().sum(-1, keepdim=True)
    m = m * torch.where(scale.isfinite() & (scale > 0), scale, 1)
    residual = y - (design @ m[..., None])[..., 0]
    size = m.abs()
    level = size.mean(-1, keepdim=True)
    variance = (size + level) * level
    known = (design.amax(-1) > 0).to(residual)  # a group without channels has neither mask nor answer
    mean = (residual * known).sum(-1, keepdim=True) / known.sum(-1, keepdim=True)
    squares = ((residual - mean) * known).square().sum(-1, keepdim=True)
    noise = doubt * squares / (known.sum(-1, keepdim=True) - 1).clamp(min=1)
    covariance = (design * variance[:, :, None]) @ design.mT
    jitter = 1e-9 * covariance.diagonal(dim1=-2, dim2=-1).mean(-1, keepdim=True) + torch.finfo(torch.float64).tiny
    covariance = covariance + torch.diag_embed((noise + jitter).expand_as(y))
    solved = torch.linalg.solve_ex(covariance, residual[..., None]).result
    change = variance * (design.mT @ solved)[..., 0]
    return (m + change).to(prior.dtype).unflatten(2, prior.shape[2:])


def _group_masks(masks: Tensor, labels: Tensor, groups: int) -> Tensor:
    """Returns the mean mask of each group (N, G, *spatial); 0 for a group without channels."""
    membership = one_hot(labels, groups).to(masks.dtype)
    size = membership.sum(2, keepdim=True).clamp(min=1)
    return (membership @ masks.flatten(2) / size).unflatten(2, masks.shape[2:])


def _answers(capture: Capture, H: Tensor) -> Tensor:
    """Returns y (N, K, 2G+1): what each mask alone brings, what is lost without it, and what the whole image brings."""
    x = capture.input
    hidden = blurred(blurred(blurred(x)))  # thrice a box is nearly a Gaussian, of a sixteenth of each axis
    images = torch.arange(len(x), device=x.device)
    whole, nothing = (_score(capture, version, images) for version in (x, hidden))  # (N, K)
    gained, lost = (whole.new_zeros(*H.shape[:2], whole.shape[1]) for _ in range(2))
    used = H.flatten(2).amax(2) > 0
    for place in used.nonzero().split(chunk_size(x)):
        if len(place) == 0:  # splitting nothing yields one empty part
            continue
        image, group = place.unbind(1)
        seen = capture.over_input(H[image, group].unsqueeze(1)).to(x.dtype)
        inside = hidden[image] + seen * (x[image] - hidden[image])
        gained[image, group] = _score(capture, inside, image) - nothing[image]
        lost[image, group] = whole[image] - _score(capture, x[image] + hidden[image] - inside, image)
    return torch.cat([gained, lost, (whole - nothing)[:, None]], dim=1).transpose(1, 2).double()


def _score(capture: Capture, x: Tensor, images: Tensor) -> Tensor:
    """Returns (M, K): log-odds of classes, on which masks add up better than on probabilities; else plain numbers."""
    values = capture.rescore(x, images, probability=True)
    odds = values.clamp(_EXTREME, 1 - _EXTREME).logit()
    own = torch.zeros(values.shape[1], dtype=torch.bool, device=values.device)
    own[list(capture.targets.functions)] = True
    return torch.where(own, values, odds)
