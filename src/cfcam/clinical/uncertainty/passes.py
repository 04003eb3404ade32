"""How samples are explained: by one explainer with one method, for targets that no sample can change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cfcam.capture import Adapter, ClassTarget, Target
from cfcam.capture.targets.classes import check_targets
from cfcam.clinical.uncertainty.samples import Samples, Source
from cfcam.errors import InputError
from cfcam.explainer import Explainer
from cfcam.explanation import Explanation
from cfcam.methods import named_methods
from cfcam.methods.base import Method

Run = Callable[[Explainer, Tensor, Any], Explanation]
"""How an explainer explains inputs (N, C, *spatial) for targets: as a whole, or in windows."""


_VALUES_AT_ONCE = 1 << 22
"""Input values in one pass: 27 pictures of 3 x 224 x 224, or 2 volumes of 128 x 128 x 128."""


def whole(explainer: Explainer, x: Tensor, targets: Any) -> Explanation:
    """Explains inputs as a whole; the way to give windows: ``lambda e, x, t: explain_windows(e, x, 96, targets=t)``."""
    return explainer(x, targets)


@dataclass(frozen=True)
class OneMethod:
    """One explainer with one method."""

    explainer: Explainer
    method: str
    source: Source
    run: Run

    @classmethod
    def of(cls, model: nn.Module | Explainer, method: str | Method, source: Source, run: Run) -> OneMethod:
        """Returns an explainer of a network, or a copy of the one that is given, with one method."""
        given = model if isinstance(model, Explainer) else None
        known = {} if given is None or not isinstance(method, str) else given.methods
        chosen = {method: known[method]} if isinstance(method, str) and method in known else named_methods(method)
        if len(chosen) != 1:
            raise InputError(f"{len(chosen)} methods: give one, or method_disagreement the explanation of several")
        if isinstance(model, Explainer):
            explainer = copy(model)
            explainer.methods = chosen
        else:
            explainer = Explainer(model, chosen)
        return cls(explainer, next(iter(chosen)), source, run)

    def prediction(self, x: Tensor) -> Callable[[Target], Tensor]:
        """Returns what decides the classes (N, k) that a rule asks for, by a pass of the inputs."""
        return lambda rule: self.run(self.explainer, x, [rule]).targets

    def samples(self, inputs: Tensor, targets: Any) -> Samples:
        """Explains inputs (b, n, C, *spatial), of which the n are different images."""
        count = inputs.shape[:2]
        explanation = self.run(self.explainer, inputs.flatten(0, 1), targets)
        places = inputs.ndim - 3
        if self.source == "augmentation" and (explanation.frames == 1 or len(explanation.input_size) != places):
            raise InputError(
                "what is flipped and moved are axes 2 and up, and this network has its frames on axis 1: give clips"
                " (N, C, T, H, W), and the model as cfcam.capture.Adapter(model, lambda x, images: x.transpose(1, 2))"
            )
        proba = explanation.probabilities
        return Samples(
            heatmaps=explanation.heatmaps(self.method).unflatten(0, count),
            probabilities=None if proba is None else proba.unflatten(0, count),
            statuses=explanation.status[self.method].reshape(*count, -1),
            targets=explanation.targets.unflatten(0, count)[0],
            source=self.source,
            method=self.method,
            multilabel=explanation.multilabel,
        )

    def groups(self, x: Tensor, goals: SettledTargets, batch_size: int | None) -> tuple[list[slice], int]:
        """Which images go together, and how often such a group fits into a pass."""
        if batch_size is not None:
            check_count(batch_size, 1, "images in a pass")
        if not goals.separable or isinstance(self.explainer._network.model, Adapter):
            return [slice(0, len(x))], 1
        one_by_one = [slice(n, n + 1) for n in range(len(x))]
        if self.run is not whole:  # windows go image by image, and would drop the same units in each repeat
            return one_by_one, 1
        return one_by_one, batch_size or max(1, _VALUES_AT_ONCE // x[0].numel())


@dataclass(frozen=True)
class _FixedClasses(Target):
    """Classes (N, k) that are known before the pass, among targets of other kinds."""

    classes: Tensor

    def indices(self, logits: Tensor, classes: Sequence[str] | None) -> Tensor:
        return self.classes.to(logits.device)


@dataclass(frozen=True)
class SettledTargets:
    """Targets that no sample can change.

    Attributes:
        rules: class indices (N, K) alone, or a list as `check_targets` gives, with nothing in it that asks for a
            prediction.
        separable: images can be explained one by one, and several times in a batch.
    """

    rules: Tensor | list[Any]
    separable: bool

    @classmethod
    def of(cls, targets: Any, x: Tensor, predict: Callable[[Target], Tensor]) -> SettledTargets:
        """Returns targets as `Explainer.__call__` takes them, each prediction that they ask for made once.

        Raises:
            InputError: the input is no batch of images.
            TargetError: the targets do not fit it.
        """
        if not isinstance(x, Tensor) or x.ndim < 3 or x.numel() == 0:
            raise InputError("the input is no batch of images: give a tensor (N, C, *spatial)")
        found = [_settled(rule, predict) for rule in check_targets(targets, len(x))]
        fixed = [rule.classes for rule in found if isinstance(rule, _FixedClasses)]
        if len(fixed) == len(found):
            return cls(torch.cat(fixed, dim=1), separable=True)
        if isinstance(found[0], Tensor):
            return cls(found[0], separable=True)
        return cls(found, separable=all(isinstance(rule, ClassTarget) for rule in found))

    def rows(self, images: slice, repeats: int) -> Any:
        """The targets of some images, each repeated."""
        return self.rules[images].repeat(repeats, 1) if isinstance(self.rules, Tensor) else self.rules


def _settled(rule: Any, predict: Callable[[Target], Tensor]) -> Any:
    """The rule, or the classes that it stands for if it asks for a prediction."""
    asks = isinstance(rule, Target) and not isinstance(rule, ClassTarget)
    return _FixedClasses(predict(rule)) if asks else rule


def check_count(count: int, fewest: int, what: str) -> None:
    """Raises an `InputError` where there are fewer than are needed."""
    if count < fewest:
        raise InputError(f"{count} {what}: give at least {fewest}")
