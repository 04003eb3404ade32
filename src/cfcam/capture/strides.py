"""Gradients in the memory that PyTorch reads them in, where it would read them in another.

PyTorch 2.13 on a CPU returns wrong gradients of a batch normalisation in evaluation mode, and of an instance
normalisation, and says nothing, if the gradient that comes in is that of one picture and has its channels last: of a
batch of one the stride along the batch means nothing, and ``y.flatten(2).transpose(1, 2)``, which makes tokens of a
picture, leaves a small one there. The forward pass is right, and so is the gradient of two pictures. A gradient that is
laid out anew is read rightly (findings/torch-norm-gradient-of-one-picture.sh).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

_ASKED = "cfcam: strides"


def rightly_read(scores: Tensor) -> Tensor:
    """Returns scores whose graph lays gradients of normalisations out anew, where they would be misread.

    It is the graph that is asked, and not the modules, so that `torch.nn.functional.batch_norm` in a network's own
    forward is seen to as well. Operators that earlier scores of the same pass met are not asked again.
    """
    waiting = [scores.grad_fn]
    while waiting:
        node: Any = waiting.pop()
        if node is None or _ASKED in node.metadata:
            continue
        node.metadata[_ASKED] = True
        if "BatchNorm" in node.name():  # an instance normalisation is one, too
            node.register_prehook(_laid_out)
        waiting.extend(following for following, _ in node.next_functions)
    return scores


def _laid_out(gradients: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    """Returns gradients in memory of their own if their stride along the batch is none that a batch would have."""
    return tuple(g.contiguous() if g is not None and _misread(g) else g for g in gradients)


def _misread(gradient: Tensor) -> bool:
    return len(gradient) == 1 and gradient.stride(0) != gradient[0].numel()
