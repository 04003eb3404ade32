"""What is wrong with a network, an input and a question, and what to change: `cfcam.diagnose`, ``cfcam doctor``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cfcam._lazy import lazy

if TYPE_CHECKING:
    from cfcam.diagnosis.findings import Diagnosis, Finding, Severity
    from cfcam.diagnosis.run import diagnose

__all__ = ["Diagnosis", "Finding", "Severity", "diagnose"]

__getattr__ = lazy(
    __name__,
    {
        "cfcam.diagnosis.findings": "Diagnosis Finding Severity",
        "cfcam.diagnosis.run": "diagnose",
    },
)
