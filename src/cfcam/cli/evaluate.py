"""``cfcam evaluate``: pictures or volumes in, a scorecard of the maps out."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cfcam.cli.options import network as options
from cfcam.cli.options import volumes
from cfcam.cli.output.console import EXIT_FAILED, command, error, hint, print_json, warn
from cfcam.errors import ImageError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cfcam.imaging import VolumePreprocess
    from cfcam.jobs.evaluate.run import EvaluationRun, EvaluationSettings, Loadable
    from cfcam.metrics.scorecard.settings import Explained
    from cfcam.models import LoadedModel

DEFAULT_METHODS = "cf-cam,grad-cam"
DEMO, DEMO_PHANTOMS = "demo", 16
MEASURED = "What is measured"
_EXPLAINED = ("predicted", "label")
_WHAT_TO_GIVE = (
    "nothing to evaluate: give a folder of pictures or volumes, or a CSV file with the columns image, label, mask or"
    " boxes, patient, group, and the network with --model; to see what comes out, try: cfcam evaluate demo"
)


def complete_methods(incomplete: str) -> list[str]:
    """Names of methods with commas between, for the Tab key."""
    return _completed_list(incomplete, options.complete_method)


def complete_metrics(incomplete: str) -> list[str]:
    """Names of metrics and groups with commas between, for the Tab key."""
    from cfcam.metrics.scorecard.catalogue import CATALOGUE, GROUPS

    names = ("quick", "all", *GROUPS, *CATALOGUE)
    return _completed_list(incomplete, lambda last: [name for name in names if name.startswith(last)])


def complete_explained(incomplete: str) -> list[str]:
    """What can be explained, for the Tab key."""
    return [choice for choice in _EXPLAINED if choice.startswith(incomplete)]


def _completed_list(incomplete: str, complete: Callable[[str], list[str]]) -> list[str]:
    before, comma, last = incomplete.rpartition(",")
    return [before + comma + name for name in complete(last)]


@command
def evaluate(
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA", help="A folder of pictures or volumes, a CSV file, or demo.", show_default=False
        ),
    ] = None,
    model: options.ModelOrNone = None,
    weights: options.Weights = None,
    num_classes: options.NumClasses = None,
    classes: options.Classes = None,
    head: options.Head = None,
    probability: options.ProbabilityHow = None,
    layer: options.Layer = None,
    size: Annotated[
        str | None,
        typer.Option(
            "--size",
            metavar="N|HxW|DxHxW",
            help="Input size of the network. [default: its own, else 224; of volumes: as they come]",
            rich_help_panel=options.NETWORK,
        ),
    ] = None,
    resize: options.ResizeWay = None,
    mean: options.Mean = None,
    std: options.Std = None,
    device: options.Device = "auto",
    window: Annotated[
        str | None,
        typer.Option(
            "--window",
            metavar="NAME|C,W",
            help=f"Grey window to clip to: {', '.join(volumes.WINDOWS)}, or centre and width.",
            rich_help_panel=volumes.PANEL,
        ),
    ] = None,
    spacing: volumes.Spacing = None,
    orientation: volumes.Orientation = None,
    intensity: volumes.Intensity = None,
    series: volumes.Series = None,
    time: volumes.Time = None,
    channel: volumes.Channel = None,
    irregular: volumes.Gaps = "refuse",
    methods: Annotated[
        str,
        typer.Option(
            "--methods",
            metavar="A,B|all",
            help="Methods; see cfcam methods.",
            autocompletion=complete_methods,
            rich_help_panel=MEASURED,
        ),
    ] = DEFAULT_METHODS,
    metrics: Annotated[
        str,
        typer.Option(
            "--metrics",
            metavar="A,B|quick|all",
            help="Metrics, or groups of them such as faithfulness; see cfcam metrics.",
            autocompletion=complete_metrics,
            rich_help_panel=MEASURED,
        ),
    ] = "quick",
    controls: Annotated[
        bool,
        typer.Option(
            "--controls/--no-controls",
            help="Measure maps that know nothing beside: without them no number means anything.",
            rich_help_panel=MEASURED,
        ),
    ] = True,
    explained: Annotated[
        str | None,
        typer.Option(
            "--explain",
            metavar="predicted|label",
            help="Which class the maps explain. [default: predicted; label for the phantoms]",
            autocompletion=complete_explained,
            rich_help_panel=MEASURED,
            show_default=False,
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="0..1",
            help="Where maps are cut for iou-tuned, lesion-coverage and false-components; tune it on other images.",
            rich_help_panel=MEASURED,
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            metavar="cfcam-paper",
            help="Measure by the published protocol of CF-CAM instead; the page says what is wrong with it.",
            autocompletion=lambda incomplete: ["cfcam-paper"],
            rich_help_panel=MEASURED,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Take N pictures or volumes at random.", rich_help_panel=options.RUN),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            min=0, metavar="N", help="Of the choice of pictures, and of all noise.", rich_help_panel=options.RUN
        ),
    ] = 0,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Pictures in one pass of the network. [default: 8; 1 for volumes]",
            rich_help_panel=options.RUN,
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FOLDER", help="Folder to write into.", rich_help_panel=options.RUN),
    ] = Path("evaluation"),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin anew instead of going on.", rich_help_panel=options.RUN)
    ] = False,
    as_json: options.Json = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say nothing but errors.", rich_help_panel=options.RUN)
    ] = False,
    debug: options.Debug = False,
) -> None:
    """Measure what maps are worth: faithfulness, localisation, robustness, sanity, cost, beside maps that know nothing.

    DATA is a folder (sub-folders called like classes give labels, masks/NAME.png or NAME_mask.png the ground truth) or
    a CSV file with the columns image, label, mask or boxes, patient, group, of which only image has to be there.
    For a network that takes volumes they are NIfTI files or folders of DICOM slices, and masks are NIfTI files, laid
    over the volume by their place in the patient. Without --size and --spacing each volume keeps its own voxels.
    Written are index.html to read, per_image.csv, summary.md, summary.csv, comparison.csv, curves.csv,
    scorecard.json and figures.
    """
    if data is None and model not in ("demo", "demo-shortcut"):
        raise InputError(_WHAT_TO_GIVE)
    phantoms = data is None or (data == DEMO and (model is None or not Path(data).exists()))
    if model is None and not phantoms:
        raise InputError(f"no network is named for {data}: give it with --model, as for cfcam explain")

    if protocol is not None and metrics != "quick":
        raise InputError(f"--protocol {protocol} brings its own metrics: leave --metrics out")
    if protocol is not None and explained == "label":
        raise InputError(f"--protocol {protocol} explains the predicted class: leave --explain label out")
    if threshold is None and "iou-tuned" in options.read_words("--metrics", metrics):
        raise InputError("iou-tuned needs a threshold: give --threshold, tuned on other images than these")

    from cfcam.jobs.evaluate.run import EvaluationSettings

    settings = EvaluationSettings(
        methods=_methods(methods),
        metrics=options.read_words("--metrics", metrics),
        controls=controls,
        explained=_explained(explained, phantoms and protocol is None),
        protocol=protocol,
        layer=layer,
        threshold=threshold,
        limit=limit,
        seed=seed,
        batch_size=batch_size,
        overwrite=overwrite,
        leave_out="all" in options.read_words("--methods", methods),
        data="drawn chest phantoms" if phantoms else str(data),
        command=tuple(sys.argv),
    )
    settings.check()  # before the network is loaded, which may take long
    prepared: dict[str, Any] = {
        "size": volumes.read_size(size),
        "mean": options.read_numbers("--mean", mean),
        "std": options.read_numbers("--std", std),
    }
    of_volumes = {
        "window": window,
        "spacing": spacing,
        "orientation": orientation,
        "intensity": intensity,
        "series": series,
        "time": time,
        "channel": channel,
        "irregular": None if irregular == "refuse" else irregular,
    }
    loaded = options.load_model(
        model or DEMO,
        weights=weights,
        num_classes=num_classes,
        classes=classes,
        device=device,
        head=head,
        probability=probability,
    )
    notes: list[str] = []
    run = _run(None if phantoms else data, loaded, settings, output, notes, prepared | {"resize": resize}, of_volumes)
    run.notes += notes

    from cfcam.cli.output import evaluation as report

    if not quiet:
        for note in loaded.notes:
            warn(note)
        for note in run.notes[len(loaded.notes) :]:
            hint(note)
    card = report.follow(run, quiet=quiet)
    if not card.rows:
        report.show_failures(card)
        error(f"none of {len(card.failed)} {run.kind}s could be evaluated")
        raise typer.Exit(EXIT_FAILED)
    findings, files = report.write(run, card, quiet=quiet)
    if as_json:
        print_json(report.summary(files))
    elif not quiet:
        report.show(findings, files)
    report.show_failures(card)
    if card.failed:
        raise typer.Exit(EXIT_FAILED)


def _methods(text: str) -> tuple[str, ...]:
    from cfcam.methods import affordable_methods

    names = options.read_words("--methods", text)
    every = [name for name in names if name != "all"] + (affordable_methods() if "all" in names else [])
    return tuple(dict.fromkeys(every))


def _explained(text: str | None, phantoms: bool) -> Explained:
    if text is None:
        return "label" if phantoms else "predicted"
    if text not in _EXPLAINED:
        raise InputError(f"--explain {text!r}: give {' or '.join(_EXPLAINED)}")
    return "label" if text == "label" else "predicted"


def _run(
    data: str | None,
    loaded: LoadedModel,
    settings: EvaluationSettings,
    output: Path,
    notes: list[str],
    prepared: dict[str, Any],
    of_volumes: dict[str, Any],
) -> EvaluationRun:
    """The run that the network asks for: over pictures or over volumes.

    Args:
        data: as the user named it; None for the phantoms.
        loaded: the network.
        settings: what to measure.
        output: the folder to write into.
        notes: told of what is not used.
        prepared: size, mean, std and resize.
        of_volumes: what the options for volumes say, None where they are not given.
    """
    from cfcam.jobs.cases.volumes import are_volumes
    from cfcam.models.expects import takes_volumes

    if data is None:
        if takes_volumes(loaded.module):
            raise InputError("the phantoms are pictures, and the network takes volumes: name a folder or a CSV file")
    elif are_volumes(loaded.module, data):
        return _volume_run(data, loaded, settings, output, notes, prepared, of_volumes)
    if given := [name for name, value in of_volumes.items() if value is not None]:
        raise InputError(f"--{given[0]} is for volumes, and the network takes pictures")

    from cfcam.jobs import preprocess_of
    from cfcam.jobs.evaluate.run import EvaluationRun

    if isinstance(prepared["size"], tuple) and len(prepared["size"]) != 2:
        raise InputError("--size: the network takes pictures: give a number of pixels, or height and width")
    cases = _cases(data, loaded, settings, output, notes)
    return EvaluationRun(loaded, cases, replace(settings, preprocess=preprocess_of(loaded, **prepared)), output)


def _cases(
    data: str | None, loaded: LoadedModel, settings: EvaluationSettings, output: Path, notes: list[str]
) -> Sequence[Loadable]:
    if data is None:
        from cfcam.jobs.cases.phantoms import phantom_cases

        return phantom_cases(settings.limit or DEMO_PHANTOMS, settings.seed)
    from cfcam.imaging.reading.files import is_nifti
    from cfcam.jobs.cases.folder import find_cases
    from cfcam.jobs.cases.volumes import holds_volumes

    try:
        cases = find_cases(data, loaded.classes, output=output, notice=notes.append)
    except ImageError:
        if not Path(data).is_dir() or not holds_volumes(data):
            raise
        cases = []
    if all(is_nifti(case.image) for case in cases):
        raise InputError(f"{data}: these are volumes, and the network takes pictures: name one that takes volumes")
    return cases


def _volume_run(
    data: str,
    loaded: LoadedModel,
    settings: EvaluationSettings,
    output: Path,
    notes: list[str],
    prepared: dict[str, Any],
    of_volumes: dict[str, Any],
) -> EvaluationRun:
    from cfcam.jobs.cases.volumes import find_volume_cases
    from cfcam.jobs.evaluate.volumes import VolumeEvaluationRun

    if prepared["resize"] is not None:
        raise InputError("--resize is for pictures: give volumes --size, or --spacing and --size")
    preprocess = _volume_preprocess(loaded, prepared, of_volumes)
    how = volumes.read_volume_settings(
        sliding=None,
        overlap=0,
        aggregate="mean",
        series=of_volumes["series"],
        time=of_volumes["time"],
        channel=of_volumes["channel"],
        irregular=of_volumes["irregular"] or "refuse",
    )
    cases = find_volume_cases(data, loaded.classes, output=output, how=how, notice=notes.append)
    return VolumeEvaluationRun(loaded, cases, replace(settings, preprocess=preprocess), output)


def _volume_preprocess(loaded: LoadedModel, prepared: dict[str, Any], of_volumes: dict[str, Any]) -> VolumePreprocess:
    """The preparation, as ``cfcam explain`` makes it."""
    return volumes.prepared_volumes(
        loaded,
        mean=prepared["mean"],
        std=prepared["std"],
        size=prepared["size"],
        spacing=of_volumes["spacing"],
        window=volumes.read_window(of_volumes["window"]),
        intensity=of_volumes["intensity"],
        orientation=of_volumes["orientation"],
    )
