"""Which files are pictures: of folders, patterns and lists, in the order that people count in."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from cfcam.errors import CfcamError, ImageError
from cfcam.imaging.reading.dicom_object import parsed
from cfcam.imaging.reading.files import PathLike, error_text, shown_path
from cfcam.imaging.reading.kinds import is_dicom_file
from cfcam.shown import DEEPER, absence

EXTENSIONS: tuple[str, ...] = (
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp", ".dib", ".webp", ".gif",
    ".dcm", ".dicom", ".ima",
)  # fmt: skip
"""File name endings (lower case) that `list_images` takes for pictures inside a folder."""


def list_images(paths: PathLike | Iterable[PathLike], *, recursive: bool = False) -> list[Path]:
    """Expand files, folders and globs to a list of picture files.

    A file named explicitly is always taken, whatever it is called; from folders and globs come the files
    with one of the `EXTENSIONS` (in any case), and DICOM pictures under any other name. Hidden files and
    folders (`.name`) are passed over unless named explicitly, and links to folders are not followed inside
    a folder.

    Args:
        paths: a path or several; a glob (`scans/*.png`, `scans/**/*.png`) is expanded if no file has that
            very name.
        recursive: take the subfolders of folders too.

    Returns:
        Each file once, in natural order (`scan2` before `scan10`), folder by folder.

    Raises:
        ImageError: a path does not exist or may not be read, a glob matches nothing, a folder holds no
            picture.
    """
    return [folder / name for folder, name in listed(paths, recursive=recursive)]


def listed(paths: PathLike | Iterable[PathLike], *, recursive: bool = False) -> list[tuple[Path, str]]:
    """Returns folder and name of each file that `list_images` would: a hundred thousand paths take seconds to make."""
    several = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    found: dict[Path, dict[str, Path]] = {}  # the folder as it is -> name -> the folder as it is called
    folders: dict[Path, dict[str, Path]] = {}
    for path in several:
        for folder, name in _expand(path, recursive):
            if (names := folders.get(folder)) is None:
                names = folders[folder] = found.setdefault(folder.resolve(), {})
            names.setdefault(name, folder)
    return _naturally((folder, name) for names in found.values() for name, folder in names.items())


def _expand(path: PathLike, recursive: bool) -> Iterator[tuple[Path, str]]:
    where = shown_path(path)
    try:
        kind = Path(path).stat().st_mode
    except FileNotFoundError as error:
        if not glob.has_magic(os.fspath(path)):
            raise ImageError(f"{where}: {absence(path, 'file or folder')}; check the path") from error
        yield from _expand_glob(os.fspath(path), where, recursive)
        return
    except (OSError, ValueError) as error:
        raise ImageError(
            f"{where}: cannot be read ({error_text(error)}); check the path and its permissions"
        ) from error
    if not stat.S_ISDIR(kind):
        yield Path(path).parent, Path(path).name
        return
    pictures = list(_walk(Path(path), recursive))
    if not pictures:
        deeper = "" if recursive else f", or take its subfolders too ({DEEPER})"
        raise ImageError(f"{where}: the folder holds no picture; name one with {_shown_extensions()}{deeper}")
    yield from pictures


def _expand_glob(pattern: str, where: str, recursive: bool) -> Iterator[tuple[Path, str]]:
    matches = [Path(match) for match in glob.glob(pattern, recursive=True)]  # noqa: PTH207 (Path.glob takes no absolute pattern)
    pictures: list[tuple[Path, str]] = []
    for match in matches:
        if not match.is_dir():
            pictures += [(match.parent, match.name)] if _may_be_picture(match.parent, match.name) else []
        elif "**" not in Path(pattern).parts:
            pictures += _walk(match, recursive)
    if not pictures:
        found = f"no picture, only other files (pictures end in {_shown_extensions()})" if matches else "no file"
        raise ImageError(f"{where}: the pattern matches {found}; check it")
    yield from pictures


def _walk(folder: Path, recursive: bool) -> Iterator[tuple[Path, str]]:
    def complain(error: OSError) -> None:
        raise ImageError(
            f"{shown_path(error.filename or folder)}: the folder may not be listed ({error.strerror}); check its"
            " permissions"
        ) from error

    for root, folders, files in os.walk(folder, onerror=complain):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        folder = Path(root)
        yield from ((folder, name) for name in files if not name.startswith(".") and _may_be_picture(folder, name))


def _may_be_picture(folder: Path, name: str) -> bool:
    """Whether a file found in a folder is taken: by its name, or as DICOM with pixels, which often has no extension."""
    if os.path.splitext(name)[1].lower() in EXTENSIONS:  # noqa: PTH122 (a path for each of a hundred thousand is slow)
        return True
    path = folder / name
    try:
        if path.name == "DICOMDIR" or not path.is_file() or not is_dicom_file(path):
            return False
        with parsed(path, shown_path(path), pixels=False) as dataset:
            return bool(dataset.get("Rows"))
    except OSError:
        return False
    except CfcamError:
        return True  # reading it will say what is wrong, or missing


def _shown_extensions() -> str:
    return ", ".join(EXTENSIONS)


def _naturally(files: Iterable[tuple[Path, str]]) -> list[tuple[Path, str]]:
    folders: dict[Path, tuple[list[str], str]] = {}  # many files lie in few folders

    def key(file: tuple[Path, str]) -> tuple[list[str], str]:
        folder, name = file
        if (of := folders.get(folder)) is None:
            of = folders[folder] = [_counted(part) for part in folder.parts], str(folder / "x")[:-1]
        return [*of[0], _counted(name)], of[1] + name

    return sorted(files, key=key)


def _counted(name: str) -> str:
    """Returns a text that sorts as people count: numbers by their value, before all that is no number."""
    return _DIGITS.sub(_number, name.casefold())


def _number(digits: re.Match[str]) -> str:
    value = digits[0].lstrip("0")
    return f"\0{chr(len(value))}{value}"  # no name holds a NUL; the longer number is the larger one


_DIGITS = re.compile(r"[0-9]+")
