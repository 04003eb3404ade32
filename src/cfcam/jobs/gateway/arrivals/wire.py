"""DICOM's upper layer (PS3.8) and the two messages of a storing node (PS3.7), read from a socket with bounds on all.

pynetdicom takes associations apart; objects go past it. It waits in two threads an association, each of which wakes up
a hundred times a second, reads 4096 bytes at a time, and holds an object in memory as often as three times.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from cfcam.errors import CfcamError

LONGEST_PDU = 1 << 18
"""Bytes of a PDU of data that a sender may send; DCMTK sends 128 KiB at most."""

_LONGEST_ASSOCIATE = 1 << 18
_LONGEST_COMMAND = 1 << 16
_PDU_SILENCE = 30.0  # seconds in which the rest of a PDU has to come

ASSOCIATE_RQ, DATA, RELEASE_RQ, RELEASE_RP, ABORT = 0x01, 0x04, 0x05, 0x06, 0x07

C_STORE, C_ECHO, C_CANCEL = 0x0001, 0x0030, 0x0FFF
NO_DATA_SET = 0x0101


class ProtocolError(CfcamError, ConnectionError):
    """A peer breaks the protocol, or a bound: the association is aborted."""


class ClosedError(CfcamError, ConnectionError):
    """A peer is gone."""


class Connection:
    """A socket on which PDUs come.

    Args:
        sock: the socket; it is closed by whoever made it.
        silence: seconds for which nothing may come.
    """

    def __init__(self, sock: socket.socket, silence: float) -> None:
        self._socket, self._silence = sock, silence
        self._body = bytearray(1 << 16)

    def pdu(self, *, first: bool = False) -> tuple[int, memoryview]:
        """Returns the type and the body of the next PDU; the body is there until the next one is asked for.

        Raises:
            ProtocolError: it is longer than may be, or does not come in time.
            ClosedError: the peer is gone.
        """
        head = bytearray(6)
        self._socket.settimeout(_PDU_SILENCE if first else self._silence)
        self._fill(memoryview(head))
        kind, _, length = struct.unpack(">BBL", head)
        if length > (_LONGEST_ASSOCIATE if kind == ASSOCIATE_RQ else LONGEST_PDU):
            raise ProtocolError("a PDU is longer than may be")
        if length > len(self._body):
            self._body = bytearray(length)
        body = memoryview(self._body)[:length]
        self._socket.settimeout(_PDU_SILENCE)
        self._fill(body)
        return kind, body

    def send(self, data: bytes) -> None:
        """Sends bytes.

        Raises:
            ClosedError: the peer is gone.
        """
        self._socket.settimeout(_PDU_SILENCE)
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise ClosedError("the peer is gone") from error

    def _fill(self, view: memoryview) -> None:
        try:
            while view:
                count = self._socket.recv_into(view)
                if not count:
                    raise ClosedError("the peer is gone")
                view = view[count:]
        except TimeoutError as error:
            raise ProtocolError("the peer was silent for too long") from error
        except OSError as error:
            raise ClosedError("the peer is gone") from error


@dataclass(frozen=True)
class Piece:
    """Part of a message in a P-DATA-TF PDU (PS3.8 9.3.5.1).

    Attributes:
        context: presentation context it came in.
        command: whether it is of the command; else of the data set.
        last: whether it is the last one of that.
        data: there until the next PDU is read.
    """

    context: int
    command: bool
    last: bool
    data: memoryview


def pieces(body: memoryview) -> Iterator[Piece]:
    """Yields the parts of messages in a PDU.

    Raises:
        ProtocolError: it is broken.
    """
    at = 0
    while at < len(body):
        if at + 6 > len(body):
            raise ProtocolError("a PDU is cut off")
        length, context, control = struct.unpack_from(">LBB", body, at)
        if length < 2 or at + 4 + length > len(body):
            raise ProtocolError("a PDU is cut off")
        yield Piece(context, bool(control & 1), bool(control & 2), body[at + 6 : at + 4 + length])
        at += 4 + length


class Command:
    """The command of a message: what is read of it."""

    def __init__(self, data: bytes) -> None:
        self._values: dict[int, bytes] = {}
        at = 0
        while at + 8 <= len(data):
            group, element, length = struct.unpack_from("<HHL", data, at)
            if group != 0 or at + 8 + length > len(data):
                raise ProtocolError("a command is broken")
            self._values[element] = data[at + 8 : at + 8 + length]
            at += 8 + length

    def _number(self, element: int) -> int:
        value = self._values.get(element, b"")
        return int.from_bytes(value, "little") if len(value) == 2 else 0

    def _uid(self, element: int) -> str:
        return self._values.get(element, b"").rstrip(b"\0 ").decode("ascii", "replace")

    @property
    def field(self) -> int:
        """What is asked for."""
        return self._number(0x0100)

    @property
    def message(self) -> int:
        """Its number."""
        return self._number(0x0110)

    @property
    def has_data(self) -> bool:
        """Whether a data set follows."""
        return self._number(0x0800) != NO_DATA_SET

    @property
    def sop_class(self) -> str:
        """UID of the class of the object."""
        return self._uid(0x0002)

    @property
    def uid(self) -> str:
        """Of the object."""
        return self._uid(0x1000)


def answer(context: int, asked: Command, status: int, comment: str = "") -> bytes:
    """Returns the PDU of an answer.

    Args:
        context: presentation context of what was asked.
        asked: what it was.
        status: of PS3.7 annex C.
        comment: at most 64 characters; nothing of a patient.
    """
    elements = [
        (0x0002, _padded(asked.sop_class, b"\0")),
        (0x0100, struct.pack("<H", asked.field | 0x8000)),
        (0x0120, struct.pack("<H", asked.message)),
        (0x0800, struct.pack("<H", NO_DATA_SET)),
        (0x0900, struct.pack("<H", status)),
    ]
    if comment:
        elements.append((0x0902, _padded(comment[:64], b" ")))
    if asked.uid:
        elements.append((0x1000, _padded(asked.uid, b"\0")))
    body = b"".join(struct.pack("<HHL", 0, element, len(value)) + value for element, value in elements)
    command = struct.pack("<HHLL", 0, 0, 4, len(body)) + body
    item = struct.pack(">LBB", len(command) + 2, context, 0x03) + command
    return struct.pack(">BBL", DATA, 0, len(item)) + item


def rejection(permanent: bool, source: int, reason: int) -> bytes:
    """Returns an A-ASSOCIATE-RJ PDU (PS3.8 9.3.4)."""
    return struct.pack(">BBLBBBB", 0x03, 0, 4, 0, 1 if permanent else 2, source, reason)


def abort(reason: int = 0) -> bytes:
    """Returns an A-ABORT PDU of the service provider (PS3.8 9.3.8)."""
    return struct.pack(">BBLBBBB", ABORT, 0, 4, 0, 0, 2, reason)


def release() -> bytes:
    """Returns an A-RELEASE-RP PDU (PS3.8 9.3.7)."""
    return struct.pack(">BBLL", RELEASE_RP, 0, 4, 0)


def file_head(sop_class: str, uid: str, syntax: str, sender: str) -> bytes:
    """Returns what stands before a data set in a file: preamble, mark and group 2 (PS3.10 7.1)."""
    from pydicom.uid import PYDICOM_IMPLEMENTATION_UID

    elements = b"\x02\x00\x01\x00OB\0\0\x02\0\0\0\0\x01"
    for element, value in ((0x02, sop_class), (0x03, uid), (0x10, syntax), (0x12, str(PYDICOM_IMPLEMENTATION_UID))):
        elements += _explicit(element, b"UI", _padded(value, b"\0"))
    if sender:
        elements += _explicit(0x16, b"AE", _padded(sender, b" "))
    return b"\0" * 128 + b"DICM" + _explicit(0, b"UL", struct.pack("<L", len(elements))) + elements


def _explicit(element: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", 2, element, vr, len(value)) + value


def _padded(text: str, fill: bytes) -> bytes:
    data = text.encode("ascii", "replace")
    return data + fill if len(data) % 2 else data


class Assembly:
    """A command that comes in pieces."""

    def __init__(self) -> None:
        self._data = bytearray()

    def add(self, piece: Piece) -> Command | None:
        """Takes a piece; returns the command when it is whole.

        Raises:
            ProtocolError: it is longer than any command.
        """
        self._data += piece.data
        if len(self._data) > _LONGEST_COMMAND:
            raise ProtocolError("a command is longer than may be")
        if not piece.last:
            return None
        command = Command(bytes(self._data))
        self._data.clear()
        return command
