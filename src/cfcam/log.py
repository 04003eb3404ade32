"""What work that nobody watches says while it runs: one line each, of neutral names and numbers alone."""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from typing import Any, TextIO


class Log:
    """Writes lines; what stands in them are words of cfcam's own, hashes, numbers and configured names.

    Args:
        stream: where to; None: stderr.
        as_json: whether each line is a JSON object.
    """

    def __init__(self, stream: TextIO | None = None, *, as_json: bool = False) -> None:
        self._stream, self._json = stream or sys.stderr, as_json
        self._lock = threading.Lock()

    def info(self, message: str, **values: Any) -> None:
        """Says what happened."""
        self._write("info", message, values)

    def warn(self, message: str, **values: Any) -> None:
        """Says what somebody should look at."""
        self._write("warning", message, values)

    def error(self, message: str, **values: Any) -> None:
        """Says what went wrong."""
        self._write("error", message, values)

    def _write(self, level: str, message: str, values: dict[str, Any]) -> None:
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self._json:
            known = {name: None if _is_none(value) else value for name, value in values.items()}
            line = json.dumps({"time": moment, "level": level, "message": message, **known}, default=str)
        else:
            told = "".join(f" {name}={_shown(value)}" for name, value in values.items())
            line = f"{moment} {level}: {message}{told}"
        with self._lock:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):  # nobody reads any more; the work goes on
                return


def _is_none(value: Any) -> bool:
    """Whether it is a number that JSON has no word for."""
    return isinstance(value, float) and not math.isfinite(value)


def _shown(value: Any) -> str:
    text = str(value)
    return json.dumps(text) if not text.isascii() or not text.isprintable() or " " in text else text
