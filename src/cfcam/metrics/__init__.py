"""Floor 3: what a map is worth. Pure functions in `cfcam.metrics.functional`, `torchmetrics` classes here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cfcam.metrics.base import MapMetric
    from cfcam.metrics.catalogue import METRICS, MetricError, MetricInfo, resolve_metrics
    from cfcam.metrics.controls import CONTROLS, BlurredGradCAM, CentredGaussian, ChannelMean, RandomMap
    from cfcam.metrics.curves import MeanCurve
    from cfcam.metrics.evaluator import Evaluator, Settings
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
    from cfcam.metrics.layers import LayerScore, measure_layers, measured_layer
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
    from cfcam.metrics.samples import Row, Sample
    from cfcam.metrics.sanity import EMPRT, MPRT, ClassSensitivity
    from cfcam.metrics.scorecard import Comparison, Scorecard, Summary, evaluate
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
    **dict.fromkeys(("METRICS", "MetricError", "MetricInfo", "resolve_metrics"), "catalogue"),
    **dict.fromkeys(("CONTROLS", "BlurredGradCAM", "CentredGaussian", "ChannelMean", "RandomMap"), "controls"),
    **dict.fromkeys(("Row", "Sample"), "samples"),
    **dict.fromkeys(("Evaluator", "Settings"), "evaluator"),
    **dict.fromkeys(("Comparison", "Scorecard", "Summary", "evaluate"), "scorecard"),
    **dict.fromkeys(("MeanCurve",), "curves"),
    **dict.fromkeys(("LayerScore", "measure_layers", "measured_layer"), "layers"),
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
