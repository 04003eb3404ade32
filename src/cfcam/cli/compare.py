"""``cfcam compare``: what became of a map between two studies of one patient?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from cfcam.cli.arguments import places, words
from cfcam.cli.arguments.read import read_target, read_window
from cfcam.cli.command import Checked
from cfcam.cli.options.question import Question, target_option
from cfcam.cli.options.run import Run
from cfcam.cli.options.volumes import VolumePreparation, VolumeReading
from cfcam.cli.output.console import EXIT_FAILED, err, error, hint, out, plain, print_json, warn
from cfcam.cli.output.panels import Panel
from cfcam.errors import InputError

if TYPE_CHECKING:
    from cfcam.jobs.compare.pairs import PairResult


@dataclass(frozen=True, kw_only=True)
class Compare(Run, VolumeReading, VolumePreparation, Question):
    """Compare the maps of two studies of one patient: registered, on one scale, against test-retest.

    Writes a figure, a JSON file and a line of comparisons.csv for each pair; of volumes the difference as NIfTI, too.
    A change of the map is not a change of disease.
    """

    examples: ClassVar[str] = """
**Examples**

    cfcam compare chest-2023.png chest-2024.png -m networks.py:my_net --target nodule

    cfcam compare ct-before/ ct-after/ -m networks.py:my_unet --registration affine --mask liver=liver.nii.gz

    cfcam compare --pairs pairs.csv -m networks.py:my_net -o serial/ --json

pairs.csv, paths relative to it:

    prior,current,name

    p1/2023.dcm,p1/2024.dcm,patient-1

A run that was stopped goes on where it was when the same command is given again.

Exit codes: 0 all compared · 1 some not compared · 2 wrong usage · 130 interrupted.
"""
    everyday: ClassVar[str] = (
        "model weights classes layer size mean std device pairs method target registration threshold mask output"
    )
    panel: ClassVar[Panel | None] = Panel.COMPARISON
    goes_on: ClassVar[bool] = True

    prior: Annotated[
        Path | None,
        typer.Argument(metavar="PRIOR", help="The earlier study: a picture, NIfTI, DICOM file or folder."),
        Checked(places.input_),
    ] = None
    current: Annotated[
        Path | None, typer.Argument(metavar="CURRENT", help="The later study."), Checked(places.input_)
    ] = None
    pairs: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="Many pairs: columns prior, current and, if wanted, name; paths relative to the file.",
        ),
        Checked(places.file("--pairs")),
    ] = None
    target: Annotated[
        str,
        target_option("Index, name or predicted (of the current study); explained in both."),
        Checked(words.target),
    ] = "predicted"
    registration: Annotated[
        str,
        typer.Option(metavar="KIND", help="rigid, or affine after rigid."),
        Checked(words.one_of("--registration", ("rigid", "affine"))),
    ] = "rigid"
    no_registration: Annotated[
        bool, typer.Option("--no-registration", help="Take places as they are in both images.")
    ] = False
    gate: Annotated[
        str,
        typer.Option(
            metavar="NAME=X,...",
            help="What the registration must reach: correlation, overlap, shift, rotation, scale.",
        ),
        Checked(words.gate),
    ] = ""
    threshold: Annotated[
        float,
        typer.Option(metavar="0..1", help="Hot from this share of the common scale on."),
        Checked(words.share("above", "above 0, up to 1: the share of the common scale")),
    ] = 0.5
    mask: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FILE", help="Follow the mean of the map in a mask on the prior image."),
        Checked(places.named_masks("--mask", "FILE")),
    ] = None
    retests: Annotated[int, typer.Option(min=0, metavar="N", help="Retests of each study for the repeatability.")] = 8
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of the retests.")] = 0
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FOLDER", help="Where the files go.", rich_help_panel=Panel.RUN),
        Checked(places.folder),
    ] = Path("comparison")

    def __post_init__(self) -> None:
        """Looks for two studies, or for pairs, and for what there is to choose."""
        super().__post_init__()
        if self.pairs is not None and (self.prior is not None or self.current is not None):
            raise InputError("--pairs names the studies: leave PRIOR and CURRENT out")
        if self.pairs is None and (self.prior is None or self.current is None):
            raise InputError("two studies are needed: cfcam compare PRIOR CURRENT, or --pairs FILE.csv")
        if self.no_registration and (self.registration != "rigid" or self.gate):
            raise InputError("--no-registration leaves nothing to choose: leave --registration and --gate out")

    def __call__(self) -> None:
        """Compares one pair after the other, and shows what changed."""
        from cfcam.clinical.comparison.gate import Gate
        from cfcam.jobs.compare.pairs import make_pair, read_pairs
        from cfcam.jobs.compare.run import ComparePairs
        from cfcam.jobs.compare.settings import CompareSettings

        if self.pairs is not None:
            wanted = read_pairs(self.pairs)
        else:
            wanted = [make_pair(Path(str(self.prior)), Path(str(self.current)))]
        limits = Gate.parse(self.gate)
        loaded = self.load()
        for note in loaded.notes:
            warn(note)
        kind: Any = "none" if self.no_registration else self.registration
        settings = CompareSettings(
            output=self.output,
            method=self.method,
            target=read_target(self.target),
            layer=self.layer,
            registration=kind,
            gate=limits,
            threshold=self.threshold,
            masks=_masks(self.mask or []),
            retests=self.retests,
            seed=self.seed,
            preprocess=self.prepared(loaded),
            volumes=self.reading(),
            window=read_window(self.window),
        )
        results = ComparePairs(loaded, settings).run(wanted, _progress(len(wanted)))
        if self.as_json:
            print_json([result.document for result in results])
        else:
            for result in results:
                _show(result)
            hint("a change of the map is not a change of disease; research use only, not a medical device")
        if any(result.state == "not compared" for result in results):
            raise typer.Exit(EXIT_FAILED)


def _masks(given: list[str]) -> dict[str, Path]:
    masks: dict[str, Path] = {}
    for text in given:
        name, found, path = text.partition("=")
        if not (found and name.strip() and path.strip()) or name.strip() in masks:
            raise InputError(f"--mask {text!r}: give NAME=FILE, each name once")
        masks[name.strip()] = Path(path.strip())
    return masks


def _progress(count: int) -> Any:
    """Says after each of several pairs what became of it."""
    done = 0

    def say(result: PairResult) -> None:
        nonlocal done
        done += 1
        verdict = result.document.get("verdict", result.reason)
        if result.state == "not compared":
            error(f"{result.pair.name}: {result.reason}")
        elif count > 1:
            err().print(plain(f"{done}/{count} {result.pair.name}: {result.state}; {verdict}"), soft_wrap=True)

    return say


def _show(result: PairResult) -> None:
    from rich.table import Table
    from rich.text import Text

    if result.state == "not compared":
        return
    from cfcam.clinical.comparison.result import Change
    from cfcam.jobs.compare.tables import table_of

    document = result.document
    numbers = table_of([Change(**values) for values in document["changes"]])
    title = f"{document['prior']} -> {document['current']}: {document['class']['name']}, {document['method']}"
    table = Table(
        title=Text(plain(f"{title}; {document['verdict']}")), title_justify="left", caption=document["statement"]
    )
    for name in numbers.headings:
        table.add_column(name)
    for row, marked in zip(numbers.rows, numbers.marked, strict=True):
        table.add_row(*(Text(plain(cell), "bold" if marked else "") for cell in row))
    out().print(table)
    for note in document["notes"]:
        hint(note)
