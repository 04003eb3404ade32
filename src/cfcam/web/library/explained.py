"""Maps of an `Explanation`, brought onto the grid of the study that it explains."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch

from cfcam.capture.layers.placement import upsampled
from cfcam.clinical.regions import threshold_value
from cfcam.clinical.review import map_id
from cfcam.errors import ImageError
from cfcam.explanation import Explanation, unique_columns
from cfcam.maps import Status
from cfcam.web.library.facts import Facts
from cfcam.web.library.maps import Heat, StudyMap
from cfcam.web.schemas import Peak

RULE = "otsu"
"""The rule of the threshold at which a map is outlined, see `cfcam.clinical.region_rule`."""

OntoGrid = Callable[[torch.Tensor], torch.Tensor]


def maps_of(
    explanation: Explanation,
    facts: Facts,
    onto: OntoGrid,
    *,
    key: str,
    source: Literal["file", "live"] = "file",
    seconds: float | None = None,
    box_of: Callable[[int], tuple[float, float, float, float] | None] = lambda k: None,
) -> Iterator[StudyMap]:
    """Yields the maps of the first image of an explanation, each class once.

    Args:
        explanation: of it.
        facts: of the study.
        onto: brings a map at the network's input size onto the study's grid.
        key: what tells maps of one study apart beside method, class and layer: the network and its settings.
        source: where the explanation came from.
        seconds: that it took.
        box_of: returns the box of a detector that is explained in a column of targets, in pixels of the picture.
    """
    for k in unique_columns(explanation):
        for method in explanation.methods:
            one = explanation.select(slice(0, 1), slice(k, k + 1), [method])
            yield replace(_map_of(one, method, facts, onto, key, source, seconds), box=box_of(k))


def _map_of(
    one: Explanation,
    method: str,
    facts: Facts,
    onto: OntoGrid,
    key: str,
    source: Literal["file", "live"],
    seconds: float | None,
) -> StudyMap:
    index, name, status = int(one.targets[0, 0]), one.label(0, 0), str(one.status[method][0, 0])

    def heat() -> Heat:
        if status != Status.OK:
            return np.zeros(facts.shape, np.float32)
        return _on_grid(onto(one.heatmaps(method)[0, 0].clamp(0, 1)), facts)  # which leaves their range nowhere

    def raw() -> Heat:
        return _on_grid(onto(upsampled(one.maps[method], one.input_size, one.placements.get(method))[0, 0]), facts)

    shown = heat() if status == Status.OK else None
    return StudyMap(
        id=map_id(facts.sha256, key, method, str(index), name if index < 0 else "", one.layer),
        method=method,
        class_index=index,
        class_name=name,
        heat=heat,
        raw=None if status == Status.NOT_FINITE else raw,
        probability=one.probability(0, 0),
        margin=one.margin(0, 0),
        status=status,
        layer=one.layer,
        threshold=None if shown is None else threshold_value(torch.from_numpy(shown), RULE),
        rule=RULE,
        peak=None if shown is None else peak_of(shown, facts),
        scale_max=_scale(one, method) if status == Status.OK else None,
        seconds=seconds,
        source=source,
        about=one,
    )


def peak_of(heat: Heat, facts: Facts) -> Peak | None:
    """Returns where a map on a study's grid is hottest; None if it is 0 everywhere."""
    at = np.unravel_index(int(heat.argmax()), heat.shape)
    if not heat[at] > 0:
        return None
    index = [int(n) for n in at]
    mm = None if facts.spacing is None else [n * step for n, step in zip(index, facts.spacing, strict=True)]
    patient = None
    if facts.affine is not None and facts.placed:
        place = facts.affine @ np.array([*index, *[0] * (3 - len(index)), 1.0])
        patient = [float(value) for value in place[:3]]
    return Peak(index=index, mm=mm, patient=patient)


def _scale(one: Explanation, method: str) -> float:
    positive = one.maps[method].clamp(min=0)
    return float(upsampled(positive, one.input_size, one.placements.get(method)).max())


def _on_grid(values: torch.Tensor, facts: Facts) -> Heat:
    found: Any = values.detach().float().cpu().numpy()
    if found.shape != facts.shape:
        raise ImageError(
            f"a map of {' x '.join(map(str, found.shape))} does not fit its picture of"
            f" {' x '.join(map(str, facts.shape))}: the picture was changed since; explain it again"
        )
    return found.astype(np.float32, copy=False)
