"""Which layer: finding one by name, and choosing one by looking at what the network does with the user's input."""

from __future__ import annotations

import difflib
import math
import re
import weakref
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from cfcam.capture.answers.outputs import find_tensor, replace_tensor
from cfcam.capture.half_precision import gradients, takes_part
from cfcam.capture.layers.calls import call_names, split_call
from cfcam.capture.layers.frames import ClipEvidence, FrameGrid
from cfcam.capture.layers.tokens import TokenGrid, is_norm, one_reading
from cfcam.capture.state.guarantee import observable, unheard
from cfcam.errors import LayerError

_ATTENTION = re.compile(r"(attn|attention)[^.]*$", re.IGNORECASE)


@dataclass(frozen=True)
class LayerInfo:
    """What one module did in a probing pass.

    Attributes:
        name: dotted path, as in ``model.get_submodule(name)``.
        kind: class name of the module.
        shape: shape of its output (of the first call), batch first; None if it returned no tensor.
        calls: how often it ran in one pass.
        plain: whether the output is a bare tensor, not one inside a tuple or mapping.
        has_parameters: whether the module itself (not its children) owns parameters.
        same_as: name of the first module that returned this very tensor (a container returns its last child's).
        reducing: whether the tensor comes out of a pooling or flattening module.
        readings: the ways to see the output as maps: none, one, or several that cannot be told apart.
        step: whether the module is one step inside a block (linear layer, activation, dropout), no block and no norm.
        reaches: whether the predicted class's logit depends on the output at most places; None: not tried.
        head: of a segmentation network, whether the output is the class scores, on whatever grid; None: not judged.
        looped: whether it runs once for each frame of a clip, which give one map together.
    """

    name: str
    kind: str
    shape: tuple[int, ...] | None
    calls: int
    plain: bool
    has_parameters: bool
    same_as: str
    reducing: bool
    readings: tuple[TokenGrid, ...] = ()
    step: bool = False
    reaches: bool | None = None
    head: bool | None = None
    looped: bool = False

    @property
    def grid(self) -> tuple[int, ...] | None:
        """Spatial extent of the maps in the output; None if it has none, or several are possible."""
        return self.readings[0].grid if len(self.readings) == 1 else None

    @property
    def tokens(self) -> bool:
        """Whether maps of the output are no view of it with the channels first: (N, T, C), (N, C, T), (N, *grid, C)."""
        return any(not r.is_view(len(self.shape or ())) for r in self.readings)

    @property
    def framed(self) -> bool:
        """Whether its maps are those of the frames of a clip, one by one."""
        return any(isinstance(r, FrameGrid) for r in self.readings)

    def spatial(self, input_shape: Sequence[int]) -> tuple[int, ...] | None:
        """Returns `grid` if the network was probed with one input of this shape (N, C, *spatial)."""
        fits = self.framed or (self.grid is not None and len(self.grid) == len(input_shape) - 2)
        return self.grid if fits else None


@dataclass
class _Recorder:
    """Collects `LayerInfo` in the order in which modules finish; tensors are held weakly, never kept alive."""

    names: dict[nn.Module, str]
    evidence: ClipEvidence
    order: list[LayerInfo] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    last: tuple[Callable[[], Tensor | None], int, str, bool] | None = None

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        self.evidence.observe(module, args, output)
        with unheard():
            self._record(module, output)

    def _record(self, module: nn.Module, output: Any) -> None:
        name = self.names[module]
        self.counts[name] = self.counts.get(name, 0) + 1
        if self.counts[name] > 1:
            return
        tensor = find_tensor(output)
        source, reducing = name, _is_reducing(module)
        if tensor is not None:
            # An in-place module returns its input's tensor object in a new version: that is a new value.
            # Those of a part under inference mode have no versions.
            version = 0 if tensor.is_inference() else tensor._version
            if self.last and self.last[0]() is tensor and self.last[1] == version:
                source, reducing = self.last[2], self.last[3]
            self.last = (weakref.ref(tensor), version, source, reducing)
        leading = isinstance(output, (tuple, list)) and len(output) > 0 and output[0] is tensor
        self.order.append(
            LayerInfo(
                name=name,
                kind=type(module).__name__,
                shape=None if tensor is None else tuple(tensor.shape),
                calls=1,
                plain=isinstance(output, Tensor),
                has_parameters=any(p is not None for p in module._parameters.values()),
                same_as=source,
                reducing=reducing,
                readings=tuple(filter(self.evidence.fits, self.evidence.readings(tensor.shape)))
                if tensor is not None and (leading or isinstance(output, Tensor))
                else (),
                step=not is_norm(module) and next(module.children(), None) is None,
            )
        )


def _is_reducing(module: nn.Module) -> bool:
    kind = type(module).__name__.lower()
    return ("pool" in kind and "former" not in kind) or isinstance(module, (nn.Flatten, nn.Unflatten))


def probe(model: nn.Module, input_shape: Sequence[int], run: Callable[[], Any]) -> list[LayerInfo]:
    """Runs the network once and returns what each module did, in the order in which they finished.

    Args:
        model: the network; the hooks set on its modules are removed before this returns or raises.
        input_shape: (N, C, *spatial) of the sample.
        run: runs the network on a sample of the user's own input, without a graph.
    """
    names = {module: name for module, name in observable(model).items() if name}
    recorder = _Recorder(names, ClipEvidence(tuple(input_shape)))
    handles = [module.register_forward_hook(recorder) for module in recorder.names]
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    layers = [replace(info, calls=recorder.counts[info.name]) for info in recorder.order]
    return [_looped(info, recorder.evidence) for info in layers]


def _looped(info: LayerInfo, evidence: ClipEvidence) -> LayerInfo:
    """Returns what a layer did, as one map of a clip if it ran frame by frame."""
    if info.readings or info.shape is None or not info.plain:
        return info
    found = tuple(filter(evidence.fits, evidence.looped(info.shape, info.calls)))
    return replace(info, readings=found, looped=True) if found else info


def with_reach(model: nn.Module, layers: Sequence[LayerInfo], run: Callable[[], Tensor]) -> list[LayerInfo]:
    """Runs the network once more, with a graph, and returns the layers with `LayerInfo.reaches`.

    Behind the last attention only the class token may count: then the patch tokens have no gradient, and no map.

    Args:
        model: the network.
        layers: from `probe`; those that could be chosen are tried.
        run: runs the network on the same sample and returns its logits (1, ...).
    """
    tried = {i.name: i for i in candidates(layers)}
    kept: dict[str, Tensor] = {}

    def keep(name: str, output: Any) -> Any:
        tensor = find_tensor(output)
        if tensor is None or not tensor.is_floating_point():
            return output
        torch.set_grad_enabled(True)  # also inside a no_grad block of the model's own
        if not tensor.requires_grad:
            tensor = tensor.detach().requires_grad_()
        # What follows gets a copy: an in-place operation must not change what is kept.
        kept[name] = tensor
        return replace_tensor(output, tensor.clone())

    handles = [
        model.get_submodule(name).register_forward_hook(lambda _, __, output, name=name: keep(name, output))
        for name in tried
    ]
    try:
        logits = run()
    finally:
        for handle in handles:
            handle.remove()
    found: Sequence[Tensor | None] = [None] * len(kept)
    if logits.requires_grad:
        with torch.enable_grad():
            score = logits.float().amax(1).sum()[None]
            one = [torch.zeros(len(t), dtype=torch.int64, device=t.device) for t in kept.values()]
            half = takes_part(logits, *kept.values())
            found = gradients(score, list(kept.values()), one, half=half, allow_unused=True)
    reach = {n: _most_places(tried[n], g) for n, g in zip(kept, found, strict=True)}
    return [replace(i, reaches=reach.get(i.name)) for i in layers]


def _most_places(info: LayerInfo, gradient: Tensor | None) -> bool:
    if gradient is None:
        return False
    reading = info.readings[0]
    if info.looped and isinstance(reading, FrameGrid):
        reading = reading.frame  # what was kept is the last call's
    moved = (reading.maps(gradient) != 0).any(1)
    return bool(moved.float().mean() >= 0.5)


def candidates(layers: Sequence[LayerInfo]) -> list[LayerInfo]:
    """Returns the layers among which one is chosen: those with one way to see their output as maps."""
    return [i for i in _usable(layers) if len(i.readings) == 1]


def _usable(layers: Sequence[LayerInfo]) -> list[LayerInfo]:
    """Returns the eligible layers; those of single frames only where none has places along all axes of the input."""
    eligible = _eligible(layers)
    return [i for i in eligible if not i.framed] or eligible


def _eligible(layers: Sequence[LayerInfo]) -> list[LayerInfo]:
    # What a block of tokens or an attention does inside (its maps, positions) may look like a grid, and is none.
    cores = _attentions(layers)
    blocks = cores | {i.name for i in layers if _is_flat(i)}
    return [
        i
        for i in layers
        if (i.calls == 1 or i.looped)
        and i.readings
        and not i.reducing
        and not i.head
        and (
            not i.step and not _within(i.name, cores)
            if i.tokens
            else i.plain and not _within(i.name, blocks if len(i.readings[0].grid) > 1 else cores)
        )
    ]


def _attentions(layers: Sequence[LayerInfo]) -> set[str]:
    """Returns the names of the innermost modules that are called attention."""
    named = {i.name for i in layers if _ATTENTION.search(i.name)}
    return {name for name in named if not any(other.startswith(f"{name}.") for other in named)}


def _is_flat(info: LayerInfo) -> bool:
    """Tells whether an output has the shape of tokens (N, T, C)."""
    return info.shape is not None and len(info.shape) == 3 and info.shape[1] > 1


def _unread(layers: Sequence[LayerInfo], start: int, images: int) -> LayerInfo | None:
    """Returns the last block or norm, from a place on, that works on tokens (1, T, C) of which no grid is known."""
    inside = _attentions(layers)
    prefix = max((reading.prefix for i in layers for reading in i.readings), default=0)
    for i in reversed(layers[start:]):
        if not _is_flat(i) or i.readings or i.step or not i.plain or i.reducing or _within(i.name, inside):
            continue
        batch, tokens, width = i.shape or ()
        if batch == images and tokens > max(prefix, 1) and width > 1:  # class and other tokens alone have no place
            return i
    return None


def _within(name: str, containers: Container[str]) -> bool:
    parts = name.split(".")
    return any(".".join(parts[:depth]) in containers for depth in range(1, len(parts)))


def choose_layer(
    layers: Sequence[LayerInfo], input_shape: Sequence[int], output_shape: Sequence[int] | None
) -> LayerInfo:
    """Chooses the last layer that has a place for each part of the input, before the pooling that feeds the classifier.

    Among modules that return the same tensor the outermost is named (``layer4``, not ``layer4.2.relu``), because
    inner ones are often called several times in a pass. A layer at whose places the predicted class does not depend is
    passed over: behind the last attention of a vision transformer only its class token may count.

    Args:
        layers: from `probe` and `with_reach`.
        input_shape: (N, C, *spatial) of the probed input.
        output_shape: shape of the network's output; a layer that returns a tensor of this shape is its head.

    Raises:
        LayerError: no layer fits, or the network goes on to tokens that are no grid, or could be several; lists
            candidates.
    """
    eligible = [i for i in _usable(layers) if i.head is False or i.shape != tuple(output_shape or ())]
    fitting = [i for i in eligible if len(i.readings) == 1 and i.reaches is not False]
    if not fitting:
        raise LayerError(_why_none(layers, eligible, input_shape))
    chosen = _last(fitting, layers, input_shape)
    start = next(n for n, i in enumerate(layers) if i.name == chosen.same_as) + 1
    if unclear := next((i for i in reversed(layers[start:]) if i in eligible and len(i.readings) > 1), None):
        one_reading(unclear.readings, unclear.name, unclear.shape or (), input_shape)
    if len(input_shape) > 3 and (unread := _unread(layers, start, input_shape[0])):
        raise LayerError(
            f"this network works on tokens {unread.shape} at {unread.name!r}, which are no grid, behind"
            f" {chosen.name!r}, its last layer with one, whose map might mislead: name one with layer=... Layers:"
            f" {_listing(layers)}"
        )
    return chosen


def _last(fitting: Sequence[LayerInfo], layers: Sequence[LayerInfo], input_shape: Sequence[int]) -> LayerInfo:
    """Returns the last of the fitting layers, by its outermost name."""
    # A block that ends on a coarser grid has branches of the finer one inside; what they started from is before it.
    final = math.prod(fitting[-1].grid or ())
    coarser = {
        i.name
        for i in layers
        if i.plain and i.kind != "Sequential" and i.shape is not None and len(i.shape) == len(input_shape)
        if math.prod(i.grid or i.shape[2:]) < final
    }
    level = [i for i in fitting if i.grid == fitting[-1].grid]
    source = ([i for i in level if not _within(i.name, coarser)] or level)[-1].same_as
    same = [i for i in fitting if i.same_as == source]
    return next((i for i in reversed(same) if not i.step), same[0])  # an Identity behind it says nothing


def _why_none(layers: Sequence[LayerInfo], eligible: Sequence[LayerInfo], input_shape: Sequence[int]) -> str:
    if all(i.shape is None for i in layers):
        return (
            "no module of this network was seen at work (a traced or exported graph?): give the Python module, or"
            " torch.export.unflatten(program)"
        )
    repeated = [i for i in layers if i.calls > 1 and i.plain and not i.reducing and len(i.shape or ()) > 3]
    if repeated and not eligible:
        last = [i for i in repeated if i.same_as == repeated[-1].same_as][-1]
        return (
            f"every layer with places runs several times in one pass (two pictures, and one trunk?): name one call with"
            f" layer=..., {call_names(last.name, last.calls)}. Layers: {_listing(layers)}"
        )
    shapes = [i.shape for i in layers if i.plain and i.shape is not None and len(i.shape) == len(input_shape)]
    folded = [shape for shape in shapes if shape[0] > input_shape[0]]
    if any(len(i.readings) == 1 for i in eligible):
        why = (
            "the predicted class's logit depends on no layer's output at most places (a classifier of zeros, or a"
            " network without gradients)"
        )
    elif folded and not eligible:
        return (
            f"layers work on {folded[-1][0]} pictures for {input_shape[0]} image (flips, crops or tiles of it?),"
            " and which is which cannot be told: give the network without these, or one picture at a time through"
            f" cfcam.capture.Adapter. Layers: {_listing(layers)}"
        )
    else:
        why = (
            f"no layer's output has a spatial extent for an input of shape {tuple(input_shape)}: the network flattens"
            " it first, or works on tokens (N, T, C) that are no grid"
        )
    return f"{why}; name one with layer=... Layers: {_listing(layers)}"


def _listing(layers: Sequence[LayerInfo], most: int = 6) -> str:
    shown = [f"{i.name} {i.shape}" for i in layers if i.shape is not None][-most:]
    return ", ".join(shown) or "none ran"


def find_layer(model: nn.Module, layer: Any) -> tuple[str, nn.Module]:
    """Returns a layer's canonical dotted name, with the call that was asked for, and its module.

    Args:
        model: the network.
        layer: a module of it, or a name; ``layer4[-1]`` is understood as well as ``layer4.2``. Of a layer that runs
            several times, ``trunk#1`` is its second call; of a module, ``(model.trunk, 1)``.

    Raises:
        LayerError: the network has no such layer, and the nearest names are offered; or this is no name and no module.
    """
    if layer is model:
        raise LayerError(f"layer is the whole {type(model).__name__}: name a layer inside of it (all: cfcam layers)")
    if isinstance(layer, nn.Module):
        for name, module in model.named_modules():
            if module is layer:
                return name, module
        raise LayerError(f"the given {type(layer).__name__} is not a module of this {type(model).__name__}")
    if isinstance(layer, tuple) and len(layer) == 2 and type(layer[1]) is int and layer[1] >= 0:
        name, module = find_layer(model, layer[0])
        return f"{name}#{layer[1]}", module
    if not isinstance(layer, str):
        several = (
            " (several are fused by cfcam.methods.Fusion(layers=(...)))" if isinstance(layer, (list, tuple)) else ""
        )
        raise LayerError(f"layer is a {type(layer).__name__}: give one dotted name, or one module{several}")
    module = model
    path: list[str] = []
    name, call = split_call(layer)
    for part in re.findall(r"[^.\[\]]+", name):
        children = dict(module.named_children())
        key = part
        if re.fullmatch(r"-\d+", part) and int(part) >= -len(children):
            key = list(children)[int(part)]
        if key not in children:
            raise LayerError(_unknown(model, name))
        module = children[key]
        path.append(key)
    if not path:
        raise LayerError(_unknown(model, name))
    if isinstance(module, torch.jit.ScriptModule):
        raise LayerError(
            f"layer {name!r} is compiled by torch.jit and cannot be observed: name the Python module around it, or"
            " give the network from before it was scripted"
        )
    return ".".join(path) + ("" if call is None else f"#{call}"), module


def _unknown(model: nn.Module, layer: str) -> str:
    names = [name for name, _ in model.named_modules() if name]
    near = difflib.get_close_matches(layer, names, n=4, cutoff=0.4) or names[-4:]
    return f"{type(model).__name__} has no layer {layer!r}; nearest: {', '.join(near)} (all: cfcam layers)"
