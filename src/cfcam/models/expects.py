"""What a network's first convolution says of its input."""

from __future__ import annotations

from torch import nn

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def first_convolution(model: nn.Module) -> nn.Conv1d | nn.Conv2d | nn.Conv3d | None:
    """Returns the first convolution, which says how many axes and channels the input has; None if there is none."""
    return next((m for m in model.modules() if isinstance(m, _CONVOLUTIONS)), None)


def input_channels(model: nn.Module) -> int | None:
    """Returns the number of channels of the first convolution, which is that of the pictures; None if there is none."""
    first = first_convolution(model)
    return None if first is None else first.in_channels


def takes_volumes(model: nn.Module) -> bool | None:
    """Tells whether a network's first convolution is three-dimensional; None if it has none."""
    first = first_convolution(model)
    return None if first is None else isinstance(first, nn.Conv3d)
