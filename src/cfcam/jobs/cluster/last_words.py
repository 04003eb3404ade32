"""A last line where this process is ended from outside: by Ray without a word to Python, when its own processes go."""

from __future__ import annotations

import subprocess
import sys
import weakref
from contextlib import suppress

ENDED = (
    "error: the run was ended from outside: it was killed, or one of Ray's own processes was (its logs say which); what"
    " is done is kept: give the same command again, and it goes on where it stopped"
)
_WAITS = "import sys\nsys.stdin.buffer.read() or sys.stderr.write(sys.argv[1] + chr(10))"


class LastWords:
    """Has a small process write a line to stderr if this one ends without a further word.

    Ray's library ends whoever uses it when the cluster's head is gone for a minute, or the raylet beside it, so that no
    handler and no ``finally`` is reached.

    Args:
        line: what is to be said then.

    Attributes:
        unsay: called when all is well. Where this object is forgotten, or Python ends as it should, it is well too.
    """

    def __init__(self, line: str = ENDED) -> None:
        waiting = subprocess.Popen(  # noqa: S603 (this interpreter, and a text of ours)
            [sys.executable, "-I", "-S", "-c", _WAITS, line],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for this process, which says what came of it
        )
        self.unsay = weakref.finalize(self, _unsaid, waiting)


def _unsaid(waiting: subprocess.Popen[bytes]) -> None:
    with suppress(OSError):
        waiting.communicate(b".")
