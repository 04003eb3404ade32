"""What the paths that were given hold: pictures, volumes, saved explanations, folders that ``cfcam explain`` wrote."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cfcam.errors import CfcamError, ImageError, describe, without_name
from cfcam.imaging.image import Image
from cfcam.imaging.reading.dicom_object import HEAD
from cfcam.imaging.reading.files import error_text, is_nifti, shown_path
from cfcam.imaging.reading.kinds import is_dicom_data, recognise
from cfcam.imaging.reading.listing import EXTENSIONS
from cfcam.imaging.volume import Volume
from cfcam.jobs.inputs.find import Input, Kind, find_inputs, find_study, first_channels
from cfcam.jobs.inputs.privacy import neutral, renamed, with_labels, without_channel_names
from cfcam.web.library.cache import Cache
from cfcam.web.library.header import header_of
from cfcam.web.library.runs import Entry, entries_of_explanation, entries_of_run, is_explanation, is_run
from cfcam.web.library.study import Said, Study
from cfcam.web.settings import ViewSettings


def studies_in(settings: ViewSettings, cache: Cache) -> Iterator[Study]:
    """Yields the studies in the paths of the settings; of what a run explained, with its maps.

    Raises:
        ImageError: a path is not there, or there is nothing in it.
    """
    if settings.channels:
        first = replace(find_study(settings.channels[0]), kind=Kind.VOLUME)
        yield study_of(with_labels([first])[0], settings, cache)
        return
    runs = [path for path in settings.paths if is_run(path)]
    saved = [path for path in settings.paths if path not in runs and is_explanation(path)]
    others = [path for path in settings.paths if path not in (*runs, *saved)]
    for path in others:
        _check_kind(path)
    inputs = find_inputs(others, output=os.devnull, recursive=settings.recursive) if others else []
    given = {source.key: source for source in with_labels(first_channels(inputs, settings.endings))}
    for entry in _entries(runs, saved, given):
        if entry.source is not None:
            given.pop(entry.source.key, None)
        yield _study_of_entry(entry, settings, cache)
    for source in given.values():
        yield study_of(source, settings, cache)


def _check_kind(path: Path) -> None:
    """Refuses a file that was named and is neither picture nor volume; of one called like a picture reading tells."""
    if path.suffix.lower() in EXTENSIONS or is_nifti(path) or not path.is_file():
        return
    try:
        with path.open("rb") as stream:
            start = stream.read(HEAD)
    except OSError as error:
        raise ImageError(f"{shown_path(path)}: cannot be read ({error_text(error)}); check its permissions") from error
    if not is_dicom_data(start, path):
        try:
            recognise(start, shown_path(path))
        except ImageError as error:
            raise ImageError(f"{error}, DICOM, NIfTI and what cfcam explain wrote") from error


def _entries(runs: list[Path], saved: list[Path], given: Mapping[str, Input]) -> Iterator[Entry]:
    pictures = list(given.values())
    for folder in runs:
        try:
            yield from entries_of_run(folder, dict(given))
        except OSError as error:
            raise ImageError(f"{folder.name}: its manifest cannot be read; check its permissions") from error
    for folder in saved:
        yield from entries_of_explanation(folder, pictures if len(saved) == 1 else [])


def _study_of_entry(entry: Entry, settings: ViewSettings, cache: Cache) -> Study:
    source = entry.source
    volume = source.kind is Kind.VOLUME if source is not None else entry.volume
    return Study(
        entry.place,
        entry.name,
        "volume" if volume else "picture",
        entry.blank if source is None else (lambda: read(source, settings)),
        cache,
        said=lambda: entry.said() if source is None else replace(entry.said(), **header_of(source)),
        maps=entry.maps,
        count=entry.count,
        keep=settings.load is not None,
        given=source,
    )


def study_of(source: Input, settings: ViewSettings, cache: Cache, *, place: str = "") -> Study:
    """Returns an input as a study; one that is DICOM under its neutral name.

    Args:
        source: the input.
        settings: of the viewer.
        cache: what is read is kept there.
        place: what its id is made of; "": where it lies in what was opened, or its neutral name.
    """
    name = name_of(source)
    place = place or source.label or f"{source.folder}/{source.path.name}"
    folder = None if source.label or not source.folder.name else source.folder.name
    return Study(
        place,
        name,
        "volume" if source.kind is Kind.VOLUME else "picture",
        lambda: read(source, settings),
        cache,
        said=lambda: Said(label=folder, **header_of(source)),
        keep=settings.load is not None,
        given=source,
    )


def name_of(source: Input) -> str:
    """Returns what an input is called: its neutral name, or its place in the folder that was opened."""
    return source.label or (source.folder / source.path.name).as_posix()


def read(source: Input, settings: ViewSettings) -> Image | Volume:
    """Reads an input.

    Raises:
        ImageError: it cannot be read; the message calls it by the name that it has in the list.
    """
    name = name_of(source)
    try:
        return renamed(_read(source, settings), source)
    except CfcamError as error:
        line = without_name(neutral(str(error), source), source.path).replace(str(source.path), name)
        raise ImageError(f"{name}: {without_name(line, name)}") from error
    except MemoryError as error:
        raise ImageError(f"{name}: there is not enough memory to read it: make it smaller") from error
    except Exception as error:  # a decoder may raise anything
        told = type(error).__name__ if source.label else describe(error).replace(str(source.path), name)
        raise ImageError(f"{name}: cannot be read ({told}); export it again") from error


def _read(source: Input, settings: ViewSettings) -> Image | Volume:
    if source.kind is Kind.PICTURE:
        from cfcam.imaging.reading.pictures import read_image

        return read_image(source.path, max_pixels=settings.max_pixels, window=settings.window)
    from cfcam.imaging.reading.channels import channel_files, read_channels
    from cfcam.imaging.reading.volumes import read_volume

    first = settings.endings[0] if len(settings.endings) > 1 else ""
    files = settings.channels
    if first and source.path.name.partition(".nii")[0].endswith(
        first
    ):  # another is shown, and explaining it says why not
        files = channel_files(source.path, settings.endings, settings.names)
    if len(files) > 1:
        names = settings.names if len(settings.names) == len(files) else ()
        how: Any = {"time": settings.time, "max_voxels": settings.max_voxels}
        return without_channel_names(read_channels(files, names=names, **how))
    nifti = is_nifti(source.path)
    return read_volume(
        source.path,
        time=settings.time if nifti else None,
        channel=settings.channel if nifti else None,
        series=settings.series,
        irregular=settings.irregular,
        max_voxels=settings.max_voxels,
    )
