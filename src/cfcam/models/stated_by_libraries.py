"""How timm and transformers say how pictures are prepared, in the words of `cfcam.imaging.Preprocess`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from cfcam.errors import ModelError, describe, one_line

_INTERPOLATIONS: Final = ("nearest", "bilinear", "bicubic")
_PILLOW: Final = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
_CROP_MODES: Final = {"center": "shorter-side+crop", "squash": "stretch", "border": "pad"}


def timm_settings(config: Mapping[str, Any]) -> tuple[dict[str, object], dict[str, str]]:
    """Reads timm's ``pretrained_cfg``: the values, and why some that it states cannot be had."""
    known = mean_and_std(config.get("mean"), config.get("std"))
    lacking: dict[str, str] = {}
    if size := square(tuple(config.get("input_size") or ())[1:]):
        resize = _CROP_MODES.get(config.get("crop_mode") or "center", "stretch")
        known |= {"size": size, "resize": resize}
        if resize == "shorter-side+crop":
            known["crop_ratio"] = min(1.0, float(config.get("crop_pct") or 1.0))
    return known | interpolation(config.get("interpolation"), lacking), lacking


def mean_and_std(mean: object, std: object) -> dict[str, object]:
    """Takes two lists of one length over; else nothing."""
    if not isinstance(mean, Sequence) or not isinstance(std, Sequence) or len(mean) != len(std) or not mean:
        return {}
    return {"mean": tuple(map(float, mean)), "std": tuple(map(float, std))}


def square(size: object) -> int | tuple[int, ...] | None:
    """Returns a size of one or two sides as a single number where they are equal; None for anything else."""
    if not isinstance(size, Sequence) or len(size) not in (1, 2) or not all(isinstance(side, int) for side in size):
        return None
    return int(size[0]) if len(set(size)) == 1 else tuple(size)


def interpolation(name: object, lacking: dict[str, str]) -> dict[str, object]:
    """Takes an interpolation over that cfcam has; of another it enters in ``lacking`` that there is none."""
    if name in _INTERPOLATIONS:
        return {"interpolation": name}
    if name is not None:
        lacking["interpolation"] = f"the network states {one_line(name, 20)}, which cfcam does not have"
    return {}


def processor_settings(config: Mapping[str, Any], where: str) -> tuple[dict[str, object], dict[str, str]]:
    """Express an image processor's settings for pixels in [0, 1].

    transformers scales bytes by ``rescale_factor`` (1/255 unless told) and then subtracts the mean; another
    factor, an offset, or no scaling at all is therefore folded into mean and standard deviation.

    Returns:
        What it states, and why some of it cannot be had.
    """
    known: dict[str, object] = {}
    lacking: dict[str, str] = {}
    try:
        rescaled, normalised = config.get("do_rescale", True), config.get("do_normalize", True)
        factor = 255.0 * float(config.get("rescale_factor") or 1 / 255) if rescaled else 255.0
        offset = 1.0 if rescaled and config.get("rescale_offset") else 0.0
        mean, std = (
            config.get(name) if normalised else [value] * 3 for name, value in (("image_mean", 0.0), ("image_std", 1.0))
        )
        mean, std = ([v] if isinstance(v, (int, float)) else v for v in (mean, std))
        if mean and std and len(mean) == len(std):
            known["mean"] = tuple(round((float(value) + offset) / factor, 9) for value in mean)
            known["std"] = tuple(round(float(value) / factor, 9) for value in std)
        else:
            lacking |= dict.fromkeys(("mean", "std"), f"{where} does not say what it normalises with")
        if config.get("do_resize", True):
            known |= _sizes(config)
            if "resize" not in known:
                lacking["resize"] = f"{where} states a size of a kind that cfcam does not have"
        if config.get("do_flip_channel_order"):
            known["order"] = "bgr"
        if config.get("do_pad"):
            lacking["resize"] = f"{where} pads, in a way that cfcam does not have"
    except (TypeError, ValueError, ZeroDivisionError, AttributeError) as error:
        raise ModelError(f"{where} cannot be understood ({describe(error, 100)}): repair it or take it away") from error
    resample = config.get("resample")
    known |= interpolation(_PILLOW.get(resample, resample) if isinstance(resample, int) else None, lacking)
    return known, lacking


def _sizes(config: Mapping[str, Any]) -> dict[str, object]:
    size = config.get("size")
    crop = sides(config.get("crop_size")) if config.get("do_center_crop") else None
    edge = size.get("shortest_edge") if isinstance(size, Mapping) else size if crop else None
    if isinstance(edge, int) and not crop and isinstance(size, Mapping) and "longest_edge" in size:
        return {"size": edge}  # a detector's: it keeps the picture whole, each in a shape of its own
    if isinstance(edge, int):
        fraction = config.get("crop_pct")  # ConvNeXt: below 384 pixels resize to edge / crop_pct, then crop to edge
        if fraction and edge >= 384:
            return {"size": edge, "resize": "stretch"}
        ratio = float(fraction) if fraction else min(1.0, _shorter(crop or edge) / edge)
        return {"size": crop or edge, "resize": "shorter-side+crop", "crop_ratio": ratio}
    stretched = sides(size)
    return {} if stretched is None else {"size": crop or stretched, "resize": "stretch"}


def sides(size: object) -> int | tuple[int, int] | None:
    """Reads a size as transformers writes it: a side, an edge, height and width; None for anything else."""
    match size:
        case int(side) | {"shortest_edge": int(side)}:
            return side
        case {"height": int(height), "width": int(width)} | [int(height), int(width)]:
            return height if height == width else (height, width)
        case _:
            return None


def _shorter(size: int | tuple[int, int]) -> int:
    return size if isinstance(size, int) else min(size)
