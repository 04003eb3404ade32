"""The map itself as a DICOM Parametric Map with 32 bit floating point pixels (PS3.3 A.75): no value is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cfcam.errors import InputError
from cfcam.exchange.job import RESEARCH, Job, code
from cfcam.exchange.sources import is_projection

if TYPE_CHECKING:
    from pydicom import Dataset


def parametric_map(job: Job) -> Dataset:
    """Return the map as a Parametric Map, bit for bit.

    Raises:
        InputError: the source has no Frame of Reference, which this object cannot be without.
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
    return job.finish(dataset, "pm")


def check_place(job: Job) -> None:
    """Raise an `InputError` where the source has no place in space."""
    source = job.sources[0]
    if is_projection(source):
        raise InputError(
            f"pm: a Parametric Map needs a Frame of Reference, which the source ({source.Modality}) has not; write seg,"
            " whose fractions keep the map to 1/510"
        )
