"""Which large tensors torch makes, counted as it makes them: no clock, and no memory of the whole process."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Large(TorchDispatchMode):
    """Notes what makes a tensor of so many bytes or more within; a view, and a result written in place, are none.

    Args:
        least: bytes.

    Attributes:
        made: names of the operators, in their order.
    """

    def __init__(self, least: int) -> None:
        super().__init__()
        self.least, self.made = least, []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {_place(one) for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)}
        for one in tree_leaves(result):
            if isinstance(one, torch.Tensor) and _size(one) >= self.least and _place(one) not in given:
                self.made.append(str(func))
        return result


def _place(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _size(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().nbytes()
