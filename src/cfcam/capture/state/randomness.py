"""Generators of random numbers: what reads and what sets the state of each."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from typing import Any

import torch

Setting = tuple[Callable[[], Any], Callable[[Any], Any]]


def generator_of(value: Any) -> Setting | None:
    """Returns what reads and what sets the state of a generator of random numbers; None: it is none."""
    if isinstance(value, torch.Generator):
        return value.get_state, value.set_state
    if isinstance(value, random.Random):
        return value.getstate, value.setstate
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return None
    if isinstance(value, numpy.random.RandomState):
        return value.get_state, value.set_state
    if isinstance(value, numpy.random.Generator):
        bits = value.bit_generator
        return lambda: bits.state, lambda state: setattr(bits, "state", state)
    return None


def generators_around(device: torch.device) -> list[Setting]:
    """Returns those of the process: torch's, Python's, and NumPy's if that was imported."""
    found = [*torch_generators(device), (random.getstate, random.setstate)]
    if (numpy := sys.modules.get("numpy")) is not None:
        found.append((numpy.random.get_state, numpy.random.set_state))
    return found


def torch_generators(device: torch.device) -> list[Setting]:
    """Returns torch's own, of the CPU and of a device."""
    found: list[Setting] = [(torch.get_rng_state, torch.set_rng_state)]
    if device.type not in ("cpu", "meta"):
        module = torch.get_device_module(device)
        found.append((lambda: module.get_rng_state(device), lambda state: module.set_rng_state(state, device)))
    return found


def same_state(first: Any, second: Any) -> bool:
    """Tells whether two states of a generator are the same: tensors, tuples of numbers and arrays, mappings."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return all(same_state(first[key], second[key]) for key in first)
    if isinstance(first, tuple) and any(hasattr(part, "tobytes") for part in first):
        return all(same_state(a, b) for a, b in zip(first, second, strict=True))
    return bool(first.tobytes() == second.tobytes()) if hasattr(first, "tobytes") else bool(first == second)
