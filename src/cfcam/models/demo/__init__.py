"""The demo world: chest phantoms with exact ground truth, and two small networks trained on them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cfcam.models.demo.phantoms import DEVICES, FINDINGS, Phantom, make_phantom, sample_phantom

if TYPE_CHECKING:
    from cfcam.models.demo.examples import EXAMPLES, write_examples
    from cfcam.models.demo.network import CLASSES, DemoNet, demo_card, load_demo_network

__all__ = [
    "CLASSES",
    "DEVICES",
    "EXAMPLES",
    "FINDINGS",
    "DemoNet",
    "Phantom",
    "demo_card",
    "load_demo_network",
    "make_phantom",
    "sample_phantom",
    "write_examples",
]


_LATER = {
    "CLASSES": "network",
    "DemoNet": "network",
    "demo_card": "network",
    "load_demo_network": "network",
    "EXAMPLES": "examples",
    "write_examples": "examples",
}


def __getattr__(name: str) -> Any:
    """Import what needs torch or Pillow when it is first asked for."""
    if name in _LATER:
        return getattr(import_module(f"cfcam.models.demo.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
