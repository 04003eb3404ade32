"""Maps as plain values, small enough to be kept with every row of a table."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import torch
from torch import Tensor


def packed(maps: Tensor) -> list[dict[str, Any]]:
    """Returns maps (N, *spatial) as plain values: their shape and their float16 bytes in base64."""
    peak = maps.flatten(1).amax(1).clamp(min=torch.finfo(torch.float32).tiny)
    scaled = (maps / peak.reshape(-1, *[1] * (maps.ndim - 1))).clamp(min=0).half().cpu().numpy()
    return [{"shape": list(m.shape), "data": base64.b64encode(m.tobytes()).decode("ascii")} for m in scaled]


def unpacked(stored: dict[str, Any]) -> Tensor:
    """Returns the map (*spatial) that `packed` stored."""
    flat = np.frombuffer(base64.b64decode(stored["data"]), dtype=np.float16)
    return torch.from_numpy(flat.astype(np.float32)).reshape(stored["shape"])
