"""Two studies of one patient: registered, on one scale, each change held against what moves by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cfcam._lazy import lazy

if TYPE_CHECKING:
    from cfcam.clinical.comparison.changes import compare
    from cfcam.clinical.comparison.comparable import ComparisonError, StudyMaps, check_comparable, check_patient
    from cfcam.clinical.comparison.gate import Gate, RegistrationError
    from cfcam.clinical.comparison.quality import Quality, Registration
    from cfcam.clinical.comparison.registration import register
    from cfcam.clinical.comparison.result import Change, Comparison

__all__ = [
    "Change",
    "Comparison",
    "ComparisonError",
    "Gate",
    "Quality",
    "Registration",
    "RegistrationError",
    "StudyMaps",
    "check_comparable",
    "check_patient",
    "compare",
    "register",
]

__getattr__ = lazy(
    __name__,
    {
        "cfcam.clinical.comparison.changes": "compare",
        "cfcam.clinical.comparison.comparable": "ComparisonError StudyMaps check_comparable check_patient",
        "cfcam.clinical.comparison.quality": "Quality Registration",
        "cfcam.clinical.comparison.registration": "register",
        "cfcam.clinical.comparison.result": "Change Comparison",
        "cfcam.clinical.comparison.gate": "Gate RegistrationError",
    },
)
