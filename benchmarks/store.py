"""``python -m benchmarks store``: maps of a folder in one store, beside overlays as PNG: rate, bytes, error."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import cfcam
from benchmarks import machine, report
from benchmarks.folder import write_pictures
from benchmarks.many import NETWORK
from benchmarks.many import write_pictures as write_tiny
from cfcam.imaging import Preprocess
from cfcam.jobs import FolderRun, Save, Settings, find_inputs
from cfcam.models import load

METHODS = ("grad-cam", "cf-cam", "grad-cam++")
PLAIN = (0.5, 0.5, 0.5)
HOW = """\
Small: PNGs of 32 pixels, a network of two convolutions, Grad-CAM, batches of 64, as in `python -m benchmarks many`.
Large: JPEGs of 512 pixels (phantoms), the demo network, the default methods, batches of 8. The store has the maps on
the layer's grid as float16, the index, the scores and the manifest. The clock runs from the first file read to the last
byte on disk; loading and rehearsal are not in it. Medians of rounds taken in turn; bytes are all that was written."""


def measure(pictures: Path, scratch: Path, rounds: int, spec: str = "demo", **how: Any) -> list[dict[str, Any]]:
    """Returns a record for each way of writing.

    Args:
        pictures: folder of these.
        scratch: where to write.
        rounds: how often.
        spec: of the network.
        how: settings other than the default's.
    """
    loaded = load(spec)
    inputs = find_inputs([pictures], output=scratch)
    seconds: dict[str, list[float]] = {"overlays": [], "store": []}
    size: dict[str, int] = {}
    for number in range(rounds):
        for way, times in seconds.items():
            out = scratch / f"{way}-{number}.zarr"
            what = {"methods": METHODS, "batch_size": 8} | how
            settings = Settings(output=out, save=frozenset({Save.OVERLAY}), store=way == "store", **what)
            run = FolderRun(loaded, inputs, settings)
            started = time.perf_counter()
            if failed := [outcome for outcome in run if outcome.status != "done"]:
                raise RuntimeError(f"{len(failed)} pictures failed: {failed[0].error}")
            times.append(time.perf_counter() - started)
            size[way] = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    rates = {way: len(inputs) / median(times) for way, times in seconds.items()}
    error = float(cfcam.open_store(scratch / "store-0.zarr").table["max_abs_error"].max())
    return [
        {
            "way": way,
            "images_per_second": rates[way],
            "rate_beside_overlays": rates[way] / rates["overlays"],
            "bytes_per_image": size[way] / len(inputs),
            "bytes_beside_overlays": size[way] / size["overlays"],
            "max_abs_error": error if way == "store" else None,
        }
        for way in seconds
    ]


def main(arguments: argparse.Namespace) -> None:
    machine.use_threads(arguments.threads)
    count, few, rounds = (64, 16, 1) if arguments.quick else (4096, 256, 3)
    records = []
    with tempfile.TemporaryDirectory() as place:
        small, large = Path(place, "small"), Path(place, "large")
        write_tiny(small, count)
        large.mkdir()
        write_pictures(large, few)
        (Path(place) / "net.py").write_text(NETWORK)
        tiny = {"methods": ("grad-cam",), "batch_size": 64, "preprocess": Preprocess(size=32, mean=PLAIN, std=PLAIN)}
        records += [
            {"pictures": "small", **one}
            for one in measure(small, Path(place, "of-small"), rounds, f"{place}/net.py:tiny", **tiny)
        ]
        records += [{"pictures": "large", **one} for one in measure(large, Path(place, "of-large"), rounds)]
    columns = ("pictures", "", "images/s", "beside overlays", "bytes an image", "beside overlays", "error of a value")
    rows = [
        (
            one["pictures"],
            one["way"],
            f"{one['images_per_second']:.1f}",
            f"{one['rate_beside_overlays']:.2f} x",
            f"{one['bytes_per_image']:.0f}",
            f"1/{1 / one['bytes_beside_overlays']:.0f}",
            "8 bits a channel" if one["max_abs_error"] is None else f"{one['max_abs_error']:.1e}",
        )
        for one in records
    ]
    must = f"{count} and {few} pictures. Issue 16: rate >= 3 x, bytes <= 1/10."
    body = f"{HOW} {must}\n\n{report.table(columns, rows)}"
    report.write(arguments.out, "store", "A store beside overlays", body, {"records": records})
