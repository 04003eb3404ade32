"""What an evaluation measures, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cfcam.errors import InputError
from cfcam.imaging import Preprocess, VolumePreprocess
from cfcam.jobs.inputs.shard import Shard
from cfcam.methods import named_methods
from cfcam.methods.base import Method
from cfcam.metrics.scorecard.catalogue import MetricError, resolve_metrics
from cfcam.metrics.scorecard.paper import NAME as PAPER
from cfcam.metrics.scorecard.settings import ExplainedClass


@dataclass(frozen=True)
class EvaluationSettings:
    """The settings of an evaluation.

    Attributes:
        methods: names, instances, or a mapping from your own names to these.
        metrics: names of metrics or groups, "quick" or "all".
        controls: add the maps that know nothing or little.
        explained: which class is explained: the "predicted" one, or the "label".
        layer: dotted name of the layer to map; None: chosen automatically.
        threshold: of "iou-tuned", "lesion-coverage" and "false-components", in [0, 1], tuned on other images.
        preprocess: what is done to a picture (or volume) before the network sees it; None: what is known of the
            model, else `Preprocess()` (`VolumePreprocess()`).
        limit: evaluate a random subset of this many cases; a larger one holds a smaller one of the same seed.
        seed: of the subset, and of everything random in the metrics.
        batch_size: pictures in one pass of the network; None: 8, and 1 for volumes.
        overwrite: begin anew, instead of going on with what the output folder holds.
        leave_out: leave out, with a note, methods that do not apply to the network, instead of refusing the run.
        protocol: "cfcam-paper" measures by the published protocol of CF-CAM instead of ``metrics``.
        data: what to call the data in the report.
        command: what the user typed, for the provenance.
        shard: which share of the batches is measured, where several machines or processes write into one folder; the
            scorecard is made of all by a run of the whole at the end. None: all batches.
    """

    methods: tuple[str | Method, ...] | Mapping[str, str | Method] = ("cf-cam", "grad-cam")
    metrics: tuple[str, ...] = ("quick",)
    controls: bool = True
    explained: ExplainedClass = "predicted"
    layer: str | None = None
    threshold: float | None = None
    preprocess: Preprocess | VolumePreprocess | None = None
    limit: int | None = None
    seed: int = 0
    batch_size: int | None = None
    overwrite: bool = False
    leave_out: bool = False
    protocol: str | None = None
    data: str = ""
    command: tuple[str, ...] = ()
    shard: Shard | None = None

    def check(self) -> None:
        """Checks what can be checked without a network.

        Raises:
            CfcamError: a method or metric is unknown or lacks what it needs, or a number is out of its range.
        """
        named_methods(self.methods)
        resolve_metrics(self.metrics)
        if self.threshold is None and "iou-tuned" in self.metrics:
            raise MetricError("iou-tuned needs a threshold: give --threshold, tuned on other images than these")
        if self.protocol not in (None, PAPER):
            raise InputError(f"no protocol is called {self.protocol!r}: there is {PAPER}")
        if self.protocol is not None and self.explained != "predicted":
            raise InputError(f"the protocol {self.protocol} explains the predicted class: leave --explain label out")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise InputError(f"the threshold is {self.threshold}: give a number from 0 to 1, the maximum of a map")
        if self.batch_size is not None and self.batch_size < 1:
            raise InputError(f"the batch size is {self.batch_size}: give 1 or more")
        if self.limit is not None and self.limit < 1:
            raise InputError(f"the limit is {self.limit} cases: give 1 or more")
