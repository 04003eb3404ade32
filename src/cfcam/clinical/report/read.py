"""The numbers of a study read back from the file that ``cfcam explain`` writes, for what is made of it later."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cfcam import json_text
from cfcam.clinical.checks.peak_stability import PeakStability
from cfcam.clinical.regions import Region, RegionTable
from cfcam.clinical.report.numbers import FORMAT
from cfcam.clinical.study_result import MapResult, ModelIdentity, StudyResult
from cfcam.errors import InputError

Numbers = Mapping[str, Any]
"""What `cfcam.clinical.report.study_numbers` returns."""

ENDING = "_regions.json"
"""What the file is called behind the name of its study."""

_LARGEST = 256 * 2**20
_NEEDED = {"name": str, "source": dict, "model": dict, "maps": list, "checks": list, "uncertainty": list,
           "limits": list, "provenance": dict}  # fmt: skip


def read_study(path: Path) -> Numbers:
    """Reads the numbers of a study, from ``NAME_regions.json`` or the ``study.json`` that is attached to a PDF.

    Raises:
        InputError: it cannot be read, or is another kind of file.
    """
    then = f"give the NAME{ENDING} that cfcam explain --regions writes"
    return checked(json_text.read(path, then=then, largest=_LARGEST), path.name)


def checked(found: Any, shown: str) -> Numbers:
    """Returns values if they are the numbers of a study.

    Args:
        found: the values.
        shown: what the message calls them.

    Raises:
        InputError: they are not, or are written in a form that this version does not know.
    """
    ours = isinstance(found, dict) and all(isinstance(found.get(name), kind) for name, kind in _NEEDED.items())
    if not ours:
        raise InputError(
            f"{shown}: holds no numbers of a study; give the NAME{ENDING} that cfcam explain --regions writes"
        )
    if found.get("format") != FORMAT:
        raise InputError(
            f"{shown}: is written in form {found.get('format')!r}, and this version reads {FORMAT}: explain anew"
        )
    return found


def result_of(study: Numbers, number: int) -> StudyResult:
    """Returns a result with one of its maps, without pictures: these are in no numbers, and have no pixel here.

    Args:
        study: the numbers.
        number: of the map in them.
    """
    model, one = study["model"], study["maps"][number]
    nothing = np.zeros((0, 0), np.float32)
    return StudyResult(
        name=study["name"],
        picture=nothing,
        source_sha256=study["source"]["sha256"],
        model=ModelIdentity(**{**model, "classes": tuple(model["classes"])}),
        probabilities=study["probabilities"],
        maps=(
            MapResult(
                method=one["method"],
                class_index=one["class_index"],
                class_name=one["class_name"],
                probability=one["probability"],
                status=one["status"],
                heatmap=nothing,
                regions=_table(one["regions"]),
                parameters=one["parameters"],
                margin=one["margin"],
            ),
        ),
        pseudonym=study["pseudonym"],
        modality=study["modality"],
        limits=tuple(study["limits"]),
        provenance=study["provenance"],
        record_id=study["record_id"],
    )


def _table(values: Mapping[str, Any]) -> RegionTable:
    steady = values["stability"]
    return RegionTable(
        **{
            **values,
            "regions": tuple(Region(**one) for one in values["regions"]),
            "stability": None if steady is None else PeakStability(**steady),
        }
    )
