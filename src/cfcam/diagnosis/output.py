"""Checks of a pass of the network: whether it runs, and what it returns."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from cfcam.capture import probabilities
from cfcam.capture.answers.heads import leaves
from cfcam.diagnosis.findings import Finding, Severity, not_assessed, ok
from cfcam.diagnosis.setup import Setup, size_option
from cfcam.diagnosis.size import Runs, runs, sizes_that_run
from cfcam.errors import CfcamError, describe
from cfcam.models.expects import direct_convolution, known_size
from cfcam.shown import counted

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
            f"{counted(len(setup.classes), 'class name')} for {outputs} classes ({seen})",
            "names stand beside the wrong maps",
            f"--classes with {outputs} names, in the order of training; or --num-classes {len(setup.classes)} with the"
            " weights that belong to it",
            {"names": len(setup.classes), "outputs": outputs},
        )
    else:
        yield ok("classes", f"{seen}, {counted(len(setup.classes), 'class name')}", outputs=outputs)


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
