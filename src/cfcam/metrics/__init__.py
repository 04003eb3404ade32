"""Floor 3: what a map is worth. Pure functions in `cfcam.metrics.functional`, `torchmetrics` classes here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cfcam.metrics.base import MapMetric
    from cfcam.metrics.faithfulness import (
        ADCC,
        ARCC,
        ROAD,
        AverageDrop,
        AverageGain,
        Coherency,
        Complexity,
        Deletion,
        IncreaseInConfidence,
        Insertion,
        InsertionMinusDeletion,
    )
    from cfcam.metrics.localization import (
        AUPRC,
        EnergyInGroundTruth,
        Enrichment,
        FalseComponents,
        HitRate,
        IoUOtsu,
        IoUTuned,
        LesionCoverage,
        MaxBoxAccV2,
    )
    from cfcam.metrics.robustness import MaxSensitivity, Responsiveness, Stability
    from cfcam.metrics.sanity import EMPRT, MPRT, ClassSensitivity
    from cfcam.metrics.scorecard.card import Comparison, Scorecard, Summary, evaluate
    from cfcam.metrics.scorecard.catalogue import METRICS, MetricError, MetricInfo, resolve_metrics
    from cfcam.metrics.scorecard.controls import CONTROLS, BlurredGradCAM, CentredGaussian, ChannelMean, RandomMap
    from cfcam.metrics.scorecard.curves import MeanCurve
    from cfcam.metrics.scorecard.evaluator import Evaluator, Settings
    from cfcam.metrics.scorecard.layers import LayerScore, measure_layers, measured_layer
    from cfcam.metrics.scorecard.samples import Row, Sample
    from cfcam.metrics.similarity import SSIM, Pearson, SoftIoU
    from cfcam.metrics.trust import CScore, Repeatability, Reproducibility

_LAZY = {
    **dict.fromkeys(
        (
            "AverageDrop",
            "IncreaseInConfidence",
            "AverageGain",
            "Deletion",
            "Insertion",
            "InsertionMinusDeletion",
            "Coherency",
            "Complexity",
            "ADCC",
            "ROAD",
            "ARCC",
        ),
        "faithfulness",
    ),
    **dict.fromkeys(
        (
            "HitRate",
            "EnergyInGroundTruth",
            "Enrichment",
            "IoUOtsu",
            "IoUTuned",
            "AUPRC",
            "LesionCoverage",
            "FalseComponents",
            "MaxBoxAccV2",
        ),
        "localization",
    ),
    **dict.fromkeys(("Stability", "Responsiveness", "MaxSensitivity"), "robustness"),
    **dict.fromkeys(("MPRT", "EMPRT", "ClassSensitivity"), "sanity"),
    **dict.fromkeys(("Repeatability", "Reproducibility", "CScore"), "trust"),
    **dict.fromkeys(("SoftIoU", "Pearson", "SSIM"), "similarity"),
    **dict.fromkeys(("MapMetric",), "base"),
    **dict.fromkeys(("METRICS", "MetricError", "MetricInfo", "resolve_metrics"), "scorecard.catalogue"),
    **dict.fromkeys(
        ("CONTROLS", "BlurredGradCAM", "CentredGaussian", "ChannelMean", "RandomMap"), "scorecard.controls"
    ),
    **dict.fromkeys(("Row", "Sample"), "scorecard.samples"),
    **dict.fromkeys(("Evaluator", "Settings"), "scorecard.evaluator"),
    **dict.fromkeys(("Comparison", "Scorecard", "Summary", "evaluate"), "scorecard.card"),
    **dict.fromkeys(("MeanCurve",), "scorecard.curves"),
    **dict.fromkeys(("LayerScore", "measure_layers", "measured_layer"), "scorecard.layers"),
}

__all__ = [
    "ADCC",
    "ARCC",
    "AUPRC",
    "CONTROLS",
    "EMPRT",
    "METRICS",
    "MPRT",
    "ROAD",
    "SSIM",
    "AverageDrop",
    "AverageGain",
    "BlurredGradCAM",
    "CScore",
    "CentredGaussian",
    "ChannelMean",
    "ClassSensitivity",
    "Coherency",
    "Comparison",
    "Complexity",
    "Deletion",
    "EnergyInGroundTruth",
    "Enrichment",
    "Evaluator",
    "FalseComponents",
    "HitRate",
    "IncreaseInConfidence",
    "Insertion",
    "InsertionMinusDeletion",
    "IoUOtsu",
    "IoUTuned",
    "LayerScore",
    "LesionCoverage",
    "MapMetric",
    "MaxBoxAccV2",
    "MaxSensitivity",
    "MeanCurve",
    "MetricError",
    "MetricInfo",
    "Pearson",
    "RandomMap",
    "Repeatability",
    "Reproducibility",
    "Responsiveness",
    "Row",
    "Sample",
    "Scorecard",
    "Settings",
    "SoftIoU",
    "Stability",
    "Summary",
    "evaluate",
    "measure_layers",
    "measured_layer",
    "resolve_metrics",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    if name == "functional":
        return import_module(f"{__name__}.functional")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, "functional"})
