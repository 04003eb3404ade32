"""What is wrong with files and folders that were named, before anything heavy is imported."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from cfcam import json_text
from cfcam.errors import ImageError, InputError
from cfcam.models.spec import is_file, is_folder
from cfcam.shown import absence
from cfcam.urls import shown_url

_TABLES = (".csv", ".tsv")
_LABELS = re.compile(r"(.+)#\d+(?:,\d+)*")  # as cfcam.jobs.inputs.masks reads them
_PACK = "MANIFEST.sha256"
_SQLITE = b"SQLite format 3\0"

STDOUT = "-"
"""What may stand behind ``--json``: it goes there in any case."""


def anywhere(paths: Iterable[str | os.PathLike[str]]) -> None:
    """Refuses what is not there, in tars too, and URLs that cannot be read from; no object store is asked."""
    inputs(Path(path) for path in paths if os.fspath(path) != STDOUT and not _elsewhere(os.fspath(path)))


def stdout(paths: Iterable[str] | None, as_json: bool) -> None:
    """Refuses "-", which stands for stdout behind --json, where nothing is to go there."""
    if STDOUT in (paths or ()) and not as_json:
        raise InputError(f"{STDOUT}: pictures are not read from a pipe; name files or folders")


def inputs(paths: Iterable[Path]) -> None:
    """Refuses files and folders that are not there, and patterns that match none."""
    for path in paths:
        try:
            there = path.exists() or _matches(str(path))
        except (OSError, ValueError):  # too long for a file system, or no path at all, which the reader will say
            there = True
        if not there:
            what = (
                "the pattern matches no file; check it"
                if glob.has_magic(str(path))
                else absence(path, "file or folder")
            )
            raise ImageError(f"{path}: {what}" + ("" if what.endswith("it") else "; check the path"))


def input_(path: Path) -> None:
    """Refuses a file or folder that is not there, and a pattern that matches none."""
    inputs([path])


def data(path: str) -> None:
    """Refuses data to measure on that is not there."""
    if path != "demo" and not (is_file(Path(path)) or is_folder(Path(path))):
        raise ImageError(f"{path}: no such file or folder; give a folder of pictures or a CSV file")


def data_anywhere(path: str) -> None:
    """Refuses data to measure on that is not there, in tars too; no object store is asked."""
    if not _elsewhere(path):
        data(path)


def labels(given: str) -> None:
    """Refuses labels that are neither a file that is there nor the names of folders."""
    if given == "folders":
        return
    if not given.strip():
        raise InputError(f"--labels {given!r}: give a CSV file, or folders")
    if is_folder(Path(given)):
        raise InputError(
            f"--labels {given}: is a folder; give a CSV file, or --labels folders to take folders as classes"
        )
    file("--labels")(given)


def file(option: str) -> Callable[[Path | str], None]:
    """Returns a check that a file is there."""

    def check(path: Path | str) -> None:
        if not is_file(Path(path).expanduser()):
            what = "is a folder; give a file" if is_folder(Path(path).expanduser()) else "no such file; check the path"
            raise InputError(f"{option} {path}: {what}".strip())

    return check


def fields(option: str) -> Callable[[Path], None]:
    """Returns a check that a file is there and, if it is not YAML, that it is JSON."""

    def check(path: Path) -> None:
        file(option)(path)
        if path.suffix.lower() in (".yaml", ".yml"):
            return
        json_text.read(path, shown=f"{option} {path}", then="correct it, or name it .yaml")

    return check


def masks(option: str) -> Callable[[str], None]:
    """Returns a check that there is any mask where masks are said to be; see `cfcam.jobs.inputs.masks.RegionMasks`."""

    def check(given: str) -> None:
        if not given.strip():
            raise InputError(f"{option} {given!r}: give a mask, a folder, masks/{{stem}}.png or a CSV file of boxes")
        whole = is_file(Path(given)) or is_folder(Path(given))
        labelled = None if whole else _LABELS.fullmatch(given)
        where = given if labelled is None else labelled[1]
        if "{stem}" in where:
            if not _matches(where.replace("{stem}", "*")):
                raise InputError(f"{option} {given}: the pattern matches no file, whatever the picture; check it")
        elif Path(where).suffix.lower() in _TABLES:
            file(option)(where)
        elif not (whole or is_file(Path(where)) or is_folder(Path(where))):
            raise InputError(f"{option} {given}: no such file or folder; check the path")

    return check


def named_masks(option: str, due: str = "MASKS") -> Callable[[Iterable[str]], None]:
    """Returns a check of ``NAME=MASKS`` texts: each name once, and masks where they are said to be."""

    def check(texts: Iterable[str]) -> None:
        names = set()
        for text in texts:
            name, _, where = (part.strip() for part in text.partition("="))
            if not (name and where) or name in names:
                raise InputError(f"{option} {text!r}: give NAME={due}, each name once")
            names.add(name)
            masks(f"{option} {name}:")(where)

    return check


def folder(path: Path) -> None:
    """Refuses a folder to write into that is a file, or lies in one."""
    _writable(path, "--output folder")


def store(path: Path) -> None:
    """Refuses a store to write that is a file, or lies in one."""
    _writable(path, "--store")


def _writable(path: Path, option: str) -> None:
    for place in (path, *path.parents):
        if is_file(place):
            raise InputError(f"{path}: cannot be written into, for {place} is a file: choose another {option}")


def new_file(option: str) -> Callable[[Path], None]:
    """Returns a check that a file can be written, or lies, where it is said to be."""

    def check(path: Path) -> None:
        if is_folder(path):
            raise InputError(f"{option} {path}: is a folder; give a file")
        for place in path.parents:
            if is_file(place):
                raise InputError(f"{option} {path}: {place} is a file; choose another place")

    return check


def picture(path: Path) -> None:
    """Refuses a picture to draw that cannot be one: the folder has to be there, and the name ends in .png."""
    if path.suffix.lower() != ".png":
        raise InputError(f"--picture {path}: pictures are written as PNG, without loss; let the name end in .png")
    new_file("--picture")(path)
    if not is_folder(path.parent):
        raise InputError(f"--picture {path}: there is no folder {path.parent}; make it first")


def pack(path: Path) -> None:
    """Refuses what is no evidence pack."""
    if not is_file(path / _PACK):
        raise InputError(f"{path}: has no {_PACK}; give a folder made by cfcam evidence that was finished")


def source(path: Path) -> None:
    """Refuses what is to be de-identified and is not there; its name is not repeated, which may be a patient's."""
    if not (is_file(path) or is_folder(path)):
        raise ImageError("the folder to de-identify does not exist; check its path")


def key(path: Path) -> None:
    """Refuses a key that can be neither read nor made."""
    new_file("--key")(path)
    if not is_folder(path.parent):
        raise InputError(f"--key {path}: there is no folder {path.parent}; make it first")


def audit(where: str) -> None:
    """Refuses a place that no audit can be in; its folder may be the output's, which is not made yet."""
    from cfcam.clinical.audit.database import check_place

    check_place(where, folder=False)


def record(where: str) -> None:
    """Refuses a place that no audit can be in, or in which there is something else."""
    from cfcam.clinical.audit.database import check_place

    url = check_place(where)
    path, told = Path(str(url.database)), f"--record {shown_url(where)}"
    if url.get_backend_name() != "sqlite" or not path.is_file():
        return
    try:
        with path.open("rb") as stream:
            start = stream.read(len(_SQLITE))
    except OSError as error:
        raise InputError(f"{told}: cannot be read ({error.strerror}); check its permissions") from error
    if start not in (_SQLITE, b""):
        raise InputError(f"{told}: is no audit; give one, or the name of a file that is not there yet")


def audit_folder(record: str | None, output: Path | None) -> None:
    """Refuses an audit in a folder that is neither there nor the one that the command makes."""
    if record is None:
        return
    from cfcam.clinical.audit.database import check_place

    url = check_place(record, folder=False)
    parent = Path(str(url.database)).absolute().parent
    if output is None or parent != output.absolute():
        check_place(record)


def _elsewhere(text: str) -> bool:
    if "://" not in text and not re.search(r"\.(tar|tgz)", text, re.IGNORECASE):
        return False
    from cfcam.imaging.reading.elsewhere import Elsewhere  # numpy comes with them
    from cfcam.jobs.inputs.places import given
    from cfcam.jobs.inputs.tars import tars

    place = given(text)
    return isinstance(place, Elsewhere) or bool(tars(place))


def _matches(pattern: str) -> bool:
    return glob.has_magic(pattern) and next(glob.iglob(pattern, recursive=True), None) is not None  # noqa: PTH207 (an absolute pattern)


def sources(paths: Sequence[str] | None, default: Path) -> list[Path]:
    """Returns what inputs are found in: what was named, else a folder.

    Raises:
        InputError: nothing is named, and there is no such folder.
    """
    if named := [path for path in paths or () if path != STDOUT]:
        from cfcam.jobs.inputs.places import given

        return [given(path) for path in named]
    if not default.is_dir():
        raise InputError(
            f"no pictures are named, and there is no folder {default}/ here: give files or folders, or try cfcam demo"
        )
    return [default]
