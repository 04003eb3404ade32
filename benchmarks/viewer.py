"""``cfcam view`` in a process of its own, as a user starts it, and what it is asked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


class Server:
    """``cfcam view`` in a process of its own, as a user starts it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        address = urlsplit((process.stdout.readline() if process.stdout else "").strip())
        token = address.query.partition("=")[2]
        self._place = address.hostname or "", address.port
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def ask(self, where: str, body: Any = None) -> bytes:
        """Returns the answer to a request."""
        line = HTTPConnection(*self._place, timeout=600)
        sent = None if body is None else json.dumps(body)
        line.request("GET" if sent is None else "POST", where, sent, self._headers)
        found = line.getresponse()
        data = found.read()
        line.close()
        if found.status != 200:
            raise RuntimeError(f"{where}: {found.status} {data[:300]!r}")
        return data

    def memory(self, what: str) -> float:
        """Megabytes that it takes (VmRSS), or took at most (VmHWM)."""
        lines = Path(f"/proc/{self._process.pid}/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:")) / 1024


@contextmanager
def viewing(*words: str, threads: int | None = None) -> Iterator[Server]:
    """Starts a viewer, and ends it.

    Args:
        words: what stands after ``cfcam view``.
        threads: of torch; None: as it likes.
    """
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    environment = os.environ if threads is None else {**os.environ, **dict.fromkeys(names, str(threads))}
    command = [sys.executable, "-m", "cfcam.cli", "view", *words, "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:  # noqa: S603
        try:
            yield Server(process)
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
