"""Associations with a DICOM node (PS3.8): opened with what is sent, and why they could not be, in one line."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from cfcam.errors import CfcamError, MissingExtraError, few, one_line
from cfcam.exchange.pacs.outcome import NetworkError
from cfcam.exchange.pacs.place import Access, Place

if TYPE_CHECKING:
    from pynetdicom.association import Association

MOST_CONTEXTS = 128  # their ids are the odd numbers of a byte: PS3.8 9.3.2.2
_QUICK_ACK: int | None = getattr(socket, "TCP_QUICKACK", None)
_LONGEST_PDU = 1 << 20  # what we take; pynetdicom's 16382 bytes cost a round of its reactor each

_NEWER = {"1.2.840.10008.5.1.4.1.1.66.7": "Label Map Segmentation Storage"}  # than pydicom 3.0's dictionary

# PS3.8 9.3.4: (source, reason) -> words. Of source 3 all pass by themselves.
_REJECTED = {
    (1, 2): "does not take this application context",
    (1, 3): "does not know the calling AE title {calling}: enter it there, or give the one that is known",
    (1, 7): "is not called {called}: give the AE title that it has",
    (2, 2): "speaks another version of the protocol",
    (3, 1): "is too busy",
    (3, 2): "has too many associations open",
}


@dataclass(frozen=True)
class Context:
    """What is asked for: a class of objects or services, in one of some transfer syntaxes.

    Attributes:
        abstract: UID of the class.
        syntaxes: UIDs of transfer syntaxes, of which the node takes one.
    """

    abstract: str
    syntaxes: tuple[str, ...]


@contextmanager
def associated(
    place: Place,
    access: Access,
    contexts: Sequence[Context],
    *,
    storing: Sequence[str] = (),
    handlers: Sequence[Any] = (),
) -> Iterator[Association]:
    """Opens an association with a node, and releases it at the end.

    Args:
        place: the node.
        access: who one is.
        contexts: what is asked for, `MOST_CONTEXTS` at most.
        storing: UIDs of classes of which the node may send objects back, as for C-GET.
        handlers: for pynetdicom's events.

    Raises:
        NetworkError: the node cannot be reached, or does not let one in.
        MissingExtraError: pynetdicom is not installed.
    """
    net = library()
    entity = net.AE(ae_title=access.calling_ae)
    entity.connection_timeout = entity.acse_timeout = access.timeout_s
    entity.dimse_timeout = entity.network_timeout = access.timeout_s
    asked = [net.build_context(context.abstract, list(context.syntaxes)) for context in contexts]
    extra = [net.build_role(uid, scp_role=True) for uid in storing]
    if access.user is not None:
        extra.append(_identity(access))
    tls = (tls_context(access), place.host) if place.tls else None
    try:
        opened = entity.associate(
            place.host,
            place.port,
            contexts=asked,
            ae_title=place.called_ae,
            max_pdu=_LONGEST_PDU,
            ext_neg=extra or None,
            tls_args=tls,
            evt_handlers=[(net.evt.EVT_CONN_OPEN, _at_once), *handlers],
        )
    except (OSError, UnicodeError) as error:  # pynetdicom looks the name up here, before it connects
        raise unreached(place, error) from None
    if not opened.is_established:
        raise _why_not(opened, place, access, contexts)
    try:
        yield opened
    except RuntimeError as error:  # as pynetdicom answers who asks through an association that has ended
        if isinstance(error, CfcamError) or opened.is_established:
            raise
        raise NetworkError(f"{place}: broke the connection", again=True) from None
    finally:
        if opened.is_established:
            opened.release()


def _at_once(event: Any) -> None:
    """Lets each piece go when it is written, and acknowledges what comes as soon as it does: else 40 ms a message.

    Our last piece would wait for an answer to the one before (Nagle's algorithm and delayed acknowledgements, RFC 1122
    4.2.3); and Orthanc writes the head of an answer alone, and the rest once that is acknowledged. Linux has this for
    itself (tcp(7), TCP_QUICKACK), and forgets it with each piece that it sends: it is asked for when a head is there.
    """
    opened = event.assoc.dul.socket
    opened.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if _QUICK_ACK is not None:
        opened.recv = partial(_acknowledged, opened.socket, opened.recv)


def _acknowledged(sock: socket.socket, receive: Callable[[int], bytearray], count: int) -> bytearray:
    sock.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK or 0, 1)
    return receive(count)


class NotOfferedError(NetworkError):
    """A node lets one in, and does nothing of what was asked for."""


def name_of(uid: str) -> str:
    """Returns what the standard calls a UID; one that it does not know stays as it is."""
    from pydicom.uid import UID

    return _NEWER.get(uid) or UID(uid).name


def library() -> Any:
    """Returns pynetdicom, which says nothing by itself from then on: its lines quote what objects hold.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import pynetdicom
        from pynetdicom import _config
    except ModuleNotFoundError as error:
        raise MissingExtraError("pynetdicom", "pacs", "speaking to a DICOM node") from error
    # For the whole process, since it has no other switch: no log lines of messages and identifiers, and files that are
    # sent by their path go as they are, not decoded and encoded again.
    _config.LOG_HANDLER_LEVEL = "none"
    _config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
    _config.STORE_SEND_CHUNKED_DATASET = True
    return pynetdicom


def tls_context(access: Access) -> ssl.SSLContext:
    """Returns how TLS is spoken: the place's certificate is always looked at.

    Raises:
        NetworkError: a file holds no certificate or key that can be used.
    """
    try:
        context = ssl.create_default_context(cafile=None if access.ca is None else str(access.ca))
        if access.certificate is not None:
            context.load_cert_chain(access.certificate, access.key)
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        raise NetworkError(f"the certificates cannot be used ({reason}): give PEM files", again=False) from None
    return context


def _identity(access: Access) -> Any:
    """A user, with a password or without, as PS3.7 D.3.3.7 sends it."""
    from pynetdicom.pdu_primitives import UserIdentityNegotiation

    item = UserIdentityNegotiation()
    item.user_identity_type = 1 if access.password is None else 2
    item.primary_field = str(access.user).encode()
    if access.password is not None:
        item.secondary_field = access.password.reveal().encode()
    return item


def _why_not(opened: Association, place: Place, access: Access, contexts: Sequence[Context]) -> NetworkError:
    answer = opened.acceptor.primitive
    if not opened.is_rejected:
        if answer is not None and answer.result == 0:
            asked = (f"{name_of(one.abstract)} ({', '.join(map(name_of, one.syntaxes))})" for one in contexts)
            return NotOfferedError(f"{place}: takes none of what it was asked for: {few(asked)}", again=False)
        return probed(place, access)
    source, reason = getattr(answer, "result_source", None), getattr(answer, "diagnostic", None)
    again = getattr(answer, "result", 1) == 2
    words = _REJECTED.get((source or 0, reason or 0), "refuses the association without a reason")
    told = words.format(calling=access.calling_ae, called=place.called_ae)
    return NetworkError(f"{place}: {told}", again=again)


def probed(place: Place, access: Access) -> NetworkError:
    """Returns why no association, and no answer, came from a place: pynetdicom does not tell."""
    try:
        with socket.create_connection((place.host, place.port), timeout=min(access.timeout_s, 10)) as plain:
            if not place.tls:
                silent = "took the connection and ended it without an answer; is it a DICOM node, or does it want TLS?"
                return NetworkError(f"{place}: {silent}", again=True)
            with tls_context(access).wrap_socket(plain, server_hostname=place.host) as wrapped:
                wrapped.settimeout(1)
                wrapped.read(1)  # where TLS 1.3 says that it wants a certificate
    except ssl.SSLCertVerificationError as error:
        told = f"its certificate is not trusted ({error.verify_message}): name the CA's file with --ca"
        return NetworkError(f"{place}: {told}", again=False)
    except ssl.SSLEOFError:
        return NetworkError(f"{place}: broke the connection while TLS was agreed on; does it speak TLS?", again=True)
    except ssl.SSLError as error:
        told = f"TLS failed ({error.reason or 'no reason given'}); does it want a certificate, or speak without TLS?"
        return NetworkError(f"{place}: {told}", again=False)
    except TimeoutError:
        return NetworkError(f"{place}: does not answer in time", again=True)
    except (OSError, UnicodeError) as error:
        return unreached(place, error)
    return NetworkError(f"{place}: ended the connection without an answer", again=True)


def unreached(place: Place, error: OSError | UnicodeError) -> NetworkError:
    """Returns why a place was not even connected to: a UnicodeError is of a name that no machine can have (IDNA)."""
    if isinstance(error, (socket.gaierror, UnicodeError)):
        return NetworkError(f"{place}: no machine has this name: check it", again=True)
    return NetworkError(f"{place}: cannot be reached ({error.strerror or one_line(error)})", again=True)


def accepted(opened: Association) -> Mapping[str, tuple[str, ...]]:
    """Returns for each class that the node takes the transfer syntaxes in which it does."""
    found: dict[str, tuple[str, ...]] = {}
    for context in opened.accepted_contexts:
        uid = str(context.abstract_syntax)
        found[uid] = (*found.get(uid, ()), str(context.transfer_syntax[0]))
    return found
