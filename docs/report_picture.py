"""Makes the picture of a report for the documentation, of a phantom: `python docs/report_picture.py`.

It needs the extra `report` and pdftoppm (poppler-utils).
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PILImage

import cfcam
from cfcam.clinical.checks import artefact_sensitivity, plausibility
from cfcam.clinical.checks.peak_stability import peak_stabilities
from cfcam.clinical.origin import Origin
from cfcam.clinical.regions import measure
from cfcam.clinical.report import write_report
from cfcam.clinical.study_result import MapResult, ModelIdentity, StudyResult, Uncertainty
from cfcam.imaging import Image, Preprocess
from cfcam.metrics.functional import soft_iou
from cfcam.models.demo import CLASSES, load_demo_network, make_phantom

FOLDER = Path(__file__).parent / "images"
PREPROCESS = Preprocess()
SPACING = (0.7, 0.7)  # mm, as if the phantom were 36 cm wide
METHODS = ("cf-cam", "grad-cam", "score-cam")


def phantom_study(
    name: str = "pacemaker",
    targets: Sequence[str] = ("consolidation", "effusion"),
    *,
    shortcut: bool = True,
    methods: Sequence[str] = METHODS,
) -> StudyResult:
    """The network that has learnt the pacemaker, explained, checked against lungs and pacemaker."""
    phantom = make_phantom(10, devices=["pacemaker"], findings=["effusion"])
    image, network = Image(phantom.image, None, ""), load_demo_network(shortcut=shortcut)
    x = PREPROCESS(image)[None]
    explainer = cfcam.Explainer(network, list(methods), classes=CLASSES, probability="sigmoid")
    found = explainer(x, list(targets))
    steady = peak_stabilities(explainer, x, found.targets[0], methods=methods, first=found,
                              back=lambda heat: PREPROCESS.to_original(heat, image.size))  # fmt: skip
    masks = {name: torch.from_numpy(phantom.masks[name]) for name in ("left lung", "right lung", "pacemaker")}
    maps = []
    for k, target in enumerate(targets):
        for method in found.methods:
            heat = PREPROCESS.to_original(found.heatmaps(method)[0, k], image.size)
            given = masks if not maps else {}
            status, index = str(found.status[method][0, k]), int(found.targets[0, k])
            table = replace(measure(heat, SPACING, "otsu", given), stability=steady.get((method, k)))
            maps.append(
                MapResult(
                    method, index, target, found.probability(0, k), status, heat.numpy(), table, {"layer": "auto"}
                )
            )
    first = torch.from_numpy(maps[0].heatmap)
    lungs = masks["left lung"] | masks["right lung"]
    checks = [
        *plausibility(first, lungs, spacing=SPACING, probability=maps[0].probability),
        *artefact_sensitivity(first, masks["pacemaker"], probability=maps[0].probability),
    ]
    weights = hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in network.state_dict().values())).hexdigest()
    return StudyResult(
        name=name,
        picture=phantom.image,
        source_sha256=hashlib.sha256(phantom.image.tobytes()).hexdigest(),
        model=ModelIdentity("demo network" + " with a shortcut" * shortcut, "1", weights, found.layer, CLASSES),
        probabilities=dict(zip(CLASSES, found.probabilities[0].tolist(), strict=True)),
        maps=tuple(maps),
        pseudonym="P-3F9A",
        spacing=SPACING,
        modality="CR",
        edges=("L", "I"),
        origin=Origin("2026-03-04", "shifted by de-identification", "chest", "PA (back to front)"),
        checks=tuple(checks),
        uncertainty=(disagreement(maps[: len(methods)]),),
        limits=("The picture is a phantom: it was drawn, not taken.", "The limits of the checks are cfcam's defaults."),
        provenance={"cfcam": cfcam.__version__, "probability": "sigmoid", "preprocess": {"size": 224}},
        record_id="2026-000017",
    )


def disagreement(maps: Sequence[MapResult]) -> Uncertainty:
    """How much the methods disagree on one class."""
    heats = torch.stack([torch.from_numpy(one.heatmap) for one in maps])
    pairs = torch.combinations(torch.arange(len(maps)))
    return Uncertainty(
        source="methods",
        samples=len(maps),
        method="several",
        class_index=maps[0].class_index,
        class_name=maps[0].class_name,
        mean=heats.mean(0).numpy(),
        sd=heats.std(0, correction=0).numpy(),
        inclusion=(heats >= 0.5).float().mean(0).numpy(),
        threshold=0.5,
        agreement=float(soft_iou(heats[pairs[:, 0]], heats[pairs[:, 1]]).mean()),
        note="All samples share one prediction, so that it has no spread.",
    )


def pages(pdf: Path, width: int = 640) -> list[np.ndarray]:
    """The pages of a PDF as pictures."""
    pdftoppm = shutil.which("pdftoppm")
    if pdftoppm is None:
        raise SystemExit("pdftoppm is not installed: apt-get install poppler-utils")
    with tempfile.TemporaryDirectory() as folder:
        command = [pdftoppm, "-png", "-scale-to-x", str(width), "-scale-to-y", "-1", str(pdf), f"{folder}/page"]
        subprocess.run(command, check=True)  # noqa: S603
        return [np.asarray(PILImage.open(page).convert("RGB")) for page in sorted(Path(folder).iterdir())]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        (pdf,) = write_report(phantom_study(), Path(folder), formats=["pdf"])
        shown = pages(pdf)[:2]
    gap = np.full((shown[0].shape[0], 16, 3), 170, np.uint8)
    sheet = np.concatenate([shown[0], gap, *shown[1:]], axis=1)
    PILImage.fromarray(sheet).save(FOLDER / "report.jpg", quality=72, optimize=True)


if __name__ == "__main__":
    main()
