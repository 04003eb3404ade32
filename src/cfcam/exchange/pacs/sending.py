"""Objects to another system: by C-STORE or STOW-RS, each with what became of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cfcam.errors import ImageError
from cfcam.exchange.pacs.objects import DicomObject
from cfcam.exchange.pacs.outcome import On, Outcome, Report, Sent
from cfcam.exchange.pacs.place import Access, Place
from cfcam.exchange.pacs.store import c_store
from cfcam.exchange.pacs.stow import stow

if TYPE_CHECKING:
    from pydicom import Dataset


def send(
    place: Place, files: Sequence[Path | Dataset], access: Access | None = None, *, on: On | None = None
) -> Report:
    """Send objects to a DICOM node or a DICOMweb server.

    They go as they are: bytes of a file are not decoded, unless a node takes them only in another uncompressed
    transfer syntax. What the place does is an outcome, not an error: one that is down gives "try again" for all.

    Args:
        place: where they go.
        files: DICOM files, or datasets.
        access: who one is, and what opens the door.
        on: told of each object as soon as it is known what became of it.

    Returns:
        What became of each, in the order of ``files``.

    Raises:
        MissingExtraError: pynetdicom or requests is not installed.
    """
    told: dict[int, Sent] = {}
    for sent in _sent(place, files, access or Access()):
        told[sent.number] = sent
        if on is not None:
            on(sent)
    return Report(tuple(told[number] for number in sorted(told)))


def _sent(place: Place, files: Sequence[Path | Dataset], access: Access) -> Iterator[Sent]:
    objects = []
    for number, given in enumerate(files):
        try:
            objects.append(DicomObject.of(given, number, len(files)))
        except ImageError as error:
            path = given if isinstance(given, Path) else None
            yield Sent(number, "", Outcome.REFUSED, str(error), path=path)
    yield from (stow if place.is_web else c_store)(place, objects, access)
