"""From a volume to a network's input, and from a map at the input's size back onto the grid of the source."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cfcam.errors import InputError
from cfcam.imaging import stated
from cfcam.imaging.geometry import axis_codes, check_codes, turned
from cfcam.imaging.plain import as_plain, check_per_channel, is_number
from cfcam.imaging.volume import Volume

Intensity = Literal["z-score", "unit", "none"]

_MOST_VOXELS = 2**30
_AT_ONCE = 2**20  # voxels that are worked on at a time, where a second volume in memory would be for nothing
_LINE = 16  # float32 numbers in a line of the cache
_REPEATED = 3  # channels of networks for colours, which are usually given grey three times
_TIE = 6  # decimals of a voxel: what lies half-way between two is rounded one way, whatever the affine's rounding


class Axis(NamedTuple):
    """One axis, from the volume's `length` voxels to the network's `net`, which lie `step` voxels apart.

    The middle of the network's voxels is that of the volume, or lies `shift` voxels of the volume behind it.
    """

    length: int
    net: int
    step: float
    shift: float = 0.0

    def places(self) -> Tensor:
        """Where the network's voxels lie, in voxels of the volume."""
        return (torch.arange(self.net, dtype=torch.float64) - (self.net - 1) / 2) * self.step + self._middle

    def places_back(self) -> Tensor:
        """Where the volume's voxels lie, in voxels of the network."""
        return (torch.arange(self.length, dtype=torch.float64) - self._middle) / self.step + (self.net - 1) / 2

    @property
    def _middle(self) -> float:
        """Where the middle of the network's voxels lies, in voxels of the volume."""
        return (self.length - 1) / 2 + self.shift


@dataclass(frozen=True)
class VolumePreprocess:
    """What is done to a volume before a network sees it; calling it does so.

    The volume is turned to `orientation` by transposing and flipping alone, its intensities are scaled, and it is
    resampled along its own axes: an oblique volume stays oblique. The network's grid is centred on the volume.

    Attributes:
        orientation: where the axes of the network's input point, such as "RAS" (as MONAI's `Orientationd`) or "SPL"
            (slices, rows, columns, as SimpleITK's arrays of axial scans); None keeps the source's order, whichever.
        spacing: distances between the network's voxels in mm, along the turned axes; a single number means all three;
            None keeps the source's, or follows from `size`.
        size: the network's input in voxels, along the turned axes; a single number means all three. With `spacing` the
            volume is cut or filled up around its centre; alone, it is stretched to this size; None: as it comes.
        window: centre and width to which intensities are clipped first, in the source's units (HU for CT).
        intensity: "z-score" subtracts the mean of the (clipped) volume and divides by its standard deviation, channel
            by channel; "unit" maps the window, or without one the smallest and the greatest value, to [0, 1]; "none"
            leaves them.
        mean: subtracted afterwards, per channel; its length is the number of channels of the network. A volume with one
            channel is repeated to three; any other number it must have itself.
        std: divided by, per channel.
        sources: field -> who says so, see `Preprocess`; two preparations that differ in it alone are equal.

    Resampling to fewer voxels is antialiased by a triangle as wide as the step, as Pillow does; to more it is linear.
    Outside the volume the network sees its smallest value.

    Raises:
        InputError: a value is not one of the above.
    """

    orientation: str | None = "RAS"
    spacing: float | tuple[float, float, float] | None = None
    size: int | tuple[int, int, int] | None = None
    window: tuple[float, float] | None = None
    intensity: Intensity = "z-score"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    sources: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("spacing", "size", "window", "mean", "std"):
            object.__setattr__(self, name, as_plain(getattr(self, name)))
        if self.orientation is not None:
            check_codes(self.orientation)
        if self.spacing is not None and not _three(self.spacing, lambda mm: math.isfinite(mm) and mm > 0):
            raise InputError(f"spacing is {self.spacing!r}: it must be a number of mm above 0, or three")
        if self.size is not None and not _three(self.size, lambda n: isinstance(n, int) and n >= 1):
            raise InputError(f"size is {self.size!r}: it must be a positive whole number or three")
        if self.window is not None and not (
            isinstance(self.window, tuple)
            and len(self.window) == 2
            and all(map(is_number, self.window))
            and all(map(math.isfinite, self.window))
            and self.window[1] > 0
        ):
            raise InputError(f"window is {self.window!r}: it must be a centre and a width above 0")
        if self.intensity not in get_args(Intensity):
            raise InputError(f"intensity is {self.intensity!r}: it must be one of {', '.join(get_args(Intensity))}")
        check_per_channel(self.mean, self.std)
        if len(self.mean) != len(self.std) or not self.mean:
            raise InputError(f"mean has {len(self.mean)} and std {len(self.std)} values: both must have one a channel")
        if not all(map(math.isfinite, self.mean)) or not all(math.isfinite(s) and s > 0 for s in self.std):
            raise InputError(f"mean {self.mean} and std {self.std}: they must be finite, and std above 0")

    @property
    def by(self) -> str:
        """Whose preparation it is, where it is not this one's own: "nnunet"."""
        return ""

    @property
    def channels(self) -> int:
        """Number of channels of the network's input."""
        return len(self.mean)

    @property
    def input_size(self) -> tuple[int, int, int] | None:
        """Size of the network's input; None if it depends on the volume."""
        return (self.size,) * 3 if isinstance(self.size, int) else self.size

    def __call__(self, volume: Volume) -> Tensor:
        """Prepare a volume.

        Returns:
            float32 `(C, d, h, w)`.

        Raises:
            InputError: the volume has another number of channels, or the result would be absurdly large.
        """
        if volume.channels != self.channels and (volume.channels != 1 or self.channels != _REPEATED):
            one = "one channel" if volume.channels == 1 else f"{volume.channels} channels"
            advice = (
                f"pick one when reading (--channel N), or give mean and std {volume.channels} numbers each"
                if self.channels == 1
                else f"give {self.channels} files in the order of its training (--channels), or one file with exactly"
                f" {self.channels} channels (--channel all)"
            )
            raise InputError(f"a volume with {one} for a network with {self.channels}: {advice}")
        order, flips, axes = self._way(volume)
        values = self._scaled_in_place(volume.tensor())
        outside = values.amin((1, 2, 3), keepdim=True)
        values = values.permute(0, *(axis + 1 for axis in order))
        values = values.flip([n + 1 for n, flip in enumerate(flips) if flip])
        for n, axis in sorted(enumerate(axes), key=lambda one: one[1].net / one[1].length):  # the shrinking ones first
            values = _resampled(values, axis, n + 1, outside)
        mean, std = (torch.tensor(v, dtype=torch.float32)[:, None, None, None] for v in (self.mean, self.std))
        return ((values - mean) / std).contiguous()

    def to_original(self, maps: Tensor, volume: Volume) -> Tensor:
        """Put maps at the network's input size back onto the grid of the source.

        Linear interpolation between voxel centres: no value leaves the range of the map. What the network did not see
        is 0.

        Args:
            maps: `(..., d, h, w)` at the size of the network's input for this volume.
            volume: what the network saw, before it was prepared.

        Returns:
            `(..., D, H, W)` on the volume's own grid and in its own order of axes, on the maps' device; float32, unless
            they are float64. It shares no memory with the maps.

        Raises:
            InputError: the maps do not have the size of the network's input.
        """
        order, flips, axes = self._way(volume)
        expected = tuple(axis.net for axis in axes)
        if tuple(maps.shape[-3:]) != expected:
            raise InputError(
                f"map of shape {tuple(maps.shape)}: its last three must be the input size {expected}; upsample it to"
                " the network's input first"
            )
        maps = maps if maps.dtype == torch.float64 else maps.float()
        lead = maps.ndim - 3
        found = maps.new_empty((*maps.shape[:lead], *volume.size))
        turned_found = found.permute(*range(lead), *(lead + axis for axis in order))
        ranked = sorted(range(3), key=lambda n: axes[n].length / axes[n].net)  # least growth first
        first, length = ranked[0], axes[ranked[0]].length
        least = _LINE if order[first] == 2 else 1  # so that each line of the processor's cache is written once
        step = max(least, _AT_ONCE * length // found.numel())
        for start in range(0, length, step):  # slab by slab: of the whole there is the result alone
            stop = min(start + step, length)
            rows = slice(length - stop, length - start) if flips[first] else slice(start, stop)
            slab = _back(maps, axes[first], first - 3, rows)
            for n in ranked[1:]:
                slab = _back(slab, axes[n], n - 3)
            turned_found.narrow(first - 3, start, stop - start).copy_(
                slab.flip([n - 3 for n, flip in enumerate(flips) if flip])
            )
        return found

    def place(self, place: Sequence[int], volume: Volume) -> tuple[int, ...]:
        """Returns which voxel of the source a hill comes to lie on with its top, whose top is at a place of the input.

        It is what `to_original` gives for a hill that falls linearly along each axis, without a map of the source's
        size: along each axis such a hill is sampled by itself.

        Args:
            place: index of a voxel of the network's input for this volume.
            volume: as there.
        """
        order, flips, axes = self._way(volume)
        found = [0, 0, 0]
        for at, source, flip, axis in zip(place, order, flips, axes, strict=True):
            line = _back(1 - (torch.arange(axis.net) - at).abs() / axis.net, axis, -1)
            found[source] = int((line.flip(0) if flip else line).argmax())
        return tuple(found)

    def mask(self, mask: Tensor, volume: Volume) -> Tensor:
        """Bring a mask of a volume onto the grid of the network's input.

        A voxel of the input belongs to the mask if the volume's voxel at its centre does; what lies outside never does.

        Args:
            mask: `(D, H, W)` bool on the volume's grid.
            volume: what it belongs to.

        Returns:
            bool `(d, h, w)`.
        """
        size, affine = self.grid(volume)
        way = np.linalg.inv(volume.affine) @ affine
        order = [int(np.abs(way[:3, axis]).argmax()) for axis in range(3)]  # which of the volume's axes each one is
        mask = mask.permute(order)
        for axis, source in enumerate(order):
            places = way[source, 3] + way[source, axis] * np.arange(size[axis])
            index = torch.from_numpy(np.floor(np.round(places, _TIE) + 0.5)).long().to(mask.device)
            seen = (index >= 0) & (index < mask.shape[axis])
            shape = [-1 if n == axis else 1 for n in range(3)]
            mask = mask.index_select(axis, index.clamp(0, mask.shape[axis] - 1)) & seen.reshape(shape)
        return mask

    def grid(self, volume: Volume) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
        """Return the size of the network's input for a volume, and its affine to mm in RAS+."""
        order, flips, axes = self._way(volume)
        into_source = np.zeros((4, 4))
        into_source[3, 3] = 1
        for n, (axis, flip) in enumerate(zip(axes, flips, strict=True)):
            start = float(axis.places()[0])
            into_source[order[n], n] = -axis.step if flip else axis.step
            into_source[order[n], 3] = axis.length - 1 - start if flip else start
        return (axes[0].net, axes[1].net, axes[2].net), volume.affine @ into_source

    def as_dict(self) -> dict[str, Any]:
        """The fields, for provenance; `VolumePreprocess(**d)` takes them back, also after a way through JSON."""
        return {name: value for name, value in asdict(self).items() if name != "sources" or value}

    @property
    def told(self) -> str:
        """What is done to volumes and who says so, in one line."""
        return stated.told(self._said())

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What is done to volumes though nobody stated it, a line each; it may decide every number."""
        return stated.assumptions(self._said())

    @property
    def assumed(self) -> str:
        """The assumptions in one line, for a sheet or a table; "" if there are none."""
        return stated.told([pair for pair in self._said() if stated.is_assumed(pair[1])])

    def notices(self, volume: Volume) -> tuple[str, ...]:
        """What a user should know of how a volume was read and is brought to the network's channels, a line each."""
        repeated = self.channels == _REPEATED and volume.channels == 1
        return (*volume.notices, *(["it has one channel: repeated to 3"] if repeated else ()))

    def _said(self) -> list[tuple[str, str]]:
        grey = {
            "z-score": "z-score of each volume",
            "unit": "grey values brought to 0..1",
            "none": "grey values as stored",
        }
        clipped = "" if self.window is None else f", clipped to {self.window[0]:g} ± {self.window[1] / 2:g}"
        said: list[tuple[str, tuple[str, ...]]] = [
            (grey[self.intensity] + clipped, ("intensity", *(() if self.window is None else ("window",)))),
            (f"axes turned to {self.orientation}" if self.orientation else "axes as stored", ("orientation",)),
        ]
        if (set(self.mean), set(self.std)) != ({0.0}, {1.0}):
            said.append((f"then mean {stated.numbers(self.mean)} and SD {stated.numbers(self.std)}", ("mean", "std")))
        said.append(
            ("voxels of their own size" if self.spacing is None else f"voxels of {_mm(self.spacing)} mm", ("spacing",))
        )
        said.append(("size as it comes" if self.size is None else f"{_cells(self.size)} voxels", ("size",)))
        return stated.grouped(said, self.sources)

    def _way(self, volume: Volume) -> tuple[tuple[int, int, int], tuple[bool, bool, bool], list[Axis]]:
        """For each axis of the input: which of the volume's it is, whether it runs backwards, how it is sampled."""
        codes = axis_codes(volume.affine)  # of a volume without a place nibabel's guess, which its notices tell
        order, flips = turned(codes, self.orientation or codes)
        spacing = _triple(self.spacing)
        axes = []
        for n, source in enumerate(order):
            length, old = volume.size[source], volume.spacing[source]
            size = None if self.input_size is None else self.input_size[n]
            if spacing is not None:
                step = spacing[n] / old
                axes.append(Axis(length, size or max(1, round(length / step)), step))
            else:
                axes.append(Axis(length, size or length, length / size if size else 1.0))
        if math.prod(axis.net for axis in axes) > _MOST_VOXELS:
            raise InputError(
                f"an input of {' x '.join(str(axis.net) for axis in axes)} voxels is too large: give a larger spacing"
                " or a smaller size"
            )
        return order, flips, axes

    def _scaled_in_place(self, values: Tensor) -> Tensor:
        """Intensities of `(C, D, H, W)`, clipped and scaled, channel by channel, in the tensor given."""
        low: Tensor | float = values.amin((1, 2, 3), keepdim=True)
        high: Tensor | float = values.amax((1, 2, 3), keepdim=True)
        if self.window is not None:
            low, high = self.window[0] - self.window[1] / 2, self.window[0] + self.window[1] / 2
            values.clamp_(low, high)
        if self.intensity == "unit":
            width = torch.as_tensor(high - low)
            return values.sub_(low).div_(torch.where(width > 0, width, 1))
        if self.intensity == "z-score":
            for channel in values:
                _standardise(channel.view(-1))
        return values


def _standardise(values: Tensor) -> None:
    """Takes the mean from all values, and divides them by their standard deviation if they differ.

    In double precision, for a sum of 10^8 float32 values loses too much; part by part, for it takes twice the memory.
    """
    parts = values.split(_AT_ONCE)
    mean = sum(part.sum(dtype=torch.float64) for part in parts) / len(values)
    std = (sum((part - mean.double()).square().sum() for part in map(Tensor.double, parts)) / len(values)).sqrt()
    for part in parts:
        part.copy_((part.double() - mean) / torch.where(std > 0, std, 1))


def _resampled(values: Tensor, axis: Axis, dim: int, outside: Tensor) -> Tensor:
    """Samples an axis by weights, a triangle about each place: as wide as a voxel, or as a step if that is more."""
    if axis == Axis(axis.length, axis.length, 1.0):
        return values
    places = axis.places()
    reach = max(1.0, axis.step)
    weights = 1 - (places[:, None] - torch.arange(axis.length, dtype=torch.float64)).abs() / reach
    weights.clamp_(min=0)
    seen = (places >= -0.5) & (places <= axis.length - 0.5)
    weights /= weights.sum(1, keepdim=True).clamp(min=1e-12)
    sampled = (values.movedim(dim, -1) @ weights.float().T).movedim(-1, dim)
    shape = [1] * values.ndim
    shape[dim] = -1
    return torch.where(seen.view(shape), sampled, outside)


def _back(maps: Tensor, axis: Axis, dim: int, rows: slice = slice(None)) -> Tensor:
    """Samples an axis of a map where the volume's voxels lie, or some of their rows."""
    if axis == Axis(axis.length, axis.length, 1.0):
        start, stop, _ = rows.indices(axis.length)
        return maps.narrow(dim, start, stop - start)
    places = axis.places_back()[rows]
    position = places.clamp(0, axis.net - 1)
    below = position.floor().long()
    above = (below + 1).clamp(max=axis.net - 1)
    shape = [-1] + [1] * (-1 - dim)
    weight = (position - below).to(maps).view(shape)
    below, above = below.to(maps.device), above.to(maps.device)
    # lerp keeps a constant exactly constant and stays between its ends
    line = torch.lerp(maps.index_select(dim, below), maps.index_select(dim, above), weight)
    unseen = ((places < -0.5) | (places > axis.net - 0.5)).to(maps.device).view(shape)
    return line.masked_fill_(unseen, 0) if unseen.any() else line


def _mm(value: float | tuple[float, float, float]) -> str:
    return " x ".join(f"{side:g}" for side in (_triple(value) or ()))


def _cells(value: int | tuple[int, int, int]) -> str:
    return " x ".join(map(str, value if isinstance(value, tuple) else (value,) * 3))


def _three(value: Any, good: Any) -> bool:
    values = value if isinstance(value, tuple) else (value,) * 3
    return len(values) == 3 and all(isinstance(v, (int, float)) and good(v) for v in values)


def _triple(value: float | tuple[float, float, float] | None) -> tuple[float, float, float] | None:
    return (value, value, value) if isinstance(value, (int, float)) else value
