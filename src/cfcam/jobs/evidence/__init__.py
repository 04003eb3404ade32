"""Everything that documents what a network's maps are worth: ``cfcam evidence``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cfcam._lazy import lazy

if TYPE_CHECKING:
    from cfcam.jobs.evidence.run import EvidenceRun, Pack
    from cfcam.jobs.evidence.settings import EvidenceSettings

__all__ = ["EvidenceRun", "EvidenceSettings", "Pack"]

__getattr__ = lazy(
    __name__,
    {
        "cfcam.jobs.evidence.run": "EvidenceRun Pack",
        "cfcam.jobs.evidence.settings": "EvidenceSettings",
    },
)
