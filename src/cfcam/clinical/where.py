"""In which part of a picture or volume a place lies, in words: the patient's side where the file states it, else none.

A peak is known to a cell of the layer at best, so a part says as much as a pixel does. Sides are never guessed: that a
chest was taken from the front does not tell which way round it is stored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from cfcam.clinical.checks.peak_stability import PeakStability
from cfcam.clinical.study_result import Heat, MapResult, StudyResult
from cfcam.imaging.geometry import axis_codes

NOT_STATED = "patient side not stated"
NOT_MEASURED = "stability not measured"
NO_PEAK = "nowhere: the map has no peak"
UPRIGHT = ("I", "L"), ("I", "R"), ("I", "A"), ("I", "P")
"""Where rows and columns of a picture point that shows a patient who stands."""

OPPOSITE = {"R": "L", "L": "R", "A": "P", "P": "A", "S": "I", "I": "S"}
"""Of each direction the other end."""

_THIRDS = ("first", "middle", "last")
_LOWEST, _HIGHEST = 0, 2
_WORDS = {
    "L": "patient's left",
    "R": "patient's right",
    "A": "front",
    "P": "back",
    "S": "upper zone",
    "I": "lower zone",
}
_BETWEEN = {"L": "between left and right", "A": "between front and back", "S": "middle zone"}
_AXIS = {"R": "L", "L": "L", "A": "A", "P": "A", "S": "S", "I": "S"}
_ORDER = "LAS"
_TIED = 1e-6  # of the highest value
_NAMED = 2  # of the other parts that a peak goes to, if there are more than one beyond


def part_of(
    place: Sequence[float], shape: Sequence[int], directions: Sequence[str] = (), note: str = "", *, sides: bool = True
) -> str:
    """Returns in which third along each axis a place lies, in words.

    Args:
        place: index (row, column) or (slice, row, column).
        shape: of the grid.
        directions: for each axis where it points in the patient as the index grows: R, L, A, P, S or I; empty: unknown.
        note: what else is known of the side, such as "left breast".
        sides: say that the patient's side is not stated where it is not; off for pictures of no patient.

    Example:
        >>> part_of((10, 95), (100, 100), ("I", "L"))
        "patient's left, upper zone (right side of the picture)"
        >>> part_of((10, 95), (100, 100))
        'upper right third of the picture (patient side not stated)'
        >>> part_of((10, 5, 50), (30, 100, 100), ("S", "P", "L"))
        'between left and right, front, middle zone of the volume'
    """
    thirds = tuple(min(_HIGHEST, int(3 * (at + 0.5) / n)) for at, n in zip(place, shape, strict=True))
    as_shown = _in_picture(thirds) if len(thirds) == 2 else _in_volume(thirds)
    known = bool(directions)
    told = _in_patient(thirds, directions) if known else as_shown
    if len(thirds) == 3:
        more = [note] if known else [note, NOT_STATED if sides else ""]
        return f"{told} of the volume{_bracketed(more)}" if known else f"{told}{_bracketed(more)}"
    if known:
        across = f"{('left side', 'middle', 'right side')[thirds[1]]} of the picture"
        return told + _bracketed([across if tuple(directions) in UPRIGHT else as_shown, note])
    return as_shown + _bracketed([note, NOT_STATED if sides else ""])


def directions_of(study: StudyResult) -> tuple[str, ...]:
    """Returns for each axis of a study's maps where it points in the patient; empty where the file does not say."""
    if study.affine is not None:
        codes = axis_codes(study.affine)
        return tuple(codes if _axes_of(study) == 3 else codes[:2])
    if study.edges is not None and _axes_of(study) == 2:
        right, bottom = study.edges
        return bottom, right
    return ()


def place_of(study: StudyResult, place: Sequence[float], shape: Sequence[int]) -> str:
    """Returns the part of a study's picture or volume in which an index lies, in words."""
    origin = study.origin
    return part_of(place, shape, directions_of(study), "" if origin is None else origin.side)


def where(study: StudyResult, one: MapResult) -> str:
    """Returns where a map points most strongly: a part of the picture, and where else its peak goes.

    A peak that is as high far away, such as that of a map that is the same everywhere, is in no place.
    """
    peak = one.regions.regions[0].peak
    if peak is None:
        return NO_PEAK
    if is_spread(one.heatmap):
        return nowhere(_what(study))
    return place_of(study, peak, one.heatmap.shape)


def steadiness(study: StudyResult, one: MapResult) -> str:
    """Returns how steady the peak is, in words: the share of small motions, and into which other parts it goes."""
    stability = one.regions.stability
    if one.regions.regions[0].peak is None:
        return ""
    if stability is None:
        return NOT_MEASURED
    return with_parts(stability, where(study, one), lambda at: place_of(study, at, one.heatmap.shape))


def with_parts(stability: PeakStability, own: str, part: Callable[[tuple[int, ...]], str]) -> str:
    """Returns how steady a peak is, and, if it leaves its part, under how many motions it does not and where it goes.

    Args:
        stability: of the peak.
        own: the part that it lies in.
        part: names the part of an index.
    """
    went: Counter[str] = Counter()
    for place, times in zip(stability.elsewhere, stability.times, strict=True):
        went[part(place)] += times
    within = stability.stayed + went.pop(own, 0)
    if not went:
        return str(stability)
    parts = went.most_common()
    named = parts if len(parts) <= _NAMED + 1 else parts[:_NAMED]
    others = ", ".join(f"{name}: {times}" for name, times in named)
    if len(parts) > len(named):
        others += f", {len(parts) - len(named)} other parts: {sum(times for _, times in parts[_NAMED:])}"
    return f"{stability}, in this part under {within}; else it goes to {others}"


def nowhere(what: str) -> str:
    """Returns what is said of a peak that is in no single place of a "picture" or "volume"."""
    return f"no single place: its highest value is found more than a third of the {what} apart"


def is_spread(heatmap: Heat) -> bool:
    """Returns whether the positions at the highest value span more than a third of an axis, as in a constant map."""
    highest = heatmap >= heatmap.max() * (1 - _TIED)
    for axis, length in enumerate(heatmap.shape):  # axis by axis: of a constant map each position is one of them
        there = np.flatnonzero(highest.any(axis=tuple(n for n in range(heatmap.ndim) if n != axis)))
        if 3 * (there[-1] - there[0]) > length:
            return True
    return False


def _axes_of(study: StudyResult) -> int:
    if study.maps:
        return study.maps[0].heatmap.ndim
    return 3 if study.picture.ndim == 3 and study.picture.dtype != np.uint8 else 2


def _what(study: StudyResult) -> str:
    return "volume" if _axes_of(study) == 3 else "picture"


def _in_picture(thirds: tuple[int, ...]) -> str:
    down, across = thirds
    if down == across == 1:
        return "central third of the picture"
    if down == 1:
        return f"{('left', '', 'right')[across]} middle third of the picture"
    return f"{('upper', '', 'lower')[down]} {('left', 'middle', 'right')[across]} third of the picture"


def _in_volume(thirds: tuple[int, ...]) -> str:
    first, second, third = (_THIRDS[at] for at in thirds)
    return f"{first}, {second} and {third} third along the three axes of the volume"


def _in_patient(thirds: tuple[int, ...], directions: Sequence[str]) -> str:
    said = {}
    for third, direction in zip(thirds, directions, strict=True):
        axis = _AXIS[direction]
        letter = {_LOWEST: OPPOSITE[direction], _HIGHEST: direction}.get(third)
        said[axis] = _BETWEEN[axis] if letter is None else _WORDS[letter]
    return ", ".join(said[axis] for axis in _ORDER if axis in said)


def _bracketed(notes: Sequence[str]) -> str:
    said = "; ".join(note for note in notes if note)
    return f" ({said})" if said else ""
