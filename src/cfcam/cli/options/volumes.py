"""Options of ``cfcam explain`` for volumes and DICOM, and how their values are read."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cfcam.cli.options import network as options
from cfcam.errors import InputError

if TYPE_CHECKING:
    from cfcam.imaging import VolumePreprocess
    from cfcam.jobs import FolderRun, Input, Settings, VolumeSettings
    from cfcam.models import LoadedModel

PANEL = "Volumes (NIfTI, DICOM series)"

# Known here without importing numpy; a test keeps it equal to cfcam.imaging.WINDOWS.
WINDOWS = ("brain", "soft-tissue", "mediastinum", "liver", "lung", "bone")
INTENSITIES = ("z-score", "unit", "none")
AGGREGATES = ("mean", "max")
Irregular = Literal["refuse", "resample"]

Window = Annotated[
    str | None,
    typer.Option(
        "--window",
        metavar="NAME|C,W",
        help=f"Grey window of DICOM and volumes: {', '.join(WINDOWS)}, or centre and width. [default: the file's own]",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]
Spacing = Annotated[
    str | None,
    typer.Option("--spacing", metavar="MM|AxBxC", help="Voxel size the network was trained on.", rich_help_panel=PANEL),
]
Orientation = Annotated[
    str | None,
    typer.Option(
        "--orientation",
        metavar="RAS",
        help="Where the axes of its input point; source: as in the file. [default: RAS]",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]
Intensity = Annotated[
    str | None,
    typer.Option(
        "--intensity",
        metavar="WAY",
        help="z-score, unit (to 0..1, by the window if one is given) or none. [default: z-score]",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]
Sliding = Annotated[
    str | None,
    typer.Option(
        "--sliding",
        metavar="N|AxBxC",
        help="Explain in overlapping windows of so many voxels, for volumes that do not fit.",
        rich_help_panel=PANEL,
    ),
]
Overlap = Annotated[
    float, typer.Option("--overlap", metavar="0..0.9", help="Overlap of these windows.", rich_help_panel=PANEL)
]
Aggregate = Annotated[
    str,
    typer.Option(
        "--aggregate", metavar="WAY", help="mean or max of the windows' scores is the volume's.", rich_help_panel=PANEL
    ),
]
Series = Annotated[
    int | None,
    typer.Option("--series", min=1, metavar="N", help="Which series of a DICOM folder.", rich_help_panel=PANEL),
]
Time = Annotated[
    int | None,
    typer.Option("--time", min=0, metavar="N", help="Which volume of a 4-D NIfTI, from 0.", rich_help_panel=PANEL),
]
Channel = Annotated[
    str | None,
    typer.Option(
        "--channel", metavar="N|all", help="Which channel of a 4-D NIfTI, or all of them.", rich_help_panel=PANEL
    ),
]
Gaps = Annotated[
    str,
    typer.Option(
        "--irregular",
        metavar="WAY",
        help="refuse or resample DICOM slices that are missing or unevenly spaced.",
        rich_help_panel=PANEL,
    ),
]


def read_size(text: str | None) -> int | tuple[int, ...] | None:
    """Reads ``224``, ``256x192`` (height x width) or ``64x96x64`` (along the axes of the orientation)."""
    if text is not None and text.lower().count("x") == 2:
        sides = _numbers("--size", text, whole=True)
        return int(sides[0]), int(sides[1]), int(sides[2])
    return options.read_size(text)


def read_window(text: str | None) -> str | tuple[float, float] | None:
    """Reads the name of a window, or centre and width."""
    if text is None or text in WINDOWS:
        return text
    try:
        centre, width = (float(part) for part in text.split(","))
    except ValueError:
        centre = width = math.nan
    if not (math.isfinite(centre) and math.isfinite(width) and width > 0):
        raise InputError(f"--window {text!r}: give one of {', '.join(WINDOWS)}, or centre and width like 40,400")
    return centre, width


def read_spacing(text: str | None) -> float | tuple[float, float, float] | None:
    """Reads ``1.5`` or ``1x1x2.5`` (mm)."""
    if text is None:
        return None
    mm = _numbers("--spacing", text)
    return (mm[0], mm[1], mm[2]) if len(mm) == 3 else mm[0]


def read_sliding(text: str) -> int | tuple[int, ...]:
    """Reads ``96`` or ``96x96x64`` (voxels)."""
    sides = tuple(int(side) for side in _numbers("--sliding", text, whole=True))
    return sides[0] if len(sides) == 1 else sides


def check_overlap(overlap: float) -> None:
    """Refuses an overlap of windows that leaves no progress."""
    if not 0 <= overlap <= 0.9:
        raise InputError(f"--overlap {overlap:g}: give a number from 0 to 0.9")


def check_channel(channel: str | None) -> None:
    """Refuses what is neither a channel's number nor ``all``."""
    if channel is not None and channel != "all" and not channel.isdecimal():
        raise InputError(f"--channel {channel!r}: give a number from 0, or all")


def read_volume_settings(
    *,
    sliding: str | None,
    overlap: float,
    aggregate: str,
    series: int | None,
    time: int | None,
    channel: str | None,
    irregular: str,
) -> VolumeSettings:
    """Reads what concerns volumes alone."""
    from cfcam.jobs import VolumeSettings, Windows

    check_overlap(overlap)
    check_channel(channel)
    windows = None
    by: Any = aggregate
    gaps: Any = irregular
    if sliding is not None:
        windows = Windows(read_sliding(sliding), overlap, by)
    chosen: Any = int(channel) if channel is not None and channel.isdecimal() else channel
    return VolumeSettings(time, chosen, series, gaps, windows)


def make_run(
    loaded: LoadedModel,
    inputs: list[Input],
    settings: Settings,
    volumes: VolumeSettings,
    *,
    size: int | tuple[int, ...] | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    resize: str | None,
    spacing: str | None,
    orientation: str | None,
    intensity: str | None,
) -> FolderRun:
    """Makes the run that the network asks for: over pictures or over volumes."""
    from cfcam.jobs import FolderRun, VolumeRun, is_volume_run, preprocess_of

    if not is_volume_run(loaded.module, inputs):
        flat: Any = size
        preprocess = preprocess_of(loaded, size=flat, resize=resize, mean=mean, std=std)
        return FolderRun(loaded, inputs, replace(settings, preprocess=preprocess))
    if resize is not None:
        raise InputError("--resize is for pictures: give volumes --size, or --spacing and --size")
    prepared = prepared_volumes(
        loaded,
        mean=mean,
        std=std,
        size=size,
        spacing=spacing,
        window=settings.window,
        intensity=intensity,
        orientation=orientation,
    )
    return VolumeRun(loaded, inputs, replace(settings, preprocess=prepared), volumes)


def prepared_volumes(
    loaded: LoadedModel,
    *,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    size: int | tuple[int, ...] | None,
    spacing: str | None,
    window: str | tuple[float, float] | None,
    intensity: str | None,
    orientation: str | None,
) -> VolumePreprocess:
    """The preparation of volumes that the options ask for."""
    from cfcam.imaging.windows import named_window
    from cfcam.jobs import volume_preprocess_of

    return volume_preprocess_of(
        loaded,
        mean=mean,
        std=std,
        size=size,
        spacing=read_spacing(spacing),
        window=named_window(window),
        intensity=intensity,
        orientation=orientation,
    )


def _numbers(option: str, text: str, *, whole: bool = False) -> tuple[float, ...]:
    """Reads one number or three with x between."""
    parts = text.lower().split("x")
    try:
        numbers = tuple(int(part) if whole else float(part) for part in parts)
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 3) or not all(math.isfinite(n) and n > 0 for n in numbers):
        example = "96 or 96x96x64" if whole else "1 or 1x1x2.5"
        raise InputError(f"{option} {text!r}: give one number above 0, or three like {example}")
    return numbers
