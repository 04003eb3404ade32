"""Objects to another system: by C-STORE or STOW-RS, each with what became of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cfcam.errors import ImageError
from cfcam.exchange.pacs.objects import DicomObject
from cfcam.exchange.pacs.outcome import On, Outcome, Report, Sent
from cfcam.exchange.pacs.place import Access, Place
from cfcam.exchange.pacs.present import already_there
from cfcam.exchange.pacs.store import c_store
from cfcam.exchange.pacs.stow import stow
from cfcam.imaging.reading.dicom_object import broken, quiet
from cfcam.imaging.reading.kinds import is_dicom_file

if TYPE_CHECKING:
    from pydicom import Dataset


def send(
    place: Place,
    files: Sequence[Path | Dataset],
    access: Access | None = None,
    *,
    on: On | None = None,
    look_first: bool = False,
) -> Report:
    """Send objects to a DICOM node or a DICOMweb server.

    They go as they are: bytes of a file are not decoded, unless a node takes them only in another uncompressed
    transfer syntax. What the place does is an outcome, not an error: one that is down gives "try again" for all.

    Args:
        place: where they go.
        files: DICOM files, or datasets.
        access: who one is, and what opens the door.
        on: told of each object as soon as it is known what became of it.
        look_first: asks the place what it has. What is there with the same content is "already there" and not sent
            again; where another object is there under the same UID, "refused", for archives keep the first without a
            word. Objects of which it has none cost one query for each series.

    Returns:
        What became of each, in the order of ``files``.

    Raises:
        MissingExtraError: pynetdicom or requests is not installed.
    """
    told: dict[int, Sent] = {}
    for sent in _sent(place, files, access or Access(), look_first):
        told[sent.number] = sent
        if on is not None:
            on(sent)
    return Report(tuple(told[number] for number in sorted(told)))


def dicom_files(paths: Sequence[Path]) -> tuple[list[Path], int]:
    """Returns the DICOM files among files and folders with their sub-folders, and how many others the folders hold.

    What is named itself is taken for DICOM: that it is none will be told when it is sent. Hidden files are passed over.

    Raises:
        ImageError: a folder cannot be read, or there is no such file or folder.
    """
    found: dict[Path, None] = {}
    others = 0
    for path in paths:
        with broken("what is to be sent", "it cannot be read"):
            if not path.is_dir():
                if not path.exists():
                    raise ImageError("what is to be sent: no such file or folder; check the path")
                found[path] = None
                continue
            for file in sorted(path.rglob("*")):
                if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts):
                    if is_dicom_file(file):
                        found[file] = None
                    else:
                        others += 1
    return list(found), others


def _sent(place: Place, files: Sequence[Path | Dataset], access: Access, look_first: bool) -> Iterator[Sent]:
    objects, refused = [], []
    with quiet():  # once for all: it costs more than the header of a small object
        for number, given in enumerate(files):
            try:
                objects.append(DicomObject.of(given, number, len(files)))
            except ImageError as error:
                path = given if isinstance(given, Path) else None
                refused.append(Sent(number, "", Outcome.REFUSED, str(error), path=path))
    yield from refused
    if look_first:
        there: set[int] = set()
        for sent in already_there(place, objects, access):
            there.add(sent.number)
            yield sent
        objects = [one for one in objects if one.number not in there]
    yield from (stow if place.is_web else c_store)(place, objects, access)
