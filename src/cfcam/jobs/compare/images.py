"""Comparing two images that were read, step by step: matched, registered, explained by one network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cfcam.clinical.checks.repeatability import retest_samples
from cfcam.clinical.comparison.comparable import StudyMaps
from cfcam.clinical.comparison.gate import Gate
from cfcam.clinical.comparison.quality import Registration, RegistrationKind
from cfcam.clinical.comparison.registration import register
from cfcam.clinical.study_result import ModelIdentity
from cfcam.explainer import Explainer
from cfcam.imaging import Image, Preprocess, Volume, VolumePreprocess
from cfcam.jobs.compare.studies import Study, check_sides, input_grid, length_notes, read_notices, without_spacing

_LEAST_DEGREES, _LEAST_ZOOM = 2.0, 0.02


@dataclass(frozen=True, eq=False)
class CompareImages:
    """Takes a prior and a current image to where `cfcam.clinical.comparison.compare` compares their maps.

    Attributes:
        explainer: with the one method, and a fingerprint of the weights.
        preprocess: what is done to an image before the network sees it.
        name: of the network.
        classes: their names; empty: unknown.
        method: name of the method.
        retests: of each image; 0: none, and no verdicts.
        seed: of the retests.
    """

    explainer: Explainer
    preprocess: Preprocess | VolumePreprocess
    name: str
    classes: Sequence[str] = ()
    method: str = "grad-cam"
    retests: int = 8
    seed: int = 0

    def prepared(self, image: Image | Volume) -> Any:
        """Returns an image as the network takes it, (1, C, *spatial)."""
        prepared: Any = self.preprocess
        return prepared(image)[None]

    def maps(self, studies: Sequence[Study], found: Registration, target: int) -> tuple[StudyMaps, StudyMaps]:
        """Explains a class in both studies, and again in retests that move at least as far as the two studies differ.

        Args:
            studies: the prior and the current one, from `matched`.
            found: where one lies over the other.
            target: class index.
        """
        degrees = max(_LEAST_DEGREES, found.quality.rotation)
        zoom = max(_LEAST_ZOOM, max(found.quality.scale, 1 / found.quality.scale) - 1)
        prior, current = (self._maps(study, target, degrees, zoom) for study in studies)
        return prior, current

    def _maps(self, study: Study, target: int, degrees: float, zoom: float) -> StudyMaps:
        x = self.prepared(study.image)
        grid = input_grid(self.preprocess, study)
        samples = retest_samples(
            self.explainer,
            x,
            target,
            self.method,
            count=self.retests,
            steps=grid.metric,
            degrees=degrees,
            zoom=zoom,
            seed=self.seed,
        )
        identity = ModelIdentity(
            self.name, "unversioned", self.explainer.fingerprint(), self.explainer.layer_for(x), tuple(self.classes)
        )
        name = self.classes[target] if target < len(self.classes) else f"class {target}"
        parameters = self.explainer.provenance()["methods"][self.method]
        return StudyMaps(
            study.placed,
            tuple(samples),
            grid,
            identity,
            self.method,
            target,
            name,
            study.physical,
            parameters,
            measured=study.image.measured,
        )


def matched(prior: Study, current: Study) -> tuple[tuple[Study, Study], list[str]]:
    """Returns two studies whose places are in one unit, and what is to be told of how they were read.

    Raises:
        ComparisonError: left could be laid on right.
    """
    studies, notes = [prior, current], []
    for which, study in zip(("prior", "current"), studies, strict=True):
        if not isinstance(study.image, Volume):  # of volumes read_notices tells them
            notes += [f"the {which} study: {line}" for line in study.image.notices]
    if prior.physical != current.physical:
        notes.append("the spacing of one image alone is known: lengths are in pixels of the prior")
        studies = [without_spacing(study) for study in studies]
    notes += [*length_notes(*studies), *read_notices(*studies)]
    check_sides(*studies)
    return (studies[0], studies[1]), notes


def registered(studies: Sequence[Study], kind: RegistrationKind, gate: Gate) -> Registration:
    """Returns where the current study lies over the prior one.

    Raises:
        RegistrationError: it is not good enough.
        MissingExtraError: SimpleITK is not installed.
    """
    found = register(studies[0].placed, studies[1].placed, kind)
    if found.kind != "none":
        gate.check(found)
    return found
