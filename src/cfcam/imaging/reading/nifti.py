"""Reading NIfTI-1 and NIfTI-2 files: which transform, which of several volumes, and what is refused."""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cfcam.errors import ImageError, InputError, MissingExtraError
from cfcam.imaging.nifti_space import space_of
from cfcam.imaging.reading.files import read_bytes, shown_path
from cfcam.imaging.volume import MAX_VOXELS, Source, Volume

_HEADER = 540  # bytes of a NIfTI-2 header; a NIfTI-1 header has 348
_SLACK = 2**20  # extensions and padding behind the voxels
_FURTHEST = 2**24  # bytes of extensions before the voxels, beyond the size of the file as it lies there
_PIECE = 2**20
_UNFIXABLE = 40  # nibabel's level from which on it would guess


def read_nifti(
    path: str | os.PathLike[str],
    *,
    time: int | None = None,
    channel: int | Literal["all"] | None = None,
    max_voxels: int = MAX_VOXELS,
) -> Volume:
    """Read a NIfTI file (.nii, .nii.gz); see `cfcam.imaging.reading.volumes.read_volume`, which is the usual way in."""
    where = shown_path(path)
    data = read_bytes(path, where)
    notices: list[str] = []
    header, raw, stored = _opened(data, where, max_voxels, notices)
    picked = _picked(tuple(header.get_data_shape()), time, channel, where)
    space, code = space_of(header, raw, where, notices)
    _scaled_as_told(header, raw, notices)
    with np.errstate(over="ignore"):
        voxels: NDArray[np.float32] = np.array(_voxels(header, stored, where)[picked], dtype=np.float32, order="C")
    if voxels.ndim > 3:
        voxels = np.ascontiguousarray(np.moveaxis(voxels.reshape(*voxels.shape[:3], -1), -1, 0))
    low, high = float(header["cal_min"]), float(header["cal_max"])
    window = ((low + high) / 2, high - low) if math.isfinite(high - low) and high > low else None
    source = Source("nifti", hashlib.sha256(data).hexdigest(), Path(path), code, nifti=space)
    try:
        return Volume(voxels, space.affine, source, window, tuple(notices))
    except ImageError as error:
        raise ImageError(f"{where}: {error}") from error


def _opened(data: bytes, where: str, max_voxels: int, notices: list[str]) -> tuple[Any, Any, bytes]:
    """The header, as nibabel has it after a check and as it is stored, and the file with its voxels, decompressed."""
    stream: Any = gzip.GzipFile(fileobj=BytesIO(data)) if data[:2] == b"\x1f\x8b" else BytesIO(data)
    try:
        start = stream.read(_HEADER)
        header, raw = _header(start, where, notices)
        shape = tuple(int(n) for n in header.get_data_shape())
        if len(shape) < 3 or min(shape) < 1:
            raise ImageError(f"{where}: has {len(shape)} axes of {_times(shape)} voxels; a volume has three")
        if math.prod(shape) > max_voxels:
            raise ImageError(
                f"{where}: has {_times(shape)} voxels, {math.prod(shape) / 1e6:.0f} million, more than the limit of"
                f" {max_voxels / 1e6:.0f}; raise max_voxels"
            )
        _check_kind(header, where)
        needed = _offset(header, len(data), where) + math.prod(shape) * header.get_data_dtype().itemsize
        whole = _read(stream, start, needed + _SLACK)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ImageError(
            f"{where}: the gzip archive is cut off or broken ({type(error).__name__}); copy or export it again"
        ) from error
    if len(whole) < needed:
        raise ImageError(
            f"{where}: the NIfTI file is cut off ({len(whole)} of {needed} bytes); copy or export it again"
        )
    return header, raw, whole


def _offset(header: Any, size: int, where: str) -> int:
    """Where the voxels begin: a number that a few bytes may set to anything, and up to there the file is unpacked."""
    offset = float(header["vox_offset"])
    if not math.isfinite(offset) or not 0 <= offset <= size + _FURTHEST:
        raise ImageError(
            f"{where}: its header says that its voxels begin at byte {offset:g}, which cannot be; repair the header"
            " first"
        )
    return int(header.get_data_offset())


def _read(stream: Any, start: bytes, most: int) -> bytes:
    """Up to so many bytes from the beginning of a file, as they come: no more is asked for than is there."""
    pieces, held = [start], len(start)
    while held < most and (piece := stream.read(min(_PIECE, most - held))):
        pieces.append(piece)
        held += len(piece)
    return b"".join(pieces)


def _header(start: bytes, where: str, notices: list[str]) -> tuple[Any, Any]:
    """The header in the first bytes of a file, put right and as it is stored; what nibabel puts right is told."""
    try:
        import nibabel as nib
        from nibabel.spatialimages import HeaderDataError
        from nibabel.wrapstruct import WrapStructError
    except ModuleNotFoundError as error:
        raise MissingExtraError("nibabel", "volume", "reading NIfTI") from error
    second = start[4:7] in (b"n+2", b"ni2")
    magic = start[4:7] if second else start[344:347]
    if magic not in (b"n+1", b"ni1", b"n+2", b"ni2"):
        raise ImageError(f"{where}: is no NIfTI file, or its beginning is damaged; export it again")
    if magic[1:2] == b"i":
        raise ImageError(f"{where}: is one half of a pair (.hdr and .img); save it as one .nii file")
    kind: Any = nib.Nifti2Header if second else nib.Nifti1Header
    told = _Told()
    try:
        header = kind(start[: kind.template_dtype.itemsize], check=False)
        raw = header.copy()
        header.check_fix(logger=told, error_level=_UNFIXABLE)
        header.get_data_dtype()
        header.get_slope_inter()
    except (HeaderDataError, WrapStructError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise ImageError(
            f"{where}: the NIfTI header is broken ({type(error).__name__}); export it again or repair it"
        ) from error
    notices += [f"its header was wrong: {line}" for line in told.lines]
    return header, raw


class _Told:
    """Takes what nibabel logs while it checks a header, in place of a logger."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, level: int, message: str) -> None:
        if level and "not SPM compatible" not in message:
            self.lines.append(" ".join(message.split()))


def _picked(
    shape: tuple[int, ...], time: int | None, channel: int | Literal["all"] | None, where: str
) -> tuple[Any, ...]:
    """The index that leaves a volume `(D, H, W)`, or `(D, H, W, C)` with all channels."""
    further = shape[3:]
    if math.prod(further) == 1:
        _check_absent(time, channel, where)
        return (slice(None),) * 3 + (0,) * len(further)
    if len(further) > 2:
        raise ImageError(f"{where}: has {len(shape)} axes ({_times(shape)}); cfcam reads three, with time and channels")
    if len(further) == 1:
        if time is not None and channel is not None:
            raise InputError(f"{where}: has one axis of {further[0]} beyond space: give time or channel, not both")
        choice: Any = channel if time is None else time
        if choice is None:
            raise ImageError(
                f"{where}: holds {further[0]} volumes of {_times(shape[:3])} along a fourth axis; say which with time=N"
                ' or channel=N (from 0), or take all as channels with channel="all"'
            )
        return (slice(None),) * 3 + (_one(choice, further[0], where),)
    times, channels = further
    if (time is None and times > 1) or (channel is None and channels > 1):
        raise ImageError(
            f"{where}: holds {times} times and {channels} channels of {_times(shape[:3])} voxels; say which with"
            ' time=N and channel=N (from 0), or channel="all"'
        )
    return (slice(None),) * 3 + (_one(time or 0, times, where), _one(channel or 0, channels, where))


def _check_absent(time: int | None, channel: int | str | None, where: str) -> None:
    if (time or 0) != 0 or (channel or 0) not in (0, "all"):
        raise InputError(f"{where}: holds one volume only: leave out time and channel")


def _one(choice: int | str, count: int, where: str) -> int | slice:
    if choice == "all":
        return slice(None)
    if not isinstance(choice, int) or not 0 <= choice < count:
        raise InputError(f"{where}: there is no volume {choice!r} along an axis of {count}: give 0 to {count - 1}")
    return choice


def _check_kind(header: Any, where: str) -> None:
    kind = header.get_data_dtype().kind
    if kind not in "biuf":
        what = "colours" if kind == "V" else "complex numbers"
        raise ImageError(f"{where}: holds {what}, not grey values; convert it to one number for each voxel")


def _voxels(header: Any, whole: bytes, where: str) -> NDArray[Any]:
    from nibabel.arrayproxy import ArrayProxy

    try:
        return np.asarray(ArrayProxy(BytesIO(whole), header, mmap=False))  # type: ignore[no-untyped-call]
    except (OSError, ValueError, OverflowError) as error:
        raise ImageError(f"{where}: its voxels cannot be read ({type(error).__name__}); export it again") from error


def _scaled_as_told(header: Any, stored: Any, notices: list[str]) -> None:
    """A slope of 0 means that there is none (nifti1.h); ITK and NiiVue add the intercept all the same."""
    slope, intercept = float(stored["scl_slope"]), float(stored["scl_inter"])
    if header.get_slope_inter() == (None, None) and math.isfinite(intercept) and intercept:
        notices.append(
            f"its header has the slope {slope:g} with an intercept of {intercept:g}: neither is applied, as the format"
            " says; ITK and NiiVue add the intercept"
        )


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
