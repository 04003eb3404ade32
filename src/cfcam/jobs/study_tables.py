"""The regions of a study as one table."""

from __future__ import annotations

import csv
import io

from cfcam.clinical.study_result import StudyResult

_OF_MAP = ("method", "class", "class_index", "probability", "status")


def regions_csv(study: StudyResult) -> str:
    """Returns one line for each map and region, as `RegionTable.to_csv` writes them; what is unknown is empty."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    for n, one in enumerate(study.maps):
        header, *rows = csv.reader(io.StringIO(one.regions.to_csv()))
        if n == 0:
            writer.writerow([*_OF_MAP, *header])
        probability = "" if one.probability is None else f"{one.probability:.6g}"
        for row in rows:
            writer.writerow([one.method, one.class_name, one.class_index, probability, one.status, *row])
    return file.getvalue()
