"""Token layers: how an output (N, T, C) or (N, *grid, C) is seen as maps (N, C, *grid).

Which axis holds the channels, and which grid T tokens come from, is read off what the network did in one pass: the
axis that its convolutions, linear layers and norms work on, and the grid that its patch embedding left. Where these
facts allow several readings, none is taken.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.modules.pooling import _AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd, _AvgPoolNd, _MaxPoolNd

from cfcam.capture.answers.outputs import find_tensor
from cfcam.capture.inputs import check_seen
from cfcam.capture.layers.patches import Patches
from cfcam.capture.layers.placement import Placement
from cfcam.capture.state.guarantee import observable, unheard
from cfcam.errors import LayerError

MAX_PREFIX = 16
"""More tokens than this before the patches (class, distillation, registers) are not taken for a prefix."""

_BEHIND = ("detection_tokens", "det_token")
"""Learned tokens of these names stand behind the patches: YOLOS, arXiv 2106.00666, section 3.1."""

_QUERIES = re.compile(r"(^|[._])quer(y|ies)")
"""Learned tokens of these names ask for objects (DETR, arXiv 2005.12872, section 3.2), and are no places."""

_POOLING = (_AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd, _AvgPoolNd, _MaxPoolNd)
_CHANNELS_FIRST = (_ConvNd, _BatchNorm, _InstanceNorm, nn.GroupNorm, *_POOLING)


@dataclass(frozen=True)
class TokenGrid:
    """How a layer's output is seen as maps (N, C, *grid).

    Attributes:
        grid: spatial extent of the maps.
        prefix: tokens before those of the grid, which belong to no place: class, distillation and register tokens.
        channels: axis of the channels in the layer's output: 1 (first) or -1 (last).
        suffix: tokens behind those of the grid, which belong to no place either: detection tokens.
    """

    grid: tuple[int, ...]
    prefix: int = 0
    channels: int = 1
    suffix: int = 0

    def is_view(self, ndim: int) -> bool:
        """Whether maps are a view of an output with so many axes that has its channels first."""
        return self.channels == 1 and ndim == len(self.grid) + 2

    def maps(self, output: Tensor) -> Tensor:
        """Returns the maps (N, C, *grid) in an output like the layer's; a view where the output's layout allows it."""
        if self.channels == 1 and output.ndim == len(self.grid) + 2 and not (self.prefix or self.suffix):
            return output
        return self._tokens(output).narrow(2, self.prefix, math.prod(self.grid)).unflatten(2, self.grid)

    def replaced(self, output: Tensor, maps: Tensor, images: Tensor) -> Tensor:
        """Returns M outputs like the layer's with other maps in them; the tokens around the grid are their image's.

        Args:
            output: (N, ...) of the layer.
            maps: (M, C, *grid).
            images: (M,) int64, the image of each.
        """
        tokens = maps.flatten(2)
        if self.prefix or self.suffix:
            own = self._tokens(output)[images]
            end = own.shape[2] - self.suffix
            tokens = torch.cat([own[:, :, : self.prefix], tokens, own[:, :, end:]], dim=2)
        return tokens.unflatten(2, output.movedim(self.channels, 1).shape[2:]).movedim(1, self.channels).contiguous()

    def _tokens(self, output: Tensor) -> Tensor:
        return output.movedim(self.channels, 1).flatten(2)

    def __str__(self) -> str:
        extra = f" behind {self.prefix} other tokens" if self.prefix else ""
        extra += f", {self.suffix} more behind it" if self.suffix else ""
        return " x ".join(map(str, self.grid)) + extra + (", channels last" if self.channels == -1 else "")


@dataclass
class Evidence:
    """What the modules of a network did with a batch that tells grids and layouts, in the order in which they ran.

    Attributes:
        input_shape: (N, C, *spatial) of the batch.
        grids: output grids of convolutions, each once.
        axes: shape of an output -> axes that modules with this output had their channels on.
        first_tokens: number of tokens (N, T, C) at the first module that worked on tokens.
        prefixes: how many tokens were before those of a convolution's grid; merging patches leaves them.
        ordered: the most tokens that lie in the order of the grid; None: any number does.
        behind: how many tokens the network puts behind those of the grid.
        queries: learned tokens (Q, C) that ask for objects, whose rows are no places.
        joined: how many of them the network has put before its other tokens (EoMT, arXiv 2503.19108, section 3.2).
        patches: how the network's convolutions cut the input into patches.
        x: gives the batch itself, to find it again where the network pads it; None: not known.
    """

    input_shape: tuple[int, ...]
    grids: dict[tuple[int, ...], None] = field(default_factory=dict)
    axes: dict[tuple[int, ...], set[int]] = field(default_factory=dict)
    first_tokens: int | None = None
    prefixes: dict[int, None] = field(default_factory=lambda: {0: None})
    ordered: int | None = None
    behind: int = 0
    queries: list[Tensor] = field(default_factory=list)
    joined: int = 0
    x: Callable[[], Tensor] | None = None
    patches: Patches = field(init=False)

    def __post_init__(self) -> None:
        self.patches = Patches(self.input_shape[2:])

    def observe(self, module: nn.Module, args: Any, output: Any) -> None:
        """Takes note of one module's output; fit to be a forward hook.

        Raises:
            InputError: a convolution shows that the input lacks its batch axis, or has its channels last.
        """
        with unheard():
            if args:
                check_seen(module, args[0], self.input_shape, self.x)
            self.note(module, args, output)

    def note(self, module: nn.Module, args: Any, output: Any) -> None:
        """Takes note of one module's output."""
        tensor = find_tensor(output)
        if tensor is None or tensor.ndim < 3:
            return
        shape = tuple(tensor.shape)
        schedule = getattr(module, "schedule", None)
        if schedule and "unroll" in type(module).__name__.lower():
            # Hiera keeps its tokens in the order in which it will pool them; only behind the last pooling is it a grid.
            self.ordered = shape[1] // math.prod(math.prod(stride) for stride in schedule)
        if shape[0] == self.input_shape[0]:
            self.patches.observe(module, args, output, self.x)
        axis = channel_axis(module, shape)
        if axis is None:
            return
        self.axes.setdefault(shape, set()).add(axis)
        alike = len(shape) == len(self.input_shape) and shape[0] == self.input_shape[0]
        if alike and _is_convolution(module, shape):
            self.grids.setdefault(shape[2:])
        if axis == -1 and len(shape) == 3 and shape[0] == self.input_shape[0]:
            self.joined = self.joined or self._joined(args)
            self.first_tokens = self.first_tokens or shape[1]
            self.prefixes.update((prefix, None) for _, prefix in self._direct(shape[1]))

    @contextmanager
    def collected(self, model: nn.Module) -> Iterator[None]:
        """Observes the modules of a model that tell something, while its body runs."""
        telling = [
            m
            for m in observable(model)
            if m._parameters or isinstance(m, _POOLING) or hasattr(m, "out_features") or hasattr(m, "schedule")
        ]
        self.expect(model)
        handles = [module.register_forward_hook(self.observe) for module in telling]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def expect(self, model: nn.Module) -> None:
        """Takes note of what the model's parameters tell."""
        self.behind = sum(p.shape[1] for n, p in model.named_parameters() if n.endswith(_BEHIND) and p.ndim == 3)
        tables = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Embedding)}
        asking = [(n, p) for n, p in model.named_parameters() if _QUERIES.search(n)]
        self.queries = [p if n in tables else p[0] for n, p in asking if n in tables or (p.ndim == 3 and len(p) == 1)]

    def _joined(self, args: Any) -> int:
        """Returns how many tokens that a module was given begin with are the network's queries."""
        given = args[0] if args else None
        if not isinstance(given, Tensor) or given.ndim != 3:
            return 0
        own = (q for q in self.queries if len(q) < given.shape[1] and q.shape[1] == given.shape[2])
        return next((len(q) for q in own if torch.equal(given[0, : len(q)], q.to(given))), 0)

    def placement(self, grid: TokenGrid) -> Placement | None:
        """Returns where the cells of a layer's maps lie on the input; None: they share it evenly."""
        return self.patches.placement(grid.grid, self.first_tokens)

    def readings(self, shape: Sequence[int]) -> list[TokenGrid]:
        """Returns the ways in which an output of this shape carries maps: none, one, or several that cannot be told.

        Args:
            shape: of an output that a module has just returned.
        """
        shape, spatial = tuple(shape), self.input_shape[2:]
        if len(shape) < 3 or shape[0] != self.input_shape[0]:
            return []
        axes = self.axes.get(shape, set())
        if len(shape) == len(self.input_shape) and len(spatial) > 1:
            return self._grid_readings(shape, axes)
        if len(shape) != 3:
            return []
        found: list[TokenGrid] = []
        if 1 in axes or not axes:
            flat = [replace(reading, channels=1) for reading in self._token_readings(shape[2])]
            found += flat if len(spatial) > 1 else [TokenGrid(shape[2:])] if fitting(shape[2:], spatial) else []
        if -1 in axes or (not axes and not found):
            found += self._token_readings(shape[1])
        return found

    def _grid_readings(self, shape: tuple[int, ...], axes: set[int]) -> list[TokenGrid]:
        first, last = TokenGrid(shape[2:]), TokenGrid(shape[1:-1], channels=-1)
        possible = [r for r in (first, last) if math.prod(r.grid) > 1]
        if axes:
            return [r for r in possible if r.channels in axes]
        if not any(-1 in seen and len(s) == len(shape) for s, seen in self.axes.items()):
            return [r for r in possible if r is first]  # nothing in this network has its channels last
        halved = {g for grid in self.grids for g in _halvings(grid)}
        return [r for r in possible if r.grid in halved] or [r for r in possible if r is first]

    def _direct(self, count: int) -> set[tuple[tuple[int, ...], int]]:
        """Returns grids of convolutions, and how many of ``count`` tokens come before their positions."""
        if any(count == len(q) for q in self.queries):
            return set()
        rest = {g: count - math.prod(g) - self.behind for g in self.grids if fitting(g, self.input_shape[2:])}
        return {
            (g, p)
            for g, p in rest.items()
            if any(0 <= p - joined <= min(MAX_PREFIX, math.prod(g) - 1) for joined in {0, self.joined})
        }

    def fits(self, reading: TokenGrid) -> bool:
        """Tells whether maps can be maps of the input: more than one position, and no axis finer than the input's."""
        return fitting(reading.grid, self.input_shape[2:])

    def _token_readings(self, count: int) -> list[TokenGrid]:
        """Returns the grids of which ``count`` tokens may be the positions, channels last."""
        if (self.ordered is not None and count > self.ordered) or any(count == len(q) for q in self.queries):
            return []
        spatial = self.input_shape[2:]
        found = self._direct(count)
        # No convolution left this grid: a merging of patches halved one, or a linear layer embedded equal patches.
        seen = [g for g in self.grids if fitting(g, spatial)]
        possible = {h for g in seen for h in _halvings(g)} if seen else set(_patchings(spatial))
        for prefix in (*self.prefixes, count - (self.first_tokens or count) - self.behind):
            if not found and 0 <= prefix <= MAX_PREFIX:
                around = prefix + self.behind
                found = {(g, prefix) for g in possible if math.prod(g) + around == count and fitting(g, spatial)}
        return [TokenGrid(grid, prefix, -1, self.behind) for grid, prefix in sorted(found)]


def channel_axis(module: nn.Module, shape: Sequence[int]) -> int | None:
    """Returns the axis, 1 or -1, on which a module with an output of this shape has its channels; None: unknown.

    Modules that are of no type of torch's (somebody's own norm, an exported program's) are judged by their weights.
    """
    if isinstance(module, _CHANNELS_FIRST) or _is_convolution(module, shape):
        return 1
    if type(module) in (nn.Linear, nn.LayerNorm, nn.RMSNorm):
        return -1
    width = _width(module)
    fitting = [axis for axis in (1, -1) if shape[axis] == width]
    return fitting[0] if len(fitting) == 1 else None


def is_norm(module: nn.Module) -> bool:
    """Tells whether a module is a normalisation layer."""
    if isinstance(module, (_BatchNorm, _InstanceNorm, nn.GroupNorm)) or hasattr(module, "normalized_shape"):
        return True
    weight = module._parameters.get("weight")
    return weight is not None and weight.ndim == 1 and weight.numel() > 1


def _is_convolution(module: nn.Module, shape: Sequence[int]) -> bool:
    if isinstance(module, _ConvNd):
        return True
    weight = module._parameters.get("weight")
    return weight is not None and weight.ndim == len(shape) > 2 and weight.shape[0] == shape[1]


def _width(module: nn.Module) -> int | None:
    """Returns the number of channels that a linear layer or a norm gives out; None for other modules."""
    if isinstance(width := getattr(module, "out_features", None), int):
        return width
    shape = getattr(module, "normalized_shape", None)
    if isinstance(shape, (tuple, list)) and len(shape) == 1:
        return int(shape[0])
    weight = module._parameters.get("weight")
    return None if weight is None or weight.ndim > 2 or weight.numel() == 1 else weight.shape[0]


def one_reading(
    readings: Sequence[TokenGrid], layer: str, shape: Sequence[int], input_shape: Sequence[int]
) -> TokenGrid:
    """Returns the only way to see a layer's output as maps.

    Raises:
        LayerError: there is none, or there are several; they are listed.
    """
    what = f"layer {layer!r} returns {tuple(shape)} for an input of {tuple(input_shape)}"
    if not readings and len(shape) > 2 and shape[0] != input_shape[0]:
        raise LayerError(
            f"{what}, {shape[0]} rows for {input_shape[0]} images: which row is of which image, or of which of its"
            " frames, cannot be told; name another layer (all: cfcam layers)"
        )
    if not readings:
        raise LayerError(f"{what}, which has no spatial extent to map: name another layer (all: cfcam layers)")
    if len(readings) > 1:
        raise LayerError(
            f"{what}, which can be read as {'; or as '.join(map(str, readings))}: name another layer, or put a module"
            " behind it that returns (N, C, *grid), and name that"
        )
    return readings[0]


def fitting(grid: Sequence[int], spatial: Sequence[int]) -> bool:
    """Tells whether a grid can be one of an input: more than one position, and no axis finer than the input's."""
    return (
        len(grid) == len(spatial)
        and math.prod(grid) > 1
        and all(0 < g <= max(s, 2) for g, s in zip(grid, spatial, strict=True))
    )


def _halvings(grid: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yields a grid, and what is left of it by halving all axes again and again, odd ones rounded up or down."""
    yield grid
    up = down = grid
    while max(up) > 1:
        up, down = tuple((g + 1) // 2 for g in up), tuple(max(g // 2, 1) for g in down)
        yield up
        yield down


def _patchings(spatial: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yields the grids into which patches with equal sides part an input without a rest."""
    for side in range(1, min(spatial) + 1):
        if all(size % side == 0 for size in spatial):
            yield tuple(size // side for size in spatial)
