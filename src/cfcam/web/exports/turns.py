"""Files are made a few at a time: each may take all memory that a study needs, and seconds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cfcam.web.problems import RefusedError


class Turns:
    """Lets a few work at a time, lets some wait, and sends the others away.

    Args:
        at_work: how many work.
        waiting: how many may wait for their turn.
        patience: seconds that they wait.
    """

    def __init__(self, at_work: int = 2, waiting: int = 4, patience: float = 60) -> None:
        self._places = threading.BoundedSemaphore(at_work + waiting)
        self._work = threading.BoundedSemaphore(at_work)
        self._patience = patience

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Waits for a turn, and gives it back.

        Raises:
            RefusedError: too many wait, or it took too long.
        """
        if not self._places.acquire(blocking=False):
            raise RefusedError(503, "other files are being made, and more wait: try again in a moment", retry_after=5)
        try:
            if not self._work.acquire(timeout=self._patience):
                raise RefusedError(503, "other files are being made: try again in a moment", retry_after=10)
            try:
                yield
            finally:
                self._work.release()
        finally:
            self._places.release()
