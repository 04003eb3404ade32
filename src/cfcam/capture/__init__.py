"""Floor 0: run a network once and keep what the methods need."""

from cfcam.capture.adapter import Adapter
from cfcam.capture.capture import Capture
from cfcam.capture.dense_targets import Segmentation
from cfcam.capture.layers import LayerInfo, choose_layer, find_layer
from cfcam.capture.network import Network, automatic_layer, probe_layers
from cfcam.capture.score_targets import Contrast, PerImage, Regression
from cfcam.capture.scores import ImageScore, NotPredictedError, Scores, ScoreTarget, probabilities
from cfcam.capture.similarity import ImageTower, Similarity
from cfcam.capture.targets import AllClasses, ClassTarget, Target, TopK
from cfcam.capture.tokens import TokenGrid

__all__ = [
    "Adapter",
    "AllClasses",
    "Capture",
    "ClassTarget",
    "Contrast",
    "ImageScore",
    "ImageTower",
    "LayerInfo",
    "Network",
    "NotPredictedError",
    "PerImage",
    "Regression",
    "ScoreTarget",
    "Scores",
    "Segmentation",
    "Similarity",
    "Target",
    "TokenGrid",
    "TopK",
    "automatic_layer",
    "choose_layer",
    "find_layer",
    "probabilities",
    "probe_layers",
]
