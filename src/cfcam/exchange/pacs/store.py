"""Objects to a DICOM node by C-STORE (PS3.4 B): as they are, and what became of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from cfcam.errors import CfcamError
from cfcam.exchange.pacs.association import MOST_CONTEXTS, Context, NotOfferedError, accepted, associated, name_of
from cfcam.exchange.pacs.objects import DicomObject
from cfcam.exchange.pacs.outcome import NetworkError, Outcome, Sent
from cfcam.exchange.pacs.place import Access, Place

if TYPE_CHECKING:
    from pynetdicom.association import Association

_IMPLICIT, _EXPLICIT, _DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"
_EXCHANGEABLE = (_EXPLICIT, _IMPLICIT, _DEFLATED)  # written in each other without a touch of the pixels

PATIENCE = 3
"""Objects in a row that are to be tried again, after which a place is taken to be down or full."""

# PS3.7 annex C and PS3.4 B.2.3; groups by their first digits come after these.
_WORDS = {
    0x0110: (Outcome.TRY_AGAIN, "the place failed while it stored the object"),
    0x0111: (Outcome.ALREADY_THERE, "the place says that it has the object"),
    0x0117: (Outcome.REFUSED, "the place calls the SOP Instance UID invalid"),
    0x0122: (Outcome.REFUSED, "the place does not take this kind of object"),
    0x0124: (Outcome.REFUSED, "the place does not allow it"),
    0x0213: (Outcome.TRY_AGAIN, "the place has no room at the moment"),
}
_GROUPS = {
    0xA7: (Outcome.TRY_AGAIN, "the place has no room at the moment"),
    0xA9: (Outcome.REFUSED, "the place says that the object is not what its class asks for"),
}


def c_store(place: Place, objects: Sequence[DicomObject], access: Access) -> Iterator[Sent]:
    """Yields what becomes of each object.

    Where an association breaks, the object at which it did is to be tried again, and the next one is sent through a
    new association. After `PATIENCE` objects in a row that are to be tried again the others are not sent at all.
    """
    waiting = list(objects)
    vain = 0
    while waiting:
        group = _group(waiting)
        try:
            with associated(place, access, contexts_of(group)) as opened:
                for one in group:
                    sent = sent_through(opened, one)
                    del waiting[0]
                    yield sent
                    vain = vain + 1 if sent.outcome is Outcome.TRY_AGAIN else 0
                    if lost := sent.outcome is Outcome.TRY_AGAIN and sent.code is None:
                        opened.abort()
                    if lost or vain >= PATIENCE:
                        break
        except NotOfferedError as error:
            yield from not_sent(group, error)
            del waiting[: len(group)]
        except NetworkError as error:
            yield from not_sent(waiting, error)
            return
        if vain >= PATIENCE:
            yield from not_sent(
                waiting, NetworkError(f"not sent, since it was so of others: {sent.reason}", again=True)
            )
            return


def not_sent(waiting: Sequence[DicomObject], error: NetworkError) -> Iterator[Sent]:
    """Yields for objects that there is no way to send what is to be done with them."""
    outcome = Outcome.TRY_AGAIN if error.again else Outcome.REFUSED
    for one in waiting:
        yield Sent(one.number, one.uid, outcome, str(error), path=one.path)


def _group(objects: Sequence[DicomObject]) -> list[DicomObject]:
    """The first objects that one association can hold."""
    known: set[Context] = set()
    group = []
    for one in objects:
        known |= set(contexts_of([one]))
        if len(known) > MOST_CONTEXTS:
            break
        group.append(one)
    return group


def contexts_of(objects: Sequence[DicomObject]) -> list[Context]:
    """Returns what is asked for: of each kind of object its own transfer syntax, and what else it can be written in.

    They stand in contexts of their own, for of several in one context the node takes which it likes.
    """
    asked: dict[Context, None] = {}
    for one in objects:
        asked[Context(one.sop_class, (one.syntax,))] = None
        if one.syntax in _EXCHANGEABLE:
            others = tuple(uid for uid in _EXCHANGEABLE[:2] if uid != one.syntax)
            asked[Context(one.sop_class, others)] = None
    return list(asked)


def sent_through(opened: Association, one: DicomObject) -> Sent:
    """Sends an object through an association, and returns what became of it."""
    taken = accepted(opened).get(one.sop_class, ())
    if one.syntax not in taken and not (one.syntax in _EXCHANGEABLE and set(taken) & set(_EXCHANGEABLE)):
        return Sent(one.number, one.uid, Outcome.REFUSED, _not_taken(one, taken), path=one.path)
    try:
        given: Any = one.path if one.whole and one.syntax in taken else one.read()
        status = opened.send_c_store(given)
    except CfcamError as error:
        return Sent(one.number, one.uid, Outcome.REFUSED, str(error), path=one.path)
    except (AttributeError, ValueError, OSError, RuntimeError) as error:
        lost = not opened.is_established
        reason = "the connection broke" if lost else f"the object cannot be encoded ({type(error).__name__})"
        return Sent(one.number, one.uid, Outcome.TRY_AGAIN if lost else Outcome.REFUSED, reason, path=one.path)
    if "Status" not in status:
        return Sent(one.number, one.uid, Outcome.TRY_AGAIN, "the connection broke before an answer came", path=one.path)
    outcome, reason = meaning(int(status.Status))
    return Sent(one.number, one.uid, outcome, reason, int(status.Status), one.path, one.size)


def _not_taken(one: DicomObject, taken: Sequence[str]) -> str:
    kind = name_of(one.sop_class)
    return f"the place does not take {kind}" + (f" in the transfer syntax {name_of(one.syntax)}" if taken else "")


def meaning(status: int) -> tuple[Outcome, str]:
    """Returns what the status of a store means, and says it in words."""
    if status == 0:
        return Outcome.STORED, ""
    if status >> 12 == 0xB or status in (0x0001, 0x0107, 0x0116):
        return Outcome.STORED, f"the place stored it with a warning (0x{status:04X})"
    outcome, words = _WORDS.get(status) or _GROUPS.get(status >> 8) or (Outcome.REFUSED, "the place refuses it")
    return outcome, f"{words} (0x{status:04X})"
