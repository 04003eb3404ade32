"""The map as a DICOM Segmentation (PS3.3 A.51): fractions of 255, and the region above the threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from cfcam.errors import InputError
from cfcam.exchange.dicom.job import MANUFACTURER, Job, code, shortened
from cfcam.exchange.dicom.job import RESEARCH as _RESEARCH
from cfcam.exchange.dicom.sources import distance_of, is_projection, without_thickness

if TYPE_CHECKING:
    from pydicom import Dataset

_LEVELS = 255
_BITS = 32

NO_THICKNESS = "a Segmentation needs SliceThickness, which the source has not, and planes with one distance neither"
"""Why a Segmentation with a place cannot be written."""


def segmentation(job: Job, kind: Literal["seg-fractional", "seg-binary"]) -> Dataset:
    """Return a Segmentation with one segment.

    FRACTIONAL holds `round(255 * value)`, so that no value is off by more than 1/510. All planes are written, those
    without a pixel too.

    Raises:
        InputError: the map does not lie in [0, 1], or the planes have neither a thickness nor one distance.
    """
    from highdicom.seg import Segmentation

    job.check_unit_range(kind)
    fractional = kind == "seg-fractional"
    by_number = fractional and job.heatmap[0].size >= _BITS
    if by_number:
        pixels: NDArray[Any] = _numbered(job.heatmap.shape)
    elif fractional:  # highdicom cuts fractions off at full levels; whole levels make it round
        pixels = np.rint(job.heatmap * np.float32(_LEVELS)) / _LEVELS
    else:
        pixels = job.region().view(np.uint8)
    dataset = Segmentation(
        job.sources,
        pixels,
        segmentation_type="FRACTIONAL" if fractional else "BINARY",
        segment_descriptions=[_segment(job, kind)],
        max_fractional_value=_LEVELS,
        omit_empty_frames=False,
        content_label="CAM_FRACTION" if fractional else "CAM_REGION",
        content_description=_RESEARCH[:64],
        **job.common(kind),
    )
    del pixels
    if by_number:
        order = _order(dataset.PixelData, job.heatmap.shape)
        del dataset.PixelData  # before its successor is made
        dataset.PixelData = _levels(job, order)
    _copy_orientation(job, dataset)
    _say_thickness(job, dataset)
    return job.finish(dataset, kind)


def _numbered(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Planes whose first pixels are the bits of their number, in place of a map.

    Of fractions highdicom makes several copies in floating point, and a volume has hundreds of planes; and in which
    order it writes them it says by their places alone.
    """
    pixels = np.zeros(shape, dtype=np.uint8)
    for number, plane in enumerate(pixels):
        plane.reshape(-1)[:_BITS] = np.unpackbits(np.array([number], dtype=">u4").view(np.uint8))
    return pixels


def _order(written: bytes, shape: tuple[int, ...]) -> list[int]:
    """The numbers of the planes that `_numbered` made, in the order in which they lie."""
    frames = np.frombuffer(written, dtype=np.uint8, count=math.prod(shape)).reshape(shape[0], -1)
    return [int(np.packbits(frame[:_BITS] > 0).view(">u4")[0]) for frame in frames]


def _levels(job: Job, order: Sequence[int]) -> bytes:
    """The planes of the map in this order, in whole levels."""
    count = job.heatmap.size
    levels = bytearray(count + count % 2)  # PS3.5 section 8.1.1: of an even number of bytes
    found = np.frombuffer(levels, dtype=np.uint8, count=count).reshape(job.heatmap.shape)
    for number, plane in zip(order, found, strict=True):
        plane[...] = np.rint(job.heatmap[number] * np.float32(_LEVELS))
    return bytes(levels)


def _segment(job: Job, kind: str) -> Any:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentDescription
    from pydicom.sr.codedict import codes

    result, settings = job.result, job.result.settings()
    if kind == "seg-binary":
        settings["threshold"] = f"{job.threshold:g}"
    algorithm = AlgorithmIdentificationSequence(
        name=result.model_name,
        family=codes.DCM.ArtificialIntelligence,
        version=result.model_version,
        source=MANUFACTURER,
        parameters=settings,
    )
    return SegmentDescription(
        segment_number=1,
        segment_label=shortened(f"{result.method}: {result.class_name}"),
        segmented_property_category=codes.SCT.SpatialAndRelationalConcept,
        segmented_property_type=code("activation", "Class activation"),
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm,
        tracking_uid=job.tracking_uid(),
        tracking_id=job.tracking_identifier(),
    )


def _copy_orientation(job: Job, dataset: Dataset) -> None:
    """A radiograph says by this alone where left and head are; empty where it is not known (PS3.3 C.7.6.1.1.1)."""
    source = job.sources[0]
    if is_projection(source):
        dataset.PatientOrientation = source.get("PatientOrientation") or None


def _say_thickness(job: Job, dataset: Dataset) -> None:
    """A Segmentation with a place says how thick its planes are (PS3.3 C.7.6.16.2.1): as thick as they are apart."""
    from pydicom.valuerep import DSfloat

    if without_thickness(job.originals):
        distance = distance_of(job.originals)
        if distance is None:
            raise InputError(f"seg: {NO_THICKNESS}")
        shared = dataset.SharedFunctionalGroupsSequence[0]
        shared.PixelMeasuresSequence[0].SliceThickness = DSfloat(distance, auto_format=True)
