"""Waiting for a fact itself, however slow or busy the machine is: no test says how soon something has to be so."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

PATIENCE = 300.0
"""Seconds after which what is not so is taken never to become so: far above what any machine needs."""


def until(
    fact: Callable[[], object], *, seconds: float = PATIENCE, sleep: Callable[[float], object] = time.sleep
) -> None:
    """Waits until something is so.

    Args:
        fact: tells whether it is.
        seconds: after which it never will be.
        sleep: waits so many seconds, between two looks; `of_page` for who looks at a page.

    Raises:
        AssertionError: it did not become so.
    """
    end = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < end, f"it did not become so in {seconds:g} s"
        sleep(0.03)


def of_page(page: Any) -> Callable[[float], object]:
    """How to wait for a page of Playwright's: what the page tells meanwhile is heard.

    `page.wait_for_function` would not do, which evaluates a text in the page: the policy of ours forbids it.
    """
    return lambda seconds: page.wait_for_timeout(1000 * seconds)


def free_port() -> int:
    """Returns a port of 127.0.0.1 at which nobody listens, and that is nobody's until it is listened at.

    Below the ports that the kernel gives to connections and to who asks for any, and in a part of this worker of
    pytest's alone, each once: what starts at it a few seconds later does not find it taken.
    """
    for port in _ports():
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")


@cache
def _ports() -> count[int]:
    """The ports of this process; those of another run at the same time lie elsewhere, by its process id."""
    asked = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first = int(asked.read_text().split()[0]) if asked.exists() else 32768
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    width = 500
    rooms = max((first - 10_000) // width, 1)
    return count(first - width * (1 + (os.getppid() + worker) % rooms))
