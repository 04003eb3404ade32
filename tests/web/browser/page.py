"""A page of the viewer in a real browser, which must ask nobody but its own server and complain of nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from tests import waiting
from tests.machine import chromium

WITHOUT_WEBGL = ("--no-sandbox", "--disable-gpu")
"""No graphics card and no WebGL: the planes need neither."""
DRAWN_IN_SOFTWARE = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
"""WebGL without a graphics card, which 3-D needs."""


@contextmanager
def launched(arguments: Sequence[str] = WITHOUT_WEBGL) -> Iterator[Any]:
    """A Chromium on a machine without a graphics card."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(arguments))
        try:
            yield browser
        finally:
            browser.close()


def grave(message: Any) -> bool:
    """Whether a message of the console is a complaint; that tests read canvases back is none of the page's doing."""
    return message.type in ("error", "warning") and "willReadFrequently" not in message.text


@contextmanager
def opened(browser: Any, address: str, *, width: int = 1280, height: int = 720, **more: Any) -> Iterator[Any]:
    """A page at an address, once it has painted its first original.

    Raises:
        AssertionError: at the end, if it asked another server for something, or its console holds a complaint.
    """
    context = browser.new_context(viewport={"width": width, "height": height}, **more)
    complaints: list[str] = []
    own = urlsplit(address).netloc

    def asked(request: Any) -> None:
        place = urlsplit(request.url)
        if place.scheme not in ("data", "blob") and place.netloc != own:
            complaints.append(request.url)

    page = context.new_page()
    page.set_default_timeout(1000 * waiting.PATIENCE)
    page.on("request", asked)
    page.on("console", lambda message: complaints.append(message.text) if grave(message) else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(address)
    # Not wait_for_function: it evaluates a text, which the page's policy forbids.
    page.wait_for_selector("html[data-ready='1']", state="attached")
    yield page
    context.close()
    assert not complaints, complaints


def still(page: Any) -> None:
    """Waits until the screen has been drawn with the room that it has now.

    A panel that opens takes room from the picture; what is told of its new size is drawn in the frame after.
    """
    page.evaluate(
        "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => requestAnimationFrame(done))))"
    )


def until(page: Any, found: Callable[[], Any], wanted: Any) -> None:
    """Waits until something is what it must be.

    Raises:
        AssertionError: it does not become so.
    """

    def so() -> bool:
        with suppress(KeyError, IndexError):  # it was not asked at all so far
            return bool(found() == wanted)
        return False

    try:
        waiting.until(so, sleep=waiting.of_page(page))
    except AssertionError:
        assert found() == wanted
