"""Keys of a query, and whether an answer has what was asked for (PS3.4 C.2.2.2): places ignore what they know not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cfcam.errors import InputError, few, nearest
from cfcam.exchange.pacs.outcome import NetworkError

if TYPE_CHECKING:
    from pydicom import Dataset

LEVELS = ("study", "series", "image")

RETURNED = {
    "study": (
        "StudyInstanceUID", "StudyDate", "StudyTime", "AccessionNumber", "ModalitiesInStudy", "StudyDescription",
        "PatientID", "PatientName", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances",
    ),
    "series": (
        "StudyInstanceUID", "SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription", "BodyPartExamined",
        "NumberOfSeriesRelatedInstances",
    ),
    "image": ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "InstanceNumber"),
}  # fmt: skip
"""Keywords of what is asked for at each level, beside the keys."""

UNIQUE = {"study": "StudyInstanceUID", "series": "SeriesInstanceUID", "image": "SOPInstanceUID"}
"""The keyword of what an answer is of, by level."""

_RANGED = ("DA", "TM", "DT")
_ABOVE = ("StudyInstanceUID", "SeriesInstanceUID")

Keys = Mapping[str, str | Sequence[str]]
"""What is searched for: values by keywords; ``*`` and ``?`` stand for any characters, ``A-B`` is a range of dates."""


def check_keys(level: str, keys: Keys) -> dict[str, str]:
    """Returns the keys that ask for something, several values with backslashes between.

    Raises:
        InputError: a level or a keyword that there is not, or a value with a backslash or a control character in it.
    """
    from pydicom.datadict import keyword_dict, tag_for_keyword

    if level not in LEVELS:
        raise InputError(f"level {level!r}: give one of {', '.join(LEVELS)}")
    given: dict[str, str] = {}
    for keyword, value in keys.items():
        if tag_for_keyword(keyword) is None:
            near = few(nearest(keyword, keyword_dict)) or "StudyInstanceUID"
            raise InputError(f"{keyword!r} is no keyword of a DICOM element; nearest: {near}")
        values = [value] if isinstance(value, str) else [str(one) for one in value]
        if any(c == "\\" or not c.isprintable() for one in values for c in one):
            raise InputError(f"{keyword}: the value to search for holds a backslash or a control character")
        if any(values):
            given[keyword] = "\\".join(values)
    return given


def fitting(answers: Sequence[Dataset], keys: Mapping[str, str], place: object) -> list[Dataset]:
    """Returns the answers that have what was asked for.

    Raises:
        NetworkError: an answer does not say one of the elements, so that nobody knows whether the place looked at it.
    """
    found = []
    for answer in answers:
        silent = [keyword for keyword in keys if keyword not in _ABOVE and keyword not in answer]
        if silent:
            raise NetworkError(
                f"{place}: cannot be searched by {few(silent)}, of which its answers are silent", again=False
            )
        if all(matches(answer, keyword, asked) for keyword, asked in keys.items() if keyword in answer):
            found.append(answer)
    return found


def matches(answer: Dataset, keyword: str, asked: str) -> bool:
    """Tells whether one element of an answer has what was asked for; of several values one is enough."""
    element = answer[keyword]
    values = list(_texts(element.value))
    if element.VR == "UI":
        return bool(set(values) & set(asked.split("\\")))
    if element.VR in _RANGED and "-" in asked and not asked.startswith("-0"):
        first, _, last = asked.partition("-")
        return any((not first or value >= first) and (not last or value[: len(last)] <= last) for value in values)
    if element.VR == "PN":
        return any(_name(asked).fullmatch(part) for value in values for part in _components(value))
    if element.VR in ("IS", "US", "DS"):
        return any(value == asked or _number(value) == _number(asked) for value in values)
    wanted = [_pattern(one) for one in asked.split("\\")]
    return any(one.fullmatch(value) for one in wanted for value in values)


def _texts(value: Any) -> Iterator[str]:
    if value is None or isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        value = [value]
    for one in value:
        yield "" if one is None else str(one).strip()


def _pattern(asked: str, flags: int = 0) -> re.Pattern[str]:
    parts = {"*": ".*", "?": "."}
    return re.compile("".join(parts.get(c) or re.escape(c) for c in asked.strip()), flags | re.DOTALL)


def _name(asked: str) -> re.Pattern[str]:
    """Names are compared whatever their case, as archives do, and empty parts at their end say nothing."""
    return _pattern(asked.rstrip("^ "), re.IGNORECASE)


def _components(name: str) -> list[str]:
    """The forms of a person's name: the whole, and each of its alphabetic, ideographic and phonetic parts."""
    return [part.rstrip("^ ") for part in (name, *name.split("="))]


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
