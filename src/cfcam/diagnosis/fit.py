"""Which sizes and ways of resizing fit a network's BatchNorms, told from pictures without labels.

A BatchNorm remembers the mean and variance of what reached it in training, and it sees other things where the same
picture is larger or smaller, cut or filled up. So each picture is prepared in every way in question, and all BatchNorms
are compared with what they remember. A way is *left out* only if another one fits better by a factor in nearly all
resamples of the pictures; what is not left out stays possible, and no more is said. Networks that are trained on random
zooms fit best somewhat above their size (Touvron et al. 2019, "Fixing the train-test resolution discrepancy").

A network's answers do not tell: it is often surest, and its answers differ most, at a size that it was not trained on
(``python -m benchmarks.doctor_size``).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cfcam.capture.answers.outputs import find_tensor
from cfcam.capture.state.guarantee import observable
from cfcam.diagnosis.passes import is_trained
from cfcam.diagnosis.setup import Setup
from cfcam.imaging import Image, Preprocess
from cfcam.imaging.preprocess import Resize

FEWEST, MOST = 8, 16
SIZES = (64, 96, 128, 160, 192, 224, 256, 320, 384)
WAYS: tuple[Resize, ...] = ("stretch", "shorter-side+crop", "pad")
"""The usual ways, which are tried where nobody states one."""
SECONDS = 60.0
FITS = 0.05
"""Nats: where the best is farther than this, the pictures are not the network's, or normalised otherwise. Demo network:
0.001; small networks trained on ultrasound and radiographs: 0.005 to 0.02; with another normalisation 0.3 and more."""
_RESAMPLES, _SUPPORT, _FACTOR = 100, 0.95, 1.5

Way = tuple[Resize, tuple[int, int]]


@dataclass(frozen=True)
class Moments:
    """What reached a BatchNorm: its mean and mean square (N, C) in each picture."""

    norm: nn.Module
    mean: Tensor
    square: Tensor

    def divergence(self, weights: Tensor) -> Tensor:
        """Returns (B,), for weights (B, N): the median over the channels of the divergence from what is remembered."""
        norm: Any = self.norm
        known = norm.running_var.double().cpu() + norm.eps
        mean = weights @ self.mean
        ratio = ((weights @ self.square - mean.square()).clamp(min=0) + norm.eps) / known
        distance = (mean - norm.running_mean.double().cpu()).square() / known
        return ((ratio + distance - 1 - ratio.log()) / 2).median(1).values


@dataclass(frozen=True)
class Fit:
    """How well ways of preparing the same pictures fit a network's BatchNorms.

    Attributes:
        divergence: way -> Kullback-Leibler divergence in nats: the median over a BatchNorm's channels, and the
            geometric mean of all BatchNorms.
        possible: the ways that are not left out, the best first.
    """

    divergence: dict[Way, float]
    possible: tuple[Way, ...]

    @property
    def fits(self) -> bool:
        """Whether any of the ways fits at all."""
        return self.divergence[self.possible[0]] <= FITS

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """The sizes that are possible, in their order."""
        return sorted({size for _, size in self.possible})

    @property
    def ways(self) -> list[Resize]:
        """The ways of resizing that are possible."""
        return [way for way in get_args(Resize) if any(way == other for other, _ in self.possible)]


def has_memory(module: nn.Module) -> bool:
    """Tells whether a network has BatchNorms with trained statistics."""
    return any(isinstance(m, _BatchNorm) and is_trained(m) for m in module.modules())


def fitted(setup: Setup, preprocess: Preprocess, images: Sequence[Image], ways: Sequence[Way]) -> Fit | str:
    """Measures how well ways of preparing pictures fit the setup's network, or says why that cannot be told.

    Args:
        setup: with the network.
        preprocess: what is done to pictures besides.
        images: the pictures.
        ways: two or more that the network runs on.
    """
    started = time.monotonic()
    seen: dict[Way, list[list[Moments]]] = {way: [] for way in ways}
    for count, image in enumerate(images, 1):
        for way in ways:
            how = replace(preprocess, resize=way[0], size=way[1])
            seen[way].append(moments(setup, how(image)))
        if (time.monotonic() - started) * len(images) / count > SECONDS:
            return f"that would take more than {SECONDS:.0f} seconds"
    lengths = {len(calls) for pictures in seen.values() for calls in pictures}
    if len(lengths) != 1 or lengths == {0}:
        return "not the same BatchNorms run on each of them"
    return judged({way: joined(pictures) for way, pictures in seen.items()})


def moments(setup: Setup, picture: Tensor) -> list[Moments]:
    """Runs the network on a prepared picture (C, H, W), and returns what reached each BatchNorm, call by call."""
    found: list[Moments] = []

    def before(module: nn.Module, args: object) -> None:
        tensor = find_tensor(args)
        if tensor is not None and is_trained(module):
            values = tensor.detach().double()
            flat = values.transpose(0, 1).flatten(1)  # a batch axis may hold windows or frames of the one picture
            found.append(Moments(module, flat.mean(1)[None].cpu(), flat.square().mean(1)[None].cpu()))

    norms = [module for module in observable(setup.module) if isinstance(module, _BatchNorm)]
    handles = [module.register_forward_pre_hook(before) for module in norms]
    try:
        with setup.undisturbed():
            setup.network(picture[None].to(setup.x))
    finally:
        for handle in handles:
            handle.remove()
    return found


def joined(pictures: Sequence[Sequence[Moments]]) -> list[Moments]:
    """Returns what was seen in several pictures, BatchNorm by BatchNorm."""
    return [
        Moments(calls[0].norm, torch.cat([c.mean for c in calls]), torch.cat([c.square for c in calls]))
        for calls in zip(*pictures, strict=True)
    ]


def judged(seen: Mapping[Way, Sequence[Moments]]) -> Fit:
    """Leaves out, of several ways of preparing the same pictures, those that fit worse beyond doubt."""
    ways = list(seen)
    weights = _weights(len(seen[ways[0]][0].mean))
    values = torch.stack([_divergence(seen[way], weights) for way in ways])
    order = values[:, -1].argsort().tolist()
    worse = values > _FACTOR * values[order[0]]
    left_out = (worse[:, :-1].double().mean(1) >= _SUPPORT) & worse[:, -1]
    possible = tuple(ways[i] for i in order if not bool(left_out[i]))
    return Fit({way: float(values[i, -1]) for i, way in enumerate(ways)}, possible)


def _divergence(norms: Sequence[Moments], weights: Tensor) -> Tensor:
    """Of all BatchNorms (B,): their geometric mean, for deep ones rest on few numbers and would outweigh all others."""
    each = torch.stack([one.divergence(weights) for one in norms])
    return each.clamp(min=1e-9).log().mean(0).exp()


def _weights(count: int) -> Tensor:
    """Of pictures in resamples of them, (B + 1, N), each of sum 1; the last are even."""
    drawn = torch.randint(count, (_RESAMPLES, count), generator=torch.Generator().manual_seed(0))
    weights = torch.zeros(_RESAMPLES + 1, count, dtype=torch.float64)
    weights[:-1].scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))
    weights[-1] = 1
    return weights / count
