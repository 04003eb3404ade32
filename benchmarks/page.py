"""``python -m benchmarks page``: the page of a folder: what it costs a run, and how soon its pictures are seen."""

from __future__ import annotations

import argparse
import tempfile
import time
import tracemalloc
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks import machine, report
from benchmarks.folder import BATCH, METHODS, write_pictures
from benchmarks.timing import interleaved
from cfcam.jobs import FolderRun, PageSettings, Save, Settings, find_inputs
from cfcam.jobs.index.entry import Entry, View
from cfcam.jobs.index.glance import GRID, packed, save_thumb
from cfcam.jobs.index.page import Facts, write_page
from cfcam.models import load

HOW = """\
Pages of drawn lines with labels and a small picture each, opened from a file in Debian's Chromium without a GPU, in a
window of 1280 x 720, each time in a new browser context. "first paint" is the browser's own first contentful paint,
counted from the start of the navigation; "pictures seen" is when the small pictures of the first screen are decoded.
"sort" and "jump" are from the event to the next frame: all lines sorted by another key, and a jump to the middle."""
RUN = f"""\
The run: JPEGs of 512 pixels (phantoms), methods {" and ".join(METHODS)}, overlays and sheets, batches of {BATCH}, the
demo network; with the page and without, in turn."""


def entries_of(folder: Path, count: int) -> list[Entry]:
    """Returns drawn lines, with their small pictures on disk."""
    rng = np.random.default_rng(0)
    heats = [packed(torch.rand(GRID, GRID, generator=torch.Generator().manual_seed(n))) for n in range(50)]
    found = []
    for n in range(count):
        name = f"ward-{n % 40}/picture{n:05}"
        rgb = np.repeat(rng.integers(0, 256, (24, 24, 1), dtype=np.uint8), 3, axis=2).repeat(8, 0).repeat(8, 1)
        answer = int(rng.integers(5))
        found.append(
            Entry(
                f"{name}.png",
                "ok",
                explained=answer,
                probability=float(rng.random()),
                answer=answer,
                confidence=float(rng.random()),
                label=int(rng.integers(5)),
                thumb=save_thumb(folder, name, rgb),
                original=f"../pictures/{name}.png",
                views=tuple(View(method, answer, f"{name}_{method}.png") for method in METHODS),
                further=((f"{name}_sheet.png", "sheet"),),
                peak=(round(float(rng.random()), 3), round(float(rng.random()), 3)),
                grid=heats[n % len(heats)],
            )
        )
    return found


def pages(counts: tuple[int, ...], rounds: int) -> list[dict[str, Any]]:
    """Returns a record for each number of lines."""
    from playwright.sync_api import sync_playwright
    from tests.machine import chromium

    found = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        for count in counts:
            place = Path(folder, str(count))
            place.mkdir()
            entries = entries_of(place, count)
            facts = Facts("network", "features", METHODS, total=count)
            names = {n: f"class {n}" for n in range(5)}
            tracemalloc.start()
            page = write_page(entries, names, place, facts, labelled=True)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            started = time.perf_counter()
            write_page(entries, names, place, facts, labelled=True)
            seconds = time.perf_counter() - started
            times = [_opened(browser, page) for _ in range(rounds)]
            found.append(
                {
                    "lines": count,
                    "write_seconds": seconds,
                    "write_peak_bytes": peak,
                    "page_bytes": page.stat().st_size,
                    **{key: median(one[key] for one in times) for key in times[0]},
                }
            )
        browser.close()
    return found


def _opened(browser: Any, file: Path) -> dict[str, float]:
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    page = context.new_page()
    page.goto(file.as_uri(), wait_until="commit")
    page.wait_for_selector("#list img")
    told = page.evaluate("""async () => {
      await Promise.all([...document.querySelectorAll("#list img")].slice(0, 10).map((image) => image.decode()));
      const seen = performance.now();
      const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
      const clocked = async (act) => {
        const start = performance.now();
        act();
        await frame();
        return performance.now() - start;
      };
      const sort = await clocked(() => {
        const select = document.getElementById("sort");
        select.value = "name";
        select.dispatchEvent(new Event("change"));
      });
      const jump = await clocked(() => scrollTo(0, document.body.scrollHeight / 2));
      return { paint_ms: performance.getEntriesByName("first-contentful-paint")[0].startTime, seen_ms: seen,
        sort_ms: sort, jump_ms: jump, nodes: document.querySelectorAll("*").length };
    }""")
    context.close()
    return dict(told)


def overhead(count: int, rounds: int) -> dict[str, Any]:
    """Returns how long a run takes with the page and without."""
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder, "pictures")
        pictures.mkdir()
        write_pictures(pictures, count)
        loaded = load("demo")
        inputs = find_inputs([pictures], output=Path(folder, "out"))

        def runs(name: str, page: PageSettings | None) -> Iterator[FolderRun]:
            for number in range(rounds + 1):
                output = Path(folder, f"{name}-{number}")
                save = frozenset({Save.OVERLAY, Save.SHEET})
                yield FolderRun(
                    loaded,
                    inputs,
                    Settings(output=output, methods=METHODS, save=save, batch_size=BATCH, page=page),
                )

        ready = {"without": deque(runs("without", None)), "with": deque(runs("with", PageSettings()))}
        calls = {name: lambda queue=queue: deque(queue.popleft(), maxlen=0) for name, queue in ready.items()}
        for call in calls.values():
            call()
        times = interleaved(calls, rounds=rounds, budget=float("inf"))
        made = Path(folder, "with-0")
        own = [made / "index.html", *(made / "index_files").rglob("*.jpg")]
        return {
            "pictures": count,
            "seconds": {name: found.seconds for name, found in times.items()},
            "share": times["with"].median / times["without"].median - 1,
            "bytes_each": sum(file.stat().st_size for file in own) / count,
        }


def main(arguments: argparse.Namespace) -> None:
    machine.use_threads(arguments.threads)
    quick = arguments.quick
    records = pages((100, 300) if quick else (100, 1000, 10_000), 1 if quick else 5)
    cost = overhead(8 if quick else 64, 1 if quick else 7)
    lines = [
        [
            str(r["lines"]),
            f"{r['write_seconds']:.2f}",
            f"{r['write_peak_bytes'] / 1e6:.1f}",
            f"{r['page_bytes'] / 1e6:.2f}",
            f"{r['paint_ms'] / 1000:.2f}",
            f"{r['seen_ms'] / 1000:.2f}",
            f"{r['sort_ms']:.0f}",
            f"{r['jump_ms']:.0f}",
            str(int(r["nodes"])),
        ]
        for r in records
    ]
    headers = (
        "pictures", "written in s", "peak MB", "page MB", "first paint s", "pictures seen s", "sort ms", "jump ms",
        "elements",
    )  # fmt: skip
    last = records[-1]
    must = (
        f"Must: first paint of 10 000 pictures <= 1 s: {'pass' if last['paint_ms'] <= 1000 else 'MISS'}"
        f" ({last['paint_ms'] / 1000:.2f} s at {last['lines']})."
    )
    ways = [
        [name, f"{median(seconds):.2f}", f"{min(seconds):.2f} to {max(seconds):.2f}"]
        for name, seconds in cost["seconds"].items()
    ]
    told = (
        f"{cost['pictures']} pictures: the page takes {100 * cost['share']:+.1f} % of the time of the run,"
        f" and {cost['bytes_each'] / 1000:.1f} kB for each picture."
    )
    body = "\n\n".join(
        [HOW, must, report.table(headers, lines), RUN, report.table(("page", "s (median)", "range"), ways), told]
    )
    report.write(arguments.out, "page", "The page of a folder", body, {"pages": records, "run": cost})
