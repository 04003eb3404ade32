"""``python -m tests.web.palettes`` writes down the palettes that the page offers."""

from __future__ import annotations

import base64
import json
from typing import Any

from cfcam.imaging.drawing.look import Look
from cfcam.imaging.drawing.palettes import PALETTES, table
from cfcam.imaging.drawing.signed import DIFFERENCE_PALETTE
from cfcam.imaging.drawing.visibility import grows_visibly, note
from cfcam.web.palettes import FILE, SIGNED


def offered() -> list[dict[str, Any]]:
    """Each palette on offer, with the colours that pictures are drawn with."""
    return [
        {
            "name": name,
            "colours": base64.b64encode(table(name).tobytes()).decode(),
            "passes": grows_visibly(name),
            "note": note(Look(name)),
        }
        for name in PALETTES
    ]


def signed() -> dict[str, Any]:
    """The palette of differences, likewise."""
    colours = base64.b64encode(table(DIFFERENCE_PALETTE).tobytes()).decode()
    return {"name": DIFFERENCE_PALETTE, "colours": colours, "note": "purple: less, orange: more evidence than before"}


if __name__ == "__main__":
    FILE.write_text(json.dumps(offered(), indent=1) + "\n", encoding="utf-8")
    SIGNED.write_text(json.dumps(signed(), indent=1) + "\n", encoding="utf-8")
