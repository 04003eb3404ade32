"""The scorecard: what each method's maps are worth on a data set, and what may be said of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cfcam._lazy import lazy

if TYPE_CHECKING:
    from cfcam.metrics.scorecard.card import Comparison, Scorecard, Summary, evaluate, format_number, scorecard
    from cfcam.metrics.scorecard.catalogue import (
        CATALOGUE,
        GROUPS,
        METRICS,
        QUICK,
        MetricError,
        MetricInfo,
        resolve_metrics,
    )
    from cfcam.metrics.scorecard.controls import CONTROLS
    from cfcam.metrics.scorecard.curves import CURVES, CurveInfo, MeanCurve
    from cfcam.metrics.scorecard.evaluator import Evaluator
    from cfcam.metrics.scorecard.layers import LayerScore, measure_layers, measured_layer
    from cfcam.metrics.scorecard.paper import PaperEvaluator
    from cfcam.metrics.scorecard.samples import Part, Row, Sample
    from cfcam.metrics.scorecard.settings import ExplainedClass, Settings
    from cfcam.metrics.scorecard.statistics import bootstrap_interval, holm, paired_difference
    from cfcam.metrics.scorecard.subject import Subject

__all__ = [
    "CATALOGUE",
    "CONTROLS",
    "CURVES",
    "GROUPS",
    "METRICS",
    "QUICK",
    "Comparison",
    "CurveInfo",
    "Evaluator",
    "ExplainedClass",
    "LayerScore",
    "MeanCurve",
    "MetricError",
    "MetricInfo",
    "PaperEvaluator",
    "Part",
    "Row",
    "Sample",
    "Scorecard",
    "Settings",
    "Subject",
    "Summary",
    "bootstrap_interval",
    "evaluate",
    "format_number",
    "holm",
    "measure_layers",
    "measured_layer",
    "paired_difference",
    "resolve_metrics",
    "scorecard",
]

__getattr__ = lazy(
    __name__,
    {
        "cfcam.metrics.scorecard.card": "Comparison Scorecard Summary evaluate format_number scorecard",
        "cfcam.metrics.scorecard.catalogue": "CATALOGUE GROUPS METRICS MetricError MetricInfo QUICK resolve_metrics",
        "cfcam.metrics.scorecard.controls": "CONTROLS",
        "cfcam.metrics.scorecard.curves": "CURVES CurveInfo MeanCurve",
        "cfcam.metrics.scorecard.evaluator": "Evaluator",
        "cfcam.metrics.scorecard.layers": "LayerScore measure_layers measured_layer",
        "cfcam.metrics.scorecard.paper": "PaperEvaluator",
        "cfcam.metrics.scorecard.samples": "Part Row Sample",
        "cfcam.metrics.scorecard.settings": "ExplainedClass Settings",
        "cfcam.metrics.scorecard.statistics": "bootstrap_interval holm paired_difference",
        "cfcam.metrics.scorecard.subject": "Subject",
    },
)
