"""Gradients of many scores from one pass back, where that is quicker than a pass for each."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from cfcam.capture.half_precision import at_least_float32

MANY = 8
"""Scores that are worth it."""
_MOST = 256  # operators behind a layer that are looked through
_SLOWER = ("Convolution", "ScaledDotProduct", "Checkpoint")
"""Operators that take many gradients by themselves, or in a roundabout way: a pass for each score is quicker there."""


class Tail(NamedTuple):
    """What lies between a layer and the scores.

    Attributes:
        batchable: whether all of it takes many gradients at once, as quickly as it can.
        pool: the operator, if all scores see the layer only through its mean over some axes. A gradient is the same
            along these, and need neither be carried through the mean nor be written down for every place.
        norms: whether a norm is in it. PyTorch's third derivatives of those hold their mean and deviation, and are
            wrong.
    """

    batchable: bool
    pool: Any = None
    norms: bool = False

    @property
    def places(self) -> int:
        """How many places have the same gradient."""
        return 1 if self.pool is None else _pooled(self.pool)[1]


def tail_of(scores: Tensor, leaves: Sequence[Tensor]) -> Tail:
    """Returns what lies between leaves and scores.

    That is told by the operators and not by a clock, so that the same network gives the same digits each time.

    Args:
        scores: of a graph that leads to the leaves.
        leaves: tensors of it that ask for a gradient.
    """
    ends = {id(leaf) for leaf in leaves}
    begun = {leaf.grad_fn for leaf in leaves if leaf.grad_fn is not None}  # where the pass is recorded from its start
    users, seen, waiting = defaultdict[Any, list[Any]](list), set[Any](), [scores.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen or node in begun or id(getattr(node, "variable", None)) in ends:
            continue
        own = isinstance(node, torch.autograd.function.BackwardCFunction)  # of a user: it need not know of batches
        if own or any(name in node.name() for name in _SLOWER) or len(seen) >= _MOST:
            return Tail(batchable=False)
        seen.add(node)
        for following, _ in node.next_functions:
            users[following].append(node)
            waiting.append(following)
    norms = any("Norm" in node.name() for node in seen)
    if len(leaves) > 1 or begun:
        return Tail(batchable=True, norms=norms)
    reading = next((of for node, of in users.items() if id(getattr(node, "variable", None)) in ends), [])
    while len(reading) == 1 and reading[0].name() == "CloneBackward0":
        reading = users[reading[0]]
    pooled = len(reading) == 1 and reading[0].name() == "MeanBackward1"
    return Tail(batchable=True, pool=reading[0] if pooled else None, norms=norms)


def fitting(leaves: Sequence[Tensor], limit: int | None = None) -> int:
    """Returns of how many scores the gradients fit into a limit of bytes, 1 or more.

    Args:
        leaves: what they are taken with respect to.
        limit: None: 8 MiB on a CPU, 256 MiB elsewhere.
    """
    limit = limit or (1 << 23 if leaves[0].device.type == "cpu" else 1 << 28)
    return max(1, limit // max(1, sum(leaf.numel() * max(4, leaf.element_size()) for leaf in leaves)))


def whole(scores: Tensor) -> Any:
    """Returns the operator that made the scores (N, K) of which these are a slice, or these; None without a graph."""
    node = scores.grad_fn
    while node is not None and node.name() in ("SliceBackward0", "AliasBackward0"):  # the latter of all columns
        node = node.next_functions[0][0]
    return node


def all_gradients(scores: Tensor, leaves: Sequence[Tensor], pool: Any = None) -> list[Tensor | None] | None:
    """Returns for each leaf the gradients (K, *leaf) of the K columns of scores, at least float32.

    Images do not mix, so that the gradient of a column's sum over the images is theirs, one by one.

    Args:
        scores: (N, K).
        leaves: tensors of their graph.
        pool: of the `Tail` between; the gradients are then expanded (stride 0) along the axes of its mean.

    Returns:
        None for a leaf that no score depends on; None in place of all where an operator refuses.
    """
    rows = torch.eye(scores.shape[1], dtype=scores.dtype, device=scores.device)
    ends = leaves if pool is None else [GradientEdge(pool, 0)]
    with torch.inference_mode(False):
        try:
            found = torch.autograd.grad(
                scores.sum(0), ends, rows, retain_graph=True, allow_unused=True, is_grads_batched=True
            )
        except RuntimeError:  # it says why where each score has a pass of its own
            return None
        if pool is not None:
            return [_expanded(gradient, pool, leaf) for gradient, leaf in zip(found, leaves, strict=True)]
    return [None if gradient is None else at_least_float32(gradient) for gradient in found]


def seen_together(
    found: Sequence[Tensor | None] | None, seen: Callable[[Sequence[Tensor | None]], Tensor], ordered: bool
) -> Tensor | None:
    """Returns gradients of K scores as maps (N, K, C, *spatial), see `all_gradients`; None stays None.

    Args:
        found: for each leaf (K, *leaf).
        seen: gives the maps (N, C, *spatial) of one score.
        ordered: whether that asks which row stands where, so that it takes no K N rows.
    """
    if found is None:
        return None
    if len(found) == 1 and found[0] is not None and not ordered:
        return seen([found[0].flatten(0, 1)]).unflatten(0, (len(found[0]), -1)).transpose(0, 1)
    count = next((len(of) for of in found if of is not None), 1)
    return stacked([seen([None if of is None else of[k] for of in found]) for k in range(count)])


def refusal(error: RuntimeError, layers: Sequence[str]) -> str | None:
    """Returns why a pass back to layers failed, and what helps; None: the error itself says it."""
    names = ", ".join(map(repr, layers))
    if "modified by an inplace operation" in str(error):
        return (
            f"behind layer {names} the network overwrites in place what a gradient needs, so that it has none there:"
            " name a later layer, as the one that is chosen automatically"
        )
    if "checkpoint" not in str(error).lower():
        return None
    return (
        f"an activation checkpoint between layer {names} and the score refuses gradients to a layer: switch it off for"
        " the call, with gradient_checkpointing_disable() or use_reentrant=False"
    )


def stacked(columns: list[Tensor]) -> Tensor:
    """Returns columns (N, ...) as (N, K, ...): of a single one, in the usual layout, without a copy."""
    if len(columns) == 1 and columns[0].is_contiguous():
        return columns[0].unsqueeze(1)
    return torch.stack(columns, dim=1)


def _pooled(pool: Any) -> tuple[list[int], int]:
    """Returns the axes of a mean, counted from the front, and how many places it takes the mean of."""
    sizes = pool._saved_self_sym_sizes
    given = [d if d < len(sizes) else d - (1 << 64) for d in pool._saved_dim]  # -1 is kept as 2^64 - 1
    axes = sorted(d % len(sizes) for d in given) or list(range(len(sizes)))
    return axes, math.prod(sizes[axis] for axis in axes)


def _expanded(gradient: Tensor, pool: Any, leaf: Tensor) -> Tensor:
    """Returns gradients (K, *leaf) from those of the leaf's mean."""
    axes, count = _pooled(pool)
    each = (gradient / count).to(leaf.dtype)
    for axis in [] if pool._saved_keepdim else axes:
        each = each.unsqueeze(1 + axis)
    return at_least_float32(each).expand(len(each), *leaf.shape)
