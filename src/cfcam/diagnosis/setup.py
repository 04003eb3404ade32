"""What is examined: a network, an input and a question; each fact about them is found out at most once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cfcam.capture import Adapter, Capture, LayerInfo, Network, choose_layer, find_layer, probe_layers
from cfcam.capture.answers.heads import Wanted
from cfcam.capture.answers.outputs import find_tensor
from cfcam.capture.layers.choosing import candidates, with_reach
from cfcam.capture.state.guarantee import observable, preserved
from cfcam.capture.targets.classes import TopK, check_targets, wanted_of
from cfcam.diagnosis.variation import Variation, variation
from cfcam.imaging import Preprocess
from cfcam.models.expects import first_convolution

T = TypeVar("T")

MOST_IMAGES = 8
_NORMS = 3
_USUAL_SIDE = {1: 256, 2: 224, 3: 64}


@dataclass(frozen=True)
class NormStatistics:
    """What reached one BatchNorm, in units of what it saw in training.

    Attributes:
        name: of the module.
        distance: median over the channels of |mean - running mean| / running standard deviation.
        spread: median over the channels of standard deviation / running standard deviation.
        divergence: median over the channels of the Kullback-Leibler divergence in nats of the normal distribution with
            the input's mean and variance from that with the running ones: (v/s + z^2 - 1 - ln(v/s)) / 2.
    """

    name: str
    distance: float
    spread: float
    divergence: float


@dataclass
class Pass:
    """One observed pass of the network.

    Attributes:
        output: what it returned.
        logits: the tensor of class scores in it, detached.
        broken: name and kind of the first module that returned NaN or infinity, and whether its input was finite.
        norms: of the first BatchNorms.
    """

    output: Any
    logits: Tensor
    broken: tuple[str, str, bool] | None = None
    norms: list[NormStatistics] = field(default_factory=list)


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
        preprocess: what made the input of a picture, if known.
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
    preprocess: Preprocess | None = None
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
        return variation(self)

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

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Runs its body in evaluation mode without a graph; everything is put back afterwards."""
        with torch.inference_mode(False), torch.no_grad(), preserved(self.module, self.x.device):
            yield


def attempt(run: Callable[[], T]) -> tuple[T, None] | tuple[None, Exception]:
    """Returns what ``run`` returns, or why it does not: a network may raise anything."""
    try:
        return run(), None
    except Exception as error:  # noqa: BLE001 (a user's network may raise anything)
        return None, error


def observed(network: Network, x: Tensor) -> Pass:
    """Runs the network and notes where numbers stop being finite, and what reaches its first BatchNorms."""
    broken: list[tuple[str, str, bool]] = []
    norms: list[NormStatistics] = []
    names = observable(network.model)

    def before(module: nn.Module, args: Any) -> None:
        tensor = find_tensor(args)
        if tensor is not None and len(norms) < _NORMS and _has_statistics(module):
            norms.append(_statistics(names[module], module, tensor))

    def after(module: nn.Module, args: Any, output: Any) -> None:
        tensor = find_tensor(output)
        if not broken and tensor is not None and not _finite(tensor):
            given = find_tensor(args)
            broken.append((names[module] or "the model", type(module).__name__, given is None or _finite(given)))

    handles = [module.register_forward_pre_hook(before) for module in names if isinstance(module, _BatchNorm)]
    handles += [module.register_forward_hook(after) for module in names if module is not network.model]
    try:
        with torch.inference_mode(False), torch.no_grad(), preserved(network.model, x.device):
            found = network.answer(x)
    finally:
        for handle in handles:
            handle.remove()
    return Pass(found.output, found.logits.detach(), broken[0] if broken else None, norms)


def _finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(tensor.isfinite().all())


def is_trained(norm: nn.Module) -> bool:
    """Tells whether a BatchNorm's statistics were ever moved from where they start, mean 0 and variance 1."""
    mean, variance = norm.running_mean, norm.running_var
    return isinstance(mean, Tensor) and isinstance(variance, Tensor) and bool((mean != 0).any() | (variance != 1).any())


def _has_statistics(module: nn.Module) -> bool:
    return isinstance(module.running_mean, Tensor) and is_trained(module)


def _statistics(name: str, norm: Any, tensor: Tensor) -> NormStatistics:
    values = tensor.detach().float()
    axes = [0, *range(2, values.ndim)]
    variance = norm.running_var.float() + norm.eps
    ratio = (values.var(axes, unbiased=False) + norm.eps) / variance
    distance = (values.mean(axes) - norm.running_mean.float()).abs() / variance.sqrt()
    divergence = (ratio + distance**2 - 1 - ratio.log()) / 2
    medians = (float(t.median()) for t in (distance, ratio.sqrt(), divergence))
    return NormStatistics(name, *medians)


def direct_convolution(model: nn.Module) -> nn.Conv1d | nn.Conv2d | nn.Conv3d | None:
    """Returns the first convolution if it is given the input as it is; None behind an adapter, which may change it."""
    return None if isinstance(model, Adapter) else first_convolution(model)


def known_size(model: nn.Module, axes: int) -> tuple[int, ...] | None:
    """Returns the spatial size that a network says it was built for: transformers, timm and MONAI each have a word."""
    model = model.model if isinstance(model, Adapter) else model
    places = [getattr(model, "config", None), getattr(model, "patch_embed", None), model]
    sizes = [getattr(place, word, None) for place in places for word in ("image_size", "img_size")]
    sizes.append((getattr(model, "default_cfg", None) or {}).get("input_size", (None,))[1:] or None)
    for size in sizes:
        if isinstance(size, int):
            return (size,) * axes
        if isinstance(size, (tuple, list)) and len(size) == axes and all(isinstance(s, int) for s in size):
            return tuple(size)
    return None


def made_up_input(model: nn.Module, preprocess: Preprocess | None = None) -> Tensor:
    """Returns an input (1, C, *spatial) of the network's size: noise with the smoothness of pictures, mean 0, std 1.

    Its amplitude falls with one over the frequency, as in pictures of the world (Field 1987, J. Opt. Soc. Am. A 4(12)).
    """
    first = first_convolution(model)
    axes = 2 if first is None else len(first.kernel_size)
    channels = 3 if first is None else first.in_channels
    size = known_size(model, axes) or (_USUAL_SIDE[axes],) * axes
    if preprocess is not None and axes == 2:
        channels, size = preprocess.channels, preprocess.input_size
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
