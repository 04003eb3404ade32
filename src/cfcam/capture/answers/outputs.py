"""Finding the tensor in whatever a module returns, and putting another one in its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from torch import Tensor

LOGIT_KEYS = ("logits", "out", "output", "pred", "predictions")
QUERIES = (("class_queries_logits", "masks_queries_logits"), ("logits", "pred_masks"))
"""What transformers calls the classes and masks of queries: of MaskFormer and its relatives, and of DETR."""
NUMBERS = {
    "predicted_depth": "a depth",
    "normals": "a direction",
    "alphas": "an opacity",
    "reconstruction": "a colour",
    "heatmaps": "a likeness to each point",
}
"""What transformers calls tensors that have something else than class scores at each place, and what that is."""


def of_queries(output: Any) -> tuple[Tensor, Tensor] | None:
    """Returns the classes (N, Q, classes + 1) and masks (N, Q, *grid) of an output that holds queries; else None."""
    for names in QUERIES:
        classes, masks = (output.get(name) if isinstance(output, Mapping) else None for name in names)
        if isinstance(classes, Tensor) and isinstance(masks, Tensor) and masks.shape[:2] == classes.shape[:2]:
            return classes, masks
    return None


def find_tensor(output: Any, preferred: tuple[str, ...] = ()) -> Tensor | None:
    """Returns the tensor that carries a module's result, or None if there is none.

    A tensor is itself; of a mapping (dict, Hugging Face ``ModelOutput``) or a dataclass the first of the
    ``preferred`` keys that holds a tensor, else its first tensor; of a tuple or list its first tensor.
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        named = [output[key] for key in preferred if key in output]
        return next((v for v in (*named, *output.values()) if isinstance(v, Tensor)), None)
    if isinstance(output, (tuple, list)):
        return next((v for v in output if isinstance(v, Tensor)), None)
    if is_dataclass(output) and not isinstance(output, type):
        return find_tensor({f.name: getattr(output, f.name) for f in fields(output)}, preferred)
    return None


def replace_tensor(output: Any, new: Tensor) -> Any:
    """Returns ``output`` with the tensor that `find_tensor` finds in it replaced by ``new``; containers are copied."""
    if isinstance(output, Tensor):
        return new
    old = find_tensor(output)
    if isinstance(output, Mapping):
        changed = {key: new if value is old else value for key, value in output.items()}
        return type(output)(**changed)
    if isinstance(output, (tuple, list)):
        items = [new if value is old else value for value in output]
        return type(output)(*items) if hasattr(output, "_fields") else type(output)(items)
    names = [f.name for f in fields(output) if getattr(output, f.name) is old]
    return replace(output, **dict.fromkeys(names, new))
