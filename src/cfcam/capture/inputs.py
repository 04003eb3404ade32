"""What is due where an input does not fit: another type, no batch axis, the channels last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from cfcam.errors import InputError, OutputError
from cfcam.shown import counted


def check_type(x: Any) -> None:
    """Raises `InputError` for an input that is no tensor; the line says how it becomes one, or names the adapter."""
    if isinstance(x, Tensor):
        if x.is_nested or x.layout != torch.strided:
            kind = "nested" if x.is_nested else "sparse"
            how = "pad its pictures to one size" if x.is_nested else "give x.to_dense()"
            raise InputError(f"the input is a {kind} tensor: {how}")
        if x.device.type == "meta":
            raise InputError("the input lies on the meta device, and has no numbers: give one with pictures in it")
        return
    kind = type(x).__name__
    if isinstance(x, Mapping):
        keys = ", ".join(map(str, x)) or "nothing"
        raise InputError(
            f"the input is a {kind} of {keys}: give the one tensor that is explained, and let"
            " cfcam.capture.Adapter(model, lambda x, images: {...}) say how the model is called with it and the others"
        )
    if isinstance(x, (list, tuple)):
        how = "stack pictures of one size with torch.stack(...); other inputs go through cfcam.capture.Adapter"
    elif hasattr(x, "__array__") and hasattr(x, "dtype"):
        how = "give torch.from_numpy(...).float(), normalised as the model was trained"
    elif hasattr(x, "getbands"):
        how = "cfcam.imaging.Preprocess() makes one of a picture that cfcam.imaging.read_image read; add a batch axis"
    else:
        how = "give normalised floating-point images"
    raise InputError(f"the input is a {kind}, not a tensor (N, C, *spatial): {how}")


def check_seen(
    module: nn.Module, seen: Any, input_shape: tuple[int, ...], x: Callable[[], Tensor] | None = None
) -> None:
    """Raises `InputError` if a convolution got the whole input without a batch axis, or with its axes in another order.

    Torch takes a picture (C, H, W) without a batch axis; its channels would be mapped as images. A network that turns
    (N, H, W, C) itself, or clips (N, T, C, H, W), has its places on other axes than cfcam maps.

    Args:
        module: any module of the network that ran.
        seen: its first argument.
        input_shape: of the network's input.
        x: gives the input, to tell frames from as many channels; None: not known.
    """
    if not isinstance(module, _ConvNd) or not isinstance(seen, Tensor):
        return
    shape, axes = tuple(seen.shape), len(module.kernel_size)
    if shape == input_shape and len(shape) == axes + 1:
        raise InputError(f"{_unbatched(input_shape, axes)}: give x[None]")
    turned = (input_shape[0], input_shape[-1], *input_shape[1:-1])
    if shape == turned != input_shape and len(shape) == axes + 2 and input_shape[1] != module.in_channels:
        raise InputError(
            f"the network turns its input {input_shape} to channels first itself: give images {turned}, and"
            " cfcam.capture.Adapter(model, lambda x, images: x.movedim(1, -1)) as the model"
        )
    clip = (input_shape[0], input_shape[2], input_shape[1], *input_shape[3:]) if len(input_shape) == 5 else None
    if axes != 3 or shape != clip or (clip == input_shape and (x is None or not _exchanged(seen, x()))):
        return
    raise InputError(
        f"the network exchanges frames and channels of its input {input_shape} itself: give clips (N, C, T, H, W),"
        f" {clip}, and cfcam.capture.Adapter(model, lambda x, images: x.transpose(1, 2)) as the model"
    )


def _exchanged(seen: Tensor, x: Tensor) -> bool:
    return torch.equal(seen, x.transpose(1, 2)) and not torch.equal(seen, x)


def check_rows(rows: int, shape: torch.Size) -> None:
    """Raises `OutputError` if there are scores of another number of images than were given.

    Args:
        rows: of the scores.
        shape: of the input (N, ...).
    """
    if rows == shape[0]:
        return
    slices = ""
    if rows == 1 and len(shape) == 4:
        slices = (
            f" (if these are the slices of one case, give x[None] {(1, *shape)} and the model as"
            " cfcam.capture.Adapter(model, lambda x, images: x[0]))"
        )
    raise OutputError(
        f"the network returned scores of {rows} images for an input {tuple(shape)} of {shape[0]}: one row of scores for"
        f" each image is due{slices}"
    )


def what_is_due(model: nn.Module, shape: tuple[int, ...]) -> str | None:
    """Returns what an input of this shape, on which the network failed, lacks by its first convolution; None: nothing.

    Args:
        model: the network.
        shape: of the input.
    """
    first = next((m for m in model.modules() if isinstance(m, _ConvNd) and m.in_channels), None)
    if first is None:
        return "a single picture needs a batch axis, x[None]" if len(shape) == 3 else None
    axes, channels = len(first.kernel_size), first.in_channels
    if len(shape) == axes + 1:
        last = shape[-1] == channels != shape[0]
        how = "x.movedim(-1, 0)[None], with the channels first" if last else "x[None]"
        return f"{_unbatched(shape, axes)}: give {how}"
    if len(shape) == axes + 2 and shape[1] != channels:
        if shape[-1] == channels:
            return f"its channels are last, and (N, C, {_axes(axes)}) is due: give x.movedim(-1, 1)"
        return f"its first convolution takes {counted(channels, 'channel')}, and the input has {shape[1]}"
    return None


def _unbatched(shape: tuple[int, ...], axes: int) -> str:
    return f"the input {shape} has no batch axis, and (N, C, {_axes(axes)}) is due"


def _axes(count: int) -> str:
    return ", ".join("DHW"[-count:]) if count > 1 else "L"
