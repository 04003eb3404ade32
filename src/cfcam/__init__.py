"""cfcam: what did a PyTorch vision model look at? Class activation maps you can trust.

``import cfcam`` is cheap: torch is imported when the first name that needs it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cfcam._lazy import lazy
from cfcam._version import __version__
from cfcam.errors import CfcamError
from cfcam.methods import list_methods

if TYPE_CHECKING:
    from cfcam.capture import (
        AllClasses,
        Answer,
        Box,
        ClassTarget,
        Contrast,
        Detections,
        Detector,
        EachToken,
        EachWord,
        ImageTower,
        MissingBox,
        PerImage,
        Regression,
        Segmentation,
        Segmenter,
        Similarity,
        Target,
        Token,
        TopBoxes,
        TopK,
    )
    from cfcam.diagnosis.findings import Diagnosis
    from cfcam.diagnosis.run import diagnose
    from cfcam.explainer import Explainer, explain
    from cfcam.explanation import Explanation
    from cfcam.jobs.engine.texts import TextExplanation, explain_text
    from cfcam.jobs.store.read import MapStore, open_store
    from cfcam.maps import Status
    from cfcam.metrics.scorecard.card import Scorecard, evaluate

_ROOMS = {
    "capture": "cfcam.capture",
    "imaging": "cfcam.imaging",
    "integrations": "cfcam.integrations",
    "jobs": "cfcam.jobs",
    "methods": "cfcam.methods",
    "metrics": "cfcam.metrics",
    "models": "cfcam.models",
}  # named in full, so that a test sees an import that goes round in a circle

__all__ = [
    "AllClasses",
    "Answer",
    "Box",
    "CfcamError",
    "ClassTarget",
    "Contrast",
    "Detections",
    "Detector",
    "Diagnosis",
    "EachToken",
    "EachWord",
    "Explainer",
    "Explanation",
    "ImageTower",
    "MapStore",
    "MissingBox",
    "PerImage",
    "Regression",
    "Scorecard",
    "Segmentation",
    "Segmenter",
    "Similarity",
    "Status",
    "Target",
    "TextExplanation",
    "Token",
    "TopBoxes",
    "TopK",
    "__version__",
    "diagnose",
    "evaluate",
    "explain",
    "explain_text",
    "list_methods",
    "open_store",
]


_named = lazy(
    __name__,
    {
        "cfcam.capture": (
            "AllClasses Answer Box ClassTarget Contrast Detections Detector EachToken EachWord ImageTower MissingBox"
            " PerImage Regression Segmentation Segmenter Similarity Target Token TopBoxes TopK"
        ),
        "cfcam.diagnosis.findings": "Diagnosis",
        "cfcam.diagnosis.run": "diagnose",
        "cfcam.explainer": "Explainer explain",
        "cfcam.explanation": "Explanation",
        "cfcam.jobs.engine.texts": "TextExplanation explain_text",
        "cfcam.jobs.store.read": "MapStore open_store",
        "cfcam.maps": "Status",
        "cfcam.metrics.scorecard.card": "Scorecard evaluate",
    },
)


def __getattr__(name: str) -> Any:
    return import_module(_ROOMS[name]) if name in _ROOMS else _named(name)


def __dir__() -> list[str]:
    return sorted({*__all__, *_ROOMS})
