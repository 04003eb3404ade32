"""Floor 3: what a map is worth. Pure functions in `cfcam.metrics.functional`, `torchmetrics` classes here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cfcam._lazy import lazy

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
    from cfcam.metrics.parts import PartRemoval
    from cfcam.metrics.robustness import MaxSensitivity, PeakShift, Responsiveness, Stability
    from cfcam.metrics.sanity import EMPRT, MPRT, ClassAgreement, ClassSensitivity
    from cfcam.metrics.scorecard.card import Comparison, Scorecard, Summary, evaluate
    from cfcam.metrics.scorecard.catalogue import METRICS, MetricError, MetricInfo, resolve_metrics
    from cfcam.metrics.scorecard.controls import CONTROLS, BlurredGradCAM, CentredGaussian, ChannelMean, RandomMap
    from cfcam.metrics.scorecard.curves import MeanCurve
    from cfcam.metrics.scorecard.evaluator import Evaluator
    from cfcam.metrics.scorecard.layers import LayerScore, measure_layers, measured_layer
    from cfcam.metrics.scorecard.samples import Part, Row, Sample
    from cfcam.metrics.scorecard.settings import Settings
    from cfcam.metrics.similarity import SSIM, Pearson, SoftIoU, Spearman
    from cfcam.metrics.trust import CScore, Repeatability, Reproducibility

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
    "ClassAgreement",
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
    "Part",
    "PartRemoval",
    "PeakShift",
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
    "Spearman",
    "Stability",
    "Summary",
    "evaluate",
    "measure_layers",
    "measured_layer",
    "resolve_metrics",
]


_named = lazy(
    __name__,
    {
        "cfcam.metrics.base": "MapMetric",
        "cfcam.metrics.faithfulness": (
            "ADCC ARCC AverageDrop AverageGain Coherency Complexity Deletion IncreaseInConfidence Insertion "
            "InsertionMinusDeletion ROAD"
        ),
        "cfcam.metrics.localization": (
            "AUPRC EnergyInGroundTruth Enrichment FalseComponents HitRate IoUOtsu IoUTuned LesionCoverage MaxBoxAccV2"
        ),
        "cfcam.metrics.parts": "PartRemoval",
        "cfcam.metrics.robustness": "MaxSensitivity PeakShift Responsiveness Stability",
        "cfcam.metrics.sanity": "ClassAgreement ClassSensitivity EMPRT MPRT",
        "cfcam.metrics.scorecard.card": "Comparison Scorecard Summary evaluate",
        "cfcam.metrics.scorecard.catalogue": "METRICS MetricError MetricInfo resolve_metrics",
        "cfcam.metrics.scorecard.controls": "BlurredGradCAM CONTROLS CentredGaussian ChannelMean RandomMap",
        "cfcam.metrics.scorecard.curves": "MeanCurve",
        "cfcam.metrics.scorecard.evaluator": "Evaluator Settings",
        "cfcam.metrics.scorecard.layers": "LayerScore measure_layers measured_layer",
        "cfcam.metrics.scorecard.samples": "Part Row Sample",
        "cfcam.metrics.similarity": "Pearson SSIM SoftIoU Spearman",
        "cfcam.metrics.trust": "CScore Repeatability Reproducibility",
    },
)


def __getattr__(name: str) -> Any:
    return import_module("cfcam.metrics.functional") if name == "functional" else _named(name)


def __dir__() -> list[str]:
    return sorted({*__all__, "functional"})
