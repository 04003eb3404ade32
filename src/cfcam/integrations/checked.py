"""Names, pictures and masks beside the images of a training: each of a kind and a number that fit, or one line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cfcam.errors import InputError, shown
from cfcam.files import stays_inside
from cfcam.shown import counted


def checked_names(names: Any, count: int) -> tuple[str, ...]:
    """Returns names that can name files, one for each image; None: "picture-0" and so on."""
    if names is None:
        return tuple(f"picture-{number}" for number in range(count))
    if isinstance(names, (str, bytes)) or not isinstance(names, Iterable) or isinstance(names, Mapping):
        raise InputError(f"names is {shown(names)}: give a list of {counted(count, 'text')}, one for each image")
    found = tuple(map(str, names))
    if len(found) != count or len(set(found)) != count:
        raise InputError(
            f"{counted(len(found), 'name')}, {len(set(found))} of them different, for"
            f" {counted(count, 'image')}: give one each"
        )
    if wrong := [name for name in found if not stays_inside(name) or set(name) & set('/\\:*?"<>|')]:
        raise InputError(f"the name {wrong[0]!r} cannot name a file: use letters, digits, '-' and '_'")
    return found


def checked_pictures(pictures: Any, images: Tensor) -> Any:
    """Returns what is shown, the images themselves for None; what each is made of is seen when it is drawn."""
    if pictures is None:
        return images
    several = isinstance(pictures, (Sequence, Tensor, np.ndarray)) and not isinstance(pictures, (str, bytes))
    several = several and bool(getattr(pictures, "ndim", 1))  # an array of one number has no pictures
    if not several or len(pictures) != len(images):
        count = f" of {len(pictures)}" if several else ""
        raise InputError(
            f"pictures is {shown(pictures)}{count}: give {counted(len(images), 'picture')}, one for each image"
        )
    return pictures


def checked_masks(masks: Any, images: Tensor) -> Tensor | None:
    """Returns masks (N, *spatial) bool on the CPU; None if there are none."""
    if masks is None:
        return None
    due = (len(images), *images.shape[2:])
    how = f"give a tensor or an array {due}, True or 1 where the evidence is to lie, else 0"
    try:
        found = torch.as_tensor(masks).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:  # torch's own words differ from kind to kind
        raise InputError(f"masks is {shown(masks)}, which holds no numbers: {how}") from error
    if found.shape != due:
        raise InputError(f"masks of shape {tuple(found.shape)}: {how}")
    if not bool(((found == 0) | (found == 1)).all()):
        raise InputError(f"masks have other values than 0 and 1: {how}")
    return found.bool()
