"""In which regions maps are measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from cfcam.cli.arguments import places
from cfcam.cli.command import Checked, Command
from cfcam.cli.output.panels import Panel
from cfcam.errors import InputError

if TYPE_CHECKING:
    from cfcam.jobs.study.regions import RegionSettings

_SLIC = "slic:"  # equal to cfcam.jobs.study.regions.SLIC, which is not imported for an argument; a test compares
_masks = places.masks("--by-region")


def _where(given: str) -> None:
    """Superpixels, or files that are there."""
    count = given.removeprefix(_SLIC)
    if count == given:
        _masks(given)
    elif not (count.isascii() and count.isdigit() and 2 <= int(count) <= 4096):
        raise InputError(f"--by-region {given}: give a number of superpixels from 2 to 4096, such as slic:50")


@dataclass(frozen=True, kw_only=True)
class ByRegion(Command):
    """Options of what is said of organs, segments and superpixels."""

    panel: ClassVar[Panel | None] = Panel.PICTURES

    by_region: Annotated[
        str | None,
        typer.Option(
            "--by-region",
            metavar="LABELS",
            help="Measure each map in organs, segments or superpixels, and the network without each: a label map"
            " (NIfTI, PNG), a folder, labels/{stem}.png, or slic:50.",
        ),
        Checked(_where),
    ] = None
    region_names: Annotated[
        Path | None,
        typer.Option("--region-names", metavar="CSV", help="Names of its labels: a CSV file (label,name)."),
        Checked(places.file("--region-names")),
    ] = None

    def __post_init__(self) -> None:
        """Looks whether names have labels."""
        super().__post_init__()
        if self.region_names is not None and (self.by_region is None or self.by_region.startswith(_SLIC)):
            raise InputError("--region-names is for the labels of --by-region: give them too")

    @property
    def regions_typed(self) -> list[str]:
        """What was typed that may name a patient."""
        return [str(given) for given in (self.by_region, self.region_names) if given is not None]

    def regions_asked(self) -> RegionSettings | None:
        """Returns in which regions maps are measured; None: in none.

        Raises:
            InputError: the names cannot be read.
        """
        if self.by_region is None:
            return None
        from cfcam.clinical.checks.labels import read_label_names
        from cfcam.jobs.study.regions import RegionSettings

        names = {} if self.region_names is None else read_label_names(self.region_names)
        return RegionSettings(self.by_region, tuple(names.items()))
