"""Numbers and places as a reader sees them: one function for every kind, used by every page."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cfcam.clinical.checks.results import CheckResult, Outcome
from cfcam.clinical.regions import RegionTable
from cfcam.clinical.study_result import MapResult, StudyResult
from cfcam.imaging.drawing.planes import place_text
from cfcam.shown import MARGIN_MEANING, margin_text, probability_text

NOT_KNOWN = "not known"
RESEARCH = "Research use only. Not a medical device."
BY_CONSTRUCTION = "Methods that read the same layer agree by construction: this is not certainty."
LIKELY = 0.5
"""From this probability on a class is one that the network predicts."""

_AXES = {2: ("row", "column"), 3: ("slice", "row", "column")}
_PER_CM = {"mm²": ("cm²", 100.0), "mm³": ("cm³", 1000.0)}

SOURCES = {
    "mc-dropout": "Dropout samples",
    "ensemble": "Several networks",
    "augmentation": "Slightly changed pictures",
    "methods": "Several map methods",
}
"""What each source of uncertainty is called."""

SOURCE_MEANINGS = {
    "mc-dropout": "The same network was asked again and again, each time with other units switched off at random.",
    "ensemble": "Networks that were trained separately were asked about the same picture.",
    "augmentation": "The network was asked about slightly changed copies of the picture; the maps were turned back.",
    "methods": "Different methods explain the same answer. "
    "Those that read the same layer agree by construction: agreement is not certainty, disagreement no probability.",
}
"""What was varied, in a sentence for each source."""


def number(value: float | None) -> str:
    """Returns a number with about three digits, never with an exponent; `NOT_KNOWN` for None, NaN and infinity.

    Example:
        >>> number(0.8134), number(3.14159), number(45.67), number(12345.6), number(0.0001), number(None)
        ('0.813', '3.14', '45.7', '12346', '< 0.001', 'not known')
    """
    if value is None or not math.isfinite(value):
        return NOT_KNOWN
    if 0 < abs(value) < 0.0005:
        return "< 0.001" if value > 0 else "> -0.001"
    size = abs(value)
    decimals = 3 if size < 1 else 2 if size < 10 else 1 if size < 100 else 0
    return "0" if value == 0 else f"{value:.{decimals}f}"


def probability(value: float | None) -> str:
    """Returns a probability as `cfcam.shown.probability_text` does, with three decimals or more.

    Example:
        >>> probability(0.94), probability(0.9996), probability(1.0), probability(None)
        ('0.940', '0.9996', '>0.9999', 'not known')
    """
    return NOT_KNOWN if value is None or not math.isfinite(value) else probability_text(value, 3)


def answer(one: MapResult) -> str:
    """Returns what stands beside the class of a map: its probability; of a contrast its margin, and what that is."""
    if one.margin is None:
        return f"probability {probability(one.probability)}"
    return f"{margin_text(one.margin)} ({MARGIN_MEANING.removeprefix('margin: ')})"


def size(value: float, unit: str) -> str:
    """Returns an area, a volume or a count with its unit, large ones in cm too.

    Example:
        >>> size(84.0, "mm²"), size(1234.5, "mm²"), size(548.0, "pixels")
        ('84.0 mm²', '1234 mm² (12.3 cm²)', '548 pixels')
    """
    first, *more = size_lines(value, unit)
    return f"{first} ({more[0]})" if more else first


def size_lines(value: float, unit: str) -> tuple[str, ...]:
    """Returns the same in one or two pieces, for a narrow column.

    Example:
        >>> size_lines(1234.5, "mm²")
        ('1234 mm²', '12.3 cm²')
    """
    if unit not in _PER_CM:
        return (f"{value:.0f} {unit}",)
    larger, factor = _PER_CM[unit]
    shown = f"{number(value)} {unit}"
    return (shown, f"{number(value / factor)} {larger}") if value >= factor else (shown,)


def index(place: Sequence[float] | None) -> str:
    """Returns an array index with the names of its axes, counted from 0.

    Example:
        >>> index((3, 4)), index((1.0, 2.25, 3.5))
        ('row 3, column 4', 'slice 1.0, row 2.2, column 3.5')
    """
    if place is None:
        return NOT_KNOWN
    names = _AXES[len(place)]
    return ", ".join(
        f"{name} {at}" if isinstance(at, int) else f"{name} {at:.1f}" for name, at in zip(names, place, strict=True)
    )


def doubt(study: StudyResult, one: MapResult) -> str:
    """Returns that a map explains a class that the network does not predict; "" for one with a probability from 0.5."""
    if one.probability is None or not one.probability < LIKELY:
        return ""
    return unlikely(one.probability, max((p for p in study.probabilities.values() if p is not None), default=None))


def unlikely(value: float, highest: float | None) -> str:
    """Returns what to say of the map of a class below 0.5.

    Args:
        value: probability of the class.
        highest: of all classes; None: unknown.

    Example:
        >>> unlikely(0.03, 0.9)
        'map of a class with p = 0.03: not what the network predicts'
        >>> unlikely(0.3, 0.3)
        'map of a class with p = 0.30: the strongest answer, and a doubtful one'
    """
    seen = probability_text(value)
    equals = "" if seen.startswith("<") else "= "
    strongest = highest is not None and value >= highest - 1e-6
    said = "the strongest answer, and a doubtful one" if strongest else "not what the network predicts"
    return f"map of a class with p {equals}{seen}: {said}"


def millimetres(place: Sequence[float] | None) -> str:
    """Returns millimetres along the array's axes.

    Example:
        >>> millimetres((12.34, 5.0))
        '12.3, 5.0 mm'
    """
    return NOT_KNOWN if place is None else ", ".join(f"{mm:.1f}" for mm in place) + " mm"


def in_patient(place: Sequence[float] | None) -> str:
    """Returns a place in the patient by the letters of its directions.

    Example:
        >>> in_patient((12.34, -5.0, 3.0))
        'R 12.3 mm, P 5.0 mm, S 3.0 mm'
    """
    return NOT_KNOWN if place is None else place_text(place)


def threshold(table: RegionTable) -> str:
    """Returns the threshold of a map with the rule that chose it."""
    kind, _, share = table.rule.partition(":")
    rule = f"the {float(share):.1%} quantile" if share else "by Otsu" if kind == "otsu" else "fixed"
    return f"threshold {number(table.threshold)} ({rule})"


def check_value(value: float | None, unit: str) -> str:
    """Returns the number of a check, or its limit."""
    return f"{value:g}" if value is not None and unit == "count" else number(value)


def limit(result: CheckResult) -> str:
    """Returns the limit of a check with its direction, as far as the outcome tells it."""
    if result.limit is None or result.value is None:
        return "none"
    shown = check_value(result.limit, result.unit)
    if result.value == result.limit:
        return shown
    above = result.value > result.limit
    return f"at least {shown}" if above == (result.outcome is Outcome.PASS) else f"at most {shown}"
