"""``cfcam compare``: what became of a map between two studies of one patient?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cfcam.cli.options import network as options
from cfcam.cli.options import volumes
from cfcam.cli.output.console import EXIT_FAILED, command, err, error, hint, out, plain, print_json, warn
from cfcam.errors import InputError

if TYPE_CHECKING:
    from cfcam.imaging import Preprocess, VolumePreprocess
    from cfcam.jobs.compare.pairs import PairResult
    from cfcam.models import LoadedModel

PANEL = "The comparison"


@command
def compare(
    prior: Annotated[
        Path | None, typer.Argument(metavar="PRIOR", help="The earlier study: a picture, NIfTI, DICOM file or folder.")
    ] = None,
    current: Annotated[Path | None, typer.Argument(metavar="CURRENT", help="The later study.")] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(
            "--pairs",
            metavar="CSV",
            help="Many pairs: columns prior, current and, if wanted, name; paths relative to the file.",
            rich_help_panel=PANEL,
        ),
    ] = None,
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
            help="Index, name or predicted (of the current study); explained in both.",
            autocompletion=options.complete_target,
            rich_help_panel=PANEL,
        ),
    ] = "predicted",
    registration: Annotated[
        str, typer.Option(metavar="KIND", help="rigid, or affine after rigid.", rich_help_panel=PANEL)
    ] = "rigid",
    no_registration: Annotated[
        bool,
        typer.Option("--no-registration", help="Take places as they are in both images.", rich_help_panel=PANEL),
    ] = False,
    gate: Annotated[
        str,
        typer.Option(
            metavar="NAME=X,...",
            help="What the registration must reach: correlation, overlap, shift, rotation, scale.",
            rich_help_panel=PANEL,
        ),
    ] = "",
    threshold: Annotated[
        float,
        typer.Option(metavar="0..1", help="Hot from this share of the common scale on.", rich_help_panel=PANEL),
    ] = 0.5,
    mask: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE", help="Follow the mean of the map in a mask on the prior image.", rich_help_panel=PANEL
        ),
    ] = None,
    retests: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Retests of each study for the repeatability.", rich_help_panel=PANEL),
    ] = 8,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of the retests.", rich_help_panel=PANEL)] = 0,
    window: volumes.Window = None,
    spacing: volumes.Spacing = None,
    orientation: volumes.Orientation = None,
    intensity: volumes.Intensity = None,
    series: volumes.Series = None,
    time: volumes.Time = None,
    channel: volumes.Channel = None,
    irregular: volumes.Gaps = "refuse",
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the files go.", rich_help_panel=options.RUN)
    ] = Path("comparison"),
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Compare the maps of two studies of one patient: registered, on one scale, against test-retest.

    Writes a figure, a JSON file and a line of comparisons.csv for each pair; of volumes the difference as NIfTI, too.
    A change of the map is not a change of disease.
    """
    if pairs is not None and (prior is not None or current is not None):
        raise InputError("--pairs names the studies: leave PRIOR and CURRENT out")
    if pairs is None and (prior is None or current is None):
        raise InputError("two studies are needed: cfcam compare PRIOR CURRENT, or --pairs FILE.csv")
    if no_registration and (registration != "rigid" or gate):
        raise InputError("--no-registration leaves nothing to choose: leave --registration and --gate out")

    from cfcam.clinical.gate import Gate
    from cfcam.jobs.compare.pairs import make_pair, read_pairs
    from cfcam.jobs.compare.run import ComparePairs
    from cfcam.jobs.compare.settings import CompareSettings

    wanted = read_pairs(pairs) if pairs is not None else [make_pair(Path(str(prior)), Path(str(current)))]
    limits = Gate.parse(gate)
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
    kind: Any = "none" if no_registration else registration
    settings = CompareSettings(
        output=output,
        method=method,
        target=options.read_target(target),
        layer=layer,
        registration=kind,
        gate=limits,
        threshold=threshold,
        masks=_masks(mask or []),
        retests=retests,
        seed=seed,
        preprocess=_preprocess(loaded, size, mean, std, window, spacing, orientation, intensity),
        volumes=volumes.read_volume_settings(
            sliding=None,
            overlap=0.5,
            aggregate="mean",
            series=series,
            time=time,
            channel=channel,
            irregular=irregular,
        ),
        window=volumes.read_window(window),
    )
    results = ComparePairs(loaded, settings).run(wanted, _progress(len(wanted)))
    if as_json:
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


def _preprocess(
    loaded: LoadedModel,
    size: str | None,
    mean: str | None,
    std: str | None,
    window: str | None,
    spacing: str | None,
    orientation: str | None,
    intensity: str | None,
) -> Preprocess | VolumePreprocess:
    """The preparation that the network asks for, as ``cfcam explain`` makes it."""
    from cfcam.jobs import preprocess_of
    from cfcam.models.expects import takes_volumes

    means, deviations = options.read_numbers("--mean", mean), options.read_numbers("--std", std)
    if not takes_volumes(loaded.module):
        return preprocess_of(loaded, size=options.read_size(size), mean=means, std=deviations)
    return volumes.prepared_volumes(
        loaded,
        mean=means,
        std=deviations,
        size=volumes.read_size(size),
        spacing=spacing,
        window=volumes.read_window(window),
        intensity=intensity,
        orientation=orientation,
    )


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
