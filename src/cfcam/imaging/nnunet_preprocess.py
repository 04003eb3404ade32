"""What nnU-Net v2 does to a volume before its network sees it, by its plans: turn, crop, normalise, resample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from cfcam.errors import InputError
from cfcam.imaging import stated
from cfcam.imaging.geometry import axis_codes, turned
from cfcam.imaging.volume import Volume
from cfcam.imaging.volume_preprocess import Axis, VolumePreprocess
from cfcam.shown import counted

SCHEMES: Final = (
    "CTNormalization",
    "ZScoreNormalization",
    "NoNormalization",
    "RescaleTo01Normalization",
    "RGBTo01Normalization",
)
"""The normalisations that nnU-Net itself has."""
PROPERTIES: Final = ("mean", "std", "percentile_00_5", "percentile_99_5")
"""What ``CTNormalization`` takes of a channel's intensities in the training data."""
_LEAST: Final = 1e-8  # what nnU-Net divides by in place of less
_BOXES: WeakKeyDictionary[Volume, list[tuple[int, int]]] = WeakKeyDictionary()  # each is looked for once
_ANISOTROPIC: Final = 3  # times the finest spacing, from which on an axis is resampled by itself


@dataclass(frozen=True)
class NnunetPreprocess(VolumePreprocess):
    """What nnU-Net v2 does to a volume; a `VolumePreprocess` by the words of its plans.

    The axes are those of nnU-Net's readers (the reverse of a NIfTI's i, j, k), transposed by the plans; the volume is
    cut to the box of what is not 0 in some channel, normalised channel by channel, resampled to the plans' spacing, and
    filled up with 0 to the size of a patch. Of `VolumePreprocess` are used: ``spacing``, along the network's axes, and
    ``orientation``, "RAS" for ``NibabelIOWithReorient`` and else None.

    Attributes:
        transpose: ``transpose_forward`` of the plans.
        schemes: the normalisation of each channel, of `SCHEMES`.
        within: channel by channel whether it is normalised by what is not 0 alone (``use_mask_for_norm``).
        properties: channel by channel what is known of its intensities; `PROPERTIES` for ``CTNormalization``.
        patch: the least size of the input in voxels; that of the windows in which it is predicted.
        order: of the splines, 0 to 5.
        order_z: of those along an anisotropic axis, which is then resampled by itself.
        separate_z: whether there is such an axis; None: if it is more than three times the finest.

    Source: nnU-Net v2 2.8.1, ``DefaultPreprocessor`` and ``resample_data_or_seg_to_shape``; Isensee et al. 2021,
    doi 10.1038/s41592-020-01008-z.

    Raises:
        InputError: a value is out of its range, or one channel has more of them than another.
    """

    transpose: tuple[int, ...] = (0, 1, 2)
    schemes: tuple[str, ...] = ("ZScoreNormalization",)
    within: tuple[bool, ...] = (False,)
    properties: tuple[Mapping[str, float], ...] = field(default=({},))
    patch: tuple[int, ...] = (1, 1, 1)
    order: int = 3
    order_z: int = 0
    separate_z: bool | None = None

    def __post_init__(self) -> None:
        for name in ("transpose", "schemes", "within", "properties", "patch"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        channels = len(self.schemes)
        object.__setattr__(self, "mean", (0.0,) * channels)
        object.__setattr__(self, "std", (1.0,) * channels)
        object.__setattr__(self, "intensity", "none")
        super().__post_init__()
        if self.spacing is None or isinstance(self.spacing, (int, float)):
            raise InputError(f"spacing is {self.spacing!r}: nnU-Net's has three numbers of mm")
        if sorted(self.transpose) != [0, 1, 2]:
            raise InputError(f"transpose is {self.transpose}: it must hold 0, 1 and 2")
        if len(self.patch) != 3 or not all(isinstance(n, int) and n >= 1 for n in self.patch):
            raise InputError(f"patch is {self.patch}: it must be three positive whole numbers")
        if unknown := [(n, scheme) for n, scheme in enumerate(self.schemes) if scheme not in SCHEMES]:
            n, own = unknown[0]
            raise InputError(f"the normalisation of channel {n} is {own!r}: nnU-Net has {', '.join(SCHEMES)}")
        if not len(self.within) == len(self.properties) == channels:
            raise InputError(f"{channels} normalisations with {len(self.within)} masks and {len(self.properties)} sets")
        for n, (scheme, known) in enumerate(zip(self.schemes, self.properties, strict=True)):
            if scheme == "CTNormalization" and (lacking := [name for name in PROPERTIES if name not in known]):
                raise InputError(f"CTNormalization of channel {n} lacks {', '.join(lacking)}: the plans must hold them")

    @property
    def by(self) -> str:
        """Whose preparation it is."""
        return "nnunet"

    def __call__(self, volume: Volume) -> Tensor:
        """Prepare a volume.

        Returns:
            float32 `(C, d, h, w)`, no smaller than a patch.

        Raises:
            InputError: the volume has another number of channels, or an intensity that its normalisation excludes.
        """
        if volume.channels != self.channels:
            raise InputError(
                f"a volume with {counted(volume.channels, 'channel')} for a network with {self.channels}: give a file"
                " for each, in the order of its training (--channels)"
            )
        values = self.unpadded(volume)
        around = [(0, 0), *map(self._around, values.shape[1:], self.patch)]
        return torch.from_numpy(np.ascontiguousarray(np.pad(values, around)))

    def unpadded(self, volume: Volume) -> NDArray[np.float32]:
        """Return what nnU-Net's preprocessor makes of a volume, before it is filled up to the size of a patch."""
        order, flips, _ = self._way(volume)
        voxels = volume.voxels if volume.voxels.ndim == 4 else volume.voxels[None]
        box = _box(volume)
        cut = voxels[(slice(None), *(slice(*ends) for ends in box))].transpose(0, *(axis + 1 for axis in order))
        backwards = (slice(None, None, -1) if flip else slice(None) for flip in flips)
        values = np.array(cut[(slice(None), *backwards)], dtype=np.float32, order="C")
        seen = ndimage.binary_fill_holes((values != 0).any(0)) if any(self.within) else None
        for n, channel in enumerate(values):
            self._normalise(channel, n, seen if self.within[n] else None)
        old = [volume.spacing[axis] for axis in order]
        return self._resampled(values, self._resized(values.shape[1:], old), old)

    def to_original(self, maps: Tensor, volume: Volume) -> Tensor:
        """Put maps at the network's input size back onto the grid of the source; 0 outside of the box that it saw."""
        found = super().to_original(maps, volume)
        for axis, (start, stop) in enumerate(_box(volume)):
            found.narrow(axis - 3, 0, start).zero_()
            found.narrow(axis - 3, stop, volume.size[axis] - stop).zero_()
        return found

    def mask(self, mask: Tensor, volume: Volume) -> Tensor:
        """Bring a mask of a volume onto the grid of the network's input, see `VolumePreprocess.mask`."""
        inside = torch.zeros_like(mask)
        box = tuple(slice(*ends) for ends in _box(volume))
        inside[box] = mask[box]
        return super().mask(inside, volume)

    def as_dict(self) -> dict[str, Any]:
        """The fields, for provenance, and under "by" whose they are."""
        return {**super().as_dict(), "by": self.by}

    def notices(self, volume: Volume) -> tuple[str, ...]:
        """What a user should know of how a volume was read and is prepared, a line each."""
        lines = [*volume.notices]
        if volume.source.kind == "dicom":
            lines.append("nnU-Net reads no DICOM: slices, rows and columns are taken as its axes")
        return tuple(lines)

    def _said(self) -> list[tuple[str, str]]:
        grey = ", ".join(
            scheme.removesuffix("Normalization") + (" (where not 0)" if within else "")
            for scheme, within in zip(self.schemes, self.within, strict=True)
        )
        spacing = " x ".join(f"{mm:g}" for mm in self._spacing)
        said = [(f"nnU-Net's preparation: cut to what is not 0, {grey}, voxels of {spacing} mm", ("spacing",))]
        return stated.grouped(said, self.sources)

    @property
    def _spacing(self) -> tuple[float, float, float]:
        assert isinstance(self.spacing, tuple)  # noqa: S101 (checked when it was made)
        return self.spacing

    def _way(self, volume: Volume) -> tuple[tuple[int, int, int], tuple[bool, bool, bool], list[Axis]]:
        codes = axis_codes(volume.affine)
        read, flipped = turned(codes, self.orientation or codes)
        if volume.source.kind != "dicom":  # readers of NIfTI have the last index first, as SimpleITK
            read, flipped = read[::-1], flipped[::-1]
        order = read[self.transpose[0]], read[self.transpose[1]], read[self.transpose[2]]
        flips = flipped[self.transpose[0]], flipped[self.transpose[1]], flipped[self.transpose[2]]
        found = _box(volume)
        box = [found[axis] for axis in order]
        cut = [stop - start for start, stop in box]
        resized = self._resized(cut, [volume.spacing[axis] for axis in order])
        axes = []
        for n, axis in enumerate(order):
            length, step = volume.size[axis], cut[n] / resized[n]
            before, after = self._around(resized[n], self.patch[n])
            middle = (box[n][0] + box[n][1] - 1) / 2 - (length - 1) / 2  # of the box, from that of the volume
            middle = -middle if flips[n] else middle
            axes.append(Axis(length, before + resized[n] + after, step, middle + (after - before) / 2 * step))
        return order, flips, axes

    def _resized(self, size: Sequence[int], old: Sequence[float]) -> list[int]:
        """How many voxels there are at the plans' spacing."""
        return [max(1, round(mm / new * n)) for n, mm, new in zip(size, old, self._spacing, strict=True)]

    @staticmethod
    def _around(size: int, patch: int) -> tuple[int, int]:
        """How many voxels are filled up before and behind an axis."""
        lacking = max(0, patch - size)
        return lacking // 2, lacking - lacking // 2

    def _normalise(self, values: NDArray[np.float32], channel: int, seen: NDArray[np.bool_] | None) -> None:
        """Normalise a channel in place, by its scheme."""
        scheme, known = self.schemes[channel], self.properties[channel]
        if scheme == "CTNormalization":
            np.clip(values, known["percentile_00_5"], known["percentile_99_5"], out=values)
            values -= known["mean"]
            values /= max(known["std"], _LEAST)
        elif scheme == "ZScoreNormalization":
            where: Any = slice(None) if seen is None else seen
            some = values[where]
            if not some.size:  # a blank scan has nothing to normalise by
                return
            values[where] = (some - some.mean()) / max(some.std(), np.float32(_LEAST))
        elif scheme == "RescaleTo01Normalization":
            values -= values.min()
            values /= max(values.max(), np.float32(_LEAST))
        elif scheme == "RGBTo01Normalization":
            if values.min() < 0 or values.max() > 255:
                raise InputError(
                    f"channel {channel} goes from {values.min():g} to {values.max():g}, and RGBTo01Normalization takes"
                    " 0 to 255: give the files it was trained on"
                )
            values /= 255.0

    def _resampled(self, values: NDArray[np.float32], size: Sequence[int], old: Sequence[float]) -> NDArray[np.float32]:
        if list(values.shape[1:]) == list(size):
            return values
        axis = self._by_itself(old)
        found = np.empty((len(values), *size), np.float32)
        for channel, into in zip(values, found, strict=True):
            if axis is None:
                into[:] = _resized(channel, size, self.order)
                continue
            flat = [n for i, n in enumerate(size) if i != axis]
            slices = [_resized(one, flat, self.order) for one in np.moveaxis(channel, axis, 0)]
            stack = np.stack(slices, axis)
            if stack.shape[axis] != size[axis]:
                stack = _along(stack, axis, size[axis], self.order_z)
            into[:] = stack
        return found

    def _by_itself(self, old: Sequence[float]) -> int | None:
        """The axis that is resampled by itself: of the volume as it is, else at the plans' spacing; None: no axis."""
        if self.separate_z is False:
            return None
        for spacing in (old, self._spacing):
            if self.separate_z or max(spacing) / min(spacing) > _ANISOTROPIC:
                coarse = [n for n, mm in enumerate(spacing) if max(spacing) / mm == 1]
                return coarse[0] if len(coarse) == 1 else None
        return None


def _box(volume: Volume) -> list[tuple[int, int]]:
    """Where something is not 0 in some channel: the first index along each axis, and that behind the last."""
    if volume in _BOXES:
        return _BOXES[volume]
    if not any(volume.voxels.strides) and volume.voxels.size > 1:
        raise InputError(
            "nnU-Net cuts a volume to what is not 0, and of this one there is the grid alone: give the file itself"
        )
    present = volume.voxels != 0
    present = present.any(0) if present.ndim == 4 else present
    box = []
    for axis in range(3):
        (where,) = present.any(tuple({0, 1, 2} - {axis})).nonzero()
        box.append((int(where[0]), int(where[-1]) + 1) if len(where) else (0, volume.size[axis]))
    _BOXES[volume] = box
    return box


def _resized(values: NDArray[Any], size: Sequence[int], order: int) -> NDArray[Any]:
    """Splines of an order through voxels whose edges stay the edges, cut to the range of the values.

    It is ``skimage.transform.resize(values, size, order, mode="edge", anti_aliasing=False)``.
    """
    exact = values.astype(np.float64)
    zoom = [new / old for new, old in zip(size, exact.shape, strict=True)]
    found: NDArray[Any] = ndimage.zoom(exact, zoom, order=order, mode="nearest", grid_mode=True)
    return np.clip(found, exact.min(), exact.max())


def _along(values: NDArray[Any], axis: int, size: int, order: int) -> NDArray[Any]:
    """Splines along one axis alone; the others are taken voxel by voxel."""
    old = values.shape[axis]
    places = (np.arange(size) + 0.5) * (old / size) - 0.5
    if order == 0:
        nearest = np.floor(places + 0.5).astype(int).clip(0, old - 1)
        return values.take(nearest, axis)
    shape = [size if n == axis else extent for n, extent in enumerate(values.shape)]
    coordinates = [places if n == axis else np.arange(extent) for n, extent in enumerate(shape)]
    grid = np.meshgrid(*coordinates, indexing="ij")
    found: NDArray[Any] = ndimage.map_coordinates(values, grid, order=order, mode="nearest")
    return found
