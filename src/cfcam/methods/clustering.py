"""Density-based clustering of feature channels: batched, on the device, with scikit-learn's labels.

scikit-learn's DBSCAN is the oracle of the tests; it takes one image at a time, on the CPU.
"""

from __future__ import annotations

import torch
from torch import Tensor


def pairwise_distances(features: Tensor, metric: str = "euclidean") -> Tensor:
    """Returns the symmetric distances (N, M, M) between M feature vectors of each image, with an exact zero diagonal.

    The Gram matrix is taken in float64 where the device has it: in float32 the distance of two near copies of a strong
    channel would be lost in rounding. It needs M^2 numbers an image, not the M^2 D of the differences.

    Args:
        features: (N, M, D).
        metric: "euclidean", "cosine" (1 - cosine similarity; a zero vector is at distance 1 from all others, 0 from
            other zero vectors) or "correlation" (the same of centred vectors).
    """
    x = features if features.device.type == "mps" else features.double()
    if metric == "correlation":
        x = x - x.mean(-1, keepdim=True)
    if metric in ("cosine", "correlation"):
        norms = x.norm(dim=-1, keepdim=True)
        x = torch.where(norms > 0, x / norms, 0)
    squares = x.square().sum(-1)
    squared = torch.baddbmm(squares[:, None, :], x, x.mT, alpha=-2).add_(squares[:, :, None]).clamp_(min=0)
    # Twice 1 - cos is the squared distance of unit vectors.
    distances = squared.sqrt_() if metric == "euclidean" else squared.div_(2)
    if metric != "euclidean":
        zero = squares == 0
        distances.masked_fill_(zero[:, :, None] ^ zero[:, None, :], 1.0)
    distances = distances.to(features.dtype)
    # A product of matrices need not be symmetric to the last bit, and the neighbourhood relation must be.
    distances = torch.maximum(distances, distances.mT)
    distances.diagonal(dim1=1, dim2=2).zero_()
    return distances


def distance_quantile(distances: Tensor, count: Tensor, quantile: float, *, diagonal: bool = False) -> Tensor:
    """Returns (N,) a quantile of each distance matrix, with linear interpolation as ``numpy.quantile`` has it.

    Args:
        distances: (N, M, M), non-negative with a zero diagonal; pairs that do not count are infinite.
        count: (N,) how many of the M vectors count.
        quantile: in [0, 1].
        diagonal: whether the zero diagonal belongs to the matrix. Without it, and with fewer than two vectors, the
            quantile is 0.

    Note:
        `torch.quantile` sorts, and refuses more than 16 million elements; this selects.
    """
    flat = distances.flatten(1)
    zeros = torch.zeros_like(count) if diagonal else count  # the diagonal are the smallest elements: skip them
    position = quantile * (count * count - zeros - 1).clamp(min=0).double()
    rank = (position.floor().long() + zeros).clamp(max=count * count - 1)
    lower = torch.stack([flat.new_zeros(())] * len(flat))
    for r in rank.unique().tolist():  # the images of a batch have one rank, unless channels tie in their importance
        rows = (rank == r).nonzero().squeeze(1)
        values = flat if len(rows) == len(flat) else flat[rows]
        lower[rows] = values.kthvalue(max(r, 0) + 1, dim=1).values
    # The next order statistic is the same value again if more elements are at or below it than its rank says.
    below = flat <= lower[:, None]
    higher = torch.where(below, torch.inf, flat).amin(1)
    higher = torch.where((below.sum(1) > rank + 1) | ~higher.isfinite(), lower, higher)
    fraction = (position - position.floor()).to(lower.dtype)
    return torch.where(fraction > 0, lower + (higher - lower) * fraction, lower)


def dbscan(distances: Tensor, eps: Tensor, min_samples: Tensor) -> Tensor:
    """Returns DBSCAN labels (N, M) int64, -1 for noise, equal to scikit-learn's for the same distances.

    Core points are those with ``min_samples`` points within ``eps``, themselves included. Clusters are the connected
    components of the core points' graph, numbered by their first core point. A border point joins the first cluster
    that reaches it.

    Args:
        distances: (N, M, M) symmetric; infinite rows and columns take no part and are noise.
        eps: (N,) radius, inclusive.
        min_samples: (N,) int.

    Source: Ester et al. 1996, KDD-96, definitions 1 to 6.
    """
    size = distances.shape[1]
    near = distances <= eps[:, None, None]
    core = near.sum(-1) >= min_samples[:, None]
    near &= core[:, None, :]  # from here on: reachable from a core point
    none = size  # larger than every index: "no core point"
    narrow = torch.int16 if size < 2**15 else torch.int32
    index = torch.arange(size, device=distances.device, dtype=narrow).expand(len(distances), -1)
    root = torch.where(core, index, none)
    while True:
        nearest = torch.where(near, root[:, None, :], none).amin(-1)
        nearest = torch.where(core, torch.minimum(nearest, root), none)
        # The smallest root that a component's members see is given to its root too, then paths are halved: the number
        # of rounds grows with the logarithm of a component's length.
        slots = torch.cat([index, index.new_full((len(index), 1), none)], dim=1)
        slots.scatter_reduce_(1, root.long(), nearest, "amin")
        slots.scatter_reduce_(1, index.long(), nearest, "amin")
        slots[:, size] = none
        jumped = slots.gather(1, torch.where(core, slots[:, :size], none).long())
        if torch.equal(jumped, root):
            break
        root = jumped
    first = core & (root == index)
    rank = first.long().cumsum(1) - 1
    reached = torch.where(core, root, torch.where(near, root[:, None, :], none).amin(-1)).long()
    labels = rank.gather(1, reached.clamp(max=size - 1))
    return torch.where(reached < none, labels, -1)
