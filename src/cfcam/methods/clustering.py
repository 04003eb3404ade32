"""Density-based clustering of feature channels: batched, on the device, with scikit-learn's labels.

scikit-learn's DBSCAN is the oracle of the tests; it takes one image at a time, on the CPU. Distances are kept squared:
clustering only compares them, and a pass over M^2 numbers less is a tenth of its time.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_SAMPLE = 1 << 13
_BLOCK = 512  # rows of distances at a time


def squared_distances(features: Tensor, metric: str = "euclidean") -> Tensor:
    """Returns squared distances (N, M, M) between the M feature vectors of each image, with a zero diagonal.

    One product of matrices in float64 where the device has it: in float32 the distance of two near copies of a strong
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
    squares, ones = x.square().sum(-1, keepdim=True), x.new_ones(*x.shape[:2], 1)
    # |a|^2 - 2 a.b + |b|^2 as one product: (a, |a|^2, 1) . (-2 b, 1, |b|^2); in blocks, so that only they are float64
    left, right = torch.cat([x, squares, ones], -1), torch.cat([-2 * x, ones, squares], -1).mT
    squared = features.new_empty(*x.shape[:2], x.shape[1])
    for start in range(0, x.shape[1], _BLOCK):
        squared[:, start : start + _BLOCK] = left[:, start : start + _BLOCK] @ right
    if metric != "euclidean":
        zero = squares.squeeze(-1) == 0
        squared.div_(2).masked_fill_(zero[:, :, None] ^ zero[:, None, :], 1.0).square_()  # 2 (1 - cos) = |a - b|^2
    squared.diagonal(dim1=1, dim2=2).zero_()
    return squared


def squared_radius(squared: Tensor, count: Tensor, quantile: float, *, diagonal: bool = False) -> Tensor:
    """Returns (N,) the largest squared distance within the quantile of each matrix, for `dbscan`.

    ``numpy.quantile`` interpolates between this order statistic and the next; which distances are within the
    interpolated radius is the same set.

    Args:
        squared: (N, M, M) with a zero diagonal; pairs that do not count are infinite.
        count: (N,) how many of the M vectors count.
        quantile: in [0, 1], of the distances.
        diagonal: whether the zero diagonal belongs to the matrix. Without it, and with fewer than two vectors, the
            radius is 0.
    """
    skipped = torch.zeros_like(count) if diagonal else count  # the diagonal are the smallest elements
    position = quantile * (count * count - skipped - 1).clamp(min=0).double()
    rank = ((position + 1e-9).floor().long() + skipped).clamp(max=count * count - 1).clamp(min=0)
    return kth_smallest(squared.flatten(1), rank).clamp(min=0)


def kth_smallest(values: Tensor, rank: Tensor) -> Tensor:
    """Returns (N,) the element of each row with this rank (0: the smallest).

    `torch.quantile` sorts, and refuses more than 16 million elements; `torch.kthvalue` moves all elements. On a CPU,
    long rows are narrowed first: a sample brackets the rank, and only elements within the bracket are selected from.

    Args:
        values: (N, L).
        rank: (N,) int64, each in [0, L).
    """
    ranks = rank.tolist()
    stride = (values.shape[1] // _SAMPLE) | 1
    if values.device.type != "cpu" or stride < 16:
        return torch.stack([row.kthvalue(r + 1).values for row, r in zip(values, ranks, strict=True)])
    sample = values[:, ::stride].sort(dim=1).values
    last = sample.shape[1] - 1
    found = []
    for row, r, sorted_sample in zip(values, ranks, sample, strict=True):
        share = r / values.shape[1]
        margin = 4 * math.sqrt(share * (1 - share) * (last + 1)) + 2
        centre = share * (last + 1)
        low = sorted_sample[int(centre - margin)] if centre > margin else -torch.inf
        below = row < low
        candidates = row[(row <= sorted_sample[min(int(centre + margin), last)]) ^ below]
        offset = r - int(below.count_nonzero())
        missed = not 0 <= offset < len(candidates)  # the sample misled: rare, and only slower
        found.append((row.kthvalue(r + 1) if missed else candidates.kthvalue(offset + 1)).values)
    return torch.stack(found)


def k_means(features: Tensor, groups: int, valid: Tensor, *, rounds: int = 10) -> Tensor:
    """Returns the group (N, M) int64 of each vector, -1 where it does not count; the same result every time.

    Lloyd's algorithm from centres far apart: the longest vector, then always the one farthest from all centres so far.
    Fewer vectors than groups leave groups empty.

    Args:
        features: (N, M, D).
        groups: number of groups.
        valid: (N, M) bool, which vectors count.
        rounds: of assignment and averaging.

    Source: Lloyd 1982; Gonzalez 1985 (farthest-point traversal).
    """
    rows = torch.arange(len(features), device=features.device)
    distance = torch.where(valid, features.square().sum(-1), -1)
    centres = features.new_zeros(len(features), groups, features.shape[2])
    nearest = torch.full_like(distance, torch.inf)
    for g in range(groups):
        centres[:, g] = features[rows, distance.argmax(1)]
        nearest = torch.minimum(nearest, (features - centres[:, g : g + 1]).square().sum(-1))
        distance = torch.where(valid, nearest, -1)
    for _ in range(rounds):
        # |a - c|^2 without |a|^2, which is the same for all centres
        group = (centres.square().sum(-1)[:, None] - 2 * features @ centres.mT).argmin(2)
        group = torch.where(valid, group, -1)
        membership = one_hot(group, groups).to(features.dtype)
        size = membership.sum(2, keepdim=True)
        centres = torch.where(size > 0, membership @ features / size, centres)
    return group


def one_hot(labels: Tensor, count: int) -> Tensor:
    """Returns the membership (N, count, M) float, 1 where a vector has that label; negative labels belong to none."""
    return torch.nn.functional.one_hot(labels + 1, count + 1)[..., 1:].transpose(1, 2).float()


def dbscan(distances: Tensor, eps: Tensor, min_samples: Tensor) -> Tensor:
    """Returns DBSCAN labels (N, M) int64, -1 for noise, equal to scikit-learn's for the same distances.

    Core points are those with ``min_samples`` points within ``eps``, themselves included. Clusters are the connected
    components of the core points' graph, numbered by their first core point. A border point joins the first cluster
    that reaches it.

    Args:
        distances: (N, M, M) symmetric, squared or not; infinite rows and columns take no part and are noise.
        eps: (N,) radius, inclusive, squared if the distances are.
        min_samples: (N,) int.

    Source: Ester et al. 1996, KDD-96, definitions 1 to 6.
    """
    size = distances.shape[1]
    near = distances <= eps[:, None, None]
    core = near.sum(-1, dtype=torch.int32) >= min_samples[:, None]
    narrow = torch.int16 if size < 2**15 - 1 else torch.int32
    none = torch.tensor(size, dtype=narrow, device=near.device)  # larger than every index: "no core point"
    index = torch.arange(size, device=near.device, dtype=narrow).expand(len(near), -1)
    # All bits set where a core point is near: with `torch.where` in place of this mask all of it takes twice as long.
    reachable = (near & core[:, None, :]).to(narrow).neg_()
    root = torch.where(core, index, none)
    while True:
        nearest = none - (reachable & (none - root)[:, None, :]).amax(-1)
        # The smallest root that a component's members see is given to its root too, then paths are halved: the number
        # of rounds grows with the logarithm of a component's length.
        seen = torch.where(core, nearest, none)
        slots = torch.cat([seen, none.expand(len(near), 1)], dim=1)
        slots.scatter_reduce_(1, root.long(), seen, "amin")
        slots[:, size] = none
        jumped = slots.gather(1, slots[:, :size].long())
        if torch.equal(jumped, root):
            break
        root = jumped
    rank = (core & (root == index)).cumsum(1) - 1
    labels = rank.gather(1, nearest.long().clamp(max=size - 1))
    return torch.where(nearest < none, labels, -1)
