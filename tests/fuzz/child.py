"""One reader fed with changed files in a process of its own: ``python -m tests.fuzz.child READER FIRST COUNT FOLDER``.

The process may take 1 GiB more than it has when it begins, and 5 s of processor time for a file. Before each file its
number is written to ``FOLDER/at``, and what it did wrong to ``FOLDER/found.jsonl``: whoever started it sees how far it
came, and what it died of.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from cfcam.errors import CfcamError
from tests.fuzz import seeds
from tests.fuzz.mutations import Change, changed, drawn
from tests.fuzz.readers import READERS, Reader

SECONDS = 5.0
MEMORY = 2**30


class Hang(BaseException):
    """A file took too long; no handler of errors takes this for one."""


def verdict(read: Callable[[Path], Any], path: Path, seconds: float | None = None) -> str | None:
    """Returns what a reader did wrong with a file in a few words; None if it read it, or refused it as it should."""
    signal.signal(signal.SIGPROF, _hang)
    signal.setitimer(signal.ITIMER_PROF, seconds or SECONDS)
    try:
        read(path)
    except CfcamError as error:
        if "\n" in str(error) or not str(error).isprintable():
            return "message: of several lines, or of characters that cannot be printed"
        return "memory" if _of_memory(error) else None
    except Hang:
        return "hang"
    except BaseException as error:  # noqa: BLE001 (that is what is looked for)
        signal.setitimer(signal.ITIMER_PROF, 0)
        return "memory" if _of_memory(error) else f"foreign: {_where(error)}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return None


def inputs(reader: Reader, files: seeds.Files, number: int) -> tuple[str, list[Change], bytes]:
    """Returns the changed file of a number: the same for every run, on every machine."""
    random = Random(number)  # noqa: S311 (nothing is secret here)
    mine = sorted(name for name in files if name.endswith(reader.names))
    name = random.choice(mine)
    changes = drawn(random)
    return name, changes, changed(files[name], changes, files[random.choice(mine)])


def laid(reader: Reader, files: seeds.Files, name: str, data: bytes, folder: Path) -> Path:
    """Lays a changed file into a folder, with the others that belong beside it."""
    for other, content in (files if reader.beside else {}).items():
        if not (folder / other).exists():
            (folder / other).parent.mkdir(parents=True, exist_ok=True)
            (folder / other).write_bytes(content)
    (folder / name).write_bytes(data)
    return folder / name


def main(reader: Reader, first: int, count: int, folder: Path) -> None:
    """Reads the files of some numbers."""
    warnings.simplefilter("ignore")
    files = seeds.made(reader.kind, folder / "seeds")
    place = folder / "in"
    place.mkdir(exist_ok=True)
    for name, data in files.items():  # what is imported late, and what each library sets aside, is no file's memory
        if name.endswith(reader.names):
            told = verdict(reader.read, laid(reader, files, name, data, place), 60)
            if told:
                raise SystemExit(f"the valid file {name}: {told}")
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in range(first, first + count):
        (folder / "at").write_text(str(number))
        name, changes, data = inputs(reader, files, number)
        path = laid(reader, files, name, data, place)
        if told := verdict(reader.read, path):
            with (folder / "found.jsonl").open("a") as found:
                found.write(json.dumps({"number": number, "file": name, "told": told, "changes": changes}) + "\n")
        if reader.beside:
            path.write_bytes(files[name])
        else:
            path.unlink(missing_ok=True)
            for left in place.iterdir():  # journals of databases, and the like
                left.unlink()
    (folder / "at").write_text(str(first + count))


def _hang(signal_number: int, frame: object) -> None:
    raise Hang


def _of_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError) or re.search(
            r"to allocate|out of memory|cannot allocate", str(error), re.IGNORECASE
        ):
            return True
        error = error.__cause__ or error.__context__
    return False


def _where(error: BaseException) -> str:
    trace, lines = error.__traceback__, []
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if "/cfcam/" in file:
            lines.append(f"{file.partition('/cfcam/')[2]}:{trace.tb_lineno}")
        trace = trace.tb_next
    return f"{type(error).__name__} at {lines[-1] if lines else 'no line of cfcam'}"


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    main(READERS[sys.argv[1]], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
