"""What a comparison must know of a study before any network sees it: its grid, its patient, its bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cfcam.clinical.comparison.comparable import ComparisonError, check_patient
from cfcam.clinical.comparison.placed import Grid, Placed
from cfcam.errors import InputError
from cfcam.files import sha256_of
from cfcam.imaging import Image, Preprocess, Volume, VolumePreprocess
from cfcam.imaging.geometry import axis_codes
from cfcam.jobs.inputs.patients import patient_and_date

UNKNOWN_PATIENTS = "whether both studies are of one patient could not be checked: no DICOM patient id in both"


@dataclass(frozen=True, eq=False)
class Study:
    """An image that was read.

    Attributes:
        image: a picture or a volume.
        grid: where its positions lie.
        physical: whether in mm; else in pixels.
    """

    image: Image | Volume
    grid: Grid
    physical: bool

    @property
    def placed(self) -> Placed:
        """Its grey values."""
        if isinstance(self.image, Volume):
            return Placed(self.image.channel(), self.grid)
        return Placed(self.image.planes().mean(0).numpy(), self.grid)


def placed_study(image: Image | Volume) -> Study:
    """Returns an image with its grid: of a volume in the patient, of a picture in mm where its spacing is known."""
    if isinstance(image, Volume):
        return Study(image, Grid(image.size, image.affine), True)
    return Study(image, Grid.of_spacing(image.size, image.spacing), image.spacing is not None)


def input_grid(preprocess: Preprocess | VolumePreprocess, study: Study) -> Grid:
    """Returns where the positions of the network's input lie, on the places of the study's grid."""
    if isinstance(study.image, Volume):
        assert isinstance(preprocess, VolumePreprocess)  # noqa: S101 (checked with the network)
        return Grid(*preprocess.grid(study.image))
    assert isinstance(preprocess, Preprocess)  # noqa: S101
    size = preprocess.input_size
    top, left, bottom, right = preprocess.frame(study.image.size)
    into = np.eye(3)
    for axis, (first, last) in enumerate(((top, bottom), (left, right))):
        step = (last - first) / size[axis]
        into[axis, axis], into[axis, 2] = step, first + step / 2 - 0.5
    return Grid(size, study.grid.affine @ into)


def without_spacing(study: Study) -> Study:
    """Returns a picture whose places are counted in pixels."""
    return Study(study.image, Grid.of_spacing(study.grid.size), False)


def check_sides(prior: Study, current: Study) -> None:
    """Refuses two pictures that show the patient from two sides, or one of them mirrored, and a volume without a place.

    Raises:
        ComparisonError: the axes of the two point elsewhere in the patient, or of one volume that is not known.
    """
    if isinstance(prior.image, Volume) and isinstance(current.image, Volume):
        known = [study.image.placed for study in (prior, current) if isinstance(study.image, Volume)]
        if known[0] != known[1]:
            without = "current" if known[0] else "prior"
            raise ComparisonError(
                f"the header of the {without} volume does not say how it lies in the patient, and that of the other"
                " does: left could be laid on right; not compared; repair the header first"
            )
    if (
        isinstance(prior.image, Image)
        and isinstance(current.image, Image)
        and prior.image.affine
        and current.image.affine
    ):
        codes = [axis_codes(np.array(study.image.affine)) for study in (prior, current)]
        if codes[0] != codes[1]:
            raise ComparisonError(
                f"the pictures show the patient from two sides (axes {codes[0]} and {codes[1]}): not compared; give"
                " two of one view, or whole volumes"
            )


def read_notices(prior: Study, current: Study) -> list[str]:
    """Returns what was to be told of how two volumes were read, a line each, with which of them it is of."""
    lines = [
        f"the {which} volume: {line}"
        for which, study in (("prior", prior), ("current", current))
        if isinstance(study.image, Volume)
        for line in (*study.image.notices, *study.image.assumed)
    ]
    both = [study.image.placed for study in (prior, current) if isinstance(study.image, Volume)]
    if len(both) == 2 and not any(both):
        lines.append("how the two volumes lie in the patient is unknown: they were laid on each other as stored")
    return lines


def length_notes(prior: Study, current: Study) -> list[str]:
    """Returns what is to be told of the millimetres of two pictures, which of radiographs are not in the patient."""
    if not (prior.physical and current.physical):
        return []
    here, there = prior.image.measured, current.image.measured
    if here != there:
        told = [one or "in the patient, or their file does not say where" for one in (here, there)]
        apart = f"mm of the prior study are {told[0]}, those of the current one {told[1]}"
        return [f"{apart}: they are not one measure, and sizes are in those of the prior"]
    return [here.sentence[0].lower() + here.sentence[1:].rstrip(".")] if here and here.sentence else []


def check_patients(prior: Path, current: Path) -> list[str]:
    """Refuses two patients, and returns in words what cannot be known; ids and dates are not kept.

    Raises:
        ComparisonError: both have a DICOM patient id, and the two differ.
        ImageError: a DICOM header is broken.
        MissingExtraError: there are DICOM files, and pydicom is not installed.
    """
    here, there = patient_and_date(prior), patient_and_date(current)
    if here[0] and there[0]:
        check_patient(here[0], there[0])
    notes = []
    if not (here[0] and there[0]):
        notes.append(UNKNOWN_PATIENTS)
    if here[1] and there[1] and here[1] > there[1]:
        notes.append("the prior study is dated later than the current one: check their order")
    return notes


def digest_of(path: Path) -> str:
    """Returns the SHA-256 of a file, or of the sorted digests of a folder's files.

    Raises:
        InputError: there is no such file or folder.
    """
    if not path.exists():
        raise InputError(f"{path.name}: no such file or folder; check the path")
    if path.is_file():
        return sha256_of(path)
    digests = sorted(sha256_of(file) for file in path.iterdir() if file.is_file())
    return hashlib.sha256("".join(digests).encode()).hexdigest()
