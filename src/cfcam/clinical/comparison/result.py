"""What came of comparing two studies: numbers with their verdicts, and maps on one scale."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfcam._version import __version__
from cfcam.clinical.comparison.quality import Registration
from cfcam.clinical.study_result import ModelIdentity
from cfcam.errors import InputError

SENTENCE = "A change of the map is not a change of disease."
RESEARCH = "Research use only, not a medical device."
WITHIN, BEYOND, NOT_ASSESSED = "within repeatability", "beyond repeatability", "not assessed"


@dataclass(frozen=True)
class Change:
    """One number of a comparison.

    Attributes:
        name: what it is of.
        unit: of the change: "mm²", "mm³", "mm", "pixels", "voxels", "probability", "share of the scale", "distance";
            of a radiograph lengths say where they are measured: "mm² at the detector".
        prior: value in the prior study; None for a number of the pair.
        current: value in the current study.
        change: current less prior; for a place or a map how far they are apart, never negative. None: not assessed.
        repeatability: the coefficient: 95 % of the changes without any cause lie below it; None: unknown.
        verdict: "within repeatability", "beyond repeatability" or "not assessed".
    """

    name: str
    unit: str
    prior: float | None
    current: float | None
    change: float | None
    repeatability: float | None
    verdict: str


@dataclass(frozen=True, eq=False)
class Comparison:
    """What came of comparing two studies; all maps lie on the prior's grid.

    Attributes:
        registration: where the current image lies over the prior one.
        scale: the one number by which both raw maps were divided: the greater of their maxima; 0: both are empty.
        threshold: from which value on the common scale a position is hot.
        changes: the numbers.
        prior: (*spatial) the prior map on the common scale, in [0, 1]; what is against the class is 0.
        current: likewise, the current map, registered.
        difference: current less prior, in [-1, 1]; 0 where one of the two studies saw nothing.
        picture: (*spatial) the current image, registered.
        seen: (*spatial) where both networks saw the patient; nothing else is compared.
        unit: of lengths, "mm" or "pixels"; of a radiograph such as "mm at the detector".
        model: the network and layer of both.
        method: of both.
        class_index: of both.
        class_name: of both.
        retests: how many of each study the repeatability rests on.
        notes: what a reader should know, a line each.
    """

    registration: Registration
    scale: float
    threshold: float
    changes: tuple[Change, ...]
    prior: NDArray[np.float32]
    current: NDArray[np.float32]
    difference: NDArray[np.float32]
    picture: NDArray[np.float32]
    seen: NDArray[np.bool_]
    unit: str
    model: ModelIdentity
    method: str
    class_index: int
    class_name: str
    retests: int
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Change:
        """Returns the number of a name.

        Raises:
            InputError: there is none.
        """
        for change in self.changes:
            if change.name == name:
                return change
        raise InputError(f"no number {name!r} in this comparison: it has {', '.join(c.name for c in self.changes)}")

    @property
    def verdict(self) -> str:
        """Of all numbers together, in words."""
        beyond = [change.name for change in self.changes if change.verdict == BEYOND]
        if beyond:
            return f"beyond repeatability: {', '.join(beyond)}"
        if not any(change.verdict == WITHIN for change in self.changes):
            return "not assessed: no repeatability is known"
        return "no change beyond repeatability"

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values, as JSON takes them: no NaN, no maps, nothing of a patient."""
        return {
            "statement": SENTENCE,
            "use": RESEARCH,
            "verdict": self.verdict,
            "changes": [vars(change) for change in self.changes],
            "class": {"index": self.class_index, "name": self.class_name},
            "method": self.method,
            "layer": self.model.layer,
            "model": {
                "name": self.model.name,
                "version": self.model.version,
                "weights_sha256": self.model.weights_sha256,
            },
            "scale": self.scale,
            "threshold": self.threshold,
            "retests": self.retests,
            "seen": float(self.seen.mean()),
            "registration": {**self.registration.as_dict(), "unit": self.unit},
            "notes": list(self.notes),
            "cfcam": __version__,
        }

    def as_row(self) -> dict[str, str]:
        """Returns one line of a table: column -> text, empty where a number is unknown."""
        row = {"verdict": self.verdict, "class": self.class_name, "method": self.method, "layer": self.model.layer}
        for change in self.changes:
            row[f"{change.name} [{change.unit}]"] = _text(change.change)
            row[f"{change.name}: prior"], row[f"{change.name}: current"] = _text(change.prior), _text(change.current)
            row[f"{change.name}: repeatability"] = _text(change.repeatability)
            row[f"{change.name}: verdict"] = change.verdict
        found = self.registration.quality
        row |= {
            "scale": _text(self.scale),
            "threshold": _text(self.threshold),
            "registration": self.registration.kind,
            "correlation": _text(found.correlation),
            "overlap": _text(found.overlap),
            "statement": SENTENCE,
        }
        return row


def _text(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:.6g}"
