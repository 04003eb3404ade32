"""What every method is: a frozen dataclass that turns a Capture into raw maps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict
from typing import Any, ClassVar

import torch
from torch import Tensor

from cfcam.capture import Capture


class Method(ABC):
    """A class activation method. Its fields are its hyper-parameters; calling it is its whole behaviour.

    Subclass it as a frozen dataclass with a ``name`` (and a ``cost``, if it needs more passes). An instance can be
    given wherever a name can.
    """

    name: ClassVar[str]
    cost: ClassVar[str] = "1 + backward"
    """Passes of the network for one image, as shown to people."""
    uses_gradients: ClassVar[bool] = True
    """Whether it may be given the targets in parts, because gradients of many take much memory."""

    @abstractmethod
    def __call__(self, capture: Capture) -> Tensor:
        """Returns the raw, unnormalised maps (N, K, *layer_spatial) of the capture's N images and K targets."""

    @property
    def label(self) -> str:
        """The key of the method's maps in an explanation."""
        return self.name

    def parameters(self) -> dict[str, Any]:
        """Returns the hyper-parameters as plain values, for provenance."""
        return {"method": type(self).__name__, **asdict(self)}  # type: ignore[call-overload]


def weighted_sum(weights: Tensor, activations: Tensor) -> Tensor:
    """Returns ``sum_k w_k A_k`` (N, K, *spatial) for weights (N, K, C) and activations (N, C, *spatial)."""
    maps = torch.bmm(weights, activations.flatten(2))
    return maps.unflatten(2, activations.shape[2:])


def spatial_mean(tensor: Tensor, axes_before: int) -> Tensor:
    """Returns the mean over all axes behind the first ``axes_before``."""
    return tensor.flatten(axes_before).mean(-1)
