"""Pictures without their patient: one object, or a whole folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cfcam._lazy import lazy

if TYPE_CHECKING:
    from cfcam.exchange.deidentify.deidentifier import Deidentifier
    from cfcam.exchange.deidentify.folder import FolderReport, deidentify_folder

__all__ = [
    "Deidentifier",
    "FolderReport",
    "deidentify_folder",
]

__getattr__ = lazy(
    __name__,
    {
        "cfcam.exchange.deidentify.deidentifier": "Deidentifier",
        "cfcam.exchange.deidentify.folder": "FolderReport deidentify_folder",
    },
)
