"""Which of the usual normalisations a network without BatchNorms seems to want, told from its answers alone.

A network answers worse on pictures that are normalised otherwise than in its training: it is less sure of each, and its
answers differ less between pictures. Without labels neither is proof. That it is surer can come from answering the same
always; that its answers differ more, from noise where all pictures are of one class. So a normalisation is named only
where both say so, on nearly every resample of the pictures, and where the features of a picture and of its mirror image
agree best with it, too. Else what was measured is shown, and nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cfcam.capture.answers.outputs import find_tensor
from cfcam.diagnosis.findings import Finding, Severity, not_assessed, ok
from cfcam.diagnosis.setup import Setup, attempt
from cfcam.models.head import find_head
from cfcam.shown import counted

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
CAFFE = (103.939, 116.779, 123.68)  # of blue, green and red bytes, as Caffe's networks have it

IMAGENET, HALVES, UNIT = "ImageNet's normalisation", "pixels in -1..1", "pixels in 0..1"
BYTES, SCORED, BLUE_FIRST = "pixels in 0..255", "z-score of each picture", "Caffe's, blue first"
ADVICE = {
    IMAGENET: "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 (Preprocess's default)",
    HALVES: "--mean 0.5 --std 0.5; (p - 128)/128 is nearly the same: --mean 0.50196 --std 0.50196",
    UNIT: "--mean 0 --std 1",
    BYTES: "--mean 0 --std 0.00392157 (1/255)",
    SCORED: "cfcam's Preprocess has none: let the network do it in its forward, on --mean 0 --std 1",
    BLUE_FIRST: 'a file NAME.preprocess.json beside the weights: {"order": "bgr", "mean": [0.4076, 0.458, 0.485],'
    ' "std": 0.00392157}',
}
"""Name of a normalisation -> how it is asked for."""

MOST_PICTURES = 32
_FEWEST = 8
_RESAMPLES, _SUPPORT = 200, 0.9
_TIED = 1e-4  # nats, and correlations: what differs by less is the same
_SAME = 0.03  # standard deviations of the input by which two normalisations may differ and be one


@dataclass(frozen=True)
class Answers:
    """What a network answers to pictures in one normalisation.

    Attributes:
        entropy: (N,) of each picture's probabilities, in nats, summed over the labels of a multi-label network.
        probabilities: (N, L, C): L labels of C alternatives, 1 x classes with a softmax, classes x 2 with a sigmoid.
        mirrored: how well the features of the pictures and of their mirror images agree: the median over the features
            of their correlation; None if there are no features.
    """

    entropy: Tensor
    probabilities: Tensor
    mirrored: float | None

    def information(self, weights: Tensor) -> Tensor:
        """Mutual information (B,) of picture and answer in nats, for weights (B, N) of the pictures that sum to 1."""
        mean = torch.einsum("bn,nlc->blc", weights, self.probabilities)
        return _entropy(mean) - weights @ self.entropy


def normalised(pixels: Tensor) -> dict[str, Tensor]:
    """Returns pictures (N, C, *spatial) with pixels in 0..1 in every usual normalisation."""
    mean, std = imagenet(pixels)
    axes = tuple(range(1, pixels.ndim))
    found = {
        IMAGENET: (pixels - mean) / std,
        HALVES: 2 * pixels - 1,
        UNIT: pixels,
        BYTES: 255 * pixels,
        SCORED: (pixels - pixels.mean(axes, keepdim=True)) / pixels.std(axes, keepdim=True).clamp(min=1e-6),
    }
    if pixels.shape[1] == 3:
        found[BLUE_FIRST] = 255 * pixels.flip(1) - _channelwise(CAFFE, pixels)
    return found


def imagenet(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Returns ImageNet's mean and standard deviation for each channel, or their means."""
    three = pixels.shape[1] == 3
    mean, std = (_channelwise(v if three else (sum(v) / 3,), pixels) for v in (MEAN, STD))
    return mean, std


def _channelwise(values: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(values).to(like).reshape(1, -1, *[1] * (like.ndim - 2))


def check_answers(setup: Setup, pixels: Tensor) -> Iterator[Finding]:
    """Tries the usual normalisations on pictures, and names one if the network's answers leave little doubt.

    Args:
        setup: the network; its input is the pictures in the normalisation in use.
        pixels: (N, C, H, W) the same pictures with pixels in 0..1, at most `MOST_PICTURES`.
    """
    check = "normalisation"
    if len(pixels) < _FEWEST:
        why = (
            "the network has no BatchNorm, which alone remembers its data, and was given"
            f" {counted(len(pixels), 'picture')}"
        )
        yield not_assessed(check, why, f"give {_FEWEST} to {MOST_PICTURES} pictures of several classes")
        return
    tried = normalised(pixels)
    used = next((name for name, x in tried.items() if _is_same(x[: len(setup.x)], setup.x)), None)
    answers: dict[str, Answers] = {}
    for name, x in tried.items():
        found, _ = attempt(lambda x=x: _answers(setup, x))  # type: ignore[misc]
        if found is not None:
            answers[name] = found
    if len(answers) < 2:
        yield not_assessed(check, "its output is not one of classes", "compare --mean and --std with those of training")
        return
    values = _values(answers)
    told = "; ".join(
        f"{name}: entropy {v['entropy']:.2f}, information {v['information']:.2f}" for name, v in values.items()
    )
    best, support = _best(answers)
    surest = min(values, key=lambda name: values[name]["entropy"] or 0.0)
    telling = max(values, key=lambda name: values[name]["information"] or 0.0)
    numbers = {"pictures": len(pixels), "tried": values, "used": used, "best": best, "support": support}
    if best is None:
        yield Finding(
            check,
            Severity.NOTE,
            f"not assessed: which normalisation the network wants cannot be judged from its answers to these"
            f" {counted(len(pixels), 'picture')} ({told}; nats)",
            f"it is surest with {surest}, and its answers differ most with {telling}; a normalisation is named only"
            " where both are one, in nearly all resamples of the pictures, and mirrored pictures agree best with it,"
            " too",
            f"up to {MOST_PICTURES} pictures of several classes may tell; --mean and --std as in training",
            numbers,
        )
    elif best == used:
        yield ok(check, f"of the usual ones it seems to want the one in use, {best} ({told}; nats)", **numbers)
    else:
        yield Finding(
            check,
            Severity.WARNING,
            f"the network seems to want {best}, and is given {used or 'another'} ({told}; nats)",
            f"with {best} it is surest, its answers to different pictures differ most (in {support:.0%} of"
            f" {_RESAMPLES} resamples of {len(pixels)} pictures), and features of mirrored pictures agree best: this is"
            " evidence, and no proof",
            f"{ADVICE[best]}, if that is how it was trained",
            numbers,
        )


def _best(answers: Mapping[str, Answers]) -> tuple[str | None, float]:
    """The normalisation that everything speaks for, or None; and the share of resamples in which it is the best."""
    names = list(answers)
    count = len(answers[names[0]].entropy)
    drawn = torch.randint(count, (_RESAMPLES, count), generator=torch.Generator().manual_seed(0))
    weights = torch.zeros(_RESAMPLES + 1, count, dtype=torch.float64)
    weights[:-1].scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))
    weights[-1] = 1
    weights /= count
    certainty = -torch.stack([weights @ answers[name].entropy for name in names])
    information = torch.stack([answers[name].information(weights) for name in names])
    best = int(certainty[:, -1].argmax())
    leads = _leads(certainty, best) & _leads(information, best)
    support = float(leads[:-1].double().mean())
    mirrored = [answers[name].mirrored for name in names]
    known = [value for value in mirrored if value is not None]
    own = mirrored[best]
    steady = len(known) < len(mirrored) or own is None or own >= max(known) - _TIED
    agreed = bool(leads[-1]) and steady and support >= _SUPPORT
    return (names[best] if agreed else None), support


def _leads(values: Tensor, best: int) -> Tensor:
    """Where one row of (A, B) is above all others by more than rounding."""
    others = torch.cat([values[:best], values[best + 1 :]]).amax(0)
    return values[best] > others + _TIED


def _values(answers: Mapping[str, Answers]) -> dict[str, dict[str, float | None]]:
    found: dict[str, dict[str, float | None]] = {}
    for name, one in answers.items():
        even = torch.full((1, len(one.entropy)), 1 / len(one.entropy), dtype=torch.float64)
        found[name] = {
            "entropy": float(one.entropy.mean()),
            "information": float(one.information(even)),
            "mirrored": one.mirrored,
        }
    return found


def _answers(setup: Setup, x: Tensor) -> Answers:
    """Runs the network on pictures and their mirror images."""
    head = find_head(setup.module)
    kept: list[Tensor] = []

    def before(module: nn.Module, args: object) -> None:
        tensor = find_tensor(args)
        if tensor is not None and tensor.ndim == 2:
            kept.append(tensor.detach().double().cpu())

    logits: list[Tensor] = []
    handle = None if head is None else head[1].register_forward_pre_hook(before)
    try:
        with setup.undisturbed():
            for pictures in (x, x.flip(-1)):
                for batch in pictures.split(len(setup.x)):
                    given = batch.to(setup.x)
                    logits.append(setup.network(given)[1].detach().double().cpu())
    finally:
        if handle is not None:
            handle.remove()
    scores = torch.cat(logits)[: len(x)]
    if scores.ndim != 2 or not bool(scores.isfinite().all()):
        raise ValueError("not scores of classes")
    sigmoid = scores.shape[1] == 1 or setup.network.probability == "sigmoid"
    p = scores.sigmoid()
    probabilities = torch.stack([p, 1 - p], -1) if sigmoid else scores.softmax(1)[:, None]
    features = torch.cat(kept) if kept else None
    mirrored = None if features is None or len(features) != 2 * len(x) else _agreement(*features.chunk(2))
    return Answers(_entropy(probabilities), probabilities, mirrored)


def _agreement(features: Tensor, mirrored: Tensor) -> float:
    """Median over the features (N, D) of the correlation between pictures and their mirror images."""
    one, other = features - features.mean(0), mirrored - mirrored.mean(0)
    spread = (one.square() + other.square()).mean(0) / 2
    return float(((one * other).mean(0) / (spread + 1e-6)).median())


def _entropy(p: Tensor) -> Tensor:
    """Entropy of (..., L, C) in nats, summed over the labels."""
    return -torch.xlogy(p, p).sum((-2, -1))


def _is_same(x: Tensor, other: Tensor) -> bool:
    other = other.to(x)
    return x.shape == other.shape and float((x - other).abs().mean()) <= _SAME * float(other.std().clamp(min=1e-6))
