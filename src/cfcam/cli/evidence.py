"""``cfcam evidence``: a network and data in, a folder that documents what its maps are worth out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cfcam.cli.options import network as options
from cfcam.cli.output.console import EXIT_FAILED, command, err, error, hint, out, plain, print_json, warn
from cfcam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cfcam.jobs.evidence.cases import EvidenceCase
    from cfcam.jobs.evidence.run import Pack
    from cfcam.models import LoadedModel

DEMO, DEMO_PHANTOMS = "demo", 40
PANEL = "What is measured"
STATED = "What you state"

evidence = typer.Typer(
    epilog="""
**Examples**

    cfcam evidence --model demo --data demo --output pack

    cfcam evidence -m networks.py:my_net --data cases.csv --card card.yaml --protocol rules.json --artefacts devices/

    cfcam evidence verify pack --against 3f1c...

A run that was stopped goes on where it was when the same command is given again.

Exit codes: 0 nothing flagged · 1 a rule flagged, a case failed, or a file changed · 2 wrong usage · 130 interrupted.
""",
    invoke_without_command=True,
    no_args_is_help=True,
)


@evidence.callback()
@command
def make(
    context: typer.Context,
    model: options.ModelOrNone = None,
    weights: options.Weights = None,
    num_classes: options.NumClasses = None,
    classes: options.Classes = None,
    head: options.Head = None,
    probability: options.ProbabilityHow = None,
    layer: options.Layer = None,
    size: options.Size = None,
    resize: options.ResizeWay = None,
    mean: options.Mean = None,
    std: options.Std = None,
    device: options.Device = "auto",
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            "-d",
            metavar="CSV|FOLDER|demo",
            help="As for cfcam evaluate.",
            rich_help_panel=PANEL,
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Method; see cfcam methods.",
            autocompletion=options.complete_method,
            rich_help_panel=PANEL,
        ),
    ] = "grad-cam",
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Of the scorecard. [default: quick and sanity]",
            rich_help_panel=PANEL,
            show_default=False,
        ),
    ] = None,
    explained: Annotated[
        str | None,
        typer.Option(
            "--explain",
            metavar="predicted|label",
            help="Class that the scorecard explains. [default: predicted; label for the phantoms]",
            rich_help_panel=PANEL,
            show_default=False,
        ),
    ] = None,
    organ: Annotated[
        str | None, typer.Option(metavar="MASKS", help="As for cfcam check.", rich_help_panel=PANEL)
    ] = None,
    artefacts: Annotated[
        str | None, typer.Option(metavar="MASKS", help="As for cfcam check.", rich_help_panel=PANEL)
    ] = None,
    protocol: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="JSON or YAML of rules and limits. [default: starting points]",
            rich_help_panel=PANEL,
            show_default=False,
        ),
    ] = None,
    deviation: Annotated[
        str | None,
        typer.Option(
            metavar="REASON", help="Change a protocol that was fixed before; the pack shows it.", rich_help_panel=PANEL
        ),
    ] = None,
    retests: Annotated[
        int, typer.Option(min=0, metavar="N", help="Times that each case is explained again.", rich_help_panel=PANEL)
    ] = 8,
    gallery: Annotated[
        int, typer.Option(min=0, metavar="N", help="Worst cases of each kind to show.", rich_help_panel=PANEL)
    ] = 3,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Put pictures into the pack.", rich_help_panel=PANEL)
    ] = True,
    card: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="YAML or JSON with fields of the model card: intended_use, ...",
            rich_help_panel=STATED,
        ),
    ] = None,
    junit: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Results of cfcam's tests: pytest --junit-xml FILE.", rich_help_panel=STATED),
    ] = None,
    record: Annotated[
        str | None,
        typer.Option(
            metavar="AUDIT", help="Certify the head of this audit, and enter the pack in it.", rich_help_panel=STATED
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Take N cases at random.", rich_help_panel=options.RUN)
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, metavar="N", help="Of everything drawn.", rich_help_panel=options.RUN)
    ] = 0,
    batch_size: Annotated[
        int, typer.Option(min=1, metavar="N", help="Pictures in one pass of the network.", rich_help_panel=options.RUN)
    ] = 8,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FOLDER", help="Folder of the pack.", rich_help_panel=options.RUN),
    ] = Path("evidence"),
    as_json: options.Json = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say nothing but errors.", rich_help_panel=options.RUN)
    ] = False,
    debug: options.Debug = False,
) -> None:
    """Document what a network's maps are worth: a folder with a page, machine files and the hashes of all.

    The rules are fixed in protocol.json before anything is measured. Fields of the model card that you do not state
    are shown as not stated. The pack supports documentation; it is no statement of compliance. Research use only.
    """
    if context.invoked_subcommand is not None:
        return
    if model is None or data is None:
        raise InputError("give the network with --model and the data with --data: a CSV file, a folder, or demo")
    phantoms = data == DEMO and not Path(data).exists()
    if phantoms and (organ or artefacts):
        raise InputError("--organ and --artefacts are for your own data: the phantoms bring their masks")

    from cfcam.cli.output import evaluation as report
    from cfcam.jobs import preprocess_of
    from cfcam.jobs.evidence.files import read_fields
    from cfcam.jobs.evidence.protocol import read_rules
    from cfcam.jobs.evidence.run import EvidenceRun
    from cfcam.jobs.evidence.settings import EvidenceSettings, default_metrics

    rules, limits = read_rules({} if protocol is None else read_fields(protocol, "--protocol"))
    input_size, means = options.read_size(size), options.read_numbers("--mean", mean)
    stds = options.read_numbers("--std", std)
    stated = {} if card is None else read_fields(card, "--card")
    loaded = options.load_model(
        model,
        weights=weights,
        num_classes=num_classes,
        classes=classes,
        device=device,
        head=head,
        probability=probability,
    )
    settings = EvidenceSettings(
        method=method,
        metrics=default_metrics() if metrics is None else options.read_words("--metrics", metrics),
        rules=rules,
        limits=limits,
        explained="label" if explained == "label" or (explained is None and phantoms) else "predicted",
        layer=layer,
        preprocess=preprocess_of(loaded, size=input_size, resize=resize, mean=means, std=stds),
        limit=limit,
        seed=seed,
        retests=retests,
        gallery=gallery,
        pictures=pictures,
        batch_size=batch_size,
        card=stated,
        junit=junit,
        record=record,
        deviation=deviation,
        data=_described(data, phantoms),
    )
    notes: list[str] = []
    cases = _cases(None if phantoms else data, loaded, (organ, artefacts), limit, seed, output, notes)
    run = EvidenceRun(loaded, cases, settings, output)
    if not quiet:
        for note in [*notes, *run.notes]:
            warn(note)
        hint(f"protocol fixed {run.fixed.time}, SHA-256 {run.fixed.sha256}")
    scored = report.follow(run.scorecard, quiet=quiet)
    if not scored.rows:
        report.show_failures(scored)
        error(f"none of {len(scored.failed)} cases could be measured")
        raise typer.Exit(EXIT_FAILED)
    with _bar(quiet=quiet) as progress:
        records = run.measure(progress)
    pack = run.finish(scored, records)
    if as_json:
        print_json(_document(pack))
    elif not quiet:
        _show(pack)
    if pack.failed or any(rule.outcome == "flag" for rule in pack.rules):
        raise typer.Exit(EXIT_FAILED)


@evidence.command()
@command
def verify(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="An evidence pack.")],
    against: Annotated[
        str | None, typer.Option(metavar="SHA256", help="Of MANIFEST.sha256, as printed when the pack was made.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Find changed, missing and added files of a pack."""
    from dataclasses import asdict

    from cfcam.jobs.evidence import files as evidence_files

    found = evidence_files.verify(folder, against)
    if as_json:
        print_json(asdict(found) | {"ok": found.ok})
    elif found.ok:
        out().print(f"whole: {found.files} files, SHA-256 of the list {found.manifest_sha256}", soft_wrap=True)
    for kind, names in (("changed", found.changed), ("missing", found.missing), ("added", found.added)):
        for name in names:
            error(f"{kind}: {plain(name)}")
    for line in found.wrong:
        error(line)
    if not found.ok:
        raise typer.Exit(EXIT_FAILED)
    if against is None and not as_json:
        hint("a list that was written anew is only noticed with --against, the SHA-256 printed when the pack was made")


def _described(data: str, phantoms: bool) -> str:
    """What to call the data without naming a folder, which may say of whom it is."""
    if phantoms:
        return "drawn chest phantoms, nobody's"
    return "a folder of pictures" if Path(data).is_dir() else "a table of pictures"


def _cases(
    data: str | None,
    loaded: LoadedModel,
    masks: tuple[str | None, str | None],
    limit: int | None,
    seed: int,
    output: Path,
    notes: list[str],
) -> Sequence[EvidenceCase]:
    from cfcam.jobs.evidence.cases import numbered, numbered_phantoms
    from cfcam.jobs.inputs.masks import RegionMasks

    if data is None:
        from cfcam.jobs.cases.phantoms import phantom_cases

        return numbered_phantoms(phantom_cases(limit or DEMO_PHANTOMS, seed))
    from cfcam.jobs.cases.folder import find_cases

    organ, artefacts = masks
    regions = [RegionMasks("organ", organ)] if organ else []
    regions += [RegionMasks("artefacts", artefacts)] if artefacts else []
    return numbered(find_cases(data, loaded.classes, output=output, notice=notes.append), regions)


@contextmanager
def _bar(*, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    console = err()
    if quiet or not console.is_terminal:
        yield lambda done, total: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(compact=True))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("checks and retests", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


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
