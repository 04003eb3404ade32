"""Checks of maps, one image after the other, and then of all together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cfcam.clinical import checks
from cfcam.clinical.checks.results import CheckResult, Limits, count_outcomes, over_cases
from cfcam.errors import CfcamError, InputError
from cfcam.explainer import Explainer
from cfcam.imaging import Preprocess, VolumePreprocess, list_images
from cfcam.imaging.reading.series import no_volume
from cfcam.jobs.check.peaks import peak_check
from cfcam.jobs.check.region_checks import region_checks
from cfcam.jobs.check.settings import CheckSettings
from cfcam.jobs.inputs.find import Kind, find_inputs
from cfcam.jobs.inputs.preparing import prepare, refuse_windows
from cfcam.jobs.inputs.privacy import labelled, neutral, without_stem
from cfcam.models import LoadedModel
from cfcam.models.expects import takes_volumes


@dataclass(frozen=True)
class CheckedImage:
    """What the checks of one image's map found.

    Attributes:
        name: what the image is called; neutral if it is DICOM.
        label: the class that the map explains.
        probability: of that class; None if the network gives none.
        results: of its checks.
        pointed: where the map points and how steadily, if that was asked for.
        margin: of a contrast of two classes; else None.
    """

    name: str
    label: str
    probability: float | None
    results: list[CheckResult]
    pointed: Mapping[str, Any] = field(default_factory=dict)
    margin: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Returns it as plain values."""
        results = [result.as_dict() for result in self.results]
        told = {"class": self.label, "probability": self.probability, **self.pointed}
        told |= {} if self.margin is None else {"margin": self.margin}
        return {**told, "checks": results, "image": self.name}


@dataclass(frozen=True)
class CheckReport:
    """What was found.

    Attributes:
        images: one for each, in their order.
        together: checks of all images together.
        limits: that were applied.
        provenance: of the maps, with how the images were prepared.
    """

    images: list[CheckedImage]
    together: list[CheckResult]
    limits: Limits
    provenance: Mapping[str, Any]

    @property
    def flagged(self) -> bool:
        """Whether anything asks a person to look."""
        found = [*self.together, *(result for image in self.images for result in image.results)]
        return any(result.outcome == "flag" for result in found)

    def as_dict(self) -> dict[str, Any]:
        """Returns it as plain values."""
        return {
            "cases": [image.as_dict() for image in self.images],
            "all": [result.as_dict() for result in self.together],
            "counts": count_outcomes([image.results for image in self.images]),
            "limits": {name: getattr(self.limits, name) for name in Limits.__dataclass_fields__},
            "provenance": dict(self.provenance),
        }


def find_images(loaded: LoadedModel, given: Sequence[Path]) -> list[Path]:
    """Returns the images that were given: volumes if the network takes those, else pictures.

    Raises:
        CfcamError: one of them is not there, or of the other kind.
    """
    if not takes_volumes(loaded.module):
        return list_images(given)
    found = find_inputs(given, output="")
    if pictures := [one.path for one in found if one.kind is not Kind.VOLUME]:
        raise no_volume(pictures[0])
    return [one.path for one in found]


class CheckRun:
    """Checks the maps of a network.

    Args:
        loaded: the network.
        preprocess: what is done to each image; its type says whether they are pictures or volumes.
        settings: what is checked.
        say: told what the user should know of an image.

    Raises:
        CfcamError: there is no such method or layer.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        preprocess: Preprocess | VolumePreprocess,
        settings: CheckSettings,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        refuse_windows(loaded)
        self.settings, self.preprocess, self.say = settings, preprocess, say
        self._explainer = Explainer(
            loaded.module,
            [settings.method],
            layer=settings.layer,
            classes=loaded.classes,
            probability=loaded.probability,
            output=loaded.output,
            fingerprint=True,
        )
        self._maps: dict[str, list[tuple[Tensor, float]]] = {}

    def __call__(self, files: Sequence[Path]) -> CheckReport:
        """Checks each image's map, and compares those of one class.

        Raises:
            CfcamError: an image or a mask cannot be read; one that is DICOM goes by its neutral name.
        """
        self._maps = {}
        images = [self._named(file, several=len(files) > 1) for file in files]
        together = self._similar()
        if len(images) > 1:
            together += over_cases([image.results for image in images], self.settings.limits)
        provenance = {
            **self._explainer.provenance(),
            "prepared": self.preprocess.told,
            "preprocess": self.preprocess.as_dict(),
            "assumed": list(self.preprocess.assumptions),
        }
        return CheckReport(images, together, self.settings.limits, provenance)

    def _named(self, file: Path, *, several: bool) -> CheckedImage:
        """Checks one image; one that is DICOM goes by its neutral name, in messages too."""
        source = labelled(file)

        def told(text: str) -> str:
            return without_stem(neutral(text, source), source)

        try:
            found = self._checked(file, several=several, say=lambda text: self.say(told(text)))
        except CfcamError as error:
            if source.label is None:
                raise
            raise InputError(told(str(error))) from None
        results = [replace(result, detail=told(result.detail)) for result in found.results]
        return replace(found, name=source.shown.name, results=results)

    def _checked(self, file: Path, *, several: bool, say: Callable[[str], None]) -> CheckedImage:
        settings, limits, method = self.settings, self.settings.limits, self.settings.method
        prepared = prepare(file, preprocess=self.preprocess, window=settings.window)
        image, x = prepared.image, prepared.x
        for notice in prepared.notices:
            say(notice)
        regions = {mask.kind: mask.read(file, image, several=several) for mask in settings.masks}
        for notice in (notice for region in regions.values() for notice in region.notices):
            say(notice)
        explanation = self._explainer(x, None if settings.target == "predicted" else [settings.target])
        heat = prepared.back(explanation.heatmaps(method)[0, 0].cpu())
        probability = explanation.probability(0, 0)
        index, label = int(explanation.targets[0, 0]), explanation.label(0, 0)
        results = region_checks(
            regions,
            heat,
            lambda mask: checks.artefact_intervention(
                self._explainer, x, prepared.forth(mask), index, method, limits=limits
            ),
            spacing=image.spacing,
            affine=image.affine,
            measured=image.measured,
            probability=probability,
            limits=limits,
        )
        if settings.zones is not None:
            results += settings.zones.check(file, image, heat, limits, several=several)
        if settings.retest:
            results += checks.retest_stability(self._explainer, x, index, method, limits=limits)
        pointed: dict[str, Any] = {}
        if settings.peak_stability:
            found, pointed = peak_check(
                self._explainer, x, index, method, heat, image, file, prepared.back, limits=limits
            )
            results += found
        if probability is not None and probability >= limits.min_probability:
            self._maps.setdefault(label, []).append((explanation.heatmaps(method)[0, 0].cpu(), probability))
        return CheckedImage(file.name, label, probability, results, pointed, explanation.margin(0, 0))

    def _similar(self) -> list[CheckResult]:
        """Compares the maps of each class that two or more images have."""
        return [
            replace(found, detail=f"{label}: {found.detail}")
            for label, several in self._maps.items()
            if len(several) > 1
            for found in [
                checks.similar_cases(
                    torch.stack([heat for heat, _ in several]),
                    torch.tensor([probability for _, probability in several]),
                    limits=self.settings.limits,
                )
            ]
        ]
