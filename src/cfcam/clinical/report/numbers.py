"""The numbers of a study as plain values: what is attached to the PDF, and what other programs read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from cfcam.clinical.report.words import RESEARCH, doubt
from cfcam.clinical.review import values_sha256
from cfcam.clinical.study_result import MapResult, StudyResult, Uncertainty
from cfcam.clinical.where import directions_of, steadiness, where
from cfcam.errors import InputError

FORMAT = 1

_hashes: WeakKeyDictionary[MapResult, str] = WeakKeyDictionary()  # of a volume that takes a while, and is asked often


def study_numbers(study: StudyResult) -> dict[str, Any]:
    """Returns everything of a study but its pictures, as plain values that JSON takes.

    Regions are those of `RegionTable.as_dict`, unrounded. A number that is not finite becomes None.

    Args:
        study: the study.

    Raises:
        InputError: provenance or parameters hold something that is no plain value.
    """
    spacing, affine = study.spacing, study.affine
    numbers = {
        "format": FORMAT,
        "use": RESEARCH,
        "name": study.name,
        "pseudonym": study.pseudonym,
        "modality": study.modality,
        "source": {
            "sha256": study.source_sha256,
            "shape": list(study.picture.shape),
            "spacing_mm": spacing,
            "measured": study.measured,
            "affine_ras": None if affine is None else affine.tolist(),
        },
        "directions": directions_of(study),
        "study": None if study.origin is None else study.origin.as_dict(),
        "model": {
            "name": study.model.name,
            "version": study.model.version,
            "weights_sha256": study.model.weights_sha256,
            "layer": study.model.layer,
            "classes": study.model.classes,
        },
        "probabilities": study.probabilities,
        "maps": [_of_map(study, one) for one in study.maps],
        "checks": [check.as_dict() for check in study.checks],
        "uncertainty": [_of_uncertainty(one) for one in study.uncertainty],
        "limits": study.limits,
        "provenance": study.provenance,
        "record_id": study.record_id,
    }
    plain: dict[str, Any] = _plain(numbers, "study")
    return plain


def as_json(study: StudyResult) -> bytes:
    """Returns `study_numbers` as the bytes of a JSON file."""
    text = json.dumps(study_numbers(study), indent=2, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def _of_map(study: StudyResult, one: MapResult) -> dict[str, Any]:
    return {
        "method": one.method,
        "parameters": one.parameters,
        "class_index": one.class_index,
        "class_name": one.class_name,
        "probability": one.probability,
        "margin": one.margin,
        "status": one.status,
        "map_sha256": _hash_of(one),
        "where": where(study, one),
        "peak": steadiness(study, one),
        "doubt": doubt(study, one),
        "regions": one.regions.as_dict(),
    }


def _hash_of(one: MapResult) -> str:
    """By which a reader's answer names the map that was shown (`cfcam.clinical.review.values_sha256`)."""
    if (known := _hashes.get(one)) is None:
        known = _hashes[one] = values_sha256(one.heatmap)
    return known


def _of_uncertainty(one: Uncertainty) -> dict[str, Any]:
    names = (
        "source",
        "samples",
        "method",
        "class_index",
        "class_name",
        "threshold",
        "agreement",
        "probability_mean",
        "probability_sd",
        "entropy",
        "mutual_information",
        "note",
    )
    return {name: getattr(one, name) for name in names}


def _plain(value: Any, where: str) -> Any:
    """A value as JSON takes it; `where` names it in the message."""
    if isinstance(value, Enum):
        return _plain(value.value, where)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(one, f"{where}, {name}") for name, one in value.items()}
    if isinstance(value, AbstractSet):
        return sorted((_plain(one, where) for one in value), key=str)
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [_plain(one, where) for one in value]
    raise InputError(f"{where}: a {type(value).__name__} is no plain value for a report; give text, numbers or lists")
