"""What a network expects of its input, by its first convolution or by its own word."""

from __future__ import annotations

from torch import nn

from cfcam.capture import Adapter

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def first_convolution(model: nn.Module) -> nn.Conv1d | nn.Conv2d | nn.Conv3d | None:
    """Returns the first convolution, which says how many axes and channels the input has; None if there is none."""
    return next((m for m in model.modules() if isinstance(m, CONVOLUTIONS)), None)


def input_channels(model: nn.Module) -> int | None:
    """Returns the number of channels of the first convolution, which is that of the pictures; None if there is none."""
    first = first_convolution(model)
    return None if first is None else first.in_channels


def takes_volumes(model: nn.Module) -> bool | None:
    """Tells whether a network's first convolution is three-dimensional; None if it has none."""
    first = first_convolution(model)
    return None if first is None else isinstance(first, nn.Conv3d)


def direct_convolution(model: nn.Module) -> nn.Conv1d | nn.Conv2d | nn.Conv3d | None:
    """Returns the first convolution if it is given the input as it is; None behind an adapter, which may change it."""
    return None if isinstance(model, Adapter) else first_convolution(model)


def known_size(model: nn.Module, axes: int) -> tuple[int, ...] | None:
    """Returns the spatial size that a network says it was built for: transformers, timm and MONAI each have a word."""
    model = model.model if isinstance(model, Adapter) else model
    places = [getattr(model, "config", None), getattr(model, "patch_embed", None), model]
    sizes = [getattr(place, word, None) for place in places for word in ("image_size", "img_size")]
    sizes.append((getattr(model, "default_cfg", None) or {}).get("input_size", (None,))[1:] or None)
    for size in sizes:
        if isinstance(size, int):
            return (size,) * axes
        if isinstance(size, (tuple, list)) and len(size) == axes and all(isinstance(s, int) for s in size):
            return tuple(size)
    return None
