"""``python -m benchmarks.checks``: what the artefact check says of the two demo networks, and what filling in does.

Phantoms without a finding and with a pacemaker, of patients on whom no network was trained and no limit was set.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch

from cfcam import Explainer
from cfcam._version import __version__
from cfcam.clinical import checks
from cfcam.clinical.checks.interventions import Inpaint, remove_artefact
from cfcam.clinical.checks.masks import read_mask
from cfcam.clinical.checks.results import count_outcomes
from cfcam.imaging import Preprocess, read_image
from cfcam.jobs.cases.phantoms import FIRST_SEED
from cfcam.models import load
from cfcam.models.demo import CLASSES, Phantom, load_demo_network, make_phantom
from cfcam.models.demo.network import preprocess

METHOD, SIZE = "grad-cam", 224
FILLINGS: dict[str, tuple[Inpaint, float]] = {
    "biharmonic, rim 2": ("biharmonic", 2.0),
    "linear, rim 2": ("linear", 2.0),
    "linear, no rim": ("linear", 0.0),
}


def phantoms(count: int) -> list[Phantom]:
    return [make_phantom(FIRST_SEED + n, size=SIZE, devices=["pacemaker"]) for n in range(count)]


def device_of(phantom: Phantom) -> torch.Tensor:
    return torch.from_numpy(phantom.masks["pacemaker"] | phantom.masks["lead"])


def filled(several: list[Phantom]) -> dict[str, float]:
    """The largest loss of the honest network's probability of "no finding", by way of filling in."""
    network, healthy = load_demo_network(), CLASSES.index("no finding")
    losses: dict[str, float] = {}
    for name, (way, rim) in FILLINGS.items():
        found = []
        for phantom in several:
            x = preprocess(torch.from_numpy(phantom.image)[None])
            with torch.no_grad():
                both = network(torch.cat([x, remove_artefact(x, device_of(phantom), way, rim)])).sigmoid()[:, healthy]
            found.append(float(both[0] - both[1]))
        losses[name] = max(found)
    return losses


def flagged(several: list[Phantom], shortcut: bool) -> dict[str, Any]:
    """How many pictures were called a consolidation, and how often each check was flagged, of those assessed."""
    network = load_demo_network(shortcut)
    explainer = Explainer(network, [METHOD], classes=CLASSES, probability="sigmoid")
    cases, called = [], []
    for phantom in several:
        x = preprocess(torch.from_numpy(phantom.image)[None])
        explanation = explainer(x)
        target, device = int(explanation.targets[0, 0]), device_of(phantom)
        heat = explanation.heatmaps(METHOD)[0, 0]
        results = checks.artefact_sensitivity(heat, device, probability=explanation.probability(0, 0))
        results += checks.artefact_intervention(explainer, x, device, target, METHOD)
        cases.append(results)
        called.append(CLASSES[target] == "consolidation")
    sick = [case for case, yes in zip(cases, called, strict=True) if yes]
    return {
        "called consolidation": sum(called),
        "outcomes": count_outcomes(cases),
        "outcomes of those called consolidation": count_outcomes(sick),
    }


def radiographs(data: Path) -> dict[str, Any]:
    """What the checks say of the pneumonia network on the radiographs whose devices radiologists have drawn."""
    folder = data / "cxr-covid-masks"
    loaded = load(f"{data / 'networks.py'}:cxr_mobilenet_v2")
    explainer = Explainer(loaded.module, [METHOD])
    prepare = Preprocess(size=224, mean=(128 / 255,) * 3, std=(128 / 255,) * 3)
    cases, values, probabilities = [], defaultdict(list), []
    for file in sorted((folder / "masks").glob("*__devices.png")):
        stem = file.name.removesuffix("__devices.png")
        image = read_image(folder / "images" / f"{stem}.jpg")
        x = prepare(image)[None]
        explanation = explainer(x, 1)
        heat = prepare.to_original(explanation.heatmaps(METHOD)[0, 0], image.size)
        device, probability = read_mask(file, image)[0], explanation.probability(0, 0)
        results = checks.artefact_sensitivity(heat, device, probability=probability)
        results += checks.artefact_intervention(explainer, x, prepare.mask(device), 1, METHOD)
        results += checks.retest_stability(explainer, x, 1, METHOD)
        lungs, finding = (folder / "masks" / f"{stem}__{part}.png" for part in ("lungs", "finding"))
        if lungs.exists():
            results += checks.plausibility(heat, read_mask(lungs, image)[0], probability=probability)
        if finding.exists():
            results += checks.finding_coverage(heat, read_mask(finding, image)[0])
        for result in results:
            if result.value is not None:
                values[result.name].append(result.value)
        cases.append(results)
        probabilities.append(probability)
    return {
        "pictures": len(cases),
        "probabilities": probabilities,
        "outcomes": count_outcomes(cases),
        "medians": {name: statistics.median(numbers) for name, numbers in values.items()},
    }


def table_of_radiographs(found: dict[str, Any]) -> str:
    rows = [
        f"| {name} | {counts['pass']} | {counts['flag']} | {counts['not assessed']} | {found['medians'][name]:.3g} |"
        if name in found["medians"]
        else f"| {name} | {counts['pass']} | {counts['flag']} | {counts['not assessed']} | - |"
        for name, counts in found["outcomes"].items()
    ]
    what = (
        f"{found['pictures']} radiographs of cxr-covid-masks (CFCAM_DATA) with devices, lungs or findings drawn by"
        " radiologists; the pneumonia network, which was trained on others, class opacity; default limits."
    )
    head = "| check | passed | flagged | not assessed | median |\n|---|---|---|---|---|\n"
    return "\n\n".join(["## On real radiographs", what, head + "\n".join(rows)])


def table(found: dict[str, Any]) -> str:
    n = found["phantoms"]
    lines = [
        "# The artefact check on the demo networks",
        f"`python -m benchmarks.checks`, cfcam {found['cfcam']}. {n} phantoms without a finding and with a pacemaker.",
        "| check flagged | honest network | network that learned the pacemaker |\n|---|---|---|\n"
        + "\n".join(
            f"| {name} | {counts['flag']} | {found['shortcut']['outcomes'][name]['flag']} |"
            for name, counts in found["honest"]["outcomes"].items()
        )
        + "\n| *called a consolidation* |"
        + "".join(f" {found[name]['called consolidation']} |" for name in ("honest", "shortcut")),
        f'Largest loss of the honest network\'s probability of "no finding" with it filled in, {n} phantoms:',
        "| filling | loss |\n|---|---|\n"
        + "\n".join(f"| {way} | {loss:.3f} |" for way, loss in found["filling"].items()),
    ]
    if "radiographs" in found:
        lines.append(table_of_radiographs(found["radiographs"]))
    return "\n\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.checks", description=__doc__)
    parser.add_argument("--count", type=int, default=40, help="phantoms")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), metavar="FOLDER")
    given = parser.parse_args()
    several = phantoms(given.count)
    found = {
        "cfcam": __version__,
        "phantoms": given.count,
        "first_seed": FIRST_SEED,
        "filling": filled(several),
        "honest": flagged(several, shortcut=False),
        "shortcut": flagged(several, shortcut=True),
    }
    if data := os.environ.get("CFCAM_DATA"):
        found["radiographs"] = radiographs(Path(data))
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "checks.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (given.out / "checks.md").write_text(table(found), encoding="utf-8")


if __name__ == "__main__":
    main()
