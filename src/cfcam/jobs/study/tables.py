"""The regions of a study as one table."""

from __future__ import annotations

import csv
import io

from cfcam.clinical.study_result import StudyResult
from cfcam.clinical.where import steadiness, where

_OF_MAP = ("method", "class", "class_index", "probability", "status")


def regions_csv(study: StudyResult) -> str:
    """Returns one line for each map and region, as `RegionTable.to_csv` writes them; what is unknown is empty."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    for n, one in enumerate(study.maps):
        header, *rows = csv.reader(io.StringIO(one.regions.to_csv()))
        if n == 0:
            writer.writerow([*_OF_MAP, *header, "where", "peak"])
        probability = "" if one.probability is None else f"{one.probability:.6g}"
        for number, row in enumerate(rows):  # the map's own region comes first; of masks' peaks no more is known
            known = ("", "") if number else (where(study, one), steadiness(study, one))
            writer.writerow([one.method, one.class_name, one.class_index, probability, one.status, *row, *known])
    return file.getvalue()
