"""Everything of a model and of the process that a call must leave as it was, written without cfcam's own walk."""

from __future__ import annotations

import hashlib
import os
import random
from collections import deque
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def digest(tensor: Tensor | None) -> str | None:
    if tensor is None:
        return None
    data = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return hashlib.sha256(data).hexdigest()


def frozen(value: Any, seen: dict[int, int]) -> Any:
    """Returns what an object is and holds, of any depth, as plain values that can be compared."""
    if value is None or isinstance(value, (int, float, str, bytes, type)):
        return value
    if id(value) in seen:
        return ("seen", seen[id(value)])
    seen[id(value)] = len(seen)
    me: Any = (type(value).__name__, id(value))
    if isinstance(value, Tensor):
        return (*me, digest(value), value.requires_grad, frozen(value.grad, seen) if value.is_leaf else None)
    if isinstance(value, np.ndarray):
        return (*me, value.tobytes())
    if isinstance(value, torch.Generator):
        return (*me, digest(value.get_state()))
    if isinstance(value, random.Random):
        return (*me, value.getstate())
    if isinstance(value, np.random.Generator):
        return (*me, str(value.bit_generator.state))
    if isinstance(value, dict):
        me = (*me, [(str(key), frozen(one, seen)) for key, one in value.items()])
    elif isinstance(value, (list, tuple, deque)):
        me = (*me, [frozen(one, seen) for one in value])
    elif isinstance(value, (set, frozenset)):
        me = (*me, sorted(str(frozen(one, seen)) for one in value))
    if callable(value) and not isinstance(value, nn.Module):
        return me
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    held = {name: getattr(value, name) for name in slots if hasattr(value, name)} | getattr(value, "__dict__", {})
    return (*me, [(name, frozen(one, seen)) for name, one in held.items()])


def snapshot(model: nn.Module) -> dict[str, Any]:
    return {
        "modules": [(name, id(module), module.training) for name, module in model.named_modules()],
        "parameters": {n: (id(p), digest(p), p.requires_grad, digest(p.grad)) for n, p in model.named_parameters()},
        "buffers": {n: (id(b), digest(b)) for n, b in model.named_buffers()},
        "all that is reachable": frozen(model, {}),
        "torch rng": digest(torch.get_rng_state()),
        "numpy rng": str(np.random.get_state()),  # noqa: NPY002
        "python rng": random.getstate(),
        "dtype": torch.get_default_dtype(),
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn": (
            torch.backends.cudnn.enabled,
            torch.backends.cudnn.benchmark,
            torch.backends.cudnn.deterministic,
        ),
        "folder": os.getcwd(),  # noqa: PTH109
        "precision": torch.get_float32_matmul_precision(),
    }
