"""What every method is: a frozen dataclass that turns a Capture into raw maps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from cfcam.capture import Capture
from cfcam.errors import LayerError, MethodError, TargetError


class Method(ABC):
    """A class activation method. Its fields are its hyper-parameters; calling it is its whole behaviour.

    Subclass it as a frozen dataclass with a ``name`` (and a ``cost``, if it needs more passes). An instance can be
    given wherever a name can.
    """

    name: ClassVar[str]
    cost: ClassVar[str] = "1 + backward"
    """Passes of the network for one image, as shown to people."""
    uses_gradients: ClassVar[bool] = True
    """Whether it is given the targets in parts, because gradients of many take much memory."""

    parts_targets: ClassVar[bool] = False
    """Whether one that uses gradients is given all targets at once nevertheless, and parts them itself: its own passes
    are then made once."""

    selective: ClassVar[bool] = False
    """Whether it applies to some networks only and raises `MethodError` for the others, which a run then finds out
    before it reads its inputs."""

    pools: ClassVar[bool] = False
    """Whether it pools activations and gradients, and uses nothing else: frames of a clip are then pooled one by one,
    because a network may look at some of them only."""

    @abstractmethod
    def __call__(self, capture: Capture) -> Tensor:
        """Returns the raw, unnormalised maps (N, K, *layer_spatial) of the capture's N images and K targets."""

    def maps(self, capture: Capture) -> Tensor:
        """Returns what calling the method gives, once it is known to be maps of this capture.

        Raises:
            MethodError: the method returned something else than floating-point maps (N, K, *spatial), or needs pictures
                as they are, and the network gets them in parts.
        """
        tiled = not getattr(capture.network.model, "whole", True)
        try:
            apart = self.pools and capture.framed
            found = capture.frames_together(self(capture.frames_apart())) if apart else self(capture)
        except (ValueError, RuntimeError) as error:
            own = isinstance(error, (MethodError, LayerError, TargetError, torch.OutOfMemoryError))
            if own or not tiled:
                raise
            raise self._needs_whole() from error
        if tiled and isinstance(found, Tensor) and found.ndim > capture.activations.ndim:
            raise self._needs_whole()
        return _checked(found, type(self).__name__, capture)

    def _needs_whole(self) -> MethodError:
        return MethodError(
            f"{self.label} needs the picture as it is, and this network gets it in tiles: take a method of gradients"
            " and activations alone, such as grad-cam, hires-cam, cf-cam"
        )

    def check(self) -> None:
        """Raises `MethodError` for a class that lacks what a method needs: a name, and fields for provenance."""
        name = type(self).__name__
        if not is_dataclass(type(self)):
            raise MethodError(f"{name} is no dataclass: put @dataclass(frozen=True) before it, for its provenance")
        if not isinstance(getattr(self, "name", None), str):
            raise MethodError(f"{name} has no name: give it one, name: ClassVar[str] = {name.lower()!r}")

    @property
    def needs_gradients(self) -> bool:
        """Whether it takes gradients, of whatever; if not, it explains quantised networks, too."""
        return self.uses_gradients

    @property
    def needs_layer(self) -> bool:
        """Whether it maps the output of a layer; if not, it explains networks without a layer that has places, too."""
        return True

    @property
    def takes_parts(self) -> bool:
        """Whether it is given the targets in parts, see `uses_gradients`."""
        return self.uses_gradients and not self.parts_targets

    @property
    def label(self) -> str:
        """The key of the method's maps in an explanation."""
        return self.name

    def parameters(self) -> dict[str, Any]:
        """Returns the hyper-parameters as plain values, for provenance."""
        return {"method": type(self).__name__, **asdict(self)}  # type: ignore[call-overload]


def _checked(maps: Any, name: str, capture: Capture) -> Tensor:
    n, k = capture.scores.shape
    axes = capture.activations.ndim - 2
    due = f"maps ({n}, {k}, {', '.join('DHW'[-axes:])}) of {n} images and {k} targets are due"
    if not isinstance(maps, Tensor):
        raise MethodError(f"{name} returned a {type(maps).__name__}, and no tensor: {due}")
    if maps.ndim != axes + 2 or maps.shape[:2] != (n, k) or maps.numel() == 0:
        raise MethodError(f"{name} returned shape {tuple(maps.shape)}: {due}")
    if not maps.is_floating_point():
        raise MethodError(f"{name} returned {maps.dtype}, and no floating-point numbers: {due}")
    return maps.detach().to(capture.input.device)


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Returns maps (N, K, *spatial) of all targets from those of some each."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=1)


def weighted_sum(weights: Tensor, activations: Tensor) -> Tensor:
    """Returns ``sum_k w_k A_k`` (N, K, *spatial) for weights (N, K, C) and activations (N, C, *spatial)."""
    maps = torch.bmm(weights, activations.flatten(2))
    return maps.unflatten(2, activations.shape[2:])


def spatial_mean(tensor: Tensor, axes_before: int) -> Tensor:
    """Returns the mean over all axes behind the first ``axes_before``."""
    return places(tensor, axes_before).mean(-1)


def places(tensor: Tensor, axes_before: int = 3) -> Tensor:
    """Returns a tensor with one axis S in place of those behind the first ``axes_before``: its places.

    S is 1 for what is expanded along them, as the gradients of many targets behind pooling are: the same number at all
    places is worked with once.
    """
    flat = tensor.flatten(axes_before)
    return flat[..., :1] if flat.stride(-1) == 0 else flat


def sum_of_products(gradients: Tensor, activations: Tensor) -> Tensor:
    """Returns ``sum_k g_k A_k`` (N, K, *spatial), place by place.

    Args:
        gradients: (N, K, C, S) or (N, K, C, 1), see `places`.
        activations: (N, C, *spatial).
    """
    if gradients.shape[3] == 1:
        return weighted_sum(gradients[..., 0], activations)
    return (gradients * activations.flatten(2)[:, None]).sum(2).unflatten(2, activations.shape[2:])


Methods = str | Method | Iterable[str | Method] | Mapping[str, str | Method]
