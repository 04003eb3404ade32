"""Gradients at several layers of one pass, which one backward pass for each score gives."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cfcam.capture.recording import Recording
from cfcam.capture.state.guarantee import Autocast


class Together:
    """The gradients of one set of scores at several layers: what is found for one is kept until the others ask.

    Args:
        recordings: of one pass, one a layer.
        scores: (N, K) of its graph.
        autocast: that of the caller.
    """

    def __init__(self, recordings: Sequence[Recording], scores: Tensor, autocast: Autocast) -> None:
        self._recordings, self._scores, self._autocast = list(recordings), scores, autocast
        self._found: dict[int, dict[int, list[Tensor | None]]] = {}

    def gradient(self, recording: Recording, k: int) -> Tensor:
        """Returns the gradients (N, C', *layer_spatial) of one column of scores at the layer of one recording.

        Raises:
            LayerError: the score does not depend on the layer, or what lies between refuses gradients.
        """
        mine = self._recordings.index(recording)
        if mine not in self._found.get(k, {}):
            found = Recording.differentiate(self._recordings, self._scores, k, self._autocast)
            self._found[k] = dict(enumerate(found))
        column = self._found[k]
        gradients = column.pop(mine)
        if not column:
            del self._found[k]
        return recording.seen(gradients)


def stacked(columns: list[Tensor]) -> Tensor:
    """Returns columns (N, ...) as (N, K, ...): of a single one, in the usual layout, without a copy."""
    if len(columns) == 1 and columns[0].is_contiguous():
        return columns[0].unsqueeze(1)
    return torch.stack(columns, dim=1)
