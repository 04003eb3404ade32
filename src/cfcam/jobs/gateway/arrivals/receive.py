"""DICOM in by C-STORE: a thread for each association, which sleeps until something comes."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack, suppress

from cfcam.errors import CfcamError, JobError
from cfcam.jobs.gateway.arrivals import wire
from cfcam.jobs.gateway.arrivals.intake import Intake, RefusedError
from cfcam.jobs.gateway.arrivals.negotiation import VERIFICATION, negotiate, readable_syntaxes, storage_classes
from cfcam.jobs.gateway.places import Receive
from cfcam.jobs.gateway.spool import FullError, Incoming
from cfcam.log import Log

STORED, FULL, NOT_FITTING, BROKEN, FAILED, UNKNOWN, REFUSED_CLASS = (
    0x0000,
    0xA700,
    0xA900,
    0xC000,
    0x0110,
    0x0211,
    0x0122,
)
"""Statuses (PS3.7 annex C, PS3.4 B.2.3); after `FULL` and `FAILED` a sender tries again."""

_BACKLOG = 256
_STRANGERS = 64  # connections beyond those that were let in
_ROOM_MAKERS = 5.0  # seconds of silence after which an association may be ended to make room for another


class Receiver:
    """Listens, and keeps what comes.

    Args:
        settings: who may send, and where to listen.
        intake: takes the objects.
        log: takes a line for whoever is not let in.

    Raises:
        JobError: the address is taken, or the certificates cannot be used.
    """

    def __init__(self, settings: Receive, intake: Intake, log: Log) -> None:
        self._settings, self._intake, self._log = settings, intake, log
        self._tls = _tls(settings)
        self._open: dict[int, _Association] = {}
        self._lock = threading.Lock()
        self._threads: list[_Association] = []
        self._closing = False
        self.counts: Counter[str] = Counter()
        storage_classes(), readable_syntaxes()
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((settings.host, settings.port))
            self._socket.listen(_BACKLOG)
        except OSError as error:
            self._socket.close()
            raise JobError(
                f"[receive] {settings.host}:{settings.port}: cannot be listened on ({error.strerror})"
            ) from None
        self._thread = threading.Thread(target=self._listen, name="cfcam-receive", daemon=True)

    @property
    def port(self) -> int:
        """On which it listens."""
        return int(self._socket.getsockname()[1])

    @property
    def associations(self) -> int:
        """How many are open."""
        return len(self._open)

    def start(self) -> None:
        """Begins to listen."""
        self._thread.start()

    def close(self) -> None:
        """Ends all associations; an object that is not acknowledged yet is sent again by its sender."""
        self._closing = True
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        with self._lock:
            opened = list(self._open.values())
        for one in opened:
            one.end()
        for one in opened:
            one.join(5)

    def _listen(self) -> None:
        while not self._closing:
            try:
                sock, _ = self._socket.accept()
            except OSError:
                if not self._closing:
                    time.sleep(0.1)  # no file descriptors at the moment
                continue
            if self._alive() >= self._settings.most_associations + _STRANGERS:
                sock.close()  # who has not said yet what it wants, and others like it
                self.counts["turned away"] += 1
                continue
            one = _Association(self, sock)
            self._threads.append(one)
            one.start()

    def _alive(self) -> int:
        self._threads = [one for one in self._threads if one.is_alive()]
        return len(self._threads)

    def room(self, newcomer: _Association) -> bool:
        """Tells whether there is room for a peer; where there is none, who was silent longest has to go."""
        with self._lock:
            if len(self._open) >= self._settings.most_associations:
                silent = max(self._open.values(), key=lambda one: one.silent)
                if silent.silent < _ROOM_MAKERS:
                    return False
                silent.end()
                self._open.pop(id(silent), None)
                self.counts["made room"] += 1
            self._open[id(newcomer)] = newcomer
        return True

    def gone(self, one: _Association) -> None:
        """Forgets an association."""
        with self._lock:
            self._open.pop(id(one), None)

    def refused(self, why: str) -> None:
        """Counts and tells of a peer that is not let in, or is sent away."""
        self.counts["refused"] += 1
        self._log.warn("a sender is refused", why=why)

    def serve(self, one: _Association, sock: socket.socket) -> None:
        """Speaks with a peer until it goes."""
        if self._tls is not None:
            sock.settimeout(10)
            sock = self._tls.wrap_socket(sock, server_side=True)
            one.sock = sock
        connection = wire.Connection(sock, self._settings.silence_s)
        kind, body = connection.pdu(first=True)
        if kind != wire.ASSOCIATE_RQ:
            raise wire.ProtocolError("it does not begin with a request for an association")
        known = self._settings
        let = negotiate(body, ae_title=known.ae_title, calling=known.calling, room=True)
        if not let.why and not self.room(one):
            let = negotiate(body, ae_title=known.ae_title, calling=known.calling, room=False)
        if let.why:
            self.refused(let.why)
        connection.send(let.pdu)
        if let.why:
            return
        self.counts["associations"] += 1
        with _Messages(connection, self._intake, let.contexts, let.calling, known.most_object_mb << 20) as messages:
            while True:
                one.heard = time.monotonic()
                kind, body = connection.pdu()
                if kind == wire.DATA:
                    one.heard = None
                    for piece in wire.pieces(body):
                        messages.take(piece)
                elif kind == wire.RELEASE_RQ:
                    connection.send(wire.release())
                    return
                elif kind == wire.ABORT:
                    return
                else:
                    raise wire.ProtocolError("a PDU comes that has no place here")


class _Association(threading.Thread):
    """One peer.

    Attributes:
        sock: its socket.
        heard: since when it is silent; None: something is coming.
    """

    def __init__(self, receiver: Receiver, sock: socket.socket) -> None:
        super().__init__(name="cfcam-association", daemon=True)
        self._receiver, self.sock = receiver, sock
        self.heard: float | None = None

    @property
    def silent(self) -> float:
        heard = self.heard
        return 0.0 if heard is None else time.monotonic() - heard

    def end(self) -> None:
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def run(self) -> None:
        try:
            with suppress(OSError):
                self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._receiver.serve(self, self.sock)
        except wire.ClosedError:
            pass
        except wire.ProtocolError as error:
            self._receiver.refused(str(error))
            with suppress(OSError):
                self.sock.settimeout(2)
                self.sock.sendall(wire.abort())
        except OSError as error:  # of TLS, or the network
            self._receiver.refused("TLS failed" if isinstance(error, ssl.SSLError) else "the connection broke")
        finally:
            self._receiver.gone(self)
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_WR)
            self.sock.close()


class _Messages:
    """The messages of one association: each object goes to the disk as it comes.

    Args:
        connection: for answers.
        intake: takes the objects.
        contexts: that were accepted.
        sender: AE title of the peer.
        most: bytes of one object.
    """

    def __init__(
        self,
        connection: wire.Connection,
        intake: Intake,
        contexts: Mapping[int, tuple[str, str]],
        sender: str,
        most: int,
    ) -> None:
        self._connection, self._intake, self._contexts = connection, intake, contexts
        self._sender, self._most = sender, most
        self._command = wire.Assembly()
        self._asked: wire.Command | None = None
        self._context, self._size = 0, 0
        self._file: Incoming | None = None
        self._refusal: tuple[int, str] | None = None
        self._stack = ExitStack()

    def __enter__(self) -> _Messages:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def take(self, piece: wire.Piece) -> None:
        """Takes the next piece of a message.

        Raises:
            ProtocolError: it has no place here, or the object is larger than may be.
        """
        if piece.context not in self._contexts:
            raise wire.ProtocolError("a message comes in a context that was not accepted")
        if piece.command:
            if self._asked is not None:
                raise wire.ProtocolError("a command comes where a data set is due")
            command = self._command.add(piece)
            if command is not None:
                self._begin(command, piece.context)
            return
        if self._asked is None or piece.context != self._context:
            raise wire.ProtocolError("a data set comes where a command is due")
        self._size += len(piece.data)
        if self._size > self._most:
            raise wire.ProtocolError("an object is larger than may be")
        if self._file is not None:
            try:
                self._file.write(piece.data)
            except FullError:
                self._refuse(FULL, "the disk is full: try again later")
            except OSError:
                self._refuse(FAILED, "the object cannot be written: try again later")
        if piece.last:
            self._end()

    def _begin(self, command: wire.Command, context: int) -> None:
        abstract, syntax = self._contexts[context]
        if command.field == wire.C_CANCEL:
            return
        if command.field == wire.C_ECHO and abstract == VERIFICATION:
            self._connection.send(wire.answer(context, command, STORED))
            return
        self._asked, self._context, self._size, self._refusal = command, context, 0, None
        if command.field != wire.C_STORE:
            self._refusal = (UNKNOWN, "only objects are taken here")
        elif command.sop_class != abstract:
            self._refusal = (REFUSED_CLASS, "the class is not that of its context")
        elif not 0 < len(command.uid) <= 64:
            self._refusal = (BROKEN, "the object has no UID")
        elif command.has_data:
            self._open(command, abstract, syntax)
        if not command.has_data:
            self._refusal = self._refusal or (BROKEN, "no object comes with it")
            self._end()

    def _open(self, command: wire.Command, sop_class: str, syntax: str) -> None:
        try:
            self._file = self._stack.enter_context(self._intake.incoming())
            self._file.begin(wire.file_head(sop_class, command.uid, syntax, self._sender))
        except FullError as error:
            self._refuse(FULL, f"{error.strerror or error}: try again later")
        except OSError:
            self._refuse(FAILED, "the object cannot be written: try again later")

    def _refuse(self, status: int, why: str) -> None:
        self._refusal = (status, why)
        self._file = None
        self._stack.close()

    def _end(self) -> None:
        """Answers: with success only once the object is on the disk."""
        asked = self._asked
        assert asked is not None  # noqa: S101 (a data set is taken after its command alone)
        status, why = self._refusal or self._kept(asked)
        self._file, self._asked = None, None
        self._stack.close()
        self._connection.send(wire.answer(self._context, asked, status, why))

    def _kept(self, asked: wire.Command) -> tuple[int, str]:
        assert self._file is not None  # noqa: S101 (without one there is a refusal)
        try:
            self._intake.take(self._file, sender=self._sender, uid=asked.uid)
        except RefusedError as error:
            return BROKEN, str(error)
        except FullError:
            return FULL, "the disk is full: try again later"
        except (OSError, CfcamError):
            return FAILED, "the object cannot be kept: try again later"
        return STORED, ""


def _tls(settings: Receive) -> ssl.SSLContext | None:
    if settings.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.certificate, settings.key)
        if settings.ca is not None:
            context.load_verify_locations(settings.ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        raise JobError(f"[receive]: the certificates cannot be used ({reason}): give PEM files") from None
    return context
