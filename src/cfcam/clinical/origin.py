"""What a file says of its study, in words of the standard only, so that a report can be matched with what it is of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Origin:
    """The study behind a picture; nothing in it is free text, or names a patient.

    Attributes:
        date: of the study, ISO 8601: as it was shifted by ``cfcam deidentify``, or as stated where somebody asked for
            that; "" else.
        date_note: which of these it is, or why it is not shown; "" where the file states no date.
        body_part: such as "chest"; "" if the file says none, or none of the standard's words.
        view: such as "PA (back to front)", or the plane of a slice; "" if unknown.
        laterality: "left", "right" or "both", of the body part; "" if unknown, or if the file contradicts itself.
        uids: "study", "series" and "object" -> the pseudonym of that UID: what ``cfcam deidentify`` made of it, else
            the first 16 hexadecimal digits of its SHA-256.
        oblique: the picture's edges point between two directions of the patient, and are named by the nearer one.
    """

    date: str = ""
    date_note: str = ""
    body_part: str = ""
    view: str = ""
    laterality: str = ""
    uids: Mapping[str, str] = field(default_factory=dict)
    oblique: bool = False

    @property
    def side(self) -> str:
        """The side of a paired body part, such as "left breast"; "" for others."""
        if self.laterality not in ("left", "right"):
            return ""
        return f"{self.laterality} {self.body_part}" if self.body_part else f"{self.laterality} side of a paired part"

    @property
    def part(self) -> str:
        """The body part with its side."""
        if not self.body_part:
            return f"side: {self.laterality}" if self.laterality else ""
        return f"{self.body_part}, {self.laterality}" if self.laterality else self.body_part

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values."""
        return asdict(self)
