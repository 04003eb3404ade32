"""A map becomes DICOM objects in a folder: Parametric Map, Segmentation, Structured Report, overlay, contour."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cfcam.errors import ImageError, InputError, MissingExtraError
from cfcam.exchange.dicom.job import Job
from cfcam.exchange.dicom.moments import say_when_made, when_made
from cfcam.exchange.dicom.parametric_map import check_place, parametric_map
from cfcam.exchange.dicom.presentation_state import presentation_state, why_no_state
from cfcam.exchange.dicom.result import ResultInfo
from cfcam.exchange.dicom.secondary_capture import overlays, secondary_capture
from cfcam.exchange.dicom.segmentation import NO_THICKNESS, segmentation
from cfcam.exchange.dicom.sources import (
    distance_of,
    frames_of,
    headers_of,
    is_projection,
    missing_place,
    modality_of,
    without_thickness,
)
from cfcam.exchange.dicom.structured_report import steady_of, structured_report
from cfcam.files import holds, make_folder, save, whole, writing
from cfcam.imaging.drawing.look import OPACITY, Look
from cfcam.imaging.drawing.palettes import EMBER
from cfcam.imaging.reading.dicom_object import quiet
from cfcam.stages import WRITE, stage

if TYPE_CHECKING:
    from pydicom import Dataset

OF_THE_JOB: dict[str, Callable[[Job], Dataset]] = {"sc": secondary_capture, "gsps": presentation_state}
"""Kinds of objects that need nothing but their job, and what makes them: overlay pictures, presentation state."""

KINDS = ("pm", "seg", "sr", *OF_THE_JOB)
"""The kinds of objects: map, segmentations, report, and those of `OF_THE_JOB`."""

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
    opacity: float = OPACITY,
    palette: str = EMBER,
    blend: str = "value",
    refused: dict[str, str] | None = None,
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
        blend: what the opacity follows there, as for `cfcam.imaging.overlay`.
        refused: takes up, by kind, why an object cannot be made of these sources; the others are written. Without it
            nothing is written unless all can be.

    Returns:
        The files; a binary Segmentation comes before the report on it.

    Raises:
        InputError: an unknown kind, a map of another size or range, or "pm" for a source without Frame of Reference.
        ImageError: the sources are not of one series, lack what every picture has, or hold broken elements; or a file
            cannot be written, or holds other content under the same UID.
        MissingExtraError: pydicom or highdicom is not installed.
    """
    with quiet():
        made = made_objects(
            sources,
            heatmap,
            result,
            kinds=kinds,
            threshold=threshold,
            measurements=measurements,
            opacity=opacity,
            palette=palette,
            blend=blend,
            refused=refused,
        )
        if refused is None:
            made = iter(list(made))  # all of them or none; else each may go once it is written
        return [save_object(dataset, kind, output) for kind, dataset in made]


def made_objects(
    sources: Sequence[Dataset],
    heatmap: ArrayLike,
    result: ResultInfo,
    *,
    kinds: Collection[str],
    threshold: float,
    measurements: Mapping[str, float] | None = None,
    opacity: float = OPACITY,
    palette: str = EMBER,
    blend: str = "value",
    refused: dict[str, str] | None = None,
    shown: NDArray[np.uint8] | None = None,
) -> Iterator[tuple[str, Dataset]]:
    """Yield a map as DICOM objects, each with its kind, one made after the other, and write nothing.

    Args:
        sources: see `write_objects`.
        heatmap: see there.
        result: see there.
        kinds: see there.
        threshold: see there.
        measurements: see there.
        opacity: see there.
        palette: see there.
        blend: see there.
        refused: see there.
        shown: the one source as it says to show it, if that is at hand: uint8 `(H, W, 3)`.

    Raises:
        CfcamError: see there.
    """
    check_kinds(kinds)
    check_installed()
    array = np.ascontiguousarray(np.asarray(heatmap, dtype=np.float32))
    array = array[None] if array.ndim == 2 else array
    look = Look(palette, opacity, blend)
    look.check()
    with quiet():
        job = Job(headers_of(sources), array, result, threshold, sources, look, steady_of(measurements), shown=shown)
        if "pm" in kinds and refused is None:
            check_place(job)
        yield from _objects(job, kinds, measurements, refused)


def fitting_kinds(
    source: Dataset | Sequence[Dataset], kinds: Collection[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the kinds that can be written for sources in place of those asked for.

    Args:
        source: the sources, or of pictures that are alike the first of them.
        kinds: some of `KINDS`.

    Returns:
        The kinds for `write_objects`, and a line for each that was replaced or left out.
    """
    sources: list[Any] = list(source) if isinstance(source, Sequence) else [source]
    fitting, notes = [kind for kind in KINDS if kind in kinds], []
    missing = missing_place(sources)
    if missing and frames_of(sources) > 1:
        lost = [kind for kind in ("pm", "seg", "sr") if kind in fitting]
        fitting = [kind for kind in fitting if kind not in lost]
        notes += [f"{kind}: several planes need a place in space, {_has_no(missing)}: not written" for kind in lost]
    elif missing and "pm" in fitting:
        fitting.remove("pm")
        if "seg" not in fitting:
            fitting.insert(0, _FRACTIONAL)
        which = f"which pictures of modality {modality_of(sources[0])} have not"
        which = which if is_projection(sources[0]) and "FrameOfReferenceUID" in missing else _has_no(missing)
        notes.append(
            f"pm: a Parametric Map needs a Frame of Reference, {which}: the map is written as a fractional Segmentation"
            " instead, to 1/510"
        )
    if "seg" in fitting or "sr" in fitting:
        notes += _about_thickness(sources, fitting)
    if "gsps" in fitting and (reason := why_no_state(sources[0])) is not None:
        fitting.remove("gsps")
        notes.append(f"gsps: {reason}: no presentation state is written")
    return tuple(fitting), tuple(notes)


def _about_thickness(sources: Sequence[Any], fitting: list[str]) -> list[str]:
    """What is told, and left out, where the sources do not say how thick their planes are."""
    if not without_thickness(sources):
        return []
    if (distance := distance_of(sources)) is not None:
        return [
            f"seg: the source has no SliceThickness: the distance between planes, {distance:g} mm, is written for it"
        ]
    lost = [kind for kind in ("seg", "sr") if kind in fitting]
    fitting[:] = [kind for kind in fitting if kind not in lost]
    return [f"{kind}: {NO_THICKNESS}: not written" for kind in lost]


def _has_no(missing: Sequence[str]) -> str:
    return f"and the source has no {', '.join(missing)}"


def _objects(
    job: Job, kinds: Collection[str], measurements: Mapping[str, float] | None, refused: dict[str, str] | None
) -> Iterator[tuple[str, Dataset]]:
    def make(kind: str, build: Callable[[], Dataset]) -> Iterator[tuple[str, Dataset]]:
        try:
            with _named(job, kind):
                made = build()
        except (ImageError, InputError) as problem:
            if refused is None:
                raise
            refused[kind] = str(problem)
            return
        yield kind, made

    with ExitStack() as stack:
        drawn: Future[NDArray[np.uint8]] | None = None
        if "sc" in kinds and job.shown is not None:  # numpy draws while Python makes the Segmentations
            drawn = stack.enter_context(ThreadPoolExecutor(1)).submit(overlays, job)
        if "pm" in kinds:
            yield from make("pm", lambda: parametric_map(job))
        if "seg" in kinds or _FRACTIONAL in kinds:
            yield from make(_FRACTIONAL, lambda: segmentation(job, "seg-fractional"))
        regions = []
        if {"seg", "sr"} & set(kinds):
            regions = list(make("seg-binary", lambda: segmentation(job, "seg-binary")))
            yield from regions
        for kind, build in OF_THE_JOB.items():  # pictures are the largest: on their way while the report is made
            if kind == "sc" and drawn is not None:
                yield from make(kind, lambda: secondary_capture(job, drawn.result()))
            elif kind in kinds:
                yield from make(kind, partial(build, job))
        for _, region in regions if "sr" in kinds else ():
            yield from make("sr", partial(structured_report, job, region, measurements or {}))
        if "sr" in kinds and not regions and refused is not None:
            refused["sr"] = "sr: its numbers refer to a binary Segmentation, which cannot be written"


@contextmanager
def _named(job: Job, kind: str) -> Iterator[None]:
    """Says of an object that cannot be made which element of the sources it needs, where that can be told."""
    from cfcam.imaging.reading.dicom_object import broken

    with broken("the sources", f"{kind}: an element that the objects inherit is missing or not valid"):
        try:
            yield
        except AttributeError as error:
            found = re.search(r"no attribute '(\w+)'", str(error))
            if found is None or not _is_keyword(found[1]) or found[1] in job.sources[0]:
                raise
            raise ImageError(f"{kind}: needs {found[1]}, which the sources have not; export them again") from None
        except ValueError as error:
            missing = missing_place(job.originals)
            if not missing or "frame of reference" not in str(error).casefold():
                raise
            raise ImageError(
                f"{kind}: {modality_of(job.sources[0])} has no {', '.join(missing)}, which it needs: export it anew"
            ) from None


def _is_keyword(name: str) -> bool:
    from pydicom.datadict import dictionary_has_tag, tag_for_keyword

    tag = tag_for_keyword(name)
    return tag is not None and dictionary_has_tag(tag)


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


def save_object(dataset: Dataset, kind: str, output: Path) -> Path:
    """Write an object under its kind and UID; one that is there already keeps the moment at which it was made.

    Raises:
        ImageError: it cannot be written, or is there with other content.
    """
    target = output / object_name(dataset, kind)
    if not target.exists():  # the pixels of a volume are not held twice, in the object and in its file's bytes
        with writing(target.name, ImageError):
            make_folder(target.parent)
            with stage(WRITE), whole(target) as temporary:
                _save(dataset, temporary)
        return target
    data = encoded(dataset)
    if target.read_bytes() != data and (before := when_made(target)) is not None:
        say_when_made(dataset, before)  # the same object again is no other because it is made later
        data = encoded(dataset)
    return save_bytes(data, target)


def object_name(dataset: Dataset, kind: str) -> str:
    """Return the name of an object's file."""
    return f"{kind}_{dataset.SOPInstanceUID}.dcm"


def encoded(dataset: Dataset) -> bytes:
    """Return an object as the bytes of its file.

    Raises:
        ImageError: an element that it inherits cannot be encoded.
    """
    stream = BytesIO()
    _save(dataset, stream)
    return stream.getvalue()


def _save(dataset: Dataset, place: BytesIO | Path) -> None:
    from cfcam.imaging.reading.dicom_object import broken

    full: OSError | None = None
    with broken("the sources", "an element that the objects inherit cannot be encoded"):
        try:
            dataset.save_as(place, enforce_file_format=True)
        except OSError as error:  # of the disk, not of an element
            full = error
    if full is not None:
        raise full


def save_bytes(data: bytes, target: Path) -> Path:
    """Write a file whole or not at all; the same bytes under the same name are left as they are.

    Raises:
        ImageError: it cannot be written, or is there with other content.
    """
    with writing(target.name, ImageError):
        if target.exists() and not holds(target, data):
            raise ImageError(
                f"{target.name}: is there already, with other content under the same UID (a map that was computed"
                " elsewhere?); remove it, or name another folder"
            )
        return save(target, data, ImageError)
