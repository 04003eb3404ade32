"""From DICOM slices to a `Volume`: their order, whether they are a regular grid, and their values."""

from __future__ import annotations

import hashlib
import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cfcam.errors import ImageError
from cfcam.imaging.geometry import LPS_TO_RAS, Affine
from cfcam.imaging.reading.dicom_frames import decoded
from cfcam.imaging.reading.dicom_object import broken, parsed, photometric, plane_affine
from cfcam.imaging.reading.dicom_values import inverted, own_window, padding, rescaled, voi_table
from cfcam.imaging.reading.files import read_bytes, shown_path
from cfcam.imaging.reading.kinds import is_dicom_data
from cfcam.imaging.reading.lookup_tables import Tell
from cfcam.imaging.reading.series import Plane, Series, choose_series, scan_files, scan_folder
from cfcam.imaging.volume import MAX_VOXELS, Instance, Source, Volume, missing_notice
from cfcam.imaging.windows import Window

Irregular = Literal["refuse", "resample"]

_OFF_GRID = 0.05  # how far a slice may lie from its place in a regular grid, as a share of the distance between two
_ON_GRID = 0.01  # likewise, so that first and last slice may be believed
_SAME_PLACE_MM = 1e-3
_ASIDE_MM = 0.2  # how far a slice may always lie beside the line of the others: what headers round away


def read_series(
    folder: str | os.PathLike[str],
    *,
    series: int | None = None,
    irregular: Irregular = "refuse",
    max_voxels: int = MAX_VOXELS,
) -> Volume:
    """Read the slices of a folder; see `cfcam.imaging.reading.volumes.read_volume`, which is the usual way in."""
    where = shown_path(folder)
    found = scan_folder(folder)
    if found.faults:
        raise found.faults[0]
    volume = _assembled(choose_series(found, series, where), where, irregular, max_voxels)
    source = replace(volume.source, path=Path(folder))
    beside = f"{found.unplaced} DICOM files in the folder have no place in space: they are left out"
    return replace(volume, source=source, notices=(*volume.notices, *([beside] if found.unplaced else [])))


def read_multi_frame(
    path: str | os.PathLike[str],
    *,
    series: int | None = None,
    irregular: Irregular = "refuse",
    max_voxels: int = MAX_VOXELS,
) -> Volume:
    """Read the frames of one enhanced DICOM object; see `cfcam.imaging.reading.volumes.read_volume`."""
    where = shown_path(path)
    data = read_bytes(path, where)
    if not is_dicom_data(data, path):
        raise ImageError(f"{where}: is neither NIfTI (.nii, .nii.gz) nor DICOM; volumes are read from these")
    found = scan_files([Path(path)])
    if found.faults:
        raise found.faults[0]
    if sum(len(one.planes) for one in found.series) < 2:
        raise ImageError(f"{where}: holds no frames with places in space, and so no volume; name a folder of slices")
    volume = _assembled(choose_series(found, series, where), where, irregular, max_voxels)
    return replace(volume, source=replace(volume.source, path=Path(path)))


def digest_of_series(path: str | os.PathLike[str], series: int | None = None) -> str:
    """Return the SHA-256 by which `Volume.sha256` knows a folder's series, without decoding it.

    Raises:
        ImageError: as `read_series`, as far as headers tell.
    """
    return _digest(hashlib.sha256(read_bytes(file, shown_path(file))).hexdigest() for file in _files(path, series))


def _files(path: str | os.PathLike[str], series: int | None) -> list[Path]:
    if not Path(path).is_dir():
        return [Path(path)]
    chosen = choose_series(scan_folder(path), series, shown_path(path))
    return list(dict.fromkeys(plane.path for plane in _unique(chosen.planes)))


def _digest(digests: Iterator[str]) -> str:
    ordered = sorted(digests)
    return ordered[0] if len(ordered) == 1 else hashlib.sha256("\n".join(ordered).encode()).hexdigest()


def _unique(planes: Sequence[Plane]) -> list[Plane]:
    """The slices without second copies of the same object."""
    first: dict[tuple[str, int | None], Plane] = {}
    for plane in planes:
        first.setdefault((plane.sop_instance_uid or str(plane.path), plane.frame), plane)
    return list(first.values())


# By hand: highdicom 0.28.2 refuses positions rounded to 0.1 mm (7 mm apart), and loses a tilt of up to 2.5 degrees.
def _assembled(series: Series, where: str, irregular: Irregular, max_voxels: int) -> Volume:
    planes = _unique(series.planes)
    notices = []
    if len(planes) < len(series.planes):
        copies = len(series.planes) - len(planes)
        notices.append(f"{copies} slice{'s are' if copies > 1 else ' is'} there twice: copies are left out")
    _check_voxels(len(planes), planes[0], max_voxels, where)
    normal = np.cross(*planes[0].axes)
    planes.sort(key=lambda plane: float(plane.position @ normal))
    distances = np.array([plane.position @ normal for plane in planes])
    _check_stack(planes, distances, where)
    uneven = _unevenness(distances, where)
    if uneven is not None and irregular == "refuse":
        raise uneven
    count = len(planes)
    if uneven is not None:
        count = round(float((distances[-1] - distances[0]) / np.median(np.diff(distances)))) + 1
        _check_voxels(count, planes[0], max_voxels, where)
    read = _voxels(planes, where)
    notices += read.notices
    if read.mirrored:
        notices.append("its grey values count downwards (MONOCHROME1): they are mirrored within their range")
    instances = tuple(
        Instance(p.path, p.sop_class_uid, p.sop_instance_uid, None if p.frame is None else p.frame + 1) for p in planes
    )
    voxels, missing = read.voxels, read.missing
    if uneven is not None:
        voxels, instances = _regular(read.voxels, distances, count), ()
        if missing is not None:
            missing = _regular(missing.astype(np.float32), distances, count) > 0
        notices.append(
            f"its slices lie {_range(np.diff(distances))} mm apart: they are resampled to {count} slices,"
            f" {(distances[-1] - distances[0]) / (count - 1):.3f} mm apart"
        )
    affine = _affine(planes, count, where, even=uneven is None)
    if (tilt := _tilt(planes)) > 0:
        notices.append(f"its slices are tilted by {tilt:.1f} degrees against their stack: the affine is sheared")
    source = Source("dicom", read.digest, None, 1, series.uid, series.frame_of_reference_uid, instances)
    window, function = read.window or (None, "LINEAR_EXACT")
    return Volume(voxels, affine, source, window, tuple(notices), function, missing)


def _check_voxels(count: int, plane: Plane, max_voxels: int, where: str) -> None:
    rows, columns = plane.size
    if count * rows * columns > max_voxels:
        raise ImageError(
            f"{where}: has {count} x {rows} x {columns} voxels, more than the limit of {max_voxels / 1e6:.0f} million;"
            " raise max_voxels"
        )


def _check_stack(planes: Sequence[Plane], distances: NDArray[np.float64], where: str) -> None:
    """Refuses slices that lie at one place, or beside the line of the others: no resampling makes a grid of them."""
    gaps = np.diff(distances)
    if len(gaps) == 0:
        return
    if (gaps <= _SAME_PLACE_MM).any():
        most = max(Counter(np.round(distances, 2).tolist()).values())
        places = int((gaps > _SAME_PLACE_MM).sum()) + 1
        raise ImageError(
            f"{where}: {len(planes)} slices lie at {places} places, up to {most} at one (time points, echoes, or a"
            " repeated export); keep one of each"
        )
    positions = np.array([plane.position for plane in planes])
    line = np.stack([np.ones_like(distances), distances], axis=1)
    aside = positions - line @ np.linalg.lstsq(line, positions, rcond=None)[0]
    if _longest(aside) > max(_ASIDE_MM, _OFF_GRID * float(np.median(gaps))):
        share = (distances - distances[0])[:, None] / (distances[-1] - distances[0])
        shift = _longest(positions - positions[0] - share * (positions[-1] - positions[0]))
        raise ImageError(
            f"{where}: its slices are shifted against each other by up to {shift:.2f} mm and are no grid; export them"
            " again"
        )


def _longest(ways: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(ways, axis=1).max())


def _fitted(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where the slices of the regular grid lie that is nearest to theirs, by least squares.

    Positions that a header rounds are off by a little each; judged gap by gap, the errors of two neighbours add up,
    and from first to last one error would decide over the whole.
    """
    index = np.arange(len(distances), dtype=np.float64)
    ones = np.stack([np.ones_like(index), index], axis=1)
    places: NDArray[np.float64] = ones @ np.linalg.lstsq(ones, distances, rcond=None)[0]
    return places


def _unevenness(distances: NDArray[np.float64], where: str) -> ImageError | None:
    """What is uneven about the distances between slices, with figures; None if nothing is."""
    gaps = np.diff(distances)
    if len(gaps) == 0:
        return None
    median = float(np.median(gaps))
    fitted = _fitted(distances)
    off, step = float(np.abs(distances - fitted).max()), float(fitted[1] - fitted[0])
    if off <= _OFF_GRID * step:
        return None
    resample = " resample (irregular='resample', --irregular resample)"
    steps = gaps / median
    if (np.abs(steps - np.rint(steps)) <= 2 * _OFF_GRID).all() and steps.min() > 0.5 and steps.max() > 1.5:
        widest = int(steps.argmax())
        missing = int(np.rint(steps).sum()) - len(gaps)
        return ImageError(
            f"{where}: {missing} slice{'s are' if missing > 1 else ' is'} missing: slices {widest + 1} and {widest + 2}"
            f" of {len(distances)} lie {gaps[widest]:.2f} mm apart, most others {median:.2f} mm; find"
            f" {'them' if missing > 1 else 'it'}, or{resample}"
        )
    return ImageError(
        f"{where}: its {len(distances)} slices lie {_range(gaps)} mm apart (median {median:.2f}), not evenly: up to"
        f" {off:.2f} mm off a regular grid; look for missing ones, or{resample}"
    )


def _range(gaps: NDArray[np.float64]) -> str:
    return f"{gaps.min():.2f} to {gaps.max():.2f}"


@dataclass
class _Read:
    """The values of a stack of slices.

    Attributes:
        voxels: rescaled; NaN where there is padding.
        missing: where a file of floating point values held no finite number; None: nowhere.
        window: of the middle slice, with its function.
        mirrored: whether they count downwards.
        digest: of the files.
        notices: what is to be told of them, each once.
    """

    voxels: NDArray[np.float32]
    missing: NDArray[np.bool_] | None = None
    window: tuple[Window, str] | None = None
    mirrored: bool = False
    digest: str = ""
    notices: dict[str, None] = field(default_factory=dict)


def _voxels(planes: Sequence[Plane], where: str) -> _Read:
    read = _Read(np.empty((len(planes), *planes[0].size), dtype=np.float32))
    places: dict[Path, list[int]] = {}
    for n, plane in enumerate(planes):
        places.setdefault(plane.path, []).append(n)
    digests, windows = [], set()
    for file, numbers_of_slices in places.items():
        name = shown_path(file)
        data = read_bytes(file, name)
        digests.append(hashlib.sha256(data).hexdigest())
        with parsed(data, name) as dataset:
            if dataset.get("SamplesPerPixel", 1) != 1 or photometric(dataset) == "PALETTE COLOR":
                raise ImageError(f"{name}: is in colour; a volume is made of grey slices")
            read.mirrored |= inverted(dataset)
            for n in numbers_of_slices:
                frame = planes[n].frame or 0
                stored = decoded(dataset, frame, name)
                if stored.shape != planes[n].size:
                    raise ImageError(f"{name}: changed while it was read; run again")
                with broken(name, "its description of the pixels is broken"):
                    read.voxels[n] = rescaled(stored, dataset, frame, name, read.notices.setdefault)
                    empty = padding(stored, dataset, partial(decoded, dataset, frame, name, every_bit=True))
                    own = own_window(dataset, frame, read.notices.setdefault)
                    windows.add(own)
                    if n == len(planes) // 2:
                        read.window = own
                        _tell_of_display(dataset, frame, name, read.notices.setdefault)
                if not np.isfinite(read.voxels[n].sum(dtype=np.float64)):
                    missing = np.zeros(read.voxels.shape, bool) if read.missing is None else read.missing
                    missing[n] = ~np.isfinite(read.voxels[n]) & (True if empty is None else ~empty)
                    read.missing = missing
                if empty is not None:
                    read.voxels[n][empty] = np.nan
    if len(windows) > 1 and read.window is not None:
        read.notices[f"its slices have {len(windows)} different windows: that of the middle slice is shown"] = None
    _clean(read, where)
    read.digest = _digest(iter(digests))
    return read


def _tell_of_display(dataset: Any, frame: int, where: str, tell: Tell) -> None:
    """What is made of pictures, and not of volumes, which keep their values."""
    if voi_table(dataset, frame, where, lambda line: None) is not None:
        tell("its VOI LUT is for pictures and is not used: the volume keeps its values")
    if str(dataset.get("PixelPresentation") or "").strip() not in ("", "MONOCHROME"):
        tell("the standard would have some of its values shown in colours: in the volume they are values like others")


def _clean(read: _Read, where: str) -> None:
    """Fills padding with the smallest value; counts upwards what counts downwards."""
    bad = ~np.isfinite(read.voxels)
    if bad.all():
        raise ImageError(f"{where}: holds nothing but padding; export it again")
    low, high = float(read.voxels[~bad].min()), float(read.voxels[~bad].max())
    if read.mirrored:
        np.subtract(low + high, read.voxels, out=read.voxels)
        if read.window is not None:
            (centre, width), function = read.window
            # LINEAR is not symmetric about its centre (PS3.3 C.11.2.1.2.1); mirrored, the exact one is nearest to it
            mirrored = "SIGMOID" if function == "SIGMOID" else "LINEAR_EXACT"
            read.window = (low + high - centre, width), mirrored
    read.voxels[bad] = low
    if read.missing is not None and (count := int(read.missing.sum())):
        read.notices[missing_notice(count, read.missing.size, f"{low:g}, the smallest")] = None


def with_gaps(planes: Sequence[Plane], spacing: float | None, where: str) -> tuple[NDArray[np.intp], Affine]:
    """Return which slice of a regular grid each plane is, and the grid's affine: of planes of which some may be absent.

    By hand, too: highdicom 0.28.2 lays a Segmentation of a tilted gantry beside its planes, or refuses it.

    Args:
        planes: of one direction and size, in the order of their distances; several may lie at one place.
        spacing: the distance of neighbours as the object has it; None: the smallest that there is.
        where: the object, for messages.

    Raises:
        ImageError: they lie on no grid, or it would be too large.
    """
    normal = np.cross(*planes[0].axes)
    positions = np.array([plane.position for plane in planes])
    gaps = np.diff(positions @ normal)
    apart = gaps > _SAME_PLACE_MM
    first = [planes[0], *(plane for plane, new in zip(planes[1:], apart, strict=True) if new)]
    if len(first) == 1:
        return np.zeros(len(planes), dtype=np.intp), _affine(first, 1, where, even=False)
    step = float(gaps[apart].min())
    if spacing and spacing > 0 and round(step / spacing) and abs(step / spacing - round(step / spacing)) <= _OFF_GRID:
        step = spacing
    steps = np.where(apart, np.rint(gaps / step), 0).astype(np.intp)
    index = np.concatenate([[0], np.cumsum(steps)])
    _check_voxels(int(index[-1]) + 1, planes[0], MAX_VOXELS, where)
    grid = positions[0] + (index / index[-1])[:, None] * (positions[-1] - positions[0])
    if (off := _longest(positions - grid)) > max(_ASIDE_MM, _OFF_GRID * step):
        raise ImageError(f"{where}: its planes lie up to {off:.2f} mm beside a regular grid; export it again")
    return index, _affine(first, int(index[-1]) + 1, where, even=False)


def _regular(voxels: NDArray[np.float32], distances: NDArray[np.float64], count: int) -> NDArray[np.float32]:
    """Slices at even distances, linear between the two that lie around each."""
    wanted = np.linspace(distances[0], distances[-1], count)
    below = np.clip(np.searchsorted(distances, wanted, side="right") - 1, 0, len(distances) - 2)
    weights = ((wanted - distances[below]) / (distances[below + 1] - distances[below])).astype(np.float32)
    even = np.empty((count, *voxels.shape[1:]), dtype=np.float32)
    for n, (lower, weight) in enumerate(zip(below, weights, strict=True)):  # slice by slice: no second volume in memory
        even[n] = (1 - weight) * voxels[lower] + weight * voxels[lower + 1]
    return even


def _affine(planes: Sequence[Plane], count: int, where: str, *, even: bool) -> Affine:
    """The affine from (slice, row, column) to mm in RAS+ (PS3.3 C.7.6.2.1.1).

    Where the slices lie on the grid from the first to the last, it is that one, as other readers have it; where they
    do not, for positions were rounded, it is the regular grid nearest to all of them.
    """
    first, normal = planes[0], np.cross(*planes[0].axes)
    if len(planes) == 1:
        if first.thickness is None:
            raise ImageError(f"{where}: is one slice of unknown thickness; name a folder of slices")
        origin, step = first.position, normal * first.thickness
    else:
        positions = np.array([plane.position for plane in planes])
        grid = np.linspace(positions[0], positions[-1], count)
        if even and _longest(positions - grid) > _ON_GRID * float(np.linalg.norm(grid[1] - grid[0])):
            grid = np.stack([_fitted(along) for along in positions.T], axis=1)
        origin, step = grid[0], grid[1] - grid[0]
        if _tilt(planes) == 0:
            step = normal * float(step @ normal)
    in_plane = plane_affine(origin, first.axes, first.spacing)
    affine = np.eye(4)
    affine[:3, 0] = LPS_TO_RAS[:3, :3] @ step
    affine[:3, 1], affine[:3, 2], affine[:3, 3] = in_plane[:3, 0], in_plane[:3, 1], in_plane[:3, 3]
    return affine


def _tilt(planes: Sequence[Plane]) -> float:
    """Degrees between the stack and the normal of its slices; 0 if that is no more than rounded positions make."""
    way = planes[-1].position - planes[0].position
    along = float(way @ np.cross(*planes[0].axes))
    aside = math.sqrt(max(0.0, float(way @ way) - along**2))
    return 0.0 if aside <= _ASIDE_MM else math.degrees(math.atan2(aside, along))
