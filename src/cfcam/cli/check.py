"""``cfcam check``: are the maps of a network where they may be, and what do they rest on?"""

from __future__ import annotations

import glob
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cfcam.cli import options
from cfcam.cli.console import EXIT_FAILED, command, hint, out, plain, print_json, warn
from cfcam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from cfcam.clinical.checks import CheckResult, Limits
    from cfcam.explainer import Explainer
    from cfcam.imaging import Image, Preprocess

PANEL = "The checks"
_MASK_ENDINGS = (".png", ".tif", ".tiff", ".bmp")


@command
def check(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Pictures, folders or globs.")],
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            metavar="SPEC",
            help="demo, torchvision:NAME[@WEIGHTS], timm:NAME, hf:FOLDER, monai:CLASS(...), FILE.py:FACTORY.",
            autocompletion=options.complete_model,
            rich_help_panel=options.NETWORK,
        ),
    ] = "demo",
    weights: options.Weights = None,
    num_classes: options.NumClasses = None,
    classes: Annotated[
        str | None,
        typer.Option(
            "--classes",
            metavar="FILE|A,B,C",
            help="Class names: a text or JSON file, or with commas between.",
            rich_help_panel=options.NETWORK,
        ),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Layer to map. [default: chosen]", rich_help_panel=options.NETWORK),
    ] = None,
    size: options.Size = None,
    mean: options.Mean = None,
    std: options.Std = None,
    device: options.Device = "auto",
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Method; see cfcam methods.",
            autocompletion=options.complete_method,
            rich_help_panel=PANEL,
        ),
    ] = "grad-cam",
    target: Annotated[
        str,
        typer.Option(
            metavar="CLASS",
            help="Index, name or predicted.",
            autocompletion=options.complete_target,
            rich_help_panel=PANEL,
        ),
    ] = "predicted",
    organ: Annotated[
        str | None,
        typer.Option(
            metavar="MASKS",
            help="Where maps may lie: a file, a folder, or masks/{stem}_lung.png.",
            rich_help_panel=PANEL,
        ),
    ] = None,
    artefacts: Annotated[
        str | None,
        typer.Option(metavar="MASKS", help="Devices, markers, borders; likewise.", rich_help_panel=PANEL),
    ] = None,
    findings: Annotated[
        str | None,
        typer.Option(metavar="MASKS", help="All findings of a picture; likewise.", rich_help_panel=PANEL),
    ] = None,
    limits: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="JSON of the site's limits. [default: starting points, see the documentation]",
            rich_help_panel=PANEL,
        ),
    ] = None,
    retest: Annotated[
        bool, typer.Option("--retest/--no-retest", help="Explain again under small changes.", rich_help_panel=PANEL)
    ] = True,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the results as JSON too.", rich_help_panel=PANEL),
    ] = None,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Check maps: in the organ, not on a device, steady, and on every finding.

    Each check passes, is flagged, or is not assessed. A flag asks a person to look; a pass proves nothing.
    """
    from cfcam.clinical.checks import Limits, count_outcomes, over_cases
    from cfcam.explainer import Explainer
    from cfcam.imaging import list_images
    from cfcam.jobs import preprocess_of

    chosen = Limits() if limits is None else Limits.read(limits)
    files = list_images(images)
    loaded = options.load_model(model, weights=weights, num_classes=num_classes, classes=classes, device=device)
    for note in loaded.notes:
        warn(note)
    preprocess = preprocess_of(
        loaded,
        size=options.read_size(size),
        mean=options.read_numbers("--mean", mean),
        std=options.read_numbers("--std", std),
    )
    explainer = Explainer(
        loaded.module, [method], layer=layer, classes=loaded.classes, probability=loaded.probability, fingerprint=True
    )
    session = _Session(explainer, preprocess, method, options.read_target(target), chosen, retest)
    masks = {"organ": organ, "artefacts": artefacts, "findings": findings}
    cases = [session.case(file, {k: _of(v, file, several=len(files) > 1) for k, v in masks.items()}) for file in files]
    of_set = session.similar()
    if len(cases) > 1:
        of_set += over_cases([case["checks"] for case in cases], chosen)
    document: dict[str, Any] = {
        "cases": [{**case, "checks": [result.as_dict() for result in case["checks"]]} for case in cases],
        "all": [result.as_dict() for result in of_set],
        "counts": count_outcomes([case["checks"] for case in cases]),
        "limits": {name: getattr(chosen, name) for name in Limits.__dataclass_fields__},
        "provenance": explainer.provenance(),
    }
    if output is not None:
        _write(output, document)
    if as_json:
        print_json(document)
    else:
        for case in cases:
            _show(case["image"], f"{case['class']}{_probability(case['probability'])}", case["checks"])
        if of_set:
            _show("all pictures", "similar cases and flags", of_set)
        hint("a flag asks a person to look, a pass proves nothing; research use only, not a medical device")
    flagged = [r for case in cases for r in case["checks"] if r.outcome == "flag"]
    if flagged or any(result.outcome == "flag" for result in of_set):
        raise typer.Exit(EXIT_FAILED)


class _Session:
    """What all pictures share, and the maps that are compared at the end."""

    def __init__(
        self, explainer: Explainer, preprocess: Preprocess, method: str, target: int | str, limits: Limits, retest: bool
    ) -> None:
        self.explainer, self.preprocess, self.method = explainer, preprocess, method
        self.target, self.limits, self.retest = target, limits, retest
        self.maps: dict[str, list[tuple[Tensor, float]]] = {}

    def case(self, file: Path, masks: dict[str, list[Path] | None]) -> dict[str, Any]:
        """Checks one picture."""
        from cfcam.clinical import checks
        from cfcam.imaging import read_image

        image = read_image(file)
        read = {name: _union(name, paths, image) for name, paths in masks.items()}
        x = self.preprocess(image)[None]
        explanation = self.explainer(x, None if self.target == "predicted" else [self.target])
        heat = self.preprocess.to_original(explanation.heatmaps(self.method)[0, 0].cpu(), image.size)
        probability = explanation.probability(0, 0)
        index, label = int(explanation.targets[0, 0]), explanation.label(0, 0)
        results: list[CheckResult] = []
        if (organ := read["organ"]) is not None:
            results += checks.plausibility(
                heat, organ, spacing=image.spacing, probability=probability, limits=self.limits
            )
        if (artefact := read["artefacts"]) is not None:
            results += checks.artefact_sensitivity(heat, artefact, probability=probability, limits=self.limits)
            results += checks.artefact_intervention(
                self.explainer, x, self.preprocess.mask(artefact), index, self.method, limits=self.limits
            )
        if (findings := read["findings"]) is not None:
            results += checks.finding_coverage(heat, findings, limits=self.limits)
        if self.retest:
            results += checks.retest_stability(self.explainer, x, index, self.method, limits=self.limits)
        if probability is not None and probability >= self.limits.min_probability:
            self.maps.setdefault(label, []).append((explanation.heatmaps(self.method)[0, 0].cpu(), probability))
        return {"image": file.name, "class": label, "probability": probability, "checks": results}

    def similar(self) -> list[CheckResult]:
        """Compares the maps of each class that two or more pictures have."""
        from dataclasses import replace

        import torch

        from cfcam.clinical.checks import similar_cases

        return [
            replace(found, detail=f"{label}: {found.detail}")
            for label, several in self.maps.items()
            if len(several) > 1
            for found in [
                similar_cases(
                    torch.stack([heat for heat, _ in several]),
                    torch.tensor([probability for _, probability in several]),
                    limits=self.limits,
                )
            ]
        ]


def _of(masks: str | None, image: Path, *, several: bool) -> list[Path] | None:
    """The mask files of a picture: by a pattern with {stem}, a folder of the same names, or one file."""
    if masks is None:
        return None
    if "{stem}" in masks:
        return [Path(match) for match in sorted(glob.glob(masks.replace("{stem}", glob.escape(image.stem))))]  # noqa: PTH207 (an absolute pattern)
    place = Path(masks)
    if place.is_dir():
        found = sorted(f for f in place.iterdir() if f.suffix.lower() in _MASK_ENDINGS and f.stem == image.stem)
        return found or sorted(
            f for f in place.iterdir() if f.suffix.lower() in _MASK_ENDINGS and f.stem.startswith(f"{image.stem}_")
        )
    if several:
        raise InputError(f"one mask {masks} for several pictures: give a folder, or a pattern like masks/{{stem}}.png")
    return [place]


def _union(name: str, paths: Sequence[Path] | None, image: Image) -> Tensor | None:
    """The positions in any of the masks, empty with a warning if no file was found; None if none was asked for."""
    import torch

    from cfcam.clinical.organ_masks import read_mask

    if paths is None:
        return None
    union = torch.zeros(image.size, dtype=torch.bool)
    if not paths:
        warn(f"no mask for --{name} was found for {image.path.name if image.path else 'the picture'}")
    for path in paths:
        mask, notices = read_mask(path, image)
        for notice in notices:
            warn(notice)
        union |= mask
    return union


def _write(path: Path, document: dict[str, Any]) -> None:
    import json
    import os

    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(document, indent=2, default=str), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"--output {path}: cannot be written ({error.strerror}); check the folder") from error


def _probability(value: float | None) -> str:
    return "" if value is None else f" {value:.3f}"


def _show(title: str, what: str, results: Sequence[CheckResult]) -> None:
    from rich.table import Table
    from rich.text import Text

    styles = {"pass": "green", "flag": "bold red", "not assessed": "dim"}
    table = Table(title=Text(plain(f"{title}: {what}")), title_justify="left")
    for heading in ("check", "outcome", "value", "limit", "what it says"):
        table.add_column(heading)
    for result in results:
        numbers = ("-" if value is None else f"{value:.3f}" for value in (result.value, result.limit))
        table.add_row(result.name, Text(result.outcome, styles[result.outcome]), *numbers, plain(result.detail))
    out().print(table)
