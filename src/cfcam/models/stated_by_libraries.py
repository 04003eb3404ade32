"""How timm and transformers say how pictures are prepared, in the words of `cfcam.imaging.Preprocess`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from cfcam.errors import ModelError, describe, one_line

_INTERPOLATIONS: Final = ("nearest", "bilinear", "bicubic")
_PILLOW: Final = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
_CROP_MODES: Final = {"center": "shorter-side+crop", "squash": "stretch+crop"}
_RESIZE_MODES: Final = {"shortest": "shorter-side+crop", "squash": "stretch", "longest": "pad"}
_OPEN_CLIP: Final[Mapping[str, Any]] = {
    "size": 224, "mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711),
    "interpolation": "bicubic", "resize_mode": "shortest", "fill_color": 0,
}  # fmt: skip
"""What OpenCLIP does where a configuration does not say it."""
_CROP_PCT: Final = 0.875  # timm's, where a configuration has none
_PROCESSOR: Final = re.compile(r"(\w+?)(ImageProcessor|FeatureExtractor)(Fast|Pil)?")
_224: Final = {"height": 224, "width": 224}
_CROPS: Final = {"do_center_crop": True, "crop_size": _224}
PROCESSORS: Final[Mapping[str, Mapping[str, Any]]] = {
    "Beit": {"default_to_square": True, "do_center_crop": False, "crop_size": _224},
    "Bit": {"default_to_square": False, **_CROPS},
    "CLIP": {"default_to_square": False, **_CROPS},
    "ConvNext": {"default_to_square": False, "crop_pct": 0.875},
    "DeiT": {"default_to_square": True, **_CROPS},
    "EfficientNet": {"default_to_square": True, "do_center_crop": False, "include_top": True},
    "Levit": {"default_to_square": False, **_CROPS},
    "MobileNetV1": {"default_to_square": False, **_CROPS},
    "MobileNetV2": {"default_to_square": False, **_CROPS},
    "MobileViT": {
        "default_to_square": False, "do_center_crop": True, "crop_size": {"height": 256, "width": 256},
        "do_flip_channel_order": True,
    },
    "PPLCNet": {"do_center_crop": True, "crop_size": 224, "resize_short": 256, "size_divisor": 1},
    "Perceiver": {"default_to_square": True, "do_center_crop": True, "crop_size": {"height": 256, "width": 256}},
    "PoolFormer": {"default_to_square": False, **_CROPS, "crop_pct": 0.9},
    "Pvt": {"default_to_square": True},
    "Segformer": {"default_to_square": True},
    "TextNet": {"default_to_square": False, "size_divisor": 32},
    "ViT": {"default_to_square": True},
}  # fmt: skip
"""What image processors of transformers do where their file does not say it, by the name of their class."""


@contextmanager
def _understood(where: str) -> Iterator[None]:
    try:
        yield
    except (TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise ModelError(f"{where} cannot be understood ({describe(error, 100)}): repair it or take it away") from error


def timm_settings(
    config: Mapping[str, Any], where: str = "timm's pretrained_cfg"
) -> tuple[dict[str, object], dict[str, str]]:
    """Reads timm's ``pretrained_cfg``: the values, and why some that it states cannot be had."""
    with _understood(where):
        return _timm_settings(config)


def _timm_settings(config: Mapping[str, Any]) -> tuple[dict[str, object], dict[str, str]]:
    known = mean_and_std(config.get("mean"), config.get("std"))
    lacking: dict[str, str] = {}
    if size := square(tuple(config.get("input_size") or ())[1:]):
        part = min(1.0, float(config.get("crop_pct") or _CROP_PCT))
        whole = tuple(math.floor(side / part) for side in ((size, size) if isinstance(size, int) else size))
        mode = config.get("crop_mode") or "center"
        known |= cut(_CROP_MODES[mode], size, whole) if mode in _CROP_MODES else {"size": size}
        if mode not in _CROP_MODES:  # "border" fills up with the mean's colour
            lacking["resize"] = f"the network states {one_line(mode, 20)}, which cfcam does not have"
    return known | interpolation(config.get("interpolation") or "bicubic", lacking), lacking  # timm's, if none is said


def open_clip_settings(config: Mapping[str, Any], where: str) -> tuple[dict[str, object], dict[str, str]]:
    """Reads OpenCLIP's ``preprocess_cfg``, or a file that holds it: the values, and why some cannot be had."""
    with _understood(where):
        return _open_clip_settings(config)


def _open_clip_settings(config: Mapping[str, Any]) -> tuple[dict[str, object], dict[str, str]]:
    given = (config.get("preprocess_cfg") or {}) if "model_cfg" in config else config
    config = {**_OPEN_CLIP, **{name: value for name, value in given.items() if value is not None}, **_tower(config)}
    mean, std = ([v] * 3 if isinstance(v, (int, float)) else v for v in (config["mean"], config["std"]))
    known = mean_and_std(mean, std)
    lacking: dict[str, str] = {}
    size, mode, fill = config["size"], config["resize_mode"], config["fill_color"]
    whole = square([size] if isinstance(size, int) else size)
    if whole is not None:
        known["size"] = whole
    if mode not in _RESIZE_MODES or (mode == "longest" and fill):
        lacking["resize"] = f"the network states {one_line(mode, 20)} with the colour {one_line(fill, 20)}"
    else:
        known["resize"] = _RESIZE_MODES[mode]
        known |= {"crop_ratio": 1.0} if mode == "shortest" else {}
    way = config["interpolation"]
    if way == "random" or (mode == "shortest" and isinstance(whole, tuple)):  # as OpenCLIP's image_transform does it
        way = "bicubic"
    return known | interpolation(way, lacking), lacking


def _tower(config: Mapping[str, Any]) -> dict[str, object]:
    """The size that OpenCLIP builds a network of pictures for, which decides, as far as its file says it."""
    vision = (config.get("model_cfg") or {}).get("vision_cfg") or {}
    return {"size": vision["image_size"]} if "image_size" in vision else {}


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


def cut(way: str, size: int | tuple[int, ...], resized: int | tuple[int, ...]) -> dict[str, object]:
    """Words for cutting ``size`` from pictures brought to ``resized``; the size alone where that is no cut of cfcam's.

    As rounded as the library does it, so that the same pixels are cut.
    """
    inner, outer = ((one, one) if isinstance(one, int) else one for one in (size, resized))
    pairs = tuple(zip(inner, outer, strict=True))
    parts = [part / whole for part, whole in pairs]
    least, most = max(part / (whole + 0.5) for part, whole in pairs), min(part / (whole - 0.5) for part, whole in pairs)
    if max(parts) > 1 or least >= most:  # no single part makes both sides what they are to be, rounded
        return {"size": size}
    if way == "stretch+crop" and min(parts) == 1:
        return {"size": size, "resize": "stretch"}
    ratio = parts[0] if least < parts[0] < most else min(1.0, (least + most) / 2)
    return {"size": size, "resize": way, "crop_ratio": ratio}


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
    factor, an offset, or no scaling at all is therefore folded into mean and standard deviation. What a class of
    processors does in its own way, and where the file does not say it, follows from its name (`PROCESSORS`).

    Returns:
        What it states, and why some of it cannot be had.
    """
    known: dict[str, object] = {}
    lacking: dict[str, str] = {}
    with _understood(where):
        kind = _kind(config)
        config = {**PROCESSORS.get(kind, {}), **config}
        rescaled = config.get("do_rescale", True)
        normalised = config.get("do_normalize", True) and kind != "MobileViT"  # which has the words, and does not
        factor = 255.0 * float(config.get("rescale_factor") or 1 / 255) if rescaled else 255.0
        offset = 1.0 if rescaled and config.get("rescale_offset") else 0.0
        mean, std = (
            config.get(name) if normalised else [value] * 3 for name, value in (("image_mean", 0.0), ("image_std", 1.0))
        )
        mean, std = ([v] if isinstance(v, (int, float)) else v for v in (mean, std))
        if mean and std and len(mean) == len(std):
            again: Any = config.get("image_std") if config.get("include_top") else [1.0] * len(std)  # EfficientNet's
            mean = [(float(value) + offset) / factor for value in mean]
            std = [float(value) * float(twice) / factor for value, twice in zip(std, again, strict=True)]
            if kind == "PPLCNet":  # whose colours are turned round at the end: mean and std are in the order of RGB
                mean, std, known["order"] = mean[::-1], std[::-1], "bgr"
            known["mean"], known["std"] = (tuple(round(value, 9) for value in values) for values in (mean, std))
        else:
            lacking |= dict.fromkeys(("mean", "std"), f"{where} does not say what it normalises with")
        if config.get("do_resize", True):
            known |= _sizes(config, kind)
            if "resize" not in known:
                lacking["resize"] = f"{where} states a size of a kind that cfcam does not have"
        elif config.get("do_center_crop"):
            lacking["resize"] = f"{where} cuts without resizing, which cfcam does not have"
        if config.get("do_flip_channel_order"):
            known["order"] = "bgr"
        if config.get("do_pad") or config.get("do_thumbnail"):
            lacking["resize"] = f"{where} pads, in a way that cfcam does not have"
    resample = config.get("resample")
    known |= interpolation(_PILLOW.get(resample, resample) if isinstance(resample, int) else None, lacking)
    return known, lacking


def _kind(config: Mapping[str, Any]) -> str:
    """The name of a processor's class, without what they all end with: "ViT"; "" if the file does not name it."""
    named = str(config.get("image_processor_type") or config.get("feature_extractor_type") or "")
    found = _PROCESSOR.fullmatch(named)
    return found[1] if found else ""


def _sizes(config: Mapping[str, Any], kind: str) -> dict[str, object]:
    """Size and way of resizing; without the way where it is none of cfcam's."""
    size = config.get("size")
    crop = sides(config.get("crop_size")) if config.get("do_center_crop") else None
    fraction = config.get("crop_pct")  # ConvNeXt: below 384 pixels resize to edge / crop_pct, then crop to edge
    edge = size.get("shortest_edge") if isinstance(size, Mapping) else None
    longest = "max_size" in config or (isinstance(size, Mapping) and "longest_edge" in size)
    if isinstance(size, int) and (longest or not config.get("default_to_square", not (crop or fraction))):
        edge = size
    if kind == "PPLCNet":
        edge = config.get("resize_short")
    if isinstance(edge, int) and not crop and longest:
        return {"size": edge}  # a detector's: it keeps the picture whole, each in a shape of its own
    if config.get("size_divisor", 1) != 1:
        return {}  # each picture in a shape of its own
    if isinstance(edge, int):
        if fraction and edge >= 384 and not crop:
            return {"size": edge, "resize": "stretch"}
        resized = int(edge / fraction) if fraction else int(256 / 224 * edge) if kind == "Levit" else edge
        return cut("shorter-side+crop", crop or edge, resized)
    whole = sides(size)
    if kind == "Perceiver" and crop and isinstance(whole, int):  # it cuts first
        return cut("shorter-side+crop", whole, crop)
    if whole is None or not crop or crop == whole:
        return {} if whole is None else {"size": whole, "resize": "stretch"}
    return cut("stretch+crop", crop, whole)


def sides(size: object) -> int | tuple[int, int] | None:
    """Reads a size as transformers writes it: a side, an edge, height and width; None for anything else."""
    match size:
        case int(side) | {"shortest_edge": int(side)}:
            return side
        case {"height": int(height), "width": int(width)} | [int(height), int(width)]:
            return height if height == width else (height, width)
        case _:
            return None
