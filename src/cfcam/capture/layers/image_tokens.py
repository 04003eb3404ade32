"""Image tokens of a vision-language model: cells of a grid that do not lie one behind the other in their sequence."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cfcam.capture.layers.tokens import TokenGrid


@dataclass(frozen=True)
class ImageTokens(TokenGrid):
    """How tokens (N, P, C) are seen as maps (N, C, *grid): tiles in order, lines that end with a token of their own.

    Attributes:
        index: which of the P tokens each cell of the grid is, row by row; the others belong to no place.
    """

    channels: int = -1
    index: tuple[int, ...] = ()

    def is_view(self, ndim: int) -> bool:
        """Whether maps are a view of the output: never, they are picked out of it."""
        return False

    def maps(self, output: Tensor) -> Tensor:
        """Returns the maps (N, C, *grid) in an output like the layer's."""
        return output[:, list(self.index)].transpose(1, 2).unflatten(2, self.grid)

    def replaced(self, output: Tensor, maps: Tensor, images: Tensor) -> Tensor:
        """Returns M outputs like the layer's with other maps in them; tokens of no place are their image's.

        Args:
            output: (N, P, C) of the layer.
            maps: (M, C, *grid).
            images: (M,) int64, the image of each.
        """
        where = torch.tensor(self.index, device=output.device)
        return output[images].index_copy(1, where, maps.flatten(2).transpose(1, 2).to(output))

    def __str__(self) -> str:
        return " x ".join(map(str, self.grid)) + " picked out of a sequence of tokens"
