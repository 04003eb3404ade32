"""``cfcam check``: are the maps of a network where they may be, and what do they rest on?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cfcam.cli.arguments import places
from cfcam.cli.options import network as options
from cfcam.cli.options import volumes
from cfcam.cli.output.console import EXIT_FAILED, command, hint, out, plain, print_json, warn
from cfcam.errors import CfcamError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from cfcam.clinical.checks import CheckResult, Limits
    from cfcam.explainer import Explainer
    from cfcam.imaging import Preprocess, VolumePreprocess
    from cfcam.jobs.check.zones import Zones
    from cfcam.jobs.inputs.masks import RegionMasks
    from cfcam.jobs.inputs.preparing import Prepared
    from cfcam.models import LoadedModel

PANEL = "The checks"


@command
def check(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Pictures, volumes, folders or globs.")],
    model: options.Model = "demo",
    weights: options.Weights = None,
    num_classes: options.NumClasses = None,
    classes: options.Classes = None,
    head: options.Head = None,
    probability: options.ProbabilityHow = None,
    layer: options.Layer = None,
    size: options.Size = None,
    mean: options.Mean = None,
    std: options.Std = None,
    device: options.Device = "auto",
    window: volumes.Window = None,
    spacing: volumes.Spacing = None,
    orientation: volumes.Orientation = None,
    intensity: volumes.Intensity = None,
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
            help="Where maps may lie: a mask (PNG, NIfTI, DICOM SEG), a folder, masks/{stem}_lung.png, boxes.csv.",
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
    zone: Annotated[
        list[str] | None,
        typer.Option(
            "--zone",
            metavar="NAME=MASKS",
            help="A part of the organ, for --reported; repeatable.",
            rich_help_panel=PANEL,
        ),
    ] = None,
    reported: Annotated[
        str | None,
        typer.Option(
            metavar="ZONE|CSV",
            help="The zone that the report names: for all, or a table image,zone.",
            rich_help_panel=PANEL,
        ),
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
    peak_stability: Annotated[
        bool,
        typer.Option(
            "--peak-stability",
            help="Tell where each map points, and under how many small motions that stays (17 passes a picture).",
            rich_help_panel=PANEL,
        ),
    ] = False,
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
    _check_zones(zone, reported)

    from functools import partial

    from cfcam.clinical.checks import Limits, count_outcomes, over_cases
    from cfcam.explainer import Explainer
    from cfcam.jobs.inputs.masks import RegionMasks
    from cfcam.jobs.inputs.preparing import assumption_notes, prepare

    chosen = Limits() if limits is None else Limits.read(limits)
    zones = _zones(zone, reported)
    loaded = options.load_model(
        model,
        weights=weights,
        num_classes=num_classes,
        classes=classes,
        device=device,
        head=head,
        probability=probability,
    )
    for note in loaded.notes:
        warn(note)
    files, preprocess = _prepared(
        loaded,
        images,
        window,
        size=volumes.read_size(size),
        mean=options.read_numbers("--mean", mean),
        std=options.read_numbers("--std", std),
        spacing=spacing,
        orientation=orientation,
        intensity=intensity,
    )
    for note in assumption_notes(preprocess):
        warn(note)
    explainer = Explainer(
        loaded.module,
        [method],
        layer=layer,
        classes=loaded.classes,
        probability=loaded.probability,
        output=loaded.output,
        fingerprint=True,
    )
    masks = [RegionMasks("organ", organ)] if organ else []
    masks += [RegionMasks("artefacts", artefacts)] if artefacts else []
    masks += [RegionMasks("findings", findings)] if findings else []
    read = partial(prepare, preprocess=preprocess, window=volumes.read_window(window))
    session = _Session(
        explainer, read, method, options.read_target(target), chosen, retest, masks, zones, peak_stability
    )
    cases = [session.case(file, several=len(files) > 1) for file in files]
    of_set = session.similar()
    if len(cases) > 1:
        of_set += over_cases([case["checks"] for case in cases], chosen)
    document: dict[str, Any] = {
        "cases": [{**case, "checks": [result.as_dict() for result in case["checks"]]} for case in cases],
        "all": [result.as_dict() for result in of_set],
        "counts": count_outcomes([case["checks"] for case in cases]),
        "limits": {name: getattr(chosen, name) for name in Limits.__dataclass_fields__},
        "provenance": {
            **explainer.provenance(),
            "prepared": preprocess.told,
            "preprocess": preprocess.as_dict(),
            "assumed": list(preprocess.assumptions),
        },
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


def _prepared(
    loaded: LoadedModel,
    images: Sequence[Path],
    window: str | None,
    *,
    size: Any,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    spacing: str | None,
    orientation: str | None,
    intensity: str | None,
) -> tuple[list[Path], Preprocess | VolumePreprocess]:
    """The images, and what is done to them: as volumes if the network takes volumes, else as pictures one by one."""
    from cfcam.imaging import list_images
    from cfcam.jobs import preprocess_of
    from cfcam.models.expects import takes_volumes

    if not takes_volumes(loaded.module):
        if spacing or orientation or intensity:
            raise InputError("--spacing, --orientation and --intensity are for volumes, and the network takes pictures")
        return list_images(images), preprocess_of(loaded, size=size, mean=mean, std=std)
    from cfcam.imaging.reading.series import no_volume
    from cfcam.jobs import Kind, find_inputs

    found = find_inputs(images, output="")
    if pictures := [one.path for one in found if one.kind is not Kind.VOLUME]:
        raise no_volume(pictures[0])
    preprocess = volumes.prepared_volumes(
        loaded,
        mean=mean,
        std=std,
        size=size,
        spacing=spacing,
        window=volumes.read_window(window),
        intensity=intensity,
        orientation=orientation,
    )
    return [one.path for one in found], preprocess


def _check_zones(given: list[str] | None, reported: str | None) -> None:
    if (given is None) != (reported is None):
        raise InputError("--zone and --reported belong together: give the zones, and which one the report names")
    if given is None or reported is None:
        return
    names = [text.partition("=")[0].strip() for text in given]
    if len(names) < 2:
        raise InputError("--zone: give two zones or more; with a single one there is nothing to compare")
    if Path(reported).suffix.lower() in (".csv", ".tsv"):
        places.file("--reported")(reported)
    elif reported not in names:
        raise InputError(f"--reported {reported!r}: is not among the zones {', '.join(names)}; name one, or a table")


def _zones(given: list[str] | None, reported: str | None) -> Zones | None:
    from cfcam.jobs.check.zones import Zones

    return None if given is None or reported is None else Zones.of(given, reported)


class _Session:
    """What all images share, and the maps that are compared at the end."""

    def __init__(
        self,
        explainer: Explainer,
        read: Callable[[Path], Prepared],
        method: str,
        target: int | str,
        limits: Limits,
        retest: bool,
        masks: Sequence[RegionMasks],
        zones: Zones | None,
        peak_stability: bool = False,
    ) -> None:
        self.zones, self.peak_stability = zones, peak_stability
        self.explainer, self.read, self.method = explainer, read, method
        self.target, self.limits, self.retest, self.masks = target, limits, retest, masks
        self.maps: dict[str, list[tuple[Tensor, float]]] = {}

    def case(self, file: Path, *, several: bool) -> dict[str, Any]:
        """Checks one picture or volume; one that is DICOM goes by its neutral name, in messages too."""
        from dataclasses import replace

        from cfcam.jobs.inputs.privacy import labelled, neutral, without_stem

        source = labelled(file)
        try:
            found = self._case(
                file, several=several, say=lambda text: warn(without_stem(neutral(text, source), source))
            )
        except CfcamError as error:
            if source.label is None:
                raise
            raise InputError(without_stem(neutral(str(error), source), source)) from None
        told = [replace(r, detail=without_stem(neutral(r.detail, source), source)) for r in found["checks"]]
        return {**found, "image": source.shown.name, "checks": told}

    def _case(self, file: Path, *, several: bool, say: Callable[[str], None]) -> dict[str, Any]:
        from cfcam.clinical import checks
        from cfcam.jobs.check.region_checks import region_checks

        prepared = self.read(file)
        image, x = prepared.image, prepared.x
        for notice in prepared.notices:
            say(notice)
        regions = {mask.kind: mask.read(file, image, several=several) for mask in self.masks}
        for notice in (notice for region in regions.values() for notice in region.notices):
            say(notice)
        explanation = self.explainer(x, None if self.target == "predicted" else [self.target])
        heat = prepared.back(explanation.heatmaps(self.method)[0, 0].cpu())
        probability = explanation.probability(0, 0)
        index, label = int(explanation.targets[0, 0]), explanation.label(0, 0)
        results = region_checks(
            regions,
            heat,
            lambda mask: checks.artefact_intervention(
                self.explainer, x, prepared.forth(mask), index, self.method, limits=self.limits
            ),
            spacing=image.spacing,
            affine=image.affine,
            probability=probability,
            limits=self.limits,
        )
        if self.zones is not None:
            results += self.zones.check(file, image, heat, self.limits, several=several)
        if self.retest:
            results += checks.retest_stability(self.explainer, x, index, self.method, limits=self.limits)
        pointed: dict[str, Any] = {}
        if self.peak_stability:
            from cfcam.jobs.check.peaks import peak_check

            found, pointed = peak_check(
                self.explainer, x, index, self.method, heat, image, file, prepared.back, limits=self.limits
            )
            results += found
        if probability is not None and probability >= self.limits.min_probability:
            self.maps.setdefault(label, []).append((explanation.heatmaps(self.method)[0, 0].cpu(), probability))
        return {"class": label, "probability": probability, **pointed, "checks": results}

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
