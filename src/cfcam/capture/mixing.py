"""Networks that mix the images of a batch: an answer then depends on what else is in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from cfcam.capture.answers.answer import Answer
from cfcam.capture.answers.heads import leaves
from cfcam.capture.state.keeping import Keeper

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
_ALIKE = 0.02
"""Rows tell whether they mix if one lies farther than this from the mean of the others, and farther than this share of
its own size: root mean squares of its numbers."""
_TELLING = 10
"""They tell it too if their answers lie so many roundings apart."""


Again = Callable[[Tensor], Answer | Tensor]
"""Runs some rows of a batch, (M,) int64 on the CPU, in one batch of their own, and returns what is said of them."""


class Mixing(Protocol):
    """A network of which it is found out whether it mixes."""

    batch: int | None
    one_at_a_time: bool
    mixes: bool | None
    draws: bool
    keeper: Keeper
    unmixed: dict[str, int]


def differ(found: Tensor, expected: Tensor) -> bool:
    """Tells whether numbers of one image in two batches, (M, ...) each, differ by more than rounding."""
    return _differ(found, expected, 1)


def _differ(found: Tensor, expected: Tensor, roundings: int) -> bool:
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
    return bool(apart.max() > roundings * tolerance * expected.abs().nan_to_num().max())


def runs_alone(network: Mixing, rows: int) -> bool:
    """Tells whether rows have to run one at a time, because the network mixes them."""
    return bool(network.mixes) and rows > 1 and network.batch is None


def found_to_mix(network: Mixing, x: Tensor, found: Answer | Tensor, again: Again, layer: str = "") -> bool:
    """Tells whether a network mixes the rows of a batch, the first time that it was run on so many; remembers it.

    The last row and the middle one run alone: a network that takes the batch for a sequence changes the last one and
    not the first, one that reads it backwards the first of two. Rows that are nearly the same tell that these are not
    changed by each other, and nothing of other rows. Where a row's answer hangs on random numbers for its place in the
    batch (dropout that is left on to sample it) and not on the other rows, or the same batch has other answers when it
    is run again, the network runs on as it did.

    Args:
        network: which has run on the batch.
        x: (M, ...) the batch.
        found: the answer (M, ...).
        again: runs some of its rows.
        layer: behind which the rows were put in; "": they are inputs.
    """
    count, known = len(x), max(network.unmixed.get(name, 0) for name in ("", layer))
    if network.mixes or network.draws or count <= max(known, 1) or network.batch is not None or network.one_at_a_time:
        return False
    if torch.equal(x[1:], x[:-1]):  # as baselines of several images are
        return False
    expected = _numbers(found)
    try:
        differs = any(
            _any_differ(_numbers(again(torch.tensor([n]))), [one[n : n + 1] for one in expected])
            for n in dict.fromkeys((count - 1, (count - 1) // 2))
        )
        if differs:
            copies = [one[-1:] for one in _numbers(again(torch.full((count,), count - 1)))]
            by_place = network.keeper.drew and not _any_differ(copies, [one[-1:] for one in expected])
            network.draws = by_place or _any_differ(_numbers(again(torch.arange(count))), expected)
    except torch.OutOfMemoryError:
        raise
    except Exception:  # noqa: BLE001 (a network that takes no single image may say so in any way)
        differs, telling = False, True
    else:
        telling = differs or _tell(x, expected)
    if telling:
        network.mixes = (differs and not network.draws) or (network.mixes if layer else False)
        network.unmixed[layer] = count
    return bool(network.mixes)


def _tell(x: Tensor, answers: Sequence[Tensor]) -> bool:
    """Tells whether rows (M, ...) differ by so much, or their answers do, that it would show if they changed them."""
    row = x[-1].double()
    apart, own = (float(v.square().mean().sqrt()) for v in (row - x[:-1].mean(0, dtype=torch.float64), row))
    if apart > max(_ALIKE, _ALIKE * own):
        return True
    return any(_differ(one[-1:], one[:-1].double().mean(0, keepdim=True).to(one), _TELLING) for one in answers)


def _any_differ(found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    return any(differ(one, other) for one, other in zip(found, expected, strict=False))


def _numbers(answer: Answer | Tensor) -> list[Tensor]:
    """Returns the class scores, or where there are none the tensors of the output."""
    if isinstance(answer, Tensor):
        return [answer]
    if answer.logits.numel():
        return [answer.logits]
    return [leaf.tensor for leaf in leaves(answer.output) if leaf.tensor.is_floating_point() and leaf.tensor.ndim]
