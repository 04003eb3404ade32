"""What to do with an element: the Basic profile of PS3.15 table E.1-1, and cfcam's own, stricter rules beside it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib import import_module
from typing import Any

from cfcam.errors import MissingExtraError

_TABLE = "dicomanonymizer.dicom_anonymization_databases.dicomfields_2026c"

SHIFTED = frozenset({
    "StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "InstanceCreationDate", "AcquisitionDateTime",
    "FrameAcquisitionDateTime", "FrameReferenceDateTime", "StartAcquisitionDateTime", "EndAcquisitionDateTime",
})  # fmt: skip
"""Dates that are kept, shifted (option 113107 of PS3.15 table E.1-1); all others go."""

KEPT_TIMES = frozenset({"StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime", "InstanceCreationTime"})
"""Times of day that are kept under the same option; all others go."""

KEPT_TEXTS = frozenset({
    "Manufacturer", "ManufacturerModelName", "ConvolutionKernel", "SequenceName", "CodeValue", "CodeMeaning",
    "CodingSchemeDesignator", "CodingSchemeVersion",
})  # fmt: skip
"""Texts that are kept where the table says nothing of them; every other text goes."""

KEPT_BYTES = frozenset({
    "PixelData", "FloatPixelData", "DoubleFloatPixelData", "LUTData", "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData",
    "SegmentedRedPaletteColorLookupTableData", "SegmentedGreenPaletteColorLookupTableData",
    "SegmentedBluePaletteColorLookupTableData",
})  # fmt: skip
"""Binary elements that are kept; every other one goes."""

PUBLIC_SCHEMES = frozenset({"DCM", "SCT", "SRT", "SNM3", "LN", "UCUM", "FMA", "RADLEX", "NCIt", "UMLS"})
"""Coding schemes whose codes are kept; codes of a site's own go."""

TEXTS = frozenset({"AE", "AS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
BYTES = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
MOMENTS = frozenset({"DA", "DT", "TM"})


class Action(Enum):
    """What happens to an element (PS3.15 table E.1-1a)."""

    REMOVE = "X"
    EMPTY = "Z"
    DUMMY = "D"
    UID = "U"
    SHIFT = "shift"
    KEEP = "K"


@dataclass(frozen=True)
class BasicProfile:
    """Table E.1-1 of PS3.15 as sets of tags.

    Attributes:
        removed: X, X/D and X/Z/D: pictures need none of them.
        emptied: Z and X/Z.
        replaced: D and Z/D.
    """

    removed: frozenset[int]
    emptied: frozenset[int]
    replaced: frozenset[int]


@cache
def basic_profile() -> BasicProfile:
    """Return the table as dicom-anonymizer has it (edition 2026c); of that library nothing else is used.

    Its functions visit only the top of a dataset, draw UIDs by chance and leave dates of year 1 behind.

    Raises:
        MissingExtraError: dicom-anonymizer is not installed.
    """
    try:
        table: Any = import_module(_TABLE)
    except ModuleNotFoundError as error:
        raise MissingExtraError("dicom-anonymizer>=2.1", "dicom", "de-identification") from error

    def tags(*names: str) -> frozenset[int]:
        # Entries of four numbers are the repeating groups 50xx and 60xx: `action_for` removes those whole.
        return frozenset((tag[0] << 16) | tag[1] for name in names for tag in getattr(table, name) if len(tag) == 2)

    return BasicProfile(
        removed=tags("X_TAGS", "X_D_TAGS", "X_Z_D_TAGS"),
        emptied=tags("Z_TAGS", "X_Z_TAGS"),
        replaced=tags("D_TAGS", "Z_D_TAGS"),
    )


def action_for(element: Any, profile: BasicProfile) -> Action:
    """Return what happens to an element of a picture; what is not known to be harmless is removed.

    Args:
        element: a pydicom DataElement, not a raw one.
        profile: from `basic_profile`.
    """
    tag, vr, keyword = element.tag, element.VR, element.keyword
    if tag.is_private or not keyword or tag.group >> 8 in (0x50, 0x60) or tag.element == 0:
        return Action.REMOVE
    if keyword in SHIFTED and vr in ("DA", "DT"):
        return Action.SHIFT
    if keyword in KEPT_TIMES and vr == "TM":
        return Action.KEEP
    if vr == "UI":
        return Action.UID
    if int(tag) in profile.removed:
        return Action.REMOVE
    if int(tag) in profile.emptied:
        return Action.EMPTY
    if int(tag) in profile.replaced:
        return Action.DUMMY if vr in TEXTS else Action.REMOVE
    if vr in MOMENTS or (vr in BYTES and keyword not in KEPT_BYTES):
        return Action.REMOVE
    if vr in TEXTS and keyword not in KEPT_TEXTS:
        return Action.EMPTY  # some, such as PositionReferenceIndicator, must be there (type 2)
    return Action.KEEP
