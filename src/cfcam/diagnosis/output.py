"""Checks of a pass of the network: whether it runs, what it returns, and whether it returns the same again."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from cfcam.capture import probabilities
from cfcam.capture.answers.heads import leaves
from cfcam.diagnosis.findings import Finding, Severity, not_assessed, ok
from cfcam.diagnosis.setup import (
    Setup,
    attempt,
    direct_convolution,
    known_size,
    size_option,
)
from cfcam.diagnosis.size import Runs, runs, sizes_that_run
from cfcam.diagnosis.variation import mixing
from cfcam.errors import CfcamError, describe

_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
_OF_SIZE = (RuntimeError, ValueError, AssertionError, IndexError)  # what networks raise on sizes that do not fit
_SATURATED = 1e-4


def why_it_does_not_run(setup: Setup, error: Exception) -> Iterator[Finding]:
    """Says what stopped the first pass, and on what the network does run."""
    shape = tuple(setup.x.shape)
    first = direct_convolution(setup.module)
    own = error.__cause__ if isinstance(error, CfcamError) else error
    seen = f"the network fails on an input {shape}: {describe(own or error, 200)}"
    if isinstance(error, torch.OutOfMemoryError) or any(sign in str(error).lower() for sign in _NO_MEMORY):
        yield Finding(
            "run", Severity.PROBLEM, seen, "one pass does not fit into the memory", "--size SMALLER, or --sliding 96"
        )
        return
    if first is not None and len(first.kernel_size) != len(shape) - 2:
        yield Finding(
            "run",
            Severity.PROBLEM,
            f"the network begins with a {type(first).__name__}, the input is {shape}",
            "it takes volumes (N, C, D, H, W)" if len(first.kernel_size) == 3 else "it takes pictures (N, C, H, W)",
            "cfcam doctor SCAN.nii.gz --model ..." if len(first.kernel_size) == 3 else "x[:, :, x.shape[2] // 2]",
        )
        return
    if first is not None and first.in_channels != shape[1]:
        yield _wrong_channels(shape, first.in_channels)
        return
    refused = Finding("run", Severity.PROBLEM, str(error), "cfcam calls a model with one batch of images")
    if not isinstance(own, _OF_SIZE):
        yield refused
        return
    known = known_size(setup.module, len(shape) - 2)
    if known and known != shape[2:] and runs(setup, known):
        found = Runs((known,))
    else:
        found = sizes_that_run(setup, runs_at_own=False)
    if found.at:
        yield _of_other_size(shape, seen, found, stated=found.at == (known,))
        return
    if isinstance(error, CfcamError):
        yield refused
        return
    yield Finding(
        "run",
        Severity.PROBLEM,
        seen,
        "the network was tried on other sizes too, and runs on none of them",
        "run model(x) by itself; what else it must be called with goes into cfcam.capture.Adapter",
        {"input": list(shape)},
    )


def _of_other_size(shape: tuple[int, ...], seen: str, found: Runs, *, stated: bool) -> Finding:
    nearest = min(found.at, key=lambda size: abs(math.log(size[0] / shape[2])))
    values = {"input": list(shape), "runs_on": list(nearest), "runs_at": [list(size) for size in found.at]}
    if found.any_size:
        means = f"it runs on {found.said}: not every size can be divided as it divides its input"
    else:
        only = "" if stated or found.untried else " only, of the usual sizes"
        means = (
            f"it runs on {found.said}{only}: a layer behind the convolutions, or an embedding of positions, is of one"
            " size"
        )
    advice = size_option(nearest)
    if not stated and len(found.at) > 1:
        advice += ", if that is how it was trained: nobody states which"
    return Finding("run", Severity.PROBLEM, seen, means, advice, values)


def _wrong_channels(shape: tuple[int, ...], wanted: int) -> Finding:
    grey = shape[1] == 1 and wanted == 3
    advice = {True: f"x.expand(-1, {wanted}, {', '.join(['-1'] * (len(shape) - 2))})", False: "x[:, :1]"}[shape[1] == 1]
    return Finding(
        "run",
        Severity.PROBLEM,
        f"the input {shape} has {shape[1]} channel{'s' if shape[1] > 1 else ''}, the first convolution takes {wanted}",
        "a grey picture for a colour network: its channel is repeated, and normalised like each of the three"
        if grey
        else "the picture must have as many channels as in training",
        f"{advice}; from the command line --mean and --std with {wanted} number{'s' if wanted > 1 else ''} each",
        {"channels": shape[1], "wanted": wanted},
    )


def check_finite(setup: Setup) -> Iterator[Finding]:
    """Names the first module whose output is not finite."""
    logits, broken = setup.first.logits, setup.first.broken
    if broken is None and not bool(logits.isnan().any()):
        yield ok("finite", "every module's output is finite")
        return
    half = logits.dtype in (torch.float16,)
    advice = (
        "model.bfloat16() or model.float()" if half else "look at this module: a division, a logarithm, an overflow"
    )
    if broken is None:
        seen = "the scores hold NaN, though every module's output is finite: it is made by code between modules"
    else:
        name, kind, finite_input = broken
        where = "its input was finite" if finite_input else "its input already was not: look at the code before it"
        seen = f"NaN or infinity first in the output of {name!r} ({kind}); {where}"
    if not _weights_finite(setup.module):
        advice = "load other weights: these hold NaN or infinity"
    yield Finding(
        "finite",
        Severity.PROBLEM,
        seen,
        "everything that follows it is no number either, and maps carry the status 'not finite'",
        advice,
        {"module": None if broken is None else broken[0]},
    )


def _weights_finite(module: nn.Module) -> bool:
    return all(bool(p.isfinite().all()) for p in module.parameters() if p.is_floating_point())


def check_repeat(setup: Setup) -> Iterator[Finding]:
    """Runs the same input again: with the same state and random numbers, with others, and in the state it leaves."""
    seen = setup.variation
    tolerance = _tolerance(seen.scores.dtype, 1e-5)
    yield _repeat(setup, tolerance)
    if seen.state:
        change, scale = (0.0, 1.0) if seen.in_a_row is None else _change(*seen.in_a_row)
        moves = change > tolerance * scale
        names = ", ".join(seen.state[:_NAMED]) + (
            f" and {len(seen.state) - _NAMED} more" if len(seen.state) > _NAMED else ""
        )
        yield Finding(
            "state",
            Severity.WARNING if moves else Severity.NOTE,
            f"a pass changes what the network holds: {names}"
            + (f"; a second call of yours then differs by {change:.3g} in scores up to {scale:.3g}" if moves else ""),
            "cfcam gives every pass the state that the network has now, and puts it back: a map explains one such call",
            "bring the network into the state you mean, as new or after earlier pictures, before it is explained"
            if moves
            else "",
            {"changed": seen.state, "change": change},
        )


_NAMED = 4


def _repeat(setup: Setup, tolerance: float) -> Finding:
    seen = setup.variation
    change, scale = _change(seen.scores, seen.again)
    other, _ = _change(seen.scores, seen.redrawn)
    alike = all(torch.equal(_predicted(seen.scores), _predicted(s)) for s in (seen.again, seen.redrawn))
    worst, values = max(change, other), {"change": max(change, other), "scale": scale, "drawn_by": seen.drawing}
    if worst <= tolerance * scale:
        return ok(
            "repeat", f"two passes of the same input differ by {change:.1g} in scores up to {scale:.3g}", **values
        )
    differ = f"two passes of the same input differ by {worst:.3g} in scores up to {scale:.3g}"
    differ += "" if alike else ", and in their class"
    severity = Severity.WARNING if alike else Severity.PROBLEM
    if change > tolerance * scale:
        return Finding(
            "repeat",
            severity,
            f"{differ}, though they began with the same state and random numbers",
            "what differs is outside of the network and of the known generators: a global, a class attribute, the time,"
            " compiled code, or sums in no fixed order: a map explains one pass",
            "look for what forward() reads beside its input and self; torch.use_deterministic_algorithms(True)",
            values,
        )
    by = (
        f" ({', '.join(seen.drawing[:_NAMED])})" if seen.drawing else " (drawn by random or numpy, or by compiled code)"
    )
    dropping = any("dropout" in name for name in seen.drawing) or not seen.drawing
    return Finding(
        "repeat",
        severity,
        differ + f", with other random numbers{by}",
        "something is random in evaluation mode too: every pass of cfcam draws the same numbers, so that a map explains"
        " one draw",
        (
            "F.dropout(x, p, training=self.training), or no .train() in forward()"
            if dropping
            else "no noise in evaluation"
        )
        + "; or average: Augmented('grad-cam')",
        values,
    )


def _varies(setup: Setup) -> bool:
    seen = setup.variation
    tolerance = _tolerance(seen.scores.dtype, 1e-5)
    return any(c > tolerance * s for c, s in (_change(seen.scores, seen.again), _change(seen.scores, seen.redrawn)))


def _predicted(scores: Tensor) -> Tensor:
    """The strongest class of each image, on the mean over its places."""
    return (scores.flatten(2).mean(2) if scores.ndim > 2 else scores.reshape(len(scores), -1)).argmax(1)


def check_batch(setup: Setup) -> Iterator[Finding]:
    """Compares the scores of an image alone with its scores in a batch."""
    alone = setup.x[:1]
    other = setup.x[1:2] if len(setup.x) > 1 else alone.flip(-1) * 0.5
    both = torch.cat([alone, other])
    images = torch.arange(2, device=both.device) % len(setup.x)  # of which image each is, for an adapter
    varies, _ = attempt(lambda: _varies(setup))
    if varies:
        why = "two passes of the same input differ already (see repeat), which hides what other images do"
        yield not_assessed("batch", why, "switch off what is random, and run cfcam doctor again")
        return
    with setup.undisturbed():
        single, error = attempt(lambda: setup.network(alone, images=images[:1])[1])
        if single is None or len(single) != 1:
            yield _one_size(setup, error)
            return
        pair, error = attempt(lambda: setup.network(both, images=images)[1])
    if pair is None:
        yield Finding(
            "batch",
            Severity.WARNING,
            f"the network runs on one image and fails on two: {describe(error, 200)}" if error else "",
            "methods of masked passes send several images at once",
            "--batch-size 1; ScoreCAM(batch_size=1); exported programs: export with a dynamic batch",
        )
        return
    change, scale = _change(single, pair[:1])
    values = {"change": change, "scale": scale}
    if change <= _tolerance(single.dtype, 1e-3) * scale:
        yield ok("batch", f"an image's scores in a batch differ from those alone by {change:.1g}", **values)
        return
    causes, _ = attempt(lambda: mixing(setup, alone, both, images))
    yield Finding(
        "batch",
        Severity.PROBLEM,
        f"an image's scores change by {change:.3g} (of {scale:.3g}) when another is in its batch"
        + "".join(f"; {cause}" for cause in causes or ()),
        "images mix: a normalisation over the batch (BatchNorm that trains, or with track_running_stats=False),"
        " attention or a mean over axis 0, or rows that are shuffled; gradients and masked passes of one image then"
        " hold parts of the others",
        "--batch-size 1 for gradient methods and ScoreCAM(batch_size=1); better: normalise each image by itself",
        values | {"causes": causes or []},
    )


def _one_size(setup: Setup, error: Exception | None) -> Finding:
    given = len(setup.x)
    return Finding(
        "batch",
        Severity.WARNING,
        f"the network runs on {given} images and not on one" + (f": {describe(error, 200)}" if error else ""),
        f"a batch size is written into its forward, or it was exported with one: cfcam sends {given} images at a time,"
        " and whether they mix is not assessed",
        f"give {given} images in every call; or x.view(len(x), -1), and an export with a dynamic batch",
    )


def _change(first: Tensor, second: Tensor) -> tuple[float, float]:
    if first.shape != second.shape:
        return float("inf"), 1.0
    both = torch.stack([first, second]).cpu().double()
    both = both[:, both.isfinite().all(0)]
    if both.numel() == 0:
        return 0.0, 1.0
    return float((both[0] - both[1]).abs().max()), max(float(both.abs().max()), 1e-12)


def _tolerance(dtype: torch.dtype, of_float: float) -> float:
    return max(of_float, 2e-2) if dtype in (torch.float16, torch.bfloat16) else of_float


def check_classes(setup: Setup) -> Iterator[Finding]:
    """Compares the class names with the scores that the network returns."""
    logits = setup.first.logits
    seen = f"scores {tuple(logits.shape)}"
    outputs = max(2, logits.shape[1]) if logits.ndim >= 2 else 0
    if logits.numel() == 0:
        yield not_assessed("classes", "the network returns no class scores")
    elif setup.classes is None:
        yield ok("classes", f"{seen}, no class names", outputs=outputs)
    elif len(setup.classes) != outputs:
        yield Finding(
            "classes",
            Severity.PROBLEM,
            f"{len(setup.classes)} class names for {outputs} classes ({seen})",
            "names stand beside the wrong maps",
            f"--classes with {outputs} names, in the order of training; or --num-classes {len(setup.classes)} with the"
            " weights that belong to it",
            {"names": len(setup.classes), "outputs": outputs},
        )
    else:
        yield ok("classes", f"{seen}, {len(setup.classes)} class names", outputs=outputs)


def check_output(setup: Setup) -> Iterator[Finding]:
    """Says which tensor of the output is read, and whether it is logits or probabilities already."""
    last = setup.network.answers.last
    if last is None:
        yield not_assessed("output", "the network returns no class scores", "targets=lambda out: one number per image")
        return
    reading = last.reading
    seen = f"class scores are {last.path!r} of {_several(setup.first.output)}; " if last.path else ""
    values = {"output": last.path, "given": reading.given, "kind": reading.kind}
    if reading.given is not None and reading.reached:
        seen += f"they are probabilities already ({reading.given}), taken as they are; maps explain the score before"
    elif reading.given is not None:
        seen += f"they are probabilities already ({reading.given}), taken as they are"
    else:
        seen += "they are logits"
    if not reading.notes:
        yield ok("output", seen, **values)
        return
    advice = "probability='given' (--probability given) if they are probabilities" if reading.given is None else ""
    yield Finding("output", Severity.NOTE, seen, "; ".join(reading.notes), advice, values)


def _several(output: Any) -> str:
    return ", ".join(map(str, leaves(output)))


def check_saturation(setup: Setup) -> Iterator[Finding]:
    """Looks whether the probability has room to move: its gradient is p (1 - p) times the logit's."""
    logits = setup.first.logits.cpu()
    if logits.ndim != 2 or logits.numel() == 0:
        yield not_assessed("saturation", f"scores {tuple(logits.shape)} are no vector of classes")
        return
    if not bool(logits.isfinite().all()):
        yield not_assessed("saturation", "the scores are not finite")
        return
    kind = setup.network.kind()
    wide = probabilities(logits.double(), kind)
    top = wide.argmax(1, keepdim=True)
    rest = _rest(logits.double(), top, kind)
    shown = int(rest.argmin())
    p, low = float(wide.gather(1, top)[shown, 0]), float(rest[shown])
    rounded = float(probabilities(logits.float(), kind).gather(1, top)[shown, 0])
    values: dict[str, Any] = {"probability": p, "rest": low, "gradient_factor": p * low}
    seen = f"greatest probability {rounded:.6g} ({kind}), 1 - p = {low:.1e}, greatest logit {float(logits.max()):.3g}"
    if low > _SATURATED:
        yield ok("saturation", seen, **values)
        return
    lost = "is exactly 1 in this precision" if rounded == 1 else "hardly moves"
    yield Finding(
        "saturation",
        Severity.NOTE if setup.synthetic else Severity.WARNING,
        seen,
        f"the probability {lost}, and its gradient is {p * low:.1e} of the logit's: methods and measures"
        " of probabilities (score-cam, average drop) see no difference between pictures; gradient methods here explain"
        " the logit, and are not touched",
        "ScoreCAM(score='logit'); targets=lambda z: z[:, a] - z[:, b] for what tells the class from the next",
        values,
    )


def _rest(logits: Tensor, top: Tensor, kind: str) -> Tensor:
    """What is left to probability 1, computed without the cancellation of 1 - p."""
    if logits.shape[1] == 1:
        return torch.sigmoid(-logits[:, 0].abs())
    if kind == "sigmoid":
        return torch.sigmoid(-logits.gather(1, top)[:, 0])
    return logits.softmax(1).scatter(1, top, 0.0).sum(1)


OUTPUT_CHECKS = (check_finite, check_output, check_classes, check_repeat, check_batch, check_saturation)
