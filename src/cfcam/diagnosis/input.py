"""Checks of the input: its shape and range, the size the network was built for, and the normalisation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cfcam.diagnosis.findings import Finding, Severity, not_assessed, ok
from cfcam.diagnosis.normalisation import ADVICE, MOST_PICTURES, check_answers, imagenet, normalised
from cfcam.diagnosis.passes import NormStatistics, observed
from cfcam.diagnosis.setup import MOST_IMAGES, Setup, attempt, cells, size_option
from cfcam.diagnosis.size import size_is_assumed
from cfcam.imaging import Preprocess
from cfcam.models.expects import direct_convolution, known_size
from cfcam.shown import counted

_RAW_RANGE = 30.0
"""Greatest absolute value of a normalised picture; 8-bit pixels go to 255, and (1 - 0.4) / 0.2 is 3."""
_FAR, _SUSPECT = 20.0, 0.3
"""Kullback-Leibler divergence in nats: 0 to 0.05 for the demo network's own phantoms, 0.35 and more with another
normalisation, thousands with pixels from 0 to 255."""
_POSITIONS = re.compile(r"pos(ition)?(al)?s?_?emb", re.IGNORECASE)


def check_tensor(x: Any, model: nn.Module) -> tuple[Tensor | None, list[Finding]]:
    """Checks what was given as the input, and returns what of it the network can be run on.

    Args:
        x: what was given.
        model: the network.

    Returns:
        A floating tensor (N, C, *spatial) of at most `MOST_IMAGES` images, or None; and the findings.
    """
    problem = Severity.PROBLEM
    if not isinstance(x, Tensor):
        seen = f"the input is a {type(x).__name__}, not a tensor"
        return None, [Finding("input", problem, seen, "", "torch.as_tensor(x), as (N, C, H, W), normalised")]
    findings: list[Finding] = []
    first = direct_convolution(model)
    if first is not None and x.ndim == len(first.kernel_size) + 1:
        findings.append(
            Finding(
                "input",
                problem,
                f"the input has shape {tuple(x.shape)}, without an axis for the batch",
                f"a {type(first).__name__} network is explained on (N, C, {', '.join('HW'[-x.ndim + 1 :])})",
                "x[None]",
            )
        )
        x = x[None]
    if not 3 <= x.ndim <= 5 or x.numel() == 0:
        seen = f"the input has shape {tuple(x.shape)}"
        return None, [*findings, Finding("input", problem, seen, "give (N, C, H, W) or (N, C, D, H, W)", "x[None]")]
    if first is not None and _is_channels_last(x, first.in_channels, len(first.kernel_size)):
        findings.append(
            Finding(
                "input",
                problem,
                f"the input has shape {tuple(x.shape)}, channels last",
                f"the network takes {counted(first.in_channels, 'channel')} at axis 1",
                "x.movedim(-1, 1)",
            )
        )
        x = x.movedim(-1, 1)
    if not x.is_floating_point():
        findings.append(
            Finding(
                "input",
                problem,
                f"the input is a tensor of {str(x.dtype)[6:]}, from {int(x.min())} to {int(x.max())}",
                "these are pixels; networks are trained on normalised floating-point numbers",
                "x = Preprocess()(read_image(path))[None], or ((x / 255) - mean) / std as in training",
            )
        )
        x = x.float()
    if not bool(x.isfinite().all()):
        bad = int((~x.isfinite()).sum())
        findings.append(
            Finding(
                "input",
                problem,
                f"{bad} of {x.numel()} numbers of the input are NaN or infinite",
                "nothing that is computed from them is a number (a standard deviation of 0, or a broken file)",
                "x.nan_to_num(), or leave the picture out",
                {"not_finite": bad},
            )
        )
    if len(x) > MOST_IMAGES:
        seen = f"{len(x)} images; the first {MOST_IMAGES} are looked at (for the normalisation {MOST_PICTURES})"
        findings.append(Finding("input", Severity.NOTE, seen))
    return x[:MOST_IMAGES], findings


def _is_channels_last(x: Tensor, channels: int, axes: int) -> bool:
    return x.ndim == axes + 2 and x.shape[1] != channels and x.shape[-1] == channels


def check_range(setup: Setup) -> Iterator[Finding]:
    """Looks at the values of the input: pixels that were never normalised, a picture without content, a grey one."""
    x = setup.x.float()
    low, high, mean = float(x.min()), float(x.max()), float(x.mean())
    values = {"min": low, "max": high, "mean": mean}
    seen = f"{tuple(x.shape)}, values from {low:.4g} to {high:.4g}, mean {mean:.3g}"
    if max(abs(low), abs(high)) > _RAW_RANGE and not setup.synthetic:
        yield Finding(
            "input",
            Severity.PROBLEM,
            seen,
            "these look like pixels from 0 to 255, or a scan's own units, that were not scaled: a network does not fail"
            " on them, it answers at random",
            "((x / 255) - mean) / std as in training; from the command line --mean and --std (for pixels in 0..1)",
            values,
        )
    elif high == low:
        yield Finding(
            "input", Severity.WARNING, seen, "the picture is of one value: there is nothing to see", "", values
        )
    else:
        yield ok("input", seen + (", made up" if setup.synthetic else ""), **values)
    if x.shape[1] == 3 and not setup.synthetic and bool((_equalised(x).diff(dim=1).abs() < 1e-3).all()):
        yield Finding(
            "input",
            Severity.NOTE,
            "the picture is grey, and given as three equal channels",
            "that is what a network for colour pictures needs; one that was fine-tuned so is at home with it",
        )


def _equalised(x: Tensor) -> Tensor:
    """The channels without their own mean and scale, so that grey pictures are grey after any normalisation."""
    flat = x.flatten(2)
    return (flat - flat.mean(2, keepdim=True)) / flat.std(2, keepdim=True).clamp(min=1e-6)


def check_size(setup: Setup) -> Iterator[Finding]:
    """Compares the input's size with the one that the network says it was built for."""
    if size_is_assumed(setup):
        return  # `check_resizing` looks for it, once the network is known to run
    size = tuple(setup.x.shape[2:])
    known = known_size(setup.module, len(size))
    positions = [n for n, _ in setup.module.named_parameters() if _POSITIONS.search(n)]
    if known is None or known == size:
        told = "the size it was built for" if known else "the network does not say what it was built for"
        yield ok("size", f"{cells(size)}, {told}", input=list(size), built_for=known and list(known))
        return
    embedded = f" of {positions[0]!r}" if positions else ""
    yield Finding(
        "size",
        Severity.WARNING if positions else Severity.NOTE,
        f"the input is {cells(size)}, the network was built for {cells(known)}",
        f"its position embeddings{embedded} are for that size, and are interpolated or do not fit"
        if positions
        else "a convolutional network runs on other sizes, and knows things at the scale of its own",
        size_option(known),
        {"input": list(size), "built_for": list(known)},
    )


def check_normalisation(setup: Setup) -> Iterator[Finding]:
    """Measures how far what reaches the first BatchNorms is from what they saw in training.

    The distance is the Kullback-Leibler divergence between normal distributions, channel by channel, and the median of
    the channels and the mean of the first three BatchNorms are taken; then other normalisations of the same pictures
    are tried. One picture is not the training set: small values say nothing.
    """
    modules = list(setup.module.modules())
    if not any(isinstance(m, _BatchNorm) for m in modules):
        if isinstance(setup.preprocess, Preprocess) and setup.x.ndim == 4 and not setup.synthetic:
            yield from check_answers(setup, _raw(setup.pictures, setup.preprocess))
            return
        kinds = sorted({type(m).__name__ for m in modules if "Norm" in type(m).__name__})
        why = f"the network has no BatchNorm ({', '.join(kinds) or 'no norm at all'}), which alone remembers its data"
        yield not_assessed("normalisation", why, "compare --mean and --std with what was used in training")
        return
    if setup.synthetic:
        yield not_assessed("normalisation", "the input is made up", "cfcam doctor --model ... PICTURES, a few of yours")
        return
    norms = setup.first.norms
    if not norms:
        yield not_assessed("normalisation", "no BatchNorm with trained statistics ran")
        return
    own = _divergence(norms)
    values = {
        "divergence": own,
        "modules": [{"name": n.name, "distance": n.distance, "spread": n.spread} for n in norms],
    }
    first = norms[0]
    seen = (
        f"at {first.name!r} means lie {first.distance:.2g} standard deviations from those of training, and spreads are"
        f" {first.spread:.2g} of theirs (median of its channels; divergence {own:.2g} over {len(norms)} BatchNorms)"
    )
    if own <= _SUSPECT:
        yield ok("normalisation", seen, **values)
        return
    trials = _trials(setup)
    best = min(trials, key=lambda name: trials[name], default=None)
    better = best is not None and trials[best] < own / 3
    values["tried"] = trials
    means = "the network was trained on inputs with another mean and spread: it does not fail on these, it gets worse"
    if better:
        means += f"; the same pictures as {best} come to {trials[best or '']:.2g}"
    else:
        means += ", or these pictures are unlike its own"
    advice = (
        ADVICE[best] if best is not None and better else "--mean and --std as in training, and pictures like its own"
    )
    yield Finding("normalisation", Severity.PROBLEM if own > _FAR else Severity.WARNING, seen, means, advice, values)


def _divergence(norms: list[NormStatistics]) -> float:
    return sum(n.divergence for n in norms) / len(norms)


def _trials(setup: Setup) -> dict[str, float]:
    """Returns the divergence of the same pictures in other normalisations, the best where several are possible."""
    found: dict[str, float] = {}
    for pixels in _pixels(setup):
        for name, x in normalised(pixels).items():
            result, _ = attempt(lambda x=x: observed(setup.network, x.to(setup.x.dtype)))  # type: ignore[misc]
            if result is not None and result.norms:
                found[name] = min(found.get(name, float("inf")), _divergence(result.norms))
    return found


def _pixels(setup: Setup) -> list[Tensor]:
    """Returns the pictures as pixels in 0..1, in every way in which the input can have been made of such."""
    x = setup.x.float()
    if isinstance(setup.preprocess, Preprocess) and x.ndim == 4:
        return [_raw(x, setup.preprocess)]
    mean, std = imagenet(x)
    ways = [x, (x + 1) / 2, x / 255, x * std + mean]
    return [pixels for pixels in ways if float(pixels.min()) > -0.02 and float(pixels.max()) < 1.02]


def _raw(x: Tensor, preprocess: Preprocess) -> Tensor:
    """The pictures (N, C, H, W) as pixels in 0..1, red first."""
    mean, std = (torch.tensor(v).to(x.float()).reshape(1, -1, 1, 1) for v in (preprocess.mean, preprocess.std))
    pixels = x.float() * std + mean
    return pixels.flip(1) if preprocess.order == "bgr" else pixels


def check_preparation(setup: Setup) -> Iterator[Finding]:
    """Says how the pictures were prepared, and what of it nobody stated."""
    if setup.synthetic or setup.preprocess is None or not setup.preprocess.sources:
        return
    if not setup.preprocess.assumptions:
        yield ok("preparation", setup.preprocess.told)
        return
    pictures = isinstance(setup.preprocess, Preprocess)
    options = "--mean, --std, --size, --resize" if pictures else "--intensity, --spacing, --orientation, --size"
    yield Finding(
        "preparation",
        Severity.WARNING,
        setup.preprocess.told,
        "what is not stated decides every number, and a network does not fail on the wrong one",
        f"what was used in training: {options}, or a file NAME.preprocess.json beside the weights",
        {"assumed": list(setup.preprocess.assumptions)},
    )


INPUT_CHECKS = (check_range, check_size, check_preparation)
