"""Maps of several layers in one: Fusion, and RefineCAM."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from cfcam.capture import Capture, probe_layers
from cfcam.capture.layers.calls import split_call
from cfcam.capture.layers.choosing import candidates
from cfcam.capture.layers.placement import Placement, upsampled
from cfcam.errors import MethodError, few
from cfcam.methods.base import Method
from cfcam.methods.gradient.grad_cam import GradCAM, GradCAMPlusPlus
from cfcam.methods.numbers import check_layers, check_whole_numbers
from cfcam.methods.wrapping import Wrapper


@dataclass(frozen=True)
class Fusion(Wrapper):
    """One method at several layers, fused by the mean, the maximum or the product.

    The positive part of each map is divided by its maximum and interpolated to the finest of the layers' grids. A map
    without positive evidence is 0: it empties a product.

    Args:
        base: the method.
        layers: names of the layers; empty: the target layer and the last layers of the finer grids before it, see
            `grid_layers`.
        mode: "mean", "max" or "product".
        grids: how many layers are taken if ``layers`` is empty; a note says where the network has fewer.

    Source: the maximum, Jiang et al. 2021, "LayerCAM"; the product, arXiv 2605.14641.
    """

    name: ClassVar[str] = "fusion"
    cost: ClassVar[str] = "2 + backward"
    base: Method = field(default_factory=GradCAM)
    layers: tuple[str, ...] = ()
    mode: Literal["mean", "max", "product"] = "mean"
    grids: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode not in ("mean", "max", "product"):
            raise MethodError(f"{type(self).__name__}(mode={self.mode!r}): 'mean', 'max' or 'product'")
        check_whole_numbers(self, "grids")
        check_layers(self)

    @property
    def needs_layer(self) -> bool:
        """It fuses layers."""
        return True

    def __call__(self, capture: Capture) -> Tensor:
        """Returns maps (N, K, *finest_layer_spatial) in [0, 1]."""
        layers = self.layers or grid_layers(capture, self.grids)
        if not self.layers and len(layers) < self.grids:
            line = f"{self.label}: of {self.grids} grids the network has {len(layers)}, at {few(layers, 5)}"
            said: dict[str, list[int]] = capture.memo("notes", dict)
            said[line] = list(range(len(capture.input)))
        parts = [self._fused(part, layers) for part in self.parts(capture)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def _fused(self, capture: Capture, layers: tuple[str, ...]) -> Tensor:
        captures = [capture] if layers == (capture.layer,) else capture.at(layers)
        maps = [self.base_maps(one) for one in captures]
        return fused(maps, self.mode, [one.placement(m.shape[2:]) for one, m in zip(captures, maps, strict=True)])


@dataclass(frozen=True)
class RefineCAM(Fusion):
    """RefineCAM: Grad-CAM++ at the last layers of several grids, multiplied: where all of them see the class.

    The deep map says where the class is, the shallow ones give it their resolution.

    Args:
        base, layers, mode, grids: see `Fusion`.

    Source: Domeniconi et al. 2026, "How to Evaluate and Refine your CAM", arXiv 2605.14641.
    """

    name: ClassVar[str] = "refine-cam"
    base: Method = field(default_factory=GradCAMPlusPlus)
    mode: Literal["mean", "max", "product"] = "product"


def fused(
    maps: Iterable[Tensor],
    mode: Literal["mean", "max", "product"],
    placements: Sequence[Placement | None] | None = None,
) -> Tensor:
    """Returns maps (N, K, *finest_spatial) in [0, 1]: the scaled positive parts of maps (N, K, *spatial), fused.

    Args:
        maps: of one batch at several layers.
        mode: how they are fused.
        placements: where the cells of each lie on the input; None: they share it evenly. The fused map's cells lie
            where those of the map with the finest grid do.
    """
    stack = on_finest([unit_peak(m) for m in maps], placements)
    if mode == "product":
        return stack.prod(0)
    return stack.mean(0) if mode == "mean" else stack.amax(0)


def on_finest(maps: Sequence[Tensor], placements: Sequence[Placement | None] | None = None) -> Tensor:
    """Returns maps (N, K, *spatial) of one batch at L layers on the finest of their grids, (L, N, K, *finest_spatial).

    Args:
        maps: one a layer.
        placements: see `fused`.
    """
    size = [max(sizes) for sizes in zip(*[m.shape[2:] for m in maps], strict=True)]
    placed = list(placements) if placements else [None] * len(maps)
    known = next((p for p in placed if p is not None), None)
    if known is None:
        return torch.stack([upsampled(m, size) for m in maps])
    own = [p or Placement(known.input_size, (None,) * len(size)) for p in placed]
    finest = next((p for p, m in zip(placed, maps, strict=True) if list(m.shape[2:]) == size), None)
    return torch.stack([p.to(m, finest, size) for p, m in zip(own, maps, strict=True)])


def unit_peak(maps: Tensor) -> Tensor:
    """Returns the positive part of each map, divided by its maximum; what is not finite stays so."""
    positive = maps.relu()
    peak = positive.flatten(2).amax(2).reshape(*positive.shape[:2], *[1] * (positive.ndim - 2))
    return torch.where(peak == 0, 0, positive / peak)


def grid_layers(capture: Capture, count: int) -> tuple[str, ...]:
    """Returns names of up to ``count`` layers: the last one of each of the finer grids before the target, then it.

    For a torchvision ResNet at layer4 and 4 grids these are layer1 to layer4. Found by one pass of the first image,
    once per capture.
    """

    def found() -> tuple[str, ...]:
        infos, _ = probe_layers(capture.network, capture.given, want=capture.want)
        grids = {info.name: info.grid for info in infos}
        usable = {i.name for i in candidates(infos) if i.reaches is not False and "pad" not in i.kind.lower()}
        ends: dict[tuple[int, ...], str] = {}
        for name in itertools.takewhile(lambda name: name != split_call(capture.layer)[0], grids):
            grid = grids[name]
            if grid is None or name not in usable:
                continue
            # A block that coarsens the grid still has the finer one inside, behind the end of the stage before it.
            blocks = [b for b in _containers(name) if grids.get(b) not in (None, grid)]
            if all(ends.get(grid, name).startswith(f"{block}.") for block in blocks):
                ends[grid] = name
        own = math.prod(capture.activations.shape[2:])
        finer = sorted((grid for grid in ends if math.prod(grid) > own), key=math.prod)[: count - 1]
        return (*(ends[grid] for grid in reversed(finer)), capture.layer)

    return capture.memo(("grid layers", count), found)


def _containers(name: str) -> list[str]:
    """Returns the names of the modules around a module."""
    parts = name.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]
