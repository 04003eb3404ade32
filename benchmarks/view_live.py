"""``python -m benchmarks view-live``: what a viewer adds to the network's own time, from a click to the map."""

from __future__ import annotations

import argparse
import json
import tempfile
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks import machine, report
from benchmarks.timing import interleaved
from benchmarks.viewer import viewing
from cfcam.explainer import Explainer
from cfcam.imaging import read_image
from cfcam.jobs.inputs.preparing import prepared_for
from cfcam.models import load

MUST = 0.1  # seconds beyond the network's own
SIDE = 512
PICTURES = 5  # in turn, and more than the passes that a viewer keeps: each map needs a new one
METHODS = ("grad-cam", "grad-cam++", "cf-cam")
NETWORKS = Path(__file__).with_name("networks.py")
FORWARD = "the network's forward pass alone"


def films(folder: Path) -> list[Path]:
    """Radiographs that a network can tell something of: phantoms, drawn anew for each."""
    from cfcam.models.demo import sample_phantom

    found = []
    for seed in range(PICTURES):
        path = folder / f"film{seed}.png"
        Image.fromarray(np.asarray(sample_phantom(seed, size=SIDE).image)).save(path)
        found.append(path)
    return found


def measured(spec: str, folder: Path, rounds: int, threads: int) -> list[dict[str, Any]]:
    """Times a network in turn: its pass, each method as a call of the library, and each as a request to a viewer."""
    model, paths = load(spec), films(folder)
    prepare = prepared_for(model, None)
    inputs = [prepare(read_image(path))[None] for path in paths]
    with viewing(str(folder), "--model", spec, threads=threads) as server:
        studies = [one["id"] for one in json.loads(server.ask("/api/studies?sort=name"))["studies"]]
        for study in studies:
            server.ask(f"/api/studies/{study}/original.nii")  # it is on the screen before somebody asks for a map
        place = json.loads(server.ask("/api/explain", {"study": studies[0], "methods": METHODS}))["maps"][0]["layer"]
        turn, turn_of_studies = cycle(inputs), cycle([*studies[1:], studies[0]])

        def passed() -> None:
            with torch.inference_mode():
                model.module(next(turn))

        calls: dict[str, Any] = {FORWARD: passed}
        for method in METHODS:
            explainer = Explainer(model.module, method, layer=place)

            def called(explainer: Explainer = explainer) -> None:
                explainer(next(turn), "predicted")

            def asked(method: str = method) -> None:
                study = next(turn_of_studies)
                answer = json.loads(server.ask("/api/explain", {"study": study, "methods": [method]}))
                assert answer["seconds"]["forward"] > 0, "a pass was kept"
                assert len(server.ask(answer["maps"][0]["url"])) == 352 + SIDE * SIDE

            calls |= {f"{method}, library": called, f"{method}, viewer": asked}
        for call in calls.values():
            for _ in range(2):
                call()
        times = interleaved(calls, rounds=rounds, budget=60, least=3)
    return [
        {"network": spec.rpartition(":")[2], "method": method, "forward": times[FORWARD].seconds,
         "library": times[f"{method}, library"].seconds, "viewer": times[f"{method}, viewer"].seconds}
        for method in METHODS
    ]  # fmt: skip


def main(arguments: argparse.Namespace) -> None:
    machine.use_threads(arguments.threads)
    specs = ["demo"] if arguments.quick else ["demo", f"{NETWORKS}:resnet50"]
    found: list[dict[str, Any]] = []
    for spec in specs:
        with tempfile.TemporaryDirectory() as place:
            found += measured(spec, Path(place), 3 if arguments.quick else 25, torch.get_num_threads())
    rows, most = [], 0.0
    for one in found:
        forward, library, viewer = (float(np.median(one[name])) for name in ("forward", "library", "viewer"))
        most = max(most, viewer - library)
        figures = (forward, library, viewer, viewer - library, viewer - forward)
        rows.append([one["network"], one["method"], *(f"{1000 * seconds:.0f}" for seconds in figures)])
    text = (
        f"A radiograph of {SIDE}² that is on the screen, and a pass of the network for each map: {PICTURES} pictures in"
        " turn, more than a viewer keeps passes of. Medians of calls in turn: the network's forward pass alone; the"
        " method as a call of the library on a prepared input, with its passes; the viewer, from POST /api/explain to"
        " the last byte of the map's values, over HTTP: preparing, the map on the picture's grid, threshold and peak."
        f"\n\nMust: at most {1000 * MUST:.0f} ms beyond the network's passes, which are those of the library's call:"
        f" {'pass' if most <= MUST else 'MISS'} ({1000 * most:.0f} ms at most)."
    )
    head = ("network", "method", "forward, ms", "library, ms", "viewer, ms", "viewer - library", "viewer - forward")
    report.write(
        arguments.out,
        "view_live",
        "cfcam view: from a click to the map",
        f"{text}\n\n{report.table(head, rows)}",
        {"rows": found, "must": MUST},
    )
