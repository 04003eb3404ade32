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
from cfcam.capture.mixing import found_to_mix, runs_alone
from cfcam.capture.state.guarantee import preserved
from cfcam.capture.targets.classes import AllClasses, ClassTarget, TopK
from cfcam.capture.targets.numbers import Contrast, Regression
from cfcam.capture.views import answer_beside, mixes

TOGETHER = (
    "images that are given in one batch run together, and their maps depend on each other: give them one at a time"
)

_OF_ANY_IMAGE = (Tensor, ClassTarget, TopK, AllClasses, Contrast, Regression)
"""Targets that can be told of one image of a batch; a function may know which images it is given."""


def mixed(capture: Capture) -> bool:
    """Tells whether a capture holds several images that the network mixes; tried once for it, by a pass of the last."""
    network, x = capture.network, capture.input

    def run(count: int, packed: PackedKernels | None) -> Answer:
        images = torch.full((count,), len(x) - 1, device=x.device)
        with capture.quiet(), preserved(network.model, x.device), capture.autocast(), packed or nullcontext():
            return capture.answer(x[images], images)

    def last(count: int) -> Answer:
        plain, packed = partial(run, count, None), network.packed
        return plain() if packed is None else packed.run(partial(run, count, packed), plain)

    found_to_mix(network, x, capture._recording.answer, last)
    return runs_alone(network, len(x))


def tried_beside(capture: Capture, other: Tensor) -> None:
    """Has images explained one by one, if the answer for one is another beside an image (1, C, *spatial).

    A network that fails on two is met again with the images that follow. It is not tried with volumes, of which two
    may be too large: what their masked passes show stands in their provenance alone.
    """
    if other.ndim > 4:
        return
    try:
        capture.network.one_by_one = mixes(capture, answer_beside(capture, other))
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
