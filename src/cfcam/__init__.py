"""cfcam: what did a PyTorch vision model look at? Class activation maps you can trust.

``import cfcam`` is cheap: torch is imported when the first name that needs it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cfcam._version import __version__
from cfcam.errors import CfcamError
from cfcam.methods import list_methods

if TYPE_CHECKING:
    from cfcam.capture import (
        AllClasses,
        ClassTarget,
        Contrast,
        ImageTower,
        PerImage,
        Regression,
        Segmentation,
        Similarity,
        Target,
        TopK,
    )
    from cfcam.diagnosis.diagnose import Diagnosis, diagnose
    from cfcam.explainer import Explainer, explain
    from cfcam.explanation import Explanation, Status
    from cfcam.metrics.scorecard.card import Scorecard, evaluate

_LAZY = {
    "explain": "explainer",
    "Explainer": "explainer",
    "evaluate": "metrics.scorecard.card",
    "Scorecard": "metrics.scorecard.card",
    "Explanation": "explanation",
    "Status": "explanation",
    "Diagnosis": "diagnosis.diagnose",
    "diagnose": "diagnosis.diagnose",
    "Target": "capture",
    "ClassTarget": "capture",
    "TopK": "capture",
    "AllClasses": "capture",
    "Contrast": "capture",
    "ImageTower": "capture",
    "PerImage": "capture",
    "Regression": "capture",
    "Segmentation": "capture",
    "Similarity": "capture",
}
_ROOMS = ("capture", "imaging", "jobs", "methods", "metrics", "models")

__all__ = [
    "AllClasses",
    "CfcamError",
    "ClassTarget",
    "Contrast",
    "Diagnosis",
    "Explainer",
    "Explanation",
    "ImageTower",
    "PerImage",
    "Regression",
    "Scorecard",
    "Segmentation",
    "Similarity",
    "Status",
    "Target",
    "TopK",
    "__version__",
    "diagnose",
    "evaluate",
    "explain",
    "list_methods",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"cfcam.{_LAZY[name]}"), name)
    if name in _ROOMS:
        return import_module(f"cfcam.{name}")
    raise AttributeError(f"module 'cfcam' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_ROOMS})
