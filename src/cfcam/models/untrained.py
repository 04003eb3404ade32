"""Whether a user's factory returned a network as PyTorch initialised it: made twice, it has other weights.

What differs between two networks of one factory was drawn at random, and nothing has trained it. What is equal was
loaded by the factory, or set to a constant, as biases and normalisations are. A factory that seeds the generator itself
returns the same network twice, and is taken at its word.
"""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO
from typing import Final

import torch
from torch import nn

from cfcam.errors import ModelError, few, one_line
from cfcam.models.built import RANDOM
from cfcam.models.factory import from_file
from cfcam.models.spec import Spec

_LARGEST: Final = 2 * 2**30
"""Bytes of a network that is not made a second time, as there may be no room for two."""


def untrained_note(spec: Spec, module: nn.Module) -> str | None:
    """Returns what a user should know of a network that nobody gave weights for; None if it seems to have its own.

    Args:
        spec: of kind ``file``.
        module: what its factory returned.
    """
    parameters = {name: one for name, one in module.named_parameters() if not nn.parameter.is_lazy(one)}
    weights = {name: one for name, one in parameters.items() if one.is_floating_point() and one.numel() > 1}
    if sum(one.numel() * one.element_size() for one in weights.values()) > _LARGEST:
        return None
    try:
        with redirect_stdout(StringIO()), torch.random.fork_rng(devices=[]):  # it has said it once
            again, _ = from_file(spec)
    except ModelError:
        return None
    others = dict(again.named_parameters())
    if again is module or not weights.keys() <= others.keys():
        return None
    drawn = [name for name, one in weights.items() if _differ(one, others[name])]
    varied = [name for name, one in weights.items() if name in drawn or bool((one != one.flatten()[0]).any())]
    if not drawn:
        return None
    if len(drawn) == len(varied):
        if not _was_trained(module):
            return RANDOM
        return (
            f"no weights given, and {one_line(spec.name, 40)} makes other weights each time it is called: the maps are"
            " of those that it made now"
        )
    return (
        f"no weights given, and {one_line(spec.name, 40)} draws {len(drawn)} of {len(varied)} tensors at random"
        f" ({few(drawn, 2)}): maps that depend on them mean nothing"
    )


def _was_trained(module: nn.Module) -> bool:
    """Whether a normalisation has seen batches: a factory that trains its network draws it at random first."""
    return any(name.endswith("num_batches_tracked") and bool(seen > 0) for name, seen in module.named_buffers())


def _differ(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors are of one shape and differ; NaN is equal to NaN."""
    same = one.shape == other.shape
    return same and not torch.allclose(one, other.to(one.device), rtol=0, atol=0, equal_nan=True)
