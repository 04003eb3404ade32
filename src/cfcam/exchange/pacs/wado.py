"""Whole objects from a DICOMweb server by WADO-RS (PS3.18 10.4), one by one, as they are stored there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from email.message import Message
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from cfcam.exchange.pacs.http import StatusError, Web
from cfcam.exchange.pacs.multipart import only_part
from cfcam.exchange.pacs.outcome import NetworkError, Outcome, Sent
from cfcam.exchange.pacs.place import Access, Place
from cfcam.exchange.pacs.store import PATIENCE
from cfcam.exchange.pacs.wanted import Wanted, not_fetched

if TYPE_CHECKING:
    from requests import Response

_DOORS = (401, 403)
# The second for servers that do not know the parameter, which say 400 or 406; they give what they please.
_ACCEPTED = (
    'multipart/related; type="application/dicom"; transfer-syntax=*',
    'multipart/related; type="application/dicom"',
)


def wado(place: Place, wanted: Sequence[Wanted], folder: Path, access: Access) -> Iterator[Sent]:
    """Yields what becomes of each object.

    After `PATIENCE` objects in a row that are to be tried again the others are not asked for.

    Raises:
        JobError: the folder cannot be written into.
    """
    vain = 0
    with Web(place, access) as web:
        for done, one in enumerate(wanted):
            try:
                sent = _one(web, one, folder)
            except StatusError as error:
                if error.status in _DOORS:
                    yield from not_fetched(wanted[done:], error)
                    return
                (sent,) = not_fetched([one], error)
            except NetworkError as error:
                (sent,) = not_fetched([one], error)
            yield sent
            vain = vain + 1 if sent.outcome is Outcome.TRY_AGAIN else 0
            if vain >= PATIENCE:
                yield from not_fetched(
                    wanted[done + 1 :],
                    NetworkError(f"not asked for, since it was so of others: {sent.reason}", again=True),
                )
                return


def _one(web: Web, one: Wanted, folder: Path) -> Sent:
    try:
        return _kept(web, one, folder, _ACCEPTED[0])
    except StatusError as error:
        if error.status not in (400, 406):
            raise
    return _kept(web, one, folder, _ACCEPTED[1])


def _kept(web: Web, one: Wanted, folder: Path, accepted: str) -> Sent:
    uids = (quote(uid, safe="") for uid in (one.study, one.series, one.uid))
    path = "/studies/{}/series/{}/instances/{}".format(*uids)
    headers = {"Accept": accepted, "Accept-Encoding": "identity"}
    with web.ask("GET", path, headers=headers, fine=(200,)) as answer:
        return one.kept(folder, lambda path: _write(web, answer, path))


def _write(web: Web, answer: Response, path: Path) -> int:
    """Writes the object in an answer to a file, piece by piece; returns its bytes."""
    said = Message()
    said["Content-Type"] = answer.headers.get("Content-Type", "")
    pieces: Iterator[bytes] = web.pieces(answer)
    if said.get_content_maintype() == "multipart":
        pieces = only_part(pieces, str(said.get_boundary("")).encode())
    elif said.get_content_type() != "application/dicom":
        raise NetworkError(f"{web.place}: gives {said.get_content_type()} in place of an object", again=False)
    size = 0
    try:
        with path.open("xb") as file:
            for piece in pieces:
                size += file.write(piece)
    except ValueError as error:
        raise NetworkError(f"{web.place}: {error}", again=True) from None
    return size
