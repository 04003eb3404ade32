"""``python -m benchmarks layers``: the automatic layer beside the other last layers, on the tuning parts."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks import report
from benchmarks.datasets import NAMES, study
from benchmarks.machine import describe
from benchmarks.scorecard import prepared
from cfcam.capture import Network, automatic_layer, probe_layers
from cfcam.metrics.scorecard.layers import LayerScore, measure_layers

METHODS = ("grad-cam", "cf-cam")
HEADERS = ("layers", "maps", "ins − del", "ADCC", "stability", "rank")


def main(arguments: argparse.Namespace) -> None:
    """Writes ``scorecard/layers-NAME.json`` for each study, and of all that are there ``scorecard/layers.md``."""
    place, limit = prepared(arguments)
    for name in arguments.study or NAMES:
        found = study(name, limit, "tune")
        images = torch.stack([sample.image for sample in found.samples])
        targets = torch.tensor([sample.label for sample in found.samples])
        automatic = _automatic(found.model, images[:1])
        scores = {m: measure_layers(found.model, images, targets, method=m) for m in METHODS}
        record = {
            "command": f"python -m benchmarks layers --study {name} --limit {limit}",
            "machine": describe(),
            "torch": str(torch.__version__),
            "what": found.what,
            "images": len(images),
            "automatic": automatic,
            "rows": {m: [_row(score) for score in ranked] for m, ranked in scores.items()},
        }
        (place / f"layers-{name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        print(f"{name}: {len(images)} images", flush=True)
    (place / "layers.md").write_text(_page(place), encoding="utf-8")


def _automatic(model: nn.Module, x: Tensor) -> list[str]:
    """Returns the name of the automatic layer, and those of the modules that return the very same tensor."""
    network = Network(model)
    chosen, (infos, _) = automatic_layer(network, x), probe_layers(network, x)
    tensor = next(info.same_as for info in infos if info.name == chosen)
    return [chosen, *(info.name for info in infos if info.same_as == tensor and info.name != chosen)]


def _row(score: LayerScore) -> list[str]:
    values = (score.insertion_deletion, score.adcc, score.stability)
    return [score.name, " x ".join(map(str, score.grid)), *(f"{v:.3f}" for v in values), f"{score.rank:.1f}"]


def _page(place: Path) -> str:
    parts = []
    for file in sorted(place.glob("layers-*.json")):
        r = json.loads(file.read_text(encoding="utf-8"))
        parts.append(
            f"{r['what'][0].upper()}{r['what'][1:]}: {r['images']} images of the tuning part. `{r['command']}`"
        )
        for method, rows in r["rows"].items():
            marked = [[f"**{n}** (automatic)" if n in r["automatic"] else n, *values] for n, *values in rows]
            parts.append(f"{method}:\n\n{report.table(HEADERS, marked)}")
    return "\n\n".join(parts) + "\n"
