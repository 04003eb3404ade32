"""The demo world: chest phantoms with exact ground truth, and two small networks trained on them."""

from typing import TYPE_CHECKING

from cfcam._lazy import lazy
from cfcam.models.demo.phantoms import DEVICES, FINDINGS, Phantom, make_phantom, sample_phantom

if TYPE_CHECKING:
    from cfcam.models.demo.captioner import load_demo_captioner
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
    "load_demo_captioner",
    "load_demo_network",
    "make_phantom",
    "sample_phantom",
    "write_examples",
]


__getattr__ = lazy(
    __name__,
    {
        "cfcam.models.demo.captioner": "load_demo_captioner",
        "cfcam.models.demo.examples": "EXAMPLES write_examples",
        "cfcam.models.demo.network": "CLASSES DemoNet demo_card load_demo_network",
    },
)
