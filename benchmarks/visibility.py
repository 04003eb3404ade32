"""``python -m benchmarks visibility``: does more evidence always change a picture more? For three kinds of eyes.

The measure is told in `cfcam.imaging.drawing.visibility`, whose table this finds.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks import machine, report
from cfcam.imaging import PALETTES, overlay
from cfcam.imaging.drawing.look import Look

GREYS = (20, 60, 128, 200, 245)
STEPS = np.round(np.linspace(0, 255, 21)) / 255  # of the map, each one of its 256 levels
LEAST = 20.0
# Machado, Oliveira & Fernandes 2009, table 1, severity 1.0; on linear RGB.
EYES = {
    "normal": np.eye(3),
    "deuteranope": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "protanope": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
}
LOOKS = (
    ("the seeds'", Look("jet", 0.4, "uniform")),
    ("the default until 0.1", Look("inferno", 0.4, "uniform")),
    ("the default", Look()),
    *(("", Look(palette)) for palette in PALETTES[1:]),
)


@dataclass(frozen=True)
class Found:
    """What one look does on one grey, for one kind of eyes."""

    palette: str
    opacity: float
    blend: str
    eyes: str
    grey: int
    changes: tuple[float, ...]

    @property
    def falls(self) -> float:
        """By how much the change falls on its way at most; 0 where it grows at each step."""
        return float((np.maximum.accumulate(self.changes) - self.changes).max())

    @property
    def grows(self) -> bool:
        """Whether each step of the map is a greater change."""
        return bool((np.diff(self.changes) > 0).all())


def seen(rgb: NDArray[np.uint8], eyes: str) -> NDArray[np.float64]:
    """Returns CIELAB (..., 3) of what such eyes see of colours (..., 3): sRGB, IEC 61966-2-1."""
    from skimage.color import rgb2lab

    share = rgb / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    mixed = np.clip(linear @ EYES[eyes].T, 0, 1)
    found: NDArray[np.float64] = rgb2lab(
        np.where(mixed <= 0.0031308, mixed * 12.92, 1.055 * mixed ** (1 / 2.4) - 0.055)
    )
    return found


def changes(look: Look, grey: int, eyes: str) -> tuple[float, ...]:
    """Returns CIEDE2000 between a grey with a map over it and without, at each of `STEPS`."""
    from skimage.color import deltaE_ciede2000

    bare = np.full((1, len(STEPS), 3), grey, np.uint8)
    drawn = overlay(bare, STEPS[None], **look._asdict(), threshold=None)
    return tuple(np.round(deltaE_ciede2000(seen(drawn, eyes), seen(bare, eyes))[0], 2).tolist())


def measure(look: Look) -> list[Found]:
    """Returns what a look does on each grey, for each kind of eyes."""
    return [Found(*look, eyes, grey, changes(look, grey, eyes)) for eyes in EYES for grey in GREYS]


def passes(found: list[Found]) -> bool:
    """Whether the change grows at each step everywhere, and is at least `LEAST` at the end."""
    return all(one.grows and one.changes[-1] >= LEAST for one in found)


def passing_opacities(palette: str) -> list[float]:
    """Returns the opacities, in steps of 0.05, at which a palette passes by value."""
    tried = (round(0.05 * n, 2) for n in range(1, 21))
    return [opacity for opacity in tried if passes(measure(Look(palette, opacity)))]


def main(arguments: argparse.Namespace) -> None:
    machine.use_threads(arguments.threads)
    looks = LOOKS[:3] if arguments.quick else LOOKS
    lines, points = [], []
    for name, look in looks:
        found = measure(look)
        points += [asdict(one) for one in found]
        opacities = [] if look.blend == "uniform" or arguments.quick else passing_opacities(look.palette)
        lines.append(
            [
                f"{look.palette} {look.opacity:.0%} {look.blend}" + (f" ({name})" if name else ""),
                *(f"{max(o.falls for o in found if o.eyes == eyes):.1f}" for eyes in EYES),
                *(f"{min(o.changes[-1] for o in found if o.eyes == eyes):.1f}" for eyes in EYES),
                f"{max(o.changes[0] for o in found):.1f}",
                "yes" if passes(found) else "no",
                f"{opacities[0]:.0%} to {opacities[-1]:.0%}" if opacities else "-",
            ]
        )
    headers = (
        "look",
        *(f"falls, {eyes}" for eyes in EYES),
        *(f"at 1, {eyes}" for eyes in EYES),
        "at 0",
        "passes",
        "passes by value at",
    )
    text = (
        "Visible change of a flat grey (20, 60, 128, 200, 245) by a map of one value over it, CIEDE2000, at 21 values"
        ' from 0 to 1. "Falls": by how much the change is less than at a smaller value, at most (0: it grows all the'
        ' way); "at 1": the change by full evidence, at least; "at 0": by none, at most. A look passes if the change'
        f" grows at each step for all eyes on all greys, and is at least {LEAST:g} at 1. Deuteranope and protanope:"
        " Machado, Oliveira & Fernandes 2009, severity 1."
    )
    each = [
        [
            str(grey),
            *(f"{_at(points, look, grey, value):.0f}" for look in (LOOKS[1][1], LOOKS[2][1]) for value in _SHOWN),
        ]
        for grey in GREYS
    ]
    heads = ["grey", *(f"{look.palette} {value:g}" for look in (LOOKS[1][1], LOOKS[2][1]) for value in _SHOWN)]
    body = (
        f"{text}\n\n{report.table(headers, lines)}\n\nFor normal vision, inferno at 40 % everywhere beside ember"
        f" by value, at values 0 to 1:\n\n{report.table(heads, each)}"
    )
    report.write(arguments.out, "visibility", "What a map changes of a picture", body, {"looks": points})


_SHOWN = (0, 0.2, 0.5, 0.8, 1)


def _at(points: list[dict[str, object]], look: Look, grey: int, value: float) -> float:
    index = int(np.argmin(np.abs(STEPS - value)))
    (found,) = (
        p["changes"]
        for p in points
        if (p["palette"], p["blend"], p["eyes"], p["grey"]) == (look.palette, look.blend, "normal", grey)
    )
    return float(found[index])  # type: ignore[index]
