"""Kernels of convolutions in oneDNN's own layout, a batch normalisation folded in."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cfcam.capture.deferred import Convolution

_Source = tuple["weakref.ref[Tensor]", int, int]
"""A tensor, its version and its place in memory."""


_ROUNDING = 1e-3
"""Of the largest score; sums in another order differ by less than a hundredth of it."""


@dataclass
class Trust:
    """Whether passes in steps have given a network's numbers.

    Attributes:
        agreed: False: they are not run any more; None: nobody has compared them.
    """

    agreed: bool | None = None

    def compared(self, found: Tensor, plain: Tensor) -> bool:
        """Tells whether they have, from scores of a pass in steps and of a plain one, the first time they are given."""
        if self.agreed is None:
            self.agreed = alike(found, plain)
        return self.agreed


def alike(found: Tensor, plain: Tensor) -> bool:
    """Tells whether scores are the same but for the order of sums."""
    found, plain = found.detach(), plain.detach()
    if found.shape != plain.shape or found.dtype != plain.dtype:
        return False
    largest = float(plain.abs().nan_to_num(0.0, 0.0, 0.0).max()) if plain.numel() else 0.0
    return torch.allclose(found, plain, rtol=_ROUNDING, atol=_ROUNDING * largest, equal_nan=True)


@dataclass(frozen=True)
class Packed:
    """A kernel in oneDNN's layout.

    Attributes:
        kernel: what oneDNN takes.
        bias: of the channels.
        gain: largest sum of the magnitudes of a channel's weights; not finite if one of them is not.
        offset: largest magnitude of the biases.
        sources: what it was made of, and how that was then; None: what was not given.
        key: what else it depends on.
    """

    kernel: Tensor
    bias: Tensor | None
    gain: float
    offset: float
    sources: tuple[_Source | None, ...]
    key: Any

    def made_of(self, of: Convolution) -> bool:
        """Tells whether it is made of the tensors of a convolution, and they are what they were."""
        return self.key == _key(of) and _same(self.sources, _given(of))

    def current(self) -> bool:
        """Tells whether all that it is made of is still there, and what it was."""
        return _same(self.sources, [None if one is None else one[0]() for one in self.sources])

    def bound(self, magnitude: float) -> float:
        """Returns what no result exceeds for inputs that do not exceed a magnitude, in any order of summation."""
        return self.gain * magnitude + self.offset


def packed(of: Convolution, dtype: torch.dtype = torch.float32) -> Packed:
    """Packs the kernel of a convolution, with the norm that follows it.

    Args:
        of: the convolution.
        dtype: of the packed kernel; biases stay as they are.
    """
    kernel, bias = of.weight.detach(), of.bias
    if of.norm is not None:
        kernel, bias = of.norm.folded(kernel, bias)
    gain = float(kernel.flatten(1).abs().sum(1, dtype=torch.float64).amax())
    offset = 0.0 if bias is None else float(bias.abs().amax())
    if of.grown:
        kernel = F.pad(kernel, [n for zeros in reversed(of.grown) for n in zeros])
    reorder = {4: torch._C._nn.mkldnn_reorder_conv2d_weight, 5: torch._C._nn.mkldnn_reorder_conv3d_weight}
    settings = (*of.settings, list(of.x.shape))
    inner = reorder[kernel.ndim](kernel.to(dtype).to_mkldnn(), *settings)
    sources = tuple(None if t is None else (weakref.ref(t), t._version, t.data_ptr()) for t in _given(of))
    return Packed(inner, bias, gain, offset, sources, _key(of))


def bound_of(x: Tensor | None, *, look: bool) -> float:
    """Returns what no number of a tensor exceeds: as it was made, or, if that is not known, as looking tells."""
    if x is None:
        return 0.0
    version, known = getattr(x, "_cfcam_bound", (None, torch.inf))
    if version == x._version:
        return float(known)
    return magnitude(x) if look else torch.inf


def magnitude(x: Tensor) -> float:
    """Returns the largest magnitude in a tensor; NaN if one is."""
    x = x if x.is_contiguous() else x.movedim(1, -1)  # reductions are fast along memory only
    found = float(torch.maximum(x.amax(), -x.amin()))
    note_bound(x, found)
    return found


def note_bound(x: Tensor, bound: float) -> None:
    """Remembers what no number of a tensor exceeds."""
    if not x.is_inference():  # under a network's own inference mode
        x._cfcam_bound = x._version, bound  # type: ignore[attr-defined]


def _given(of: Convolution) -> list[Tensor | None]:
    norm = of.norm
    return [of.weight, of.bias, *([] if norm is None else [norm.mean, norm.variance, norm.weight, norm.bias])]


def _key(of: Convolution) -> tuple[Any, ...]:
    return of.grown, None if of.norm is None else of.norm.eps


def _same(sources: Iterable[_Source | None], tensors: Iterable[Tensor | None]) -> bool:
    """Tells whether sources are these tensors, and none of them has changed."""
    for source, tensor in zip(sources, tensors, strict=True):
        if source is None or tensor is None:
            if source is not None or tensor is not None:
                return False
        elif source[0]() is not tensor or source[1:] != (tensor._version, tensor.data_ptr()):
            return False
    return True
