"""What a MONAI bundle does to a volume before its network sees it: its own transforms, run as they are written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cfcam.errors import InputError, MissingExtraError
from cfcam.imaging import stated
from cfcam.imaging.bundle_steps import Seen, misplaced
from cfcam.imaging.bundle_transforms import COMPOSE, NOT_RUN, astray, check_loader, composed, name_of
from cfcam.imaging.nnunet_preprocess import NnunetPreprocess
from cfcam.imaging.volume import Volume
from cfcam.imaging.volume_preprocess import Axis, VolumePreprocess
from cfcam.shown import counted

_AXES_TURN: Final = 1e-3  # of a voxel for each step; more than that is no rounding
_ELSEWHERE: Final = (17.0, -23.0, 31.0)  # mm: no affine that is made up lies there
_LEAST: Final = 8  # voxels along an axis, by which a flip shows
_TRUE: Final[set[tuple[Any, ...]]] = set()  # preparations, with sizes, behind which voxels lie where the affine says
_GRIDS: WeakKeyDictionary[Volume, dict[str, tuple[tuple[int, ...], NDArray[np.float64]]]] = WeakKeyDictionary()


@dataclass(frozen=True)
class BundlePreprocess(VolumePreprocess):
    """What a MONAI bundle does to a volume: the transforms of its ``preprocessing``, by MONAI.

    The volume stands where the bundle would read its file, with its affine; where the voxels of the input lie is what
    MONAI's transforms say of it: what they do to a tensor without metadata has to be nothing, and the rest is tried
    once for each preparation and size. Of `VolumePreprocess` is used how many channels the network takes.

    Attributes:
        transforms: the transforms, each a mapping with ``_target_`` and its arguments, all of them plain values.
        keys: what the loaded images are called; of several each is a channel of the volume.
        result: what the input is called behind the transforms.
        patch: the least size of the input: it is filled up with 0 on both sides, as by a ``SlidingWindowInferer``.
        trusted: whether transforms may be other than MONAI's own, whose code is then imported.
        compose: the arguments of the bundle's ``Compose`` beside its transforms, such as ``lazy``.

    Raises:
        InputError: there are no keys, a patch is none, a transform is random, or writes, or an argument of the
            ``Compose`` or of a loader is not honoured.
    """

    transforms: tuple[Mapping[str, Any], ...] = field(default=())
    keys: tuple[str, ...] = ("image",)
    result: str = "image"
    patch: tuple[int, ...] = (1, 1, 1)
    trusted: bool = False
    compose: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("transforms", "keys", "patch"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "orientation", None)
        object.__setattr__(self, "intensity", "none")
        super().__post_init__()
        if not self.keys or len(self.patch) != 3 or not all(isinstance(n, int) and n >= 1 for n in self.patch):
            raise InputError(f"keys are {self.keys} and patch is {self.patch}: give names, and three sizes above 0")
        if wrong := [name for name in map(name_of, self.transforms) if name.startswith(NOT_RUN)]:
            raise InputError(f"the preprocessing has {wrong[0]}: what is random, or writes, or is code, is not run")
        if unknown := sorted(set(self.compose) - set(COMPOSE)):
            raise InputError(f"the preprocessing's Compose has {unknown[0]}: its arguments are {', '.join(COMPOSE)}")
        for one in self.transforms:
            check_loader(one)

    @property
    def by(self) -> str:
        """Whose preparation it is."""
        return "monai-bundle"

    def __call__(self, volume: Volume) -> Tensor:
        """Prepare a volume.

        Returns:
            float32 `(C, d, h, w)`.

        Raises:
            InputError: a transform of the bundle fails or moves voxels and its affine does not follow, what comes of
                them is no volume of the network's channels, or it lies obliquely to the one that was read.
            MissingExtraError: MONAI is not installed.
        """
        found, affine, seen = self._run(volume)
        self._check_places(volume, seen)
        lacking = [max(0, least - size) for size, least in zip(found.shape[1:], self.patch, strict=True)]
        around = [side for n in lacking[::-1] for side in (n // 2, n - n // 2)]
        moved = affine.copy()
        moved[:3, 3] -= affine[:3, :3] @ np.array([n // 2 for n in lacking])
        x = torch.nn.functional.pad(found, around)
        _GRIDS.setdefault(volume, {})[self._called] = (tuple(x.shape[1:]), moved)
        return x

    def as_dict(self) -> dict[str, Any]:
        """The fields, for provenance, and under "by" whose they are."""
        return {**super().as_dict(), "by": self.by}

    def notices(self, volume: Volume) -> tuple[str, ...]:
        """What a user should know of how a volume was read, a line each."""
        return volume.notices

    def _said(self) -> list[tuple[str, str]]:
        names = ", ".join(name_of(one) for one in self.transforms)
        return stated.grouped([(f"by the bundle: {names or 'nothing is done'}", ("transforms",))], self.sources)

    @property
    def _called(self) -> str:
        return json.dumps(
            [self.transforms, self.keys, self.result, self.patch, self.compose], sort_keys=True, default=str
        )

    def _run(self, volume: Volume) -> tuple[Tensor, NDArray[np.float64], Seen]:
        """The bundle's own input for a volume, its affine, and what was seen on the way."""
        if not any(volume.voxels.strides) and volume.voxels.size > 1:
            raise InputError("a bundle's transforms need the voxels, and of this volume there is the grid alone")
        data = self._loaded(volume)
        found, affine, seen = composed(self.transforms, data, self.result, self.compose, trusted=self.trusted)
        if not isinstance(found, Tensor):
            what = "nothing" if found is None else f"a {type(found).__name__}"
            raise InputError(f"the bundle's transforms leave {what} as {self.result!r}: repair its configuration")
        if found.ndim != 4 or found.shape[0] != self.channels:
            shape = tuple(found.shape)
            alone = "give its one file, as a path, or one channel of it (--channel)"
            due = alone if self.channels == 1 else "give a file for each channel (--channels)"
            raise InputError(
                f"the bundle's transforms make {shape} of a volume with {counted(volume.channels, 'channel')}, and its"
                f" network takes ({self.channels}, depth, height, width): {due}"
            )
        plain = found.as_tensor() if hasattr(found, "as_tensor") else found
        return plain.detach().to(torch.float32).contiguous(), affine, seen

    def _check_places(self, volume: Volume, seen: Seen) -> None:
        """Refuses transforms that move voxels and not the affine.

        The volume that shows it lies elsewhere than the affine which MONAI takes for want of one.
        """
        called = (self._called, volume.size, seen)
        if called in _TRUE:
            return
        elsewhere = volume.affine.copy()
        elsewhere[:3, 3] += _ELSEWHERE
        size = [max(n, _LEAST) for n in volume.size]

        def run(transforms: Any, voxels: NDArray[np.float32]) -> tuple[Any, NDArray[np.float64]]:
            whole = np.broadcast_to(voxels, (*volume.voxels.shape[:-3], *voxels.shape))
            data = self._loaded(Volume(whole, elsewhere, volume.source))
            found, affine, _ = composed(transforms, data, self.result, self.compose, trusted=self.trusted, trial=seen)
            found = data[self.keys[0]] if found is None else found
            return found, np.linalg.inv(elsewhere) @ affine

        if wrong := astray(self.transforms, run, size):
            raise misplaced(wrong)
        _TRUE.add(called)

    def _loaded(self, volume: Volume) -> dict[str, Any]:
        """The volume as MONAI's loaders would give it, under its keys."""
        try:
            from monai.data.meta_tensor import MetaTensor
        except ModuleNotFoundError as error:
            raise MissingExtraError("monai", "models", "a MONAI bundle") from error
        voxels = torch.from_numpy(np.array(volume.voxels, order="C"))
        affine = torch.from_numpy(np.array(volume.affine))
        if volume.source.kind == "dicom":  # MONAI has columns first and slices last
            axes = voxels.ndim - 3
            voxels = voxels.permute(*range(axes), axes + 2, axes + 1, axes)
            affine = affine[:, [2, 1, 0, 3]]
        several = len(self.keys) > 1
        if several and volume.channels != len(self.keys):
            raise InputError(
                f"a volume with {counted(volume.channels, 'channel')} for a bundle that reads"
                f" {', '.join(self.keys)}: give a file for each (--channels)"
            )
        where = next((one["channel_dim"] for one in self.transforms if isinstance(one.get("channel_dim"), int)), 0)
        data: dict[str, Any] = {}
        for n, key in enumerate(self.keys):
            values = voxels[n] if several else voxels
            whole = values.ndim == 4
            values = values.movedim(0, where) if whole else values
            data[key] = MetaTensor(
                values.contiguous(), affine=affine, meta={"original_channel_dim": where if whole else float("nan")}
            )
        return data

    def _way(self, volume: Volume) -> tuple[tuple[int, int, int], tuple[bool, bool, bool], list[Axis]]:
        if self._called not in _GRIDS.get(volume, {}):
            self(volume)
        size, affine = _GRIDS[volume][self._called]
        way = np.linalg.inv(volume.affine) @ affine
        source = [int(np.abs(way[:3, n]).argmax()) for n in range(3)]
        others = [way[axis, n] for n in range(3) for axis in range(3) if axis != source[n]]
        if sorted(source) != [0, 1, 2] or max(map(abs, others)) > _AXES_TURN:
            raise InputError(
                "the bundle's preprocessing turns the volume by other than right angles, from which no map is brought"
                " back: give a volume whose axes are the patient's"
            )
        flips, axes = [], []
        for n, axis in enumerate(source):
            step, start, length = abs(float(way[axis, n])), float(way[axis, 3]), volume.size[axis]
            flips.append(bool(way[axis, n] < 0))
            start = length - 1 - start if flips[n] else start
            axes.append(Axis(length, size[n], step, start + (size[n] - 1) / 2 * step - (length - 1) / 2))
        return (source[0], source[1], source[2]), (flips[0], flips[1], flips[2]), axes


def prepared_by(values: Mapping[str, Any], *, trusted: bool = False) -> VolumePreprocess:
    """Returns the preparation of volumes that a record tells of, whoever's it is.

    Args:
        values: `VolumePreprocess.as_dict`, also after a way through JSON.
        trusted: whether a bundle's own code may be run for it; what a record says of that itself does not count.
    """
    own = {name: value for name, value in values.items() if name not in ("by", "trusted")}
    if trusted:
        own["trusted"] = True
    kinds = {"nnunet": NnunetPreprocess, "monai-bundle": BundlePreprocess}
    return kinds.get(str(values.get("by")), VolumePreprocess)(**own)
