"""What is explained: classes, regions, contrasts, similarities; and the scores that they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cfcam._lazy import lazy

if TYPE_CHECKING:
    from cfcam.capture.answers.probabilities import probabilities
    from cfcam.capture.targets.boxes import Box, MissingBox, TopBoxes
    from cfcam.capture.targets.classes import AllClasses, ClassTarget, Target, TopK
    from cfcam.capture.targets.dense import Segmentation
    from cfcam.capture.targets.numbers import Contrast, PerImage, Regression
    from cfcam.capture.targets.scores import ImageScore, NotPredictedError, Scores, ScoreTarget
    from cfcam.capture.targets.similarity import ImageTower, Similarity

__all__ = [
    "AllClasses",
    "Box",
    "ClassTarget",
    "Contrast",
    "ImageScore",
    "ImageTower",
    "MissingBox",
    "NotPredictedError",
    "PerImage",
    "Regression",
    "ScoreTarget",
    "Scores",
    "Segmentation",
    "Similarity",
    "Target",
    "TopBoxes",
    "TopK",
    "probabilities",
]

__getattr__ = lazy(
    __name__,
    {
        "cfcam.capture.answers.probabilities": "probabilities",
        "cfcam.capture.targets.boxes": "Box MissingBox TopBoxes",
        "cfcam.capture.targets.classes": "AllClasses ClassTarget Target TopK",
        "cfcam.capture.targets.dense": "Segmentation",
        "cfcam.capture.targets.numbers": "Contrast PerImage Regression",
        "cfcam.capture.targets.scores": "ImageScore NotPredictedError ScoreTarget Scores",
        "cfcam.capture.targets.similarity": "ImageTower Similarity",
    },
)
