"""The DICOM objects of a study: one set for each of its maps, by the numbers of the study itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cfcam.clinical.study_result import MapResult, StudyResult
from cfcam.errors import ImageError
from cfcam.exchange.dicom.job import shortened
from cfcam.exchange.dicom.result import ResultInfo
from cfcam.exchange.dicom.sources import frames_of, planes_of, pseudonym_of, read_source
from cfcam.exchange.dicom.structured_report import measurements_of
from cfcam.exchange.dicom.write import fitting_kinds, write_objects
from cfcam.imaging import Image, Volume
from cfcam.imaging.reading.dicom_values import picture_edges
from cfcam.maps import Status

if TYPE_CHECKING:
    from pydicom import Dataset

_MODALITY = 8  # characters at most, all capitals
_OF_A_LOOP = "a loop of several frames is explained by its first: no DICOM objects refer to it"
_RESAMPLED = (
    "slices that were resampled are not those of the files: no DICOM objects refer to them; the map is written as NIfTI"
)


@dataclass(frozen=True, eq=False)
class DicomSource:
    """The DICOM objects behind one input.

    Attributes:
        objects: with all their elements.
        order: plane n of what is written is plane ``order[n]`` of the map; None for a picture.
        missing: why nothing can refer to these objects, in one line; None if something can.
    """

    objects: Sequence[Dataset]
    order: NDArray[np.intp] | None = None
    missing: str | None = None

    @classmethod
    def of(cls, image: Image | Volume, path: Path, *, whole: bool) -> DicomSource:
        """Reads the objects of an input that was read as picture or volume.

        Args:
            image: as it was read.
            path: the file; of a series its folder.
            whole: all objects, for what is to refer to them; else the first, for what it says of itself.

        Raises:
            ImageError: a file is gone or broken.
        """
        if isinstance(image, Image):
            source = read_source(path)
            loop = frames_of([source]) > 1
            return cls([source], None, _OF_A_LOOP if loop else None)
        if not image.source.instances:
            return cls([], None, _RESAMPLED)
        if not whole:
            return cls([read_source(image.source.instances[0].path)])
        objects, order = planes_of(image)
        return cls(objects, order)

    @property
    def modality(self) -> str:
        """Two to eight capitals such as "CT"; "" where the header says anything else."""
        found = str(self.objects[0].get("Modality") or "") if self.objects else ""
        known = found.isascii() and found.isalpha() and found.isupper() and 2 <= len(found) <= _MODALITY
        return found if known else ""

    @property
    def edges(self) -> tuple[str, str] | None:
        """Where the right and the lower edge of a picture point; see `cfcam.imaging.Image`."""
        return picture_edges(self.objects[0]) if self.objects else None

    @property
    def burned_in(self) -> str:
        """What the header says of names in the pixels: "YES", "NO" or ""."""
        found = str(self.objects[0].get("BurnedInAnnotation") or "").strip().upper() if self.objects else ""
        return found if found in ("YES", "NO") else ""

    @property
    def pseudonym(self) -> str | None:
        """Of the patient, if cfcam gave one."""
        return pseudonym_of(self.objects[0]) if self.objects else None

    def planes(self, heatmap: NDArray[np.float32]) -> NDArray[np.float32]:
        """A map on the grid of the study, in the order of the objects."""
        return heatmap if self.order is None else np.ascontiguousarray(heatmap[self.order])


def write_dicom(
    study: StudyResult,
    source: DicomSource,
    kinds: Sequence[str],
    folder: Path,
    *,
    palette: str,
    opacity: float,
    blend: str,
) -> tuple[list[Path], list[str]]:
    """Writes the objects of all maps that can be read.

    Args:
        study: what to write; how its picture was prepared goes into the objects' parameters, and so into their UIDs.
        source: what it was explained from.
        kinds: of `cfcam.exchange.KINDS`.
        folder: for the objects.
        palette: of overlays.
        opacity: of overlays.
        blend: what it follows there.

    Returns:
        The files, and a line for each thing that was not or not so written.

    Raises:
        CfcamError: the source breaks the standard, or a file cannot be written.
    """
    if source.missing is not None:
        return [], [source.missing]
    fitting, notes = fitting_kinds(source.objects, kinds)
    files: list[Path] = []
    refused: dict[str, str] = {}
    for one in study.maps:
        if one.status != Status.OK or one.regions.threshold is None:
            notes = (*notes, f"no DICOM objects of a map without evidence ({one.method}: {one.status})")
        elif fitting:
            files += write_objects(
                source.objects,
                source.planes(one.heatmap),
                result_info(study, one),
                kinds=fitting,
                threshold=one.regions.threshold,
                output=folder,
                measurements=measurements_of(one.regions["map"], one.regions.stability),
                opacity=opacity,
                palette=palette,
                blend=blend,
                refused=refused,
            )
    if refused and not files:
        raise ImageError(next(iter(refused.values())))
    return files, [*notes, *(f"{reason}: not written" for reason in refused.values())]


def result_info(study: StudyResult, one: MapResult) -> ResultInfo:
    """Return what objects say of a map of a study; texts are brought into the form that DICOM takes."""
    model = study.model
    own = {"implementation" if name == "method" else name: value for name, value in one.parameters.items()}
    parameters = {
        **own,
        "preprocess": study.provenance.get("preprocess"),
        "threshold rule": one.regions.rule,
        "windows": study.provenance.get("windows"),
    }
    return ResultInfo(
        model_name=_text(model.name),
        model_version=_text(model.version),
        weights_sha256=model.weights_sha256,
        method=_text(one.method),
        layer=_text(model.layer),
        class_index=one.class_index,
        class_name=_text(one.class_name),
        probability=one.probability,
        parameters={name: _plain(value) for name, value in parameters.items() if value is not None},
    )


def _text(text: str) -> str:
    """A text as a Long String takes it (PS3.5 table 6.2-1)."""
    printable = "".join(c if c.isprintable() and c != "\\" else "-" for c in text)
    return shortened(printable) or "unnamed"


def _plain(value: Any) -> str | int | float | bool | None:
    if isinstance(value, (str, int, float, bool)):
        return value
    return json.dumps(value, sort_keys=True, default=str)
