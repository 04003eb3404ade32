"""Floor 0: run a network once and keep what the methods need."""

from cfcam.capture.adapter import Adapter
from cfcam.capture.capture import Capture, Network, automatic_layer, probe_layers
from cfcam.capture.layers import LayerInfo, choose_layer, find_layer
from cfcam.capture.targets import AllClasses, ClassTarget, Scores, Target, TopK, probabilities
from cfcam.capture.tokens import TokenGrid

__all__ = [
    "Adapter",
    "AllClasses",
    "Capture",
    "ClassTarget",
    "LayerInfo",
    "Network",
    "Scores",
    "Target",
    "TokenGrid",
    "TopK",
    "automatic_layer",
    "choose_layer",
    "find_layer",
    "probabilities",
    "probe_layers",
]
