"""What layers show of an input and of its views: the passes, and which views are left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from cfcam.capture import Capture, Detections, ImageScore, LayerInfo, Scores, probe_layers
from cfcam.capture.alone import mixed
from cfcam.capture.layers.calls import split_call
from cfcam.capture.views import of_views
from cfcam.errors import LayerError, describe, few
from cfcam.methods.clusters.agreement import beyond_retest
from cfcam.methods.clusters.views import View
from cfcam.methods.scored.score_cam import chunk_size


@dataclass(frozen=True)
class _Pass:
    """A pass of some views: a capture for each layer, whose rows are view after view; ``which`` they are."""

    captures: list[Capture]
    which: list[int]


@dataclass(frozen=True, eq=False)
class Seen:
    """What one layer shows of V views of N images, of which the first is the input itself.

    Attributes:
        capture: of the input, at the target layer.
        views: V of them.
        kept: (V, N) bool, which are not left out.
        n: which of the layers this is.
        passes: of the views that did not fail.
    """

    capture: Capture
    views: Sequence[View]
    kept: Tensor
    n: int
    passes: list[_Pass]

    @property
    def layer(self) -> Capture:
        """A capture at this layer, for where its cells lie."""
        return self.passes[0].captures[self.n]

    @cached_property
    def activations(self) -> Tensor:
        """(V, N, C, *cells) laid back over the input; 0 where a view is left out, or does not show a cell."""
        A = self.layer.activations
        found = A.new_zeros(*self.kept.shape, *A.shape[1:])
        for one in self.passes:
            for v, part in zip(one.which, self._split(one.captures[self.n].activations), strict=True):
                found[v] = self._or_zero(self._laid_back(part, v)[0], v)
        return found

    @cached_property
    def shown(self) -> Tensor:
        """(V, *cells) bool, which cells a view shows."""
        nothing = self.layer.activations[:1, :1]
        return torch.stack([self._laid_back(nothing, v)[1] for v in range(len(self.views))]).to(nothing.device)

    def gradients(self) -> Iterator[tuple[int, Tensor]]:
        """Yields each view that did not fail with the gradients in it, (N, K, C, *cells); 0 where it is left out."""
        for one in self.passes:
            for v, part in zip(one.which, self._split(one.captures[self.n].gradients), strict=True):
                yield v, self._or_zero(part, v)

    def _split(self, rows: Tensor) -> Sequence[Tensor]:
        return rows.split(self.kept.shape[1])

    def _laid_back(self, maps: Tensor, v: int) -> tuple[Tensor, Tensor]:
        size = tuple(self.capture.input.shape[2:])
        return self.views[v].laid_back(maps, size, self.layer.placement(), still_axes(self.capture))

    def _or_zero(self, values: Tensor, v: int) -> Tensor:
        kept = self.kept[v]
        return values if bool(kept.all()) else torch.where(kept.reshape(-1, *[1] * (values.ndim - 1)), values, 0)


def seen(capture: Capture, views: Sequence[View], layers: Sequence[str], name: str) -> list[Seen]:
    """Returns what each layer shows of the input and of its views.

    As many views are one batch as a device does well at once; for several layers the input is once more among them. A
    network whose answers depend on what else is in a batch, or that takes no larger one, sees the views one after
    another. A view on which it fails is left out, and so is, image by image, one that moves its answer beyond its
    test-retest: that stands in the capture's notes.

    Args:
        capture: of the input, at the target layer.
        views: besides the input itself.
        layers: names of layers, the target among them.
        name: of the method, for the notes.
    """
    for view in views:
        view.check(capture.input.shape[2:], still_axes(capture))
    views = _moving(capture, views, name)
    every = (View(), *views)
    key = every, tuple(layers)
    known = capture.memo(("views run", *key), list[list[int]])  # by other parts of the targets
    passes, failed = _run(capture, *key, known)
    known[:] = [one.which for one in passes if one.captures[0] is not capture]
    kept = capture.memo(("views kept", *key), lambda: _kept(capture, every, passes, failed, name))
    return [Seen(capture, every, kept, n, passes) for n in range(len(layers))]


def _moving(capture: Capture, views: Sequence[View], name: str) -> Sequence[View]:
    """Returns the views; none, which is said, if inputs are so small that none of their test-retests is moved."""
    size, retests = capture.input.shape[2:], [view for view in views if view.is_retest]
    if not retests or any(any(view.steps(size, still_axes(capture))) for view in retests):
        return views
    small = " x ".join(map(str, size))
    why = (
        f"{name}: an input of {small} is too small to be moved, so that nothing measures its views: it is seen as it is"
    )
    said: dict[str, list[int]] = capture.memo("notes", dict)
    said[why] = list(range(len(capture.input)))
    return ()


def still_axes(capture: Capture) -> int:
    """How many of the input's first axes are no places: the frames of a clip."""
    return 1 if capture.framed or capture.frame_axis else 0


def _run(
    capture: Capture, views: tuple[View, ...], layers: tuple[str, ...], known: list[list[int]]
) -> tuple[list[_Pass], dict[int, str]]:
    """Runs the views, and tells why each that failed did.

    Args:
        capture: see `seen`.
        views: V of them.
        layers: see `seen`.
        known: which views are passes together, if they were run; empty: they were not.
    """
    alone = layers == (capture.layer,)
    passes = [_Pass([capture], [0])] if alone else []
    todo, failed = list(range(int(alone), len(views))), dict[int, str]()
    if len(views) == 1 and not alone:
        return [_Pass(capture.at(layers), [0])], failed
    if known:
        return passes + [_Pass(_captures(capture, views, part, layers), part) for part in known], failed
    network = capture.network
    at_once = max(1, min(_at_once(capture), len(todo)))
    single = network.apart or network.mixes or network.batch is not None or network.one_at_a_time
    step = 1 if single else at_once
    parts = [todo[start : start + step] for start in range(0, len(todo), step)]
    while parts:
        part = parts.pop(0)
        try:
            one = _Pass(_captures(capture, views, part, layers), part)
        except Exception as error:  # a network may raise anything
            if len(part) == 1 and (part[0] == 0 or isinstance(error, torch.OutOfMemoryError)):
                raise
            if len(part) == 1:
                failed[part[0]] = describe(error.__cause__ or error, 120)
            if len(part) > 1:
                network.apart = network.apart or not isinstance(error, torch.OutOfMemoryError)
                parts = [[v] for v in part] + parts
            continue
        if len(part) > 1 and mixed(capture, one.captures[0]):
            parts = [[v] for some in (part, *parts) for v in some]
            continue
        passes.append(one)
    return passes, failed


def _at_once(capture: Capture) -> int:
    """How many views run in one pass: of a batch that fills a CPU's caches already, one, or it takes twice as long."""
    return max(1, chunk_size(capture.input) // len(capture.input))


def _captures(capture: Capture, views: Sequence[View], which: list[int], layers: tuple[str, ...]) -> list[Capture]:
    """Returns captures, one a layer, of some views in one pass."""
    still, placed = still_axes(capture), any(isinstance(f, ImageScore) for f in capture.targets.functions.values())

    def scores(view: View) -> Scores:
        return capture.targets.moved(lambda mask: view.moved(mask, still, empty=True)) if placed else capture.targets

    some = [views[v] for v in which]
    return of_views(
        capture,
        (tuple(some), layers),
        lambda: torch.cat([view.of(capture.input, still) for view in some]),
        [scores(view) for view in some],
        layers,
    )


def _kept(
    capture: Capture, views: Sequence[View], passes: Sequence[_Pass], failed: dict[int, str], name: str
) -> Tensor:
    """Returns (V, N) bool, which views are not left out, and puts into the capture's notes which are, and why."""
    count = len(capture.input)
    own = _answer(capture)
    answers = own.new_full((len(views), *own.shape), torch.nan)
    answers[0] = own
    for one in passes:
        for v, part in zip(one.which, _answer(one.captures[0]).split(count), strict=True):
            answers[v] = part
    answers[0] = own
    lost = beyond_retest(own, answers, [view.is_retest for view in views], centred=_is_softmax(capture))
    lost[0] = False
    answered = answers.isfinite().all(2)
    measured = torch.stack([answered[v] for v, view in enumerate(views) if view.is_retest] or [answered[0]]).any(0)
    said: dict[str, list[int]] = capture.memo("notes", dict)  # line -> images
    for v, view in enumerate(views):
        if v in failed:
            lost[v] = True
            why = f"{name}: the network fails on the view {view.words}, which is left out ({failed[v]})"
            said[why] = lost[v].nonzero().flatten().tolist()
            continue
        finite = answered[v]
        for some, why in (
            (
                lost[v] & finite & measured,
                f"the view {view.words} moves the network's answer beyond its test-retest, and is",
            ),
            (
                lost[v] & finite & ~measured,
                f"no step of one pixel has an answer that the view {view.words} could be measured by, and it is",
            ),
            (lost[v] & ~finite, f"the network's answer to the view {view.words} is not finite, and it is"),
        ):
            if bool(some.any()):
                said[f"{name}: {why} left out"] = some.nonzero().flatten().tolist()
    return ~lost


def _is_softmax(capture: Capture) -> bool:
    return capture.kind == "softmax" and not isinstance(capture.output, Detections)


def _answer(capture: Capture) -> Tensor:
    """Returns the answer (M, J) that is compared: class scores, of a segmentation their means; else the scores.

    Of a detector it is what it says of each class, so that it does not depend on which boxes are asked for.
    """
    if isinstance(capture.output, Detections):
        return capture.output.most_of_each_class
    logits = capture.logits.float()
    if logits.ndim < 2 or logits.shape[1] == 0:
        return capture.scores.float()
    return logits.flatten(2).mean(2) if logits.ndim > 2 else logits


def last_layers(capture: Capture, count: int) -> tuple[str, ...]:
    """Returns the names of ``count`` layers: the blocks that end before the target layer begins, and then it.

    For a torchvision MobileNetV2 at features.18 and two layers: features.17 and features.18. Found by one pass of the
    first image, once for a network, layer and size.

    Args:
        capture: at the target layer.
        count: 1 or more.

    Raises:
        LayerError: there are fewer.
    """

    def found() -> tuple[str, ...]:
        infos, _ = probe_layers(capture.network, capture.given)
        target = next((i for i in infos if i.name == split_call(capture.layer)[0]), None)
        names = [capture.layer]
        core = None if target is None else _core(infos, target)
        while core is not None and len(names) < count:
            inside = f"{core.name}."
            start = next(n for n, i in enumerate(infos) if i.name == core.name or i.name.startswith(inside))
            before = [
                i for i in infos[:start]
                if i.calls == 1 and i.plain and not i.reducing and i.spatial(capture.input.shape)
                and i.reaches is not False and i.same_as != core.same_as and not core.name.startswith(f"{i.name}.")
            ]  # fmt: skip
            if not before:
                break
            names.insert(0, before[-1].name)
            core = before[-1]
        if len(names) < count:
            raise LayerError(
                f"layers={count}: up to {capture.layer} this network has {len(names)} ({few(names, 5)}): give at most"
                f" {len(names)}, or name layers (`cfcam layers MODEL --all` lists them)"
            )
        return tuple(names)

    known, key = capture.network.last_layers, (capture.layer, count, capture.given.shape[1:])
    if count > 1 and key not in known:
        known[key] = found()
    return known[key] if count > 1 else (capture.layer,)


def _core(infos: Sequence[LayerInfo], layer: LayerInfo) -> LayerInfo:
    """Returns the innermost block that returns a layer's tensor: of a stage its last block."""
    inside = [i for i in infos if i.same_as == layer.same_as and not i.step and i.name.startswith(f"{layer.name}.")]
    return max(inside, key=lambda i: i.name.count("."), default=layer)
