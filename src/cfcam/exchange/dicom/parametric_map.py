"""The map itself as a DICOM Parametric Map with 32 bit floating point pixels (PS3.3 A.75): no value is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cfcam.errors import InputError
from cfcam.exchange.dicom.anatomy import frame_anatomy
from cfcam.exchange.dicom.job import RESEARCH, Job, code
from cfcam.exchange.dicom.sources import missing_place, modality_of

if TYPE_CHECKING:
    from pydicom import Dataset


def parametric_map(job: Job) -> Dataset:
    """Return the map as a Parametric Map, bit for bit.

    Raises:
        InputError: the source has no place in a Frame of Reference, which this object cannot be without.
    """
    check_place(job)
    from highdicom import VOILUTTransformation
    from highdicom.pm import ParametricMap, RealWorldValueMapping
    from pydicom.sr.codedict import codes

    low, high = float(job.heatmap.min()), float(job.heatmap.max())
    mapping = RealWorldValueMapping(
        lut_label="activation",
        lut_explanation="Class activation, as stored",
        unit=codes.UCUM.NoUnits,
        value_range=(low, high),
        slope=1.0,
        intercept=0.0,
        quantity_definition=code("activation", "Class activation"),
    )
    dataset = ParametricMap(
        job.sources,
        job.heatmap,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[VOILUTTransformation(0.5, 1.0)],
        content_label="CLASS_ACTIVATION",
        content_description=RESEARCH[:64],
        **job.common("pm"),
    )
    _order_frames(dataset)
    # Of type U in this object (PS3.3 A.75.4), but readers such as dcmqi, and with it 3D Slicer, give up without it.
    dataset.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [frame_anatomy(job.sources[0])]
    return job.finish(dataset, "pm")


def _order_frames(dataset: Any) -> None:
    """Puts the planes along the normal of their rows and columns, the way in which dcmqi takes them to be stored.

    Each frame says where it lies, in any order (PS3.3 C.7.6.17). But highdicom 0.28 stores them from the other end, and
    dcmqi 1.5.7 does not look: 3D Slicer would show the map upside down.
    """
    frames = list(dataset.PerFrameFunctionalGroupsSequence)
    places = np.array([frame.PlanePositionSequence[0].ImagePositionPatient for frame in frames], dtype=np.float64)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    axes = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=np.float64)
    order = np.argsort(places @ np.cross(axes[:3], axes[3:]), kind="stable")
    pixels = np.frombuffer(dataset.FloatPixelData, "<f4").reshape(len(frames), -1)
    dataset.FloatPixelData = pixels[order].tobytes()
    dataset.PerFrameFunctionalGroupsSequence = [frames[n] for n in order]
    for number, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence, 1):
        frame.FrameContentSequence[0].DimensionIndexValues = [number]  # of the position, the only dimension


def check_place(job: Job) -> None:
    """Raise an `InputError` where a plane has no place in space."""
    if missing := missing_place(job.originals):
        modality = modality_of(job.sources[0])
        raise InputError(
            f"pm: a Parametric Map needs a Frame of Reference with a place for each plane, and the source ({modality})"
            f" has no {', '.join(missing)}; write seg, whose fractions keep the map to 1/510"
        )
