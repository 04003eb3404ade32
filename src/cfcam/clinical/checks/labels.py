"""Regions from files: label maps of organs and segments, as NIfTI or as pictures, on the grid of their image."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cfcam import csv_text
from cfcam.clinical.checks.mask_place import SAME_INDEX, Lying, is_reordering, way_to_mask
from cfcam.errors import CfcamError, InputError
from cfcam.imaging.geometry import Affine
from cfcam.imaging.image import Image
from cfcam.imaging.nifti_space import corners_apart
from cfcam.imaging.reading.files import is_nifti
from cfcam.imaging.reading.nifti import read_nifti
from cfcam.imaging.reading.pictures import read_image
from cfcam.imaging.volume import Volume

_MOST = 4096
_FEW = 128  # values of a label map: 117 organs are the most that are usual, and a scan has more
_COLUMNS = ("label", "name")


def read_labels(
    path: str | os.PathLike[str], image: Image | Volume, names: Mapping[int, str] | None = None
) -> dict[str, Tensor]:
    """Reads the regions of an image, each under its name.

    Unlike a mask (`read_mask`) a label map is never resampled: neighbours of two organs would change hands. One of the
    same voxels with axes in another order or direction is turned.

    Args:
        path: a NIfTI whose voxels are labels; for a picture also a grey picture whose values are labels, or a coloured
            one in which each colour but black is a region.
        image: what the regions belong to.
        names: names of labels; one of them that no place bears is an empty region.

    Returns:
        name -> (*spatial) bool on the image's grid.

    Raises:
        InputError: it is on another grid, holds no labels, or names do not fit.
        ImageError: the file cannot be read.
    """
    name = Path(path).name
    values = _of_nifti(path, image, name) if is_nifti(path) else _of_picture(path, image, name)
    named: dict[int, str]
    if values.ndim > len(image.size):
        if names:
            raise InputError(
                f"the regions {name} are coloured: names are of grey values; save labels as a grey picture"
            )
        values = values.astype(np.int64) @ (65536, 256, 1)
        found = _labels(values, name)
        named = {label: f"#{label:06x}" for label in found}
    else:
        found = _labels(values, name)
        named = {label: text for label, text in (names or {}).items() if label}
        named |= {label: f"region {label}" for label in found if label not in named}
    if not named:
        raise InputError(f"the regions {name} are 0 everywhere: there is none")
    if len(set(named.values())) < len(named):
        raise InputError(f"two regions of {name} have one name: give each label its own")
    return {named[label]: torch.from_numpy(values == label) for label in sorted(named)}


def is_label_map(path: str | os.PathLike[str]) -> bool:
    """Whether a file looks like a label map: 0 and few other whole numbers above it; False of what cannot be read.

    Args:
        path: a NIfTI or a picture.
    """
    try:
        values = read_nifti(path).voxels if is_nifti(path) else read_image(path).pixels
    except (CfcamError, OSError):
        return False
    found = np.unique(values)[: _FEW + 1]
    return 1 < len(found) <= _FEW and float(found[0]) == 0 and bool((np.rint(found) == found).all())


def read_label_names(path: Path) -> dict[int, str]:
    """Reads a CSV file with the columns ``label`` (a whole number) and ``name``.

    Raises:
        InputError: it is no such table.
    """
    columns, rows = csv_text.rows_of(csv_text.read_text(path), path.name)
    if any(column not in columns for column in _COLUMNS):
        raise InputError(f"{path.name}: no columns label and name in its first line ({', '.join(columns)}): add them")
    names: dict[int, str] = {}
    for row in rows:
        label, name = row["label"].strip(), csv_text.plain(row["name"].strip())
        if not (label.isascii() and label.isdigit()) or not name:
            raise InputError(f"{path.name}: label {label!r} with the name {name!r}: give a whole number and a name")
        if int(label) in names:
            raise InputError(f"{path.name}: label {label} stands there twice: name each once")
        names[int(label)] = name
    return names


def _labels(values: NDArray[np.integer], name: str) -> list[int]:
    found = [int(label) for label in np.unique(values) if label]
    if len(found) > _MOST:
        raise InputError(f"the regions {name} have {len(found)} labels, more than {_MOST}: is it a picture?")
    return found


def _of_nifti(path: str | os.PathLike[str], image: Image | Volume, name: str) -> NDArray[np.integer]:
    labels = read_nifti(path)
    if labels.voxels.ndim > 3:
        raise InputError(f"the regions {name} have several channels: save one label map")
    values = np.where(labels.missing, 0, labels.voxels) if labels.missing is not None else labels.voxels
    whole = np.rint(values)
    if not (whole == values).all() or np.abs(whole).max(initial=0) > 2**24:
        raise InputError(f"the regions {name} hold other values than whole numbers: save labels, 0 where there is none")
    place = isinstance(image, Volume) or image.affine is not None
    if not place:
        raise InputError(f"the regions {name} are a NIfTI and the picture has no place in space: give a picture")
    here = Lying.of(image)
    turned = _turned(whole.astype(np.int64), way_to_mask(Lying.of(labels), here, name)[0], here.size)
    if turned is None:
        told = f"the regions {name} are on another grid ({_by(labels.voxels.shape)}) than the image ({_by(here.size)})"
        if labels.voxels.shape == here.size:
            apart = corners_apart(labels.affine, here.affine, here.size)
            told = f"the regions {name} lie elsewhere than the image, a corner {apart:.3g} mm away"
        raise InputError(f"{told}: resample the labels to the image's grid, by nearest neighbours")
    return turned.reshape(image.size)


def _turned(values: NDArray[np.int64], way: Affine, size: tuple[int, ...]) -> NDArray[np.int64] | None:
    """Labels of the image's very voxels with their axes in its order and directions; None if they are of others."""
    if not is_reordering(way) or values.ndim != len(size):
        return None
    axes = np.abs(way[:3, :3]).argmax(0)  # of the labels, for each of the image
    back = way[axes, range(3)] < 0
    first = np.where(back, np.array(values.shape)[axes] - 1, 0)
    if np.abs(way[axes, 3] - first).max() >= SAME_INDEX or values.transpose(axes).shape != size:
        return None
    return np.flip(values.transpose(axes), tuple(np.flatnonzero(back).tolist())).copy()


def _of_picture(path: str | os.PathLike[str], image: Image | Volume, name: str) -> NDArray[np.integer]:
    if isinstance(image, Volume):
        raise InputError(f"the regions {name}: give a NIfTI for a volume")
    values = read_image(path).pixels
    if values.shape[:2] != image.size:
        raise InputError(
            f"the regions {name} are on another grid ({_by(values.shape[:2])}) than the picture ({_by(image.size)}):"
            " save them at the picture's size, by nearest neighbours"
        )
    if values.ndim == 3 and bool((values == values[..., :1]).all()):
        values = values[..., 0]
    return np.asarray(values[..., :3] if values.ndim == 3 else values)


def _by(size: tuple[int, ...]) -> str:
    return " x ".join(map(str, size))
