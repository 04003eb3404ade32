"""Volumes in, maps out: NIfTI files and DICOM series become a `Volume`, and a map becomes a NIfTI on its grid."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cfcam.errors import ImageError, InputError
from cfcam.imaging.geometry import axis_codes, cell_size, check_affine, spacing_of
from cfcam.imaging.measured import Measured

if TYPE_CHECKING:
    from torch import Tensor

    from cfcam.imaging.nifti_space import NiftiSpace

MAX_VOXELS = 2**29
"""Largest volume that is read unless told otherwise: 2 GB as float32."""

NOT_FINITE = "are no finite numbers"
"""What a notice says of voxels that are NaN or infinite."""
UNKNOWN_ORIENTATION = "???"
"""What `Volume.orientation` is where a header does not say how the volume lies in the patient."""


@dataclass(frozen=True)
class Instance:
    """The DICOM object that a slice of a volume came from; its UID appears in no text that cfcam writes of itself.

    Attributes:
        path: the file.
        sop_class_uid: kind of object.
        sop_instance_uid: identity of the object.
        frame: number of the frame in it, from 1; None for a single-frame object.
    """

    path: Path = field(repr=False)
    sop_class_uid: str = field(repr=False)
    sop_instance_uid: str = field(repr=False)
    frame: int | None = None


@dataclass(frozen=True)
class Source:
    """Where a volume came from. What could identify a patient is kept out of its repr.

    Attributes:
        kind: "nifti", "dicom", or "memory" for an array that was given.
        sha256: hexadecimal SHA-256: of the NIfTI file; of the sorted SHA-256 digests of a series' files.
        path: the file or folder, if there is one.
        space: NIfTI code of the space that the affine leads to: 1 scanner, 2 aligned, 3 Talairach, 4 MNI, 5 a
            template's; 0 unknown: the affine then gives sizes alone.
        series_uid: the DICOM series.
        frame_of_reference_uid: the DICOM frame of reference.
        instances: the DICOM objects of the slices along the volume's first axis; empty where slices were resampled.
        nifti: how the header of a NIfTI places the voxels, which a map of it carries too.
        channels: of a volume read from several files, each channel's name (or number) and the name of its file.
    """

    kind: Literal["nifti", "dicom", "memory"] = "memory"
    sha256: str = ""
    path: Path | None = field(default=None, repr=False)
    space: int = 1
    series_uid: str | None = field(default=None, repr=False)
    frame_of_reference_uid: str | None = field(default=None, repr=False)
    instances: tuple[Instance, ...] = field(default=(), repr=False)
    nifti: NiftiSpace | None = field(default=None, repr=False)
    channels: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@dataclass(frozen=True, eq=False, repr=False)
class Volume:
    """Voxels with their place in the patient.

    The axes (D, H, W) are those of the source, never turned: the i, j, k of a NIfTI file as nibabel gives them;
    slices, rows and columns of a DICOM series. Which way they run says the affine alone.

    Voxels that are no finite numbers become the smallest finite value of their channel, with a notice that counts them;
    `missing` keeps where they were.

    Attributes:
        voxels: float32 `(D, H, W)`, or `(C, D, H, W)` with several channels; in the source's units (for CT, HU), all
            finite. The array is read-only.
        affine: float64 `(4, 4)`, read-only: ``affine @ (d, h, w, 1)`` is the centre of ``voxels[..., d, h, w]`` in mm,
            RAS+ (see `cfcam.imaging.geometry`).
        source: where it came from.
        window: centre and width of the grey values as the source would have them shown, if it says.
        notices: what a user should know of how it was read, a line each, without anything of a patient.
        window_function: what ``window`` does with values: LINEAR, LINEAR_EXACT or SIGMOID (PS3.3 C.11.2.1.2).
        missing: bool `(D, H, W)`, where the source held no finite number in some channel; None: nowhere.

    Raises:
        InputError: the voxels have another shape.
        ImageError: the affine is not finite, or is singular, or a channel holds no finite number.
    """

    voxels: NDArray[np.float32]
    affine: NDArray[np.float64]
    source: Source = field(default_factory=Source)
    window: tuple[float, float] | None = None
    notices: tuple[str, ...] = ()
    window_function: str = "LINEAR_EXACT"
    missing: NDArray[np.bool_] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        voxels = np.asarray(self.voxels)
        if voxels.ndim not in (3, 4) or 0 in voxels.shape:
            raise InputError(f"voxels of shape {voxels.shape}: a volume is (D, H, W) or (C, D, H, W)")
        if voxels.dtype.kind not in "biuf":
            raise InputError(f"voxels of type {voxels.dtype}: a volume holds numbers")
        with np.errstate(over="ignore"):
            own = voxels.astype(np.float32, copy=False).view()
        # the extremes show a NaN or an infinity anywhere, without a second volume in memory
        if not (np.isfinite(own.min()) and np.isfinite(own.max())):
            own = self._filled(own)
        if self.missing is not None and self.missing.shape != own.shape[-3:]:
            raise InputError(f"missing of shape {self.missing.shape} for voxels of {own.shape}: give (D, H, W)")
        own.flags.writeable = False
        object.__setattr__(self, "voxels", own)
        object.__setattr__(self, "affine", check_affine(self.affine, "volume"))

    def _filled(self, voxels: NDArray[np.float32]) -> NDArray[np.float32]:
        """The voxels with finite numbers alone; where and how many had to be replaced is kept and told."""
        bad = ~np.isfinite(voxels)
        channels = (voxels, bad) if voxels.ndim == 4 else (voxels[None], bad[None])
        filled = np.array(channels[0])
        taken = []
        for n, (values, wrong) in enumerate(zip(filled, channels[1], strict=True)):
            if wrong.all():
                which = f"channel {n} of {len(filled)} " if len(filled) > 1 else ""
                raise ImageError(f"{which}holds no finite number; export it again")
            values[wrong] = values[~wrong].min()
            taken += [f"{values[wrong][0]:g}"] if wrong.any() else []
        missing = bad.any(0) if bad.ndim == 4 else bad
        missing = missing if self.missing is None else missing | self.missing
        count, of_channels = int(bad.sum()), " of each channel" * (len(filled) > 1)
        line = missing_notice(count, bad.size, f"{', '.join(dict.fromkeys(taken))}, the smallest{of_channels}")
        object.__setattr__(self, "missing", missing)
        object.__setattr__(self, "notices", (*self.notices, line))
        return filled.reshape(voxels.shape)

    @property
    def size(self) -> tuple[int, int, int]:
        """Numbers of voxels (D, H, W)."""
        depth, height, width = self.voxels.shape[-3:]
        return depth, height, width

    @property
    def channels(self) -> int:
        """Number of values at each place."""
        return self.voxels.shape[0] if self.voxels.ndim == 4 else 1

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distances between voxel centres along (D, H, W) in mm; on a sheared grid these are along oblique lines."""
        return spacing_of(self.affine)

    @property
    def voxel_volume(self) -> float:
        """Volume of a voxel in mm³, also on a sheared grid."""
        return cell_size(self.affine, 3)

    @property
    def placed(self) -> bool:
        """Whether the source says how the volume lies in the patient; if not, the affine gives sizes alone."""
        return self.source.space != 0

    @property
    def orientation(self) -> str:
        """Where (D, H, W) point in the patient, such as "RAS"; "???" where the source does not say.

        See `cfcam.imaging.geometry.axis_codes`.
        """
        return axis_codes(self.affine) if self.placed else UNKNOWN_ORIENTATION

    @property
    def assumed(self) -> tuple[str, ...]:
        """What was assumed of sizes for want of a word in the source, a line each; shown with every picture."""
        return () if self.source.nifti is None else self.source.nifti.assumed

    @property
    def measured(self) -> Measured | None:
        """Where millimetres are measured, as `Image.measured` says it: in the patient, which needs no word."""
        return None

    @property
    def path(self) -> Path | None:
        """The file or folder, if there is one."""
        return self.source.path

    @property
    def sha256(self) -> str:
        """Identity of what was read."""
        return self.source.sha256

    def channel(self, number: int = 0) -> NDArray[np.float32]:
        """Return the voxels `(D, H, W)` of a channel, counted from 0; a view of the volume's.

        Raises:
            InputError: there is no such channel.
        """
        if not 0 <= number < self.channels:
            raise InputError(f"there is no channel {number}: give 0 to {self.channels - 1}")
        return self.voxels if self.voxels.ndim == 3 else self.voxels[number]

    def channel_name(self, number: int) -> str:
        """Return what a channel is called: by its name, where the source has one, else by its number from 0."""
        named = self.source.channels[number][0] if self.source.channels else ""
        return f"channel {number}" if not named or named.isdecimal() else named

    def alone(self, number: int) -> Volume:
        """Return the volume of one channel alone, as it is drawn; of several a notice says which it is.

        A window that the source says is that of all channels of one file; of several files it is the first one's.
        """
        voxels = self.channel(number)
        if self.channels == 1:
            return self
        its_own = number == 0 or not self.source.channels
        return replace(
            self,
            voxels=voxels,
            source=replace(self.source, channels=()),
            window=self.window if its_own else None,
            window_function=self.window_function if its_own else "LINEAR_EXACT",
            notices=(*self.notices, f"of its {self.channels} channels {self.channel_name(number)} is shown"),
        )

    def place(self, index: ArrayLike) -> tuple[float, float, float]:
        """Return the place (x, y, z) of a voxel index (d, h, w) in mm, RAS+; fractions lie between voxels."""
        x, y, z = (self.affine @ np.append(np.asarray(index, dtype=np.float64), 1))[:3]
        return float(x), float(y), float(z)

    def tensor(self) -> Tensor:
        """The voxels for computing: a new float32 `(C, D, H, W)`."""
        import torch  # late: who only shows a volume needs none

        voxels = self.voxels if self.voxels.ndim == 4 else self.voxels[None]
        return torch.from_numpy(np.array(voxels, order="C"))

    def __repr__(self) -> str:
        size, spacing = " x ".join(map(str, self.size)), " x ".join(f"{mm:.3g}" for mm in self.spacing)
        channels = f", {self.channels} channels" if self.channels > 1 else ""
        return f"Volume({size}{channels}, {spacing} mm, {self.orientation}, {self.source.kind})"


def missing_notice(count: int, total: int, taken: str) -> str:
    """Return what is told of voxels that are no finite numbers: how many of how many, and as what they are taken."""
    return f"{count} voxels {NOT_FINITE} (of {total}): they are taken as {taken}, and numbers of regions leave them out"


def display_range(values: NDArray[Any]) -> tuple[float, float]:
    """Return from where to where a map is shown: 0 to 1 if it lies there; else as far as it goes, about or from 0."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return (0.0, 1.0) if low >= 0 and high <= 1 else raw_range(finite)


def raw_range(values: NDArray[Any]) -> tuple[float, float]:
    """Return from where to where a raw map is shown, which has no unit: as far as it goes, about or from 0."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    most = max(-low, high)
    return (-most if low < 0 else 0.0, most) if most > 0 else (0.0, 1.0)
