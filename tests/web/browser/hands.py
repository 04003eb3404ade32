"""Hands that walk through the page, by mouse or by keyboard, and what they look at."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from tests.waiting import of_page, until

PIXELS = """async (pane) => {
  await cfcam.viewer.drawn();
  const canvas = document.querySelector(`[data-testid=pane-${pane}] canvas`);
  const { width, height } = canvas;
  let text = "";
  for (const byte of canvas.getContext("2d").getImageData(0, 0, width, height).data) text += String.fromCharCode(byte);
  return [width, height, btoa(text)];
}"""


def pixels(page: Any, pane: int = 0) -> np.ndarray:
    """What a pane's canvas shows, `(height, width, 3)`."""
    width, height, text = page.evaluate(PIXELS, pane)
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)[..., :3].copy()


def state(page: Any) -> Any:
    return page.evaluate("cfcam.state.get()")


def shown(page: Any, count: int = 1) -> list[str]:
    """Waits until so many maps are painted; returns their ids."""
    maps: list[str] = []

    def painted() -> bool:
        maps[:] = state(page)["maps"]
        return len(maps) == count and page.evaluate("document.documentElement.dataset.shown") == ",".join(maps)

    try:
        until(painted, sleep=of_page(page))
    except AssertionError:
        raise AssertionError((state(page), page.evaluate("document.documentElement.dataset.shown"))) from None
    return maps


class Mouse:
    """Everything by clicks."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def click(self, name: str) -> None:
        self.page.get_by_test_id(name).click()

    def hold_original(self) -> None:
        self.page.get_by_test_id("original").hover()
        self.page.mouse.down()

    def let_go(self) -> None:
        self.page.mouse.up()

    def panel(self, name: str, key: str) -> None:
        del key
        self.click(f"panel-{name}")

    def beside(self, method: str) -> None:
        """Another method beside those shown."""
        self.page.get_by_test_id("method").select_option(method)
        self.click("explain-beside")

    def nth(self, name: str, n: int) -> None:
        """One of several buttons of the same name."""
        self.page.get_by_test_id(name).nth(n).click()

    def open_study(self, name: str) -> None:
        self.page.get_by_test_id("study").filter(has=self.page.get_by_text(name, exact=True)).click()
        self.page.locator("h1", has_text=name).wait_for()

    def explain(self, class_name: str, layer: str, *, beside: bool = False) -> None:
        """A map of a class at a layer, in place of the one shown or beside it."""
        self.page.get_by_test_id("layer").locator(f"option[value='{layer}']").wait_for(state="attached")
        self.page.get_by_test_id("layer").select_option(layer)
        self.page.get_by_test_id("method").select_option("grad-cam")
        self.page.locator(f"[data-testid=class][data-class='{class_name}']").click()
        self.click("explain-beside" if beside else "explain-show")

    def palette(self) -> None:
        self.page.get_by_test_id("display-palette").select_option("viridis")

    def window(self) -> None:
        field = self.page.get_by_test_id("window-width")
        field.fill(str(float(field.input_value()) / 2))
        field.blur()

    def reject(self, comment: str) -> None:
        self.click("panel-review")
        self.page.get_by_test_id("verdict-reject").check()
        self.page.get_by_test_id("review-comment").fill(comment)
        self.page.get_by_test_id("reviewer").fill("Dr. Reader")
        self.click("review-save")


class Keyboard(Mouse):
    """Everything by keys: what is clicked is reached with Tab, and pressed with Enter."""

    def click(self, name: str) -> None:
        self.reach(name)
        self.page.keyboard.press("Enter")

    def reach(self, name: str) -> None:
        for _ in range(120):
            if self.page.evaluate("document.activeElement.dataset.testid") == name:
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"Tab does not come to {name}")

    def hold_original(self) -> None:
        self.page.keyboard.down("o")

    def let_go(self) -> None:
        self.page.keyboard.up("o")

    def panel(self, name: str, key: str) -> None:
        self.page.get_by_test_id("pane-0").focus()
        self.page.keyboard.press(key)
        self.page.get_by_test_id(f"panel-{name}").and_(self.page.locator("[aria-pressed=true]")).wait_for()

    def choose(self, name: str, value: str) -> None:
        self.reach(name)
        select = self.page.get_by_test_id(name)
        for _ in range(60):
            if select.input_value() == value:
                return
            self.page.keyboard.press("ArrowDown")
        raise AssertionError(f"arrow keys do not come to {value} in {name}")

    def nth(self, name: str, n: int) -> None:
        self.reach(name)
        for _ in range(n):
            self.page.keyboard.press("Tab")
            self.reach(name)
        self.page.keyboard.press("Enter")

    def open_study(self, name: str) -> None:
        self.page.get_by_test_id("pane-0").focus()
        heading = self.page.locator("h1")
        for _ in range(10):
            if heading.inner_text() == name:
                return
            before = heading.inner_text()
            self.page.keyboard.press("n")
            heading.and_(self.page.locator("h1", has_not_text=before)).wait_for()
        raise AssertionError(f"N does not come to {name}")

    def explain(self, class_name: str, layer: str, *, beside: bool = False) -> None:
        self.page.get_by_test_id("layer").locator(f"option[value='{layer}']").wait_for(state="attached")
        self.choose("layer", layer)
        self.choose("method", "grad-cam")
        self.page.keyboard.press("Shift+Tab")
        for _ in range(60):
            if self.page.evaluate("document.activeElement.dataset.testid") == "class":
                break
            self.page.keyboard.press("Shift+Tab")
        for key in ("Home", *["ArrowDown"] * 9):
            self.page.keyboard.press(key)
            if self.page.evaluate("document.activeElement.dataset.class") == class_name:
                break
        self.page.keyboard.press("Enter")
        self.click("explain-beside" if beside else "explain-show")

    def beside(self, method: str) -> None:
        self.page.get_by_test_id("pane-0").focus()
        self.page.keyboard.press({"grad-cam": "2", "grad-cam++": "3"}[method])

    def palette(self) -> None:
        self.page.keyboard.press("t")

    def window(self) -> None:
        self.reach("window-width")
        width = float(self.page.get_by_test_id("window-width").input_value())
        self.page.keyboard.press("Control+a")
        self.page.keyboard.type(str(width / 2))
        self.page.keyboard.press("Tab")

    def reject(self, comment: str) -> None:
        self.page.get_by_test_id("pane-0").focus()
        self.page.keyboard.press("r")
        self.reach("reviewer")
        self.page.keyboard.type("Dr. Reader")
        for _ in range(60):
            self.page.keyboard.press("Shift+Tab")
            if self.page.evaluate("document.activeElement.dataset.testid") == "review-comment":
                break
        self.page.keyboard.type(comment)
        self.page.keyboard.press("Enter")
