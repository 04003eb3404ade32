"""What is stated of the pictures that a network expects: by itself, in its checkpoint, or in a file beside its weights.

Everything is brought to the words of `cfcam.imaging.Preprocess`, for pixels in 0..1, or of `VolumePreprocess`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cfcam import json_text
from cfcam.errors import ModelError, few, one_line
from cfcam.models.spec import is_file
from cfcam.models.stated_by_libraries import open_clip_settings, processor_settings, timm_settings

PICTURE_FIELDS: Final = ("size", "resize", "crop_ratio", "mean", "std", "interpolation", "order")
VOLUME_FIELDS: Final = ("orientation", "spacing", "size", "window", "intensity", "mean", "std")
_FIELDS: Final = frozenset((*PICTURE_FIELDS, *VOLUME_FIELDS))
_TRANSFORMERS: Final = frozenset(
    {"image_mean", "image_std", "do_normalize", "do_rescale", "crop_size", "rescale_factor"}
)
_TIMM: Final = frozenset({"input_size", "crop_pct", "crop_mode"})
_NESTS: Final = ("preprocess", "preprocessing", "normalization", "normalisation", "pretrained_cfg", "image_processor")


@dataclass(frozen=True)
class Stated:
    """Values that were stated, and who said so.

    Attributes:
        values: keyword arguments of `cfcam.imaging.Preprocess` or `VolumePreprocess`.
        sources: of each value, "stated by the network (...)"; of a value that was stated and cannot be had, why another
            is "assumed: ...".
        notes: what a user should know.
    """

    values: Mapping[str, object] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @classmethod
    def by(cls, source: str, values: Mapping[str, object], lacking: Mapping[str, str] | None = None) -> Stated:
        """Makes one of values with a single source; ``lacking`` says why a field has no value."""
        sources = dict.fromkeys(values, source) | {
            name: f"assumed: {reason}" for name, reason in (lacking or {}).items() if name not in values
        }
        return cls(dict(values), sources)

    def __or__(self, stronger: Stated) -> Stated:
        """Values of both; where both state one, that of the stronger."""
        weaker = {n: s for n, s in self.sources.items() if n not in stronger.sources}
        return Stated(
            {n: v for n, v in self.values.items() if n not in stronger.sources} | dict(stronger.values),
            weaker | dict(stronger.sources),
            self.notes + stronger.notes,
        )

    def of_other_weights(self, name: str) -> Stated:
        """The same, when other weights were loaded into the network than those that it was stated for."""
        said = f"assumed: as for {name}'s own weights, not stated by these"
        return Stated(self.values, dict.fromkeys(self.sources, said), self.notes)


def understood(content: object, source: str, where: str, *, strict: bool = False) -> Stated | None:
    """Reads what a mapping says, in cfcam's words, in timm's, OpenCLIP's or transformers'.

    Args:
        content: such as what a JSON file holds; nested under one of `preprocess`, `preprocessing`, `normalization`,
            `normalisation`, `pretrained_cfg`, `image_processor`, or at the top.
        source: what to call it as a source.
        where: the file or attribute, for messages.
        strict: whether it is about preparation alone, so that an unknown word is a mistake, and words of cfcam's are
            meant so. Else "mean" and "std" at the top count only if both are lists: a file of results has them too.

    Returns:
        None if it says nothing of preparation.

    Raises:
        ModelError: a value cannot be used, or a word is unknown.
    """
    if not isinstance(content, Mapping):
        if strict:
            raise ModelError(f"{where} holds no JSON object: repair it or take it away")
        return None
    for nest in _NESTS:
        if isinstance(content.get(nest), Mapping):
            return understood(content[nest], source, where, strict=nest != "pretrained_cfg")
    keys = set(map(str, content))
    if keys & _TRANSFORMERS:
        return Stated.by(source, *processor_settings(content, where))
    if keys & _TIMM:
        return Stated.by(source, *timm_settings(content, where))
    towers = content.get("model_cfg")
    if "resize_mode" in keys or (isinstance(towers, Mapping) and "vision_cfg" in towers):
        return Stated.by(source, *open_clip_settings(content, where))
    known = {str(name): value for name, value in content.items() if name in _FIELDS}
    if not strict and not (_are_numbers(content.get("mean")) and _are_numbers(content.get("std"))):
        return None
    if strict and (unknown := sorted(k for k in keys - _FIELDS if not k.startswith("_") and k != "sources")):
        raise ModelError(
            f"{where} says {few(unknown)}, which cfcam does not know: it knows {', '.join(sorted(_FIELDS))}"
        )
    if not known:
        return None
    return Stated.by(source, {name: _plain(name, value, where) for name, value in known.items() if value is not None})


def _are_numbers(value: object) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(v, (int, float)) for v in value)


def _plain(name: str, value: object, where: str) -> object:
    if name in ("mean", "std"):
        values = value if isinstance(value, (list, tuple)) else [value]
        if not all(isinstance(v, (int, float)) and math.isfinite(v) for v in values) or not values:
            raise ModelError(f"{where}: {name} is {one_line(value, 60)}: give a number, or one for each channel")
        return tuple(map(float, values))
    return tuple(value) if isinstance(value, list) else value


def beside(weights: Path) -> Stated | None:
    """Reads the JSON file beside a file of weights that says how pictures are prepared.

    Of ``best.pt`` these are looked for in its folder, and the first that says something is taken:
    ``best.preprocess.json``, ``best.pt.json``, ``best.json``, ``preprocess.json``, ``preprocessor_config.json``,
    ``processor_config.json``, ``config.json`` (timm's), ``open_clip_config.json``; of ``open_clip_*.bin`` the last
    stands before those of other libraries, which may say something else of their own weights in the same folder.

    Raises:
        ModelError: a file that is about preparation alone cannot be read or used.
    """
    stem, folder = weights.name.removesuffix(weights.suffix), weights.parent
    names = (f"{stem}.preprocess.json", f"{weights.name}.json", f"{stem}.json", "preprocess.json")
    libraries = ["preprocessor_config.json", "processor_config.json", "config.json"]
    libraries.insert(0 if stem.startswith("open_clip") else len(libraries), "open_clip_config.json")
    for name in dict.fromkeys((*names, *libraries)):
        if (found := from_json(folder / name, f"stated beside the weights ({name})")) is not None:
            return found
    return None


def from_json(file: Path, source: str) -> Stated | None:
    """Reads a JSON file; None if there is none, or it says nothing of preparation.

    Raises:
        ModelError: as for `beside`.
    """
    if not is_file(file):
        return None
    strict = file.name.endswith("preprocess.json")
    try:
        content = json_text.read(file, ModelError, shown=str(file), then="repair it or take it away")
    except ModelError:
        if strict:
            raise
        return None
    return understood(content, source, str(file), strict=strict)


def in_checkpoint(content: object) -> Stated | None:
    """Reads what a checkpoint holds beside its tensors, under one of the names of `understood`."""
    if not isinstance(content, Mapping):
        return None
    nested = {nest: content[nest] for nest in _NESTS if isinstance(content.get(nest), Mapping)}
    return understood(nested, "stated in the weights' file", "the weights' file") if nested else None


def in_safetensors(metadata: Mapping[str, str] | None) -> Stated | None:
    """Reads the metadata of a safetensors file: texts, of which one of the names of `understood` may hold JSON."""
    found: dict[str, object] = {}
    for nest in _NESTS:
        if nest in (metadata or {}):
            text = (metadata or {})[nest]
            found[nest] = json_text.parse(text, f"the weights' metadata {nest!r}", ModelError, then="save them anew")
    return in_checkpoint(found)
