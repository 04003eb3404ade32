"""The cases of an evidence pack, without what could tell who they are of: numbered, by their order in the data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from cfcam.errors import CfcamError
from cfcam.files import sha256_of
from cfcam.imaging import Image, Preprocess, read_image
from cfcam.jobs.cases.case import Case, resolve_label
from cfcam.jobs.cases.phantoms import PhantomCase
from cfcam.jobs.inputs.ground_truth import CaseError, Notice
from cfcam.jobs.inputs.masks import MarkedRegion, RegionKind, RegionMasks
from cfcam.jobs.inputs.privacy import without_names
from cfcam.metrics.scorecard.samples import Sample
from cfcam.models.demo import FINDINGS, make_phantom, sample_phantom

_DEMO_SIZE = 224


@dataclass(frozen=True, eq=False)
class Material:
    """What is known of one case, read and prepared.

    Attributes:
        sample: as the scorecard takes it.
        image: the picture.
        positives: classes that are truly there; None: not known.
        complete: whether all others are truly absent.
        regions: kind -> what is marked, on the picture's grid.
        artefact_image: the picture that the artefact's mask belongs to, if it is another one.
    """

    sample: Sample
    image: Image
    positives: frozenset[int] | None
    regions: Mapping[RegionKind, MarkedRegion] = field(default_factory=dict)
    artefact_image: Image | None = None
    complete: bool = False


class EvidenceCase(Protocol):
    """A case that both the scorecard and the checks can read."""

    @property
    def name(self) -> str:
        """Its number."""

    @property
    def patient(self) -> str | None:
        """The patient's number; None if none is named."""

    @property
    def group(self) -> str | None:
        """As the data has it."""

    def identity(self) -> dict[str, Any]:
        """Returns what the numbers of the case depend on."""

    def hashes(self) -> dict[str, str]:
        """Returns role -> SHA-256 of what it is read from."""

    def load(self, preprocess: Preprocess, classes: Sequence[str] | int | None, notice: Notice) -> Sample:
        """Reads the case for the scorecard."""

    def material(self, preprocess: Preprocess, classes: Sequence[str] | int | None) -> Material:
        """Reads the case for everything else."""


@dataclass(frozen=True)
class FileCase:
    """A case from files.

    Attributes:
        inner: as it was found; its name, patient and paths are told to nobody.
        name: its number.
        patient: the patient's number.
        masks: where organs and artefacts are.
        several: whether there are other cases.
    """

    inner: Case
    name: str
    patient: str | None
    masks: tuple[RegionMasks, ...] = ()
    several: bool = True

    @property
    def group(self) -> str | None:
        """As the data has it."""
        return self.inner.group

    def identity(self) -> dict[str, Any]:
        """Returns what the numbers of the case depend on; only its hash is written."""
        return {**self.inner.identity(), "number": self.name, "masks": [mask.given for mask in self.masks]}

    def hashes(self) -> dict[str, str]:
        """Returns the SHA-256 of picture and ground truth; what cannot be read is left out."""
        found = {}
        for role, path in (("image", self.inner.image), *((f"mask {n}", m) for n, m in enumerate(self.inner.masks, 1))):
            if path.is_file():
                found[role] = sha256_of(path)
        return found

    def load(self, preprocess: Preprocess, classes: Sequence[str] | int | None, notice: Notice) -> Sample:
        """Reads the case; see `cfcam.jobs.cases.case.load_case`. No message names a file."""
        try:
            sample = self.inner.load(preprocess, classes, lambda line: notice(self._scrubbed(line)))
        except CfcamError as error:
            raise CaseError(self._scrubbed(str(error))) from None
        return replace(sample, name=self.name, patient=self.patient)

    def material(self, preprocess: Preprocess, classes: Sequence[str] | int | None) -> Material:
        """Reads the case with its regions."""
        sample = self.load(preprocess, classes, lambda _: None)
        try:
            image = read_image(self.inner.image)
            regions = {mask.kind: mask.read(self.inner.image, image, several=self.several) for mask in self.masks}
        except CfcamError as error:
            raise CaseError(self._scrubbed(str(error))) from None
        known = {
            kind: MarkedRegion(region.mask, reason=self._scrubbed(region.reason)) for kind, region in regions.items()
        }
        positives = None if sample.label is None else frozenset([sample.label])
        return Material(sample, image, positives, known)

    def _scrubbed(self, text: str) -> str:
        """A message without the names of files, folders and patients, which may say who somebody is."""
        hidden: list[str] = [self.inner.name, self.inner.patient or ""]
        for path in (self.inner.image, *self.inner.masks):
            hidden += [str(path), path.name, path.stem]
        for mask in self.masks:
            hidden += [mask.given, Path(mask.given).name]
        return without_names(text, hidden, self.inner.image.stem)


@dataclass(frozen=True)
class DemoCase:
    """A drawn phantom; the artefact check is made on the same patient with a pacemaker.

    Attributes:
        inner: the phantom.
        name: its number.
    """

    inner: PhantomCase
    name: str

    @property
    def patient(self) -> str | None:
        """Each phantom is its own patient."""
        return self.name.replace("case", "patient")

    @property
    def group(self) -> str | None:
        """None."""
        return None

    def identity(self) -> dict[str, Any]:
        """Returns the phantom's."""
        return self.inner.identity()

    def hashes(self) -> dict[str, str]:
        """Returns the SHA-256 of the drawn pixels."""
        return {"image": hashlib.sha256(sample_phantom(self.inner.seed, size=_DEMO_SIZE).image.tobytes()).hexdigest()}

    def load(self, preprocess: Preprocess, classes: Sequence[str] | int | None, notice: Notice) -> Sample:
        """Draws the phantom; see `cfcam.jobs.cases.phantoms`."""
        return replace(self.inner.load(preprocess, classes, notice), name=self.name, patient=self.patient)

    def material(self, preprocess: Preprocess, classes: Sequence[str] | int | None) -> Material:
        """Draws the phantom, and the same patient with a pacemaker."""
        phantom = sample_phantom(self.inner.seed, size=_DEMO_SIZE)
        paced = make_phantom(self.inner.seed, size=_DEMO_SIZE, findings=phantom.findings, devices=["pacemaker"])
        lungs = torch.from_numpy(phantom.masks["left lung"] | phantom.masks["right lung"])
        device = torch.from_numpy(paced.masks["pacemaker"] | paced.masks["lead"])
        names: list[str] = [name for name in FINDINGS if name in phantom.findings] or ["no finding"]
        known = [resolve_label(name, classes) for name in names]
        return Material(
            self.load(preprocess, classes, lambda _: None),
            _picture(phantom.image),
            frozenset(label for label in known if label is not None),
            {"organ": MarkedRegion(lungs), "artefacts": MarkedRegion(device)},
            _picture(paced.image),
            complete=True,
        )


def _picture(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> Image:
    return Image(pixels, None, hashlib.sha256(pixels.tobytes()).hexdigest())


def numbered(cases: Iterable[Case], masks: Sequence[RegionMasks] = ()) -> list[FileCase]:
    """Returns cases under numbers, of cases and of patients in the order in which they first appear in the data."""
    listed = list(cases)
    width = max(4, len(str(len(listed))))
    patients = list(dict.fromkeys(case.patient for case in listed if case.patient is not None))
    numbers = {patient: f"patient-{n:0{width}d}" for n, patient in enumerate(patients, 1)}
    return [
        FileCase(
            case,
            f"case-{n:0{width}d}",
            None if case.patient is None else numbers[case.patient],
            tuple(masks),
            len(listed) > 1,
        )
        for n, case in enumerate(listed, 1)
    ]


def numbered_phantoms(cases: Iterable[PhantomCase]) -> list[DemoCase]:
    """Returns phantoms under numbers."""
    return [DemoCase(case, f"case-{n:04d}") for n, case in enumerate(cases, 1)]
