"""What a gateway would do with the objects of a folder, without doing it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cfcam.errors import CfcamError, ImageError
from cfcam.imaging.reading.kinds import is_dicom_file
from cfcam.jobs.gateway.header import Header
from cfcam.jobs.gateway.rules import Decision, decide
from cfcam.jobs.gateway.settings import GatewaySettings


@dataclass(frozen=True)
class Would:
    """What would be done with a series.

    Attributes:
        number: of the series in the folder, from 1.
        header: of its first object.
        objects: how many it has.
        slices: of it, frames counted.
        decision: which rule, and why not others.
        mixed: whether its objects are of several patients, so that nothing would be done.
    """

    number: int
    header: Header
    objects: int
    slices: int
    decision: Decision
    mixed: bool


def would(settings: GatewaySettings, folder: Path, *, sender: str = "watch") -> tuple[list[Would], int]:
    """Reads the headers of a folder, with its sub-folders, and decides.

    Args:
        settings: of the gateway.
        folder: what is in it.
        sender: what rules that ask for a sender are told.

    Returns:
        A line for each series, and how many files are no DICOM objects that a gateway takes.

    Raises:
        ImageError: there is no such folder, or no DICOM object in it.
    """
    if not folder.is_dir():
        raise ImageError(f"{folder}: is no folder; name one with DICOM files")
    found: dict[str, list[Header]] = {}
    others = 0
    for path in files_of(folder):
        try:
            if not is_dicom_file(path):
                others += 1
                continue
            header = Header.of_file(path, "a file")
        except (CfcamError, OSError):
            others += 1
            continue
        found.setdefault(header.series, []).append(header)
    if not found:
        raise ImageError(f"{folder}: holds no DICOM object with the UIDs that every object has")
    return [_would(settings, number, headers, sender) for number, headers in enumerate(found.values(), 1)], others


def files_of(folder: Path) -> Iterator[Path]:
    """Yields the files of a folder and of those in it, in the order of their names; hidden ones are passed over."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(names) if not name.startswith("."))


def _would(settings: GatewaySettings, number: int, headers: list[Header], sender: str) -> Would:
    once = {header.uid: header for header in headers}
    slices = sum(header.frames for header in once.values())
    decision = decide(settings.rule, headers[0], sender=sender, slices=slices)
    return Would(number, headers[0], len(once), slices, decision, len({one.patient for one in headers}) > 1)
