"""Whole objects from a place into a folder: C-GET (PS3.4 C.4.3) or WADO-RS (PS3.18 10.4), going on where it stopped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cfcam.errors import InputError
from cfcam.exchange.pacs.get import c_get
from cfcam.exchange.pacs.outcome import On, Outcome, Report, Sent
from cfcam.exchange.pacs.place import Access, Place
from cfcam.exchange.pacs.wado import wado
from cfcam.exchange.pacs.wanted import Wanted, listing
from cfcam.files import own_output


def fetch(
    place: Place,
    wanted: str | Sequence[Wanted],
    folder: Path,
    access: Access | None = None,
    *,
    on: On | None = None,
    resume: bool = True,
) -> Report:
    """Fetch whole objects into a folder.

    Each lies in ``study-…/series-…/….dcm``, named by hashes of its UIDs: the same object has the same name again.

    Args:
        place: where they are.
        wanted: a study's UID, or what `listing` returned.
        folder: made if missing.
        access: who one is, and what opens the door.
        on: told of each object as soon as it is known what became of it.
        resume: objects that are there already, whole, are not fetched again.

    Returns:
        What became of each: "stored" is fetched, "already there" was fetched before.

    Raises:
        NetworkError: the place cannot be asked what it has.
        JobError: the folder cannot be written into, or another run is at work there.
        MissingExtraError: pynetdicom or requests is not installed.
    """
    access = access or Access()
    if isinstance(wanted, str):
        wanted = listing(place, [wanted], access)
    if len({one.name for one in wanted}) != len(wanted):
        raise InputError("two of the wanted objects have the same UIDs: fetch them apart")
    with own_output(folder, shown=folder.name):
        return _fetched(place, wanted, folder, access, on=on, resume=resume)


def _fetched(
    place: Place, wanted: Sequence[Wanted], folder: Path, access: Access, *, on: On | None, resume: bool
) -> Report:
    told: dict[int, Sent] = {}

    def tell(sent: Sent) -> None:
        told[sent.number] = sent
        if on is not None:
            on(sent)

    missing: list[Wanted] = []
    for one in wanted:
        if resume and one.there(folder):
            tell(Sent(one.number, one.uid, Outcome.ALREADY_THERE, path=folder / one.name))
        else:
            missing.append(one)
    for sent in (wado if place.is_web else c_get)(place, missing, folder, access):
        tell(sent)
    return Report(tuple(told[number] for number in sorted(told)))
