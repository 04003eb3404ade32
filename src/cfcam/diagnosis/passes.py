"""Passes of a network: run without a trace, and observed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cfcam.capture import Network
from cfcam.capture.answers.outputs import find_tensor
from cfcam.capture.state.guarantee import observable, preserved

_NORMS = 3


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


@contextmanager
def undisturbed(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Runs its body in evaluation mode without a graph; everything is put back afterwards."""
    with torch.inference_mode(False), torch.no_grad(), preserved(model, device):
        yield


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
        with undisturbed(network.model, x.device):
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
