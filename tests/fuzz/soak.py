"""Thousands of changed files for each reader: ``python -m tests.fuzz.soak [PER_READER] [READER ...]``."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TextIO

from tests.fuzz.readers import READERS

SILENT = 120.0
"""Seconds of the clock after which a process that does not go on to the next file hangs in code that is not Python."""


def soak(name: str, count: int, folder: Path) -> list[dict[str, object]]:
    """Feeds a reader with the files of numbers from 0 on; returns what it did wrong."""
    first, crashes = 0, []
    while first < count:
        command = [sys.executable, "-m", "tests.fuzz.child", name, str(first), str(count - first), str(folder)]
        with (folder / "said").open("wb") as said:
            process = subprocess.Popen(command, stdout=said, stderr=said)
            code = _ended(process, folder / "at")
        at = int((folder / "at").read_text()) if (folder / "at").exists() else -1
        if code == 0:
            break
        if at < first:
            raise RuntimeError(f"{name}: {(folder / 'said').read_text()[-2000:]}")
        told = "hang in native code" if code is None else f"crash: ended with {code}"
        crashes.append({"number": at, "told": told})
        first = at + 1
    found = folder / "found.jsonl"
    return crashes + [json.loads(line) for line in found.read_text().splitlines()] if found.exists() else crashes


def _ended(process: subprocess.Popen[bytes], at: Path) -> int | None:
    """The exit code; None for a process that was ended, since it went on no longer."""
    last, since = "", time.monotonic()
    while process.poll() is None:
        now = at.read_text() if at.exists() else ""
        if now != last:
            last, since = now, time.monotonic()
        if time.monotonic() - since > SILENT:
            process.kill()
            process.wait()
            return None
        time.sleep(0.1)
    return process.returncode


def _say(line: str, stream: TextIO = sys.stdout) -> None:
    stream.write(f"{line}\n")
    stream.flush()


def main(count: int, names: list[str]) -> int:
    """Prints a line for each reader, and for each kind of fault."""
    wrong = 0
    _say(
        "| reader | files | crashes | hangs | memory | foreign errors | seconds |\n|---|---|---|---|---|---|---|",
    )
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            begin = time.monotonic()
            found = soak(name, count, Path(folder))
        kinds = Counter(str(one["told"]).split(":")[0].split(" ")[0] for one in found)
        wrong += len(found)
        cells = [kinds["crash"], kinds["hang"], kinds["memory"], kinds["foreign"] + kinds["message"]]
        _say(f"| {name} | {count} | {' | '.join(map(str, cells))} | {time.monotonic() - begin:.0f} |")
        for told, times in Counter(str(one["told"]) for one in found).most_common():
            first = next(one for one in found if one["told"] == told)
            _say(f"  {times} x {told} (first: {json.dumps(first)[:300]})", sys.stderr)
    return wrong


if __name__ == "__main__":
    chosen = sys.argv[2:] or list(READERS)
    sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else 900, chosen) > 0)
