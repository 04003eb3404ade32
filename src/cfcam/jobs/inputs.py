"""Which pictures a run takes, and where under the output folder their files go."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from cfcam.imaging import list_images
from cfcam.jobs.names import safe


@dataclass(frozen=True)
class Input:
    """A picture of a run.

    Attributes:
        path: the file, as it is shown.
        folder: the sub-folder of the output folder that mirrors the picture's place.
    """

    path: Path
    folder: PurePosixPath = field(default_factory=PurePosixPath)

    @property
    def absolute(self) -> Path:
        """The path as the manifest knows it."""
        return Path(os.path.abspath(self.path))  # noqa: PTH100 (Path.resolve would follow a link to the picture)


def find_inputs(
    paths: Iterable[str | os.PathLike[str]], *, output: str | os.PathLike[str], recursive: bool = False
) -> list[Input]:
    """Expands files, folders and globs to pictures.

    What lies in the output folder is passed over where a folder above it is searched, so that a second run
    does not explain the pictures of the first.

    Args:
        paths: files, folders and globs.
        output: the folder that the run will write into.
        recursive: search the sub-folders of folders too.

    Returns:
        Each picture once, in the order of ``paths``.

    Raises:
        ImageError: a path does not exist, or there is no picture in a folder.
    """
    out = Path(output).resolve()
    found: dict[Path, Input] = {}
    for path in map(Path, paths):
        root = _root(path)
        for file in list_images(path, recursive=recursive):
            parent = file.parent.resolve()
            inside = out == parent or out in parent.parents
            if inside and root.resolve() in out.parents:
                continue
            found.setdefault(parent / file.name, Input(file, _mirrored(file.parent, root)))
    return list(found.values())


def _root(path: Path) -> Path:
    """The folder below which sub-folders are mirrored: the one named, or what stands before a glob's first wildcard."""
    if path.is_dir():
        return path
    if path.exists() or not glob.has_magic(str(path)):
        return path.parent
    parts = path.parts
    plain = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[: min(plain, len(parts) - 1)])


def _mirrored(parent: Path, root: Path) -> PurePosixPath:
    try:
        parts = parent.relative_to(root).parts
    except ValueError:
        return PurePosixPath()
    return PurePosixPath(*(safe(part, 120) or "folder" for part in parts if part != ".."))
