"""Listening to the functions that a network calls: whether its output is a probability already, and of which scores."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.overrides import TorchFunctionMode

End = Literal["linear", "softmax", "sigmoid"]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ACTIVATIONS: dict[str, tuple[End, bool, str]] = {
    # function -> what it makes, whether of that the logarithm, and its name for people
    "softmax": ("softmax", False, "softmax"),
    "special_softmax": ("softmax", False, "softmax"),
    "_softmax": ("softmax", False, "softmax"),
    "softmin": ("softmax", False, "softmin"),
    "log_softmax": ("softmax", True, "log-softmax"),
    "special_log_softmax": ("softmax", True, "log-softmax"),
    "sigmoid": ("sigmoid", False, "sigmoid"),
    "expit": ("sigmoid", False, "sigmoid"),
    "special_expit": ("sigmoid", False, "sigmoid"),
    "hardsigmoid": ("sigmoid", False, "hard sigmoid"),
    "logsigmoid": ("sigmoid", True, "log-sigmoid"),
    "log_sigmoid": ("sigmoid", True, "log-sigmoid"),
}
_LINEAR = _names(
    "linear bilinear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d matmul mm bmm addmm"
    " baddbmm addbmm einsum mv dot tensordot batch_norm layer_norm group_norm instance_norm"
)
_PRODUCTS = _names("linear matmul mm bmm addmm baddbmm einsum mv dot tensordot")
# What moves numbers about, and what picks the greatest or least of them, does the same to the scores.
_SAME = _names(
    "view view_as reshape reshape_as squeeze unsqueeze flatten ravel unflatten permute transpose movedim moveaxis"
    " swapaxes swapdims t adjoint contiguous clone to float double half bfloat16 type type_as cpu cuda expand expand_as"
    " getitem select slice narrow chunk split split_with_sizes tensor_split unbind index_select gather take_along_dim"
    " flip fliplr flipud roll rot90 repeat repeat_interleave tile unfold as_tensor pixel_shuffle broadcast_to"
    " cat concat concatenate stack hstack vstack dstack column_stack atleast_1d atleast_2d atleast_3d"
    " amax max amin min maximum minimum topk sort max_pool1d max_pool2d max_pool3d"
    " adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d dropout dropout1d dropout2d dropout3d identity"
)
_UNTIED = frozenset(["detach", "data", "requires_grad", "as_subclass"])
_BOUNDED = _names("clamp clip clamp_min clamp_max nan_to_num")
_MIXED = _names(
    "mean nanmean add radd div truediv true_divide divide mul rmul multiply sum nansum median lerp interpolate upsample"
    " avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d prod"
    " masked_fill where index_fill pad"
)
# What leaves of numbers only a decision, which has no gradient and is no score.
_DECIDING = _names(
    "round floor ceil trunc sign sgn heaviside gt ge lt le eq ne greater greater_equal less less_equal not_equal bool"
    " int long logical_not argmax one_hot"
)
_HEARD = frozenset([*_ACTIVATIONS, *_DECIDING, *_LINEAR, *_SAME, *_UNTIED, *_BOUNDED, *_MIXED])
_HEARD |= {"get", "setitem", "sub", "rsub", "neg", "log", "exp"}
_SLIGHT = 1e-3  # an epsilon that keeps a logarithm finite
_DATA = torch.Tensor.data.__get__  # type: ignore[attr-defined]


@dataclass(frozen=True, eq=False)
class Trace:
    """What is known of where a tensor comes from.

    Attributes:
        end: "linear": an affine function, whose numbers are not bounded; else the activation that made it.
        words: the activation's name, as shown to people.
        scores: the numbers before the activation, laid out like the tensor; None: they cannot be reached.
        log: the tensor is the logarithm of the activation.
        bounded: it was clamped afterwards, or an epsilon was added.
        decided: the function that made decisions, 0 or 1, of these numbers; "" of numbers.
    """

    end: End
    words: str = ""
    scores: Tensor | None = None
    log: bool = False
    bounded: bool = False
    decided: str = ""

    @property
    def activated(self) -> bool:
        """Whether an activation has made it."""
        return self.end != "linear"


class Listener(TorchFunctionMode):
    """Follows what a network makes of activations, while it is entered; the network's numbers are as without it.

    Scores before an activation are led through whatever moves the activation's result about (views, slices, casts,
    concatenations), so that they arrive laid out like the output. They keep their graph where the result was detached.

    Args:
        affine: follow the results of affine functions too, which a later pass need not do again.
    """

    def __init__(self, *, affine: bool = True) -> None:
        super().__init__()
        self._affine = affine
        self._known: dict[int, tuple[weakref.ref[Tensor], Trace]] = {}

    def of(self, tensor: Any) -> Trace | None:
        """Returns what is known of a tensor; None: neither affine functions nor activations ended in it."""
        found = self._known.get(id(tensor))
        return found[1] if found is not None and found[0]() is tensor else None

    @contextmanager
    def of_scripts(self, model: nn.Module) -> Iterator[None]:
        """Takes note of what parts compiled by torch.jit return, whose functions are not heard."""
        scripts = {id(m) for m in model.modules() if isinstance(m, torch.jit.ScriptModule)}

        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if isinstance(module, torch.jit.ScriptModule) and id(module) in scripts:
                self._note(output, scripted_end(module))

        # They take no hooks of their own.
        handle = register_module_forward_hook(hook) if scripts else None
        try:
            yield
        finally:
            if handle is not None:
                handle.remove()

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Calls a function of torch's, and notes what becomes of it."""
        kwargs = kwargs or {}
        name = getattr(getattr(func, "overloadpacket", func), "__name__", "")  # exported programs call aten's overloads
        base = name.strip("_")
        changes = name.endswith("_") and not name.startswith("__")
        if not changes and base not in _HEARD:
            return func(*args, **kwargs)
        first = args[0] if args else kwargs.get("input")
        activation = _ACTIVATIONS.get(base)
        scores = None
        if activation is not None and isinstance(first, Tensor):
            scores = first.clone() if changes else first
        old = self.of(first) if changes else None
        result = func(*args, **kwargs)
        if base == "get" and not isinstance(result, Tensor):  # a shape, a type
            return result
        if scores is not None and activation is not None:
            end, log, words = activation
            before = None if words == "hard sigmoid" else -scores if words == "softmin" else scores
            self._note(result, Trace(end, words, before, log))
        elif base in _LINEAR:
            if self._affine:
                self._note(result, Trace("linear") if self._is_affine(base, args, kwargs) else None)
        elif self._known:
            self._follow(base, func, args, kwargs, result, old if changes else None, changes)
        return result

    def _is_affine(self, base: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Tells whether numbers are multiplied that a network has learnt; probabilities among constants stay some."""
        if base not in _PRODUCTS:
            return True
        flat = [
            one for value in (*args, *kwargs.values()) for one in (value if type(value) in (list, tuple) else [value])
        ]
        tensors = [one for one in flat if isinstance(one, Tensor)]
        traces = [self.of(one) for one in tensors]
        rest = [one for one, trace in zip(tensors, traces, strict=True) if trace is None or not trace.activated]
        if len(rest) == len(tensors) or any(trace is not None and not trace.activated for trace in traces):
            return True
        return any(one.requires_grad or isinstance(one, nn.Parameter) for one in rest)

    def _note(self, tensor: Any, trace: Trace | None) -> None:
        if not isinstance(tensor, Tensor):
            return
        key = id(tensor)
        if trace is None or not (tensor.is_floating_point() or trace.decided):
            self._known.pop(key, None)
            return
        known = self._known
        self._known[key] = (weakref.ref(tensor, lambda gone: _forget(known, key, gone)), trace)

    def _follow(
        self,
        base: str,
        func: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        result: Any,
        old: Trace | None,
        changes: bool,
    ) -> None:
        first = args[0] if args else kwargs.get("input")
        given = _Arguments(self, args, kwargs, (first, old) if changes else None)
        if changes and isinstance(first, Tensor):
            self._note(first, None)  # until it is known what it has become
        if base == "setitem":
            put = args[2] if len(args) > 2 else None
            inside = self.of(put if isinstance(put, Tensor) else first)
            self._note(first, None if inside is None or not inside.activated else replace(inside, scores=None))
            return
        if not given.traces:
            return
        trace = given.traces[0]
        if base == "get":
            base, func = ("data", func) if func == _DATA else ("getitem", func)
        apply = getattr(torch.Tensor, base, None) if changes else func
        if base in _UNTIED:
            self._note(result, trace)
        elif base in _SAME and not given.foreign:
            self._note_moved(result, given, apply)
        elif not isinstance(result, Tensor):
            return
        elif base in _DECIDING:
            self._note(result, None if given.foreign else replace(given.joint(), scores=None, decided=base))
        elif base in _BOUNDED or (base in ("add", "radd", "sub") and given.slight):
            self._note(result, replace(trace, bounded=True))
        elif base in ("sub", "rsub") and trace.end == "sigmoid" and not trace.log and given.from_one(base):
            self._note(result, replace(trace, scores=None if trace.scores is None else _quietly(torch.neg, trace)))
        elif base in ("neg", "sub", "rsub") and trace.end == "linear" and not given.foreign:
            self._note(result, trace)
        elif base == "log" and trace.activated and not trace.log:
            self._note(result, replace(trace, log=True))
        elif base == "exp" and trace.log:
            self._note(result, replace(trace, log=False))
        elif base in _MIXED and not trace.log and (not given.foreign or (trace.activated and given.masked(base))):
            joint = given.joint()
            self._note(result, replace(joint, scores=None, decided=joint.decided if base == "where" else ""))

    def _note_moved(self, result: Any, given: _Arguments, apply: Any) -> None:
        trace = given.joint()
        moved: Any = None
        if trace.activated and given.reached and apply is not None:
            try:
                with torch.inference_mode(False), torch.enable_grad():
                    moved = apply(*given.scores[0], **given.scores[1])
            except Exception:  # noqa: BLE001  (the scores are then out of reach, which is said)
                moved = None
        if isinstance(result, Tensor):
            self._note(result, replace(trace, scores=moved if isinstance(moved, Tensor) else None))
        elif isinstance(result, (tuple, list)):
            each = moved if isinstance(moved, (tuple, list)) and len(moved) == len(result) else [None] * len(result)
            for one, its in zip(result, each, strict=True):
                self._note(one, replace(trace, scores=its if isinstance(its, Tensor) else None))


class _Arguments:
    """A function's arguments: which of them are traced, and the same with their scores in their place."""

    def __init__(
        self,
        listener: Listener,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        changed: tuple[Any, Trace | None] | None,
    ) -> None:
        self.traces: list[Trace] = []
        self.others: list[Tensor] = []
        self.args, self.kwargs = args, kwargs

        def put(value: Any) -> Any:
            if isinstance(value, Tensor):
                trace = changed[1] if changed is not None and value is changed[0] else listener.of(value)
                if trace is not None:
                    self.traces.append(trace)
                    return trace.scores
                # An index, or a constant; any other tensor is an input of its own.
                if value.is_floating_point() and (value.numel() > 1 or value.requires_grad):
                    self.others.append(value)
                return value
            if type(value) in (list, tuple):
                return type(value)([put(one) for one in value])
            return value

        self.scores = tuple(put(value) for value in args), {key: put(value) for key, value in kwargs.items()}

    @property
    def reached(self) -> bool:
        """Whether the scores of all that is traced are known."""
        return all(trace.scores is not None for trace in self.traces)

    @property
    def foreign(self) -> bool:
        """Whether there are other inputs."""
        return bool(self.others)

    def masked(self, base: str) -> bool:
        """Whether the other inputs are masks that are multiplied: a probability stays one, or becomes 0."""
        if base not in ("mul", "rmul", "multiply"):
            return False
        return all(not other.requires_grad and bool(((other == 0) | (other == 1)).all()) for other in self.others)

    def joint(self) -> Trace:
        """Returns the trace of what is made of all of them."""
        first = self.traces[0]
        ends = {trace.end for trace in self.traces}
        logs = {trace.log for trace in self.traces}
        if len(logs) > 1 or ("linear" in ends and len(ends) > 1):
            return Trace("linear")
        end: End = first.end if len(ends) == 1 else "sigmoid"
        decided = first.decided if all(trace.decided for trace in self.traces) else ""
        return replace(first, end=end, bounded=any(trace.bounded for trace in self.traces), decided=decided)

    def _other(self) -> Any:
        return self.args[1] if len(self.args) > 1 else self.kwargs.get("other")

    @property
    def slight(self) -> bool:
        """Whether next to nothing is added."""
        other = self._other()
        return isinstance(other, (int, float)) and 0 < abs(other) <= _SLIGHT

    def from_one(self, base: str) -> bool:
        """Whether the traced tensor is subtracted from 1."""
        whole = self._other() if base == "rsub" else self.args[0]
        if isinstance(whole, Tensor):
            return len(self.traces) == 1 and bool((whole == 1).all())
        return isinstance(whole, (int, float)) and whole == 1


def _quietly(function: Callable[[Tensor], Tensor], trace: Trace) -> Tensor:
    assert trace.scores is not None  # noqa: S101  (asked for by the caller)
    with torch.inference_mode(False), torch.enable_grad():
        return function(trace.scores)


def _forget(known: dict[int, Any], key: int, gone: Any) -> None:
    if key in known and known[key][0] is gone:
        del known[key]


_SCRIPTED_VIEWS = _names(
    "view reshape squeeze unsqueeze flatten unflatten permute transpose contiguous to select slice"
)


def scripted_end(module: torch.jit.ScriptModule) -> Trace | None:
    """Returns what made the tensor that a module compiled by torch.jit returns, behind views; None: not known."""
    try:
        (made,) = module.inlined_graph.outputs()
    except (RuntimeError, ValueError, AttributeError):  # several outputs, or no graph
        return None
    for _ in range(16):
        name = made.node().kind().removeprefix("aten::")
        if name in _ACTIVATIONS:
            end, log, words = _ACTIVATIONS[name]
            return Trace(end, words, log=log)
        if name in _LINEAR:
            return Trace("linear")
        if name not in _SCRIPTED_VIEWS:
            return None
        made = next(iter(made.node().inputs()))
    return None


_RECORDED: dict[str, End] = {"Sigmoid": "sigmoid", "Softmax": "softmax", "LogSoftmax": "softmax"}
_VIEWS = _names("View UnsafeView Reshape Squeeze Unsqueeze Permute Transpose T Expand Select Slice Clone ToCopy Alias")


def recorded_end(tensor: Tensor) -> Trace | None:
    """Returns what autograd knows of a tensor's last function, behind views; None: no activation."""
    node: Any = tensor.grad_fn
    for _ in range(16):
        if node is None:
            return None
        name = node.name().removesuffix("Backward0").rstrip("0123456789")
        if name in _RECORDED:
            words = {"LogSoftmax": "log-softmax"}.get(name, name.lower())
            return Trace(_RECORDED[name], words, log=name == "LogSoftmax")
        if name not in _VIEWS or not node.next_functions:
            return None
        node = node.next_functions[0][0]
    return None
