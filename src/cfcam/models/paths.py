"""Questions about paths that a user typed: anything may come, also what no file system takes."""

from pathlib import Path


def is_file(path: Path) -> bool:
    """Tell whether there is such a file; of a name that is too long or not allowed, False."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Tell whether there is such a folder; of a name that is too long or not allowed, False."""
    try:
        return path.is_dir()
    except OSError:
        return False
