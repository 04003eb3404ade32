"""The viewer at an address of this machine: who may come is printed, and nothing else is."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from cfcam.errors import JobError
from cfcam.web.app import create_app
from cfcam.web.settings import ViewSettings


def serve(settings: ViewSettings, *, ready: Callable[[str], None], debug: bool = False, live: Any = None) -> None:
    """Serves a viewer until it is interrupted.

    Args:
        settings: of the viewer.
        ready: is told the address, with the token, as soon as it is listened at.
        debug: write tracebacks.
        live: the network at work.

    Raises:
        JobError: the address is taken, or not this machine's.
        ImageError: a path is not there, or there is nothing in it.
        AuditError: the audit of the settings cannot be opened, or made.
    """
    with listening(settings.host, settings.port) as listener:
        app = create_app(settings, live=live, debug=debug)
        if settings.audit is not None:
            _check_audit(settings.audit)
        where = address(settings, listener.getsockname()[1])
        with suppress(KeyboardInterrupt):  # which is how it is ended
            server_of(app, ready=lambda: ready(where)).run(sockets=[listener])


def _check_audit(place: str) -> None:
    """Makes the audit, or opens it: what is wrong with it is told before somebody has answered."""
    from cfcam.clinical.audit import Audit

    Audit(place)


def server_of(app: Any, *, ready: Callable[[], None] = lambda: None) -> Any:
    """Returns uvicorn's server of an app, which says nothing: its log would hold addresses with their questions.

    Args:
        app: the viewer.
        ready: is called as soon as requests are answered.
    """
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            if self.started:
                ready()

    return Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            lifespan="on",
            timeout_keep_alive=15,
            timeout_graceful_shutdown=2,
            h11_max_incomplete_event_size=2**15,
        )
    )


def address(settings: ViewSettings, port: int) -> str:
    """Returns the address with the token."""
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::", "localhost") else settings.host  # noqa: S104
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/?token={settings.token}"


def listening(host: str, port: int) -> socket.socket:
    """Returns a socket that is bound, so that the port is known before anything is served.

    Raises:
        JobError: it cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends small answers at once (TCP_NODELAY) of sockets alone that say by themselves that they are TCP; else
    # each answer of two pieces waits for the client's delayed acknowledgement: 45 ms in place of 2.
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
    except OSError as error:
        found.close()
        why = error.strerror or type(error).__name__
        raise JobError(
            f"{host}:{port} cannot be listened at ({why}): give another --port, or 0 for a free one"
        ) from error
    return found
