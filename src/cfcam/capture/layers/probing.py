"""What each layer did in one pass of the user's own input."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from cfcam.capture.answers.outputs import find_tensor
from cfcam.capture.layers.frames import ClipEvidence, FrameGrid
from cfcam.capture.layers.tokens import TokenGrid, is_norm
from cfcam.capture.state.guarantee import observable, unheard


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
    recorder.evidence.expect(model)
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
