"""Volumes and DICOM: which of them is read, and how it is prepared for a network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from cfcam.cli.arguments import words
from cfcam.cli.arguments.read import (
    WINDOWS,
    read_channels,
    read_size,
    read_sliding,
    read_spacing,
    read_volume_size,
    read_window,
    voxels_of,
)
from cfcam.cli.command import Checked, Command
from cfcam.cli.options.preparation import Preparation, Resizing
from cfcam.cli.output.panels import Panel
from cfcam.errors import InputError

if TYPE_CHECKING:
    from cfcam.imaging import Preprocess, VolumePreprocess
    from cfcam.jobs import VolumeSettings, Windows
    from cfcam.models import LoadedModel

# Known here without importing numpy; tests keep them equal to what the library takes.
INTENSITIES = ("z-score", "unit", "none")
AGGREGATES = ("mean", "max")
IRREGULAR = ("refuse", "resample")

SIZE = typer.Option(
    metavar="N|HxW|DxHxW", help="Input size of the network. [default: its own, else 224; of volumes: as they come]"
)


@dataclass(frozen=True, kw_only=True)
class VolumePreparation(Preparation):
    """Options of commands that prepare volumes too."""

    panel: ClassVar[Panel | None] = Panel.VOLUMES

    size: Annotated[str | None, SIZE, Checked(read_volume_size)] = None
    window: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|C,W",
            help=f"Grey window of DICOM and volumes: {', '.join(WINDOWS)}, or centre and width. [default: the file's"
            " own]",
            show_default=False,
        ),
        Checked(read_window),
    ] = None
    spacing: Annotated[
        str | None,
        typer.Option(metavar="MM|AxBxC", help="Voxel size the network was trained on."),
        Checked(read_spacing),
    ] = None
    orientation: Annotated[
        str | None,
        typer.Option(
            metavar="RAS",
            help="Where the axes of its input point; source: as in the file. [default: RAS]",
            show_default=False,
        ),
        Checked(words.orientation),
    ] = None
    intensity: Annotated[
        str | None,
        typer.Option(
            metavar="WAY",
            help="z-score, unit (to 0..1, by the window if one is given) or none. [default: z-score]",
            show_default=False,
        ),
        Checked(words.one_of("--intensity", INTENSITIES)),
    ] = None

    def size_of_pictures(self) -> int | tuple[int, int] | None:
        """What --size says to a network of pictures."""
        size = read_volume_size(self.size)
        if isinstance(size, tuple) and len(size) != 2:
            raise InputError("--size: the network takes pictures: give a number of pixels, or height and width")
        return read_size(self.size)

    def prepared_pictures(self, loaded: LoadedModel) -> Preprocess:
        """What is done to pictures for this network."""
        self.size_of_pictures()
        return super().prepared_pictures(loaded)

    def prepared_volumes(self, loaded: LoadedModel) -> VolumePreprocess:
        """What is done to volumes for this network."""
        from cfcam.imaging.windows import named_window
        from cfcam.jobs import volume_preprocess_of

        size = read_volume_size(self.size)
        if isinstance(size, int):
            voxels_of(size, size, size)
        return volume_preprocess_of(
            loaded,
            **self.normalisation,
            size=size,
            spacing=read_spacing(self.spacing),
            window=named_window(read_window(self.window)),
            intensity=self.intensity,
            orientation=self.orientation,
        )

    def prepared(self, loaded: LoadedModel) -> Preprocess | VolumePreprocess:
        """What is done to the inputs that this network takes, pictures or volumes."""
        from cfcam.models.expects import takes_volumes

        return self.prepared_volumes(loaded) if takes_volumes(loaded.module) else self.prepared_pictures(loaded)


@dataclass(frozen=True, kw_only=True)
class PicturesOrVolumes(Resizing, VolumePreparation):
    """Options of commands that prepare pictures in any way there is, and volumes too."""

    panel: ClassVar[Panel | None] = Panel.VOLUMES

    def prepared_volumes(self, loaded: LoadedModel) -> VolumePreprocess:
        """What is done to volumes for this network."""
        if self.resize is not None:
            raise InputError("--resize is for pictures: give volumes --size, or --spacing and --size")
        return super().prepared_volumes(loaded)


@dataclass(frozen=True, kw_only=True)
class VolumeReading(Command):
    """Options of commands that read series and 4-D volumes."""

    panel: ClassVar[Panel | None] = Panel.VOLUMES

    series: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Which series of a DICOM folder, or stack of a file.")
    ] = None
    time: Annotated[int | None, typer.Option(min=0, metavar="N", help="Which volume of a 4-D NIfTI, from 0.")] = None
    channel: Annotated[
        str | None,
        typer.Option(metavar="N|all", help="Which channel of a 4-D NIfTI, or all of them."),
        Checked(words.channel),
    ] = None
    irregular: Annotated[
        str,
        typer.Option(metavar="WAY", help="refuse or resample DICOM slices that are missing or unevenly spaced."),
        Checked(words.one_of("--irregular", IRREGULAR)),
    ] = "refuse"

    def reading(self) -> VolumeSettings:
        """How volumes are read."""
        from cfcam.jobs import VolumeSettings

        channel: Any = int(self.channel) if self.channel is not None and self.channel.isdecimal() else self.channel
        gaps: Any = self.irregular
        return VolumeSettings(self.time, channel, self.series, gaps, self._windows())

    def _windows(self) -> Windows | None:
        return None


@dataclass(frozen=True, kw_only=True)
class Modalities(VolumeReading):
    """Options of commands that read one study of several files too."""

    panel: ClassVar[Panel | None] = Panel.VOLUMES

    channels: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="The files of one study's modalities on one grid, in the order of the network's channels.",
        ),
        Checked(read_channels),
    ] = None

    def reading(self) -> VolumeSettings:
        """How volumes are read."""
        return replace(super().reading(), channels=read_channels(self.channels))

    def refuse_modalities(self) -> None:
        """Refuses files of modalities for a network of pictures."""
        if self.channels is not None:
            raise InputError("--channels: the network takes pictures, each of which is one file: leave it out")


@dataclass(frozen=True, kw_only=True)
class Sliding(Modalities):
    """Options of commands that can explain a volume window by window."""

    panel: ClassVar[Panel | None] = Panel.VOLUMES

    sliding: Annotated[
        str | None,
        typer.Option(
            metavar="N|AxBxC",
            help="Explain in overlapping windows of so many voxels, for volumes that do not fit.",
        ),
        Checked(read_sliding),
    ] = None
    overlap: Annotated[
        float, typer.Option(metavar="0..0.9", help="Overlap of these windows."), Checked(words.overlap)
    ] = 0.5
    aggregate: Annotated[
        str,
        typer.Option(metavar="WAY", help="mean or max of the windows' scores is the volume's."),
        Checked(words.one_of("--aggregate", AGGREGATES)),
    ] = "mean"

    def __post_init__(self) -> None:
        """Looks for windows where there is something to be said of them."""
        super().__post_init__()
        if self.sliding is None and (self.overlap != 0.5 or self.aggregate != "mean"):
            raise InputError("--overlap and --aggregate are for windows: give their size with --sliding")

    def _windows(self) -> Windows | None:
        from cfcam.jobs import Windows

        by: Any = self.aggregate
        return None if self.sliding is None else Windows(read_sliding(self.sliding), self.overlap, by)
