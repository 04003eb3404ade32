"""``cfcam check``: are the maps of a network where they may be, and what do they rest on?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from cfcam.cli.arguments import places, words
from cfcam.cli.arguments.read import read_target, read_window
from cfcam.cli.command import Checked
from cfcam.cli.options.masks import Masks, masks_of
from cfcam.cli.options.question import Question
from cfcam.cli.options.run import Run
from cfcam.cli.options.volumes import VolumePreparation
from cfcam.cli.output.console import EXIT_FAILED, hint, out, plain, print_json, warn
from cfcam.cli.output.panels import Panel
from cfcam.errors import InputError
from cfcam.shown import answer_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cfcam.clinical.checks.results import CheckResult
    from cfcam.jobs.check.settings import CheckSettings
    from cfcam.models import LoadedModel


@dataclass(frozen=True, kw_only=True)
class Check(Run, Masks, VolumePreparation, Question):
    """Check maps: in the organ, not on a device, steady, and on every finding.

    Each check passes, is flagged, or is not assessed. A flag asks a person to look; a pass proves nothing.
    """

    examples: ClassVar[str] = """
**Examples**

    cfcam check scans/ -m networks.py:my_net --organ masks/{stem}_lungs.png --artefacts devices/

    cfcam check chest.png --findings lesions.png --limits site.json --json --output checks.json

Exit codes: 0 nothing flagged · 1 something flagged · 2 wrong usage.
"""
    everyday: ClassVar[str] = (
        "model weights classes layer size mean std device method target organ artefacts findings limits output"
    )
    panel: ClassVar[Panel | None] = Panel.CHECKS

    images: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGE...", help="Pictures, volumes, folders or globs."),
        Checked(places.inputs),
    ]
    findings: Annotated[
        str | None,
        typer.Option(metavar="MASKS", help="All findings of a picture; likewise."),
        Checked(places.masks("--findings")),
    ] = None
    zone: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=MASKS", help="A part of the organ, for --reported; repeatable."),
        Checked(places.named_masks("--zone")),
    ] = None
    reported: Annotated[
        str | None,
        typer.Option(metavar="ZONE|CSV", help="The zone that the report names: for all, or a table image,zone."),
    ] = None
    limits: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="JSON of the site's limits. [default: starting points, see the documentation]"
        ),
        Checked(words.limits),
    ] = None
    retest: Annotated[bool, typer.Option("--retest/--no-retest", help="Explain again under small changes.")] = True
    peak_stability: Annotated[
        bool,
        typer.Option(
            "--peak-stability",
            help="Tell where each map points, and under how many small motions that stays (17 passes a picture).",
        ),
    ] = False
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the results as JSON too."),
        Checked(places.new_file("--output")),
    ] = None

    def __post_init__(self) -> None:
        """Looks at the zones and the one that is reported."""
        super().__post_init__()
        _check_zones(self.zone, self.reported)

    def __call__(self) -> None:
        """Checks each image, then all together, and shows what was found."""
        from cfcam.jobs.check.run import CheckRun, find_images
        from cfcam.jobs.inputs.preparing import assumption_notes

        settings = self._settings()
        loaded = self.load()
        for note in loaded.notes:
            warn(note)
        self._refuse_volumes(loaded)
        images, preprocess = find_images(loaded, self.images), self.prepared(loaded)
        for note in assumption_notes(preprocess):
            warn(note)
        report = CheckRun(loaded, preprocess, settings, warn)(images)
        if self.output is not None:
            _write(self.output, report.as_dict())
        if self.as_json:
            print_json(report.as_dict())
        else:
            for image in report.images:
                answer = answer_text(image.probability, image.margin, 3)
                _show(image.name, f"{image.label} {answer}".rstrip(), image.results)
            if report.together:
                _show("all pictures", "similar cases and flags", report.together)
            hint("a flag asks a person to look, a pass proves nothing; research use only, not a medical device")
        if report.flagged:
            raise typer.Exit(EXIT_FAILED)

    def _settings(self) -> CheckSettings:
        from cfcam.clinical.checks.results import Limits
        from cfcam.jobs.check.settings import CheckSettings
        from cfcam.jobs.check.zones import Zones
        from cfcam.jobs.inputs.masks import RegionMasks

        return CheckSettings(
            method=self.method,
            target=read_target(self.target),
            layer=self.layer,
            limits=Limits() if self.limits is None else Limits.read(self.limits),
            masks=tuple(RegionMasks(kind, where) for kind, where in masks_of(self)),
            zones=None if self.zone is None or self.reported is None else Zones.of(self.zone, self.reported),
            retest=self.retest,
            peak_stability=self.peak_stability,
            window=read_window(self.window),
        )

    def _refuse_volumes(self, loaded: LoadedModel) -> None:
        from cfcam.models.expects import takes_volumes

        if (self.spacing or self.orientation or self.intensity) and not takes_volumes(loaded.module):
            raise InputError("--spacing, --orientation and --intensity are for volumes, and the network takes pictures")


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


def _write(path: Path, document: dict[str, Any]) -> None:
    import json

    from cfcam.files import save, without_nan

    text = json.dumps(without_nan(document), indent=2, default=str, allow_nan=False)
    save(path, text.encode(), shown=f"--output {path}")


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
