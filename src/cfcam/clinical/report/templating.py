"""The templates that reports are made of, and what lies beside them."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


@cache
def templates() -> Environment:
    """Returns the templates of this package: everything that is filled in is escaped, nothing may be left undefined."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


@cache
def text_of(name: str) -> str:
    """Returns a file beside the templates, such as a style sheet, as text."""
    return files(__package__).joinpath("templates", name).read_text(encoding="utf-8")
