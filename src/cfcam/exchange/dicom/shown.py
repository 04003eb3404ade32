"""One way to show a source, as cfcam's pictures show it: its first usable table or window, and a whole rescaling.

Files hold windows without a width, empty tables, tables beside windows, a slope without an intercept; a presentation
state has to say one thing (PS3.3 C.11.8), and highdicom takes nothing that is half there.
"""

from __future__ import annotations

from copy import deepcopy
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from cfcam.imaging.reading.dicom_object import group, numbers

if TYPE_CHECKING:
    from pydicom import Dataset

_WINDOW = ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction")
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_FRAME = "FrameVOILUTSequence"
_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
_FINEST = 1000  # of the parts in which sides of a pixel are told


def shown_one_way(source: Dataset) -> Dataset:
    """Return a copy of a header that says one window or table for each frame, or none; the header stays as it is."""
    header = deepcopy(source)
    header.file_meta = source.file_meta
    if not header.get("ModalityLUTSequence"):
        header.pop("ModalityLUTSequence", None)
        _whole_rescaling(header)
    _one_way(header, header)
    for groups in (found for key in _GROUPS for found in header.get(key) or ()):
        for item in groups.get(_FRAME) or ():
            _one_way(item, header)
        if _FRAME in groups and not any("WindowCenter" in i or "VOILUTSequence" in i for i in groups[_FRAME].value):
            del groups[_FRAME]
    return header


def pixel_aspect(source: Dataset) -> list[int]:
    """Return how high and how wide a pixel is, in whole numbers: [1, 1] for a square (PS3.3 C.7.6.3.1.7)."""
    measures = group(source, 0, "PixelMeasuresSequence")
    stated = (measures.get("PixelSpacing"), *(source.get(key) for key in (*_SPACINGS, "PixelAspectRatio")))
    sides = next((found for found in map(numbers, stated) if len(found) == 2 and min(found) > 0), (1, 1))
    return list((Fraction(sides[0]) / Fraction(sides[1])).limit_denominator(_FINEST).as_integer_ratio())


def say_aspect(dataset: Dataset, source: Dataset) -> None:
    """Says of pictures without a spacing that their pixels, as those of their source, are not square."""
    if "Rows" not in dataset or any(key in dataset for key in _SPACINGS):
        return
    aspect = pixel_aspect(source)
    if aspect != [1, 1] and "PixelSpacing" not in group(dataset, 0, "PixelMeasuresSequence"):
        dataset.PixelAspectRatio = aspect


def _whole_rescaling(header: Dataset) -> None:
    slope, intercept = (numbers(header.get(key)) for key in ("RescaleSlope", "RescaleIntercept"))
    if not slope and not intercept:
        return
    if not slope:
        header.RescaleSlope = 1
    if not intercept:
        header.RescaleIntercept = 0
    if not header.get("RescaleType"):
        header.RescaleType = "US"  # unspecified


def _one_way(item: Any, header: Any) -> None:
    table = _table(item, header)
    item.pop("VOILUTSequence", None)
    pairs = zip(numbers(item.get("WindowCenter")), numbers(item.get("WindowWidth")), strict=False)
    window = next(((centre, width) for centre, width in pairs if width > 0), None)
    function = str(item.get("VOILUTFunction") or "LINEAR").strip().upper()
    for key in _WINDOW:
        item.pop(key, None)
    if table is not None:
        item.VOILUTSequence = [table]
    elif window is not None:
        item.WindowCenter, item.WindowWidth = (f"{value:.10g}" for value in window)
        if function == "LINEAR" and window[1] < 1:  # of which LINEAR makes nothing (PS3.3 C.11.2.1.2)
            function = "LINEAR_EXACT"
        if function in ("LINEAR_EXACT", "SIGMOID"):
            item.VOILUTFunction = function


def _table(item: Any, header: Any) -> Dataset | None:
    """The first table that holds data, in words, whole; a window shows more than a table that is cut off."""
    from pydicom import Dataset as NewDataset

    from cfcam.imaging.reading.dicom_values import is_little, voi_table

    if not item.get("VOILUTSequence"):
        return None
    probe = NewDataset({element.tag: element for element in header if element.keyword not in _GROUPS})
    probe.file_meta = header.file_meta
    probe.VOILUTSequence = item.VOILUTSequence
    table = voi_table(probe, 0, "the source", lambda line: None)
    if table is None or table.missing:
        return None
    # highdicom says 8 or 16 bits of every table, so that one of 12 would be shown as dark as a sixteenth of it
    entries = np.rint(table.entries * (65535 / (2.0**table.bits - 1))).clip(0, 65535)
    words = [len(entries) & 0xFFFF, table.first & 0xFFFF]
    if table.first < 0:
        words = [word - 0x10000 if word >= 0x8000 else word for word in words]
    found = NewDataset()
    found.add_new("LUTDescriptor", "SS" if table.first < 0 else "US", [*words, 16])
    found.add_new("LUTData", "OW", entries.astype("<u2" if is_little(header) else ">u2").tobytes())
    return found
