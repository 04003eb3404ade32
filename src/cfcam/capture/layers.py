"""Which layer: finding one by name, and choosing one by looking at what the network does with the user's input."""

from __future__ import annotations

import difflib
import math
import re
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from cfcam.capture.outputs import find_tensor
from cfcam.errors import LayerError


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
    """

    name: str
    kind: str
    shape: tuple[int, ...] | None
    calls: int
    plain: bool
    has_parameters: bool
    same_as: str
    reducing: bool

    def spatial(self, input_shape: Sequence[int]) -> tuple[int, ...] | None:
        """Returns the spatial extent if the output can carry a map of an input (N, C, *spatial), else None.

        It can if it is (N, C', *spatial') with more than one position and no axis finer than the input's.
        """
        if self.shape is None or len(self.shape) != len(input_shape) or self.shape[0] != input_shape[0]:
            return None
        extent = self.shape[2:]
        fits = all(0 < s <= max(size, 2) for s, size in zip(extent, input_shape[2:], strict=True))
        return extent if fits and math.prod(extent) > 1 else None


@dataclass
class _Recorder:
    """Collects `LayerInfo` in the order in which modules finish; tensors are held weakly, never kept alive."""

    names: dict[nn.Module, str]
    order: list[LayerInfo] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    last: tuple[Callable[[], Tensor | None], int, str, bool] | None = None

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        name = self.names[module]
        self.counts[name] = self.counts.get(name, 0) + 1
        if self.counts[name] > 1:
            return
        tensor = find_tensor(output)
        source, reducing = name, _is_reducing(module)
        if tensor is not None:
            # An in-place module returns its input's tensor object in a new version: that is a new value.
            if self.last and self.last[0]() is tensor and self.last[1] == tensor._version:
                source, reducing = self.last[2], self.last[3]
            self.last = (weakref.ref(tensor), tensor._version, source, reducing)
        own = next(module.parameters(recurse=False), None) is not None
        shape = None if tensor is None else tuple(tensor.shape)
        plain = isinstance(output, Tensor)
        self.order.append(LayerInfo(name, type(module).__name__, shape, 1, plain, own, source, reducing))


def _is_reducing(module: nn.Module) -> bool:
    kind = type(module).__name__.lower()
    return ("pool" in kind and "former" not in kind) or isinstance(module, (nn.Flatten, nn.Unflatten))


def probe(model: nn.Module, run: Callable[[], Any]) -> list[LayerInfo]:
    """Runs the network once and returns what each module did, in the order in which they finished.

    Args:
        model: the network; the hooks set on its modules are removed before this returns or raises.
        run: runs the network on a sample of the user's own input, without a graph.
    """
    recorder = _Recorder({module: name for name, module in model.named_modules() if name})
    handles = [module.register_forward_hook(recorder) for module in recorder.names]
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    return [
        LayerInfo(i.name, i.kind, i.shape, recorder.counts[i.name], i.plain, i.has_parameters, i.same_as, i.reducing)
        for i in recorder.order
    ]


def choose_layer(
    layers: Sequence[LayerInfo], input_shape: Sequence[int], output_shape: Sequence[int] | None
) -> LayerInfo:
    """Chooses the last layer that has a spatial extent, before the pooling that feeds the classifier.

    Among modules that return the same tensor the outermost is named (``layer4``, not ``layer4.2.relu``), because
    inner ones are often called several times in a pass.

    Args:
        layers: from `probe`.
        input_shape: (N, C, *spatial) of the probed input.
        output_shape: shape of the network's output; a layer that returns a tensor of this shape is its head.

    Raises:
        LayerError: no layer fits, or most of the network works on tokens after the last one; lists candidates.
    """
    # What a block of tokens does inside (attention maps, position biases) may look like a grid, and is none.
    tokens = {i.name for i in layers if i.shape is not None and len(i.shape) == 3 < len(input_shape) and i.shape[1] > 1}
    fitting = [
        i
        for i in layers
        if i.calls == 1
        and i.plain
        and not i.reducing
        and i.spatial(input_shape)
        and i.shape != tuple(output_shape or ())
        and not any(i.name.startswith(f"{name}.") for name in tokens)
    ]
    if not fitting:
        raise LayerError(
            f"no layer's output has a spatial extent for an input of shape {tuple(input_shape)}: the network flattens"
            f" it first, or works on tokens (N, T, C); name one with layer=... Layers: {_listing(layers)}"
        )
    source = fitting[-1].same_as
    chosen = [i for i in fitting if i.same_as == source][-1]
    after = list(layers)[next(n for n, i in enumerate(layers) if i.name == source) + 1 :]
    weighted = [i for i in layers if i.has_parameters]
    if any(i.name in tokens for i in after) and 2 * sum(i.has_parameters for i in after) > len(weighted):
        raise LayerError(
            f"most of this network works on tokens (N, T, C) behind {chosen.name!r}, its last layer with a spatial"
            f" grid: a map of that layer would mislead, so name one with layer=... Layers: {_listing(layers)}"
        )
    return chosen


def _listing(layers: Sequence[LayerInfo], most: int = 6) -> str:
    shown = [f"{i.name} {i.shape}" for i in layers if i.shape is not None][-most:]
    return ", ".join(shown) or "none ran"


def find_layer(model: nn.Module, layer: str | nn.Module) -> tuple[str, nn.Module]:
    """Returns a layer's canonical dotted name and its module.

    Args:
        model: the network.
        layer: a module of it, or a name; ``layer4[-1]`` is understood as well as ``layer4.2``.

    Raises:
        LayerError: the network has no such layer; the nearest names are offered.
    """
    if isinstance(layer, nn.Module):
        for name, module in model.named_modules():
            if module is layer:
                return name, module
        raise LayerError(f"the given {type(layer).__name__} is not a module of this {type(model).__name__}")
    module = model
    path: list[str] = []
    for part in re.findall(r"[^.\[\]]+", layer):
        children = dict(module.named_children())
        key = part
        if re.fullmatch(r"-\d+", part) and int(part) >= -len(children):
            key = list(children)[int(part)]
        if key not in children:
            raise LayerError(_unknown(model, layer))
        module = children[key]
        path.append(key)
    if not path:
        raise LayerError(_unknown(model, layer))
    return ".".join(path), module


def _unknown(model: nn.Module, layer: str) -> str:
    names = [name for name, _ in model.named_modules() if name]
    near = difflib.get_close_matches(layer, names, n=4, cutoff=0.4) or names[-4:]
    return f"{type(model).__name__} has no layer {layer!r}; nearest: {', '.join(near)} (all: cfcam layers)"
