"""Numbers of regions: what a map marks at a threshold, and what somebody drew."""

from __future__ import annotations

from dataclasses import replace

from fastapi import APIRouter

from cfcam.errors import InputError
from cfcam.web.library.cache import Cache
from cfcam.web.library.study import Study
from cfcam.web.live.schemas import Measured, Region
from cfcam.web.routes.parts import TheLibrary

router = APIRouter(prefix="/api", tags=["numbers"])


@router.post("/roi")
def roi(asked: Region, library: TheLibrary) -> Measured:
    """Measures a map's region, and one drawn by hand, in mm where the spacing is known.

    A polygon on a slice of a volume is measured on this slice (areas); with `slices` in all of these (volumes).
    """
    return measured(library.find(asked.study), asked, library.cache)


def measured(study: Study, asked: Region, cache: Cache) -> Measured:
    """Measures a region of a map of a study.

    Raises:
        CfcamError: there is no such map, or the threshold, the polygon or the slice does not fit.
    """
    import torch

    from cfcam.clinical.regions import threshold_value
    from cfcam.exchange.dicom.origin import placed
    from cfcam.imaging import Volume
    from cfcam.web.live.regions import DRAWN, Field, axis_of, filled, outlines, stacked

    found, image = study.map(asked.map), study.grid() if study.kind == "volume" else study.image()
    if found.kind == "difference":
        raise InputError("a difference has two signs and no region: its numbers are those of the comparison")
    missing = image.missing if isinstance(image, Volume) else None
    heat = cache.get((study.id, "heat", found.id), found.heat, lambda values: values.nbytes)
    whole = field = Field(heat, image.spacing, placed(image), missing, image.measured)
    rule = asked.threshold if asked.threshold is not None else found.rule or "otsu"
    threshold = found.threshold if asked.threshold is None and found.threshold is not None else rule
    if isinstance(image, Volume) and asked.slice is not None:
        axis = axis_of(asked.plane, image.affine, placed=image.placed)
        field = whole.slice_of(axis, asked.slice)
        if isinstance(threshold, str) and asked.polygon is not None:  # of the map, not of this slice of it
            cut = heat if missing is None else heat[~missing]
            threshold = threshold_value(torch.from_numpy(cut), threshold) or threshold
    drawn = None
    if asked.polygon is not None:
        if field.heat.ndim != 2:
            raise InputError("a polygon on a volume: say on which slice it was drawn (plane, slice)")
        drawn = filled(asked.polygon, (field.heat.shape[0], field.heat.shape[1]))
    mask, of = drawn, whole if drawn is None else field
    if drawn is not None and asked.slices is not None and field is not whole:
        mask, of = stacked(drawn, heat.shape, axis, asked.slices), whole
    table = replace(of.table(threshold, mask), rule=str(rule))
    lines = {}
    if field.heat.ndim == 2:
        lines["map"] = [] if table.threshold is None else outlines(field.heat, table.threshold)
        if drawn is not None:
            lines[DRAWN] = outlines(drawn)
    return Measured(table=table.as_dict(), outlines=lines, text=table.to_text())
