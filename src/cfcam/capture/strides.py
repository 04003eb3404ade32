"""Gradients in the memory that PyTorch reads them in, where it would read them in another.

PyTorch 2.13 on a CPU returns wrong gradients of a batch normalisation in evaluation mode, and of an instance
normalisation, and says nothing, if the gradient that comes in is that of one picture and has its channels last: of a
batch of one the stride along the batch means nothing, and ``y.flatten(2).transpose(1, 2)``, which makes tokens of a
picture, leaves a small one there. The forward pass is right, and so is the gradient of two pictures. A gradient that is
laid out anew is read rightly (findings/torch-norm-gradient-of-one-picture.sh).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def watched_strides(model: nn.Module) -> Iterator[None]:
    """Has gradients of a model's normalisations laid out anew, where they would be misread, for passes in the block."""
    kind = nn.modules.batchnorm._NormBase
    handles = [part.register_forward_hook(_watch) for part in model.modules() if isinstance(part, kind)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _watch(module: nn.Module, args: Any, output: Any) -> None:
    if isinstance(output, Tensor) and output.requires_grad and len(output) == 1:
        output.register_hook(_laid_out)


def _laid_out(gradient: Tensor) -> Tensor | None:
    """Returns a gradient in a memory of its own if its stride along the batch is none that a batch would have."""
    return None if gradient.stride(0) == gradient[0].numel() else gradient.contiguous()
