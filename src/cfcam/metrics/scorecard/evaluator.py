"""The engine of the scorecard: a batch of samples in, a row per image and method out."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from cfcam.capture import Capture, Network, Target, TopK, automatic_layer, find_layer
from cfcam.capture.targets.classes import Probability, class_names
from cfcam.errors import InputError, TargetError
from cfcam.maps import Status, heatmaps_of, statuses_of
from cfcam.methods import named_methods
from cfcam.methods.base import Method, Methods
from cfcam.metrics.functional import perturbation
from cfcam.metrics.scorecard import assess
from cfcam.metrics.scorecard.catalogue import METRICS, MetricError, resolve_metrics
from cfcam.metrics.scorecard.controls import CONTROLS
from cfcam.metrics.scorecard.samples import Row, Sample

Explained = Literal["predicted", "label"]


@dataclass(frozen=True)
class Settings:
    """How the numbers of a scorecard are computed; part of its provenance.

    Attributes:
        metrics: names, in the order of the catalogue.
        explained: which class is explained: the "predicted" one, or the "label".
        black: the network-input value of a black pixel, a number or one per channel.
        steps: of insertion and deletion curves.
        threshold: of "iou-tuned", "lesion-coverage" and "false-components", in (0, 1]; tuned on other images.
        overlap: share of a ground-truth component that has to be covered for it to count as found.
        stages: of cascading randomisation.
        draws: of the perturbation behind max-sensitivity.
        seed: of everything random.
        passes_at_once: inputs in one forward pass.
    """

    metrics: tuple[str, ...]
    explained: Explained = "predicted"
    black: float | tuple[float, ...] = 0.0
    steps: int = 20
    threshold: float | None = None
    overlap: float = 0.1
    stages: int = 4
    draws: int = 4
    seed: int = 0
    passes_at_once: int = 16

    def wants(self, *names: str) -> bool:
        """Whether one of these metrics is asked for."""
        return any(name in self.metrics for name in names)

    def wants_group(self, group: str) -> bool:
        """Whether a metric of this group is asked for."""
        return any(METRICS[name].group == group for name in self.metrics)


@dataclass(eq=False)
class Batch:
    """Images of one shape with their maps by all methods: what the assessors share.

    Attributes:
        evaluator: the set-up.
        samples: N of them.
        capture: of the images; its K = 2 targets are the explained class and its rival (the next most probable).
        maps: method -> raw maps (N, 2, *layer_spatial).
    """

    evaluator: Evaluator
    samples: Sequence[Sample]
    capture: Capture
    maps: dict[str, Tensor]
    values: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    extra: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    _baselines: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        """The evaluator's settings."""
        return self.evaluator.settings

    @property
    def methods(self) -> dict[str, Method]:
        """Name -> method, controls included."""
        return self.evaluator.methods

    @property
    def x(self) -> Tensor:
        """(N, C, *spatial) the network's input."""
        return self.capture.input

    @staticmethod
    def probability_of(capture: Capture) -> Tensor:
        """Returns (N,) the probability of the explained class in another capture."""
        return explained_probability(capture)

    @staticmethod
    def predictions_of(capture: Capture) -> Tensor:
        """Returns (N,) the predicted classes of a capture."""
        return predicted(capture.logits)

    @cached_property
    def probability(self) -> Tensor:
        """(N,) probability of the explained class."""
        return explained_probability(self.capture)

    @cached_property
    def heatmaps(self) -> dict[str, Tensor]:
        """Method -> (N, *spatial) in [0, 1]; NaN where the raw map is not finite, 0 where it holds no evidence."""
        return {name: self.drawn(maps) for name, maps in self.maps.items()}

    def drawn(self, maps: Tensor, column: int = 0) -> Tensor:
        """Returns raw maps (N, K, *layer_spatial) of one column as (N, *spatial) in [0, 1], NaN if not finite."""
        one = maps[:, column : column + 1]
        broken = ~one.flatten(1).isfinite().all(1)
        heat = heatmaps_of(one, self.x.shape[2:], self.capture.placement(one.shape[2:]))[:, 0]
        heat[broken] = torch.nan
        return heat

    def baseline(self, kind: perturbation.Baseline, black: Any) -> tuple[Tensor, Tensor]:
        """Returns what removed pixels become (N, C, *spatial), and the probabilities (N, 2) of input and baseline."""
        if kind not in self._baselines:
            filled = perturbation.baseline_image(self.x, kind, black)
            answer = self.score(filled, torch.arange(len(filled), device=filled.device))
            self._baselines[kind] = filled, torch.stack([self.probability.to(answer), answer], dim=1)
        return self._baselines[kind]

    def score(self, x: Tensor, images: Tensor) -> Tensor:
        """Returns the explained class's probability (M,) of inputs (M, C, *spatial) made from images (M,)."""
        return self.capture.rescore(x, images, probability=True)[:, 0]

    def again(
        self, x: Tensor, methods: Iterable[str], network: Network | None = None
    ) -> tuple[Capture, dict[str, Tensor]]:
        """Returns a capture of other inputs (N, ...) with the same targets, and raw maps of some methods."""
        capture = self.evaluator.capture(self.capture.as_given(x), self.capture.targets.indices, network)
        return capture, self.evaluator.maps(capture, methods)

    def add(self, method: str, metric: str, values: Tensor) -> None:
        """Enters the values (N,) of one metric, if it was asked for; NaN: not assessed."""
        if metric in self.settings.metrics:
            self.values.setdefault(method, {})[metric] = values.detach().float().cpu()

    def remember(self, method: str, key: str, values: Sequence[Any]) -> None:
        """Keeps what a number of the whole data set, or a mean curve, is made of, image by image."""
        rows = self.extra.setdefault(method, [{} for _ in self.samples])
        for row, value in zip(rows, values, strict=True):
            row[key] = value


class Evaluator:
    """Measures what maps are worth, batch after batch.

    Args:
        model: the network; it is never changed.
        methods: as for `cfcam.Explainer`.
        metrics: names of metrics or groups, "quick" or "all".
        controls: add the maps that know nothing or little (`metrics.scorecard.controls`): without them no number means
            anything.
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
        self.network = Network(model, probability, output)
        self.methods = named_methods(methods)
        if controls:
            self.methods |= {m.label: m for m in CONTROLS if m.label not in self.methods}
        self.controls = tuple(m.label for m in CONTROLS) if controls else ()
        self.classes = class_names(classes)
        named = "all" if metrics == "all" else None
        chosen = resolve_metrics(metrics)
        self.networks = {"repeatability": retrained, "reproducibility": other}
        lacking = [name for name, network in self.networks.items() if network is None and name in chosen]
        if lacking and named is None and not isinstance(metrics, str) and set(lacking) & set(metrics):
            raise MetricError(
                f"{lacking[0]} compares two networks: give retrained=... (the same architecture, trained again) or"
                " other=... (another architecture)"
            )
        known = [f.name for f in fields(Settings) if f.name != "metrics"]
        if unknown := [name for name in settings if name not in known]:
            near = difflib.get_close_matches(unknown[0], known, n=1, cutoff=0.5)
            which = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise MetricError(f"there is no setting {unknown[0]!r}: {which}")
        self.settings = Settings(tuple(name for name in chosen if name not in lacking), **settings)
        self._layer = None if layer is None else find_layer(self.network.model, layer)[0]
        self._others: dict[str, tuple[Network, str]] = {}
        self._randomised: list[Network] | None = None
        self.costs: dict[str, dict[str, float]] | None = None

    @property
    def layer_name(self) -> str | None:
        """The target layer's name; None before the first batch, if none was given."""
        return self._layer

    def layer(self, x: Tensor) -> str:
        """Returns the name of the target layer, chosen on the first batch (N, C, *spatial) if none was named."""
        if self._layer is None:
            self._layer = automatic_layer(self.network, x, classes=self.classes)
        return self._layer

    def capture(self, x: Tensor, targets: Any, network: Network | None = None, layer: str | None = None) -> Capture:
        """Returns a capture of (N, C, *spatial) inputs, of this network, a changed copy of it, or another one."""
        return Capture(network or self.network, x, layer=layer or self.layer(x), targets=targets, classes=self.classes)

    def maps(self, capture: Capture, methods: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Returns raw maps (N, K, *layer_spatial) by method name."""
        with capture.quiet():
            return {name: self.methods[name].maps(capture) for name in (self.methods if methods is None else methods)}

    def second(self, metric: str, x: Tensor) -> tuple[Network, str]:
        """Returns the network that a trust metric compares with, and its layer."""
        if metric not in self._others:
            model = self.networks[metric]
            if model is None:
                raise MetricError(f"{metric} needs a second network")
            network = Network(model, self.network.probability, self.network.output)
            self._others[metric] = (network, automatic_layer(network, x))
        return self._others[metric]

    def randomised(self, x: Tensor) -> list[Network]:
        """Returns copies of the network, randomised ever further down from the classifier; made once."""
        if self._randomised is None:
            found = assess.randomised_networks(self.network, x, self.settings.stages, self.settings.seed)
            self._randomised = found
        return self._randomised

    def __call__(self, samples: Sequence[Sample]) -> list[Row]:
        """Returns a row per sample and method.

        Args:
            samples: images of one shape.

        Raises:
            InputError: the label is to be explained and unknown, or out of range.
            CfcamError: the network cannot be explained on these images.
        """
        x = torch.stack([sample.image for sample in samples])
        capture = self.capture(x, self._rule(samples))
        batch = Batch(self, samples, capture, self.maps(capture))
        for assessor in _assessors(self.settings):
            assessor(batch)
        return list(_rows(batch))

    def _rule(self, samples: Sequence[Sample]) -> Target:
        """Returns the rule that gives each image its explained class and the most probable other one."""
        if self.settings.explained == "predicted":
            return TopK(2)
        unknown = [s.name for s in samples if s.label is None]
        if unknown:
            raise InputError(f"sample {unknown[0]!r} has no label: give one, or explain the predicted class")
        return _LabelAndRival(tuple(sample.label for sample in samples if sample.label is not None))


@dataclass(frozen=True)
class _LabelAndRival(Target):
    """The label of each image, and the most probable other class."""

    labels: tuple[int, ...]

    def indices(self, logits: Tensor, classes: Sequence[str] | None) -> Tensor:
        """Returns (N, 2); raises `TargetError` for a label that the network does not have."""
        labels = torch.tensor(self.labels, device=logits.device)[:, None]
        wrong = [label for label in self.labels if not 0 <= label < logits.shape[1]]
        if wrong:
            raise TargetError(
                f"label {wrong[0]} is out of range: the network has {logits.shape[1]} classes, 0 to"
                f" {logits.shape[1] - 1}"
            )
        return torch.cat([labels, logits.scatter(1, labels, -torch.inf).argmax(1, keepdim=True)], dim=1)


def _assessors(settings: Settings) -> Iterator[Callable[[Batch], None]]:
    for group, assessor in assess.BY_GROUP.items():
        if settings.wants_group(group):
            yield assessor


def explained_probability(capture: Capture) -> Tensor:
    """Returns (N,) the probability of the first target of each image."""
    return capture.probabilities[:, 0].float()


def predicted(logits: Tensor) -> Tensor:
    """Returns (N,) int64 the predicted classes for logits (N, classes), or (N, 1) of a binary network."""
    return logits.argmax(1) if logits.shape[1] > 1 else (logits[:, 0] > 0).long()


def _rows(batch: Batch) -> Iterator[Row]:
    answers = predicted(batch.capture.logits).tolist()
    classes = batch.evaluator.classes
    for method, maps in batch.maps.items():
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
            )
