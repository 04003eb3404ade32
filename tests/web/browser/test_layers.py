"""Uncertainty with a network at work: stopped, it ends before its next pass; what is told of a study is told once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi")
pytest.importorskip("playwright")

from cfcam.models import load
from tests.jobs.studies import nodule_phantom
from tests.waiting import PATIENCE
from tests.web.browser.hands import shown, state
from tests.web.browser.page import launched, opened, until
from tests.web.server import Served, served, settings_of

GREY = "it is grey: repeated to 3 channels"


class Gate:
    """A network that waits before each of its passes while the gate is shut."""

    def __init__(self, model: Any) -> None:
        self.open, self.begun, self.passes = threading.Event(), threading.Event(), 0
        self.open.set()
        model.module.register_forward_pre_hook(self)

    def __call__(self, *_: Any) -> None:
        self.passes += 1
        self.begun.set()
        assert self.open.wait(PATIENCE)

    def shut(self) -> None:
        self.open.clear()
        self.begun.clear()
        self.passes = 0


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as found:
        yield found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("films")
    for n in range(2):
        Image.fromarray(np.roll(nodule_phantom().image, 7 * n, axis=1)).save(found / f"film{n}.png")
    return found


@pytest.fixture
def gate_and_viewer(folder: Path) -> Iterator[tuple[Gate, Served]]:
    model = load("demo")
    with served(settings_of(folder, load=lambda: model, model="demo")) as viewer:
        gate = Gate(model)
        yield gate, viewer
        gate.open.set()


def test_stop_ends_the_work_before_the_networks_next_pass(browser: Any, gate_and_viewer: tuple[Gate, Served]) -> None:
    gate, viewer = gate_and_viewer
    with opened(browser, viewer.address) as page:
        (evidence,) = shown(page)
        page.keyboard.press("u")
        both = [page.get_by_test_id(f"layer-{one}") for one in ("uncertainty", "control")]
        run, stop = page.get_by_test_id("layer-uncertainty"), page.get_by_test_id("layer-uncertainty-stop")
        assert not stop.is_visible()
        gate.shut()
        run.click()
        assert gate.begun.wait(PATIENCE)
        assert [one.get_attribute("aria-disabled") for one in both] == ["true", "true"]
        stop.click()
        page.get_by_test_id("layers-status").get_by_text("stopped").wait_for()
        assert [one.get_attribute("aria-disabled") for one in both] == ["false", "false"]
        assert not stop.is_visible()
        until(page, lambda: viewer.app.state.crowd.at_work, 0)  # the server has seen that nobody waits
        gate.open.set()
        run.click()  # waits for its turn behind what was stopped
        (first, second) = shown(page, 2)
        assert first == evidence
        page.get_by_test_id("layers-status").get_by_text("agreement of").wait_for()
        assert page.evaluate("id => cfcam.maps.of(id).kind", second) == "uncertainty"
        twice = gate.passes
        gate.passes = 0
        run.click()
        once = 3  # passes that tell of the network whether it mixes a batch: two of them of a row alone
        until(page, lambda: (gate.passes, viewer.app.state.crowd.at_work), (twice - once, 0))
        assert state(page)["maps"] == [first, second]  # the same map again


def test_what_the_network_says_of_a_study_is_said_once_and_kept(
    browser: Any, gate_and_viewer: tuple[Gate, Served]
) -> None:
    with opened(browser, gate_and_viewer[1].address) as page:
        (first,) = shown(page)
        toast = page.locator(f'[data-testid=toast][data-message="{GREY}"]')
        toast.get_by_label("Close this message").click()
        page.keyboard.press("2")
        assert shown(page, 2)[0] == first
        assert toast.count() == 0
        page.keyboard.press("i")
        page.locator(".notice", has_text=GREY).wait_for()
        page.keyboard.press("n")  # another study, of which it has to be said as well
        toast.get_by_label("Close this message").click()
        page.keyboard.press("p")
        until(page, lambda: page.evaluate("cfcam.study.name"), "film0.png")
        page.locator(".notice", has_text=GREY).wait_for()
        assert toast.count() == 0
