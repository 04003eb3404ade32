"""Measures what each extra adds to the disk, in the environment that runs it: `python docs/extras.py` prints a table.

Counted are the files of all packages that an extra asks for, and those ask for, less what cfcam needs without extras.
"""

from __future__ import annotations

import importlib.metadata as metadata
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def project() -> dict[str, list[str]]:
    """Returns the requirements of cfcam, under "", and of each extra that users install."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    inner = ("all", "docs", "test", "lint", "bench", "dev")
    extras = {name: listed for name, listed in told["optional-dependencies"].items() if name not in inner}
    return {"": told["dependencies"], **extras}


def closure(requirements: Iterable[str]) -> tuple[set[str], set[str]]:
    """Returns the packages behind some requirements, and those of them that are not installed here."""
    waiting, seen = [Requirement(one) for one in requirements], set[tuple[str, frozenset[str]]]()
    missing: set[str] = set()
    while waiting:
        one = waiting.pop()
        key = canonicalize_name(one.name), frozenset(one.extras)
        if key in seen:
            continue
        seen.add(key)
        try:
            needs = map(Requirement, metadata.requires(one.name) or [])
        except metadata.PackageNotFoundError:
            missing.add(key[0])
            continue
        waiting += [
            need
            for need in needs
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in [*one.extras, ""])
        ]
    return {name for name, _ in seen}, missing


def megabytes(package: str) -> float:
    """Returns how large a package's files are, without what Python compiles of them."""
    files = [file for file in metadata.files(package) or [] if not re.search(r"\.pyc$", str(file))]
    return sum(place.stat().st_size for file in files if (place := Path(str(file.locate()))).is_file()) / 1e6


def main() -> None:
    """Prints the table."""
    base: set[str] = set()
    for extra, requirements in project().items():
        packages, missing = closure(requirements)
        added = packages - base - missing
        base = base or packages
        size = "not measured" if missing else f"{sum(map(megabytes, added)):.0f} MB"
        print(f"| `{extra}` | {size} |" if extra else f"| nothing but cfcam | {size} |")


if __name__ == "__main__":
    main()
