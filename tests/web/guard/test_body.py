"""How much may be sent and how long it may take: a body that is too large or too slow is refused while it comes."""

from __future__ import annotations

import socket
import time

import pytest

from tests.waiting import PATIENCE, until
from tests.web.server import HOST, TOKEN, served, settings_of


@pytest.fixture(scope="module")
def viewer():
    with served(settings_of(max_upload=2**20, patience=1.0)) as found:
        yield found


def spoken(viewer, request: bytes, *, wait: float = PATIENCE) -> bytes:
    """What the server answers to bytes as they are, until its JSON ends or it closes."""
    with socket.create_connection((HOST, viewer.client.base_url.port), timeout=wait) as line:
        line.sendall(request)
        answer = b""
        while not answer.endswith(b"}") and (piece := line.recv(65536)):
            answer += piece
        return answer


def head(viewer, method: str, where: str, *lines: str) -> bytes:
    own = f"Host: {HOST}:{viewer.client.base_url.port}"
    return "\r\n".join([f"{method} {where} HTTP/1.1", own, f"Authorization: Bearer {TOKEN}", *lines, "", ""]).encode()


def test_a_body_that_says_it_is_too_large_is_refused_before_it_comes(viewer):
    answer = spoken(viewer, head(viewer, "POST", "/api/studies", "Content-Length: 99999999999"))
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"--max-upload" in answer


def test_a_body_that_does_not_come_is_not_waited_for(viewer):
    started = time.monotonic()
    form = "Content-Type: multipart/form-data; boundary=x"
    small = head(viewer, "POST", "/api/studies", form, "Content-Length: 100")
    answer = spoken(viewer, small.replace(b"/api/studies", b"/api/nothing"))
    assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 408"))
    assert time.monotonic() - started < 50  # a second and what the machine adds, and not the minute that is usual


def test_what_is_no_http_is_answered_and_the_server_goes_on(viewer):
    for noise in (b"\x16\x03\x01" + bytes(200), b"GET /\r\n\r\n", b"X" * 100_000):
        assert spoken(viewer, noise).startswith(b"HTTP/1.1 4")
    assert viewer.client.get("/api/studies").status_code == 200


def test_a_client_that_leaves_in_the_middle_costs_nothing(viewer, tmp_path):
    import numpy as np
    from PIL import Image

    side = 3000
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side), dtype=np.uint8)).save(
        tmp_path / "large.png", compress_level=0
    )
    with served(settings_of(tmp_path)) as other:
        study = other.client.get("/api/studies").json()["studies"][0]["id"]
        where = f"/api/studies/{study}/original.nii"
        for _ in range(30):
            with socket.create_connection((HOST, other.client.base_url.port), timeout=PATIENCE) as line:
                line.sendall(head(other, "GET", where))
                assert line.recv(100).startswith(b"HTTP/1.1 200")
        until(lambda: other.app.state.crowd.at_work == 0)
        assert len(other.client.get(where).content) == 352 + side * side
