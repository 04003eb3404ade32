"""Checks of the layer that is mapped, of the way from it to the score, and of the maps that come out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from cfcam.capture import Capture, LayerInfo
from cfcam.capture.answers.outputs import find_tensor
from cfcam.capture.layers.calls import split_call
from cfcam.capture.layers.choosing import candidates
from cfcam.capture.layers.frames import layout_of
from cfcam.capture.targets.scores import FirstPass, ImageScore, ScoreTarget
from cfcam.diagnosis.findings import Finding, Severity, not_assessed, ok
from cfcam.diagnosis.setup import Setup, attempt, cells, count, size_option
from cfcam.errors import CfcamError, LayerError, TargetError, describe
from cfcam.methods import get_method
from cfcam.shown import counted

_COARSE = 3
"""Places along an axis of a grid; with fewer a map can say little more than a side of the picture."""
_MANY_DEAD = 0.5
_OTHER_METHODS = ("grad-cam", "grad-cam++", "hires-cam", "layer-cam", "score-cam")
_FEW_CHANNELS = 64


def check_layer(setup: Setup) -> Iterator[Finding]:
    """Looks for the layer that is mapped, and at what it returns."""
    layers, _ = setup.probed
    info = None
    try:
        name = setup.layer
        info = next((i for i in layers if i.name == split_call(name)[0]), None)
        wrong = _wrong(setup, name, info)
    except LayerError as error:
        wrong = (str(error), _why_no_layer(layers), _other_layer(setup))
    if wrong is not None:
        seen, means, advice = wrong
        yield Finding(
            "layer", Severity.PROBLEM, seen, means, advice, {"candidates": [info.name for info in setup.mappable]}
        )
        return
    assert info is not None  # noqa: S101  (`_wrong` speaks of a layer that did not run)
    grid = info.grid or ()
    how = "named" if setup.wanted_layer is not None else "chosen"
    yield ok("layer", f"{info.name!r} ({info.kind}) is {how}: output {info.shape}", layer=info.name, grid=list(grid))
    yield _grid(setup, info, layers)


def _wrong(setup: Setup, name: str, info: LayerInfo | None) -> tuple[str, str, str] | None:
    """What is wrong with a layer that exists: seen, means, advice; None: nothing."""
    name, call = split_call(name)
    kind = type(setup.module.get_submodule(name)).__name__
    if info is None:
        return (
            f"layer {name!r} ({kind}) did not run on this input",
            "the network passes it by: a branch for training or for other inputs, or a module called as a function",
            _other_layer(setup),
        )
    if info.calls > 1 and call is None and not info.looped:
        return (
            f"layer {name!r} ({kind}) runs {info.calls} times in one pass",
            "it has no single output that could be mapped (a shared activation, or one trunk for two pictures)",
            f"{_other_layer(setup, name.rpartition('.')[0])}; or name one call, {name}#0",
        )
    if info.shape is None:
        return (f"layer {name!r} ({kind}) returns no tensor", "a hook finds nothing to map in it", _other_layer(setup))
    if info.shape[0] == 1 and len(info.shape) == setup.x.ndim and count(info.shape[2:]) == 1:
        return (
            f"layer {name!r} ({kind}) returns {info.shape}, a grid of one place",
            "a map of it would be one colour: a pooling is before it, or the input is too small",
            _other_layer(setup),
        )
    if len(info.readings) != 1:
        several = f", which can be read as {'; or as '.join(map(str, info.readings))}" if info.readings else ""
        return (
            f"layer {name!r} ({kind}) returns {info.shape}{several}",
            "it cannot be told which places of the picture its numbers belong to",
            _other_layer(setup),
        )
    return None


def _why_no_layer(layers: list[LayerInfo]) -> str:
    if not layers or all(i.shape is None for i in layers):
        return "no module could be observed: the graph was traced, scripted or exported"
    if not candidates(layers):
        return "a map needs a layer whose output has a place for each part of the picture, and here none has one"
    return "there are layers with places, and none of them is safe to choose"


def _other_layer(setup: Setup, preferred: str = "") -> str:
    """The advice to take another layer: the preferred one if it can be mapped, else the last that can."""
    names = [info.name for info in setup.mappable]
    if preferred in names:
        return f"--layer {preferred}"
    if names:
        return f"--layer {names[-1]} (all: cfcam layers MODEL --all)"
    return "keep the feature maps (N, C, H, W) in a module of its own before they are flattened, and name that"


def _grid(setup: Setup, info: LayerInfo, layers: list[LayerInfo]) -> Finding:
    grid, size = info.grid or (), tuple(layout_of(info.readings[0], setup.x.ndim).images(setup.x).shape[2:])
    cell = tuple(round(s / g) for s, g in zip(size, grid, strict=True))
    seen = f"a grid of {cells(grid)} over an input of {cells(size)}: one cell stands for {cells(cell)}"
    values = {"grid": list(grid), "cell": list(cell)}
    lost = _shrunk_away(info, layers, setup.x.ndim)
    if min(grid) > _COARSE and not lost:
        return ok("grid", seen, **values)
    means = "a map can say little more than which side of the picture" if min(grid) <= _COARSE else ""
    if lost:
        means += f"{'; ' if means else ''}{lost!r} behind it has one place only, because the input is small"
    earlier = [i.name for i in setup.mappable if i.grid and count(i.grid) > count(grid)]
    advice = size_option([2 * s for s in size]) + (f", or --layer {earlier[-1]}" if earlier else "")
    return Finding("grid", Severity.WARNING, seen, means, advice, values)


def _shrunk_away(info: LayerInfo, layers: list[LayerInfo], axes: int) -> str | None:
    """Names a convolution behind the layer, before any pooling, whose grid is one place."""
    for later in layers[layers.index(info) + 1 :]:
        if later.reducing:
            return None
        shape = later.shape or ()
        if later.kind.startswith("Conv") and len(shape) == axes and count(shape[2:]) == 1 and shape[0] == 1:
            return later.name
    return None


class Strongest(ScoreTarget, ImageScore):
    """The mean score of the strongest class: something to explain in an output that is no classes."""

    @property
    def name(self) -> str:
        """What is explained, as shown to people."""
        return "the strongest class"

    def resolve(self, first: FirstPass) -> list[ImageScore]:
        """Returns itself."""
        return [self]

    def __call__(self, output: Any, logits: Tensor, images: Tensor, *, probability: bool) -> Tensor:
        """Returns the scores (M,)."""
        flat = logits.flatten(2).mean(2) if logits.ndim > 2 else logits.reshape(len(logits), -1)
        return flat.amax(1)


def check_target(setup: Setup) -> tuple[Capture | None, list[Finding]]:
    """Runs the network for the maps that are asked for; where the target is wrong, for another."""
    try:
        capture = setup.capture(setup.targets)
    except TargetError as error:
        outputs = setup.first.logits.shape
        finding = Finding(
            "target",
            Severity.PROBLEM,
            str(error),
            f"the network returns {tuple(outputs)}; what is explained must be one number per image of that",
            f"--target 0 to {outputs[1] - 1}, a class name, or top-3"
            if len(outputs) == 2
            else "targets=lambda out: out[:, 1].mean((-2, -1))",
        )
        instead, _ = attempt(lambda: setup.capture(Strongest(), named=False))
        return instead, [finding]
    except CfcamError as error:
        return None, [_blocked(setup, error)]
    except RuntimeError as error:
        return None, [_autograd(setup, error)]
    asked = "the predicted class" if setup.targets is None else f"{capture.scores.shape[1]} target(s)"
    shown = ", ".join(f"{v:.3g}" for v in capture.scores[0, :4].tolist())
    return capture, [ok("target", f"{asked} of each image; scores of the first: {shown}")]


_WITHOUT_GRADIENT = "--method score-cam (no gradients), or take the .detach() or no_grad out of forward()"


def _gravity(setup: Setup) -> Severity:
    """How much it matters that there are no gradients: not at all to a method that needs none."""
    return Severity.PROBLEM if needs_gradients(setup.method) else Severity.NOTE


def needs_gradients(method: str) -> bool:
    """Tells whether a method works with gradients; an unknown one does, like the default."""
    found, _ = attempt(lambda: get_method(method))
    return found is None or found.uses_gradients


def _blocked(setup: Setup, error: CfcamError) -> Finding:
    others = [info.name for info in setup.mappable if info.name != setup.layer]
    return Finding(
        "gradient",
        _gravity(setup),
        str(error),
        "the layer lies beside the way to the score, or between them the chain of gradients is cut: .detach(), .item(),"
        " numpy, torch.no_grad() around the head, integer operations",
        (f"--layer {others[-1]}, or " if others else "") + _WITHOUT_GRADIENT,
        {"candidates": others},
    )


def _autograd(setup: Setup, error: RuntimeError) -> Finding:
    text = str(error)
    if "BackwardHook" in text or "inplace" in text or "in-place" in text:
        return Finding(
            "gradient",
            _gravity(setup),
            f"autograd refuses the pass: {describe(error, 200)}",
            "a full backward hook (of other code) returns a view, and an in-place activation changes it",
            "handle.remove() for the hook, or nn.ReLU(inplace=False)",
        )
    return Finding(
        "gradient", _gravity(setup), f"the pass with gradients fails: {describe(error, 200)}", "", _WITHOUT_GRADIENT
    )


def check_activations(setup: Setup, capture: Capture) -> Iterator[Finding]:
    """Looks for a dead layer and dead channels, and for in-place operations behind the layer."""
    flat = capture.activations.flatten(2)
    n, channels = flat.shape[:2]
    low, high = flat.amin(2), flat.amax(2)
    dead = float((low == high).all(0).float().mean())
    zero = bool((flat == 0).all())
    values = {"channels": channels, "dead": dead, "min": float(low.min()), "max": float(high.max())}
    seen = (
        f"{counted(channels, 'channel')} of {setup.layer!r}, values from {values['min']:.3g} to {values['max']:.3g},"
        f" {dead:.0%} of the channels the same at all places of {'this picture' if n == 1 else f'these {n} pictures'}"
    )
    surely = Severity.WARNING if setup.synthetic else Severity.PROBLEM
    if zero or dead == 1:
        yield Finding(
            "activations",
            surely,
            seen + (", all zero" if zero else ""),
            "the layer does not tell one place from another: every map of it is empty or of one colour"
            + (" (an activation that died: large negative biases, or weights that were not loaded)" if zero else ""),
            "--layer with an earlier layer; and look at the weights: cfcam layers MODEL --measure PICTURES",
            values,
        )
    elif dead > _MANY_DEAD:
        yield Finding(
            "activations",
            Severity.NOTE if setup.synthetic else Severity.WARNING,
            seen,
            "most channels say nothing here, and maps rest on the few others: pruned, or died in training, or another"
            " normalisation",
            "see normalisation; methods that weigh channels by their gradient give weight to dead ones too",
            values,
        )
    else:
        yield ok("activations", seen, **values)
    yield _in_place(setup)


def _in_place(setup: Setup) -> Finding:
    kept: list[tuple[Tensor, int]] = []

    def hook(module: Any, args: Any, output: Any) -> None:
        tensor = find_tensor(output)
        if tensor is not None and not kept and not tensor.is_inference():
            kept.append((tensor, tensor._version))

    handle = setup.module.get_submodule(split_call(setup.layer)[0]).register_forward_hook(hook)
    try:
        with setup.undisturbed():
            setup.network(setup.x)
    finally:
        handle.remove()
    changed = bool(kept) and kept[0][0]._version != kept[0][1]
    if not changed:
        return ok("in-place", "nothing changes the layer's output afterwards")
    return Finding(
        "in-place",
        Severity.NOTE,
        f"an operation behind {setup.layer!r} changes its output in place (x.relu_(), nn.ReLU(inplace=True), x += y)",
        "cfcam hands on a copy, so its maps are of the layer's own output; your own hooks see what came after",
        "nn.ReLU(inplace=False), if you read the layer by hooks of your own",
    )


def check_gradient(setup: Setup, capture: Capture) -> tuple[bool, list[Finding]]:
    """Computes the gradients of the scores at the layer; tells whether methods can use them."""
    try:
        with capture.quiet():
            gradients = capture.gradients
    except LayerError as error:
        return False, [_blocked(setup, error)]
    except RuntimeError as error:
        return False, [_autograd(setup, error)]
    size = gradients.flatten(2).abs().amax(2)
    values = {"greatest": float(size.max()), "zero_share": float((gradients == 0).float().mean())}
    if not bool(gradients.isfinite().all()):
        bad = Finding(
            "gradient",
            _gravity(setup),
            "gradients at the layer are NaN or infinite",
            "a square root or a logarithm at 0, a division by 0, or float16 that overflows, behind the layer",
            "model.float(), or --method score-cam",
            values,
        )
        return False, [bad]
    if bool((size == 0).any()):
        share = int((size == 0).sum())
        bad = Finding(
            "gradient",
            Severity.WARNING if setup.synthetic else _gravity(setup),
            f"{share} of {size.numel()} scores have a gradient of exactly 0 at {setup.layer!r}",
            "the score does not react to small changes of the layer: rounding, argmax, sign, or an activation behind it"
            " that is shut",
            "--method score-cam, or explain a score before the rounding: targets=lambda out: ...",
            values,
        )
        return False, [bad]
    return True, [ok("gradient", f"greatest at the layer {values['greatest']:.3g}", **values)]


def check_evidence(setup: Setup, capture: Capture) -> Iterator[Finding]:
    """Looks whether the method's maps have anything positive, and if not, why and which method has."""
    maps, error = _map(capture, setup.method)
    if maps is None:
        yield Finding(
            "evidence",
            Severity.PROBLEM,
            f"{setup.method}: {describe(error, 200)}" if error else "",
            "",
            "--method grad-cam",
        )
        return
    if not bool(maps.isfinite().all()):
        yield not_assessed("evidence", f"the maps of {setup.method} are not finite")
        return
    empty = ~(maps.flatten(2) > 0).any(2)
    peak, low = float(maps.max()), float(maps.min())
    values = {"empty": int(empty.sum()), "maps": empty.numel(), "min": low, "max": peak}
    if not bool(empty.any()):
        yield ok("evidence", f"{setup.method} is positive somewhere in all {empty.numel()} maps", **values)
        return
    instead = _with_evidence(setup, capture, empty)
    yield Finding(
        "evidence",
        Severity.NOTE if setup.synthetic else Severity.WARNING,
        f"{int(empty.sum())} of {empty.numel()} maps of {setup.method} are zero or negative everywhere",
        _why_empty(setup, capture, empty, low),
        (f"--method {instead[0]}" if instead else "--layer with an earlier layer")
        + "; or ask what tells it from another class: targets=lambda z: z[:, a] - z[:, b]",
        values | {"methods_with_evidence": instead},
    )


def _map(capture: Capture, method: str) -> tuple[Tensor, None] | tuple[None, Exception]:
    with capture.quiet():
        return attempt(lambda: get_method(method)(capture))


def _with_evidence(setup: Setup, capture: Capture, empty: Tensor) -> list[str]:
    found = []
    for name in _OTHER_METHODS:
        if name == setup.method or (name == "score-cam" and capture.activations.shape[1] > _FEW_CHANNELS):
            continue
        maps, _ = _map(capture, name)
        if maps is not None and bool((maps.flatten(2) > 0).any(2)[empty].all()):
            found.append(name)
    return found


def _why_empty(setup: Setup, capture: Capture, empty: Tensor, low: float) -> str:
    where = empty.nonzero()[0].tolist()
    score = float(capture.scores[where[0], where[1]])
    activations = capture.activations[where[0]]
    if not needs_gradients(setup.method):
        return f"showing more of any part of the picture does not raise the score of the class, {score:.3g}"
    weights = capture.gradients[where[0], where[1]].flatten(1).mean(1)
    speaking = f"{int((weights > 0).sum())} of {counted(len(weights), 'channel')} speak for the class on average"
    if float(activations.min()) < 0:
        return (
            f"{speaking}, but the layer's values are signed (from {float(activations.min()):.2g}), and channels that"
            " speak for it are negative here: a layer behind its activation is easier to read"
        )
    if not bool((weights > 0).any()):
        return f"{speaking}: whatever the layer sees counts against the class, whose score is {score:.3g}"
    return (
        f"{speaking}, and at every place those against it outweigh them (lowest {low:.2g}); the score is {score:.3g},"
        + (" and negative: the class is not seen" if score < 0 else " and stands by what does not depend on the place")
    )
