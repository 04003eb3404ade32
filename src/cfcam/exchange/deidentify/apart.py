"""Pictures that a native decoder opens are de-identified in a process of their own, which may die of one of them.

Decoders of JPEG, JPEG-LS, JPEG 2000 and RLE are written in C, C++ and Rust, and are fed here with whatever a folder
holds. One process lives for all pictures of a run; where it dies, or does not answer, that picture is refused, and the
next one gets a new process. The key goes to it through a pipe: arguments and environments can be read by others.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from threading import Timer
from typing import IO, TYPE_CHECKING, Any, Final

from cfcam import json_text
from cfcam.errors import CfcamError, ImageError, InputError, MissingExtraError
from cfcam.exchange.deidentify.deidentifier import Deidentifier
from cfcam.exchange.deidentify.one import Clean, cleaned, needs_decoder

if TYPE_CHECKING:
    from types import TracebackType

PATIENCE: Final = 600.0
"""Seconds for one picture; the largest that are read take a tenth of it."""

_START = "from cfcam.exchange.deidentify.apart import serve; serve()"
_OURS: Final = {"ImageError": ImageError, "InputError": InputError}


class Apart:
    """De-identifies files in a process of its own, which begins with the first of them; a context manager ends it.

    Args:
        deidentifier: what it does, with its key.
        patience: seconds after which a picture is given up.
    """

    def __init__(self, deidentifier: Deidentifier, *, patience: float = PATIENCE) -> None:
        self._deidentifier = deidentifier
        self._patience = patience
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Apart:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def __call__(self, path: Path, where: str) -> Clean:
        """Returns the picture in a file without its patient; here, where no native decoder opens it.

        Raises:
            ImageError: it was refused, or the process died of it.
            MissingExtraError: a decoder is not installed.
        """
        if not needs_decoder(path, where):
            return cleaned(path, where, self._deidentifier)
        process = self._process or self._begin()
        silent = Timer(self._patience, process.kill)
        silent.start()
        try:
            told, data = self._asked(process, {"path": os.fspath(path.absolute()), "where": where})
        except (OSError, EOFError, CfcamError):
            code = self._end()
            how = "did not answer" if silent.finished.is_set() else f"ended with {code}"
            raise ImageError(
                f"{where}: the decoder of its pixels {how}, in a process of its own; export it again, uncompressed"
            ) from None
        finally:
            silent.cancel()
        if "missing" in told:
            return cleaned(path, where, self._deidentifier)  # which says so: without a decoder nothing is opened
        if "error" in told:
            raise _OURS.get(told["error"], ImageError)(told["text"])
        return Clean(told["patient"], told["series"], told["uid"], data)

    def _begin(self) -> subprocess.Popen[bytes]:
        # What decoders print may quote a file; -c and not -m, so that the folder of a user's script is not on the path.
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONSAFEPATH": "1"}
        self._process = subprocess.Popen(  # noqa: S603 (this interpreter, and a text of ours)
            [sys.executable, "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        with suppress(OSError):  # it died already: the first question will tell
            _send(self._stream("stdin"), self._deidentifier.settings())
        return self._process

    def _asked(self, process: subprocess.Popen[bytes], question: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        _send(self._stream("stdin"), question)
        return _receive(self._stream("stdout"))

    def _stream(self, name: str) -> IO[bytes]:
        stream: IO[bytes] | None = getattr(self._process, name)
        if stream is None:
            raise EOFError
        return stream

    def _end(self) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()  # it ends where there is nothing more to read
        try:
            return process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


def serve() -> None:
    """Answers questions on the standard streams until they end: the other process's part."""
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):  # what a decoder prints is no answer
        os.dup2(nothing, stream)
    deidentifier = Deidentifier.of(_receive(questions)[0])
    with suppress(EOFError, BrokenPipeError):
        while True:
            question, _ = _receive(questions)
            try:
                clean = cleaned(Path(question["path"]), question["where"], deidentifier)
            except MissingExtraError:
                _send(answers, {"missing": True})
            except (ImageError, InputError) as error:
                _send(answers, {"error": type(error).__name__, "text": str(error)})
            else:
                _send(answers, {"patient": clean.patient, "series": clean.series, "uid": clean.uid}, clean.data)


def _send(stream: IO[bytes], values: dict[str, Any], data: bytes = b"") -> None:
    head = json.dumps(values).encode()
    stream.write(len(head).to_bytes(8, "big") + len(data).to_bytes(8, "big") + head)
    stream.write(data)
    stream.flush()


def _receive(stream: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    sizes = _exactly(stream, 16)
    head, data = int.from_bytes(sizes[:8], "big"), int.from_bytes(sizes[8:], "big")
    return json_text.parse_line(_exactly(stream, head)) or {}, _exactly(stream, data)


def _exactly(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data
