"""What a network of volumes is tried on: noise of the shape that it takes, or what it sees of a few volumes at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import PathLike, devnull
from typing import Final, NamedTuple

import torch
from torch import Tensor

from cfcam.errors import CfcamError, InputError
from cfcam.imaging import Volume, VolumePreprocess
from cfcam.jobs.inputs.find import find_inputs
from cfcam.jobs.inputs.preparing import VolumeSettings, volume_preprocess_of
from cfcam.jobs.inputs.reading import load_volume
from cfcam.models import LoadedModel
from cfcam.models.expects import known_size

USUAL_SIDE: Final = 64
"""Voxels along each axis of noise for a network whose size nobody states."""


class Probe(NamedTuple):
    """A volume as it was read, and what a network sees of it at once: (1, C, d, h, w)."""

    volume: Volume
    x: Tensor


def shape_of_volumes(model: LoadedModel, size: int | Sequence[int] | None = None) -> VolumePreprocess:
    """Returns a preparation that gives noise the shape of the network's input, or of a window of it.

    Args:
        model: a network of volumes.
        size: of that input; None: that of its windows, else what it states, else `USUAL_SIDE`.
    """
    channels = volume_preprocess_of(model).channels
    window = None if model.preparation is None else model.preparation.window
    stated = window or model.preprocess.get("size") or known_size(model.module, 3)
    found = size if size is not None else stated or USUAL_SIDE
    return VolumePreprocess(mean=(0.0,) * channels, std=(1.0,) * channels, size=found)  # type: ignore[arg-type]


def probes(
    model: LoadedModel,
    paths: Iterable[str | PathLike[str]],
    how: VolumeSettings,
    preprocess: VolumePreprocess,
    *,
    most: int,
) -> tuple[list[Probe], list[str]]:
    """Reads a few volumes for a network; of one that sees them in windows, the window in their middle is given to it.

    Args:
        model: a network of volumes.
        paths: see `find_inputs`.
        how: how they are read; what the network says of it is added.
        preprocess: what is done to them.
        most: how many are read.

    Returns:
        What was read, and why others could not be.

    Raises:
        InputError: none could be read.
    """
    how, found, failed = how.of(model), list[Probe](), list[str]()
    for one in how.studies(find_inputs(how.channels[:1] or paths, output=devnull)):
        if len(found) == most:
            break
        try:
            volume = load_volume(one, how)
            found.append(Probe(volume, seen_at_once(preprocess(volume)[None], how)))
        except CfcamError as error:
            failed.append(str(error))
    if not found:
        raise InputError(failed[0] if failed else "there is no volume: give NIfTI files, or folders of DICOM slices")
    return found, failed


def seen_at_once(x: Tensor, how: VolumeSettings) -> Tensor:
    """Returns the window in the middle of a prepared volume (1, C, d, h, w); all of it, where there are no windows."""
    if how.windows is None:
        return x
    size = how.windows.size
    for axis, side in enumerate((size,) * 3 if isinstance(size, int) else size, start=2):
        there = x.shape[axis]
        x = x.narrow(axis, max(0, there - side) // 2, min(side, there))
    return x.contiguous()


def stacked(found: Sequence[Probe]) -> Tensor:
    """Returns what the network sees of several volumes as one batch.

    Raises:
        InputError: it sees them in different sizes.
    """
    sizes = list(dict.fromkeys(tuple(one.x.shape[2:]) for one in found))
    if len(sizes) > 1:
        first, second = ("x".join(map(str, size)) for size in sizes[:2])
        raise InputError(
            f"the network would see these volumes in different sizes, {first} and {second}: give one with --size DxHxW"
        )
    return torch.cat([one.x for one in found])
