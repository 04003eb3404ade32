"""A viewer for tests: as an app that httpx asks in the same process, or at a free port, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from fastapi.testclient import TestClient

from cfcam.web.app import create_app
from cfcam.web.server import listening, server_of
from cfcam.web.settings import ViewSettings
from tests.waiting import PATIENCE, until

TOKEN = "t0ken-of-the-tests-0123"  # noqa: S105
HOST = "127.0.0.1"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


def settings_of(*paths: str | Path, **more: Any) -> ViewSettings:
    """Settings of a viewer of some paths, with the token of the tests."""
    return ViewSettings(paths=tuple(map(Path, paths)), token=TOKEN, **more)


@contextmanager
def client_of(settings: ViewSettings, *, live: Any = None, signed_in: bool = True) -> Iterator[TestClient]:
    """A client that asks the app in this process; it raises no error of the server's own."""
    app = create_app(settings, live=live)
    headers = HEADERS if signed_in else {}
    with TestClient(app, base_url=f"http://{HOST}", headers=headers, raise_server_exceptions=False) as client:
        yield client


@dataclass(frozen=True)
class Served:
    """A viewer that listens.

    Attributes:
        base: its address, without the token.
        address: with it, as a browser opens it.
        app: the viewer; `app.state` holds library and live.
        client: signed in.
    """

    base: str
    address: str
    app: Any
    client: httpx.Client


@contextmanager
def served(settings: ViewSettings, *, live: Any = None) -> Iterator[Served]:
    """A viewer at a free port of this machine."""
    app = create_app(settings, live=live)
    there = threading.Event()
    with listening(HOST, 0) as listener:
        port = listener.getsockname()[1]
        server = server_of(app, ready=there.set)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        until(lambda: there.wait(0.05) or not thread.is_alive())
        assert there.is_set(), "the server did not start"
        base = f"http://{HOST}:{port}"
        try:
            with httpx.Client(base_url=base, headers=HEADERS, timeout=PATIENCE) as client:
                yield Served(base, f"{base}/?token={TOKEN}", app, client)
        finally:
            server.should_exit = True
            thread.join(10)
