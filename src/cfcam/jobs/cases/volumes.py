"""What an evaluation of volumes runs over: NIfTI files and DICOM series, from a folder or a CSV file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from cfcam.errors import ImageError, InputError, JobError
from cfcam.imaging import Volume, VolumePreprocess
from cfcam.imaging.reading.elsewhere import Elsewhere
from cfcam.imaging.reading.files import NIFTI_EXTENSIONS, is_nifti
from cfcam.jobs.cases.case import Case, file_state, ignore_notice, resolve_label
from cfcam.jobs.cases.folder import CaseFolder, find_cases
from cfcam.jobs.inputs.find import Kind, find_inputs
from cfcam.jobs.inputs.ground_truth import CaseError, Notice, reaching, read_volume_masks
from cfcam.jobs.inputs.places import given
from cfcam.jobs.inputs.preparing import VolumeSettings
from cfcam.jobs.inputs.reading import read_volume_of
from cfcam.jobs.inputs.tars import tars
from cfcam.metrics.scorecard.samples import Part, Sample
from cfcam.models.expects import takes_volumes

_TABLES = (".csv", ".tsv")


@dataclass(frozen=True)
class VolumeCase:
    """One volume of an evaluation, not yet read.

    Attributes:
        case: its file (or folder of DICOM slices), label, masks, patient and group.
        how: which volume of a file or folder is read, and how.
    """

    case: Case
    how: VolumeSettings = field(default_factory=VolumeSettings)

    @property
    def name(self) -> str:
        """What to call it in the tables."""
        return self.case.name

    def identity(self) -> dict[str, Any]:
        """Returns what the numbers of the case depend on, as plain values; of a series every file."""
        return self.case.identity() | {"slices": _slices(self.case.image), "how": _plain(self.how)}

    def load(self, preprocess: VolumePreprocess, classes: Sequence[str] | int | None, notice: Notice) -> Sample:
        """Reads the case and brings it to the network's input, its ground truth by the same geometry.

        Args:
            preprocess: what is done to the volume.
            classes: see `cfcam.jobs.cases.case.load_case`.
            notice: told of what a user should know of the volume, of masks that were resampled or cut, and of ground
                truth that does not reach the network.

        Returns:
            The sample; without ground truth if there is none, it is empty, or nothing of it reaches the network.

        Raises:
            CaseError: label or ground truth do not fit.
            ImageError: a file cannot be read, or holds several volumes.
            InputError: the volume has other channels than the network.
        """
        if self.case.problem is not None:
            raise CaseError(self.case.problem)
        resolve_label(self.case.label, classes)  # before the volume is read, which takes long
        try:
            return self.prepared(self.read(notice), preprocess, classes, notice)
        except ImageError as error:
            raise self.case.told(error) from error

    def read(self, notice: Notice = ignore_notice) -> Volume:
        """Reads the volume.

        Raises:
            ImageError: it cannot be read, or holds several.
            InputError: it does not offer the time, channel or series that is asked for.
        """
        volume = read_volume_of(self.case.image, self.how)
        for line in volume.notices:
            notice(line)
        return volume

    def prepared(
        self, volume: Volume, preprocess: VolumePreprocess, classes: Sequence[str] | int | None, notice: Notice
    ) -> Sample:
        """Brings the volume, once read, to the network's input; see `load`."""
        case = self.case
        return Sample(
            preprocess(volume),
            resolve_label(case.label, classes),
            self._ground_truth(volume, preprocess, notice),
            name=case.name,
            patient=case.patient,
            group=case.group,
            parts=tuple(self._part(part, volume, preprocess, notice) for part in case.parts),
        )

    def _part(self, part: tuple[str, Path, Path], volume: Volume, preprocess: VolumePreprocess, notice: Notice) -> Part:
        name, mask, without = part
        other = read_volume_of(without, self.how)
        if other.voxels.shape != volume.voxels.shape or not np.allclose(other.affine, volume.affine, atol=1e-3):
            raise CaseError(f"the volume without {name} lies on another grid: give one of the same, alike in all else")
        inside = preprocess.mask(read_volume_masks([mask], volume, notice), volume=volume)
        return Part(name, inside, preprocess(other))

    def _ground_truth(self, volume: Volume, preprocess: VolumePreprocess, notice: Notice) -> Tensor | None:
        if not self.case.masks:
            if self.case.boxes:
                raise CaseError("boxes are of pictures: give a NIfTI in the column mask for a volume")
            return None
        truth = read_volume_masks(self.case.masks, volume, notice)
        if bool(truth.all()):
            notice("the ground truth is the whole volume (is its background NaN?): localisation is not assessed")
            return None
        return reaching(truth, partial(preprocess.mask, volume=volume), notice)


def find_volume_cases(
    data: str | Path,
    classes: Sequence[str] | None = None,
    *,
    output: Path | None = None,
    how: VolumeSettings | None = None,
    notice: Notice = ignore_notice,
) -> list[VolumeCase]:
    """Finds the cases in a folder of volumes, in a CSV file, or of a single volume.

    In a folder, sub-folders called like classes give the labels, as for pictures; masks are found as ``masks/NAME.*``,
    ``labels/NAME.*`` or ``NAME_mask.*``, in ``labelsTr`` and ``labelsTs`` as nnU-Net and the Decathlon have them; a
    folder of DICOM slices is a volume called like the folder. For a CSV file see `jobs.cases.table.read_table`; its
    images may be folders of DICOM slices, its masks are NIfTI files or DICOM Segmentations.

    Args:
        data: folder, CSV file, or volume.
        classes: names of the network's classes, if known.
        output: the folder that the run writes into: passed over if it lies within ``data``.
        how: which volume of a file or folder is read, and how.
        notice: told of what is not used.

    Returns:
        At least one case.

    Raises:
        JobError: the CSV file cannot be used, or there is no volume in a folder.
        ImageError: there is no such file or folder.
    """
    path, how = Path(data), how or VolumeSettings()
    if not path.exists():
        raise ImageError(f"{path}: no such file or folder; give a folder of volumes or a CSV file")
    if path.suffix.lower() in _TABLES and not path.is_dir():
        from cfcam.jobs.cases.table import read_table

        cases = read_table(path, notice)
    elif path.is_dir():
        cases = VolumeFolder(path, classes).cases(output, notice)
    else:
        cases = [Case(path.name, path)]
    return [VolumeCase(case, how) for case in cases]


class VolumeFolder(CaseFolder):
    """A folder of volumes: which are masks, and what the names of its sub-folders say."""

    kind = "volume"
    mask_folders = frozenset({"mask", "masks", "labels", "labelstr", "labelsts"})
    picture_folders = CaseFolder.picture_folders | {"imagestr", "imagests", "volume", "volumes"}
    first_channel = "_0000"  # nnU-Net's, whose labels are called without

    def files(self, output: Path | None, notice: Notice) -> list[Path]:
        """Returns volumes and masks, apart from what lies in the output folder; tells of pictures among them."""
        try:
            found = find_inputs([self.root], output=output or self.root, recursive=True)
        except ImageError as error:
            raise JobError(f"{self.root}: there is no volume in it, NIfTI or DICOM series ({error})") from error
        if pictures := [one.path for one in found if one.kind is not Kind.VOLUME]:
            shown = pictures[0].relative_to(self.root)
            notice(f"pictures, which the network does not take: {len(pictures)}, such as {shown}")
        return [one.path for one in found if one.kind is Kind.VOLUME]

    def stem(self, file: Path) -> str:
        """Returns a file's name without its ending (.nii.gz is one), or a folder's name."""
        name = file.name
        endings = [ending for ending in NIFTI_EXTENSIONS[::-1] if name.lower().endswith(ending)]
        if endings:
            return name[: -len(endings[0])]
        return name if file.is_dir() else file.stem


def find_picture_cases(
    data: str | Path,
    classes: Sequence[str] | None = None,
    *,
    output: Path | None = None,
    notice: Notice = ignore_notice,
) -> list[Case]:
    """As `cfcam.jobs.cases.folder.find_cases`, for a network that takes pictures: volumes are refused as what they are.

    Raises:
        InputError: all of the data are volumes.
    """
    try:
        cases = find_cases(data, classes, output=output, notice=notice)
    except ImageError:
        if not Path(data).is_dir() or not holds_volumes(data):
            raise
        cases = []
    if all(is_nifti(case.image) for case in cases):
        raise InputError(f"{data}: these are volumes, and the network takes pictures: name one that takes volumes")
    return cases


def are_volumes(model: nn.Module, data: str | Path) -> bool:
    """Tells whether an evaluation is one of volumes: by the network, else by the data."""
    by_network = takes_volumes(model)
    return holds_volumes(data) if by_network is None else by_network


def holds_volumes(data: str | Path) -> bool:
    """Tells whether data is a volume, a folder with a volume in it, or a CSV file whose first image is one."""
    path = given(data)
    if isinstance(path, Elsewhere) or tars(path):
        return False
    if path.suffix.lower() in _TABLES and path.is_file():
        from cfcam.jobs.cases.table import read_table

        first = read_table(path, ignore_notice)[0].image
        return is_nifti(first) or (first.is_dir() and first != path.parent)
    try:
        return any(one.kind is Kind.VOLUME for one in find_inputs([path], output=path, recursive=True))
    except ImageError:
        return False


def _slices(place: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times of the files of a series; empty for a file."""
    try:
        return [(file.name, *file_state(file)) for file in sorted(place.iterdir())]
    except OSError:  # a file, or what cannot be listed, which shows when it is read
        return []


def _plain(how: VolumeSettings) -> dict[str, Any]:
    return {"time": how.time, "channel": how.channel, "series": how.series, "irregular": how.irregular}
