"""How a gateway is, for machines that ask: /healthz in words, /metrics in numbers for Prometheus."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cfcam.errors import JobError, MissingExtraError
from cfcam.jobs.gateway.places import Health


class Server:
    """Answers ``GET /healthz`` and ``GET /metrics``, and nothing else.

    Args:
        settings: where to listen.
        problems: returns what keeps the gateway from its work, a line each.
        numbers: yields its metrics, as Prometheus's client takes them.

    Raises:
        JobError: the address is taken.
        MissingExtraError: prometheus-client is not installed.
    """

    def __init__(
        self, settings: Health, problems: Callable[[], list[str]], numbers: Callable[[], Iterator[Any]]
    ) -> None:
        registry = _registry(numbers)

        class Handler(BaseHTTPRequestHandler):
            timeout = 10
            server_version, sys_version = "cfcam", ""

            def do_GET(self) -> None:
                if self.path == "/healthz":
                    found = problems()
                    told = json.dumps({"status": "failing" if found else "ok", "problems": found}).encode()
                    self._send(503 if found else 200, "application/json", told)
                elif self.path == "/metrics":
                    from prometheus_client import exposition

                    self._send(200, exposition.CONTENT_TYPE_LATEST, exposition.generate_latest(registry))
                else:
                    self._send(404, "text/plain", b"only /healthz and /metrics are here\n")

            def _send(self, code: int, kind: str, body: bytes) -> None:
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the name of the base)
                """Says nothing: who asks, asks every few seconds."""

        try:
            self._server = ThreadingHTTPServer((settings.host, settings.port), Handler)
        except OSError as error:
            raise JobError(
                f"[health] {settings.host}:{settings.port}: cannot be listened on ({error.strerror})"
            ) from None
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="cfcam-health", daemon=True)

    @property
    def port(self) -> int:
        """On which it listens."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begins to answer."""
        self._thread.start()

    def close(self) -> None:
        """Ends."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()


def _registry(numbers: Callable[[], Iterator[Any]]) -> Any:
    try:
        from prometheus_client import CollectorRegistry
    except ModuleNotFoundError as error:
        raise MissingExtraError("prometheus-client", "pacs", "/metrics") from error

    class Numbers:
        def collect(self) -> Iterator[Any]:
            return numbers()

    registry = CollectorRegistry()
    registry.register(Numbers())
    return registry
