"""What is explained: a user's targets, checked before the network runs, and settled once its logits are known."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cfcam.capture.answers.heads import Wanted
from cfcam.capture.answers.probabilities import Kind, signed_logits
from cfcam.capture.targets.asked_boxes import AskedBoxes
from cfcam.capture.targets.box_words import read_box
from cfcam.capture.targets.dense import Segmentation, background_of, dense_columns, ranked
from cfcam.capture.targets.numbers import Contrast, Regression
from cfcam.capture.targets.scores import (
    FirstPass,
    ImageScore,
    ScoreFunction,
    Scores,
    ScoreTarget,
    check_label,
    check_range,
    function_name,
    known_class,
    of_rule,
)
from cfcam.errors import TargetError, check_whole, whole_number


class Target:
    """A rule that names classes once the logits are known; `indices` returns them as (N, k) int64.

    For a segmentation the areas of the classes' predicted regions stand in the place of the logits, and each class is
    explained where it is predicted.
    """

    def indices(self, logits: Tensor, classes: Sequence[str] | None) -> Tensor:
        """Returns the class indices (N, k) for logits (N, classes)."""
        raise NotImplementedError


@dataclass(frozen=True)
class ClassTarget(Target):
    """The same class for every image, by index or by name."""

    label: int | str

    def __post_init__(self) -> None:
        check_label(self.label)

    def indices(self, logits: Tensor, classes: Sequence[str] | None) -> Tensor:
        """Returns (N, 1); raises `TargetError` for a class that the network does not have."""
        index = known_class(self.label, logits.shape[1], classes)
        return torch.full((logits.shape[0], 1), index, device=logits.device)


@dataclass(frozen=True)
class TopK(Target):
    """The k classes with the highest logits, image by image; ``TopK(1)`` is the predicted class.

    Of a segmentation the k classes with the largest predicted areas, its background last: see `Segmentation`.
    """

    k: int = 1

    def __post_init__(self) -> None:
        whole_number(self.k, "TopK: k", error=TargetError)

    def indices(self, logits: Tensor, classes: Sequence[str] | None) -> Tensor:
        """Returns (N, k), most probable first; raises `TargetError` if there are fewer than k classes."""
        if not 1 <= self.k <= logits.shape[1]:
            raise TargetError(f"top-{self.k} of {logits.shape[1]} classes: give a k from 1 to {logits.shape[1]}")
        return logits.topk(self.k, dim=1).indices


@dataclass(frozen=True)
class AllClasses(Target):
    """Every class of the network."""

    def indices(self, logits: Tensor, classes: Sequence[str] | None) -> Tensor:
        """Returns (N, classes)."""
        return torch.arange(logits.shape[1], device=logits.device).expand(logits.shape[0], -1)


Rule = Target | Tensor | ScoreTarget | ScoreFunction


def check_targets(targets: Any, batch: int, spatial: Sequence[int] | None = None) -> list[Rule]:
    """Turns a user's ``targets`` into a list of rules, before the network runs.

    Args:
        targets: None (the predicted class of each image), an int, a name, ``"predicted"``, ``"all"``, ``"top-3"``,
            ``"a vs b"`` (`Contrast`), ``"output-0"`` (`Regression`), ``"box-1"`` (of a detector), a `Target`, a
            `ScoreTarget`, a callable, a list of these (the same for every image), or an integer tensor (N,) or (N, K)
            (image by image).
        batch: number of images N.
        spatial: *spatial of the input, for targets with a place; None: not checked.

    Raises:
        TargetError: a type that is none of these, an empty list, or something for another number of images.
    """
    if isinstance(targets, (list, tuple)):
        if not targets:
            raise TargetError("targets is empty: give at least one class, or None for the predicted class")
        found = []
        for n, target in enumerate(targets):
            with of_rule(n):
                found.append(_check_one(target, batch, spatial))
        return found
    if hasattr(targets, "__array__") and not isinstance(targets, Tensor):
        targets = _as_tensor(targets)
    if isinstance(targets, Tensor):
        if targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool:
            raise TargetError(
                f"targets is a tensor of {targets.dtype}: class indices are integers (of a row of zeros and ones:"
                " .argmax(1), or a list of the classes that are 1)"
            )
        if targets.ndim == 0:
            return [_check_one(int(targets), batch, spatial)]
        if targets.ndim > 2 or targets.shape[0] != batch or targets.numel() == 0:
            raise TargetError(
                f"targets has shape {tuple(targets.shape)} for {batch} images: give ({batch},) or ({batch}, K) indices"
                " image by image, or a list of classes for all images"
            )
        return [targets.long().reshape(batch, -1)]
    return [_check_one(targets, batch, spatial)]


def _check_one(target: Any, batch: int, spatial: Sequence[int] | None) -> Rule:
    if target is None:
        return TopK(1)
    if isinstance(target, str):
        rule = TopK(1) if target == "predicted" else _keyword(target) or ClassTarget(target)
        return _check_one(rule, batch, spatial) if isinstance(rule, ScoreTarget) else rule
    if isinstance(target, bool):
        raise TargetError(f"target {target} is a bool: give a class index, a name, a Target or a callable")
    if isinstance(target, ScoreTarget):
        target.check(batch, spatial)
        if isinstance(target, ImageScore):
            check_whole(function_name(target), "the target's name", TargetError)
        return target
    if isinstance(target, Target):
        return target
    if isinstance(target, type):
        raise TargetError(f"target {target.__name__} is a class: give an instance, {target.__name__}(...)")
    if hasattr(target, "__index__") and not getattr(target, "shape", None):
        try:
            return ClassTarget(operator.index(target))
        except (TypeError, RuntimeError):  # a tensor or an array with one number that is no whole one
            pass
    elif callable(target):
        check_whole(function_name(target), "the target's name", TargetError)
        return target
    one_by_one = ""
    if isinstance(target, (list, tuple)) or getattr(target, "shape", None):
        one_by_one = "; classes image by image go into one integer tensor (N, K)"
    what = " ".join(repr(target).split())[:60]
    raise TargetError(
        f"target {what} is a {type(target).__name__}: give an index, a name, a Target or a callable{one_by_one}"
    )


def _as_tensor(targets: Any) -> Tensor:
    try:
        return torch.as_tensor(targets)
    except (TypeError, ValueError) as error:
        raise TargetError(
            f"targets is a {type(targets).__name__} of {getattr(targets, 'dtype', 'no numbers')}: give class indices,"
            " or names in a list"
        ) from error


def wanted_of(rules: Sequence[Rule], classes: Sequence[str] | None) -> Wanted:
    """Returns what the rules of `check_targets` and the class names ask of the class scores in an output."""
    needing = [rule for rule in rules if isinstance(rule, (Target, Tensor)) or getattr(rule, "needs_logits", False)]
    highest, outputs = [0], [0]
    for rule in needing:
        labels = {ClassTarget: ("label",), Segmentation: ("label",), Contrast: ("a", "b")}.get(type(rule), ())
        highest += [label + 1 for name in labels if isinstance(label := getattr(rule, name), int)]
        if isinstance(rule, Tensor):
            highest.append(int(rule.max()) + 1)
        elif isinstance(rule, TopK) and rule.k > 1:
            highest.append(rule.k)
        elif isinstance(rule, Regression):
            outputs.append(rule.index + 1)
    return Wanted(
        names=None if classes is None else len(classes),
        least=max(highest),
        outputs=max(outputs),
        numbers=bool(needing) and all(isinstance(rule, Regression) for rule in needing),
        dense=bool(needing) and all(isinstance(rule, Segmentation) for rule in needing),
        vector=any(isinstance(rule, (Contrast, Regression)) for rule in needing),
        scores=bool(needing) or not rules,
    )


def class_names(classes: Any) -> tuple[str, ...] | None:
    """Returns a user's class names; raises `TargetError` if they are no sequence of texts."""
    if classes is None:
        return None
    if isinstance(classes, (bytes, Mapping, Set)) or not hasattr(classes, "__iter__"):
        raise TargetError(
            f"classes is a {type(classes).__name__}: give a list of names, one for each output in its order"
        )
    names = tuple(classes)
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise TargetError(f"a class name is text, not {wrong[0]!r}: give strings, one for each output in its order")
    for name in names:
        check_whole(name, "the class name", TargetError)
    return names


def check_names(classes: Sequence[str] | None, logits: Tensor, outputs: int, want: Wanted) -> None:
    """Raises `TargetError` if there are not as many class names as there are classes.

    Args:
        classes: class names; None: not known.
        logits: (N, classes, ...), (N, 1, ...) of a single logit.
        outputs: number of outputs of the network, of which regressions may bear the names.
        want: what is asked.
    """
    if classes is None or not want.scores or logits.ndim < 2:
        return
    single = logits.shape[1] == 1
    count = 2 if single else logits.shape[1]
    if len(classes) == count or (want.numbers and len(classes) == outputs):
        return
    names = f"{len(classes)} class name{'s' if len(classes) != 1 else ''}"
    raise TargetError(
        f"{names} for a network with {count} classes{' (a single score: class 0 is its opposite)' if single else ''}:"
        " give one name for each, in the order of training"
    )


def _keyword(name: str) -> Rule | None:
    if boxes := read_box(name):
        return AskedBoxes(boxes)
    if name == "all":
        return AllClasses()
    if top := re.fullmatch(r"top-?(\d+)", name):
        return TopK(int(top[1]))
    if output := re.fullmatch(r"output-(\d+)", name):
        return Regression(int(output[1]))
    if pair := re.fullmatch(r"(.+?)\s+vs\.?\s+(.+)", name):
        return Contrast(*(int(side) if side.isdecimal() else side for side in pair.groups()))
    return None


def resolve_targets(
    rules: Sequence[Rule],
    logits: Tensor,
    classes: Sequence[str] | None,
    probability: Kind,
    output: Any = None,
    spatial: Sequence[int] | None = None,
    numbers: Callable[[Any, int], Tensor] | None = None,
) -> Scores:
    """Turns the rules of `check_targets` into the K scores of this batch, now that its logits are known.

    Args:
        rules: from `check_targets`.
        logits: (N, classes), or (N, classes, *spatial) of a segmentation.
        classes: class names.
        probability: how logits become probabilities.
        output: what the network returned; None: the logits.
        spatial: *spatial of the input; None: unknown.
        numbers: see `FirstPass`.

    Raises:
        TargetError: a class is out of range or unknown, predicted nowhere in a segmentation, or the network's output is
            neither a vector of classes nor a segmentation.
    """
    size = None if spatial is None else tuple(spatial)
    first = FirstPass(logits if output is None else output, logits.detach(), classes, probability, size, numbers)
    columns: list[Tensor] = []
    functions: dict[int, ScoreFunction | ImageScore] = {}
    for n, rule in enumerate(rules):
        with of_rule(n):
            found = _resolved(rule, first)
        if isinstance(found, Tensor):
            columns.extend(found.unbind(1))
            continue
        for function in found:
            functions[len(columns)] = function
            index = function.class_indices() if isinstance(function, ImageScore) else None
            columns.append(torch.full((len(logits),), -1, device=logits.device) if index is None else index)
    return Scores(torch.stack(columns, dim=1), functions, probability)


def _resolved(rule: Rule, first: FirstPass) -> Tensor | Sequence[ScoreFunction | ImageScore]:
    """Returns class indices (N, k), or what computes the scores."""
    if isinstance(rule, ScoreTarget):
        return rule.resolve(first)
    if not isinstance(rule, (Target, Tensor)):
        return [rule]
    if first.dense:
        return dense_columns(first, lambda areas: _classes(rule, areas, first))
    signed = signed_logits(first.vector(f"target {_words(rule)}"))
    return _classes(rule, signed, first)


def _classes(rule: Target | Tensor, values: Tensor, first: FirstPass) -> Tensor:
    if isinstance(rule, Tensor):
        check_range(rule, values.shape[1])
        _check_indices(rule, values.shape[1])
        return rule.to(values.device)
    if first.dense and isinstance(rule, TopK):
        values = ranked(values, background_of(first))
    return rule.indices(values, first.classes)


def _check_indices(rule: Tensor, classes: int) -> None:
    """Raises `TargetError` for rows (N, classes) of zeros and ones that name a class twice: these are no indices."""
    repeated = rule.shape[1] == classes > 1 and bool((rule <= 1).all())
    if repeated and bool((rule.sort(1).values.diff(dim=1) == 0).any()):
        raise TargetError(
            f"targets of shape {tuple(rule.shape)} hold zeros and ones, one a class: class indices are due (of one-hot"
            " rows .argmax(1); of several classes a list of them, image by image (N, K))"
        )


def _words(rule: Target | Tensor) -> str:
    return "by image" if isinstance(rule, Tensor) else str(rule)
