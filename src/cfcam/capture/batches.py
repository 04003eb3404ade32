"""Networks that take batches of one size only: it is written into their forward, or they were exported with it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

_OF_SIZE = re.compile(
    r"shape|size|batch|dimension|dynamic_shapes|expand|must match|out of (range|bounds)|guard", re.IGNORECASE
)


class Sized(Protocol):
    """A network that may take batches of one size only."""

    batch: int | None


def of_one_size(error: Exception) -> bool:
    """Tells whether an error may come from the number of images, and not from what a network is."""
    return not isinstance(error, torch.OutOfMemoryError) and bool(_OF_SIZE.search(str(error)))


def by_batches(
    network: Sized, size: int, x: Tensor, images: Tensor, scores: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Returns the scores (M, K) of M inputs, in batches of one size if the network takes no others.

    That is tried once one of M fails, with the size that the user gave; the last batch is filled up with copies.

    Args:
        network: whose `batch` says which size it takes; set here if it is found out.
        size: of the batch that the user gave.
        x: (M, ...) the inputs.
        images: (M,) of which image each is.
        scores: runs the network on some of them, and returns their scores.
    """
    if network.batch is None or len(x) == network.batch:
        try:
            found = scores(x, images)
            if len(found) == len(x):
                return found
            error: Exception = RuntimeError(f"the network returns {len(found)} scores for a batch of {len(x)}")
        except Exception as raised:  # noqa: BLE001 (a network may raise anything)
            error = raised
        if len(x) == size or network.batch is not None or not of_one_size(error):
            raise error
        try:
            found = _in_parts(size, x, images, scores)
        except Exception:  # noqa: BLE001 (it was not the size)
            raise error from None
        network.batch = size
        return found
    return _in_parts(network.batch, x, images, scores)


def _in_parts(size: int, x: Tensor, images: Tensor, scores: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    found = []
    for start in range(0, len(x), size):
        rows = torch.arange(start, start + size, device=x.device).clamp(max=len(x) - 1)
        part = scores(x[rows], images[rows.to(images.device)])
        if len(part) != size:
            raise RuntimeError(f"the network returns {len(part)} scores for a batch of {size}")
        found.append(part[: len(x) - start])
    return torch.cat(found)
