"""Two studies of one patient: registered, on one scale, each change held against what moves by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cfcam._lazy import lazy

if TYPE_CHECKING:
    from cfcam.clinical.comparison.changes import (
        Change,
        Comparison,
        ComparisonError,
        StudyMaps,
        check_comparable,
        check_patient,
        compare,
    )
    from cfcam.clinical.comparison.registration import Quality, Registration, register

__all__ = [
    "Change",
    "Comparison",
    "ComparisonError",
    "Quality",
    "Registration",
    "StudyMaps",
    "check_comparable",
    "check_patient",
    "compare",
    "register",
]

__getattr__ = lazy(
    __name__,
    {
        "cfcam.clinical.comparison.changes": (
            "Change Comparison ComparisonError StudyMaps check_comparable check_patient compare"
        ),
        "cfcam.clinical.comparison.registration": "Quality Registration register",
    },
)
