"""A live explanation as a map of its study: kept as the layer gave it, laid onto the source when it is looked at."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from cfcam.clinical.regions import threshold_value
from cfcam.exchange.dicom.origin import placed
from cfcam.explanation import Explanation
from cfcam.imaging import Image, Volume
from cfcam.jobs.study.explained import WayBack, way_back
from cfcam.maps import Status
from cfcam.web.library import facts
from cfcam.web.library.maps import Heat, StudyMap
from cfcam.web.live.engine import LiveEngine, content_of
from cfcam.web.schemas import MapKind, Peak

RULE = "otsu"
"""By which the region of a live map is cut, as ``cfcam explain`` does unless it is told otherwise."""


def study_map(
    engine: LiveEngine, image: Image | Volume, explanation: Explanation, *, kind: MapKind = "evidence", seconds: float
) -> StudyMap:
    """Returns a map of a study.

    What is kept is the map of the layer's few cells; the map on the source's grid is made of it whenever it is asked
    for, and is the same each time.

    Args:
        engine: what explained it.
        image: of the study.
        explanation: of one image, one class and one method.
        kind: what the map shows.
        seconds: that it took.
    """
    preprocess = engine.preprocess(image)
    back = way_home(preprocess, image)

    def heat() -> Heat:
        found: Heat = back(explanation.heatmaps(explanation.methods[0])[0, 0]).numpy()
        return found

    return map_of(
        image,
        explanation,
        heat,
        key=map_id(
            content_of(image),
            explanation.provenance["model"],
            explanation.provenance["methods"],
            [int(explanation.targets[0, 0]), explanation.label(0, 0)],
            explanation.layer,
            preprocess.as_dict(),
            explanation.provenance.get("windows"),
            kind,
        ),
        kind=kind,
        seconds=seconds,
    )


def map_of(
    image: Image | Volume,
    explanation: Explanation,
    heat: Callable[[], Heat],
    *,
    key: str,
    kind: MapKind,
    seconds: float,
) -> StudyMap:
    """Returns a map of a study whose values are made by ``heat``; the other facts are those of an explanation.

    Args:
        image: of the study.
        explanation: of one image, one class and one method.
        heat: makes the map on the source's grid.
        key: id of the map.
        kind: what the map shows.
        seconds: that it took.
    """
    method = explanation.methods[0]
    status = explanation.status[method][0, 0]
    threshold, peak, values = None, None, heat()
    if status == Status.OK:
        threshold, peak = cut_and_peak(values, image)
    return StudyMap(
        id=key,
        method=method,
        class_index=int(explanation.targets[0, 0]),
        class_name=explanation.label(0, 0),
        heat=Handed(heat, values) if values.ndim == 3 else heat,
        probability=explanation.probability(0, 0),
        margin=explanation.margin(0, 0),
        status=str(status),
        layer=explanation.layer,
        threshold=threshold,
        rule=RULE,
        peak=peak,
        scale_group=scale_group(explanation),
        scale_max=float(explanation.scales(method)[0, 0]) if status == Status.OK else None,
        kind=kind,
        seconds=round(seconds, 4),
        source="live",
        about=explanation,
    )


def scale_group(explanation: Explanation) -> str:
    """Returns a name of the unit of a map: evidence of one method, at one layer of one network, has one."""
    made = explanation.provenance
    parts = [made["model"], made["methods"], explanation.layer]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=_plain).encode()).hexdigest()[:12]


class Handed:
    """A map that was just made, given to the first who asks; those after him have it made again.

    So a volume's map is made once to be measured and sent, and 300 MB of it are not held afterwards.

    Args:
        make: makes the map.
        made: by it.
    """

    def __init__(self, make: Callable[[], Heat], made: Heat) -> None:
        self._make, self._made = make, [made]
        self._lock = threading.Lock()

    def __call__(self) -> Heat:
        """Returns the map."""
        with self._lock:
            if self._made:
                return self._made.pop()
        return self._make()


def cut_and_peak(values: Heat, image: Image | Volume, rule: str = RULE) -> tuple[float | None, Peak | None]:
    """Returns where a rule cuts a map, and where it is hottest; the numbers of `cfcam.clinical.regions.measure`.

    Args:
        values: the map on the source's grid.
        image: the source.
        rule: see `measure`.
    """
    missing = image.missing if isinstance(image, Volume) else None
    seen = values if missing is None else np.where(missing, np.float32(0), values)
    threshold = threshold_value(torch.from_numpy(seen if missing is None else seen[~missing]), rule)
    if threshold is None:
        return None, None
    index = np.unravel_index(int(seen.argmax()), seen.shape)
    return threshold, peak_at(tuple(int(i) for i in index), image)


def peak_at(index: tuple[int, ...], image: Image | Volume) -> Peak:
    """Returns a place of a picture or volume in all the ways in which it is known."""
    affine = placed(image)
    steps, mm, patient = image.spacing, None, None
    if affine is not None:
        steps = steps or tuple(np.linalg.norm(affine[:3, : len(index)], axis=0).tolist())
        patient = (affine @ np.array([*index, *[0] * (3 - len(index)), 1.0]))[:3].tolist()
    if steps is not None:
        mm = [i * step for i, step in zip(index, steps, strict=True)]
    return Peak(index=list(index), mm=mm, patient=patient)


def map_id(*parts: Any) -> str:
    """Returns the id of a map: the same parts, the same id."""
    told = json.dumps(parts, sort_keys=True, default=_plain)
    return f"m-{hashlib.sha256(told.encode()).hexdigest()[:12]}"


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else str(value)


def way_home(preprocess: Any, image: Image | Volume) -> WayBack:
    """Returns the `way_back` of a map, which is kept with it: without the voxels, unless the way itself needs them.

    nnU-Net cuts a volume to what is not 0, and a bundle's transforms may do anything with values.
    """
    return way_back(preprocess, image if getattr(preprocess, "by", "") else without_values(image))


def without_values(image: Image | Volume) -> Image | Volume:
    """Returns a volume of the same grid and place whose voxels are all 0 and take no memory; a picture as it is."""
    return image if isinstance(image, Image) else facts.without_values(image)
