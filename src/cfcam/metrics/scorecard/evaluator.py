"""The engine of the scorecard: a batch of samples in, a row per image and method out."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from cfcam.capture import Capture, Network, NotPredictedError, Target, TopK
from cfcam.capture.alone import mixed
from cfcam.capture.answers.probabilities import Probability
from cfcam.capture.targets.classes import class_names
from cfcam.errors import InputError, TargetError
from cfcam.maps import Status, statuses_of
from cfcam.methods import named_methods
from cfcam.methods.base import Methods
from cfcam.metrics.scorecard import assess
from cfcam.metrics.scorecard.batch import Batch, predicted
from cfcam.metrics.scorecard.catalogue import MetricError, resolve_metrics
from cfcam.metrics.scorecard.controls import CONTROLS
from cfcam.metrics.scorecard.samples import Row, Sample
from cfcam.metrics.scorecard.settings import Settings
from cfcam.metrics.scorecard.subject import Subject


class Evaluator(Subject):
    """Measures what maps are worth, batch after batch.

    Args:
        model: the network; it is never changed.
        methods: as for `cfcam.Explainer`.
        metrics: names of metrics or groups, "quick" or "all".
        controls: add the maps that know nothing or little (`metrics.scorecard.controls`): without them no number means
            anything. Where a network has no layer with places, those that need one are left out, which the notes say.
        layer: name of the target layer; None: chosen on the first batch.
        classes: class names.
        probability: how the output is read; see `cfcam.Explainer`.
        output: which tensor holds the class scores; see `cfcam.Explainer`.
        retrained: a second training of the same architecture, for "repeatability".
        other: a network of another architecture, for "reproducibility".
        **settings: see `Settings`.

    Raises:
        MetricError: a metric is unknown, or lacks what it needs.
        MethodError, LayerError: see `cfcam.Explainer`.
    """

    def __init__(
        self,
        model: nn.Module,
        methods: Methods = ("cf-cam", "grad-cam"),
        metrics: str | Iterable[str] = "quick",
        *,
        controls: bool = True,
        layer: str | None = None,
        classes: Sequence[str] | None = None,
        probability: Probability = "auto",
        output: str | int | None = None,
        retrained: nn.Module | None = None,
        other: nn.Module | None = None,
        **settings: Any,
    ) -> None:
        network = Network(model, probability, output)
        network.pack()
        every = named_methods(methods)
        added = {m.label: m for m in CONTROLS if m.label not in every} if controls else {}
        self._all_controls = tuple(m.label for m in CONTROLS) if controls else ()
        names = class_names(classes)
        asked_for = (metrics,) if isinstance(metrics, str) else tuple(metrics)
        chosen = resolve_metrics(asked_for)
        networks = {"repeatability": retrained, "reproducibility": other}
        lacking = [name for name, second in networks.items() if second is None and name in chosen]
        if missing := [name for name in lacking if name in asked_for]:
            raise MetricError(
                f"{missing[0]} compares two networks: give retrained=... (the same architecture, trained again) or"
                " other=... (another architecture)"
            )
        known = [f.name for f in fields(Settings) if f.name != "metrics"]
        if unknown := [name for name in settings if name not in known]:
            near = difflib.get_close_matches(unknown[0], known, n=1, cutoff=0.5)
            which = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise MetricError(f"there is no setting {unknown[0]!r}: {which}")
        asked = Settings(tuple(name for name in chosen if name not in lacking), **settings)
        super().__init__(
            network, every | added, asked, layer=layer, classes=names, networks=networks, controls=tuple(added)
        )

    @property
    def controls(self) -> tuple[str, ...]:
        """Names of the methods that are there for comparison."""
        return tuple(name for name in self._all_controls if name in self.methods)

    def __call__(self, samples: Sequence[Sample]) -> list[Row]:
        """Returns a row per sample and method.

        Args:
            samples: images of one shape.

        Raises:
            InputError: the label is to be explained and unknown.
            TargetError: a label is out of range.
            MetricError: the network segments.
            CfcamError: the network cannot be explained on these images.
        """
        x = torch.stack([sample.image for sample in samples])
        capture = self._of_classes(x, self._rule(samples))
        if mixed(capture):
            return [row for sample in samples for row in self([sample])]
        check_labels((sample.label for sample in samples), max(2, capture.logits.shape[1]))
        batch = Batch(self, samples, capture, self.maps(capture))
        for assessor in _assessors(self.settings):
            assessor(batch)
        return list(_rows(batch))

    def _of_classes(self, x: Tensor, rule: Target) -> Capture:
        """Returns a capture of the two classes of each image; raises `MetricError` for those of a segmentation."""
        try:
            capture = self.capture(x, rule)
        except NotPredictedError as error:
            raise MetricError(_SEGMENTS) from error
        if capture.targets.functions:
            raise MetricError(_SEGMENTS)
        return capture

    def _rule(self, samples: Sequence[Sample]) -> Target:
        """Returns the rule that gives each image its explained class and the most probable other one."""
        if self.settings.explained == "predicted":
            return TopK(2)
        unknown = [s.name for s in samples if s.label is None]
        if unknown:
            raise InputError(f"sample {unknown[0]!r} has no label: give one, or explain the predicted class")
        return _LabelAndRival(tuple(sample.label for sample in samples if sample.label is not None))


_SEGMENTS: Final = (
    "the network segments, and the scorecard measures maps of a class of the whole picture: look at its maps with cfcam"
    " explain, or give a network that returns (N, classes), in Python cfcam.capture.Adapter(model, lambda x, images: x,"
    " lambda output: output.mean((-2, -1)))"
)


@dataclass(frozen=True)
class _LabelAndRival(Target):
    """The label of each image, and the most probable other class."""

    labels: tuple[int, ...]

    def indices(self, logits: Tensor, classes: Sequence[str] | None) -> Tensor:
        """Returns (N, 2); raises `TargetError` for a label that the network does not have."""
        labels = torch.tensor(self.labels, device=logits.device)[:, None]
        check_labels(self.labels, logits.shape[1])
        return torch.cat([labels, logits.scatter(1, labels, -torch.inf).argmax(1, keepdim=True)], dim=1)


def check_labels(labels: Iterable[int | None], classes: int) -> None:
    """Raises `TargetError` for a label that the network does not have."""
    for label in labels:
        if label is not None and label >= classes:
            raise TargetError(f"label {label} is out of range: the network has {classes} classes, 0 to {classes - 1}")


def _assessors(settings: Settings) -> Iterator[Callable[[Batch], None]]:
    for group, assessor in assess.BY_GROUP.items():
        if settings.wants_group(group):
            yield assessor


def _rows(batch: Batch) -> Iterator[Row]:
    answers = predicted(batch.capture.logits).tolist()
    classes = batch.subject.classes
    said: dict[str, list[int]] = batch.capture.memo("notes", dict)  # line -> images
    for number, (method, maps) in enumerate(batch.maps.items()):
        statuses = statuses_of(maps[:, :1])[:, 0]
        columns = batch.values.get(method, {})
        for n, sample in enumerate(batch.samples):
            target = int(batch.capture.targets.indices[n, 0])
            readable = statuses[n] == Status.OK
            numbers = {name: float(v[n]) for name, v in columns.items() if np.isfinite(float(v[n]))}
            yield Row(
                image=sample.name,
                method=method,
                target=target,
                target_name=classes[target] if classes else f"class {target}",
                probability=float(batch.probability[n]),
                status=str(statuses[n]),
                values=numbers if readable else {},
                correct=None if sample.label is None else answers[n] == sample.label,
                patient=sample.patient,
                group=sample.group,
                extra=batch.extra[method][n] if method in batch.extra and readable else {},
                notes=[line for line, images in said.items() if n in images] if number == 0 else [],
            )
