"""What the stored values of a DICOM picture mean: units, padding, and the grey values its window makes of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfcam.errors import ImageError
from cfcam.imaging.reading.dicom_object import group, numbers, photometric
from cfcam.imaging.reading.lookup_tables import LookupTable, Span, Tell, table_of
from cfcam.imaging.windows import Window

FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
"""What a window may do with values, PS3.3 C.11.2.1.2 and C.11.2.1.3."""

_WORD = 1 << 16

_QUADRUPED = "QUADRUPED"
_EDGES = {"R": "R", "L": "L", "A": "A", "P": "P", "H": "S", "F": "I"}
_AXES = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}


def rescaled(stored: NDArray[Any], dataset: Any, frame: int, where: str, tell: Tell) -> NDArray[Any]:
    """Return the values in the object's units (PS3.3 C.11.1): by its modality LUT, or its slope and intercept.

    Of a dose the slope is DoseGridScaling (C.8.8.3), in Gy.

    Raises:
        ImageError: the modality LUT lacks entries that are needed, or slope or intercept are no usable numbers.
    """
    table = modality_table(dataset, tell)
    if table is not None:
        if table.lacks(stored):
            raise ImageError(f"{where}: its modality LUT holds {table.held}, and its pixels need more; export it again")
        return table(stored)
    slope, intercept = _line(dataset, frame, where)
    if (slope, intercept) == (1, 0):
        return stored
    values: NDArray[np.float64] = stored.astype(np.float64)
    values *= slope
    values += intercept
    return values


def modality_table(dataset: Any, tell: Tell) -> LookupTable | None:
    """Return the first modality LUT that holds data; None without one."""
    items = _held(dataset.get("ModalityLUTSequence"), dataset, stored_span(dataset))
    if len(items) > 1:
        tell(f"it has {len(items)} modality LUTs: the first is taken")
    # of what depth its entries are does not matter: they are values, not shades
    return table_of(items[0], is_little(dataset), stored_span(dataset), "", _nothing) if items else None


def voi_table(dataset: Any, frame: int, where: str, tell: Tell) -> LookupTable | None:
    """Return the first VOI LUT that holds data, of the frame or the object; None without one."""
    items = group(dataset, frame, "FrameVOILUTSequence").get("VOILUTSequence") or dataset.get("VOILUTSequence")
    if not items:
        return None
    low, high = stored_span(dataset)
    if modality_table(dataset, _nothing) is not None:
        low, high = 0, _WORD - 1
    else:
        slope, intercept = _line(dataset, frame, where)
        low, high = sorted((low * slope + intercept, high * slope + intercept))
    held = _held(items, dataset, (low, high))
    if len(held) > 1:
        tell(f"it has {len(held)} VOI LUTs: the first is taken")
    return table_of(held[0], is_little(dataset), (low, high), "VOI LUT", tell) if held else None


def stored_span(dataset: Any) -> Span:
    """Return the smallest and greatest value that pixels can hold."""
    bits, signed = int(dataset.get("BitsStored") or 16), int(dataset.get("PixelRepresentation") or 0)
    return (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if signed else (0.0, 2.0**bits - 1)


def is_little(dataset: Any) -> bool:
    """Whether the words of a file are little endian."""
    return str(dataset.file_meta.TransferSyntaxUID) != "1.2.840.10008.1.2.2"


def inverted(dataset: Any) -> bool:
    """Whether the greatest value is black (PS3.3 C.7.6.3.1.2, C.11.6): twice said is said once."""
    shape = str(dataset.get("PresentationLUTShape") or "").strip()
    return photometric(dataset) == "MONOCHROME1" or shape == "INVERSE"


def picture_edges(dataset: Any) -> tuple[str, str] | None:
    """Return where the right and the lower edge of a picture point, by Patient Orientation (PS3.3 C.7.6.1.1.1).

    Of an oblique direction ("LA") the first letter counts, to which it is nearest. The letters of an animal on four
    legs mean something else ("L" is lateral, "RT" right): they are not read.

    Returns:
        Two of R, L, A, P, S, I; None where the header does not say.
    """
    if str(dataset.get("AnatomicalOrientationType") or "").strip() == _QUADRUPED:
        return None
    given = dataset.get("PatientOrientation") or []
    ways = [str(way).strip() for way in ([given] if isinstance(given, str) else given)]
    letters = [_EDGES[way[0]] if way and set(way) <= set(_EDGES) else "" for way in ways]
    across = len(letters) == 2 and all(letters) and _AXES[letters[0]] != _AXES[letters[1]]
    return (letters[0], letters[1]) if across else None


def own_window(dataset: Any, frame: int, tell: Tell) -> tuple[Window, str] | None:
    """Return the object's first usable window with its function (one of `FUNCTIONS`); None without one."""
    item = group(dataset, frame, "FrameVOILUTSequence")
    if "WindowCenter" not in item:
        item = dataset
    centres, widths = numbers(item.get("WindowCenter")), numbers(item.get("WindowWidth"))
    found = next(((centre, width) for centre, width in zip(centres, widths, strict=False) if width > 0), None)
    if found is None:
        if any(_given(item.get(key)) for key in ("WindowCenter", "WindowWidth")):
            tell("its window has no centre or no width above 0: it is left out")
        return None
    function = str(item.get("VOILUTFunction") or "LINEAR").strip().upper()
    if function not in FUNCTIONS:
        tell("its window has a function that is none of the standard's: it is taken as linear")
        function = "LINEAR"
    return found, function


def padding(stored: NDArray[Any], dataset: Any, every_bit: Callable[[], NDArray[Any]]) -> NDArray[np.bool_] | None:
    """Return which pixels are padding (PS3.3 C.7.5.1.1.2); None if there are none, or nothing else.

    The value is written as a signed or an unsigned word, and what it is follows from the pixels: the bits are the same.

    Args:
        stored: the pixels.
        dataset: with PixelPaddingValue, or FloatPixelPaddingValue, and the limits of their ranges.
        every_bit: gives the pixels with all bits allocated: for padding that no stored bits can hold.
    """
    ends = _padding_range(dataset, stored.dtype)
    if ends is None:
        return None
    low, high = stored_span(dataset)
    beyond = stored.dtype.kind in "iu" and not low <= ends[0] <= high
    mask = _between(every_bit() if beyond else stored, *ends)
    if beyond and low < 0 and not mask.any():  # of signed values the stored bits alone: of 12 bits 0x800 is -2048
        count = high - low + 1
        mask = _between(stored, *(end - count if high < end < count else end for end in ends))
    return mask if mask.any() and not mask.all() else None


def _between(values: NDArray[Any], first: float, last: float) -> NDArray[np.bool_]:
    return (values >= first) & (values <= last)


def _padding_range(dataset: Any, kind: np.dtype[Any]) -> tuple[float, float] | None:
    """The smallest and greatest value of padding for pixels of a type; None where none is declared."""
    name = {"f4": "Float", "f8": "DoubleFloat"}.get(kind.str[1:], "")
    ends = [_number(dataset.get(f"{name}PixelPadding{end}"), is_little(dataset)) for end in ("Value", "RangeLimit")]
    if ends[0] is None:
        return None
    held = [_as(kind, end) for end in ends if end is not None]
    return min(held), max(held)


def _number(value: Any, little: bool) -> float | None:
    """A number, also of a file that holds it as bytes (VR OW or UN)."""
    if isinstance(value, bytes):
        return int.from_bytes(value[:2], "little" if little else "big") if len(value) >= 2 else None
    found = numbers(value)
    return found[0] if found else None


def _as(kind: np.dtype[Any], value: float) -> float:
    """A word as pixels of a type hold it: as it is if it fits, else with the sign that its bits have for them."""
    if kind.kind == "f":
        return float(kind.type(value))
    info = np.iinfo(kind)
    if info.min <= value <= info.max:
        return value
    bits = min(16, info.bits)
    word = int(value) & ((1 << bits) - 1)
    return word - (1 << bits) if info.min < 0 and word >= 1 << (bits - 1) else word


def _held(items: Any, dataset: Any, span: Span) -> list[Any]:
    """The items of a sequence of tables that hold data."""
    little = is_little(dataset)
    return [item for item in items or () if table_of(item, little, span, "", _nothing) is not None]


def _given(value: Any) -> bool:
    return value is not None and bool(str(value).strip())


def _nothing(line: str) -> None:
    """Takes a notice that was told before."""


def _line(dataset: Any, frame: int, where: str) -> tuple[float, float]:
    """Slope and intercept; 1 and 0 for what is not there."""
    item = group(dataset, frame, "PixelValueTransformationSequence")
    item = item if "RescaleSlope" in item or "RescaleIntercept" in item else dataset
    found = []
    for key, usual in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0)):
        value = item.get(key)
        given = numbers(value) if _given(value) else ()
        if _given(value) and not given:
            raise ImageError(f"{where}: its rescaling is no number; repair the header first")
        found.append(given[0] if given else usual)
    slope, intercept = found
    if slope == 0:
        raise ImageError(f"{where}: its rescale slope is 0, so that its values are lost; repair the header first")
    dose = numbers(dataset.get("DoseGridScaling"))
    return (slope * dose[0], intercept * dose[0]) if dose and dose[0] > 0 else (slope, intercept)
