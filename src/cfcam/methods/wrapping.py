"""What methods made of another method share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from cfcam.capture import Capture
from cfcam.errors import MethodError
from cfcam.methods.base import Method, joined
from cfcam.methods.gradient.grad_cam import GradCAM


@dataclass(frozen=True)
class Wrapper(Method):
    """A method that calls another one on other captures of the same images.

    It is given all targets at once, so that its passes are made once, and parts them itself where gradients need it.

    Args:
        base: the method that is called.
    """

    uses_gradients: ClassVar[bool] = False
    base: Method = field(default_factory=GradCAM)

    def __post_init__(self) -> None:
        if not isinstance(self.base, Method):
            raise MethodError(f"{type(self).__name__}(base={self.base!r}): an instance of a method, like GradCAM()")

    @property
    def needs_gradients(self) -> bool:
        """Whether the wrapped method takes gradients."""
        return self.base.needs_gradients

    @property
    def needs_layer(self) -> bool:
        """Whether the wrapped method maps a layer."""
        return self.base.needs_layer

    def parameters(self) -> dict[str, Any]:
        """Returns the hyper-parameters as plain values, those of the wrapped method among them."""
        plain = {name: list(v) if isinstance(v, tuple) else v for name, v in super().parameters().items()}
        return plain | {"base": self.base.parameters()}

    def base_maps(self, capture: Capture) -> Tensor:
        """Returns the wrapped method's maps (N, K, *layer_spatial), in parts if gradients of all targets are large."""
        return joined([self.base.maps(part) for part in self.parts(capture)])

    def parts(self, capture: Capture) -> Iterable[Capture]:
        """Returns captures of some of the targets each, if the wrapped method takes gradients and these are large."""
        return capture.split() if self.base.takes_parts else [capture]
