"""A line of the page: what became of one picture, and where its files are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class View:
    """A picture of an input with a map on it.

    Attributes:
        method: of the map.
        index: class of the map.
        file: relative to the output folder.
    """

    method: str
    index: int
    file: str


@dataclass(frozen=True)
class Entry:
    """A picture on the page.

    Attributes:
        name: what it is called there.
        status: of its first map: "ok", or why there is none; "failed" of a picture that could not be explained.
        error: why it failed.
        explained: the class that its first map explains; None of a failure.
        probability: of that class, in [0, 1]; None where the network's scores are no probabilities.
        answer: the class that the network takes it for; None where that is not known.
        confidence: probability of the answer, likewise.
        label: its true class; None where that is not known.
        thumb: file of its small picture, relative to the output folder; "" without one.
        original: address of the picture without a map, percent-encoded, seen from the output folder; "" without one.
        views: pictures with maps, at full size.
        further: further files, relative to the output folder, each with what the page calls it.
        peak: see `cfcam.jobs.index.glance.Glance`.
        grid: likewise.
        where: of a study, where the map points, in words.
        margin: of a contrast of two classes, how far the logit of the first lies above that of the second.
    """

    name: str
    status: str
    error: str = ""
    explained: int | None = None
    probability: float | None = None
    answer: int | None = None
    confidence: float | None = None
    label: int | None = None
    thumb: str = ""
    original: str = ""
    views: tuple[View, ...] = ()
    further: tuple[tuple[str, str], ...] = ()
    peak: tuple[float, float] | None = None
    grid: str = ""
    where: str = ""
    margin: float | None = None

    @property
    def wrong(self) -> bool | None:
        """Whether the network's answer is another class than the true one; None where one of them is not known."""
        return None if self.label is None or self.answer is None else self.label != self.answer
