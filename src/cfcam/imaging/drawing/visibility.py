"""Whether more evidence always changes a picture more: measured for each palette on offer, and kept here.

The visible change is CIEDE2000 between a flat grey picture with a map of one value over it and the grey without it, in
pixels of 8 bits, on greys 20, 60, 128, 200 and 245, and for three kinds of eyes: normal vision, and deuteranopes and
protanopes as Machado, Oliveira & Fernandes 2009 simulate them (IEEE TVCG 15(6), severity 1). A palette passes at an
opacity if the change grows at each of 20 equal steps of the map from 0 to 1, on every grey and for every eye, and is at
least 20 at the end. `python -m benchmarks visibility` measures it, and a test compares the table with what it finds.
"""

from __future__ import annotations

from cfcam.imaging.drawing.look import OPACITY, Look
from cfcam.imaging.drawing.palettes import EMBER, PALETTES, is_perceptually_ordered

PASSES: dict[str, tuple[float, float] | None] = dict.fromkeys(PALETTES) | {EMBER: (0.35, 0.8)}
"""Each palette on offer -> the least and the greatest opacity at which it passes, in steps of 0.05; None: at none."""


def grows_visibly(palette: str = EMBER, opacity: float = OPACITY, blend: str = "value") -> bool | None:
    """Whether more evidence changes every grey more, and full evidence clearly: see the module.

    Args:
        palette: as for `colorize`.
        opacity: as for `overlay`.
        blend: likewise. With "uniform" no palette passes, since no evidence at all changes the picture already.

    Returns:
        None where it was not measured: of palettes that are not on offer, and of an outline alone.

    Raises:
        InputError: an unknown palette or blend, or an opacity that is no share.

    Example:
        >>> grows_visibly("ember"), grows_visibly("inferno"), grows_visibly("ember", blend="uniform")
        (True, False, False)
    """
    Look(palette, opacity, blend).check()
    if blend == "contour" or palette not in PASSES:
        return None
    passes = PASSES[palette]
    return blend == "value" and passes is not None and passes[0] <= opacity <= passes[1]


def note(look: Look) -> str:
    """What to say beside a picture that is drawn so: empty, or "jet: not perceptually ordered" and the like."""
    if look.blend == "contour":
        return ""
    found = [] if is_perceptually_ordered(look.palette) else ["not perceptually ordered"]
    if look.blend == "value" and grows_visibly(*look) is False:
        found.append("more evidence is not on every grey the greater change")
    return f"{look.palette}: {', '.join(found)}" if found else ""
