"""Who is let in, and which objects in which transfer syntaxes: the answer to a request for an association."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from cfcam.errors import MissingExtraError
from cfcam.jobs.gateway.arrivals.wire import LONGEST_PDU, ProtocolError, rejection

VERIFICATION = "1.2.840.10008.1.1"
_APPLICATION = "1.2.840.10008.3.1.1.1"
_NEWER = {"1.2.840.10008.5.1.4.1.1.66.7", "1.2.840.10008.5.1.4.1.1.66.8"}  # label maps: than pydicom 3.0's dictionary
_NOT_OFFERED, _NO_SYNTAX = 3, 4  # PS3.8 9.3.3.2


@dataclass(frozen=True)
class Let:
    """The answer to a request.

    Attributes:
        pdu: that is sent back.
        calling: AE title of the peer.
        contexts: number of each context that was accepted -> UID of the class, UID of the transfer syntax; empty where
            nobody is let in.
        why: why the peer is not let in; "" if it is.
    """

    pdu: bytes
    calling: str
    contexts: Mapping[int, tuple[str, str]]
    why: str = ""


def negotiate(body: memoryview, *, ae_title: str, calling: Collection[str], room: bool) -> Let:
    """Answers an A-ASSOCIATE-RQ.

    Args:
        body: of the PDU.
        ae_title: one's own.
        calling: titles that are let in.
        room: whether there is room for one more association.

    Raises:
        ProtocolError: it is broken.
        MissingExtraError: pynetdicom is not installed.
    """
    asked = _request(body)
    peer = str(asked.calling_ae_title).strip()
    if peer not in calling:
        return Let(rejection(True, 1, 3), "", {}, "its AE title is not known")
    if str(asked.called_ae_title).strip() != ae_title:
        return Let(rejection(True, 1, 7), peer, {}, "it calls another AE title")
    if str(asked.application_context_name) != _APPLICATION:
        return Let(rejection(True, 1, 2), peer, {}, "it speaks another protocol")
    if not room:
        return Let(rejection(False, 3, 2), peer, {}, "too many associations are open")
    return _accepted(asked, peer)


def library() -> Any:
    """Returns pynetdicom.

    Raises:
        MissingExtraError: it is not installed.
    """
    from cfcam.exchange.pacs import association

    return association.library()


@functools.cache
def storage_classes() -> frozenset[str]:
    """Returns the UIDs of all classes of objects of the standard that can be stored."""
    from pydicom._uid_dict import UID_dictionary

    found = {uid for uid, (name, kind, *_) in UID_dictionary.items() if kind == "SOP Class" and "Storage" in name}
    left_out = ("Commitment", "Media Storage Directory")
    named = {uid for uid in found if not any(one in UID_dictionary[uid][0] for one in left_out)}
    return frozenset(named | _NEWER)


@functools.cache
def readable_syntaxes() -> frozenset[str]:
    """Returns the UIDs of the transfer syntaxes that can be decoded here."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import AllTransferSyntaxes

    found = set()
    for uid in AllTransferSyntaxes:
        if not uid.is_compressed or uid.is_deflated:
            found.add(str(uid))
            continue
        try:
            decoder = get_decoder(uid)
        except NotImplementedError:
            continue
        if decoder.is_available:
            found.add(str(uid))
    return frozenset(found)


def _request(body: memoryview) -> Any:
    library()
    from pynetdicom.pdu import A_ASSOCIATE_RQ

    pdu = A_ASSOCIATE_RQ()
    try:
        pdu.decode(b"\x01\x00" + len(body).to_bytes(4, "big") + bytes(body))
        return pdu.to_primitive()
    except MissingExtraError:
        raise
    except Exception as error:  # whatever pynetdicom says of broken bytes
        raise ProtocolError("a request for an association is broken") from error


def _accepted(asked: Any, peer: str) -> Let:
    from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID
    from pynetdicom.pdu import A_ASSOCIATE_AC
    from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification
    from pynetdicom.presentation import PresentationContext

    answers, contexts = [], {}
    for one in asked.presentation_context_definition_list:
        result, syntax = _context(one)
        told = PresentationContext()
        told.context_id, told.abstract_syntax, told.result = one.context_id, one.abstract_syntax, result
        told.transfer_syntax = [syntax]
        answers.append(told)
        if result == 0:
            contexts[int(one.context_id)] = (str(one.abstract_syntax), str(syntax))
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = LONGEST_PDU
    implementation.implementation_class_uid = PYNETDICOM_IMPLEMENTATION_UID
    given = A_ASSOCIATE()
    given.application_context_name = _APPLICATION
    given.calling_ae_title, given.called_ae_title = asked.calling_ae_title, asked.called_ae_title
    given.result, given.result_source = 0, 1
    given.presentation_context_definition_results_list = answers
    given.user_information = [length, implementation]
    pdu = A_ASSOCIATE_AC()
    pdu.from_primitive(given)
    return Let(pdu.encode(), peer, contexts)


def _context(one: Any) -> tuple[int, Any]:
    """What is answered to a context; of its transfer syntaxes the first that can be read is taken."""
    offered = list(one.transfer_syntax)
    abstract = str(one.abstract_syntax)
    if abstract != VERIFICATION and abstract not in storage_classes():
        return _NOT_OFFERED, offered[0]
    syntax = next((uid for uid in offered if str(uid) in readable_syntaxes()), None)
    return (_NO_SYNTAX, offered[0]) if syntax is None else (0, syntax)
