"""How the process of a worker ended: by which signal, and what its libraries said last, which nobody else hears."""

from __future__ import annotations

import re
import signal
import threading
from typing import IO

from cfcam.errors import one_line

_KEPT = 1 << 12  # bytes of what is said; all before is forgotten
_LINES = 2
_PATIENCE = 1.0  # seconds; what a network has forked may hold the stream of a worker that is gone
_WHERE = re.compile(
    r"\s+(?!\s|what\(\))|frame #|Traceback |During handling |The above exception "
)  # lines that tell where it was, and not what
_FOLDERS = re.compile(r"(?<=['\"])[^'\"]*/|\S*/(?:.*/)?")  # their names may hold spaces


class Hearing:
    """Takes all that a process says on stderr, so that it never waits to be heard, and keeps the end of it.

    Args:
        stream: its stderr.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._kept, self._lock = b"", threading.Lock()
        self._thread = threading.Thread(target=self._listen, args=(stream,), daemon=True)
        self._thread.start()

    def forget(self) -> None:
        """Forgets what was said so far: it was about something else."""
        with self._lock:
            self._kept = b""

    def last(self) -> str:
        """Returns the last words of a process that has ended, see `last_words_of`."""
        self._thread.join(_PATIENCE)
        with self._lock:
            return last_words_of(self._kept)

    def _listen(self, stream: IO[bytes]) -> None:
        with stream:
            while some := stream.read1(1 << 16):  # type: ignore[attr-defined] # a pipe of `subprocess` is buffered
                with self._lock:
                    self._kept = (self._kept + some)[-_KEPT:]


def last_words_of(said: bytes) -> str:
    r"""Returns the last lines that tell what happened, without the folders of files, which may be called after people.

    Example:
        >>> last_words_of(b"terminate called\n  what():  no room in /data/Jane Doe/scan.png\nframe #0: f + 0x5\n")
        'terminate called / what(): no room in scan.png'
    """
    lines = said.decode("utf-8", "replace").splitlines()
    telling = [line for line in lines if line.strip() and not _WHERE.match(line)]
    return " / ".join(one_line(_FOLDERS.sub("", line)) for line in telling[-_LINES:])


def ending(code: int | None, said: str) -> str:
    """Returns in words how a process ended; "" where that is not known.

    Args:
        code: its exit status, below 0 for a signal; None: it has not ended by itself.
        said: its last words.

    Example:
        >>> ending(-6, "free(): invalid pointer")
        'the last one ended by SIGABRT, and said: free(): invalid pointer'
        >>> ending(1, "")
        'the last one ended with exit code 1'
    """
    if code is None:
        return ""
    how = f"by {_name(-code)}" if code < 0 else f"with exit code {code}"
    return f"the last one ended {how}" + (f", and said: {said}" if said else "")


def _name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
