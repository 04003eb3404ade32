"""Which layer is mapped, and where its cells lie on the input."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cfcam._lazy import lazy

if TYPE_CHECKING:
    from cfcam.capture.layers.choosing import LayerInfo, choose_layer, find_layer
    from cfcam.capture.layers.tokens import TokenGrid

__all__ = [
    "LayerInfo",
    "TokenGrid",
    "choose_layer",
    "find_layer",
]

__getattr__ = lazy(
    __name__,
    {
        "cfcam.capture.layers.choosing": "LayerInfo choose_layer find_layer",
        "cfcam.capture.layers.tokens": "TokenGrid",
    },
)
