"""Numbers of a whole data set, made from what its rows carry: so a run that was stopped can go on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

from cfcam.metrics.functional import sanity, trust
from cfcam.metrics.scorecard.samples import Row, unpacked

_CASES = 500  # of a class; more do not change a mean over pairs, and need its square in memory


def max_box_acc(rows: Sequence[Row]) -> tuple[float, int]:
    """Returns MaxBoxAcc v2: the best threshold for each IoU level over all images, averaged; and the images."""
    tables = [row.extra["max-box-acc"] for row in rows if row.extra.get("max-box-acc") is not None]
    if not tables:
        return math.nan, 0
    known = np.array(tables, dtype=np.float64)
    return float(known.mean(0).max(0).mean()), len(tables)


def c_score(rows: Sequence[Row]) -> tuple[float, int]:
    """Returns the consistency over correctly classified images, class by class, averaged; and the images."""
    cases: dict[int, list[Row]] = {}
    for row in rows:
        if row.correct and "map" in row.extra:
            cases.setdefault(row.target, []).append(row)
    scores, count = [], 0
    for same in cases.values():
        chosen = same[:_CASES]
        shapes = {tuple(row.extra["map"]["shape"]) for row in chosen}
        if len(chosen) < 2 or len(shapes) > 1:
            continue
        maps = torch.stack([unpacked(row.extra["map"]) for row in chosen])
        value, n = trust.c_score(maps, torch.tensor([row.probability for row in chosen]))
        scores.append(float(value))
        count += n
    return (float(np.mean(scores)), count) if scores else (math.nan, 0)


def mprt_passed(rows: Sequence[Row]) -> tuple[float, int]:
    """Returns the share of images whose fully randomised map is less like theirs than maps of other images are."""
    known = [row for row in rows if "mprt" in row.extra]
    shapes = {tuple(row.extra["map"]["shape"]) for row in known}
    if len(known) < 3 or len(shapes) > 1:
        return math.nan, 0
    maps = torch.stack([unpacked(row.extra["map"]) for row in known])
    limit = float(sanity.random_similarity(maps, similarity="soft_iou"))
    last = np.array([row.extra["mprt"][-1] for row in known], dtype=np.float64)
    last = last[np.isfinite(last)]
    return (float((last < limit).mean()), len(last)) if len(last) else (math.nan, 0)


NUMBERS: dict[str, Callable[[Sequence[Row]], tuple[float, int]]] = {
    "max-box-acc": max_box_acc,
    "c-score": c_score,
    "mprt-passed": mprt_passed,
}
