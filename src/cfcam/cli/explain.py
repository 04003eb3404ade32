"""``cfcam explain``: pictures and volumes in, heat maps out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cfcam.cli import options, volumes
from cfcam.cli.console import EXIT_FAILED, command, hint, print_json, warn
from cfcam.errors import InputError

if TYPE_CHECKING:
    from cfcam.jobs import Save

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
        typer.Option(
            metavar="NAME",
            help="Layer to map. [default: chosen from the network; see cfcam layers]",
            rich_help_panel=options.NETWORK,
            show_default=False,
        ),
    ] = None,
    size: options.Size = None,
    resize: Annotated[
        str | None,
        typer.Option(
            metavar="WAY",
            help="stretch, shorter-side+crop or pad.",
            autocompletion=options.complete_resize,
            rich_help_panel=options.NETWORK,
        ),
    ] = None,
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
    map is written as NIfTI too, on the volume's own grid.
    """
    wanted = _saved(save)
    sources = _sources(paths)

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
        save=wanted,
        batch_size=batch_size,
        max_pixels=int(max_megapixels * 1e6),
        window=volumes.read_window(window),
        overwrite=overwrite,
        leave_out=every,
        command=tuple(sys.argv),
    )
    settings.check()  # before the network is loaded, which may take long
    input_size = volumes.read_size(size)
    of_volumes = volumes.read_volume_settings(
        sliding=sliding,
        overlap=overlap,
        aggregate=aggregate,
        series=series,
        time=time,
        channel=channel,
        irregular=irregular,
    )
    means, stds = options.read_numbers("--mean", mean), options.read_numbers("--std", std)
    loaded = options.load_model(model, weights=weights, num_classes=num_classes, classes=classes, device=device)
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

    from cfcam.cli import report

    tally = report.follow(run, quiet=quiet)
    if as_json:
        print_json(report.summary(tally, run, list(loaded.notes)))
    elif not quiet:
        report.show_table(tally, run)
    report.show_failures(tally)
    if not (quiet or as_json):
        report.show_summary(tally, run)
        report.show_disclaimer()
    if tally.count("failed"):
        raise typer.Exit(EXIT_FAILED)


def _saved(text: str) -> frozenset[Save]:
    from cfcam.jobs import Save

    words = [word.strip() for word in text.split(",") if word.strip()]
    unknown = [word for word in words if word not in list(Save)]
    if unknown or not words:
        raise InputError(f"--save {text!r}: give one or more of {', '.join(Save)}, with commas between")
    return frozenset(map(Save, words))


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
