"""The fast tier (``make quick``): the tests nearest to a change first, as many as two minutes hold.

The change is what differs from the last commit, or, in a clean tree, that commit itself. Nearest are the tests that
were changed, then those that name a changed module, then those of its room; all others follow, until the time is over.
What was not run is counted at the end: ``make test`` runs it.
"""

from __future__ import annotations

import re
import subprocess
import time
from functools import cache
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[1]
OVER = "the time of the fast tier is over: make test runs the rest"
_STARTED = time.monotonic()


def changed_files(root: Path = ROOT) -> list[str]:
    """Returns the files that differ from the last commit, new ones too; in a clean tree those of that commit."""
    listed = _git(root, "diff", "--name-only", "HEAD") + _git(root, "ls-files", "--others", "--exclude-standard")
    return listed or _git(root, "diff", "--name-only", "HEAD~1", "HEAD")


def distance(test: str, text: str, changed: list[str]) -> int:
    """Returns how far a file of tests is from a change: 0 it was changed itself, to 3, another room.

    Args:
        test: its path from the root, as git writes it.
        text: what stands in it.
        changed: paths from the root.
    """
    if test in changed:
        return 0
    nearest = 3
    for path in map(PurePosixPath, changed):
        if path.parts[:2] != ("src", "cfcam") or path.suffix != ".py":
            continue
        parts = path.with_suffix("").parts[1:]
        names = parts[:-1] if parts[-1] == "__init__" else parts
        package, name = ".".join(names[:-1]), names[-1]
        dotted, imported = re.escape(f"{package}.{name}"), rf"from {re.escape(package)} import [^\n]*\b{name}\b"
        beside = "/".join(("tests", *names[1:-1], f"test_{name}.py"))
        if test == beside or re.search(rf"\b{dotted}\b|{imported}", text):
            return 1
        if PurePosixPath(test).parts[1:2] == names[1:2]:
            nearest = 2
    return nearest


def nearest_first(items: list[pytest.Item]) -> None:
    """Puts the tests nearest to the change first, file by file, and leaves slow ones and those of data to the end."""
    changed = changed_files()

    @cache
    def of_file(path: Path) -> int:
        return distance(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"), changed)

    def place(item: pytest.Item) -> int:
        far = of_file(item.path)
        return far + 4 if far and (item.get_closest_marker("slow") or item.get_closest_marker("data")) else far

    items.sort(key=place)


def leave_out_when_over(seconds: float) -> None:
    """Skips the test that is about to begin, if this process has run for so long."""
    if time.monotonic() - _STARTED > seconds:
        pytest.skip(OVER)


def _git(root: Path, *arguments: str) -> list[str]:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.splitlines() if done.returncode == 0 else []
