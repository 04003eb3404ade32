"""Networks that mix the images of a batch: an answer then depends on what else is in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from cfcam.capture.answers.answer import Answer
from cfcam.capture.answers.heads import leaves

NOTE = (
    "the network's answer for an image depends on what else is in its batch (as by a normalisation over the batch):"
    " where cfcam makes the batches, images and changed versions of them run one at a time, so that no number depends"
    " on a batch size"
)
DRAWS = (
    "the network draws random numbers, others for each row of a batch: what masked passes tell varies with them, and"
    " with a batch size"
)

_ROUNDING = {torch.float64: 1e-8, torch.float32: 1e-4}
_TF32 = 5e-3
"""Of float32 on a GPU, whose convolutions may round their factors to ten bits, and otherwise for another batch size."""
_ALIKE = 0.05
"""Of a row's norm: one that lies no further from the mean of the others tells nothing of whether they mix."""


class Mixing(Protocol):
    """A network of which it is found out whether it mixes."""

    batch: int | None
    one_at_a_time: bool
    mixes: bool | None
    draws: bool


def differ(found: Tensor, expected: Tensor) -> bool:
    """Tells whether numbers of one image in two batches, (M, ...) each, differ by more than rounding."""
    if found.shape != expected.shape or not expected.numel():
        return False  # boxes, of which a rounding may make one more
    tolerance = _ROUNDING.get(expected.dtype, 2e-2)
    if expected.is_cuda and expected.dtype == torch.float32:
        tolerance = _TF32
    if torch.is_autocast_enabled(expected.device.type):
        tolerance = 2e-2
    found, expected = found.detach().double(), expected.detach().double()
    if bool((found.isnan() != expected.isnan()).any()):
        return True
    apart = (found - expected).abs().nan_to_num()
    return bool(apart.max() > tolerance * expected.abs().nan_to_num().max())


def runs_alone(network: Mixing, rows: int) -> bool:
    """Tells whether rows have to run one at a time, because the network mixes them."""
    return bool(network.mixes) and rows > 1 and network.batch is None


def found_to_mix(network: Mixing, x: Tensor, found: Answer, last: Callable[[int], Answer]) -> bool:
    """Tells whether a network mixes the rows of a batch, the first time that it was run on several; remembers it.

    Rows that are nearly the same tell that these are not changed by each other, and nothing of other rows. Where a row
    twice in one batch has two answers, it is random numbers that differ, and the network runs on as it did.

    Args:
        network: which has run on the batch.
        x: (M, ...) the batch.
        found: the answer (M, ...).
        last: runs a number of copies of its last row.
    """
    if network.mixes is not None or len(x) < 2 or network.batch is not None or network.one_at_a_time:
        return False
    if torch.equal(x[1:], x[:-1]):  # as baselines of several images are
        return False
    try:
        differs = _differ(_numbers(last(1)), [numbers[-1:] for numbers in _numbers(found)])
        if differs:
            two = _numbers(last(2))
            network.draws = _differ([numbers[1:] for numbers in two], [numbers[:1] for numbers in two])
            differs = not network.draws
    except torch.OutOfMemoryError:
        raise
    except Exception:  # noqa: BLE001 (a network that takes no single image may say so in any way)
        network.mixes = False
        return False
    row, others = x[-1].double(), x[:-1].mean(0, dtype=torch.float64)
    if differs or network.draws or bool((row - others).norm() > _ALIKE * row.norm()):
        network.mixes = differs
    return differs


def _differ(found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    return any(differ(one, other) for one, other in zip(found, expected, strict=False))


def _numbers(answer: Answer) -> list[Tensor]:
    """Returns the class scores, or where there are none the tensors of the output."""
    if answer.logits.numel():
        return [answer.logits]
    return [leaf.tensor for leaf in leaves(answer.output) if leaf.tensor.is_floating_point() and leaf.tensor.ndim]
