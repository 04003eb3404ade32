"""The page."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from cfcam._version import __version__

router = APIRouter(include_in_schema=False)

_TEMPLATES = Path(__file__).parents[1] / "templates"


@cache
def _environment() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined)


def html() -> str:
    """Returns the page, with its scripts and styles at their addresses."""
    text: str = _environment().get_template("view.html.j2").render(version=__version__)
    return text


@router.get("/")
def page() -> HTMLResponse:
    """Sends the page."""
    return HTMLResponse(html())
