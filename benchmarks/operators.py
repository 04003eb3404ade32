"""Lets torchvision be imported beside a CPU build of torch.

Its wheel brings operators compiled for the CUDA build, which do not load there, and its import asks for two of them by
name. Declaring their schemas is enough: classifiers and class activation maps call neither.
"""

from __future__ import annotations

import torch

_declared: list[torch.library.Library] = []  # a library's declarations live as long as it does


def declare() -> None:
    """Declares ``torchvision::nms`` and ``torchvision::qnms``, unless they are there."""
    if _declared or hasattr(torch.ops.torchvision, "nms"):
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)
