"""What may be compared: two studies of one patient, by one network, method, layer and class."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cfcam.clinical.checks.repeatability import Retest
from cfcam.clinical.comparison.placed import Grid, Placed
from cfcam.clinical.study_result import ModelIdentity
from cfcam.errors import CfcamError, InputError
from cfcam.imaging.measured import Measured


class ComparisonError(CfcamError, ValueError):
    """Two maps that may not be compared."""


@dataclass(frozen=True, eq=False)
class StudyMaps:
    """One study on its way into a comparison: its image, and the raw map of one class by one method.

    Attributes:
        picture: grey values, on the grid of the source.
        samples: the raw map as it is, then those of test-retest (`retest_samples`), all on ``grid``.
        grid: of the raw maps, often the network's input; its places are those of the picture's grid.
        model: the network and its layer.
        method: name of the method.
        class_index: number of the explained class.
        class_name: its name.
        physical: whether places are in mm; else in pixels of the source.
        parameters: of the method.
        patient: anything that differs between patients, such as a hash of the id; it is shown nowhere. None: unknown.
        notes: what a user should know of how it was read.
        measured: where the millimetres of a picture are measured (`cfcam.imaging.Image.measured`).
    """

    picture: Placed
    samples: tuple[Retest, ...]
    grid: Grid
    model: ModelIdentity
    method: str
    class_index: int
    class_name: str
    physical: bool = True
    parameters: Mapping[str, Any] = field(default_factory=dict)
    patient: str | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()
    measured: Measured | None = None

    def __post_init__(self) -> None:
        if not self.samples or len({sample.raw.shape for sample in self.samples} | {self.grid.size}) > 1:
            raise InputError("a study needs its raw map, and all of its retests on the same grid")

    @property
    def probability(self) -> float | None:
        """Of the class, in [0, 1]."""
        return self.samples[0].probability

    def raw(self, n: int = 0) -> Placed:
        """Returns the raw map, or that of the n-th retest."""
        return Placed(self.samples[n].raw, self.grid)


def check_comparable(prior: StudyMaps, current: StudyMaps) -> None:
    """Raises a `ComparisonError` unless two maps are of one network, method, layer, class and patient.

    Two patients are told apart where both studies say who they are of; no id is quoted.
    """
    if prior.patient is not None and current.patient is not None:
        check_patient(prior.patient, current.patient)
    here, there = prior.model, current.model
    differing = {
        "weights": here.weights_sha256 != there.weights_sha256,
        f"layer ({here.layer} and {there.layer})": here.layer != there.layer,
        f"method ({prior.method} and {current.method})": prior.method != current.method,
        "parameters of the method": dict(prior.parameters) != dict(current.parameters),
        f"class ({prior.class_name} and {current.class_name})": prior.class_index != current.class_index,
    }
    wrong = [what for what, differs in differing.items() if differs]
    if wrong:
        raise ComparisonError(
            f"the two maps differ in {', '.join(wrong)}: not compared; explain both studies with one network, method,"
            " layer and class"
        )
    if len(prior.picture.grid.size) != len(current.picture.grid.size):
        raise ComparisonError("one study is a picture and the other a volume: not compared; give two of a kind")
    if prior.physical != current.physical:
        raise ComparisonError(
            "the spacing of one study alone is known: not compared; give places of both in mm or pixels"
        )
    for which, study in (("prior", prior), ("current", current)):
        if not np.isfinite(study.samples[0].raw).all():
            raise ComparisonError(f"the map of the {which} study is not finite: not compared; check the network")


def check_patient(prior: str, current: str) -> None:
    """Raises a `ComparisonError` unless two ids are the same; it quotes neither."""
    if not hmac.compare_digest(prior.encode(), current.encode()):
        raise ComparisonError(
            "the prior and the current study are of two patients by their DICOM patient ids: not compared; give two"
            " studies of one patient, both de-identified with one key or neither"
        )
