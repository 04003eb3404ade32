"""What a text asks of a detector: "box-1", "mass in box-1", "boxes-0.5", "box at 40,60", "no nodule at 10,20,60,80".

Read without torch, so that a command line is told of a mistake at once.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from cfcam.errors import TargetError

FORMS = 'box-1, "NAME in box-1", boxes-0.5, "box at X,Y", "NAME at X0,Y0,X1,Y1" or "no NAME at X0,Y0,X1,Y1"'
"""How boxes are asked for, in one line."""

_LIKE_BOXES = re.compile(r"box(?:es)?(?![a-z])|no .+ at\b|.+ in box\b|.+ at [-+0-9.]+\s*,", re.IGNORECASE)
_RANK = re.compile(r"(?:(?P<label>.+) in )?box-(?P<rank>\d+)")
_LEAST = re.compile(r"boxes-(?P<least>[0-9.]+)")
_PLACE = re.compile(r"(?P<no>no )?(?P<label>.+) at (?P<numbers>[-+0-9.eE]+(?:\s*,\s*[-+0-9.eE]+)+)")


@dataclass(frozen=True)
class BoxWords:
    """Which boxes of a detector are meant; of rank, least and place one is given.

    Attributes:
        label: index or name of the class that is asked for; None: that of the box.
        rank: number of the box, from 1, the most probable; None: another is meant.
        least: probability of all boxes that are meant, or more.
        place: x, y of the box that is meant, or its corners x0, y0, x1, y1.
        missing: why there is none there.
    """

    label: int | str | None = None
    rank: int | None = None
    least: float | None = None
    place: tuple[float, ...] = ()
    missing: bool = False

    @property
    def shown(self) -> str:
        """Where the box is, as shown to people."""
        if self.place:
            return f"at {','.join(f'{number:g}' for number in self.place)}"
        return f"box {self.rank}"


def read_box(text: str) -> BoxWords | None:
    """Reads what a text asks of a detector.

    Args:
        text: see the module; a class by name or index.

    Returns:
        None where it asks for something else, such as a class.

    Raises:
        TargetError: a box is asked for that cannot be: box 0, a probability above 1, corners in another order.
    """
    text = " ".join(text.split())
    if found := _RANK.fullmatch(text):
        if int(found["rank"]) < 1:
            raise TargetError(f"target {text!r}: boxes are counted from 1, the most probable")
        return BoxWords(_label(found["label"]), rank=int(found["rank"]))
    if found := _LEAST.fullmatch(text):
        least = _number(found["least"])
        if not 0 <= least < 1:
            raise TargetError(f"target {text!r}: give a probability from 0, below 1, such as boxes-0.5")
        return BoxWords(least=least)
    if found := _PLACE.fullmatch(text):
        return _placed(text, bool(found["no"]), found["label"], found["numbers"])
    return None


def box_hint(name: str) -> str:
    """Returns what to add to an unknown class's name that looks like mistyped words for boxes; "" of another name.

    Args:
        name: that no class has.
    """
    return f"; boxes of a detector are asked for as {FORMS}" if _LIKE_BOXES.match(name.strip()) else ""


def _placed(text: str, missing: bool, label: str, numbers: str) -> BoxWords:
    place = tuple(_number(number) for number in numbers.split(","))
    if len(place) not in (2, 4) or not all(map(math.isfinite, place)):
        raise TargetError(f"target {text!r}: give a point X,Y, or the corners X0,Y0,X1,Y1, in pixels of the picture")
    named = None if label == "box" and not missing else _label(label)
    if missing and (label == "box" or len(place) == 2):
        raise TargetError(f'target {text!r}: why there is none is asked as "no NAME at X0,Y0,X1,Y1", with four corners')
    if len(place) == 4 and not (place[2] > place[0] and place[3] > place[1]):
        raise TargetError(f"target {text!r}: the box is empty: give X0,Y0,X1,Y1 with X0 < X1 and Y0 < Y1")
    return BoxWords(named, place=place, missing=missing)


def _label(text: str | None) -> int | str | None:
    return int(text) if text is not None and text.isdecimal() else text


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
