"""The DICOM objects of a study: one set for each of its maps, by the numbers of the study itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cfcam.clinical.review import Review
from cfcam.clinical.study_result import MapResult, StudyResult
from cfcam.errors import ImageError, InputError
from cfcam.exchange.dicom.job import Job, shortened
from cfcam.exchange.dicom.result import ResultInfo
from cfcam.exchange.dicom.review_report import review_report
from cfcam.exchange.dicom.sources import frames_of, headers_of, planes_of, pseudonym_of, read_source
from cfcam.exchange.dicom.structured_report import measurements_of
from cfcam.exchange.dicom.write import check_installed, fitting_kinds, made_objects, save_object
from cfcam.imaging import Image, Volume
from cfcam.imaging.reading.dicom_object import quiet
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
        as_shown: whether the study's picture is this one object, as it says to show it.
    """

    objects: Sequence[Dataset]
    order: NDArray[np.intp] | None = None
    missing: str | None = None
    as_shown: bool = False

    @classmethod
    def of(cls, image: Image | Volume, path: Path, *, whole: bool, pixels: bool = True) -> DicomSource:
        """Reads the objects of an input that was read as picture or volume.

        Args:
            image: as it was read.
            path: the file; of a series its folder.
            whole: all objects, for what is to refer to them; else the first, for what it says of itself.
            pixels: those of a series' objects too, which overlays are drawn over.

        Raises:
            ImageError: a file is gone or broken.
        """
        if isinstance(image, Image):
            source = read_source(path)
            loop = frames_of([source]) > 1
            return cls([source], None, _OF_A_LOOP if loop else None, as_shown=image.window is None)
        if not image.source.instances:
            return cls([], None, _RESAMPLED)
        if not whole:
            return cls([read_source(image.source.instances[0].path)])
        try:
            objects, order = planes_of(image, pixels=pixels)
        except InputError as reason:  # such as one of several stacks of an object
            return cls([read_source(image.source.instances[0].path)], None, str(reason))
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
        stored = np.arange(len(heatmap))
        if self.order is None or np.array_equal(self.order, stored):
            return heatmap  # as most series lie: no copy of a volume
        return np.ascontiguousarray(heatmap[self.order])


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
    notes: list[str] = []
    with quiet():
        made = dicom_of(study, source, kinds, notes, palette=palette, opacity=opacity, blend=blend)
        files = []
        for kind, dataset in made:
            files.append(save_object(dataset, kind, folder))
            del dataset  # it is as large as the volume in bytes, and the next is made now
    return files, notes


def dicom_of(
    study: StudyResult,
    source: DicomSource,
    kinds: Sequence[str],
    notes: list[str],
    *,
    palette: str,
    opacity: float,
    blend: str,
) -> Iterator[tuple[str, Dataset]]:
    """Yields the objects of all maps that can be read, each with its kind, map by map; writes nothing.

    Args:
        study: see `write_dicom`.
        source: see there.
        kinds: see there.
        notes: takes a line for each thing that is not or not so made.
        palette: of overlays.
        opacity: of overlays.
        blend: what it follows there.

    Raises:
        CfcamError: the source breaks the standard.
    """
    if source.missing is not None:
        notes.append(source.missing)
        return
    fitting, lines = fitting_kinds(source.objects, kinds)
    notes += lines
    refused: dict[str, str] = {}
    count = 0
    for one in study.maps:
        if one.status != Status.OK or one.regions.threshold is None:
            notes.append(f"no DICOM objects of a map without evidence ({one.method}: {one.status})")
        elif fitting:
            for kind, dataset in made_objects(
                source.objects,
                source.planes(one.heatmap),
                result_info(study, one),
                kinds=fitting,
                threshold=one.regions.threshold,
                measurements=measurements_of(one.regions["map"], one.regions.stability),
                opacity=opacity,
                palette=palette,
                blend=blend,
                refused=refused,
                shown=study.picture if source.as_shown else None,
            ):
                count += 1
                yield kind, dataset
                del dataset  # see `write_dicom`
    if refused and not count:
        raise ImageError(next(iter(refused.values())))
    notes += [f"{reason}: not written" for reason in refused.values()]


def review_of(study: StudyResult, source: DicomSource, review: Review, before: Sequence[Dataset] = ()) -> Dataset:
    """Returns a reader's verdict on the one map of a study as a document; the same record gives the same bytes.

    Args:
        study: with the map that was answered alone; it may be without pictures (`cfcam.clinical.report.read`).
        source: what it was explained from, all objects.
        review: as it was recorded.
        before: the documents of the verdicts that this one takes the place of.

    Raises:
        CfcamError: the source breaks the standard, or the review is in no record.
    """
    (one,) = study.maps
    check_installed()
    headers = headers_of(source.objects)
    # of numbers that were read back there is no map, and a verdict's document says nothing of its values
    read_back = not one.heatmap.size
    shape = frames_of(headers), int(headers[0].Rows), int(headers[0].Columns)
    heat = np.zeros(shape, np.float32) if read_back else source.planes(one.heatmap)
    with quiet():
        job = Job(
            headers,
            heat[None] if heat.ndim == 2 else heat,
            replace(result_info(study, one), created=None if review.time is None else _here(review.time)),
            one.regions.threshold or 1.0,  # of a region that this document says nothing of
            source.objects,
            record=review.hash,
        )
        return review_report(job, review, before)


def _here(time: datetime) -> datetime:
    """A moment by the clock on the wall, as the dates of documents are."""
    return time.astimezone().replace(tzinfo=None, microsecond=0)


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
