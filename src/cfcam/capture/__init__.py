"""Floor 0: run a network once and keep what the methods need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cfcam._lazy import lazy

if TYPE_CHECKING:
    from cfcam.capture.adapter import Adapter
    from cfcam.capture.answers.probabilities import probabilities
    from cfcam.capture.answers.segmenter import Segmenter
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
    "Segmenter",
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

__getattr__ = lazy(
    __name__,
    {
        "cfcam.capture.adapter": "Adapter",
        "cfcam.capture.answers.probabilities": "probabilities",
        "cfcam.capture.capture": "Capture",
        "cfcam.capture.detectors.detections": "Detections Found",
        "cfcam.capture.detectors.detector": "Detector",
        "cfcam.capture.answers.segmenter": "Segmenter",
        "cfcam.capture.detectors.reading": "read_torchvision read_transformers read_ultralytics",
        "cfcam.capture.layers.choosing": "choose_layer",
        "cfcam.capture.layers.finding": "find_layer",
        "cfcam.capture.layers.probing": "LayerInfo",
        "cfcam.capture.layers.tokens": "TokenGrid",
        "cfcam.capture.network": "Network automatic_layer probe_layers",
        "cfcam.capture.targets.boxes": "Box MissingBox TopBoxes",
        "cfcam.capture.targets.classes": "AllClasses ClassTarget Target TopK",
        "cfcam.capture.targets.dense": "Segmentation",
        "cfcam.capture.targets.numbers": "Contrast PerImage Regression",
        "cfcam.capture.targets.scores": "ImageScore NotPredictedError Scores ScoreTarget",
        "cfcam.capture.targets.similarity": "ImageTower Similarity",
        "cfcam.capture.targets.tokens": "Answer EachToken EachWord TextOutput Token",
    },
)
