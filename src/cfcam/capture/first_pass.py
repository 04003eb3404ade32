"""First passes of many images: two of them alone are watched layer by layer, and all run as later passes do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from cfcam.capture.adapter import Adapter
from cfcam.capture.answers.answer import Answer
from cfcam.capture.layers.frames import ClipEvidence
from cfcam.capture.network import Network
from cfcam.capture.packing import alike

FEW = 2
"""Images that tell what a first pass is to tell: of one alone the axis of the batch would not show."""


class Watched(Protocol):
    """What is recorded of a pass, see `cfcam.capture.recording.Recording`."""

    network: Network
    given: Tensor
    images: Tensor | None
    answer: Answer

    @property
    def place(self) -> tuple[str, torch.Size]:
        """What the network keeps its knowledge under."""
        ...

    def _understand(self, evidence: ClipEvidence) -> None: ...


def told_by_few(together: Sequence[Watched], watch: Callable[[], ClipEvidence], run: Callable[[], None]) -> bool:
    """Runs a first pass of many images, once a watched one of two of them has told how outputs are seen.

    Both have to give the same numbers, which holds the packed kernels against plain ones as well. Where they do not,
    as where the network mixes the images of a batch or takes batches of one size, nothing is known afterwards.

    Args:
        together: the recordings of the pass; their network keeps packed kernels.
        watch: runs what they are given, watched.
        run: runs it, once it is known how their outputs are seen.

    Returns:
        Whether the pass is recorded; if not, all images are to be watched.
    """
    network, given = together[0].network, together[0].given
    if len(given) <= FEW or given.ndim != 4 or isinstance(network.model, Adapter) or together[0].images is not None:
        return False
    told = False
    try:
        few = _of_few(together, watch)
        if few is not None:
            run()
            numbers = together[0].answer.logits[: len(few)]
            told = alike(numbers, few) and network.trust.compared(numbers, few)
    except torch.OutOfMemoryError:
        raise
    except Exception:  # noqa: BLE001 (of two images a network may say so in any way)
        told = False
    if not told:
        for one in together:
            network.grids.pop(one.place, None)
            network.placements.pop(one.place, None)
    return told


def _of_few(together: Sequence[Watched], watch: Callable[[], ClipEvidence]) -> Tensor | None:
    """Returns what the network answers to few images, once it is understood; None: it changed itself in the pass."""
    network, whole = together[0].network, together[0].given
    for one in together:
        one.given = whole[:FEW]
    try:
        evidence = watch()
        if network.keeper.late:
            return None
        for one in together:
            one._understand(evidence)
    finally:
        for one in together:
            one.given = whole
    return together[0].answer.logits
