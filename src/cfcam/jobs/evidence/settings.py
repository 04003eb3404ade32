"""What an evidence pack measures, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cfcam.clinical.checks.results import Limits
from cfcam.imaging import Preprocess
from cfcam.jobs.evidence.protocol import Rules
from cfcam.metrics.scorecard.catalogue import METRICS, resolve_metrics
from cfcam.metrics.scorecard.settings import ExplainedClass

PRIMARY = ("enrichment", "hit-rate", "insertion-deletion-blur", "adcc")
"""Measures by which a method is held against the controls: the first that has a number."""

SANITY = ("mprt", "mprt-passed", "class-sensitivity")


def default_metrics() -> tuple[str, ...]:
    """Returns the quick metrics without the cost, which differs from run to run, and those of the sanity checks."""
    quick = [name for name in resolve_metrics("quick") if METRICS[name].group != "cost"]
    return resolve_metrics([*quick, *SANITY])


@dataclass(frozen=True)
class EvidenceSettings:
    """The settings of an evidence pack.

    Attributes:
        method: whose maps are judged.
        metrics: of the scorecard; those of the sanity checks belong to them.
        rules: what passes.
        limits: of the checks.
        explained: which class the scorecard explains; checks and repeatability are of the predicted one.
        layer: to map; None: chosen automatically.
        preprocess: what is done to each picture; None: what is known of the network, else what is usual.
        limit: largest number of cases.
        seed: of everything drawn.
        retests: how often each case is explained again.
        gallery: cases of each kind in the gallery.
        pictures: put pictures into the pack.
        batch_size: pictures in one pass of the network.
        card: fields of the model card, see `cfcam.jobs.evidence.card.FIELDS`.
        junit: results of tests, as pytest writes them.
        record: the audit: its head is certified, and the pack is entered in it.
        deviation: why the protocol is changed after it was fixed.
        data: what to call the data; nothing of a patient.
    """

    method: str = "grad-cam"
    metrics: tuple[str, ...] = field(default_factory=default_metrics)
    rules: Rules = field(default_factory=Rules)
    limits: Limits = field(default_factory=Limits)
    explained: ExplainedClass = "predicted"
    layer: str | None = None
    preprocess: Preprocess | None = None
    limit: int | None = None
    seed: int = 0
    retests: int = 8
    gallery: int = 3
    pictures: bool = True
    batch_size: int = 8
    card: Mapping[str, Any] = field(default_factory=dict)
    junit: Path | None = None
    record: str | None = None
    deviation: str | None = None
    data: str = ""
