"""Files that are there whole or not at all, and the templates that fill them."""

from __future__ import annotations

import secrets
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from cfcam.errors import InputError

if TYPE_CHECKING:
    from jinja2 import Environment


def save(data: bytes, target: Path) -> Path:
    """Writes a file under a temporary name and renames it; a file with the same bytes is left as it is.

    Args:
        data: the content.
        target: the file; its folder is made if missing, an older one is replaced.

    Raises:
        InputError: it cannot be written.
    """
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_file() and target.read_bytes() == data:
            return target
        try:
            temporary.write_bytes(data)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{target.name}: cannot be written ({error.strerror}); check the folder, its permissions and the disk"
        ) from error
    return target


@cache
def templates() -> Environment:
    """Returns the templates of this package: everything that is filled in is escaped, nothing may be left undefined."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("cfcam.clinical.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


@cache
def text_of(name: str) -> str:
    """Returns a file beside the templates, such as a style sheet, as text."""
    return files("cfcam.clinical.report").joinpath("templates", name).read_text(encoding="utf-8")
