"""Everything of a model and of the process that a call must leave as it was."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_load_state_dict_pre_hooks",
)


def digest(tensor: Tensor | None) -> str | None:
    if tensor is None:
        return None
    data = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return hashlib.sha256(data).hexdigest()


def snapshot(model: nn.Module) -> dict[str, Any]:
    return {
        "modules": [(name, id(module), module.training) for name, module in model.named_modules()],
        "hooks": [(n, h, list(getattr(m, h))) for n, m in model.named_modules() for h in HOOKS],
        "parameters": {n: (id(p), digest(p), p.requires_grad, digest(p.grad)) for n, p in model.named_parameters()},
        "buffers": {n: (id(b), digest(b)) for n, b in model.named_buffers()},
        "attributes": sorted(vars(model)),
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
        "precision": torch.get_float32_matmul_precision(),
    }
