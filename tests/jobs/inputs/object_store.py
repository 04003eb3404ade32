"""A store as S3 is one, on this machine, for tests: the server of moto."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any
from urllib.request import urlopen

import pytest

from tests.waiting import free_port, until

SECRET = "a-very-secret-access-key-of-tests"  # noqa: S105 (the server takes any)


def environment(port: int) -> dict[str, str]:
    """What says where the store is, and opens it."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "AKIA-OF-TESTS",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
    }


@contextmanager
def served(port: int | None = None) -> Iterator[Any]:
    """Starts the store, lets the environment say where it is, and yields a file system of fsspec to fill it by."""
    if missing := [name for name in ("s3fs", "moto", "flask_cors") if find_spec(name) is None]:
        pytest.skip(f"{missing[0]} is not installed")
    import fsspec

    from cfcam.jobs.inputs import objects

    port, before = port or free_port(), dict(os.environ)
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.environ |= environment(port)
    try:
        until(lambda: _answers(f"http://127.0.0.1:{port}"))
        objects.forget()
        yield fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)
    finally:
        server.kill()
        server.wait()
        os.environ.clear()
        os.environ |= before
        objects.forget()


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5):  # noqa: S310 (ours)
            return True
    except OSError:
        return False
