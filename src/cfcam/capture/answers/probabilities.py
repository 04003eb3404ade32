"""How class scores become probabilities, of one logit as of many."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Probability = Literal["auto", "softmax", "sigmoid", "given"]
Kind = Literal["softmax", "sigmoid"]


def signed_logits(logits: Tensor) -> Tensor:
    """Returns logits (N, C, ...) with one channel a class: a single logit z becomes (-z, z), classes 0 and 1."""
    return torch.cat([-logits, logits], dim=1) if logits.shape[1] == 1 else logits


def probabilities(logits: Tensor, kind: Kind) -> Tensor:
    """Returns probabilities (N, C, ...), for a single logit (N, 2, ...): (1 - p, p) with p its sigmoid."""
    signed = signed_logits(logits)
    return signed.sigmoid() if kind == "sigmoid" or logits.shape[1] == 1 else signed.softmax(dim=1)
