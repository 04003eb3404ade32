"""Convolution kernels packed once for many passes, with what follows the convolutions folded in."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

from cfcam.capture.deferred import (
    HARD_SWISH,
    RELU,
    SILU,
    Activation,
    Convolution,
    Deferred,
    Norm,
    Padding,
    Rounded,
    clamp,
)
from cfcam.capture.packing import Packed, Trust, alike, bound_of, magnitude, note_bound, packed

T = TypeVar("T")
_LARGEST = 1e38
"""Sums whose terms' magnitudes add up to less do not overflow in float32, in any order."""
_PLAIN = (Tensor, nn.Parameter)


class PackedKernels(TorchFunctionMode):
    """While active, 2-D and 3-D convolutions run on kernels in oneDNN's own layout, in one step with what follows.

    A convolution waits until its result is asked for. If that is by a batch normalisation whose statistics do not
    move, by the addition of a tensor of its shape, or by a usual activation, they become one step; whatever else asks
    gets the numbers. So nothing is assumed of a network, and no pass has to be as an earlier one was. It is spared to
    pack the kernels in each pass, and to write and read each result two to four times.

    Kernels that a module computes anew in each pass are no parameters, and left alone, as is all that records a graph.

    Results are laid out with their channels last, which a network can notice: a ``view`` that fails, a ``reshape``
    that copies where a later change was to reach what it was taken from. So the numbers of a first pass are held
    against those of a plain one, and where they are not the same, or a pass fails, all passes are plain.

    Args:
        parameters: of the model; those of float32 on a CPU are packed when they are first used, and again when they
            have changed.
        trust: what earlier passes of the network have told; None: nothing.
        dtype: of kernels and results: `torch.bfloat16` takes half of the time where the CPU has it, and rounds to three
            digits; sums are float32's, and so is all that the steps do not take.
    """

    def __init__(
        self, parameters: Iterable[Tensor], trust: Trust | None = None, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.trust = Trust() if trust is None else trust
        self.dtype = dtype
        self.ran = False  # whether any kernel was packed
        self._own = {
            id(p): p for p in parameters if p.ndim in (4, 5) and p.dtype == torch.float32 and p.device.type == "cpu"
        }
        self._packed: dict[int, list[Packed]] = {}
        self._alone: set[int] = set()  # kernels whose results are used twice
        self._waiting: dict[int, weakref.ref[Deferred]] = {}
        self._held = False  # whether something has held a tensor, so that it still stands for its numbers

    @property
    def any(self) -> bool:
        """Whether there are kernels that can be packed."""
        return bool(self._own)

    @staticmethod
    def available() -> bool:
        """Tells whether this PyTorch has oneDNN, switched on, with the (private) operator for packed kernels."""
        usable = torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled
        return bool(usable and hasattr(torch.ops.mkldnn, "_convolution_pointwise"))

    @staticmethod
    def rounding() -> bool:
        """Tells whether this CPU multiplies bfloat16 itself; on others, rounding spares nothing."""
        tells = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
        return PackedKernels.available() and any(tell is not None and tell() for tell in tells)

    def run(self, steps: Callable[[], T], plain: Callable[[], T]) -> T:
        """Runs a pass, again as long as it shows results used twice: numbers must not depend on what ran before.

        Args:
            steps: runs it in this mode.
            plain: runs it without: if steps may not be taken together, or it fails, whose own error is then told.
        """
        if self.trust.agreed is False:
            return plain()
        try:
            known, found = len(self._alone), steps()
            while known != len(self._alone):
                known, found = len(self._alone), steps()
        except Exception:  # noqa: BLE001 (a network's own words for memory that is laid out in another way, too)
            found = plain()
            self.trust.agreed = False
        return found

    def checked(self, steps: Callable[[], Tensor], plain: Callable[[], Tensor], known: Tensor | None = None) -> Tensor:
        """Runs a pass like `run`, and, if that was never done for the network, holds its numbers against a plain one's.

        Args:
            steps: runs it in this mode.
            plain: runs it without.
            known: what an earlier plain pass gave for the last row, so that none is needed if this is the same.
        """
        found = self.run(steps, plain)
        if self.trust.agreed is None and known is not None and alike(found[-1:], known):
            self.trust.agreed = True
        if self.trust.agreed is None:
            expected = plain()
            return found if self.trust.compared(found, expected) else expected
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies pack for themselves."""
        return PackedKernels, (list(self._own.values()), Trust(self.trust.agreed), self.dtype)

    def __exit__(self, *raised: Any) -> None:
        """Leaves no tensor behind that waits."""
        try:
            if raised[0] is None:
                with torch._C.DisableTorchFunction():
                    self._flush(used=True)
        finally:
            self._waiting.clear()
            self._held = False
            super().__exit__(*raised)  # type: ignore[no-untyped-call]

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Runs the call, or lets it wait for what follows."""
        kwargs = kwargs or {}
        if func in _LOOKS:
            return func(*args, **kwargs)
        step = _STEPS.get(func)
        if step is not None and "input" not in kwargs and not torch.is_grad_enabled():
            found = step(self, *args, **kwargs)
            if found is not None:
                return found
        if self._waiting or self._held:
            # A network may do anything now to what is waited for, also change it where no version tells.
            self._flush(used=func in _DOORS)
            for leaf in tree_leaves((args, kwargs)):
                self._resolve(leaf)
            if self._held:
                args, kwargs = tree_map_only(Deferred, Deferred.numbers, (args, kwargs))
        return func(*args, **kwargs)

    def _wait(self, of: Convolution | Padding | Rounded) -> Deferred:
        found = Deferred(of, self._compute)
        self._waiting[id(found)] = weakref.ref(found)
        return found

    def _flush(self, *, used: bool) -> None:
        """Computes what waits and is still held by someone; what went into a further step only if ``used``."""
        for key in list(self._waiting):
            one = self._waiting[key]()
            if one is None or used or not one.used:
                del self._waiting[key]  # a tensor that is referred to weakly cannot become another
                self._resolve(one)

    def _resolve(self, tensor: Any) -> None:
        """Makes a tensor that waits one of numbers."""
        if type(tensor) is Deferred:
            if tensor.used and tensor.value is None and isinstance(tensor.of, Convolution):
                self._alone.add(id(tensor.of.weight))
            self._become(tensor, tensor.numbers())

    def _read(self, tensor: Any) -> Any:
        """Returns what a step reads of a tensor: its numbers, in the type in which results are kept."""
        if self.dtype == torch.float32:
            self._resolve(tensor)
            return tensor
        if _waits(tensor):
            if tensor.used:
                self._alone.add(id(tensor.of.weight))
            self._keep(tensor, self._compute(tensor.of))
        if type(tensor) is Deferred and tensor.value is None and isinstance(tensor.of, Rounded):
            return tensor.of.x
        self._resolve(tensor)
        return tensor.to(self.dtype) if _is_plain(tensor) else tensor

    def _keep(self, tensor: Deferred, found: Tensor) -> None:
        """Has a tensor that waits stand for numbers that were computed."""
        if self.dtype == torch.float32:
            self._become(tensor, found)
        else:
            tensor.of, tensor.used = Rounded(found), True  # nothing can change it

    def _shown(self, found: Tensor) -> Tensor:
        """Returns the tensor that the network sees for numbers that were computed."""
        return found if self.dtype == torch.float32 else self._wait(Rounded(found))

    def _become(self, tensor: Deferred, numbers: Tensor) -> None:
        """Makes a tensor that stands for numbers the tensor of these numbers, for all who hold it."""
        self._waiting.pop(id(tensor), None)
        tensor.value = None
        try:
            torch.utils.swap_tensors(tensor, numbers)
        except RuntimeError:  # a weak reference, or code in C++, holds it
            tensor.value, self._held = numbers, True

    def _convolve(self, *args: Any, **kwargs: Any) -> Tensor | None:
        if len(args) != 7 or kwargs or self._own.get(id(args[1])) is not args[1]:
            return None
        x, weight, bias, stride, padding, dilation, groups = args
        if x.ndim != weight.ndim or x.dtype != torch.float32 or x.shape[1] != weight.shape[1] * groups:
            return None
        if not all(isinstance(setting, tuple) for setting in (stride, padding, dilation)):
            return None
        of = Convolution(x, weight, bias, padding, stride, dilation, groups)
        if min(*of.shape, x.numel()) < 1 or torch.is_autocast_enabled("cpu"):
            return None
        if type(x) is Deferred and x.value is None and isinstance(x.of, Padding):
            x.of.check()
            of = of.of_padded(x.of) or of
            x.used = of.x is not x
        x = self._read(of.x)
        if not _is_plain(x, self.dtype) or not all(_is_plain(t) for t in (weight, *([] if bias is None else [bias]))):
            return None
        of = of.held(x=x)
        return self._shown(self._compute(of)) if id(weight) in self._alone else self._wait(of)

    def _pad(self, x: Any, pad: Any, mode: str = "constant", value: float | None = None) -> Tensor | None:
        x = self._read(x)
        if not _is_plain(x, self.dtype) or x.ndim not in (4, 5) or mode != "constant" or value:
            return None
        sides = pad if isinstance(pad, (list, tuple)) else ()
        if not sides or len(sides) > 2 * x.ndim - 4 or not all(type(n) is int and n >= 0 for n in sides):
            return None
        pairs = [(0, 0)] * (x.ndim - 2 - len(sides) // 2) + list(zip(sides[-2::-2], sides[::-2], strict=True))
        return self._wait(Padding(x, tuple(pairs), x._version))

    def _normalise(
        self,
        x: Any,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor | None:
        if not _waits(x) or training or running_mean is None or running_var is None:
            return None
        norm = Norm(running_mean, running_var, weight, bias, eps)
        size = x.of.weight.shape[:1]
        fits = all(_is_plain(t) and t.shape == size for t in norm.tensors)
        if not fits or x.of.norm is not None or x.of.other is not None or eps < 0:
            return None
        found = self._wait(x.of.followed_by(norm=norm))
        x.used = True
        return found

    def _add(self, x: Any, other: Any, **kwargs: Any) -> Tensor | None:
        if kwargs:
            return None
        found = self._sum(x, other)
        return self._sum(other, x) if found is None else found

    def _add_(self, x: Any, other: Any, **kwargs: Any) -> Tensor | None:
        return None if kwargs else self._sum(x, other, inplace=True)

    def _sum(self, one: Any, other: Any, *, inplace: bool = False) -> Tensor | None:
        if not _waits(one) or one is other or one.of.other is not None:
            return None
        other = self._read(other)
        if not _is_plain(other, self.dtype) or other.shape != one.shape:
            return None
        of = one.of.followed_by(other=other)
        if inplace:
            one.of = of
            return one
        one.used = True
        return self._wait(of)

    def _activate(self, one: Any, activation: Activation, *, inplace: bool) -> Tensor | None:
        if not _waits(one):
            return None
        found = self._compute(one.of, activation)
        if inplace:
            self._keep(one, found)
            return cast(Tensor, one)
        one.used = True
        return self._shown(found)

    def _compute(self, of: Convolution, activation: Activation | None = None) -> Tensor:
        """Returns the numbers of a convolution, and of what follows."""
        of.check()
        with torch._C.DisableTorchFunction(), torch.no_grad():
            kernel, hides = self._kernel(of), activation is not None and activation.hides
            bound = kernel.bound(bound_of(of.x, look=hides)) + bound_of(of.other, look=hides)
            if hides and not bound < _LARGEST:
                bound = kernel.bound(magnitude(of.x)) + (0.0 if of.other is None else magnitude(of.other))
            hidden = hides and not bound < _LARGEST  # sums may overflow, and what is not finite has to show
            if of.norm is not None and (hidden or not kernel.gain < _LARGEST):
                found = of.norm.plain(self._compute(of.alone()).float())
                found = found if of.other is None else found.add_(of.other)
                return (found if activation is None else activation.plain(found)).to(self.dtype)
            # Behind a sum oneDNN has no other activation.
            late = activation if hidden or (of.other is not None and activation not in (None, RELU)) else None
            name, numbers = ("none", ()) if activation is None or late else (activation.name, activation.numbers)
            operator = torch.ops.mkldnn._convolution_pointwise
            if of.other is None:
                found = operator(of.x, kernel.kernel, kernel.bias, *of.settings, name, numbers, "")
            else:
                unary = (None, [], None) if name == "none" else (name, numbers, "")
                bias = None if kernel.bias is None else kernel.bias.to(of.x.dtype)  # it takes no other
                found = operator.binary(of.x, of.other, kernel.kernel, bias, *of.settings, "add", 1.0, *unary)
            if late is not None:
                found = late.plain(found)
            elif bound < _LARGEST:
                note_bound(found, bound if activation is None else activation.bound(bound))
            return found

    def _kernel(self, of: Convolution) -> Packed:
        known = self._packed.setdefault(id(of.weight), [])
        for one in known:
            if one.made_of(of):
                return one
        found = packed(of, self.dtype)
        known[:] = [one for one in known if one.current()] + [found]
        self.ran = True
        return found


def _waits(tensor: Any) -> bool:
    return type(tensor) is Deferred and tensor.value is None and isinstance(tensor.of, Convolution)


def _is_plain(x: Any, dtype: torch.dtype = torch.float32) -> bool:
    """Tells whether a tensor holds numbers that oneDNN can read, and a version that tells when they change."""
    usable = type(x) in _PLAIN and x.dtype == dtype and x.device.type == "cpu" and x.layout == torch.strided
    return usable and not x.is_inference() and not torch._C._functorch.is_functorch_wrapped_tensor(x)


def _activation(activation: Activation, *, inplace: bool = False) -> Callable[..., Tensor | None]:
    """Returns the step that a function with nothing to choose is."""

    def step(mode: PackedKernels, x: Any, inplace: bool = inplace) -> Tensor | None:
        return mode._activate(x, activation, inplace=inplace)

    return step


def _clamp(
    mode: PackedKernels, x: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor | None:
    numbers = isinstance(min_val, (int, float)) and isinstance(max_val, (int, float)) and min_val < max_val
    return mode._activate(x, clamp(float(min_val), float(max_val)), inplace=inplace) if numbers else None


_STEPS: dict[Any, Callable[..., Tensor | None]] = {
    F.conv2d: PackedKernels._convolve,
    F.conv3d: PackedKernels._convolve,
    F.batch_norm: PackedKernels._normalise,
    F.pad: PackedKernels._pad,
    torch.add: PackedKernels._add,
    Tensor.add: PackedKernels._add,
    Tensor.add_: PackedKernels._add_,
    F.relu: _activation(RELU),
    torch.relu: _activation(RELU),
    Tensor.relu: _activation(RELU),
    torch.relu_: _activation(RELU, inplace=True),
    Tensor.relu_: _activation(RELU, inplace=True),
    F.relu6: _activation(clamp(0.0, 6.0)),
    F.hardtanh: _clamp,
    F.silu: _activation(SILU),
    F.hardswish: _activation(HARD_SWISH),
}
_LOOKS = {
    Tensor.size,
    Tensor.dim,
    Tensor.numel,
    Tensor.is_floating_point,
    *(
        getattr(Tensor, name).__get__
        for name in ("shape", "ndim", "dtype", "device", "requires_grad", "is_cuda", "is_sparse", "is_quantized")
    ),
}
"""What a tensor tells without its numbers."""
_DOORS = {
    Tensor.data.__get__,  # type: ignore[attr-defined]
    Tensor.data.__set__,  # type: ignore[attr-defined]
    *(getattr(Tensor, name) for name in ("numpy", "__array__", "data_ptr", "untyped_storage", "storage", "set_")),
    Tensor.__dlpack__,
}
"""What gives or takes a tensor's memory, where changes of it bear no version."""
