"""Makes the table of architectures, `docs/architectures.md`: `python docs/architectures.py`.

What libraries are not here leave their sections out: einops for MONAI's token networks, and the folder with torchvision
and timm that CFCAM_TORCHVISION names (`make .torchvision`). The networks are those of the tests, with random weights.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.architectures import MONAI, NEEDS_EINOPS, TRANSFORMERS, survey  # noqa: E402

HEAD = """# Architectures, and the layer that is chosen

Each network here was built small and without weights, and given noise. The layer is the automatic choice; `grid` its
spatial extent for this input; `other tokens` how many tokens before the grid belong to no place (class, distillation,
registers). Status `ok`: Grad-CAM and CF-CAM ran at this layer, and the score depends on at least half of its places;
`refused`: no layer was chosen, with candidates in the message. Tests compare grids and other tokens with what the
architectures are defined with. Made by `docs/architectures.py`.
"""


def by_process(library: str) -> list[dict[str, Any]]:
    """Surveys a library of the folder that CFCAM_TORCHVISION names, in a process of its own."""
    path = os.pathsep.join([os.environ["CFCAM_TORCHVISION"], str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "tests.architectures", library]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path})  # noqa: S603
    return [json.loads(line) for line in done.stdout.splitlines()]


def section(title: str, rows: list[dict[str, Any]]) -> str:
    """Returns a section of the page."""
    lines = [f"## {title}", "", "| model | input | layer | grid | other tokens | status |", "|---|---|---|---|---|---|"]
    for row in rows:
        size = " x ".join(map(str, row["size"]))
        if row["layer"] is None:
            lines.append(
                f"| {row['name']} | {size} | | | | refused: {row['status'].split(';')[0].split(': name')[0]} |"
            )
        else:
            grid = " x ".join(map(str, row["grid"]))
            lines.append(
                f"| {row['name']} | {size} | `{row['layer']}` | {grid} | {row['prefix'] or ''} | {row['status']} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Writes the page."""
    einops = importlib.util.find_spec("einops") is not None
    monai = [a for a in MONAI if einops or not a.name.startswith(NEEDS_EINOPS)]
    parts = [
        HEAD,
        section(f"transformers {importlib.metadata.version('transformers')}", [survey(a) for a in TRANSFORMERS]),
        section(f"MONAI {importlib.metadata.version('monai')}", [survey(a) for a in monai]),
    ]
    if os.environ.get("CFCAM_TORCHVISION"):
        parts += [section(library, by_process(library)) for library in ("torchvision", "timm")]
    (ROOT / "docs" / "architectures.md").write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
