"""Nodes and servers that answer as a test wants: a pynetdicom SCP, DCMTK's storescp, a small HTTP server."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.presentation import build_context

from tests.machine import program
from tests.waiting import free_port, until


@contextlib.contextmanager
def scp(
    contexts: list[tuple[str, list[str]]],
    *handlers: Any,
    title: str = "NODE",
    tls: ssl.SSLContext | None = None,
    storing: list[str] = (),
) -> Iterator[str]:
    """A pynetdicom SCP that takes (class, transfer syntaxes); yields its place."""
    entity = AE(ae_title=title)
    entity.require_called_aet = True
    entity.supported_contexts = [build_context(uid, syntaxes) for uid, syntaxes in contexts]
    for context in entity.supported_contexts:
        if context.abstract_syntax in storing:  # of which it may send objects back
            context.scu_role = context.scp_role = True
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=list(handlers), ssl_context=tls)
    try:
        yield f"dicom{'s' if tls else ''}://{title}@127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()


def storing(answer: Callable[[str], int]) -> Any:
    """A handler of C-STORE that answers by SOP Instance UID."""
    return evt.EVT_C_STORE, lambda event: answer(str(event.request.AffectedSOPInstanceUID))


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@contextlib.contextmanager
def storescp(folder: Path, *options: str) -> Iterator[str]:
    """DCMTK's storescp, which writes files as they come; yields its place."""
    port = free_port()
    command = [
        program("/usr/bin/storescp", package="dcmtk"),
        "-od",
        str(folder),
        "-aet",
        "DCMTK",
        "+B",
        *options,
        str(port),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        until(lambda: _answers(port) or process.poll() is not None)
        assert process.poll() is None, process.stdout.read()
        yield f"dicom://DCMTK@127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@dataclass
class Told:
    """What an HTTP server was asked, and what it answers next: (status, headers, body), the last one for good."""

    answers: list[tuple[int, dict[str, str], bytes]]
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    peers: set[Any] = field(default_factory=set)


@contextlib.contextmanager
def server(
    *answers: tuple[int, dict[str, str], bytes], tls: ssl.SSLContext | None = None
) -> Iterator[tuple[str, Told]]:
    """A small HTTP server; yields the place of its DICOMweb service, and what it is asked."""
    told = Told(list(answers))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            told.peers.add(self.client_address)
            told.requests.append((self.command, self.path, dict(self.headers), body))
            status, headers, content = told.answers.pop(0) if len(told.answers) > 1 else told.answers[0]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: -len(content) // 2] if "X-Cut" in headers else content)
            self.close_connection = "X-Cut" in headers

        do_GET = do_POST = answer  # noqa: N815 (names that the standard library asks for)

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        http.socket = tls.wrap_socket(http.socket, server_side=True)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{http.server_port}/dicom-web", told
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def stow_answer(stored: list[str] = (), failed: dict[str, int] | None = None) -> bytes:
    """A store instances response as DICOM JSON, with Failure Reasons by UID."""
    values = Dataset()
    values.ReferencedSOPSequence = [_item(uid) for uid in stored]
    values.FailedSOPSequence = [_item(uid, reason) for uid, reason in (failed or {}).items()]
    return values.to_json().encode()


def _item(uid: str, reason: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPInstanceUID = uid
    if reason is not None:
        item.FailureReason = reason
    return item


@contextlib.contextmanager
def tls_front(port: int, tls: ssl.SSLContext) -> Iterator[int]:
    """What stands before a server in hospitals: it speaks TLS, and hands on in plain to a port here; yields its own."""
    listening = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = listening.accept()
                threading.Thread(target=joined, args=(plain,), daemon=True).start()

    def joined(plain: socket.socket) -> None:
        far = socket.create_connection(("127.0.0.1", port))
        with contextlib.suppress(OSError), far, tls.wrap_socket(plain, server_side=True) as near:
            back = threading.Thread(target=pump, args=(far, near), daemon=True)
            back.start()
            pump(near, far)
            back.join()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.close()
