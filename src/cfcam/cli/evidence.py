"""``cfcam evidence``: a network and data in, a folder that documents what its maps are worth out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from cfcam.cli.arguments import places, words
from cfcam.cli.arguments.read import read_words
from cfcam.cli.command import Checked, Command, add, function_of
from cfcam.cli.options.masks import Masks, masks_of
from cfcam.cli.options.network import Model
from cfcam.cli.options.preparation import Resizing
from cfcam.cli.options.question import OneMethod
from cfcam.cli.options.run import LongRun
from cfcam.cli.output.ahead import Lines, beating
from cfcam.cli.output.console import EXIT_FAILED, err, error, hint, out, plain, print_json, warn
from cfcam.cli.output.help import folding
from cfcam.cli.output.panels import Panel
from cfcam.errors import InputError
from cfcam.shown import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cfcam.jobs.evidence.cases import EvidenceCase
    from cfcam.jobs.evidence.run import Pack
    from cfcam.jobs.evidence.settings import EvidenceSettings
    from cfcam.models import LoadedModel

DEMO, DEMO_PHANTOMS = "demo", 40


@dataclass(frozen=True, kw_only=True)
class Evidence(LongRun, Masks, Resizing, OneMethod):
    """Document what a network's maps are worth: a folder with a page, machine files and the hashes of all.

    The rules are fixed in protocol.json before anything is measured. Fields of the model card that you do not state
    are shown as not stated. The pack supports documentation; it is no statement of compliance. Research use only.
    """

    examples: ClassVar[str] = """
**Examples**

    cfcam evidence --model demo --data demo --output pack

    cfcam evidence -m networks.py:my_net --data cases.csv --card card.yaml --protocol rules.json --artefacts devices/

    cfcam evidence verify pack --against 3f1c...

A run that was stopped goes on where it was when the same command is given again.

Exit codes: 0 nothing flagged · 1 a rule flagged, a case failed, or a file changed · 2 wrong usage · 130 interrupted.
"""
    everyday: ClassVar[str] = (
        "model weights classes layer size mean std device data method organ artefacts protocol card limit output quiet"
    )
    panel: ClassVar[Panel | None] = Panel.MEASURED
    goes_on: ClassVar[bool] = True

    context: typer.Context
    model: Model = None
    data: Annotated[
        str | None,
        typer.Option("--data", "-d", metavar="CSV|FOLDER|demo", help="As for cfcam evaluate.", show_default=False),
        Checked(places.data),
    ] = None
    metrics: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Of the scorecard. [default: quick and sanity]", show_default=False),
        Checked(words.metrics),
    ] = None
    explained: Annotated[
        str | None,
        typer.Option(
            "--explain",
            metavar="predicted|label",
            help="Class that the scorecard explains. [default: predicted; label for the phantoms]",
            show_default=False,
        ),
        Checked(words.one_of("--explain", ("predicted", "label"))),
    ] = None
    organ: Annotated[
        str | None, typer.Option(metavar="MASKS", help="As for cfcam check."), Checked(places.masks("--organ"))
    ] = None
    artefacts: Annotated[
        str | None, typer.Option(metavar="MASKS", help="As for cfcam check."), Checked(places.masks("--artefacts"))
    ] = None
    protocol: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="JSON or YAML of rules and limits. [default: starting points]", show_default=False
        ),
        Checked(places.fields("--protocol")),
    ] = None
    deviation: Annotated[
        str | None,
        typer.Option(metavar="REASON", help="Change a protocol that was fixed before; the pack shows it."),
        Checked(words.word("--deviation", "the reason")),
    ] = None
    retests: Annotated[int, typer.Option(min=0, metavar="N", help="Times that each case is explained again.")] = 8
    gallery: Annotated[int, typer.Option(min=0, metavar="N", help="Worst cases of each kind to show.")] = 3
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="Put pictures into the pack.")] = True
    card: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="YAML or JSON with fields of the model card: intended_use, ...",
            rich_help_panel=Panel.STATED,
        ),
        Checked(places.fields("--card")),
    ] = None
    junit: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Results of cfcam's tests: pytest --junit-xml FILE.",
            rich_help_panel=Panel.STATED,
        ),
        Checked(places.file("--junit")),
    ] = None
    record: Annotated[
        str | None,
        typer.Option(
            metavar="AUDIT",
            help="Certify the head of this audit, and enter the pack in it.",
            rich_help_panel=Panel.STATED,
        ),
        Checked(places.audit),
    ] = None
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Take N cases at random.", rich_help_panel=Panel.RUN)
    ] = None
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of everything drawn.", rich_help_panel=Panel.RUN)] = 0
    batch_size: Annotated[
        int, typer.Option(min=1, metavar="N", help="Pictures in one pass of the network.", rich_help_panel=Panel.RUN)
    ] = 8
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FOLDER", help="Folder of the pack.", rich_help_panel=Panel.RUN),
        Checked(places.folder),
    ] = Path("evidence")

    def __post_init__(self) -> None:
        """Looks whether the audit may be where it is said to be."""
        super().__post_init__()
        places.audit_folder(self.record, self.output)

    @property
    def of_phantoms(self) -> bool:
        """Whether drawn phantoms are measured instead of data of the user's own."""
        return self.data == DEMO and not Path(self.data).exists()

    def __call__(self) -> None:
        """Fixes the protocol, measures, and writes the pack."""
        if self.context.invoked_subcommand is not None:
            return
        if self.model is None or self.data is None:
            raise InputError("give the network with --model and the data with --data: a CSV file, a folder, or demo")
        if self.of_phantoms and masks_of(self):
            raise InputError("--organ and --artefacts are for your own data: the phantoms bring their masks")

        from cfcam.files import own_output

        settings = self._settings()
        loaded = self.load()
        _check_pictures(loaded)
        settings = replace(settings, preprocess=self.prepared_pictures(loaded))
        with own_output(self.output, shown=self.output.name):  # from the protocol to the seal
            self._made(loaded, settings)

    def _made(self, loaded: LoadedModel, settings: EvidenceSettings) -> None:
        from cfcam.cli.output import evaluation as said
        from cfcam.jobs.evidence.run import EvidenceRun

        notes: list[str] = []
        run = EvidenceRun(loaded, self._cases(loaded, notes), settings, self.output)
        if not self.quiet:
            for note in [*notes, *run.notes]:
                warn(note)
            hint(f"protocol fixed {run.fixed.time}, SHA-256 {run.fixed.sha256}")
        scored = said.follow(run.scorecard, quiet=self.quiet)
        if not scored.rows:
            said.show_failures(scored)
            error(f"none of {counted(len(scored.failed), 'case')} could be measured")
            raise typer.Exit(EXIT_FAILED)
        with _bar(quiet=self.quiet) as progress:
            records = run.measure(progress)
        pack = run.finish(scored, records)
        if self.as_json:
            print_json(_document(pack))
        elif not self.quiet:
            _show(pack)
        if pack.failed or any(rule.outcome == "flag" for rule in pack.rules):
            raise typer.Exit(EXIT_FAILED)

    def _settings(self) -> EvidenceSettings:
        """All but the preparation, which the network has a say in."""
        from cfcam.jobs.evidence.files import read_fields
        from cfcam.jobs.evidence.protocol import read_rules
        from cfcam.jobs.evidence.settings import EvidenceSettings, default_metrics

        rules, limits = read_rules({} if self.protocol is None else read_fields(self.protocol, "--protocol"))
        of_labels = self.explained == "label" or (self.explained is None and self.of_phantoms)
        return EvidenceSettings(
            method=self.method,
            metrics=default_metrics() if self.metrics is None else read_words("--metrics", self.metrics),
            rules=rules,
            limits=limits,
            explained="label" if of_labels else "predicted",
            layer=self.layer,
            limit=self.limit,
            seed=self.seed,
            retests=self.retests,
            gallery=self.gallery,
            pictures=self.pictures,
            batch_size=self.batch_size,
            card={} if self.card is None else read_fields(self.card, "--card"),
            junit=self.junit,
            record=self.record,
            deviation=self.deviation,
            data=self._described(),
        )

    def _described(self) -> str:
        """What to call the data without naming a folder, which may say of whom it is."""
        if self.of_phantoms:
            return "drawn chest phantoms, nobody's"
        return "a folder of pictures" if Path(str(self.data)).is_dir() else "a table of pictures"

    def _cases(self, loaded: LoadedModel, notes: list[str]) -> Sequence[EvidenceCase]:
        from cfcam.jobs.evidence.cases import numbered, numbered_phantoms
        from cfcam.jobs.inputs.masks import RegionMasks

        if self.of_phantoms:
            from cfcam.jobs.cases.phantoms import phantom_cases

            return numbered_phantoms(phantom_cases(self.limit or DEMO_PHANTOMS, self.seed))
        from cfcam.jobs.cases.folder import find_cases

        regions = [RegionMasks(kind, where) for kind, where in masks_of(self)]
        cases = find_cases(str(self.data), loaded.classes, output=self.output, notice=notes.append)
        return numbered(cases, regions)


@dataclass(frozen=True, kw_only=True)
class Verify(Command):
    """Find changed, missing and added files of a pack."""

    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="An evidence pack."), Checked(places.pack)]
    against: Annotated[
        str | None,
        typer.Option(metavar="SHA256", help="Of MANIFEST.sha256, as printed when the pack was made."),
        Checked(words.digest),
    ] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")] = False

    def __call__(self) -> None:
        """Says whether the pack is whole, or which files are not."""
        from dataclasses import asdict

        from cfcam.jobs.evidence import files

        found = files.verify(self.folder, self.against)
        if self.as_json:
            print_json(asdict(found) | {"ok": found.ok})
        elif found.ok:
            out().print(
                f"whole: {counted(found.files, 'file')}, SHA-256 of the list {found.manifest_sha256}", soft_wrap=True
            )
        for kind, names in (("changed", found.changed), ("missing", found.missing), ("added", found.added)):
            for name in names:
                error(f"{kind}: {plain(name)}")
        for line in found.wrong:
            error(line)
        if not found.ok:
            raise typer.Exit(EXIT_FAILED)
        if self.against is None and not self.as_json:
            hint(
                "a list that was written anew is only noticed with --against, the SHA-256 printed when the pack was"
                " made"
            )


evidence = typer.Typer(
    cls=folding(typer.core.TyperGroup, Evidence.everyday),
    epilog=Evidence.examples,
    invoke_without_command=True,
    no_args_is_help=True,
)
evidence.callback()(function_of(Evidence))
add(evidence, Verify)


@contextmanager
def _bar(*, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    console = err()
    if quiet:
        yield lambda done, total: None
        return
    if not console.is_terminal:
        lines, earlier = Lines("checks and retests", "cases"), list[int]()

        def tell(done: int, total: int) -> None:
            earlier.append(done)  # first what an earlier run has done
            lines(done, total, earlier=earlier[0])

        with beating(lines.beat):
            yield tell
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(compact=True))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("checks and retests", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _check_pictures(loaded: LoadedModel) -> None:
    """Raises `InputError` for a network of volumes, before anything is asked about pictures."""
    from cfcam.models.expects import takes_volumes

    if loaded.preparation is None and takes_volumes(loaded.module):
        raise InputError(
            "evidence is of networks of pictures, and this one takes volumes: cfcam evaluate measures its maps, cfcam"
            " explain makes them"
        )


def _document(pack: Pack) -> dict[str, object]:
    return {
        "page": str(pack.page),
        "manifest_sha256": pack.manifest_sha256,
        "cases": pack.cases,
        "failed": pack.failed,
        "rules": [rule.as_dict() for rule in pack.rules],
    }


def _show(pack: Pack) -> None:
    from rich.table import Table
    from rich.text import Text

    styles = {"pass": "green", "flag": "bold red", "not assessed": "dim"}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("rule", "outcome", "value", "limit", "what it says"):
        table.add_column(heading)
    for rule in pack.rules:
        numbers = ("-" if value is None else f"{value:.3f}" for value in (rule.value, rule.limit))
        table.add_row(rule.name, Text(rule.outcome, styles[rule.outcome]), *numbers, plain(rule.detail))
    console = out()
    console.print(table)
    line = Text(f"{pack.cases} cases, {pack.failed} not measured -> ", style="bold")
    line.append(plain(pack.page), style=f"link {pack.page.absolute().as_uri()}")
    console.print(line, soft_wrap=True)
    console.print(Text(f"SHA-256 of MANIFEST.sha256: {pack.manifest_sha256}"), soft_wrap=True)
    hint("keep that hash elsewhere; a flag asks a person to look; research use only, not a medical device")
