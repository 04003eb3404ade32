"""The page's scripts in a browser without a server: for the functions that know nothing of the page."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import cfcam
from tests.machine import chromium

SCRIPTS = Path(cfcam.__file__).parent / "web" / "static" / "js"
ARGUMENTS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]

needs_browser = pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="playwright is not installed")


@contextmanager
def chromium_browser() -> Iterator[Any]:
    """Debian's Chromium, drawing in software."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        yield browser
        browser.close()


def bare_page(browser: Any, *names: str) -> Any:
    """An empty page that has some of the scripts."""
    page = browser.new_page()
    page.goto("about:blank")
    for name in names:
        page.add_script_tag(path=str(SCRIPTS / f"{name}.js"))
    return page
