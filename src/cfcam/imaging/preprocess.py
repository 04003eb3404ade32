"""From a picture to a network's input, and from a map at the input's size back onto the picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cfcam.errors import InputError
from cfcam.imaging import stated
from cfcam.imaging.image import Image
from cfcam.imaging.plain import as_plain, check_per_channel, is_number

Resize = Literal["stretch", "shorter-side+crop", "stretch+crop", "pad"]
Interpolation = Literal["bilinear", "bicubic", "nearest"]
Order = Literal["rgb", "bgr"]

_MOST_PIXELS = 2**26
_AT_ONCE = 2**20  # pixels of a map that are interpolated at a time, or of a picture that becomes smaller
_WAYS = {
    "stretch": "stretched, not cropped",
    "shorter-side+crop": "shorter side scaled, the rest cut off",
    "stretch+crop": "stretched, and the borders cut off",
    "pad": "fitted in and filled up with black",
}
_BYTES = 2.0  # a mean or standard deviation beyond this is of pixels from 0 to 255, not from 0 to 1


class _Axis(NamedTuple):
    """One axis of the way from the picture (`length`) by way of `resized` pixels to the network's (`net`).

    Pixel `i` of the network's input is pixel `i + start` of the resized picture (`start` < 0: padding).
    """

    length: int
    resized: int
    net: int
    start: int

    @property
    def shown(self) -> tuple[float, float]:
        """Where the network's input begins and ends, in the picture's pixels; padding lies outside of it."""
        return self.start * self.length / self.resized, (self.start + self.net) * self.length / self.resized

    @property
    def seen(self) -> tuple[float, float]:
        """The part of the picture, in its own pixels, that reaches the network."""
        per_pixel = self.length / self.resized
        return max(0.0, self.start * per_pixel), min(float(self.length), (self.start + self.net) * per_pixel)


@dataclass(frozen=True)
class Preprocess:
    """What is done to a picture before a network sees it; calling it does so.

    The resizing is antialiased, as Pillow's and (since 0.17) torchvision's is, but keeps fractions of a grey
    level and all 16 bits.

    Attributes:
        size: height and width of the network's input in pixels; a single number means both.
        resize: `stretch` scales both sides to `size` on their own; `shorter-side+crop` keeps the
            proportions, scales the shorter side to `round(size / crop_ratio)` (256 for 224) and cuts `size`
            from the centre; `stretch+crop` scales each side to that on its own and cuts `size` from the centre; `pad`
            keeps the proportions, fits the longer side and fills up with black on both ends.
        mean: subtracted per channel, after scaling to [0, 1]; its length is the number of channels. With one channel,
            colours become grey by the BT.601 luma, as in Pillow's mode "L"; with three, grey is repeated; with any
            other number a picture must have as many bands.
        std: divided by, per channel.
        interpolation: `bilinear`, `bicubic` (overshoots are cut to [0, 1]) or `nearest` (not antialiased).
        crop_ratio: the part that `shorter-side+crop` keeps of the shorter side, and `stretch+crop` of both, in (0, 1].
        order: of the three colours as the network takes them, "rgb" or "bgr"; mean and std are in this order.
        sources: field -> who says so: "given", "stated by the network (...)", "assumed: ..."; a field that is not there
            was given. Two preparations that differ in it alone are equal.

    Raises:
        InputError: a value is not one of the above.
    """

    size: int | tuple[int, int] = 224
    resize: Resize = "stretch"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: Interpolation = "bilinear"
    crop_ratio: float = 0.875
    order: Order = "rgb"
    sources: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("size", "mean", "std", "crop_ratio"):
            object.__setattr__(self, name, as_plain(getattr(self, name)))
        sides = self.size if isinstance(self.size, tuple) else (self.size, self.size)
        if len(sides) != 2 or not all(isinstance(side, int) and side >= 1 for side in sides):
            raise InputError(f"size is {self.size!r}: it must be a positive whole number or two, (height, width)")
        if self.resize not in get_args(Resize):
            raise InputError(f"resize is {self.resize!r}: it must be one of {', '.join(get_args(Resize))}")
        if self.interpolation not in get_args(Interpolation):
            choices = ", ".join(get_args(Interpolation))
            raise InputError(f"interpolation is {self.interpolation!r}: it must be one of {choices}")
        check_per_channel(self.mean, self.std)
        if len(self.mean) != len(self.std) or not self.mean:
            raise InputError(
                f"mean has {len(self.mean)} and std {len(self.std)} values: both must have as many as the network has"
                " channels, 1 (grey) or 3 (RGB) or one for each band"
            )
        if not all(map(math.isfinite, self.mean)) or not all(math.isfinite(s) and s > 0 for s in self.std):
            raise InputError(f"mean {self.mean} and std {self.std}: they must be finite, and std above 0")
        if max(map(abs, (*self.mean, *self.std))) > _BYTES:
            raise InputError(
                f"mean {self.mean} and std {self.std}: these are for pixels from 0 to 255, and pixels are in 0..1 here:"
                " divide them by 255"
            )
        if self.order not in get_args(Order):
            raise InputError(f"order is {self.order!r}: it must be rgb or bgr")
        if not is_number(self.crop_ratio) or not 0 < self.crop_ratio <= 1:
            raise InputError(f"crop_ratio is {self.crop_ratio!r}: it must be above 0 and at most 1")

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the network's input."""
        return self.size if isinstance(self.size, tuple) else (self.size, self.size)

    @property
    def channels(self) -> int:
        """Number of channels of the network's input."""
        return len(self.mean)

    @property
    def told(self) -> str:
        """What is done to pictures and who says so, in one line."""
        channels = {1: "; colours become grey", 3: "; grey is repeated to 3 channels"}
        return stated.told(self._said()) + channels.get(self.channels, f"; {self.channels} bands in their order")

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What is done to pictures though nobody stated it, a line each; it may decide every number."""
        return stated.assumptions(self._weighty())

    def notices(self, image: Image) -> tuple[str, ...]:
        """What a user should know of how a picture was read and is brought to the network's channels, a line each."""
        found = list(image.notices)
        if image.bands is not None and image.bands.shape[2] == self.channels:
            found = [f"its {self.channels} bands are taken in their order"]
        elif self.channels == 3 and image.pixels.ndim == 2:
            found.append("it is grey: repeated to 3 channels")
        elif self.channels == 1 and image.pixels.ndim == 3 and bool((image.pixels != image.pixels[..., :1]).any()):
            found.append("its colours are turned into grey")
        return tuple(found)

    @property
    def assumed(self) -> str:
        """The assumptions in one line, for a sheet or a table; "" if there are none."""
        return stated.told([pair for pair in self._weighty() if stated.is_assumed(pair[1])])

    def _weighty(self) -> list[tuple[str, str]]:
        """What is said, without what decides next to nothing: how it is resampled, where all else is known."""
        return [pair for pair in self._said() if not pair[0].startswith("resampled ")]

    def _said(self) -> list[tuple[str, str]]:
        h, w = self.input_size
        ways = {
            "stretch": f"stretched to {h} x {w}",
            "shorter-side+crop": f"shorter side scaled and {h} x {w} cut from the middle ({self.crop_ratio:.3g} of it)",
            "stretch+crop": f"stretched and {h} x {w} cut from the middle ({self.crop_ratio:.3g} of each side)",
            "pad": f"fitted into {h} x {w} and filled up with black",
        }
        bgr = self.order == "bgr"
        way = ("resize", "crop_ratio") if self.resize.endswith("+crop") else ("resize",)
        said: list[tuple[str, tuple[str, ...]]] = [
            (
                stated.normalisation(self.mean, self.std) + (", in the order blue, green, red" if bgr else ""),
                ("mean", "std", "order") if bgr else ("mean", "std"),
            )
        ]
        of = self.sources.get
        if any(of(name) != of("size") for name in way):  # some of it is known: only the rest is assumed
            said += [(f"{h} x {w} pixels", ("size",)), (_WAYS[self.resize], way)]
        else:
            said.append((ways[self.resize], ("size", *way)))
        if of("interpolation") == of("resize"):
            said[-1] = (f"{said[-1][0]}, {self.interpolation}", said[-1][1])
        else:
            said.append((f"resampled {self.interpolation}", ("interpolation",)))
        return stated.grouped(said, self.sources)

    def __call__(self, image: Image) -> Tensor:
        """Prepare a picture.

        Returns:
            float32 `(C, h, w)`, normalised; C is the number of channels.

        Raises:
            InputError: the picture is too elongated for `shorter-side+crop`, or has another number of bands.
        """
        y, x = self._axes(image.size)
        planes = self._resized_planes(image, (y.resized, x.resized))
        if self.resize == "pad":
            left, top = -x.start, -y.start
            planes = F.pad(planes, (left, x.net - x.resized - left, top, y.net - y.resized - top))
        else:
            planes = planes[:, y.start : y.start + y.net, x.start : x.start + x.net]
        mean, std = self._per_channel
        return (planes - mean).div_(std)

    def together(self, images: Sequence[Image]) -> list[Tensor]:
        """Prepares pictures, each as it would be alone; those of one kind, and as large as the input, in one go.

        Raises:
            InputError: see `__call__`.
        """
        kinds = {(image.pixels.shape, image.pixels.dtype) for image in images}
        if len(kinds) != 1 or any(image.bands is not None for image in images) or not self._fits(images[0]):
            return [self(image) for image in images]
        pixels = np.stack([image.pixels for image in images]).reshape(len(images), *self.input_size, -1)
        planes = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), dtype=np.float32))
        planes = planes.div_(float(np.iinfo(images[0].pixels.dtype).max))
        mean, std = self._per_channel
        return list(((planes.flip(1) if self.order == "bgr" else planes) - mean).div_(std))

    def _fits(self, image: Image) -> bool:
        """Whether a picture is as large as the input, and its colours are those that the network takes."""
        whole = all(axis.length == axis.resized == axis.net and not axis.start for axis in self._axes(image.size))
        return whole and self.channels in ((1, 3) if image.pixels.ndim == 2 else (3,))

    @cached_property
    def _per_channel(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (C, 1, 1)."""
        mean, std = (torch.tensor(values, dtype=torch.float32)[:, None, None] for values in (self.mean, self.std))
        return mean, std

    def region(self, size_hw: tuple[int, int]) -> tuple[float, float, float, float]:
        """Which part of a picture the network sees.

        Args:
            size_hw: the picture's height and width.

        Returns:
            top, left, bottom, right in the picture's pixels, where (0, 0) is the outer corner of the first
            pixel.
        """
        (top, bottom), (left, right) = (axis.seen for axis in self._axes(size_hw))
        return top, left, bottom, right

    def frame(self, size_hw: tuple[int, int]) -> tuple[float, float, float, float]:
        """What the network's input shows, as `region` says it, with its padding, which lies outside of the picture.

        Args:
            size_hw: the picture's height and width.
        """
        (top, bottom), (left, right) = (axis.shown for axis in self._axes(size_hw))
        return top, left, bottom, right

    def to_original(self, heatmap: Tensor, size_hw: tuple[int, int]) -> Tensor:
        """Put a map at the network's input size back onto the picture.

        Linear interpolation between pixel centres (`align_corners=False`): no value leaves the range of the
        map. Padding is removed; what the network did not see is 0.

        Args:
            heatmap: `(..., h, w)` at the network's input size.
            size_hw: the picture's height H and width W.

        Returns:
            `(..., H, W)`, on the map's device; float32, unless the map is float64.

        Raises:
            InputError: the map does not have the network's input size.
        """
        if tuple(heatmap.shape[-2:]) != self.input_size:
            raise InputError(
                f"map of shape {tuple(heatmap.shape)}: its last two must be the input size "
                f"{self.input_size}; "
                "upsample it to the network's input first"
            )
        heatmap = heatmap if heatmap.dtype == torch.float64 else heatmap.float()
        for dim, axis in zip((-2, -1), self._axes(size_hw), strict=True):
            heatmap = _back(heatmap, axis, dim)
        return heatmap

    def mask(self, mask: Tensor) -> Tensor:
        """Bring a mask of the picture onto the network's input grid, by the geometry of the picture itself.

        A pixel of the input belongs to the mask if the picture's pixel at its centre does; padding never does.

        Args:
            mask: `(H, W)` bool, at the picture's size.

        Returns:
            bool `(h, w)`.

        Raises:
            InputError: the picture is too elongated for `shorter-side+crop`.
        """
        height, width = mask.shape
        for dim, axis in enumerate(self._axes((height, width))):
            mask = _at_centres(mask, axis, dim)
        return mask

    def as_dict(self) -> dict[str, Any]:
        """The fields, for provenance; `Preprocess(**d)` takes them back, also after a way through JSON."""
        return {name: value for name, value in asdict(self).items() if name != "sources" or value}

    def _axes(self, size_hw: tuple[int, int]) -> tuple[_Axis, _Axis]:
        (H, W), (h, w) = size_hw, self.input_size
        if H < 1 or W < 1:
            raise InputError(f"a picture of {H} x {W} pixels has nothing to see: both must be at least 1")
        if self.resize == "stretch":
            return _Axis(H, h, h, 0), _Axis(W, w, w, 0)
        if self.resize == "pad":
            scale = min(h / H, w / W)
            fitted = max(1, min(h, round(H * scale))), max(1, min(w, round(W * scale)))
            return _Axis(H, fitted[0], h, -((h - fitted[0]) // 2)), _Axis(W, fitted[1], w, -((w - fitted[1]) // 2))
        tall, wide = round(h / self.crop_ratio), round(w / self.crop_ratio)
        # the longer side is rounded down and the crop's corner to the nearest even, as torchvision does; of two sides
        # that differ, which its Resize does not have, to the nearest, as timm and OpenCLIP do
        down = math.floor if tall == wide else round
        longer = (tall, down(tall * W / H)) if tall * W >= wide * H else (down(wide * H / W), wide)
        resized = (tall, wide) if self.resize == "stretch+crop" else longer
        if resized[0] * resized[1] > _MOST_PIXELS:
            raise InputError(f"a picture of {H} x {W} pixels is too elongated to crop: use resize='pad' or 'stretch'")
        return _Axis(H, resized[0], h, round((resized[0] - h) / 2)), _Axis(
            W, resized[1], w, round((resized[1] - w) / 2)
        )

    def _resized_planes(self, image: Image, size: tuple[int, int]) -> Tensor:
        """The planes of a picture at another size; of a large one the planes are never held as a whole."""
        height, width = image.size
        step = max(1, _AT_ONCE // width)
        if self.interpolation == "nearest" or step >= height or width <= size[1]:
            return self._resized(self._ordered(image), size)
        narrow = []
        for start in range(0, height, step):  # each row becomes narrower by itself
            rows = slice(start, start + step)
            bands = None if image.bands is None else image.bands[rows]
            part = self._ordered(replace(image, pixels=image.pixels[rows], bands=bands))
            narrow.append(self._step(part, (part.shape[-2], size[1])))
        return self._step(torch.cat(narrow, dim=1), size)

    def _ordered(self, image: Image) -> Tensor:
        planes = image.planes_for(self.channels)
        return planes.flip(0) if self.order == "bgr" and planes.shape[0] == 3 else planes

    def _resized(self, planes: Tensor, size: tuple[int, int]) -> Tensor:
        if tuple(planes.shape[-2:]) == size:
            return planes
        if self.interpolation == "nearest":
            return F.interpolate(planes[None], size, mode="nearest-exact")[0]
        # as Pillow: rows first, and overshoots cut after each pass
        return self._step(self._step(planes, (planes.shape[-2], size[1])), size)

    def _step(self, planes: Tensor, size: tuple[int, int]) -> Tensor:
        return F.interpolate(planes[None], size, mode=self.interpolation, antialias=True)[0].clamp_(0, 1)


def _at_centres(mask: Tensor, axis: _Axis, dim: int) -> Tensor:
    place = torch.arange(axis.net, device=mask.device) + axis.start
    source = ((place + 0.5).double() * (axis.length / axis.resized)).long().clamp(0, axis.length - 1)
    seen = ((place >= 0) & (place < axis.resized)).view((-1, 1) if dim == 0 else (-1,))
    return mask.index_select(dim, source) & seen


def _back(heatmap: Tensor, axis: _Axis, dim: int) -> Tensor:
    centres = (torch.arange(axis.length, dtype=torch.float64) + 0.5) * (axis.resized / axis.length) - axis.start
    first, last = max(0, -axis.start), min(axis.net, axis.resized - axis.start) - 1
    position = (centres - 0.5).clamp(first, last)
    below = position.floor().long()
    above = (below + 1).clamp(max=last)
    shape = (-1, 1) if dim == -2 else (-1,)
    weight = (position - below).to(heatmap).view(shape)
    below, above = below.to(heatmap.device), above.to(heatmap.device)
    unseen = ((centres < 0) | (centres > axis.net)).to(heatmap.device).view(shape)

    def line(part: Tensor) -> Tensor:  # lerp keeps a constant exactly constant and stays between its ends
        found = torch.lerp(part.index_select(dim, below), part.index_select(dim, above), weight)
        return found.masked_fill_(unseen, 0) if unseen.any() else found

    rows = max(1, _AT_ONCE // axis.length)
    if dim == -2 or heatmap.shape[-2] <= rows:
        return line(heatmap)
    whole = heatmap.new_empty(*heatmap.shape[:-1], axis.length)  # of a large picture both ends would be as large as it
    for part, place in zip(heatmap.split(rows, -2), whole.split(rows, -2), strict=True):
        place.copy_(line(part))
    return whole
