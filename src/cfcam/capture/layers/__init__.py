"""Which layer is mapped, and where its cells lie on the input."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cfcam._lazy import lazy

if TYPE_CHECKING:
    from cfcam.capture.layers.choosing import choose_layer
    from cfcam.capture.layers.finding import find_layer
    from cfcam.capture.layers.probing import LayerInfo
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
        "cfcam.capture.layers.choosing": "choose_layer",
        "cfcam.capture.layers.finding": "find_layer",
        "cfcam.capture.layers.probing": "LayerInfo",
        "cfcam.capture.layers.tokens": "TokenGrid",
    },
)
