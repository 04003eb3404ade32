"""Inputs that are no files of their own: what lies in tars and in object stores, as one knows files and folders."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from glob import has_magic
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from cfcam.errors import InputError
from cfcam.imaging.reading.elsewhere import Elsewhere
from cfcam.jobs.inputs.names import safe
from cfcam.jobs.inputs.objects import Address, address, objects_at
from cfcam.jobs.inputs.tars import Member, member, pictures_in, tars


class Lying(NamedTuple):
    """A picture that lies elsewhere.

    Attributes:
        parent: what it lies in.
        name: its name there.
        folder: the sub-folder of the output folder that mirrors its place.
    """

    parent: Elsewhere
    name: str
    folder: PurePosixPath


def given(text: str | os.PathLike[str]) -> Path:
    """Returns what a user names as an input: a URL and a path into a tar as such, anything else as a path.

    Raises:
        InputError: a URL cannot be read from, or holds what may be a password.
        MissingExtraError: the library is not installed that reads it.
    """
    if isinstance(text, Elsewhere):
        return text
    if (found := address(str(text))) is not None:
        return found
    path = Path(text)
    return member(path) or path


def below(folder: Path, text: str) -> Path:
    """Returns what a list names, by the folder that the list lies in; see `given`."""
    if "://" in text:
        return given(text)
    return given(f"{folder}/{text}") if isinstance(folder, Address) else given(folder / text)


def lying(path: Path, root: Path, *, recursive: bool) -> Iterator[Lying] | None:
    """Returns the pictures that a path into a tar, of tars, or of an object store stands for; None of any other path.

    Args:
        path: from `given`.
        root: what is named, or the folder of the list that names it: places are mirrored from there.
        recursive: take what lies deeper in an object store.

    Raises:
        ImageError: there is none, or a tar or store cannot be read.
    """
    if isinstance(path, Address):
        return _placed(objects_at(path, recursive=recursive), root)
    if isinstance(path, Member):
        return _of_tar(path.parted[0], [path], root)
    if several := tars(path):
        return (one for tar in several for one in _of_tar(tar, pictures_in(tar), root))
    return None


def root_of(place: Address) -> Address:
    """Returns what stands before the first wildcard of an address."""
    parts = place.parts
    plain = next((n for n, part in enumerate(parts) if has_magic(part)), len(parts))
    return Address(*parts[:plain])


def mirrored(parent: Path, root: Path) -> PurePosixPath:
    """Returns the sub-folder of an output folder that mirrors where a folder lies below another; none elsewhere."""
    try:
        parts = parent.relative_to(root).parts
    except ValueError:
        return PurePosixPath()
    return PurePosixPath(*(safe(part, 120) or "folder" for part in parts if part != ".."))


def _of_tar(tar: Path, members: Iterable[Elsewhere], root: Path) -> Iterator[Lying]:
    """A tar is mirrored as a folder of its own, so that the pictures of several are told apart."""
    above = mirrored(tar.parent, root) / (safe(tar.name.partition(".")[0], 120) or "tar")
    whole = Member(tar)
    return (one._replace(folder=above / one.folder) for one in _placed(members, whole))


def _placed(pictures: Iterable[Elsewhere], root: Path) -> Iterator[Lying]:
    folders: dict[Elsewhere, tuple[Elsewhere, PurePosixPath]] = {}  # very many lie in few
    for one in pictures:
        parent = one.parent
        if (known := folders.get(parent)) is None:
            known = folders[parent] = parent, mirrored(parent, root)
        yield Lying(known[0], one.name, known[1])


def may_be_there(key: str) -> bool:
    """Tells whether an input of an earlier run, by its key, may still be there; no other machine is asked."""
    if "://" in key:
        return True
    path = Path(key)
    return path.exists() or member(path) is not None


def refuse_studies(paths: Iterable[Path]) -> None:
    """Refuses to make studies of what is no file: their objects, names and records refer to files.

    Raises:
        InputError: an input lies elsewhere.
    """
    for path in paths:
        if isinstance(path, Elsewhere):
            raise InputError(f"{path}: studies are made of files: unpack the tar, or copy the objects, first")
