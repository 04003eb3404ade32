"""Gradients in float16: scaled by a power of two on their way, and back to their size in float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

_HIGHEST, _STEP, _LOWEST = 15, 5, -20
"""Exponents: 2^15 is the largest power of two in float16; it is lowered where a gradient overflows."""


def gradients(
    scores: Tensor, inputs: Sequence[Tensor], images: Sequence[Tensor] | None = None, *, half: bool, **options: Any
) -> list[Tensor | None]:
    """Returns the gradients of the sum of scores (N,) with respect to ``inputs``, at least float32.

    Behind a mean over many places a gradient is smaller than what float16 knows (6e-8, and 6e-5 with all its digits);
    it vanishes on the way. With ``half`` the backward pass begins with a power of two, 2^15, in place of 1, which is
    divided out in float32: both are exact. Where that overflows, a smaller one is taken, image by image.

    Args:
        scores: (N,), one an image.
        inputs: tensors of the graph.
        images: for each input, which image each of its rows belongs to, (rows,) int64; None: row n is of image n.
        half: whether float16 takes part.
        **options: of `torch.autograd.grad`.

    Source: loss scaling, Micikevicius et al. 2018, arXiv 1710.03740, section 3.2, without its training loop.
    """
    if not half:
        found = torch.autograd.grad(scores.sum(), inputs, **options)
        return [None if g is None else at_least_float32(g) for g in found]
    owners = [torch.arange(len(g), device=g.device) for g in inputs] if images is None else list(images)
    exponents = torch.full((len(scores),), _HIGHEST, device=scores.device)
    options["retain_graph"] = True
    while True:
        seed = torch.ldexp(torch.ones_like(scores, dtype=torch.float32), exponents)
        found = torch.autograd.grad(scores, inputs, seed.to(scores.dtype), **options)
        overflown = torch.zeros_like(exponents, dtype=torch.bool)
        for gradient, rows in zip(found, owners, strict=True):
            if gradient is not None:
                broken = ~gradient.flatten(1).isfinite().all(1)
                overflown[rows[broken]] = True
        # A score that is not finite itself has no gradient in any scale: what is not finite has to show.
        again = overflown & scores.detach().isfinite() & (exponents > _LOWEST)
        if not bool(again.any()):
            break
        exponents = torch.where(again, exponents - _STEP, exponents)
    back = torch.ldexp(torch.ones_like(exponents, dtype=torch.float32), -exponents)
    return [
        None if g is None else at_least_float32(g) * back[rows].reshape(-1, *[1] * (g.ndim - 1))
        for g, rows in zip(found, owners, strict=True)
    ]


def takes_part(*tensors: Tensor, autocast: Any = None) -> bool:
    """Tells whether float16 is among the types of tensors, or of an autocast that is on."""
    if any(t.dtype == torch.float16 for t in tensors):
        return True
    return autocast is not None and autocast.enabled and autocast.dtype == torch.float16


def at_least_float32(tensor: Tensor) -> Tensor:
    """Returns a tensor in float32, or float64 if it is that already: in half precision long sums overflow, or round."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()
