"""Floor 0: run a network once and keep what the methods need."""

from cfcam.capture.adapter import Adapter
from cfcam.capture.answers.probabilities import probabilities
from cfcam.capture.capture import Capture
from cfcam.capture.layers.choosing import choose_layer
from cfcam.capture.layers.finding import find_layer
from cfcam.capture.layers.probing import LayerInfo
from cfcam.capture.layers.tokens import TokenGrid
from cfcam.capture.network import Network, automatic_layer, probe_layers
from cfcam.capture.targets.classes import AllClasses, ClassTarget, Target, TopK
from cfcam.capture.targets.dense import Segmentation
from cfcam.capture.targets.numbers import Contrast, PerImage, Regression
from cfcam.capture.targets.scores import ImageScore, NotPredictedError, Scores, ScoreTarget
from cfcam.capture.targets.similarity import ImageTower, Similarity
from cfcam.capture.targets.tokens import Answer, EachToken, EachWord, TextOutput, Token

__all__ = [
    "Adapter",
    "AllClasses",
    "Answer",
    "Capture",
    "ClassTarget",
    "Contrast",
    "EachToken",
    "EachWord",
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
    "TextOutput",
    "Token",
    "TokenGrid",
    "TopK",
    "automatic_layer",
    "choose_layer",
    "find_layer",
    "probabilities",
    "probe_layers",
]
