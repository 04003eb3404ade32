"""Numbers as a DICOM Comprehensive 3D SR after template TID 1500 (PS3.16), tied to the region they were taken from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from cfcam._version import __version__
from cfcam.errors import InputError
from cfcam.exchange.dicom.job import MANUFACTURER, RESEARCH, SCHEME, Job, class_code
from cfcam.exchange.dicom.uids import derived_uid
from cfcam.imaging.reading.dicom import measured_of

if TYPE_CHECKING:
    from pydicom import Dataset

    from cfcam.clinical.checks.peak_stability import PeakStability
    from cfcam.clinical.regions import Region
    from cfcam.imaging.measured import Measured


class Quantity(NamedTuple):
    """How a number is coded: value, scheme and meaning of its name, UCUM unit."""

    value: str
    scheme: str
    meaning: str
    unit: str


MEASUREMENTS: dict[str, Quantity] = {
    "area_mm2": Quantity("42798000", "SCT", "Area", "mm2"),
    "volume_mm3": Quantity("118565006", "SCT", "Volume", "mm3"),
    "mean": Quantity("373098007", "SCT", "Mean", "1"),
    "sd": Quantity("386136009", "SCT", "Standard Deviation", "1"),
    "max": Quantity("56851009", "SCT", "Maximum", "1"),
    "energy_share": Quantity("energy-share", SCHEME, "Share of the map's energy in the region", "1"),
    "components": Quantity("components", SCHEME, "Number of connected regions", "1"),
    "pixels": Quantity("pixels", SCHEME, "Number of pixels in the region", "1"),
    "peak_stayed": Quantity("peak-stayed", SCHEME, "Small motions under which the peak stays", "1"),
    "peak_motions": Quantity("peak-motions", SCHEME, "Small motions that were tried", "1"),
    "peak_column": Quantity("peak-column", SCHEME, "Column of the peak, from 0", "1"),
    "peak_row": Quantity("peak-row", SCHEME, "Row of the peak, from 0", "1"),
    "peak_x_mm": Quantity("peak-x", SCHEME, "Peak, patient x (to the left, LPS)", "mm"),
    "peak_y_mm": Quantity("peak-y", SCHEME, "Peak, patient y (to posterior, LPS)", "mm"),
    "peak_z_mm": Quantity("peak-z", SCHEME, "Peak, patient z (to the head, LPS)", "mm"),
    "centroid_x_mm": Quantity("centroid-x", SCHEME, "Centroid, patient x (to the left, LPS)", "mm"),
    "centroid_y_mm": Quantity("centroid-y", SCHEME, "Centroid, patient y (to posterior, LPS)", "mm"),
    "centroid_z_mm": Quantity("centroid-z", SCHEME, "Centroid, patient z (to the head, LPS)", "mm"),
}
"""The numbers that a report can hold, by name."""

PROBABILITY = Quantity("probability", SCHEME, "Probability of the class, as the model gives it", "1")
"""The number that belongs to a class rather than to a region."""

_UNITS = {"1": "no units", "mm": "millimeter", "mm2": "square millimeter", "mm3": "cubic millimeter"}


def measurements_of(region: Region, stability: PeakStability | None = None) -> dict[str, float]:
    """Return the numbers of a region for a report; places in the patient become LPS, as everywhere in DICOM.

    Args:
        region: from `cfcam.clinical.regions.measure`, with the threshold that `write_objects` is given.
        stability: of the map's peak; None: not measured, which the report then says of its place.
    """
    found: dict[str, float | None] = {
        {"mm²": "area_mm2", "mm³": "volume_mm3"}.get(region.unit, "pixels"): region.size,
        "components": region.components,
        "mean": region.mean,
        "sd": region.sd,
        "max": region.maximum,
        "energy_share": region.energy,
    }
    if region.peak is not None and len(region.peak) == 2:
        found["peak_row"], found["peak_column"] = region.peak
    if stability is not None:
        found |= {"peak_stayed": stability.stayed, "peak_motions": stability.motions}
    for name, place in (("peak", region.peak_patient), ("centroid", region.centroid_patient)):
        if place is not None:
            found |= {f"{name}_{axis}_mm": sign * mm for axis, sign, mm in zip("xyz", (-1, -1, 1), place, strict=True)}
    return {name: float(value) for name, value in found.items() if value is not None}


def steady_of(measurements: Mapping[str, float] | None) -> tuple[float, float] | None:
    """Return under how many of how many small motions the peak stays, if that is among the numbers."""
    found = measurements or {}
    return (found["peak_stayed"], found["peak_motions"]) if {"peak_stayed", "peak_motions"} <= set(found) else None


def structured_report(job: Job, region: Dataset, measurements: Mapping[str, float]) -> Dataset:
    """Return a report of the probability and of numbers of the region.

    Args:
        job: the map.
        region: the binary Segmentation that the numbers were taken from.
        measurements: numbers by their names in `MEASUREMENTS`.

    Raises:
        InputError: an unknown or not finite number, or neither numbers nor a probability.
    """
    from highdicom.sr import Comprehensive3DSR, MeasurementReport
    from pydicom.sr.codedict import codes

    numbers = _measurements(job, measurements)
    report = MeasurementReport(
        observation_context=observation_context(job),
        procedure_reported=codes.SCT.ImagingProcedure,
        imaging_measurements=[_group(job, region, numbers)],
        title=codes.DCM.ImagingMeasurementReport,
    )
    # Partial, preliminary and unverified, as highdicom has it: nobody has looked at these numbers.
    dataset = Comprehensive3DSR(evidence=[*job.sources, region], content=hollow(report[0]), **job.common("sr"))
    dataset.ContentSequence = report[0].ContentSequence
    dataset.CompletionFlagDescription = RESEARCH[:64]
    return job.finish(dataset, "sr")


def hollow(root: Dataset) -> Dataset:
    """Return the root of a document's content without what is below it, for what looks through all of that twice.

    highdicom copies the content, and searches it for objects that are not among the evidence: a fifth of the time that
    all objects of a radiograph take.
    """
    from pydicom import Dataset

    found = Dataset({element.tag: element for element in root if element.keyword != "ContentSequence"})
    found.ContentSequence = []
    return found


def _measurements(job: Job, measurements: Mapping[str, float]) -> list[Any]:
    unknown = sorted(set(measurements) - set(MEASUREMENTS))
    if unknown:
        raise InputError(f"sr: no measurement is called {unknown[0]!r}; there are {', '.join(MEASUREMENTS)}")
    bad = [name for name, value in measurements.items() if not math.isfinite(value)]
    if bad:
        raise InputError(f"sr: the measurement {bad[0]} is {measurements[bad[0]]}: leave out what is not a number")
    at = measured_of(job.sources[0])
    numbers = probability_of(job) + [_measurement(MEASUREMENTS[name], float(v), at) for name, v in measurements.items()]
    if not numbers:
        raise InputError("sr: there is neither a probability nor a measurement to report; give one of them")
    return numbers


def probability_of(job: Job) -> list[Any]:
    """Return the measurement of the class's probability; nothing where the model gives none."""
    known = job.result.probability
    return [] if known is None else [_measurement(PROBABILITY, known)]


def _measurement(quantity: Quantity, value: float, measured: Measured | None = None) -> Any:
    from highdicom.sr import CodedConcept, Measurement

    told = None
    if measured is not None and quantity.unit in ("mm", "mm2"):  # of a radiograph mm are seldom those in the patient
        told = CodedConcept(f"mm-{measured.name.lower()}", SCHEME, f"Millimetres {measured}")
    return Measurement(
        name=CodedConcept(quantity.value, quantity.scheme, quantity.meaning),
        value=float(f"{value:.9g}"),
        unit=CodedConcept(quantity.unit, "UCUM", _UNITS[quantity.unit]),
        method=told,
    )


def _group(job: Job, region: Dataset, numbers: list[Any]) -> Any:
    from highdicom import sr

    shared = group_of(job, {"threshold": f"{job.threshold:g}", "peak": job.steadiness}) | {"measurements": numbers}
    images = [sr.SourceImageForSegmentation.from_source_image(source) for source in job.sources]
    if len(job.heatmap) > 1:
        segment = sr.ReferencedSegment(region.SOPClassUID, region.SOPInstanceUID, 1, source_images=images)
        return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_segment=segment, **shared)
    frame = sr.ReferencedSegmentationFrame(region.SOPClassUID, region.SOPInstanceUID, 1, 1, images[0])
    # PS3.3 C.17.4: frame and segment number exclude each other; highdicom writes both.
    del frame[0].ReferencedSOPSequence[0].ReferencedSegmentNumber
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(referenced_segment=frame, **shared)


def group_of(job: Job, settings: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return what every measurement group on a map says: which finding it tracks, of which class, by what algorithm.

    Args:
        job: the map.
        settings: what is said of the algorithm beside the settings of the result.
    """
    from highdicom import sr

    result = job.result
    return {
        "tracking_identifier": sr.TrackingIdentifier(uid=job.tracking_uid(), identifier=job.tracking_identifier()),
        "finding_type": class_code(result),
        "algorithm_id": sr.AlgorithmIdentification(
            name=result.model_name,
            version=result.model_version,
            parameters=[f"{name}: {value}" for name, value in (result.settings() | dict(settings or {})).items()],
        ),
    }


def observation_context(job: Job, person: str = "") -> Any:
    """Return who observed what a report says: the network (TID 1004), and a person by name (TID 1003) if there is one.

    Args:
        job: the map.
        person: the name as DICOM writes names (PS3.5 6.2, PN).
    """
    from highdicom import sr
    from pydicom.sr.codedict import codes

    device = sr.DeviceObserverIdentifyingAttributes(
        uid=derived_uid("device", __version__, job.result.weights_sha256),
        name="cfcam",
        manufacturer_name=MANUFACTURER,
        model_name=job.result.model_name,
        serial_number=job.result.weights_sha256,
    )
    who: Any = None
    if person:
        named = sr.PersonObserverIdentifyingAttributes(name=person)
        who = sr.ObserverContext(codes.DCM.Person, observer_identifying_attributes=named)
    return sr.ObservationContext(
        observer_person_context=who,
        observer_device_context=sr.ObserverContext(codes.DCM.Device, observer_identifying_attributes=device),
    )
