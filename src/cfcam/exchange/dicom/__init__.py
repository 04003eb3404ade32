"""A map as DICOM objects: Parametric Map, Segmentation, Structured Report, Presentation State, Secondary Capture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cfcam._lazy import lazy

if TYPE_CHECKING:
    from cfcam.exchange.dicom.write import KINDS, check_installed, check_kinds, fitting_kinds, save_bytes, write_objects

__all__ = [
    "KINDS",
    "check_installed",
    "check_kinds",
    "fitting_kinds",
    "save_bytes",
    "write_objects",
]

__getattr__ = lazy(
    __name__,
    {
        "cfcam.exchange.dicom.write": "KINDS check_installed check_kinds fitting_kinds save_bytes write_objects",
    },
)
