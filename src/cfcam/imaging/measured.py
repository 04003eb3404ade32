"""Where the millimetres of a picture are measured: of a radiograph mostly at the detector, and not in the patient.

Between the tube and the detector a patient is enlarged, by an amount that depends on the depth (PS3.3 10.7.1): an area
in mm² at the detector is no area in the patient.
"""

from __future__ import annotations

from enum import StrEnum


class Measured(StrEnum):
    """Where the millimetres of a picture are measured, in words that stand behind a length.

    DICOM: Imager Pixel Spacing is at the detector's front plane; so is a Pixel Spacing of the same numbers. Another one
    is calibrated; one that stands alone in a projection radiograph may be either (PS3.3 10.7.1.3).
    """

    DETECTOR = "at the detector"
    FILM = "on the film"
    CALIBRATED = "calibrated"
    EITHER = "at the detector or calibrated"
    STATED = "as the file says"

    @property
    def sentence(self) -> str:
        """What a reader should know of such lengths; "" where there is nothing to say beside the words."""
        return _SENTENCES[self]


_SENTENCES = {
    Measured.DETECTOR: "Millimetres are those at the detector: in the patient distances are smaller.",
    Measured.FILM: "Millimetres are those on the film that was scanned: in the patient distances are smaller.",
    Measured.CALIBRATED: "Millimetres are calibrated, as the file says: they hold at the depth of that calibration"
    " alone.",
    Measured.EITHER: "The file does not say whether its millimetres are those at the detector or calibrated: in the"
    " patient distances may be smaller.",
    Measured.STATED: "",
}


def measured_in(unit: str, measured: str | None) -> str:
    """Returns a unit of length, area or volume with where it is measured; of others the unit alone.

    Example:
        >>> measured_in("mm²", Measured.DETECTOR), measured_in("mm", None), measured_in("pixels", Measured.FILM)
        ('mm² at the detector', 'mm', 'pixels')
    """
    return f"{unit} {measured}" if measured and unit in ("mm", "mm²", "mm³") else unit
