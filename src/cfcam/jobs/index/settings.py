"""What is asked for of the page."""

from __future__ import annotations

from dataclasses import dataclass

from cfcam.jobs.index.labels import Labels


@dataclass(frozen=True)
class PageSettings:
    """What is asked for of the page of a folder.

    Attributes:
        labels: the true class of each picture, from `cfcam.jobs.index.labels.read_labels`; None: not known.
        self_contained: the page holds its pictures itself, so that it can be sent alone.
    """

    labels: Labels | None = None
    self_contained: bool = False
