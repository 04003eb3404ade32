"""Which pictures and volumes a run takes, and where under the output folder their files go."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from cfcam.errors import ImageError, without_name
from cfcam.imaging.reading.channels import first_channel
from cfcam.imaging.reading.elsewhere import Elsewhere
from cfcam.imaging.reading.files import NIFTI_EXTENSIONS, is_nifti, shown_path
from cfcam.imaging.reading.listing import listed
from cfcam.imaging.reading.series import has_several_planes, scan_folder
from cfcam.jobs.inputs.lists import entries_in, is_list
from cfcam.jobs.inputs.objects import Address
from cfcam.jobs.inputs.places import given, lying, mirrored, root_of
from cfcam.jobs.inputs.tars import NOT_THERE, missing


class Kind(StrEnum):
    """What an input is."""

    PICTURE = "picture"
    VOLUME = "volume"


@dataclass(frozen=True)
class Input:
    """A picture or volume of a run.

    Attributes:
        path: the file, as it is shown; of a DICOM series its folder.
        folder: the sub-folder of the output folder that mirrors the input's place.
        kind: picture or volume.
        label: what it is called wherever somebody may read it, in place of a path that may name a patient; None: its
            path.
        problem: why it cannot be read, if that is known already.
    """

    path: Path
    folder: PurePosixPath = field(default_factory=PurePosixPath)
    kind: Kind = Kind.PICTURE
    label: str | None = None
    problem: str | None = None

    @property
    def shown(self) -> Path:
        """What it is called: its label, else its path."""
        return self.path if self.label is None else Path(self.label)

    @property
    def key(self) -> str:
        """How the manifest knows it: its label, else its absolute path."""
        if self.label is not None:
            return self.label
        return str(self.absolute) if isinstance(self.path, Elsewhere) else os.path.abspath(self.path)  # noqa: PTH100

    @property
    def absolute(self) -> Path:
        """The absolute path."""
        return absolute(self.path)


def absolute(path: Path) -> Path:
    """Returns a path from the root; Path.resolve would follow a link to the picture."""
    return path.everywhere if isinstance(path, Elsewhere) else Path(os.path.abspath(path))  # noqa: PTH100


def find_inputs(
    paths: Iterable[str | os.PathLike[str]], *, output: str | os.PathLike[str], recursive: bool = False
) -> list[Input]:
    """Expands files, folders and globs to pictures and volumes.

    A NIfTI file is a volume, and so is a DICOM file with frames that have places. A folder with two or more DICOM
    slices of one series is one volume; single DICOM pictures in it stay pictures, as do slices that are named one by
    one. What lies in the output folder is passed over where a folder above it is searched, so that a second run does
    not explain the pictures of the first.

    Args:
        paths: files, folders and globs; lists of files, see `cfcam.jobs.inputs.lists`; tars, see
            `cfcam.jobs.inputs.tars`, and URLs of object stores, see `cfcam.jobs.inputs.objects`.
        output: the folder that the run will write into.
        recursive: search the sub-folders of folders too.

    Returns:
        Each input once, in the order of ``paths``; of one path the volumes before the pictures.

    Raises:
        ImageError: a path does not exist, or there is nothing to explain in a folder; of a list only where that is so
            of all that it names, as one of them alone becomes an input with a `problem`.
        MissingExtraError: there are DICOM files, and pydicom is not installed.
    """
    found = find_places(paths, output, recursive)
    return [Input(one.parent / one.name, one.folder, one.kind, problem=one.problem) for one in found]


class Place(NamedTuple):
    """Where an input lies: the fields of an `Input`, its path in two parts."""

    parent: Path
    name: str
    folder: PurePosixPath
    kind: Kind
    problem: str | None = None


def find_places(
    paths: Iterable[str | os.PathLike[str]], output: str | os.PathLike[str], recursive: bool
) -> Iterator[Place]:
    """Yields where the inputs lie that `find_inputs` returns."""
    out = Path(output).resolve()
    found: dict[Path, dict[str, Place]] = {}
    order: list[Place] = []
    for path in map(given, paths):
        if not is_list(path):
            _enter(path, _root(path), out, recursive, found, order)
            continue
        entries, failed = entries_in(path), 0
        gone = missing(one for _, one in entries)
        for where, one in entries:
            try:
                if one in gone:
                    raise ImageError(f"{shown_path(one)}: {NOT_THERE}")
                _enter(one, path.parent, out, recursive, found, order)
            except ImageError as error:
                if isinstance(one, Address) and error.__cause__ is not None:  # a store that is away would be for each
                    raise
                failed += 1
                if failed == len(entries):
                    few = f"none of its {failed} inputs is there; the last: " if failed > 1 else ""
                    raise ImageError(f"{path}: {few}{error} ({where})") from error
                problem = without_name(error, one)
                _miss(one, path.parent, f"{problem} ({where} of {path.name})", found, order)
    yield from order


def _miss(path: Path, root: Path, problem: str, found: dict[Path, dict[str, Place]], order: list[Place]) -> None:
    """Enters what a list names and is not there: one input that fails."""
    names = found.setdefault(absolute(path.parent), {})
    if path.name not in names:
        kind = Kind.VOLUME if is_nifti(path) else Kind.PICTURE
        names[path.name] = place = Place(path.parent, path.name, mirrored(path.parent, root), kind, problem)
        order.append(place)


def _enter(
    path: Path,
    root: Path,
    out: Path,
    recursive: bool,
    found: dict[Path, dict[str, Place]],
    order: list[Place],
) -> None:
    """Enters the inputs that a path stands for, each once."""
    if (elsewhere := lying(path, root, recursive=recursive)) is not None:
        for above, name, folder in elsewhere:
            if name not in (names := found.setdefault(above.everywhere, {})):
                names[name] = place = Place(above, name, folder, Kind.PICTURE)
                order.append(place)
        return
    parents: dict[Path, tuple[Path, PurePosixPath, bool]] = {}  # a hundred thousand files lie in few folders
    outside = root.resolve() not in out.parents
    volumes, slices = _volumes(path, recursive=recursive)
    for parent, name, kind in (
        *((volume.parent, volume.name, Kind.VOLUME) for volume in volumes),
        *((*picture, Kind.PICTURE) for picture in _pictures(path, recursive=recursive, alone=not volumes)),
    ):
        if (of := parents.get(parent)) is None:
            real = parent.resolve()
            inside = not outside and (out == real or out in real.parents)
            of = parents[parent] = real, mirrored(parent, root), inside
        real, folder, inside = of
        if inside or (kind is Kind.PICTURE and slices and real / name in slices):
            continue
        names = found.setdefault(real, {})
        if name not in names:
            names[name] = place = Place(parent, name, folder, kind)
            order.append(place)


def find_study(path: str | os.PathLike[str]) -> Input:
    """Returns the one picture or volume that a path stands for.

    Raises:
        ImageError: there is no such file, or several pictures and volumes in the folder.
        MissingExtraError: it is DICOM, and pydicom is not installed.
    """
    found = find_inputs([path], output=os.devnull)  # nothing is written, so nothing is passed over
    if len(found) != 1:
        raise ImageError(f"{os.fspath(path)}: holds {len(found)} pictures and volumes: give one of them")
    return found[0]


def first_channels(inputs: Sequence[Input], endings: Sequence[str]) -> Sequence[Input]:
    """Returns the inputs without the further channels of those whose first one is among them.

    Args:
        inputs: of which some may be the files of one study's channels.
        endings: how their names end, see `cfcam.imaging.reading.channels.channel_files`.
    """
    if len(endings) < 2:
        return inputs
    named = {one.key for one in inputs if one.kind is Kind.VOLUME}
    return [
        one
        for one in inputs
        if one.kind is not Kind.VOLUME
        or (first := first_channel(one.path, endings)) is None
        or replace(one, path=first, label=None).key not in named
    ]


def _pictures(path: Path, *, recursive: bool, alone: bool) -> list[tuple[Path, str]]:
    if path.is_file() and is_nifti(path):
        return []
    try:
        return listed(path, recursive=recursive)
    except ImageError:
        if alone or (not path.exists() and not glob.has_magic(str(path))):
            raise
        return []


def _volumes(path: Path, *, recursive: bool) -> tuple[list[Path], set[Path]]:
    """The volumes that a path stands for, and the files (resolved) that are no pictures for that reason."""
    volumes: list[Path] = []
    slices: set[Path] = set()
    for place in _places(path, recursive=recursive):
        if place.is_file():
            if is_nifti(place) or has_several_planes(place):
                volumes.append(place)
                slices.add(place.parent.resolve() / place.name)
            continue
        series = scan_folder(place).series
        files = [file for one in series for file in one.files]
        if any(len(one.files) > 1 for one in series):
            volumes.append(place)
            slices |= {place.resolve() / file.name for file in files}
        else:
            frames = [one.files[0] for one in series if len(one.planes) > 1]
            volumes += dict.fromkeys(frames)
            slices |= {place.resolve() / file.name for file in frames}
        volumes += sorted(filter(Path.is_file, (place / name for name in os.listdir(place) if _is_visible_nifti(name))))  # noqa: PTH208 (slow)
    return volumes, slices


def _places(path: Path, *, recursive: bool) -> Iterator[Path]:
    """The files and folders to look at for volumes."""
    named = [path] if path.exists() else sorted(filter(Path.exists, map(Path, glob.glob(str(path), recursive=True))))  # noqa: PTH207 (Path.glob takes no absolute pattern)
    for place in named:
        yield place
        if place.is_dir() and recursive:
            for folder, folders, _ in os.walk(place):
                folders[:] = sorted(name for name in folders if not name.startswith("."))
                yield from (Path(folder, name) for name in folders)


def _is_visible_nifti(name: str) -> bool:
    return name.lower().endswith(NIFTI_EXTENSIONS) and not name.startswith(".")


def _root(path: Path) -> Path:
    """The folder below which sub-folders are mirrored: the one named, or what stands before a glob's first wildcard."""
    if isinstance(path, Address):
        return root_of(path)
    if path.is_dir():
        return path
    if path.exists() or not glob.has_magic(str(path)):
        return path.parent
    parts = path.parts
    plain = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[: min(plain, len(parts) - 1)])
