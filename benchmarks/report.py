"""Markdown and JSON of a result."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table, padded so that it reads well in a terminal too."""
    cells = [list(headers), *map(list, rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headers))]
    padded = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in cells]
    return "\n".join([padded[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *padded[1:]])


def write(
    folder: Path, name: str, title: str, body: str, data: dict[str, Any], device: str = "cpu", *, command: str = ""
) -> None:
    """Prints a result, and writes it as ``name.md`` and ``name.json``, with the machine in both.

    Args:
        folder: where to.
        name: of the files.
        title: of the page.
        body: of the page.
        data: the numbers.
        device: that was measured.
        command: that measured it, if that was none of ``python -m benchmarks``.
    """
    about = machine.describe(device) | ({"command": command} if command else {})
    text = f"# {title}\n\n{machine.lines(about)}\n\n{body}\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    (folder / f"{name}.json").write_text(json.dumps({"machine": about, **data}, indent=1) + "\n", encoding="utf-8")
    print(text)
