"""Panels of the help, in the order in which it shows them."""

from __future__ import annotations

from enum import StrEnum


class Panel(StrEnum):
    """A panel's title; its name in small letters is the topic after ``--help`` that shows it whole."""

    COMPARISON = "The comparison"
    NETWORK = "The network"
    VOLUMES = "Volumes (NIfTI, DICOM series)"
    PICTURES = "The pictures it writes"
    MEASURED = "What is measured"
    CHECKS = "The checks"
    STUDY = "The study (report, DICOM objects, record)"
    STATED = "What you state"
    VIEWER = "The viewer"
    WANTED = "What is wanted"
    DOOR = "Who you are there"
    RUN = "The run"

    @property
    def topic(self) -> str:
        """What is typed after ``--help``."""
        return self.name.lower()
