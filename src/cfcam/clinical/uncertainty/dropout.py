"""Dropout switched on in an otherwise evaluated network, for the passes of Monte Carlo dropout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

_ATTENTION_RATES = ("attention_dropout", "dropout_prob", "attention_probs_dropout_prob")
"""Under these names attention modules of transformers and torchvision keep the rate of their functional dropout."""


def dropout_modules(model: nn.Module) -> list[nn.Module]:
    """Returns the modules whose training flag switches dropout, and nothing else.

    These are torch's dropout modules, and attention modules that call functional dropout with their own flag:
    `torch.nn.MultiheadAttention`, and those of transformers and torchvision that keep a rate. In addition
    `torch.nn.TransformerEncoderLayer`, which in evaluation runs a fused kernel without its dropout modules. Only
    modules with a rate above 0 are returned.

    Not found are functional dropout in other modules (``F.dropout(x, 0.2, self.training)``, as in torchvision's
    DenseNet), and stochastic depth, which is no dropout of units.
    """
    return [module for module in model.modules() if _drops(module)]


@contextmanager
def dropout_on(model: nn.Module, modules: list[nn.Module], device: torch.device, seed: int) -> Iterator[None]:
    """Drops units in every pass of a network within its body, and puts flags and random state back.

    Each pass begins with the same random state: passes over batches of one size thin the network alike, so that a
    method with several of them explains one thinned network. BatchNorm stays in evaluation.

    Args:
        model: the network whose passes are meant.
        modules: of `dropout_modules`.
        device: on which it runs.
        seed: of the random state.
    """

    def before(module: nn.Module, args: Any) -> None:
        # cfcam runs networks with every flag off; within the pass those of dropout are on again.
        for one in modules:
            one.training = True
        _seed(device, seed)

    flags = [module.training for module in modules]
    devices = [device] if device.type != "cpu" else []
    with torch.random.fork_rng(devices, device_type=device.type if devices else "cuda"):
        handle = model.register_forward_pre_hook(before)
        try:
            yield
        finally:
            handle.remove()
            for module, flag in zip(modules, flags, strict=True):
                module.training = flag


def pass_seeds(image_seeds: list[int], seed: int, count: int) -> list[int]:
    """Returns the seeds of ``count`` passes over images that have these seeds.

    Args:
        image_seeds: of `cfcam.metrics.functional.robustness.image_seeds`.
        seed: the user's.
        count: how many.
    """
    generator = torch.Generator().manual_seed(hash((seed, *image_seeds)))
    drawn: Tensor = torch.randint(2**62, (count,), generator=generator)
    return [int(value) for value in drawn]


def _drops(module: nn.Module) -> bool:
    if isinstance(module, _DropoutNd):
        return module.p > 0
    if isinstance(module, nn.MultiheadAttention):
        return module.dropout > 0
    if isinstance(module, nn.TransformerEncoderLayer):
        return any(map(_drops, module.children()))
    if "attention" not in type(module).__name__.lower():
        return False
    rates = [getattr(module, name, None) for name in _ATTENTION_RATES]
    return any(isinstance(rate, float) and rate > 0 for rate in rates)


def _seed(device: torch.device, seed: int) -> None:
    """Seeds the CPU and this device only: `torch.manual_seed` would seed every device, forked or not."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    elif device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)
