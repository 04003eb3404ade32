"""What is examined: a network, an input and a question; each fact about them is found out at most once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from cfcam.capture import Capture, LayerInfo, Network, choose_layer, find_layer, probe_layers
from cfcam.capture.answers.heads import Wanted
from cfcam.capture.layers.choosing import candidates, with_reach
from cfcam.capture.state.guarantee import preserved
from cfcam.capture.targets.classes import TopK, check_targets, wanted_of
from cfcam.diagnosis.passes import Pass, observed, undisturbed
from cfcam.diagnosis.variation import Variation, variation
from cfcam.imaging import Preprocess, VolumePreprocess
from cfcam.models.expects import first_convolution, known_size

T = TypeVar("T")

MOST_IMAGES = 8
_USUAL_SIDE = {1: 256, 2: 224, 3: 64}


@dataclass
class Setup:
    """A network, an input and a question.

    Attributes:
        model: what was given.
        network: the module in it that does the work.
        x: (N, C, *spatial) on the network's device, at most `MOST_IMAGES` images.
        synthetic: whether the input was made up.
        wanted_layer: the layer that was named; None: the automatic one.
        targets: as for `cfcam.explain`.
        classes: class names, if known.
        preprocess: what made the input of pictures or a volume, if known.
        method: name of the method whose maps are looked at.
        further: images beyond the first `MOST_IMAGES`, which are looked at for the normalisation alone.
        files: the files that the images were made of, if known: they can be prepared otherwise.
    """

    model: nn.Module
    network: Network
    x: Tensor
    synthetic: bool = False
    wanted_layer: str | nn.Module | None = None
    targets: Any = None
    classes: Sequence[str] | None = None
    preprocess: Preprocess | VolumePreprocess | None = None
    method: str = "grad-cam"
    further: Tensor | None = None
    files: Sequence[Path] = ()

    @property
    def pictures(self) -> Tensor:
        """The input, and the further images like it that were given."""
        return self.x if self.further is None else torch.cat([self.x, self.further.to(self.x)])

    @property
    def module(self) -> nn.Module:
        """The module that does the work."""
        return self.network.model

    @property
    def want(self) -> Wanted:
        """What the class scores must fit; targets that are wrong are judged later."""
        rules, _ = attempt(lambda: check_targets(self.targets, len(self.x), self.x.shape[2:]))
        return wanted_of(rules or [TopK(1)], self.classes)

    @cached_property
    def first(self) -> Pass:
        """The first pass, on the input itself."""
        return observed(self.network, self.x)

    @cached_property
    def probed(self) -> tuple[list[LayerInfo], tuple[int, ...]]:
        """What each layer did on the first image, and the shape of the output."""
        return probe_layers(self.network, self.x, self.targets, self.classes)

    @cached_property
    def layer(self) -> str:
        """Name of the layer that is mapped; raises `LayerError` if there is none."""
        if self.wanted_layer is not None:
            return find_layer(self.module, self.wanted_layer)[0]
        layers, output_shape = self.probed
        return choose_layer(layers, (self.network.batch or 1, *self.x.shape[1:]), output_shape).name

    @cached_property
    def variation(self) -> Variation:
        """How passes of the same input differ."""
        return variation(self.network, self.x)

    @cached_property
    def mappable(self) -> list[LayerInfo]:
        """The layers that can be mapped, and on whose output the predicted class depends."""
        layers, _ = self.probed
        if self.network.quantised:  # it has no gradients that could tell
            return candidates(layers)
        with torch.inference_mode(False):
            images = self.x[: self.network.batch or 1]
            sample = images.clone() if images.is_inference() else images
            with preserved(self.module, sample.device):
                tried, _ = attempt(
                    lambda: with_reach(self.module, layers, lambda: self.network.answer(sample).or_anything())
                )
        reached = {info.name for info in tried or () if info.reaches}
        return [info for info in candidates(layers) if info.name in reached]

    def capture(self, targets: Any, *, named: bool = True) -> Capture:
        """Runs the network for maps, with class names unless not ``named``; raises what `Capture` raises."""
        classes = self._fitted_names() if named else None
        return Capture(self.network, self.x, layer=self.layer, targets=targets, classes=classes)

    def _fitted_names(self) -> Sequence[str] | None:
        """The class names, as many as there are classes; that they are too many or too few is a finding of its own."""
        if self.classes is None or self.first.logits.ndim < 2:
            return self.classes
        count = max(2, self.first.logits.shape[1])
        return [*self.classes, *(f"class {n}" for n in range(len(self.classes), count))][:count]

    def undisturbed(self) -> AbstractContextManager[None]:
        """Runs its body in evaluation mode without a graph; everything is put back afterwards."""
        return undisturbed(self.module, self.x.device)


def attempt(run: Callable[[], T]) -> tuple[T, None] | tuple[None, Exception]:
    """Returns what ``run`` returns, or why it does not: a network may raise anything."""
    try:
        return run(), None
    except Exception as error:  # noqa: BLE001 (a user's network may raise anything)
        return None, error


def made_up_input(model: nn.Module, preprocess: Preprocess | VolumePreprocess | None = None) -> Tensor:
    """Returns an input (1, C, *spatial) of the network's size: noise with the smoothness of pictures, mean 0, std 1.

    Its channels and size are those of ``preprocess``, where that is of as many axes as the network and says them.

    Its amplitude falls with one over the frequency, as in pictures of the world (Field 1987, J. Opt. Soc. Am. A 4(12)).
    """
    first = first_convolution(model)
    axes = 2 if first is None else len(first.kernel_size)
    channels = 3 if first is None else first.in_channels
    size = known_size(model, axes) or (_USUAL_SIDE[axes],) * axes
    if preprocess is not None and axes == (3 if isinstance(preprocess, VolumePreprocess) else 2):
        channels, size = preprocess.channels, preprocess.input_size or size
    return smooth_noise((1, channels, *size))


def smooth_noise(shape: Sequence[int]) -> Tensor:
    """Returns smooth noise (1, C, *spatial), the same in all channels, with mean 0 and standard deviation 1."""
    spatial = tuple(shape[2:])
    white = torch.randn(spatial, generator=torch.Generator().manual_seed(0))
    squares = [torch.fft.fftfreq(n).square() for n in spatial]
    frequency = torch.stack(torch.meshgrid(*squares, indexing="ij")).sum(0).sqrt().clamp(min=1 / max(spatial))
    noise = torch.fft.ifftn(torch.fft.fftn(white) / frequency).real
    noise = noise - noise.mean()
    return (noise / noise.std(correction=0).clamp(min=1e-12)).expand(1, shape[1], *spatial).clone()


def cells(grid: Sequence[int]) -> str:
    """Returns a grid as text, "7 x 7"."""
    return " x ".join(map(str, grid))


def size_option(size: Sequence[int]) -> str:
    """Returns a spatial size as it is written on the command line."""
    return f"--size {size[0]}" if len(set(size)) == 1 else f"--size {'x'.join(map(str, size))}"


def count(grid: Sequence[int]) -> int:
    """Returns the number of places of a grid."""
    return math.prod(grid)
