"""The map as a DICOM Segmentation (PS3.3 A.51): fractions of 255, and the region above the threshold."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
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
_SIDE = 8  # of pictures that hold a number of so many bits
_ROWS_AT_ONCE = 64

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
    count = len(job.heatmap)
    dataset = Segmentation(
        [_small(source) for source in job.sources],
        _numbered(count),
        segmentation_type="FRACTIONAL" if fractional else "BINARY",
        segment_descriptions=[_segment(job, kind)],
        max_fractional_value=_LEVELS,
        omit_empty_frames=False,
        content_label="CAM_FRACTION" if fractional else "CAM_REGION",
        content_description=_RESEARCH[:64],
        **job.common(kind),
    )
    order = _order(dataset.PixelData, count, bits=not fractional)
    dataset.Rows, dataset.Columns = job.heatmap.shape[1:]
    dataset.PixelData = (_levels if fractional else _bits)(job, order)
    _copy_orientation(job, dataset)
    _say_thickness(job, dataset)
    return job.finish(dataset, kind)


def _small(source: Dataset) -> Dataset:
    """A source as if its pictures had the size of those of `_numbered`."""
    from pydicom import Dataset as NewDataset

    small = NewDataset({element.tag: element for element in source if element.keyword not in ("Rows", "Columns")})
    small.file_meta = source.file_meta
    small.Rows = small.Columns = _SIDE
    return small


def _numbered(count: int) -> NDArray[np.uint8]:
    """Small planes `(count, 8, 8)` whose first pixels are the bits of their number, in place of a map.

    Highdicom goes through all pixels many times, of fractions in floating point, and a volume has hundreds of planes;
    and in which order it writes them it says by their places alone.
    """
    pixels = np.zeros((count, _SIDE, _SIDE), dtype=np.uint8)
    for number, plane in enumerate(pixels):
        plane.reshape(-1)[:_BITS] = np.unpackbits(np.array([number], dtype=">u4").view(np.uint8))
    return pixels


def _order(written: bytes, count: int, *, bits: bool) -> list[int]:
    """The numbers of the planes that `_numbered` made, in the order in which they lie, a bit or a byte for a pixel."""
    pixels = np.frombuffer(written, dtype=np.uint8)
    pixels = np.unpackbits(pixels, bitorder="little") if bits else pixels
    frames = pixels[: count * _SIDE * _SIDE].reshape(count, -1)
    return [int(np.packbits(frame[:_BITS] > 0).view(">u4")[0]) for frame in frames]


def _levels(job: Job, order: Sequence[int]) -> bytes:
    """The planes of the map in this order, in whole levels."""
    even = job.heatmap.size % 2  # PS3.5 section 8.1.1: of an even number of bytes
    levels = BytesIO(bytes(job.heatmap.size + even))  # as long as it will be: so its value is no copy
    for number in order:
        plane = job.heatmap[number]
        for rows in range(0, len(plane), _ROWS_AT_ONCE):
            scaled = plane[rows : rows + _ROWS_AT_ONCE] * np.float32(_LEVELS)
            levels.write(np.rint(scaled, out=scaled).astype(np.uint8))
    return levels.getvalue()


def _bits(job: Job, order: Sequence[int]) -> bytes:
    """The planes of the region in this order, a bit for each pixel, without a gap between planes (PS3.5 8.1.1)."""
    region = job.region()
    packed = np.packbits(region if list(order) == list(range(len(region))) else region[list(order)], bitorder="little")
    return packed.tobytes() + b"\0" * (packed.size % 2)


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
