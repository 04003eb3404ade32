"""What a figure asks of an explanation, and the pictures under its maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cfcam.errors import InputError
from cfcam.imaging.image import Image

Picture = NDArray[np.uint8]
Corners = tuple[float, float, float, float]


class Drawable(Protocol):
    """Maps of N images and K targets by several methods, with what is written beside them: a `cfcam.Explanation`."""

    @property
    def methods(self) -> list[str]:
        """Names of the methods."""

    @property
    def targets(self) -> Tensor:
        """(N, K) class indices; -1 for a callable."""

    @property
    def scores(self) -> Tensor:
        """(N, K) the explained scores."""

    @property
    def status(self) -> dict[str, NDArray[Any]]:
        """Method -> (N, K) of `cfcam.Status`."""

    @property
    def layer(self) -> str:
        """Name of the layer that is mapped."""

    @property
    def input_size(self) -> tuple[int, ...]:
        """*spatial of the network's input."""

    @property
    def frames(self) -> int:
        """Axis of the input on which the frames of clips lie, 1 or 2; 0 without any."""

    @property
    def boxes(self) -> Tensor | None:
        """(N, K, 4) corners x0, y0, x1, y1 of a detector's boxes, in pixels of the input; NaN or None without any."""

    @property
    def pictures(self) -> tuple[NDArray[Any], ...] | None:
        """What `as_pictures` made, for each image."""

    def heatmaps(self, method: str, size: Sequence[int] | None = None) -> Tensor:
        """Returns maps (N, K, *size), each in [0, 1]; None: of the input's size."""

    def label(self, image: int, target: int) -> str:
        """Returns what a map explains, as shown to people."""

    def probability(self, image: int, target: int) -> float | None:
        """Returns the probability of the explained class in [0, 1]; None for a callable."""

    def margin(self, image: int, target: int) -> float | None:
        """Returns the difference of the two logits of a contrast; None for others."""

    def select(
        self, images: slice = slice(None), targets: slice = slice(None), methods: Sequence[str] | None = None
    ) -> Self:
        """Returns the same of some images, targets and methods, on the CPU."""


def box_on(explanation: Drawable, image: int, target: int, size: Sequence[int]) -> Corners | None:
    """Returns the explained box of a detector in pixels of a picture of this size; None of what is none."""
    boxes = explanation.boxes
    if boxes is None or bool(boxes[image, target].isnan().any()):
        return None
    down, across = (side / own for side, own in zip(size, explanation.input_size, strict=True))
    x0, y0, x1, y1 = boxes[image, target].tolist()
    return x0 * across, y0 * down, x1 * across, y1 * down


def as_pictures(explanation: Drawable, images: Any) -> tuple[Picture, ...]:
    """Returns what is shown under the maps, one picture for each image of an explanation.

    Args:
        explanation: its maps have the axes of the pictures.
        images: N pictures in a sequence, an array or a tensor: (H, W), (C, H, W), (H, W, 3), or `Image`; signals (L,)
            or (C, L); volumes (D, H, W) or (C, D, H, W); clips with the axes of the input, (T, H, W) or (T, H, W, 3).
            Unsigned bytes are shown as they are; other numbers are
            stretched from their least to their greatest value, so that normalised inputs can be given.

    Returns:
        uint8 arrays: (H, W, 3); of a signal its channels (C, L); of a volume its first channel (D, H, W); of a clip its
        frames (T, H, W, 3).

    Raises:
        InputError: the number of pictures, or the axes of one, do not fit.
    """
    n, axes = len(explanation.targets), len(explanation.input_size)
    given = list(images) if isinstance(images, (Sequence, Tensor, np.ndarray)) else [images]
    if len(given) != n and n == 1:
        given = [images]
    if len(given) != n:
        raise InputError(f"{len(given)} pictures for an explanation of {n} images: give one for each")
    if explanation.frames:
        return tuple(_frames(_values(one), explanation) for one in given)
    return tuple(_picture(_values(one), axes) for one in given)


def _values(one: Any) -> NDArray[Any]:
    return np.asarray(one.rgb() if isinstance(one, Image) else one.detach().cpu() if isinstance(one, Tensor) else one)


def _frames(values: NDArray[Any], explanation: Drawable) -> Picture:
    """The frames of a clip (T, H, W, 3), which has its channels where the network's input has them, or last."""
    shape, frames = values.shape, explanation.input_size[0]
    channels = 2 - explanation.frames  # axis 2 or 1 of the input, less the one of the images
    if values.ndim == 3:
        values = values[..., None]
    elif values.ndim == 4 and (shape[-1] != 3 or shape[channels] in (1, 3)):
        values = np.moveaxis(values, channels, -1)
    if values.ndim != 4 or len(values) != frames:
        raise InputError(f"a clip of shape {shape} for maps of {frames} frames: give it as the network was given it")
    scaled = _bytes(values)
    return scaled.copy() if scaled.shape[-1] == 3 else np.repeat(scaled[..., :1], 3, axis=-1)


def _picture(values: NDArray[Any], axes: int) -> Picture:
    shape = values.shape
    if axes == 2 and values.ndim == 3 and shape[-1] == 3 and shape[0] != 3:
        values = np.moveaxis(values, -1, 0)
    if values.ndim == axes:
        values = values[None]
    if values.ndim != axes + 1:
        raise InputError(f"a picture of shape {shape} for maps of {axes} axes: give (C, {', '.join('DHW'[-axes:])})")
    scaled = _bytes(values)
    if axes == 1:
        return scaled
    if axes == 3:
        first: Picture = scaled[0]
        return first.copy()
    three = scaled if len(scaled) == 3 else np.repeat(scaled[:1], 3, axis=0)
    return np.moveaxis(three, 0, -1).copy()


def _bytes(values: NDArray[Any]) -> Picture:
    """Numbers stretched to 0..255; unsigned bytes as they are; what is not finite is black."""
    if values.dtype == np.uint8:
        return values
    finite = np.where(np.isfinite(values), values, np.nan).astype(np.float64)
    if np.isnan(finite).all():
        return np.zeros(values.shape, np.uint8)
    low, high = float(np.nanmin(finite)), float(np.nanmax(finite))
    scaled = (finite - low) / (high - low if high > low else 1)
    return np.asarray(np.nan_to_num(scaled) * 255 + 0.5, dtype=np.uint8)
