"""``cfcam demo``: everything, without data or network of one's own."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from cfcam.cli.arguments import places
from cfcam.cli.command import Checked, Command
from cfcam.cli.output.console import EXIT_FAILED, out, plain

METHODS = ("cf-cam", "cam", "grad-cam", "grad-cam++", "score-cam")


@dataclass(frozen=True, kw_only=True)
class Demo(Command):
    """Explain drawn chest phantoms with the embedded networks, in about half a minute.

    Nothing is downloaded. The second network learned a shortcut: see what it looks at.
    """

    examples: ClassVar[str] = """
**Example**

    cfcam demo --output cfcam-demo
"""

    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write into."), Checked(places.folder)] = (
        Path("cfcam-demo")
    )
    study: Annotated[
        bool, typer.Option("--study", help="Only draw a patient's two radiographs as DICOM, to try the clinical side.")
    ] = False
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Explain again what is already done.")] = False

    def __call__(self) -> None:
        """Draws the phantoms, explains them, and says where to look."""
        if self.study:
            _draw_study(self.output)
            return
        from rich.text import Text

        from cfcam.cli.output import run as report
        from cfcam.jobs import FolderRun, PageSettings, Settings, find_inputs
        from cfcam.models import load
        from cfcam.models.demo import write_examples

        pictures = write_examples(self.output / "testimgs")
        pacemaker = next(path for path in pictures if path.stem == "pacemaker")
        failed = 0
        for model, chosen, folder, task in (
            ("demo", pictures, self.output / "maps", "the honest network"),
            ("demo-shortcut", [pacemaker], self.output / "shortcut", "the network with a shortcut"),
        ):
            page = PageSettings() if len(chosen) > 1 else None
            settings = Settings(
                output=folder, methods=METHODS, overwrite=self.overwrite, command=tuple(sys.argv), page=page
            )
            run = FolderRun(load(model), find_inputs(chosen, output=folder), settings)
            tally = report.follow(run, task=task)
            out().print(Text(task, style="bold"))
            report.show_table(tally, run)
            report.show_failures(tally)
            report.show_summary(tally, run)
            failed += tally.count("failed")
        for line in _where_to_look(self.output):
            out().print(Text(line), soft_wrap=True)
        report.show_disclaimer()
        if failed:
            raise typer.Exit(EXIT_FAILED)


def _where_to_look(output: Path) -> tuple[str, ...]:
    maps, shortcut = plain(output / "maps"), plain(output / "shortcut" / "pacemaker_sheet.png")
    return (
        f"1. Open {maps}/index.html, or {maps}/nodule_sheet.png: five methods, and each should point at the nodule.",
        f"2. Then {shortcut}: this network calls a healthy patient ill, and the maps show why.",
        f"3. To look closer: cfcam view {plain(output / 'testimgs')} --model demo (the extra view) opens the viewer.",
        "4. What are these maps worth? cfcam evaluate demo --limit 8 measures them against exact masks, in a minute.",
        "5. Radiographs, DICOM, reports? cfcam demo --study draws a patient to try them on.",
        "6. Now yours: cfcam explain PICTURES --model FILE.py:FACTORY (cfcam explain --help).",
    )


def _draw_study(output: Path) -> None:
    from rich.text import Text

    from cfcam.jobs.cases.drawn_study import write_drawn_study

    prior, current = write_drawn_study(output / "study")
    for line in (
        f"1. Two radiographs of a drawn patient: {plain(prior)} and, a year later, {plain(current)}.",
        f"2. Everything of a study: cfcam explain {plain(current)} --dicom seg,sr,sc --report html,pdf",
        f"3. What changed: cfcam compare {plain(prior)} {plain(current)} --target nodule",
        f"4. Look at both: cfcam view {plain(prior.parent)} --model demo, and press B for the prior beside",
    ):
        out().print(Text(line), soft_wrap=True)
