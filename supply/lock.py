"""Writes the locks: what ``constraints.txt`` pins, with the hash of each file of these releases.

    python -m supply.lock        (``make lock``; needs ``uv``, which asks the package index)

Each lock holds what the one before it does not: ``runtime.txt`` for cfcam alone, ``all.txt`` for its extras,
``dev.txt`` for the tests and tools. pip refuses a file with another hash (``--require-hashes``). ``torch.txt`` is torch
alone: where a folder offers another build than the index, pip would take the index's, whose hash it knows beforehand.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
HERE = Path(__file__).parent
LOCKS = ("runtime", "all", "dev")

# torchvision's and timm's wheels want another build of torch: they are installed apart from the environment. nnU-Net's
# networks ask for timm, which those that are explained do not need. Jupyter only shows notebooks.
_APART = {"torchvision", "timm", "nnunet", "notebook", "all"}
# What `pip install --editable .` builds with.
_BUILD = "hatchling\neditables\n"
# The builds of torch for one processor lie elsewhere than at the index that uv asks: CPython 3.11, Linux, x86-64.
_BESIDE = {"torch": ("sha256:6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",)}
# The index's torch is the CUDA build, and wants its libraries; they are pinned by torch itself.
_OF_CUDA = ("nvidia-", "cuda-", "triton")


def normalised(name: str) -> str:
    """Returns a distribution's name as the index spells it (PEP 503)."""
    parts = name.lower().replace("_", "-").replace(".", "-").split("-")
    return "-".join(part for part in parts if part)


def pins(text: str) -> dict[str, str]:
    """Returns what lines ``name==version`` pin, hashes or not: normalised name -> version."""
    lines = (line.split("#")[0].split(" \\")[0].strip() for line in text.splitlines())
    found = (line.split("==") for line in lines if "==" in line)
    return {normalised(name): version.split(";")[0].strip() for name, version in found}


def blocks(text: str) -> dict[str, str]:
    """Returns each pinned distribution's lines, its hashes with it: normalised name -> lines."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if "==" in line and not line.startswith((" ", "#")):
            name = normalised(line.split("==")[0])
            found[name] = []
        if name and line.strip() and not line.startswith("#"):
            found[name].append(line)
    return {name: "\n".join(lines) + "\n" for name, lines in found.items()}


def with_hashes(block: str, more: Iterable[str]) -> str:
    """Returns a distribution's lines with further hashes, each once, in order."""
    first, *lines = (line.removesuffix("\\").strip() for line in block.strip().splitlines())
    hashes = sorted({*lines, *(f"--hash={one}" for one in more)})
    return " \\\n    ".join([first, *hashes]) + "\n"


def shared_out(sets: Mapping[str, Iterable[str]], pinned: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """Yields each lock with the names that no lock before it has; the last one has all that is left.

    Raises:
        SystemExit: a set wants a distribution which is not pinned.
    """
    left = set(pinned)
    seen: set[str] = set()
    for lock, names in sets.items():
        wanted = {name for name in names if not name.startswith(_OF_CUDA)}
        if missing := wanted - left - seen:
            raise SystemExit(f"constraints.txt: {', '.join(sorted(missing))} not pinned; pin what {lock} needs")
        found = left if lock == LOCKS[-1] else wanted - seen
        yield lock, sorted(found)
        seen |= found
        left = left - found


def _uv(*arguments: str, given: str = "") -> str:
    command = ["uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--no-emit-index-url"]
    done = subprocess.run([*command, *arguments], cwd=ROOT, input=given, text=True, stdout=subprocess.PIPE)  # noqa: S603
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout


def main() -> None:
    """Asks the index, and writes the three files."""
    constraints = (ROOT / "constraints.txt").read_text()
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    of_users = sorted(extras - {"dev", "test", "lint", "docs", "bench"} - _APART)
    wanted = {
        "runtime": _uv("--constraint", "constraints.txt", "-", given=_BUILD)
        + _uv("--constraint", "constraints.txt", "pyproject.toml"),
        "all": _uv(
            "--constraint", "constraints.txt", "pyproject.toml", *(f"--extra={one}" for one in sorted(of_users))
        ),
        "dev": _uv("--constraint", "constraints.txt", "pyproject.toml", "--extra=dev"),
    }
    lines = blocks(_uv("--no-deps", "--generate-hashes", "constraints.txt"))
    for name, more in _BESIDE.items():
        lines[name] = with_hashes(lines[name], more)
    (HERE / "torch.txt").write_text("# Written by `make lock`: torch alone, see supply/lock.py.\n" + lines["torch"])
    before = ""
    for lock, names in shared_out({lock: pins(text) for lock, text in wanted.items()}, pins(constraints)):
        head = f"# Written by `make lock` from constraints.txt: {lock}. Every file of each release, by its hash.\n"
        (HERE / f"{lock}.txt").write_text(head + before + "".join(lines[name] for name in names))
        before = f"--requirement {lock}.txt\n"


if __name__ == "__main__":
    main()
