"""What views, channels and layers are worth, by how they agree: weights by measured precision, none by hand.

Everything here is computed image by image. Sizes are V views, N images, C channels, S cells.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cfcam.methods.clustering import one_hot

LIMITS = 1.96
"""Of agreement: so many root mean squares of what repeated measurements differ by hold 95 % of the differences."""
_ROUNDING = 1e-4  # of the answers' and weights' own size: differences that arithmetic alone makes


def beyond_retest(own: Tensor, answers: Tensor, retests: list[bool], *, centred: bool) -> Tensor:
    """Returns (V, N) bool, which views move a network's answer farther than its test-retest.

    A view's distance is the root mean square over the classes of how far its logits are from those of the input. The
    limit is the repeatability coefficient: 1.96 times the root mean square of the distances of the
    retests. These are never beyond it, unless their answer is not finite.

    Args:
        own: (N, J) the logits of the input.
        answers: (V, N, J) those of its views.
        retests: (V,) which views are the input again, moved by a pixel at most; the first is the input itself.
        centred: whether the mean of all logits says nothing, as in a softmax.

    Source: Bland and Altman 1986, Lancet 327, on limits of agreement; the coefficient by differences of pairs.
    """
    own, answers = own.double(), answers.double()
    if centred and own.shape[1] > 1:
        own, answers = own - own.mean(1, keepdim=True), answers - answers.mean(2, keepdim=True)
    distance = (answers - own).square().mean(2).sqrt()
    again = torch.tensor(retests, device=own.device)
    usable = distance.isfinite() & (again & (torch.arange(len(again), device=own.device) > 0))[:, None]
    mean = torch.where(usable, distance.square(), 0).sum(0) / usable.sum(0).clamp(min=1)
    limit = LIMITS * mean.sqrt() + _ROUNDING * own.square().mean(1).sqrt()
    lost = ~distance.isfinite() & own.isfinite().all(1)
    return ((distance > limit) & ~again[:, None]) | lost


def precisions(maps: Tensor, kept: Tensor, shown: Tensor) -> Tensor:
    """Returns the weights (V, N) of views that measure the same maps, in proportion to their precision; they sum to 1.

    Of two views the mean square of the difference is the sum of their errors' variances, so three or more give each its
    own, ``s_v^2 = (R_v - T / (n - 1)) / (n - 2)``, with R_v the sum of a view's differences from the n - 1 others and T
    that of all pairs. It is shrunk towards the mean of all, which counts as one view: ``((n - 1) s_v^2 + mean) / n``.
    Fewer than three views, or views without differences, weigh the same.

    Args:
        maps: (V, N, C, S) laid back.
        kept: (V, N) which views count; the others weigh 0.
        shown: (V, S) which cells a view shows.

    Source: Grubbs 1948, J. Am. Stat. Assoc. 43; weights by inverse variance.
    """
    common = shown.all(0)
    maps = maps[..., common] if bool(common.any()) else maps
    pairs = kept[:, None] & kept[None]
    differences = maps.new_zeros(len(maps), *kept.shape, dtype=torch.float64)
    for i in range(len(maps)):
        for j in range(i + 1, len(maps)):
            square = (maps[i] - maps[j]).square().mean((1, 2)).double()
            differences[i, j] = differences[j, i] = torch.where(pairs[i, j], square, 0)
    n = kept.sum(0).double()
    rows = differences.sum(1)  # (V, N)
    mean = rows.sum(0) / 2 / (n * (n - 1)).clamp(min=1)  # of s_v^2
    own = ((rows - n * mean) / (n - 2).clamp(min=1)).clamp(min=0)
    shrunk = ((n - 1) * own + mean) / n.clamp(min=1)
    even = (n < 3) | ~(mean > 0) | ~mean.isfinite()
    weight = torch.where(even, 1.0, mean / torch.where(shrunk > 0, shrunk, 1))
    weight = torch.where(kept, weight, 0)
    return weight / weight.sum(0).clamp(min=torch.finfo(torch.float64).tiny)


def trust(maps: Tensor, kept: Tensor, shown: Tensor, labels: Tensor) -> Tensor:
    """Returns (N, C) in [0, 1]: how much of a channel's variation in space is its own, and not an accident of a view.

    With ``t_k^2`` the variance of a channel's map over views, and ``v_k`` that in space of its mean over n views, the
    mean's own error has variance ``t_k^2 / n``, and ``max(v_k - t_k^2 / n, 0)`` is left for the signal. Both are
    summed over the channels of a cluster: ``signal / (signal + error)`` is the reliability, by which the best linear
    predictor shrinks the cluster's maps towards their means in space. Channels of no cluster have their own.

    Args:
        maps: (V, N, C, S) laid back.
        kept: (V, N) which views count.
        shown: (V, S) which cells a view shows.
        labels: (N, C) the clusters; -1 for none.

    Source: Henderson 1975, Biometrics 31 (best linear unbiased prediction); Robinson 1991, Statist. Sci. 6.
    """
    common = shown.all(0)
    maps = maps[..., common] if bool(common.any()) else maps
    counted = kept.to(maps)[:, :, None, None]
    n = counted.sum(0)[..., 0]  # (N, 1)
    mean = (maps * counted).sum(0) / n[..., None]
    error = ((maps - mean).square() * counted).sum(0).mean(2) / (n - 1).clamp(min=1) / n
    signal = (mean.var(2, correction=0) - error).clamp(min=0)
    count = max(int(labels.max()) + 1, 0)
    membership = one_hot(labels, count).to(maps)  # (N, L, C)
    if count:
        pooled = [torch.where(labels >= 0, ((membership @ part[..., None]).mT @ membership)[:, 0], part)
                  for part in (signal, error)]  # fmt: skip
        signal, error = pooled
    total = signal + error
    return torch.where(total > 0, signal / total, 1.0).masked_fill(total.isnan(), torch.nan)


def pooling(weights: Tensor, kept: Tensor, labels: Tensor) -> Tensor:
    """Returns the share (N, K, C) in [0, 1] of its cluster's mean in the weight of a channel, by what views say of it.

    With ``e^2`` the mean, over the channels of a cluster, of the variance of their weights over n views, divided by n,
    and ``b`` what their mean weights vary by beyond that, ``max(variance over channels - e^2, 0)``, it is
    ``e^2 / (e^2 + b)``: 0 where views find the same weights, as behind pooling and one linear layer, and 1 where the
    channels of a cluster differ by no more than a channel does from itself.

    Args:
        weights: (V, N, K, C) the mean gradients.
        kept: (V, N) which views count.
        labels: (N, C) the clusters; -1 for none.

    Source: Efron and Morris 1973, J. Am. Stat. Assoc. 68 (empirical Bayes, shrinkage towards a common mean).
    """
    counted = kept.to(weights)[:, :, None, None]
    n = counted.sum(0)  # (N, 1, 1)
    mean = (weights * counted).sum(0) / n
    error = ((weights - mean).square() * counted).sum(0) / (n - 1).clamp(min=1) / n  # (N, K, C)
    count = max(int(labels.max()) + 1, 0)
    if not count:
        return torch.zeros_like(mean)
    membership = one_hot(labels, count).to(weights).mT  # (N, C, L)
    size = membership.sum(1)[:, None]  # (N, 1, L)
    of_all = size.clamp(min=1)
    centre = mean @ membership / of_all
    squares = (mean.square() @ membership - of_all * centre.square()).clamp(min=0) / (size - 1).clamp(min=1)
    error = error @ membership / of_all
    # of a cluster of one channel b is 0, and what views differ by in the last digits would decide alone
    rounding = _ROUNDING**2 * (mean.square() @ membership / of_all)
    error = torch.where(error <= rounding, 0.0, error)
    total = error + (squares - error).clamp(min=0)
    share = torch.where(total > 0, error / total, 0.0)
    return (share @ membership.mT).masked_fill(mean.isnan(), torch.nan)


def layer_weights(means: Tensor, errors: Tensor) -> Tensor:
    """Returns the weights (L, N, K) of layers whose maps are of one scale; they sum to 1.

    ``1 / (e_l + b)``: e_l is the variance of a layer's mean map over its views, b what layers differ by beyond that,
    ``max(variance over layers - mean e_l, 0)``. Where layers tell different things, b is large and all weigh the same.

    Args:
        means: (L, N, K, S) the maps.
        errors: (L, N, K) the mean variance of their cells.

    Source: DerSimonian and Laird 1986, Control. Clin. Trials 7: random effects.
    """
    between = (means.var(0).mean(-1) - errors.mean(0)).clamp(min=0)
    variance = errors + between
    precision = torch.where((variance > 0).all(0), 1 / variance, 1.0)
    return precision / precision.sum(0)
