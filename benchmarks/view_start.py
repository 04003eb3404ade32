"""``python -m benchmarks view-start``: how long a viewer takes from its command until the first radiograph is seen."""

from __future__ import annotations

import argparse
import http.client
import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from benchmarks import report

MUST = 1.5  # seconds beyond torch's import, which the viewer does not wait for
SIDE = 512
PAINTED = "painted by Chromium"
STEPS = ("address printed", "page", "list", "study", "picture.png", "original.nii")


def first_sight(folder: Path, *more: str) -> dict[str, float]:
    """Seconds from the command to each thing that a browser asks for until it shows the first original."""
    started, seconds = time.perf_counter(), {}
    command = [sys.executable, "-m", "cfcam.cli", "view", str(folder), "--quiet", *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:  # noqa: S603
        try:
            address = urlsplit((run.stdout.readline() if run.stdout else "").strip())
            seconds["address printed"] = time.perf_counter() - started
            browser = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
            browser.request("GET", f"/?{address.query}")
            answer = browser.getresponse()
            answer.read()
            headers = {"Cookie": (answer.headers["set-cookie"] or "").partition(";")[0]}

            def get(where: str) -> bytes:
                browser.request("GET", where, headers=headers)
                found = browser.getresponse()
                data = found.read()
                assert found.status == 200, (where, found.status)
                return data

            get("/")
            seconds["page"] = time.perf_counter() - started
            study = json.loads(get("/api/studies"))["studies"][0]["id"]
            seconds["list"] = time.perf_counter() - started
            get(f"/api/studies/{study}")
            seconds["study"] = time.perf_counter() - started
            for name in ("picture.png", "original.nii"):
                size = len(get(f"/api/studies/{study}/{name}"))
                seconds[name] = time.perf_counter() - started
            assert size == 352 + SIDE * SIDE
        finally:
            run.send_signal(signal.SIGINT)
    return seconds


def first_paint(page: Any, folder: Path, *more: str) -> float:
    """Seconds from the command until a browser that is open already shows the first original."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "cfcam.cli", "view", str(folder), "--quiet", *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:  # noqa: S603
        try:
            page.goto((run.stdout.readline() if run.stdout else "").strip())
            page.wait_for_selector("html[data-ready]", state="attached")
            return time.perf_counter() - started
        finally:
            page.goto("about:blank")
            run.send_signal(signal.SIGINT)


def spent(call: Callable[[], object]) -> float:
    """Processor seconds that a call's own processes take."""

    def now() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    before = now()
    call()
    return now() - before


def main(arguments: argparse.Namespace) -> None:
    from playwright.sync_api import sync_playwright

    rounds = 2 if arguments.quick else 7
    rows: dict[str, list[float]] = {name: [] for name in ("import torch", *STEPS, PAINTED)}
    work: dict[str, list[float]] = {"import torch": [], "cfcam view": []}
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        folder = Path(place)
        noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
        Image.fromarray(noise).save(folder / "film.png")

        def torch() -> None:
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", "import torch"], check=True)
            rows["import torch"].append(time.perf_counter() - started)

        def view() -> None:
            for name, seconds in first_sight(folder, "--model", "demo").items():
                rows[name].append(seconds)

        def paint() -> None:
            page = chromium.new_context(viewport={"width": 1280, "height": 720}).new_page()
            rows[PAINTED].append(first_paint(page, folder, "--model", "demo"))
            page.context.close()

        for call in (torch, view, paint):
            call()  # files into the page cache
        rows = {name: [] for name in rows}
        for _ in range(rounds):
            work["import torch"].append(spent(torch))
            work["cfcam view"].append(spent(view))
            paint()
        chromium.close()
    medians = {name: float(np.median(values)) for name, values in rows.items()}
    least = {name: min(values) for name, values in rows.items()}
    must = medians["import torch"] + MUST
    last = medians[PAINTED]
    lines = [
        [name, f"{medians[name]:.2f}", f"{least[name]:.2f}", f"{medians[name] / medians['import torch']:.2f}"]
        for name in rows
    ]
    table = report.table(("until", "s (median)", "s (least)", "x import torch"), lines)
    cpu = " · ".join(f"{name} {np.median(values):.2f} s" for name, values in work.items())
    text = (
        f"A radiograph of {SIDE}², with the demo network named and loaded with the first map. In turn, {rounds} rounds;"
        f" wall time from the command on; the last row is of runs of their own, in a Chromium that is open and has seen"
        f" nothing of it.\n\nMust: torch's import + {MUST} s = {must:.2f} s to the first paint of the original:"
        f" {'pass' if last <= must else 'MISS'} ({last:.2f} s; torch is not imported until then). Processor time until"
        f" it is ended, without the browser: {cpu}."
    )
    data: dict[str, Any] = {"seconds": rows, "processor_seconds": work, "must": must}
    report.write(
        arguments.out, "view_start", "cfcam view: start to the first paint of the original", f"{text}\n\n{table}", data
    )
