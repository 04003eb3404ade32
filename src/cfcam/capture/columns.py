"""Gradients of many scores from one pass back, where that is quicker than a pass for each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cfcam.capture.half_precision import at_least_float32

MANY = 8
"""Scores that are worth it."""
_MOST = 256  # operators behind a layer that are looked through
_SLOWER = ("Convolution", "ScaledDotProduct", "Checkpoint")
"""Operators that take many gradients by themselves, or in a roundabout way: a pass for each score is quicker there."""


def is_batchable(scores: Tensor, leaves: Sequence[Tensor]) -> bool:
    """Tells whether all that lies between leaves and scores takes many gradients at once, as quickly as it can.

    That is told by the operators and not by a clock, so that the same network gives the same digits each time.

    Args:
        scores: of a graph that leads to the leaves.
        leaves: tensors of it that ask for a gradient.
    """
    ends = {id(leaf) for leaf in leaves}
    seen = {leaf.grad_fn for leaf in leaves if leaf.grad_fn is not None}  # where the pass is recorded from its start
    waiting = [scores.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen or id(getattr(node, "variable", None)) in ends:
            continue
        own = isinstance(node, torch.autograd.function.BackwardCFunction)  # of a user: it need not know of batches
        if own or any(name in node.name() for name in _SLOWER) or len(seen) >= _MOST:
            return False
        seen.add(node)
        waiting += [following for following, _ in node.next_functions]
    return True


def all_gradients(scores: Tensor, leaves: Sequence[Tensor]) -> list[Tensor | None] | None:
    """Returns for each leaf the gradients (K, *leaf) of the K columns of scores, at least float32.

    Images do not mix, so that the gradient of a column's sum over the images is theirs, one by one.

    Args:
        scores: (N, K).
        leaves: tensors of their graph.

    Returns:
        None for a leaf that no score depends on; None in place of all where an operator refuses.
    """
    rows = torch.eye(scores.shape[1], dtype=scores.dtype, device=scores.device)
    with torch.inference_mode(False):
        try:
            found = torch.autograd.grad(
                scores.sum(0), leaves, rows, retain_graph=True, allow_unused=True, is_grads_batched=True
            )
        except RuntimeError:  # it says why where each score has a pass of its own
            return None
    return [None if gradient is None else at_least_float32(gradient) for gradient in found]
