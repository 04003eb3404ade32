"""Pairs of studies of one patient: ``cfcam compare``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cfcam._lazy import lazy

if TYPE_CHECKING:
    from cfcam.jobs.compare.pairs import PairResult
    from cfcam.jobs.compare.run import ComparePairs
    from cfcam.jobs.compare.settings import CompareSettings

__all__ = ["ComparePairs", "CompareSettings", "PairResult"]

__getattr__ = lazy(
    __name__,
    {
        "cfcam.jobs.compare.pairs": "PairResult",
        "cfcam.jobs.compare.run": "ComparePairs",
        "cfcam.jobs.compare.settings": "CompareSettings",
    },
)
