"""Where masks of an image are found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from cfcam.cli.arguments import places
from cfcam.cli.command import Checked, Command

if TYPE_CHECKING:
    from cfcam.jobs.inputs.masks import RegionKind

Artefacts = Annotated[
    str | None,
    typer.Option(metavar="MASKS", help="Devices, markers, borders; likewise."),
    Checked(places.masks("--artefacts")),
]
WHERE = "a mask (PNG, NIfTI, DICOM SEG), a folder, masks/{stem}_lung.png, boxes.csv"


def masks_of(command: Command) -> tuple[tuple[RegionKind, str], ...]:
    """What kinds of masks a command was given, and where they are."""
    kinds: tuple[RegionKind, ...] = ("organ", "artefacts", "findings")
    given = ((kind, getattr(command, kind, None)) for kind in kinds)
    return tuple((kind, where) for kind, where in given if where is not None)


@dataclass(frozen=True, kw_only=True)
class Masks(Command):
    """Options of commands that check maps against masks; they stand in the command's own panel."""

    organ: Annotated[
        str | None,
        typer.Option(metavar="MASKS", help=f"Where maps may lie: {WHERE}."),
        Checked(places.masks("--organ")),
    ] = None
    artefacts: Artefacts = None
