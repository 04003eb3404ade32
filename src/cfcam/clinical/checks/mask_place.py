"""Which way leads from an image's voxels to a mask's, where files allow more than one reading of their place.

A NIfTI may hold two transforms, or none, and programs differ in which they take (see `reading.nifti_space`): a mask
drawn in ITK-SNAP lies where ITK has the image, which need not be where cfcam has it. Where one of the readings puts
the mask's voxels onto the image's, that one is meant; where none does and the choice would matter, the mask is
refused: a mask in the wrong place looks like any other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cfcam.errors import InputError
from cfcam.imaging.geometry import Affine, spacing_of
from cfcam.imaging.image import Image
from cfcam.imaging.nifti_space import Reading, corners_apart
from cfcam.imaging.volume import Volume

SAME_INDEX = 5e-3
"""Of a voxel: what is less far apart is at one place, for places in headers are rounded."""

_Size = tuple[int, int, int]
_SAVE = "save the mask on the image's grid (with its affine), or give the image one transform"


@dataclass(frozen=True, eq=False)
class Lying:
    """A grid of voxels and what is known of its place.

    Attributes:
        size: of the grid.
        affine: index to mm, RAS+, as cfcam takes it.
        placed: whether its file says how it lies in the patient; if not, the affine gives sizes alone.
        readings: where else other programs have it.
    """

    size: _Size
    affine: Affine
    placed: bool = True
    readings: tuple[Reading, ...] = ()

    @classmethod
    def of(cls, image: Image | Volume) -> Lying:
        """Returns the grid of a volume, or of a picture with an affine, which is one slice thick."""
        if not isinstance(image, Volume):
            return cls((*image.size, 1), np.array(image.affine, dtype=np.float64))
        space = image.source.nifti
        same = space is not None and np.array_equal(space.affine, image.affine)
        readings = space.readings if same and space is not None else ()
        return cls(image.size, image.affine, image.placed, readings)


def way_to_mask(mask: Lying, image: Lying, name: str) -> tuple[Affine, list[str]]:
    """Returns the (4, 4) way from the image's index to the mask's, and a notice where a choice was made.

    Args:
        mask: where the mask lies.
        image: where the image lies.
        name: what to call the mask.

    Raises:
        InputError: nothing says how one of them lies, and they are not of one grid; or the image's transforms disagree,
            and nothing tells to which of them the mask belongs.
    """
    here, there = (Reading(one.affine, "") for one in (image, mask))
    pairs = [(one, other) for one in (here, *image.readings) for other in (there, *mask.readings)]
    ways = [np.linalg.inv(other.affine) @ one.affine for one, other in pairs]
    if mask.size == image.size:
        for (one, other), way in zip(pairs, ways, strict=True):
            if is_same(way):
                return np.eye(4), _told(one, other, name)
    if not (mask.placed and image.placed):
        return _without_place(mask, image, name), []
    rivals = [
        (pair, way)
        for pair, way in zip(pairs[1:], ways[1:], strict=True)
        if pair[0].rival and pair[1].rival and _far(pair, (here, there), mask, image)
    ]
    if not rivals:
        return ways[0], []
    fitting = [
        (pair, way) for pair, way in [((here, there), ways[0]), *rivals] if is_reordering(way)
    ]  # a crop, or turned
    if len(fitting) == 1:
        (one, other), way = fitting[0]
        return way, _told(one, other, name)
    whose = "image" if image.readings else "mask"
    raise InputError(
        f"the mask {name} is on another grid, and the sform and qform of the {whose} disagree: to which of them it"
        f" belongs cannot be told; {_SAVE}"
    )


def is_same(way: Affine) -> bool:
    """Whether voxels of one index are at one place."""
    return bool(np.abs(way - np.eye(4)).max() < SAME_INDEX)


def is_reordering(way: Affine) -> bool:
    """Whether centres fall on centres, with axes in any order and direction: nothing is resampled then."""
    whole = np.rint(way)
    turns = np.abs(whole[:3, :3])
    return bool(np.abs(way - whole).max() < SAME_INDEX and (turns.sum(0) == 1).all() and (turns.sum(1) == 1).all())


def _told(one: Reading, other: Reading, name: str) -> list[str]:
    if not (one.how or other.how):
        return []
    parts = [f"{whose} {each.how}" for whose, each in (("the image by", one), ("the mask by", other)) if each.how]
    return [f"the mask {name} lies on the image when one takes {' and '.join(parts)}: it was laid on it voxel by voxel"]


def _far(pair: tuple[Reading, Reading], used: tuple[Reading, Reading], mask: Lying, image: Lying) -> bool:
    """Whether a reading moves the mask in the image by more than half a voxel."""
    ways = [np.linalg.inv(one.affine) @ other.affine for one, other in (pair, used)]
    return corners_apart(image.affine @ ways[0], image.affine @ ways[1], mask.size) > min(spacing_of(image.affine)) / 2


def _without_place(mask: Lying, image: Lying, name: str) -> Affine:
    if mask.placed or image.placed:
        without, other = ("the mask", "the volume") if image.placed else ("the volume", "the mask")
        raise InputError(
            f"the header of {without} does not say how it lies in the patient, and that of {other} does (mask {name}):"
            " save the mask with the volume's affine"
        )
    if mask.size != image.size or not np.allclose(mask.affine, image.affine, atol=1e-3):
        sizes = " and the volume ".join(" x ".join(map(str, one.size)) for one in (mask, image))
        raise InputError(
            f"the mask {name} has {sizes} voxels, and their headers do not say how they lie in the patient: save the"
            " mask on the volume's grid"
        )
    return np.eye(4)
