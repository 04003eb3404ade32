"""Images of one shape with their maps by all methods: what the assessors of the scorecard share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from cfcam.capture import Adapter, Capture, Network, Scores
from cfcam.maps import heatmaps_of
from cfcam.methods.base import Method
from cfcam.metrics.functional import perturbation
from cfcam.metrics.scorecard.samples import Sample
from cfcam.metrics.scorecard.settings import Settings
from cfcam.metrics.scorecard.subject import Subject


@dataclass(eq=False)
class Batch:
    """Images of one shape with their maps by all methods: what the assessors share.

    Attributes:
        subject: the network, and the methods that explain it.
        samples: N of them.
        capture: of the images; its K = 2 targets are the explained class and its rival (the next most probable).
        maps: method -> raw maps (N, 2, *layer_spatial).
    """

    subject: Subject
    samples: Sequence[Sample]
    capture: Capture
    maps: dict[str, Tensor]
    values: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    extra: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    _fillings: dict[str, Tensor] = field(default_factory=dict)
    _baselines: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        """How the numbers are computed."""
        return self.subject.settings

    @property
    def methods(self) -> dict[str, Method]:
        """Name -> method, controls included."""
        return self.subject.methods

    @property
    def x(self) -> Tensor:
        """(N, C, *spatial) the network's input."""
        return self.capture.input

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

    def level(self, value: float | tuple[float, ...] | None) -> Any:
        """Returns a value of the network's input as the functions take it: a number, one a channel (C,), or None."""
        return self.x.new_tensor(value) if isinstance(value, tuple) else value

    def filling(self, kind: perturbation.Baseline) -> Tensor:
        """Returns what pixels that are not shown become: (N, C, *spatial)."""
        if kind not in self._fillings:
            black = self.level(self.settings.black)
            self._fillings[kind] = perturbation.baseline_image(self.x, kind, black, seed=self.settings.seed)
        return self._fillings[kind]

    def baseline(self, kind: perturbation.Baseline) -> tuple[Tensor, Tensor]:
        """Returns what removed pixels become (N, C, *spatial), and the probabilities (N, 2) of input and baseline."""
        if kind not in self._baselines:
            filled = self.filling(kind)
            answer = self._score_each(filled)
            self._baselines[kind] = filled, torch.stack([self.probability.to(answer), answer], dim=1)
        return self._baselines[kind]

    def _score_each(self, x: Tensor) -> Tensor:
        """Returns the explained class's probability (N,) of one version (N, C, *spatial) of each image."""
        images, targets = torch.arange(len(x), device=x.device), self.capture.targets
        given = self.capture.as_given(x)
        if (
            targets.functions
            or isinstance(self.capture.network.model, Adapter)
            or not torch.equal(given[1:], given[:-1])
        ):
            return self.score(x, images)
        # They are all the same, as in black: one pass of one of them, in which the class of each image is looked at.
        classes = targets.indices[:, 0].expand(len(x), -1)
        every = self.capture.again(targets=Scores(classes, probability=targets.probability))
        return every.rescore(x[:1], images[:1], probability=True)[0]

    def score(self, x: Tensor, images: Tensor) -> Tensor:
        """Returns the explained class's probability (M,) of inputs (M, C, *spatial) made from images (M,)."""
        return self.capture.rescore(x, images, probability=True)[:, 0]

    def again(
        self, x: Tensor, methods: Iterable[str], network: Network | None = None
    ) -> tuple[Capture, dict[str, Tensor]]:
        """Returns a capture of other inputs (N, ...) with the same targets, and raw maps of some methods."""
        capture = self.subject.capture(self.capture.as_given(x), self.capture.targets.indices, network)
        return capture, self.subject.maps(capture, methods)

    def add(self, method: str, metric: str, values: Tensor) -> None:
        """Enters the values (N,) of one metric, if it was asked for; NaN: not assessed."""
        if metric in self.settings.metrics:
            self.values.setdefault(method, {})[metric] = values.detach().float().cpu()

    def remember(self, method: str, key: str, values: Sequence[Any]) -> None:
        """Keeps what a number of the whole data set, or a mean curve, is made of, image by image."""
        rows = self.extra.setdefault(method, [{} for _ in self.samples])
        for row, value in zip(rows, values, strict=True):
            row[key] = value


def explained_probability(capture: Capture) -> Tensor:
    """Returns (N,) the probability of the first target of each image."""
    return capture.probabilities[:, 0].float()


def predicted(logits: Tensor) -> Tensor:
    """Returns (N,) int64 the predicted classes for logits (N, classes), or (N, 1) of a binary network."""
    return logits.argmax(1) if logits.shape[1] > 1 else (logits[:, 0] > 0).long()
