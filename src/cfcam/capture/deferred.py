"""Convolutions that wait for what follows them, to be computed with it in one step; tensors that stand for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._pytree import tree_map_only

_MOVED = "the input of a convolution was changed in place before its result was asked for"


class MovedError(RuntimeError):
    """What a waiting convolution needs was changed in place before it was computed: the pass is to be run plainly."""


@dataclass(frozen=True)
class Activation:
    """An activation that oneDNN can apply while it writes the results of a convolution.

    Attributes:
        name: oneDNN's.
        numbers: its parameters.
        plain: the same by PyTorch, in place.
        hides: whether oneDNN's makes a number of NaN.
    """

    name: str
    numbers: tuple[float, ...]
    plain: Callable[[Tensor], Tensor]
    hides: bool

    def bound(self, magnitude: float) -> float:
        """Returns what no result exceeds for inputs that do not exceed a magnitude."""
        return max(map(abs, self.numbers)) if self.numbers else magnitude


RELU = Activation("relu", (), torch.relu_, hides=True)
SILU = Activation("swish", (), lambda x: F.silu(x, inplace=True), hides=False)
HARD_SWISH = Activation("hardswish", (), lambda x: F.hardswish(x, inplace=True), hides=False)


def clamp(low: float, high: float) -> Activation:
    """Returns the activation to a range."""
    return Activation("hardtanh", (low, high), lambda x: F.hardtanh(x, low, high, inplace=True), hides=True)


@dataclass(frozen=True)
class Norm:
    """An affine map of each channel: batch normalisation with statistics that do not move."""

    mean: Tensor
    variance: Tensor
    weight: Tensor | None
    bias: Tensor | None
    eps: float

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Those that it has."""
        return tuple(t for t in (self.mean, self.variance, self.weight, self.bias) if t is not None)

    def plain(self, x: Tensor) -> Tensor:
        """Returns the normalised numbers of a convolution."""
        return F.batch_norm(x, self.mean, self.variance, self.weight, self.bias, False, 0.0, self.eps)

    def folded(self, kernel: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns kernel and bias of the convolution that does both, rounded once."""
        scale = (self.variance.double() + self.eps).rsqrt()
        scale = scale if self.weight is None else scale * self.weight.double()
        shift = -self.mean.double() if bias is None else bias.double() - self.mean.double()
        shift = shift * scale if self.bias is None else shift * scale + self.bias.double()
        return (kernel.double() * scale.view(-1, *[1] * (kernel.ndim - 1))).float(), shift.float()


@dataclass(frozen=True)
class Padding:
    """An input with zeros around it.

    Attributes:
        x: (N, C, *spatial).
        around: zeros before and behind, for each spatial axis.
        version: of ``x`` when it was given.
    """

    x: Tensor
    around: tuple[tuple[int, int], ...]
    version: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Of its result."""
        sizes = zip(self.x.shape[2:], self.around, strict=True)
        return (*self.x.shape[:2], *(size + before + behind for size, (before, behind) in sizes))

    def check(self) -> None:
        """Looks whether ``x`` is what it was; see `Convolution.check`."""
        if self.x._version != self.version:
            raise MovedError(_MOVED)

    def plain(self) -> Tensor:
        """Returns the padded numbers."""
        return F.pad(self.x, [n for pair in reversed(self.around) for n in pair])


@dataclass(frozen=True)
class Convolution:
    """A convolution of parameters, and what is known to follow it.

    Attributes:
        x: (N, C, *spatial).
        weight: the kernels.
        bias: of the channels.
        padding: with zeros; stride, dilation and groups as in `torch.nn.functional.conv2d`.
        grown: zeros before and behind the kernel, for each spatial axis: oneDNN pads alike on both sides only.
        norm: follows.
        other: is added then, of the same shape.
        versions: of all these tensors when they were given.
    """

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    padding: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    grown: tuple[tuple[int, int], ...] = ()
    norm: Norm | None = None
    other: Tensor | None = None
    versions: tuple[int, ...] = ()

    @property
    def settings(self) -> tuple[Any, ...]:
        """Padding, stride, dilation and groups, in oneDNN's order."""
        return self.padding, self.stride, self.dilation, self.groups

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Of its result."""
        grown = self.grown or ((0, 0),) * (self.x.ndim - 2)
        kernels = (kernel + sum(zeros) for kernel, zeros in zip(self.weight.shape[2:], grown, strict=True))
        sizes = zip(self.x.shape[2:], kernels, *self.settings[:3], strict=True)
        return (
            self.x.shape[0],
            self.weight.shape[0],
            *((size + 2 * pad - gap * (kernel - 1) - 1) // step + 1 for size, kernel, pad, step, gap in sizes),
        )

    def of_padded(self, padding: Padding) -> Convolution | None:
        """Returns the same of what was padded, with zeros of its own; None: that would cost more than it spares."""
        around = [(a + p, b + p) for (a, b), p in zip(padding.around, self.padding, strict=True)]
        grown = tuple((max(b - a, 0), max(a - b, 0)) for a, b in around)
        if not any(map(any, grown)):
            grown = ()
        elif self.weight.shape[1] > 1 or set(self.dilation) != {1}:
            return None
        return replace(self, x=padding.x, padding=tuple(max(pair) for pair in around), grown=grown)

    def followed_by(self, **more: Any) -> Convolution:
        """Returns it with a norm, or with another tensor added."""
        self.check()
        return self.held(**more)

    def alone(self) -> Convolution:
        """Returns it without what follows."""
        return self.held(norm=None, other=None)

    def held(self, **more: Any) -> Convolution:
        """Returns it with the versions of its tensors as they are now.

        Args:
            **more: a norm or another tensor in place of its own. Neither changes its shape, which is known already;
                each pass does this for each step, and `dataclasses.replace` takes three times as long.
        """
        found = object.__new__(Convolution)
        found.__dict__.update(self.__dict__, **more)
        found.__dict__["versions"] = found._versions()
        return found

    def check(self) -> None:
        """Looks whether its tensors are what they were.

        Raises:
            MovedError: one was changed in place.
        """
        if self.versions != self._versions():
            raise MovedError(_MOVED)

    def _versions(self) -> tuple[int, ...]:
        norm = self.norm
        after = () if norm is None else (norm.mean, norm.variance, norm.weight, norm.bias)
        return tuple([t._version for t in (self.x, self.weight, self.bias, self.other, *after) if t is not None])


@dataclass(frozen=True)
class Rounded:
    """A result kept in bfloat16, which the steps read as it is, and all else as float32.

    Attributes:
        x: its numbers, which nothing else holds.
    """

    x: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the result."""
        return tuple(self.x.shape)

    def check(self) -> None:
        """Nothing changes it in place."""

    def plain(self) -> Tensor:
        """Returns its numbers in float32."""
        return self.x.float()


class Deferred(Tensor):
    """Stands for the result of a step that waits; whatever looks at its numbers has them computed.

    Attributes:
        of: what it is the result of.
        compute: does it, if it is a convolution.
        used: whether a step behind it was computed from ``of``, so that its own numbers may never be needed.
        value: its numbers, once they were needed by something that holds it, so that it cannot become them.
    """

    of: Convolution | Padding | Rounded
    compute: Callable[[Convolution], Tensor]
    used: bool
    value: Tensor | None

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, of: Convolution | Padding | Rounded, compute: Callable[[Convolution], Tensor]) -> Deferred:
        """Makes the result of a step."""
        found: Deferred = Tensor._make_wrapper_subclass(cls, of.shape, dtype=torch.float32, device=of.x.device)
        found.of, found.compute, found.used, found.value = of, compute, isinstance(of, Rounded), None
        return found

    def numbers(self) -> Tensor:
        """Returns the numbers that it stands for, computed once."""
        if self.value is None:
            self.of.check()
            found = self.compute(self.of) if isinstance(self.of, Convolution) else self.of.plain()
            self.value = found.float()
        return self.value

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Runs an operator that no function mode saw coming (of torch.jit, of an extension) on the numbers."""
        args, kwargs = tree_map_only(Deferred, Deferred.numbers, (args, kwargs or {}))
        return func(*args, **kwargs)
