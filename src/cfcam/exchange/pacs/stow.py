"""Objects to a DICOMweb server by STOW-RS (PS3.18 10.5): in messages of bounded size, and what became of each."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace

from cfcam import json_text
from cfcam.errors import CfcamError
from cfcam.exchange.pacs.http import StatusError, Web
from cfcam.exchange.pacs.objects import DicomObject
from cfcam.exchange.pacs.outcome import NetworkError, Outcome, Sent
from cfcam.exchange.pacs.place import Access, Place
from cfcam.exchange.pacs.store import PATIENCE, meaning, not_sent

_MOST_BYTES, _MOST_OBJECTS = 32 << 20, 64  # of one message; a larger object goes alone
_LONGEST_ANSWER = 16 << 20
_REFERENCED, _FAILED = "00081199", "00081198"  # Referenced SOP Sequence, Failed SOP Sequence
_UID, _REASON, _WARNING = "00081155", "00081197", "00081196"


def stow(place: Place, objects: Sequence[DicomObject], access: Access, *, web: Web | None = None) -> Iterator[Sent]:
    """Yields what becomes of each object.

    Args:
        place: where they go.
        objects: to send.
        access: who one is.
        web: the place, if it is spoken to already; it stays open.

    A message that is refused whole is sent again object by object, so that one broken object is no harm to others.
    After `PATIENCE` objects in a row that are to be tried again the others are not sent at all.
    """
    vain, waiting = 0, list(objects)
    with Web(place, access) if web is None else nullcontext(web) as web:
        while waiting:
            batch = _batch(waiting)
            try:
                told = _post(web, batch)
            except StatusError as error:
                if error.status in (401, 403, 404, 405) or 300 <= error.status < 400:
                    yield from not_sent(waiting, error)
                    return
                told = (
                    [answer for one in batch for answer in _alone(web, one)] if len(batch) > 1 else _told(batch, error)
                )
            except NetworkError as error:
                told = _told(batch, error)
            del waiting[: len(batch)]
            for sent in told:
                yield sent
                vain = vain + 1 if sent.outcome is Outcome.TRY_AGAIN else 0
            if vain >= PATIENCE or (
                told and all(one.outcome is Outcome.TRY_AGAIN and one.code is None for one in told)
            ):
                reason = told[-1].reason
                yield from not_sent(waiting, NetworkError(f"not sent, since it was so of others: {reason}", again=True))
                return


def _alone(web: Web, one: DicomObject) -> list[Sent]:
    try:
        return _post(web, [one])
    except NetworkError as error:
        return _told([one], error)


def _told(batch: Sequence[DicomObject], error: NetworkError) -> list[Sent]:
    return [replace(sent, code=getattr(error, "status", None)) for sent in not_sent(batch, error)]


def _batch(objects: Sequence[DicomObject]) -> list[DicomObject]:
    """The first objects that one message holds; no two of one UID, which its answer could not tell apart."""
    batch, size, uids = list(objects[:1]), objects[0].size, {objects[0].uid}
    for one in objects[1:_MOST_OBJECTS]:
        size += one.size
        if size > _MOST_BYTES or one.uid in uids:
            break
        batch.append(one)
        uids.add(one.uid)
    return batch


class _Body:
    """A multipart message (RFC 2387) that is read from its files while it is sent."""

    def __init__(self, boundary: str) -> None:
        self._boundary = boundary.encode()
        self._parts: list[bytes | Iterator[bytes]] = []
        self._length = 0

    def add(self, length: int, pieces: Iterator[bytes]) -> None:
        head = b"--" + self._boundary + b"\r\nContent-Type: application/dicom\r\nContent-Length: %d\r\n\r\n" % length
        self._parts += [head, pieces, b"\r\n"]
        self._length += len(head) + length + 2

    def end(self) -> None:
        self._parts.append(b"--" + self._boundary + b"--\r\n")
        self._length += len(self._boundary) + 6

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        for part in self._parts:
            if isinstance(part, bytes):
                yield part
            else:
                yield from part


def _post(web: Web, batch: Iterable[DicomObject]) -> list[Sent]:
    """Sends one message, and returns what became of each object in it."""
    boundary = f"cfcam-{secrets.token_hex(16)}"
    body, sizes, told = _Body(boundary), dict[int, int](), dict[int, Sent]()
    batch = list(batch)
    for one in batch:
        try:
            length, pieces = one.pieces()
        except (CfcamError, OSError) as error:
            reason = str(error) if isinstance(error, CfcamError) else f"cannot be read ({error.strerror})"
            told[one.number] = Sent(one.number, one.uid, Outcome.REFUSED, reason, path=one.path)
            continue
        sizes[one.number] = length
        body.add(length, pieces)
    body.end()
    if sizes:
        headers = {
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            "Accept": "application/dicom+json",
        }
        with web.ask("POST", "/studies", headers=headers, body=body, fine=(200, 202, 400, 409)) as answer:
            said = web.read(answer, _LONGEST_ANSWER)
            found = _answers(said)
            if not found and answer.status_code >= 400:
                raise StatusError(web.place, answer.status_code)
        for one in batch:
            if one.number in sizes:
                told[one.number] = _became(one, sizes[one.number], found, len(sizes) == 1)
    return [told[one.number] for one in batch]


def _became(one: DicomObject, size: int, found: dict[str, tuple[Outcome, str, int]], alone: bool) -> Sent:
    answer = found.get(one.uid) or (found.get("") if alone else None)
    if answer is None:
        reason = "the place does not say what became of it"
        return Sent(one.number, one.uid, Outcome.TRY_AGAIN, reason, 200, one.path)
    outcome, reason, code = answer
    return Sent(one.number, one.uid, outcome, reason, code, one.path, size)


def _answers(said: bytes) -> dict[str, tuple[Outcome, str, int]]:
    """Reads the store instances response (PS3.18 10.5.3, PS3.3 C.12.3), DICOM JSON: UID -> what became of it."""
    try:
        values = json_text.parse(said, "the answer") if said.strip() else {}
    except ValueError:
        return {}
    if isinstance(values, list):
        values = values[0] if len(values) == 1 else {}
    found: dict[str, tuple[Outcome, str, int]] = {}
    for item in _items(values, _REFERENCED):
        warning = _number(item, _WARNING)
        said_so = "" if not warning else f"the place stored it with a warning (0x{warning:04X})"
        found[_text(item, _UID)] = (Outcome.STORED, said_so, warning or 0)
    for item in _items(values, _FAILED):
        reason = _number(item, _REASON) or 0x0110
        found[_text(item, _UID)] = (*meaning(reason), reason)
    return found


def _items(values: object, tag: str) -> list[dict[str, object]]:
    element = values.get(tag) if isinstance(values, dict) else None
    items = element.get("Value") if isinstance(element, dict) else None
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _first(item: dict[str, object], tag: str) -> object:
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if isinstance(values, list) and values else None


def _text(item: dict[str, object], tag: str) -> str:
    return str(_first(item, tag) or "").strip()


def _number(item: dict[str, object], tag: str) -> int | None:
    value = _first(item, tag)
    return int(value) if isinstance(value, (int, float)) else None
