"""Floor 0: run a network once and keep what the methods need."""

from cfcam.capture.adapter import Adapter
from cfcam.capture.answers.probabilities import probabilities
from cfcam.capture.capture import Capture
from cfcam.capture.detectors.detections import Detections, Found
from cfcam.capture.detectors.detector import Detector
from cfcam.capture.detectors.reading import read_torchvision, read_transformers, read_ultralytics
from cfcam.capture.layers.choosing import choose_layer
from cfcam.capture.layers.finding import find_layer
from cfcam.capture.layers.probing import LayerInfo
from cfcam.capture.layers.tokens import TokenGrid
from cfcam.capture.network import Network, automatic_layer, probe_layers
from cfcam.capture.targets.boxes import Box, MissingBox, TopBoxes
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
    "Box",
    "Capture",
    "ClassTarget",
    "Contrast",
    "Detections",
    "Detector",
    "EachToken",
    "EachWord",
    "Found",
    "ImageScore",
    "ImageTower",
    "LayerInfo",
    "MissingBox",
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
    "TopBoxes",
    "TopK",
    "automatic_layer",
    "choose_layer",
    "find_layer",
    "probabilities",
    "probe_layers",
    "read_torchvision",
    "read_transformers",
    "read_ultralytics",
]
