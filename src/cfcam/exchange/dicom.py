"""A map becomes DICOM objects in a folder: Parametric Map, Segmentation, Structured Report, overlay, contour."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from cfcam.errors import ImageError, InputError, MissingExtraError
from cfcam.exchange.job import Job
from cfcam.exchange.parametric_map import check_place, parametric_map
from cfcam.exchange.presentation_state import presentation_state, why_no_state
from cfcam.exchange.result import ResultInfo
from cfcam.exchange.secondary_capture import secondary_captures
from cfcam.exchange.segmentation import segmentation
from cfcam.exchange.sources import headers_of, is_projection
from cfcam.exchange.structured_report import steady_of, structured_report
from cfcam.imaging.dicom_object import quiet

if TYPE_CHECKING:
    from pydicom import Dataset

_LONGEST_MODALITY = 8

KINDS = ("pm", "seg", "sr", "sc", "gsps")
"""The kinds of objects: map, segmentations, report, overlay pictures, presentation state."""

_FRACTIONAL = "seg-fractional"  # of the two segmentations the one that holds the map


def write_objects(
    sources: Sequence[Dataset],
    heatmap: ArrayLike,
    result: ResultInfo,
    *,
    kinds: Collection[str],
    threshold: float,
    output: Path,
    measurements: Mapping[str, float] | None = None,
    opacity: float = 0.4,
    palette: str = "inferno",
) -> list[Path]:
    """Write a map as DICOM objects of the source's study.

    The objects have the patient's identity from the sources: de-identify those first. UIDs follow from the sources'
    UIDs, the model, the method with its parameters, and cfcam's version; a second run writes the same bytes under the
    same names, and leaves files alone that are there already.

    Args:
        sources: the pictures of one series, each with all its elements; or one object with several frames.
        heatmap: on the sources' grid: `(H, W)` for one plane, else `(planes, H, W)` with plane n of source n (of
            frame n). In [0, 1]; for "pm" alone any finite values.
        result: what made the map.
        kinds: some of `KINDS`. "seg" writes a FRACTIONAL and a BINARY Segmentation; "sr" writes the BINARY one too,
            since its numbers refer to it. "seg-fractional" is the FRACTIONAL one alone.
        threshold: from which value on a pixel belongs to the region, in (0, 1].
        output: folder, made if missing.
        measurements: numbers of the region for "sr", by their names in `structured_report.MEASUREMENTS`.
        opacity: of the map in "sc".
        palette: of the map in "sc".

    Returns:
        The files; a binary Segmentation comes before the report on it.

    Raises:
        InputError: an unknown kind, a map of another size or range, or "pm" for a source without Frame of Reference.
        ImageError: the sources are not of one series, lack what every picture has, or hold broken elements; or a file
            cannot be written, or holds other content under the same UID.
        MissingExtraError: pydicom or highdicom is not installed.
    """
    check_kinds(kinds)
    check_installed()
    array = np.ascontiguousarray(np.asarray(heatmap, dtype=np.float32))
    array = array[None] if array.ndim == 2 else array
    with quiet():
        job = Job(headers_of(sources), array, result, threshold, sources, (palette, opacity), steady_of(measurements))
        if "pm" in kinds:
            check_place(job)
        return [_save(dataset, kind, output) for kind, dataset in _objects(job, kinds, measurements)]


def fitting_kinds(source: Dataset, kinds: Collection[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the kinds that can be written for a source in place of those asked for.

    Args:
        source: the first of the sources.
        kinds: some of `KINDS`.

    Returns:
        The kinds for `write_objects`, and a line for each that was replaced or left out.
    """
    fitting, notes = [kind for kind in KINDS if kind in kinds], []
    modality = str(source.get("Modality") or "")
    known = modality if modality.isalpha() and modality.isupper() and len(modality) <= _LONGEST_MODALITY else "unknown"
    if "pm" in fitting and is_projection(source):
        fitting.remove("pm")
        if "seg" not in fitting:
            fitting.insert(0, _FRACTIONAL)
        notes.append(
            f"pm: a Parametric Map needs a Frame of Reference, which pictures of modality {known} have not: the map is"
            " written as a fractional Segmentation instead, to 1/510"
        )
    if "gsps" in fitting and (reason := why_no_state(source)) is not None:
        fitting.remove("gsps")
        notes.append(f"gsps: {reason}: no presentation state is written")
    return tuple(fitting), tuple(notes)


def _objects(job: Job, kinds: Collection[str], measurements: Mapping[str, float] | None) -> list[tuple[str, Dataset]]:
    from cfcam.imaging.dicom_object import broken

    made: list[tuple[str, Dataset]] = []
    with broken("the sources", "an element that the objects inherit is missing or not valid"):
        if "pm" in kinds:
            made.append(("pm", parametric_map(job)))
        if "seg" in kinds or _FRACTIONAL in kinds:
            made.append((_FRACTIONAL, segmentation(job, "seg-fractional")))
        if "seg" in kinds or "sr" in kinds:
            region = segmentation(job, "seg-binary")
            made.append(("seg-binary", region))
        if "sr" in kinds:
            made.append(("sr", structured_report(job, region, measurements or {})))
        if "sc" in kinds:
            made.extend(("sc", one) for one in secondary_captures(job))
        if "gsps" in kinds:
            made.append(("gsps", presentation_state(job)))
    return made


def check_kinds(kinds: Collection[str]) -> None:
    """Raise an `InputError` unless these are some of `KINDS`."""
    unknown = sorted(set(kinds) - {*KINDS, _FRACTIONAL})
    if unknown or not kinds:
        raise InputError(f"kinds are {', '.join(sorted(kinds)) or 'none'}: give some of {', '.join(KINDS)}")


def check_installed() -> None:
    """Raise a `MissingExtraError` unless pydicom and highdicom are installed."""
    try:
        import highdicom  # noqa: F401
        import pydicom  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "highdicom", "dicom", "writing DICOM") from error


def _save(dataset: Dataset, kind: str, output: Path) -> Path:
    from cfcam.imaging.dicom_object import broken

    stream = BytesIO()
    with broken("the sources", "an element that the objects inherit cannot be encoded"):
        dataset.save_as(stream, enforce_file_format=True)
    return save_bytes(stream.getvalue(), output / f"{kind}_{dataset.SOPInstanceUID}.dcm")


def save_bytes(data: bytes, target: Path) -> Path:
    """Write a file whole or not at all; the same bytes under the same name are left as they are.

    Raises:
        ImageError: it cannot be written, or is there with other content.
    """
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            if target.read_bytes() == data:
                return target
            raise ImageError(
                f"{target.name}: is there already, with other content under the same UID (a map that was computed"
                " elsewhere?); remove it, or name another folder"
            )
        try:
            temporary.write_bytes(data)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ImageError(
            f"{target.name}: cannot be written ({error.strerror}); check the folder, its permissions and the disk"
        ) from error
    return target
