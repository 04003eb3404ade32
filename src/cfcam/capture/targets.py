"""What is explained: classes, or any callable from the network's output to one number per image."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from cfcam.errors import TargetError

Probability = Literal["auto", "softmax", "sigmoid"]
ScoreFunction = Callable[[Any], Tensor]


class Target:
    """A rule that names classes once the logits are known; `indices` returns them as (N, k) int64."""

    def indices(self, logits: Tensor, classes: Sequence[str] | None) -> Tensor:
        """Returns the class indices (N, k) for logits (N, classes)."""
        raise NotImplementedError


@dataclass(frozen=True)
class ClassTarget(Target):
    """The same class for every image, by index or by name."""

    label: int | str

    def indices(self, logits: Tensor, classes: Sequence[str] | None) -> Tensor:
        """Returns (N, 1); raises `TargetError` for a class that the network does not have."""
        index = self.label if isinstance(self.label, int) else class_index(self.label, classes)
        _check_range(torch.tensor([index]), logits.shape[1])
        return torch.full((logits.shape[0], 1), index, device=logits.device)


@dataclass(frozen=True)
class TopK(Target):
    """The k classes with the highest logits, image by image; ``TopK(1)`` is the predicted class."""

    k: int = 1

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


def class_index(name: str, classes: Sequence[str] | None) -> int:
    """Returns the index of a class name, exact or else without regard to case.

    Raises:
        TargetError: the name is unknown (the nearest names are offered), ambiguous, or no names are known.
    """
    if classes is None:
        raise TargetError(f"target {name!r} is a name, but no class names are known: pass classes=[...] or an index")
    for fold in (str, str.casefold):
        found = [i for i, known in enumerate(classes) if fold(known) == fold(name)]
        if len(found) == 1:
            return found[0]
        if found:
            raise TargetError(f"class name {name!r} stands for classes {found}: give the index")
    near = difflib.get_close_matches(name, list(classes), n=3, cutoff=0.5) or list(classes[:3])
    raise TargetError(f"no class is called {name!r}; nearest of {len(classes)}: {', '.join(map(repr, near))}")


def _check_range(indices: Tensor, count: int) -> None:
    if indices.numel() and (int(indices.min()) < 0 or int(indices.max()) >= count):
        wrong = next(int(i) for i in indices.flatten() if not 0 <= i < count)
        raise TargetError(f"class {wrong} is out of range: the network has {count} classes, 0 to {count - 1}")


@dataclass(frozen=True)
class Scores:
    """The explained scores of one batch: K per image, each a class or a callable.

    Attributes:
        indices: (N, K) int64 class indices; -1 where a callable stands.
        functions: column -> callable from the network's output to (N,) numbers.
        probability: how logits become probabilities.
    """

    indices: Tensor
    functions: dict[int, ScoreFunction] = field(default_factory=dict)
    probability: Literal["softmax", "sigmoid"] = "softmax"

    def __call__(
        self, output: Any, logits: Tensor, images: Tensor | None = None, *, probability: bool = False
    ) -> Tensor:
        """Returns the scores (M, K) of an output of M inputs.

        Args:
            output: what the network returned, handed to the callables.
            logits: (M, classes), or anything if there are only callables.
            images: (M,) the image of the batch that each input was made from; None: M = N, in order.
            probability: class scores as probabilities in [0, 1] instead of logits.
        """
        indices = self.indices if images is None else self.indices[images]
        columns: list[Tensor] = []
        if len(self.functions) < indices.shape[1]:
            values = probabilities(logits, self.probability) if probability else signed_logits(logits)
            columns = list(values.gather(1, indices.clamp(min=0)).unbind(1))
        else:
            columns = [logits.new_zeros(())] * indices.shape[1]
        for k, function in self.functions.items():
            score = function(output)
            if not isinstance(score, Tensor) or score.shape != (indices.shape[0],):
                got = tuple(score.shape) if isinstance(score, Tensor) else type(score).__name__
                raise TargetError(
                    f"target {function_name(function)} returned {got}: a callable must return one number per image,"
                    f" a tensor of shape ({indices.shape[0]},)"
                )
            columns[k] = score
        return torch.stack(columns, dim=1)

    def select(self, columns: slice) -> Scores:
        """Returns the scores of some of the K columns."""
        kept = range(*columns.indices(self.indices.shape[1]))
        functions = {i: self.functions[k] for i, k in enumerate(kept) if k in self.functions}
        return Scores(self.indices[:, columns], functions, self.probability)


def function_name(function: ScoreFunction) -> str:
    """Returns a callable's name as it is shown to people."""
    return getattr(function, "__name__", type(function).__name__)


def signed_logits(logits: Tensor) -> Tensor:
    """Returns logits (N, C) with one column a class: a single logit z becomes (-z, z), classes 0 and 1."""
    return torch.cat([-logits, logits], dim=1) if logits.shape[1] == 1 else logits


def probabilities(logits: Tensor, kind: Literal["softmax", "sigmoid"]) -> Tensor:
    """Returns probabilities (N, C), for a single logit (N, 2): (1 - p, p) with p its sigmoid."""
    signed = signed_logits(logits)
    return signed.sigmoid() if kind == "sigmoid" or logits.shape[1] == 1 else signed.softmax(dim=1)


def check_targets(targets: Any, batch: int) -> list[Target | Tensor | ScoreFunction]:
    """Turns a user's ``targets`` into a list of rules, before the network runs.

    Args:
        targets: None (the predicted class of each image), an int, a name, ``"predicted"``, ``"all"`` or ``"top-3"``,
            a `Target`, a callable, a list of these (the same for every image), or an integer tensor (N,) or (N, K)
            (image by image).
        batch: number of images N.

    Raises:
        TargetError: a type that is none of these, an empty list, or a tensor for another number of images.
    """
    if isinstance(targets, (list, tuple)):
        if not targets:
            raise TargetError("targets is empty: give at least one class, or None for the predicted class")
        return [_check_one(target) for target in targets]
    if hasattr(targets, "__array__") and not isinstance(targets, Tensor):
        targets = torch.as_tensor(targets)
    if isinstance(targets, Tensor) and targets.ndim == 0:
        targets = int(targets)
    if isinstance(targets, Tensor):
        if targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool:
            raise TargetError(f"targets is a tensor of {targets.dtype}: class indices are integers")
        if targets.ndim > 2 or targets.shape[0] != batch or targets.numel() == 0:
            raise TargetError(
                f"targets has shape {tuple(targets.shape)} for {batch} images: give ({batch},) or ({batch}, K) indices"
                " image by image, or a list of classes for all images"
            )
        return [targets.long().reshape(batch, -1)]
    return [_check_one(targets)]


def _check_one(target: Any) -> Target | ScoreFunction:
    if target is None:
        return TopK(1)
    if isinstance(target, str):
        return TopK(1) if target == "predicted" else _keyword(target) or ClassTarget(target)
    if isinstance(target, bool):
        raise TargetError(f"target {target} is a bool: give a class index, a name, a Target or a callable")
    if isinstance(target, Target):
        return target
    if hasattr(target, "__index__"):
        return ClassTarget(target.__index__())
    if callable(target):
        return target
    raise TargetError(f"target {target!r} is a {type(target).__name__}: give an index, a name, a Target or a callable")


def _keyword(name: str) -> Target | None:
    if name == "all":
        return AllClasses()
    top = re.fullmatch(r"top-?(\d+)", name)
    return TopK(int(top[1])) if top else None


def resolve_targets(
    rules: Sequence[Target | Tensor | ScoreFunction],
    logits: Tensor,
    classes: Sequence[str] | None,
    probability: Literal["softmax", "sigmoid"],
) -> Scores:
    """Turns the rules of `check_targets` into the K scores of this batch, now that its logits are known.

    Raises:
        TargetError: a class is out of range or unknown, or the network's output (N, C, ...) is no vector of classes.
    """
    columns: list[Tensor] = []
    functions: dict[int, ScoreFunction] = {}
    for rule in rules:
        if not isinstance(rule, (Target, Tensor)):
            functions[sum(c.shape[1] for c in columns)] = rule
            columns.append(torch.full((logits.shape[0], 1), -1, device=logits.device))
            continue
        if logits.ndim != 2:
            raise TargetError(
                f"the network's output has shape {tuple(logits.shape)}, not (N, classes): give a callable from the"
                " output to one number per image, e.g. targets=lambda out: out[:, 1].sum((-2, -1))"
            )
        signed = signed_logits(logits)
        if isinstance(rule, Tensor):
            _check_range(rule, signed.shape[1])
            columns.append(rule.to(logits.device))
        else:
            columns.append(rule.indices(signed, classes))
    return Scores(torch.cat(columns, dim=1), functions, probability)
