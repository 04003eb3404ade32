"""Whether a user's factory returned a network as PyTorch initialised it: made twice, it has other weights.

What differs between two networks of one factory was drawn at random, and nothing has trained it, unless the factory
has. What is equal was loaded by the factory, or set to a constant, as biases and normalisations are.

A factory that seeds the generator itself returns the same network twice. Its network looks untrained if what training
moves stands where PyTorch puts it: each normalisation at 1 and 0, and having seen no batch; each bias at 0, or, with
its weights, among the numbers that the generator can draw for a layer of this size. A step of training moves some of
this, so that one layer that is elsewhere, or too small to tell, is enough to say nothing.
"""

from __future__ import annotations

import math
from contextlib import redirect_stdout
from io import StringIO
from typing import Final

import torch
from torch import nn

from cfcam.errors import ModelError, few, one_line
from cfcam.models.built import RANDOM
from cfcam.models.factory import from_file
from cfcam.models.spec import Spec

_LEAST_LAYERS: Final = 2
_LEAST_NUMBERS: Final = 8  # each is by chance one that is drawn with a probability of 1 / e in the mean
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
        return looks_untrained(module)
    try:
        with redirect_stdout(StringIO()), torch.random.fork_rng(devices=[]):  # it has said it once
            again, _ = from_file(spec)
    except ModelError:
        return looks_untrained(module)
    others = dict(again.named_parameters())
    if again is module or not weights.keys() <= others.keys():
        return looks_untrained(module)
    drawn = [name for name, one in weights.items() if _differ(one, others[name])]
    varied = [name for name, one in weights.items() if name in drawn or bool((one != one.flatten()[0]).any())]
    if not drawn:
        return looks_untrained(module)
    if len(drawn) == len(varied):
        if looks_untrained(module):
            return RANDOM
        return (  # drawn otherwise than PyTorch does, or trained by the factory
            f"no weights given, and {one_line(spec.name, 40)} makes other weights each time it is called: the maps are"
            " of those that it made now, and mean nothing if it does not train them"
        )
    return (
        f"no weights given, and {one_line(spec.name, 40)} draws {len(drawn)} of {len(varied)} tensors at random"
        f" ({few(drawn, 2)}): maps that depend on them mean nothing"
    )


def looks_untrained(module: nn.Module) -> str | None:
    """Returns what is said of a network whose layers all stand at their start; None where one does not."""
    with torch.no_grad():
        found = [_at_start(part) for part in module.modules()]
    if False in found or found.count(True) < _LEAST_LAYERS:
        return None
    return (
        f"no weights given, and the network looks untrained: all of its {found.count(True)} normalisations and layers"
        " with a bias are as PyTorch initialises them; load its weights in the factory, or give them (--weights)"
    )


def _at_start(part: nn.Module) -> bool | None:
    """Whether a layer is as it was initialised; None where that cannot be told of its kind."""
    own = dict(part.named_parameters(recurse=False))
    if any(nn.parameter.is_lazy(one) for one in own.values()):
        return None
    if isinstance(part, nn.modules.batchnorm._NormBase) and part.running_mean is not None:
        seen = dict(part.named_buffers(recurse=False))
        fresh = bool((seen["running_mean"] == 0).all()) and bool((seen["running_var"] == 1).all())
        return fresh and _is_identity(own)
    if isinstance(part, (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)):
        return _is_identity(own) if own else None
    if isinstance(part, (nn.Linear, nn.modules.conv._ConvNd)) and own.get("bias") is not None:
        weight, bias = own["weight"], own["bias"]
        if bool((bias == bias.flatten()[0]).all()) and bias.numel() > 1:  # of an initialisation of its own
            return bool(bias.flatten()[0] == 0)
        bound = 1 / math.sqrt(max(1, nn.init._calculate_fan_in_and_fan_out(weight)[0]))
        enough = weight.numel() + bias.numel() >= _LEAST_NUMBERS
        return enough and _is_drawn(weight, bound) and _is_drawn(bias, bound)
    return None


def _is_identity(own: dict[str, nn.Parameter]) -> bool:
    scale, shift = own.get("weight"), own.get("bias")
    of_residual = scale is not None and bool((scale == 0).all())  # the last of a residual block may begin at 0
    return (scale is None or of_residual or bool((scale == 1).all())) and (shift is None or bool((shift == 0).all()))


def _is_drawn(values: torch.Tensor, bound: float) -> bool:
    """Whether each value is one that PyTorch's generator draws evenly from -bound to bound.

    It draws k / 2^24 with k a whole number, which in float32 leaves gaps between the values; most numbers, as training
    leaves them, lie in one.
    """
    flat = values.detach().flatten().cpu()
    if flat.dtype != torch.float32 or not bool(flat.isfinite().all()):
        return False
    width, least = torch.tensor(bound - -bound).item(), torch.tensor(-bound).item()
    nearest = ((flat.double() - least) / width * 2**24).round()
    found = torch.zeros(flat.shape, dtype=torch.bool)
    for number in (nearest - 1, nearest, nearest + 1):
        drawn = (number.float() / 2**24) * width
        # A processor may round once or twice here.
        may_be = (drawn + least == flat) | ((number / 2**24 * width + least).float() == flat)
        found |= may_be & (number >= 0) & (number < 2**24)
    return bool(found.all())


def _differ(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors are of one shape and differ; NaN is equal to NaN."""
    same = one.shape == other.shape
    return same and not torch.allclose(one, other.to(one.device), rtol=0, atol=0, equal_nan=True)
