"""Images of a batch one by one, where the network mixes them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

from cfcam.capture.answers.answer import Answer
from cfcam.capture.capture import Capture
from cfcam.capture.kernels import PackedKernels
from cfcam.capture.mixing import differ, found_to_mix, runs_alone
from cfcam.capture.state.guarantee import preserved
from cfcam.capture.targets.classes import AllClasses, ClassTarget, TopK
from cfcam.capture.targets.numbers import Contrast, Regression

TOGETHER = (
    "images that are given in one batch run together, and their maps depend on each other: give them one at a time"
)

_OF_ANY_IMAGE = (Tensor, ClassTarget, TopK, AllClasses, Contrast, Regression)
"""Targets that can be told of one image of a batch; a function may know which images it is given."""


def mixed(capture: Capture, found: Capture | None = None) -> bool:
    """Tells whether a pass held several rows that the network mixes; tried once for it, by two rows of it alone.

    Args:
        capture: of N images.
        found: of versions of them, row v * N + n; None: the capture itself.
    """
    one = found or capture
    network, x = capture.network, one.input

    def run(rows: Tensor, packed: PackedKernels | None) -> Answer:
        images = (rows % len(capture.input)).to(x.device)
        with capture.quiet(), preserved(network.model, x.device), capture.autocast(), packed or nullcontext():
            return capture.answer(x[rows], images)

    def again(rows: Tensor) -> Answer:
        plain, packed = partial(run, rows, None), network.packed
        return plain() if packed is None else packed.run(partial(run, rows, packed), plain)

    found_to_mix(network, x, one._recording.answer, again)
    return runs_alone(network, len(x))


def tried_beside(capture: Capture, other: Tensor) -> None:
    """Has images explained one by one from here on, if the network is found to mix them.

    It is told first by the answer for one on either side of an image (1, C, *spatial); where that does not show it, or
    the network fails on three, by the images that follow. It is not tried with volumes, which may be too large.
    """
    capture.network.one_by_one = True
    if other.ndim > 4:
        return
    first = capture.input[:1]
    x = torch.cat([first, other.to(first), first])
    try:
        with capture.quiet(), preserved(capture.network.model, first.device), capture.autocast():
            found = capture.answer(x, x.new_zeros(3, dtype=torch.int64)).logits
        if differ(found[::2], capture.logits[:1].expand_as(found[::2])):
            capture.network.mixes = True
    except Exception:  # noqa: BLE001 (a network may raise anything)
        return


def one_by_one(capture: Capture, classes: Sequence[str] | None) -> list[Capture]:
    """Returns captures of each image of a capture by itself; none of one, or where a target may be one of all images.

    Args:
        capture: of the images.
        classes: class names, as they were given to it.
    """
    rules = capture.rules
    if len(capture.input) == 1 or not all(type(rule) in _OF_ANY_IMAGE for rule in rules):
        return []

    def of(n: int) -> Any:
        return rules[0][n : n + 1] if isinstance(rules[0], Tensor) else rules

    with capture.autocast():
        return [
            Capture(capture.network, x, layer=capture.layer, targets=of(n), classes=classes)
            for n, x in enumerate(capture.given.split(1))
        ]
