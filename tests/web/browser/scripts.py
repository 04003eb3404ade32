"""The page's scripts in a browser without a server: for the functions that know nothing of the page."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

import cfcam

SCRIPTS = Path(cfcam.__file__).parent / "web" / "static" / "js"

needs_browser = pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="playwright is not installed")


def bare_page(browser: Any, *names: str) -> Any:
    """An empty page that has some of the scripts."""
    page = browser.new_page()
    page.goto("about:blank")
    for name in names:
        page.add_script_tag(path=str(SCRIPTS / f"{name}.js"))
    return page
