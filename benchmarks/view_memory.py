"""``python -m benchmarks view-memory``: what the viewer's server takes for a CT of 512 x 512 x 300 with three maps."""

from __future__ import annotations

import argparse
import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import report
from benchmarks.view_page import scan
from benchmarks.viewer import Server, viewing
from cfcam.explanation import Explanation

MUST = 1.5
METHODS = ("cf-cam", "grad-cam", "grad-cam++")
TIMES = 2
NETWORK = Path(__file__).with_name("networks.py")


def saved(folder: Path) -> Path:
    """Saves an explanation of a volume, with maps of a layer's 16 x 16 x 10 cells."""
    noise = torch.Generator().manual_seed(0)
    maps = {name: torch.randn(1, 1, 16, 16, 10, generator=noise) for name in METHODS}
    logits = torch.tensor([[2.0, 0.0]])
    targets = torch.zeros(1, 1, dtype=torch.int64)
    found = Explanation(
        maps, targets, logits[:, :1].clone(), logits, logits.softmax(1), "features", (128, 128, 96), ("ill", "well")
    )
    found.save(folder / "maps")
    return folder / "maps"


def sights(server: Server, *, live: bool) -> list[list[Any]]:
    """Asks as the page does; what the server holds after each step: [step, MB, MB at most since it was started]."""
    rows: list[list[Any]] = []

    def note(step: str) -> None:
        rows.append([step, server.memory("VmRSS"), server.memory("VmHWM")])

    note("started")
    study = json.loads(server.ask("/api/studies"))["studies"][0]["id"]
    place = f"/api/studies/{study}"
    server.ask(f"{place}/picture.png")
    server.ask(f"{place}/original.nii")
    note("original sent")
    if live:
        made = json.loads(server.ask("/api/explain", {"study": study, "methods": METHODS}))["maps"]
    else:
        made = json.loads(server.ask(place))["maps"]
    if len(made) != len(METHODS) or any(one["status"] != "ok" for one in made):
        raise RuntimeError(f"maps that cannot be looked at: {made}")
    note("maps made" if live else "maps known")
    for time in range(TIMES):
        with ThreadPoolExecutor(1 + len(made)) as page:  # which waits for none of them before it asks for the next
            list(page.map(server.ask, [f"{place}/original.nii", *(one["url"] for one in made)]))
        note("original and three maps sent" + " again" * time)
    return rows


def main(arguments: argparse.Namespace) -> None:
    shape = (60, 96, 96) if arguments.quick else (300, 512, 512)
    voxels = int(np.prod(shape))
    raw = voxels * (2 + 4 * len(METHODS)) / 2**20
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        ct = str(scan(folder, shape))
        with viewing(str(saved(folder)), ct) as server:
            opened = sights(server, live=False)
        size = "32" if arguments.quick else "96x96x64"
        with viewing(ct, "--model", f"{NETWORK}:volumes", "--size", size) as server:
            made = sights(server, live=True)
    cases = {"saved maps, opened": opened, "maps made by the network": made}
    must = MUST * raw
    told, rows = [], []
    for case, steps in cases.items():
        most = steps[-1][2]
        verdict = "pass" if most <= must else "MISS"
        told.append(f"* {case}: at most {most:.0f} MB, {most / raw:.2f} x, must {MUST}: {verdict}")
        rows += [[case, step, f"{now:.0f}", f"{top:.0f}", f"{top / raw:.2f}"] for step, now, top in steps]
    text = (
        f"A drawn CT of {shape[2]} x {shape[1]} x {shape[0]} with {len(METHODS)} maps. Raw arrays: the scan as it is"
        f" stored, int16, and the maps as float32 on its grid: {raw:.0f} MB (2^20 bytes); of the server everything is"
        " counted, Python and torch with it (VmHWM, the most since its start). The original and all maps are fetched"
        f" {TIMES} times, at the same time.\n\n" + "\n".join(told)
    )
    table = report.table(("maps", "after", "MB", "MB at most", "x raw arrays"), rows)
    data = {"cases": cases, "raw_mb": raw, "must_mb": must}
    report.write(arguments.out, "view_memory", "cfcam view: memory of the server", f"{text}\n\n{table}", data)
