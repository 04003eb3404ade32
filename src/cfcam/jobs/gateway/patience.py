"""What has to be entered in the index is, however long the disk is full."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable

from cfcam.log import Log


def patiently(enter: Callable[[], None], closing: threading.Event, lines: Log) -> bool:
    """Enters something, however long the disk takes nothing, for nobody else would come back to it.

    Args:
        enter: does it, and may be called again.
        closing: set when the gateway is to end: it is done at the next start.
        lines: takes one for each second in vain.

    Returns:
        Whether it was entered.
    """
    while True:
        try:
            enter()
        except sqlite3.OperationalError as error:  # the disk is full, or somebody else writes for long
            lines.error("the index takes nothing at the moment", error=type(error).__name__)
            if closing.wait(1):
                return False
        else:
            return True
