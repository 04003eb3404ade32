"""``cfcam explain``: pictures and volumes in, heat maps out."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cfcam.cli.options import network as options
from cfcam.cli.options import study as study_options
from cfcam.cli.options import volumes
from cfcam.cli.output.console import EXIT_FAILED, command, hint, print_json, warn
from cfcam.errors import InputError

if TYPE_CHECKING:
    from cfcam.jobs import Save
    from cfcam.jobs.study.settings import StudySettings
    from cfcam.models import LoadedModel

DEFAULT_FOLDER = Path("testimgs")
DEFAULT_METHODS = ("cf-cam", "grad-cam", "grad-cam++")


@command
def explain(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATHS", help="Pictures, volumes, folders, globs. [default: testimgs]", show_default=False
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
    resize: options.ResizeWay = None,
    mean: options.Mean = None,
    std: options.Std = None,
    device: options.Device = "auto",
    window: volumes.Window = None,
    spacing: volumes.Spacing = None,
    orientation: volumes.Orientation = None,
    intensity: volumes.Intensity = None,
    sliding: volumes.Sliding = None,
    overlap: volumes.Overlap = 0.5,
    aggregate: volumes.Aggregate = "mean",
    series: volumes.Series = None,
    time: volumes.Time = None,
    channel: volumes.Channel = None,
    irregular: volumes.Gaps = "refuse",
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="NAME",
            help=f"Method, or all; repeatable; see cfcam methods. [default: {', '.join(DEFAULT_METHODS)}]",
            autocompletion=options.complete_method,
            rich_help_panel=options.PICTURE,
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            metavar="CLASS",
            help="Index, name, predicted, top-3 or all; repeatable. [default: predicted]",
            autocompletion=options.complete_target,
            rich_help_panel=options.PICTURE,
            show_default=False,
        ),
    ] = None,
    palette: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Colours: inferno, viridis, jet or any other of matplotlib's.",
            autocompletion=options.complete_palette,
            rich_help_panel=options.PICTURE,
        ),
    ] = "inferno",
    opacity: Annotated[
        float, typer.Option(metavar="0..1", help="Share of the map in an overlay.", rich_help_panel=options.PICTURE)
    ] = 0.4,
    save: Annotated[
        str,
        typer.Option(metavar="A,B", help="What to write: overlay, sheet, maps.", rich_help_panel=options.PICTURE),
    ] = "overlay,sheet",
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FOLDER", help="Folder to write into.", rich_help_panel=options.PICTURE),
    ] = Path("output"),
    dicom: study_options.Dicom = None,
    report: study_options.Report = None,
    patient_page: study_options.PatientPage = False,
    record: study_options.Record = None,
    uncertainty: study_options.Uncertainty = None,
    samples: study_options.Samples = None,
    ensemble: study_options.Ensemble = None,
    regions: study_options.Regions = False,
    threshold: study_options.Threshold = "otsu",
    organ: study_options.Organ = None,
    artefacts: study_options.Artefacts = None,
    findings: study_options.Findings = None,
    limits: study_options.Limits = None,
    allow_burned_in: study_options.AllowBurnedIn = False,
    keep_names: study_options.KeepNames = False,
    keep_dates: study_options.KeepDates = False,
    peak_stability: study_options.PeakStability = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Search sub-folders too.", rich_help_panel=options.RUN)
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Explain again what is already done.", rich_help_panel=options.RUN)
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Take the first N pictures only.", rich_help_panel=options.RUN),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, metavar="N", help="Pictures in one pass of the network.", rich_help_panel=options.RUN)
    ] = 8,
    max_megapixels: Annotated[
        float, typer.Option(metavar="N", help="Refuse larger pictures.", rich_help_panel=options.RUN)
    ] = 64,
    as_json: options.Json = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say nothing but errors.", rich_help_panel=options.RUN)
    ] = False,
    debug: options.Debug = False,
) -> None:
    """Show what a network looked at in each picture or volume, as heat maps over it.

    Files are named PICTURE_METHOD.png and PICTURE_sheet.png; with several classes the class is added. Of a volume the
    map is written as NIfTI too, on the volume's own grid. With an option for studies each input becomes one: its DICOM
    objects, tables, report and record hold the same numbers, and DICOM files are called study-1a2b3c4d there.
    """
    study = study_options.read_study(
        dicom=dicom,
        report=report,
        patient_page=patient_page,
        record=record,
        uncertainty=uncertainty,
        samples=samples,
        ensemble=ensemble,
        regions=regions,
        threshold=threshold,
        organ=organ,
        artefacts=artefacts,
        findings=findings,
        limits=limits,
        allow_burned_in=allow_burned_in,
        keep_names=keep_names,
        keep_dates=keep_dates,
        peak_stability=peak_stability,
    )
    if sliding is None and (overlap != 0.5 or aggregate != "mean"):
        raise InputError("--overlap and --aggregate are for windows: give their size with --sliding")
    sources = _sources(paths)
    input_size = volumes.read_size(size)
    means, stds = options.read_numbers("--mean", mean), options.read_numbers("--std", std)

    from cfcam.jobs import Settings, find_inputs

    inputs = find_inputs(sources, output=output, recursive=recursive)[:limit]
    if not inputs:
        raise InputError(f"there is nothing to explain: all pictures found lie in the output folder {output}")
    every = "all" in (method or ())
    settings = Settings(
        output=output,
        methods=_methods(method),
        targets=tuple(map(options.read_target, target or ["predicted"])),
        layer=layer,
        palette=palette,
        opacity=opacity,
        save=_saved(save),
        batch_size=batch_size,
        max_pixels=int(max_megapixels * 1e6),
        window=volumes.read_window(window),
        overwrite=overwrite,
        leave_out=every,
        command=_command(study, sources, output),
        study=study,
    )
    settings.check()  # before the network is loaded, which may take long
    of_volumes = volumes.read_volume_settings(
        sliding=sliding,
        overlap=overlap,
        aggregate=aggregate,
        series=series,
        time=time,
        channel=channel,
        irregular=irregular,
    )

    def load(checkpoint: str | None) -> LoadedModel:
        return options.load_model(
            model,
            weights=checkpoint,
            num_classes=num_classes,
            classes=classes,
            device=device,
            head=head,
            probability=probability,
        )

    loaded = load(weights)
    settings = replace(settings, study=study_options.with_ensemble(study, ensemble, load))
    if not quiet:
        for note in loaded.notes:
            warn(note)
        if paths and model in ("demo", "demo-shortcut"):
            hint("the demo network knows drawn phantoms only; for pictures of your own name a network with --model")
    run = volumes.make_run(
        loaded,
        inputs,
        settings,
        of_volumes,
        size=input_size,
        mean=means,
        std=stds,
        resize=resize,
        spacing=spacing,
        orientation=orientation,
        intensity=intensity,
    )

    from cfcam.cli.output import run as said

    tally = said.follow(run, quiet=quiet)
    if as_json:
        print_json(said.summary(tally, run, list(loaded.notes)))
    elif not quiet:
        said.show_table(tally, run)
        said.show_preparation(tally, run)
    said.show_failures(tally)
    if not (quiet or as_json):
        said.show_summary(tally, run)
        said.show_disclaimer()
    if tally.count("failed"):
        raise typer.Exit(EXIT_FAILED)


def _saved(text: str) -> frozenset[Save]:
    from cfcam.jobs import Save

    return frozenset(map(Save, options.check_words("--save", text, options.SAVES)))


def _command(study: StudySettings | None, sources: list[Path], output: Path) -> tuple[str, ...]:
    if study is None or (study.keep_names and study.record is None):
        return tuple(sys.argv)
    return study_options.without_secrets(sys.argv, sources, output, study)


def _sources(paths: list[Path] | None) -> list[Path]:
    if paths:
        return paths
    if not DEFAULT_FOLDER.is_dir():
        raise InputError(
            f"no pictures are named, and there is no folder {DEFAULT_FOLDER}/ here: give files or folders,"
            " or try cfcam demo"
        )
    return [DEFAULT_FOLDER]


def _methods(names: list[str] | None) -> tuple[str, ...]:
    from cfcam.methods import affordable_methods

    chosen = names or list(DEFAULT_METHODS)
    every = [name for name in chosen if name != "all"] + (affordable_methods() if "all" in chosen else [])
    return tuple(dict.fromkeys(every))
