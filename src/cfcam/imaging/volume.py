"""Volumes in, maps out: NIfTI files and DICOM series become a `Volume`, and a map becomes a NIfTI on its grid."""

from __future__ import annotations

import gzip
import math
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from cfcam.errors import ImageError, InputError, MissingExtraError
from cfcam.imaging.drawing.palettes import as_array
from cfcam.imaging.geometry import axis_codes, cell_size, check_affine, is_sheared, spacing_of

if TYPE_CHECKING:
    from cfcam.imaging.reading.nifti_space import NiftiSpace

MAX_VOXELS = 2**29
"""Largest volume that is read unless told otherwise: 2 GB as float32."""

NIFTI_EXTENSIONS = (".nii", ".nii.gz")
NOT_FINITE = "are no finite numbers"
"""What a notice says of voxels that are NaN or infinite."""
UNKNOWN_ORIENTATION = "???"
"""What `Volume.orientation` is where a header does not say how the volume lies in the patient."""

_NOT_READ = (".hdr", ".img", ".hdr.gz", ".img.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".mgz", ".mgh", ".mnc")
_GZIP_LEVEL = 4  # a map of 256 x 256 x 128 takes 0.5 s; level 9 takes thrice that for 2 % less


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
    """

    kind: Literal["nifti", "dicom", "memory"] = "memory"
    sha256: str = ""
    path: Path | None = field(default=None, repr=False)
    space: int = 1
    series_uid: str | None = field(default=None, repr=False)
    frame_of_reference_uid: str | None = field(default=None, repr=False)
    instances: tuple[Instance, ...] = field(default=(), repr=False)
    nifti: NiftiSpace | None = field(default=None, repr=False)


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
    def path(self) -> Path | None:
        """The file or folder, if there is one."""
        return self.source.path

    @property
    def sha256(self) -> str:
        """Identity of what was read."""
        return self.source.sha256

    def place(self, index: ArrayLike) -> tuple[float, float, float]:
        """Return the place (x, y, z) of a voxel index (d, h, w) in mm, RAS+; fractions lie between voxels."""
        x, y, z = (self.affine @ np.append(np.asarray(index, dtype=np.float64), 1))[:3]
        return float(x), float(y), float(z)

    def tensor(self) -> Tensor:
        """The voxels for computing: a new float32 `(C, D, H, W)`."""
        voxels = self.voxels if self.voxels.ndim == 4 else self.voxels[None]
        return torch.from_numpy(np.array(voxels, order="C"))

    def __repr__(self) -> str:
        size, spacing = " x ".join(map(str, self.size)), " x ".join(f"{mm:.3g}" for mm in self.spacing)
        channels = f", {self.channels} channels" if self.channels > 1 else ""
        return f"Volume({size}{channels}, {spacing} mm, {self.orientation}, {self.source.kind})"


def missing_notice(count: int, total: int, taken: str) -> str:
    """Return what is told of voxels that are no finite numbers: how many of how many, and as what they are taken."""
    return f"{count} voxels {NOT_FINITE} (of {total}): they are taken as {taken}, and numbers of regions leave them out"


def is_nifti(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a NIfTI by its name."""
    return Path(path).name.lower().endswith(NIFTI_EXTENSIONS)


def read_volume(
    path: str | os.PathLike[str],
    *,
    time: int | None = None,
    channel: int | Literal["all"] | None = None,
    series: int | None = None,
    irregular: Literal["refuse", "resample"] = "refuse",
    max_voxels: int = MAX_VOXELS,
) -> Volume:
    """Read a NIfTI file, a folder of DICOM slices, or a multi-frame DICOM file.

    NIfTI: the affine is the sform if the header has one, else the qform; with neither, place and directions are unknown
    (`Volume.placed`), and the affine is nibabel's guess. Notices say where both are given and disagree, where other
    readers have the volume elsewhere, where no unit of length is named, and where the space is a template's. Units are
    brought to mm, intensities scaled (`scl_slope`, `scl_inter`). Voxels that are no finite numbers become the smallest
    finite value, with a notice.

    DICOM: slices are ordered by their place along the normal, never by file name. Intensities are rescaled slice by
    slice (HU for CT); padding becomes the smallest value of the rest; MONOCHROME1 is mirrored within its range, with a
    notice. A tilted gantry gives a sheared affine, with a notice.

    Args:
        path: the file or the folder; of a folder its own files are looked at, not those of its subfolders.
        time: which volume of a NIfTI with a fourth axis, from 0.
        channel: which channel of a NIfTI with a fourth or fifth axis, from 0, or "all" to keep them; a file with four
            axes does not say whether the fourth is time or channels, so that either word picks from it.
        series: which series of a folder with several, by the number in the error that lists them.
        irregular: what to do with slices at irregular distances: "refuse", or "resample" linearly to their median
            distance, with a notice.
        max_voxels: refuse, before decoding, a volume with more voxels than this.

    Raises:
        ImageError: the path is missing or no volume, or what it holds is broken, ambiguous or no regular grid.
        InputError: a choice that the file does not offer.
        MissingExtraError: nibabel or pydicom is not installed.
    """
    place = Path(path)
    if place.is_dir():
        from cfcam.imaging.reading.stacking import read_series

        return read_series(place, series=series, irregular=irregular, max_voxels=max_voxels)
    if is_nifti(place):
        from cfcam.imaging.reading.nifti import read_nifti

        return read_nifti(place, time=time, channel=channel, max_voxels=max_voxels)
    if place.name.lower().endswith(_NOT_READ):
        raise ImageError(
            f"{place.name}: is no format of volumes that cfcam reads: give NIfTI as one file (.nii, .nii.gz) or DICOM;"
            " nibabel and SimpleITK convert"
        )
    from cfcam.imaging.reading.stacking import read_multi_frame

    return read_multi_frame(place, irregular=irregular, max_voxels=max_voxels)


def save_map_nifti(
    values: Tensor | ArrayLike,
    volume: Volume,
    path: str | os.PathLike[str],
    *,
    description: str = "",
    window: tuple[float, float] | None = None,
) -> Path:
    """Write a map as NIfTI on the grid of the volume it belongs to, whole or not at all.

    The file has the volume's place, so that every reader lays it over the source: of a NIfTI both transforms, their
    codes and the units as they are stored in the source (a NIfTI-2 gives a NIfTI-2), though nothing else of its header.
    Its axes are the source's: i, j, k of a NIfTI; of a DICOM series columns, rows, slices, the order in which
    converters write it. A sheared affine that comes from no NIfTI is written as sform only, for a qform cannot hold it;
    SimpleITK then refuses the file. The same values give the same bytes.

    Args:
        values: `(D, H, W)` on the volume's own grid, of any sign and range; written as float32.
        volume: what the map belongs to.
        path: the file, ending in .nii or .nii.gz; an existing one is replaced.
        description: at most 79 ASCII characters for the header; nothing of a patient.
        window: from where to where viewers show it (``cal_min``, ``cal_max``), without which some stretch any map to
            full colour; None: 0 to 1 if all values lie there, else 0 to the greatest or, with negative values, the
            symmetric range.

    Returns:
        The path.

    Raises:
        InputError: the map does not have the volume's size, the path another ending, or the window is none.
        ImageError: the file cannot be written.
        MissingExtraError: nibabel is not installed.
    """
    target = Path(path)
    array = as_array(values)
    if array.shape != volume.size:
        raise InputError(
            f"map of shape {array.shape} for a volume of {volume.size}: bring it onto the volume's grid first"
            " (VolumePreprocess.to_original)"
        )
    if not is_nifti(target):
        raise InputError(f"{target}: maps of volumes are written as NIfTI; let the name end in .nii or .nii.gz")
    low, high = display_range(array) if window is None else window
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"window {window}: give two finite numbers, the smaller first")
    affine = np.array(volume.affine)
    if volume.source.kind == "dicom":
        array, affine = array.transpose(2, 1, 0), affine[:, [2, 1, 0, 3]]
    header = _map_header(volume, affine, array.shape)
    header["descrip"] = description.encode("ascii", "replace")[:79]
    header["cal_min"], header["cal_max"] = low, high
    data: bytes = header.binaryblock + bytes(4) + np.asarray(array, dtype="<f4").tobytes(order="F")
    if target.name.lower().endswith(".gz"):
        data = gzip.compress(data, _GZIP_LEVEL, mtime=0)
    temporary = target.with_name(f".{target.name[:80]}.{secrets.token_hex(4)}.tmp")
    try:
        try:
            temporary.write_bytes(data)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ImageError(
            f"{target}: cannot be written ({error.strerror}); check the folder, its permissions and the disk"
        ) from error
    return target


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


def _map_header(volume: Volume, affine: NDArray[np.float64], shape: tuple[int, ...]) -> Any:
    """A header for float32 values on a volume's grid, with its place, little-endian."""
    try:
        import nibabel as nib
    except ModuleNotFoundError as error:
        raise MissingExtraError("nibabel", "volume", "writing a map as NIfTI") from error
    space = volume.source.nifti
    kept = space is not None and np.array_equal(space.affine, volume.affine)  # else the grid was changed since
    second = max(shape) > np.iinfo(np.int16).max or (kept and space is not None and space.version == 2)
    kind: Any = nib.Nifti2Header if second else nib.Nifti1Header
    header = kind(endianness="<")
    header.set_data_dtype(np.float32)
    header.set_data_shape(shape)
    if kept and space is not None:
        space.write_to(header)
    else:
        header.set_qform(affine, code=0 if is_sheared(affine) else volume.source.space)
        header.set_sform(affine, code=volume.source.space)
        header.set_xyzt_units("mm")
    header["magic"] = header.single_magic
    header["vox_offset"] = header.single_vox_offset
    header["scl_slope"], header["scl_inter"] = 1, 0
    return header
