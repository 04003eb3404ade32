"""Which options of ``cfcam explain`` do not go together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cfcam.capture.targets.box_words import read_box
from cfcam.cli.arguments import places, words
from cfcam.cli.output.panels import Panel
from cfcam.errors import InputError
from cfcam.models.spec import is_file

_OF_PICTURES = (
    *("palette", "opacity", "blend", "preset", "save", "format", "max_size", "html"),
    *("output", "index", "labels", "self_contained", "by_region", "region_names"),
)
_NAMED = 8
"""Paths that somebody names one by one, and that are looked at beforehand."""


def check_together(given: Any, look: tuple[str, float, str]) -> None:
    """Refuses options that exclude each other, classes that are not among those named, and an audit that may not be.

    Args:
        given: the command, with what was given.
        look: palette, opacity and blend, unless others are given.

    Raises:
        CfcamError: some do not go together.
    """
    if given.preset is not None and (given.palette, given.opacity, given.blend) != look:
        raise InputError(f"--preset {given.preset} says how maps are drawn: leave --palette, --opacity, --blend out")
    words.named_targets(given.classes, given.target or ())
    places.stdout(given.paths, given.as_json)
    places.audit_folder(given.record, given.output)
    if given.regions and given.by_region is None and 1 < len(given.paths or ()) <= _NAMED:
        _check_scans(given.paths)
    if given.store is not None:
        _check_store(given)
    if any(read_box(text) is not None for text in given.target or ()):
        _check_boxes(given)
    modalities(given)
    if given.index is False and (given.labels is not None or given.self_contained):
        raise InputError("--labels and --self-contained are for index.html: leave --no-index out")


def modalities(given: Any) -> None:
    """Refuses files of one study's modalities beside other inputs.

    Raises:
        InputError: both are named.
    """
    if given.channels is not None and (given.paths or given.channel is not None):
        raise InputError("--channels names all files of one study: leave --channel and further paths out")


def _check_scans(paths: list[str]) -> None:
    """A label map behind --regions, which takes no file, would be explained as a second scan."""
    from cfcam.clinical.checks.labels import is_label_map

    labels = [path for path in paths if is_file(Path(path)) and is_label_map(path)]
    if labels and len(labels) < len(paths):
        raise InputError(
            f"{Path(labels[0]).name} is a label map, and would be explained as a scan: --regions takes no file; to"
            f" measure maps in its organs give --by-region {Path(labels[0]).name} in its place"
        )


def _check_store(given: Any) -> None:
    """A store holds no pictures and no studies: what is asked for of them would be left out without a word."""
    fields = type(given).__dataclass_fields__
    of_pictures = [name for name in _OF_PICTURES if getattr(given, name) != fields[name].default]
    if wrong := [*of_pictures, *given.given(Panel.STUDY)]:
        option = wrong[0].replace("_", "-")
        raise InputError(f"--store holds maps and scores, and no files of each picture: leave --{option} out")


def _check_boxes(given: Any) -> None:
    """Boxes are found in a pass over the whole picture: windows, pictures without a region, and studies have others."""
    wrong = [name for name in ("by_region", "sliding") if getattr(given, name)]
    if wrong := [*wrong, *given.given(Panel.STUDY)]:
        option = wrong[0].replace("_", "-")
        raise InputError(f"--{option} asks other passes than that in which boxes are found (--target): leave one out")
