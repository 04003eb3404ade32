"""What a network itself says of the pictures that it expects: an attribute, or a normalisation of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from torch import Tensor, nn

from cfcam.errors import one_line
from cfcam.models.expects import input_channels
from cfcam.models.stated import Stated, understood
from cfcam.models.stated_by_libraries import cut, interpolation, mean_and_std, square

_ATTRIBUTES: Final = ("preprocess", "preprocess_cfg", "pretrained_cfg", "default_cfg", "transforms")
_CALLED: Final = {
    "pretrained_cfg": "timm's pretrained_cfg",
    "default_cfg": "timm's default_cfg",
    "preprocess_cfg": "its preprocess_cfg",
}
_MEAN: Final = re.compile(r"(?:^|.*[._])(?!running_)(?:\w+_)?mean$")
_NOTHING_DONE: Final = frozenset(
    {"ToPILImage", "PILToTensor", "ToImage", "ToImagePIL", "Identity", "ToPureTensor", "InterpolationMode"}
)
_BYTES: Final = 2.0


def of_module(module: nn.Module) -> Stated | None:
    """Reads what a network says in an attribute, else whether it normalises by itself; None if it says nothing."""
    for owner in (module, getattr(module, "visual", None)):
        for name in _ATTRIBUTES:
            value = None if owner is None else getattr(owner, name, None)
            if value is None or (isinstance(value, nn.Module) and not _is_chain(value)):
                continue
            source = f"stated by the network ({_CALLED.get(name, f'its {name}')})"
            found = of_transform(value, source, f"the network's {name}", strict=name == "preprocess")
            if found is not None:
                return found
    return _normalises_itself(module)


def of_transform(value: Any, source: str, where: str, *, strict: bool = False) -> Stated | None:
    """Reads how pictures are prepared from whatever a user has for it.

    Args:
        value: a mapping (see `understood`), a `Preprocess`, an image processor of transformers, a preset or a chain of
            transforms of torchvision.
        source: what to call it as a source.
        where: what to call it in messages.
        strict: see `understood`.

    Returns:
        What it states; None if it is nothing of the kind. A chain with a step that cfcam does not have states nothing,
        and a note says so.
    """
    if type(value).__name__ in ("Preprocess", "VolumePreprocess") and callable(getattr(value, "as_dict", None)):
        return Stated.by(source, {n: v for n, v in value.as_dict().items() if n != "sources" and v is not None})
    if isinstance(value, Mapping):
        return understood(value, source, where, strict=strict)
    if hasattr(value, "image_mean") and callable(getattr(value, "to_dict", None)):
        return understood(value.to_dict(), source, where)
    if hasattr(value, "crop_size") and hasattr(value, "mean"):
        return Stated.by(source, *preset_settings(value))
    if not _is_chain(value):
        return None
    known, lacking, unread = _chain(value)
    if unread:
        return Stated(
            notes=(f"{where} holds {unread}, which cfcam does not have: how pictures are prepared is assumed",)
        )
    return Stated.by(source, known, lacking)


def preset_settings(preset: object) -> tuple[dict[str, object], dict[str, str]]:
    """Reads torchvision's classification preset: the shorter side to ``resize_size``, then the centre crop."""
    known = mean_and_std(getattr(preset, "mean", None), getattr(preset, "std", None))
    lacking: dict[str, str] = {}
    if size := square(getattr(preset, "crop_size", None)):
        known |= {"size": size, "resize": "shorter-side+crop"}
        resized = square(getattr(preset, "resize_size", None))
        if isinstance(size, int) and isinstance(resized, int):
            known["crop_ratio"] = min(1.0, size / resized)
    way = getattr(preset, "interpolation", None)
    return known | interpolation(getattr(way, "value", way), lacking), lacking


def _is_chain(value: Any) -> bool:
    steps: Any = getattr(value, "transforms", value)
    if type(value).__name__ not in ("Compose", "Sequential") or not isinstance(steps, Iterable):
        return False
    return any(type(step).__name__ in ("Normalize", "Resize", "ToTensor") for step in steps)


def _chain(value: Any) -> tuple[dict[str, object], dict[str, str], str]:
    """Reads a chain of torchvision's transforms: what it states, what of it cannot be had, and a step that cannot."""
    known: dict[str, object] = {}
    top, shorter, whole = 255.0, None, None
    lacking: dict[str, str] = {}
    for step in getattr(value, "transforms", value):
        name, size = type(step).__name__, getattr(step, "size", None)
        sides = square([size] if isinstance(size, int) else size)
        if name == "Resize" and sides is not None and not known and _is_plain(step):
            exact = isinstance(size, (list, tuple)) and len(size) == 2
            known |= {"size": sides, "resize": "stretch"} if exact else {}
            shorter, whole = (None, sides) if exact else (sides, None)
            way = getattr(step, "interpolation", None)
            known |= interpolation(getattr(way, "value", way), lacking)
        elif name == "CenterCrop" and isinstance(sides, int) and isinstance(shorter, int) and sides <= shorter:
            known |= {"size": sides, "resize": "shorter-side+crop", "crop_ratio": sides / shorter}
            shorter = None
        elif name == "CenterCrop" and sides and whole and "resize" in (part := cut("stretch+crop", sides, whole)):
            known, whole = known | part, None
        elif name in ("ToTensor", "ConvertImageDtype") or (name == "ToDtype" and getattr(step, "scale", False)):
            top = 1.0
        elif name == "Grayscale" and getattr(step, "num_output_channels", 1) == 1:
            continue  # one channel, as mean and std will say
        elif name == "Normalize" and "mean" not in known:
            mean, std = ([float(v) * 1.0 / top for v in _listed(getattr(step, n, ()))] for n in ("mean", "std"))
            known |= mean_and_std(mean, std)
        elif name not in _NOTHING_DONE and not (name == "ToDtype" and top == 1.0):
            return {}, {}, one_line(name, 40)
    if shorter is not None:
        return {}, {}, "a resize without a crop"
    if "mean" not in known:
        known |= {"mean": (0.0,), "std": (1.0 / top,)}
    return known, lacking, ""


def _is_plain(step: Any) -> bool:
    """Whether a resize brings a side to its size whatever the other is, and blurs what it makes smaller."""
    return getattr(step, "max_size", None) is None and getattr(step, "antialias", True) is not False


def _listed(values: Any) -> list[float]:
    return list(values.flatten().tolist() if isinstance(values, Tensor) else values)


def _normalises_itself(module: nn.Module) -> Stated | None:
    """Finds a mean and a standard deviation that the network holds for its input, one number for each channel."""
    channels = input_channels(module) or 3
    held = dict(module.named_buffers()) | {n: p for n, p in module.named_parameters() if not p.requires_grad}
    for owner, child in module.named_modules():
        if type(child).__name__ == "Normalize":
            for name in ("mean", "std"):
                value = getattr(child, name, None)
                if isinstance(value, (Tensor, list, tuple)):
                    held.setdefault(f"{owner}.{name}", value if isinstance(value, Tensor) else Tensor(list(value)))
    for name, mean in held.items():
        if not _MEAN.match(name) or name.endswith("running_mean"):
            continue
        other = name[: -len("mean")] + "std"
        std = held.get(other)
        if std is None or mean.numel() != channels or std.numel() != channels or not bool((std > 0).all()):
            continue
        scale = 1 / 255 if float(mean.abs().max()) > _BYTES or float(std.max()) > _BYTES else 1.0
        return Stated.by(
            f"the network normalises by itself ({one_line(name, 40)}, {one_line(other, 40)})",
            {"mean": (0.0,), "std": (scale,)},
        )
    return None
