"""Several modalities as several files: one volume of all of them, if they lie on one grid."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cfcam.errors import ImageError, InputError
from cfcam.imaging.reading.channel_names import contradictions
from cfcam.imaging.reading.files import NIFTI_EXTENSIONS, is_nifti
from cfcam.imaging.reading.volumes import read_volume
from cfcam.imaging.volume import MAX_VOXELS, Volume

_APART = 0.01  # voxels by which corners may lie apart: headers round


def read_channels(
    paths: Sequence[str | os.PathLike[str]],
    *,
    names: Sequence[str] = (),
    time: int | None = None,
    max_voxels: int = MAX_VOXELS,
) -> Volume:
    """Read the files of one study's modalities as the channels of one volume, in their order.

    The files must lie on one grid: as many voxels along each axis, and their corners in the same places to a hundredth
    of a voxel. Nothing is resampled. Place, header and grey window are those of the first. Where channels have names,
    and a file's name speaks of another one than it is put into, a notice says so.

    Args:
        paths: a file or a folder of DICOM slices for each channel.
        names: what the channels are, for messages and notices.
        time: see `cfcam.imaging.read_volume`.
        max_voxels: see there.

    Raises:
        ImageError: a file cannot be read, holds several channels, or lies on another grid than the first.
        InputError: there is no file, or there are as many names as channels.
    """
    if not paths or (names and len(names) != len(paths)):
        raise InputError(f"{len(paths)} files for {len(names) or 'some'} channels: give one file for each")
    called = [f"channel {n}" + (f" ({names[n]})" if names else "") for n in range(len(paths))]
    volumes = [read_volume(path, time=time, max_voxels=max_voxels) for path in paths]
    first, place = volumes[0], Path(paths[0]).name
    for volume, path, channel in zip(volumes, paths, called, strict=True):
        if volume.channels != 1:
            raise ImageError(f"{Path(path).name}: holds {volume.channels} channels, and is to be {channel} alone")
        if apart := _apart(first, volume):
            raise ImageError(
                f"{Path(path).name}: {channel} lies on another grid than {place} ({apart}); resample it onto that grid"
                " first"
            )
    missing = [volume.missing for volume in volumes if volume.missing is not None]
    files = [Path(path).name for path in paths]
    swapped = contradictions([_split(file)[0] for file in files], names) if names else ()
    digests = "".join(volume.sha256 for volume in volumes)
    return replace(
        first,
        voxels=np.stack([volume.voxels.reshape(first.size) for volume in volumes]),
        source=replace(
            first.source,
            sha256=hashlib.sha256(digests.encode()).hexdigest(),
            instances=(),
            channels=tuple(zip(names or map(str, range(len(files))), files, strict=True)),
        ),
        notices=swapped
        + tuple(
            f"{channel}: {notice}" for volume, channel in zip(volumes, called, strict=True) for notice in volume.notices
        ),
        missing=np.any(missing, axis=0) if missing else None,
    )


def _apart(first: Volume, other: Volume) -> str:
    """How two grids differ, in words; "" if they do not."""
    if first.size != other.size:
        return f"{_times(other.size)} voxels, not {_times(first.size)}"
    if first.placed != other.placed:
        return "one of the two headers does not say where its volume lies"
    corners = np.array([(d, h, w, 1.0) for d in (0, 1) for h in (0, 1) for w in (0, 1)]).T
    corners[:3] *= np.array(first.size)[:, None] - 1
    distance = float(np.linalg.norm(((first.affine - other.affine) @ corners)[:3], axis=0).max())
    return f"a corner lies {distance:.3g} mm away" if distance > _APART * min(first.spacing) else ""


def channel_files(path: Path, endings: Sequence[str], names: Sequence[str] = ()) -> tuple[Path, ...]:
    """Returns the files of a study whose channels are told apart by how their names end, such as ``scan_0001.nii.gz``.

    Args:
        path: that of the first channel; of a network of one channel any file.
        endings: of the names, before ``.nii`` or ``.nii.gz``, a channel each.
        names: what the channels are, for messages.

    Raises:
        ImageError: ``path`` does not end like the first channel, or the file of another channel is missing.
    """
    if len(endings) < 2:
        return (path,)
    stem, extension = _split(path.name)
    if (first := first_channel(path, endings)) is not None:
        number = next(n for n, ending in enumerate(endings) if n and stem.endswith(ending))
        raise ImageError(f"{stem} is channel {number} of a study: name {first.name}")
    if not is_nifti(path) or not stem.endswith(endings[0]):
        raise ImageError(
            f"{path.name}: the network takes {len(endings)} channels{_named(names)} in as many files: give that of the"
            f" first, which ends in {endings[0]}.nii.gz, or name them all (--channels)"
        )
    files = tuple(path.with_name(stem.removesuffix(endings[0]) + ending + extension) for ending in endings)
    for n, file in enumerate(files):
        if not file.exists():
            what = f" ({names[n]})" if names else ""
            raise ImageError(
                f"{path.name}: channel {n}{what} of {len(files)} is missing: {file.name} does not lie beside it; put it"
                " there"
            )
    return files


def check_count(files: Sequence[Path], names: Sequence[str], endings: Sequence[str] = ()) -> None:
    """Looks whether there is a file for each channel of a network.

    Args:
        files: in the order of the channels.
        names: what the channels are.
        endings: of the files' names, see `channel_files`; () if names do not tell.

    Raises:
        InputError: there are fewer or more.
    """
    if len(files) > len(names):
        raise InputError(
            f"{len(files)} files of channels, and the network takes {len(names)}{_named(names)}: name one for each"
        )
    if len(files) == len(names):
        return
    n, (stem, extension) = len(files), _split(files[0].name)
    usual = ""
    if len(endings) == len(names) and stem.endswith(endings[0]):
        usual = f" (by the names {stem.removesuffix(endings[0])}{endings[n]}{extension})"
    raise InputError(
        f"channel {n} ({names[n]}) of {len(names)} is missing: name its file too, after {files[-1].name}{usual}"
    )


def first_channel(path: Path, endings: Sequence[str]) -> Path | None:
    """Returns the first channel of the study that a file is a further channel of; None: none lies beside it.

    Args:
        path: any file.
        endings: see `channel_files`.
    """
    stem, extension = _split(path.name)
    ending = next((ending for ending in endings[1:] if stem.endswith(ending)), None)
    if ending is None:
        return None
    first = path.with_name(stem.removesuffix(ending) + endings[0] + extension)
    return first if first.exists() else None


def _split(name: str) -> tuple[str, str]:
    """A name without the ending of a NIfTI file, and that ending."""
    extension = next((one for one in sorted(NIFTI_EXTENSIONS, key=len)[::-1] if name.lower().endswith(one)), "")
    return (name[: -len(extension)], name[-len(extension) :]) if extension else (name, "")


def _named(names: Sequence[str]) -> str:
    return f" ({', '.join(names)})" if names else ""


def _times(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))
