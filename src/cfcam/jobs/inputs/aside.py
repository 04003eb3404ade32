"""Small pictures read by a process of its own: what Python does around each of them would keep the network waiting.

Threads decode beside the network while a decoder is at work, and for nothing else, as only one of them runs Python at a
time; of a tiny picture that is next to nothing. The process knows nothing of networks, and imports no torch.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cfcam.files import Stamp, is_settled, stamp_of_file
from cfcam.imaging.image import Image
from cfcam.imaging.reading.pictures import read_image
from cfcam.memory import settled

SMALL = 1 << 15
"""Bytes of a file that is small; larger ones spend their time in the decoder."""
MANY = 2000
"""Inputs of a run that are worth the start of a process."""
_LARGEST = 1 << 20  # bytes of pixels that are handed over; what unfolds to more is read where it is wanted
_BUFFER = 1 << 16  # what a pipe holds: who reads it piece by piece waits for its turn among the threads each time
_START = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer);"
    " from cfcam.jobs.inputs.aside import serve; serve()"
)

Found = tuple[Stamp | None, Image]
"""Stamp of a file before it was read, as in `cfcam.jobs.runs.standing.stamp_before`; and its picture."""
_Row = tuple[Stamp | None, tuple[int, ...], str, dict[str, Any]]
"""What travels of one: stamp, shape and type of its pixels, and the rest of its picture; the pixels follow, of all."""


@dataclass(frozen=True)
class Wanted:
    """Files that are to be read, and how; see `cfcam.imaging.read_image`."""

    paths: tuple[Path, ...]
    max_pixels: int
    window: str | tuple[float, float] | None


class Aside:
    """A process that reads pictures; it ends with whoever has started it, whatever ends that."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", _START]
        self._process = subprocess.Popen(  # noqa: S603 (our own code)
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=_BUFFER
        )
        self._lost = False
        with suppress(OSError):
            self._send(sys.path)

    def __call__(self, wanted: Wanted) -> Sequence[Found | None]:
        """Reads pictures; None for one that is to be read where it is wanted, for instance to say why it cannot be."""
        nothing = [None] * len(wanted.paths)
        if self._lost or self._process.stdout is None:
            return nothing
        try:
            self._send((list(map(str, wanted.paths)), wanted.max_pixels, wanted.window))
            length, rows = pickle.load(self._process.stdout)  # noqa: S301 (what `serve` has written)
            pixels = self._process.stdout.read(length)
            if len(pixels) < length:
                raise EOFError
        except (OSError, EOFError, pickle.UnpicklingError):
            self._lost = True  # killed, perhaps since memory is short
            return nothing
        return _unpacked(wanted.paths, rows, pixels)

    def close(self) -> None:
        """Ends the process."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, what: object) -> None:
        stream = self._process.stdin
        if stream is not None:
            pickle.dump(what, stream, protocol=5)
            stream.flush()


def serve() -> None:
    """Answers an `Aside` until it is gone; the whole of its process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the run closes what it has begun
    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # whatever a decoder prints is no answer
    with settled(seldom=True), suppress(EOFError):
        while True:
            paths, max_pixels, window = pickle.load(asked)  # noqa: S301 (what `Aside` has written)
            rows, pixels = _packed([_found(path, max_pixels, window) for path in paths])
            answers.write(pickle.dumps((len(pixels), rows), protocol=5) + pixels)
            answers.flush()


def _packed(found: Sequence[Found | None]) -> tuple[list[_Row | None], bytes]:
    """What travels: plain values of all, and then all pixels in one piece; arrays cost ten times as much one by one."""
    rows: list[_Row | None] = []
    for one in found:
        if one is None:
            rows.append(None)
        else:
            rest = dict(vars(one[1]))
            pixels, _ = rest.pop("pixels"), rest.pop("path")
            rows.append((one[0], pixels.shape, pixels.dtype.str, rest))
    return rows, b"".join([one[1].pixels.tobytes() for one in found if one is not None])


def _unpacked(paths: Sequence[Path], rows: Sequence[_Row | None], pixels: bytes) -> list[Found | None]:
    """Takes apart what `_packed` has put together; bytes cannot be written to, so neither can the pictures."""
    found: list[Found | None] = []
    place = 0
    for path, row in zip(paths, rows, strict=True):
        if row is None:
            found.append(None)
            continue
        stamp, shape, kind, rest = row
        own, image = np.ndarray(shape, kind, pixels, place), Image.__new__(Image)
        place += own.nbytes
        vars(image).update(rest, pixels=own, path=path)  # as pickle would: it was checked where it was made
        found.append((stamp, image))
    return found


def _found(path: str, max_pixels: int, window: str | tuple[float, float] | None) -> Found | None:
    try:
        stamp = stamp_of_file(path)
        image = read_image(path, max_pixels=max_pixels, window=window)
    except Exception:  # noqa: BLE001 (whatever it is, reading it again will meet it too, and say so)
        return None
    if image.pixels.nbytes > _LARGEST or image.bands is not None or stamp is None:
        return None
    return (stamp if is_settled(stamp) else None), image


def is_small(path: str | os.PathLike[str]) -> bool:
    """Tells whether a file is worth being read aside: small, and a file."""
    try:
        stamp = stamp_of_file(path)
    except (OSError, ValueError):
        return False
    return stamp is not None and stamp[0] <= SMALL
