"""What the network says of the picture under each map, with zeros or a baseline where the map leaves it out."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor

from cfcam.metrics.functional import faithfulness, perturbation
from cfcam.metrics.scorecard.batch import Batch, explained_probability
from cfcam.metrics.scorecard.catalogue import MASKED, ZEROS, columns

_OF_PROBABILITIES = {
    "average-drop": faithfulness.average_drop,
    "increase-in-confidence": faithfulness.increase_in_confidence,
    "average-gain": faithfulness.average_gain,
}
_OF_MAPS = ("coherency", "adcc", "arcc")


def assess_masked(batch: Batch, method: str) -> dict[str, Tensor]:
    """Enters `MASKED`, but for ARCC, and complexity: one pass a baseline, and one more map where coherency is needed.

    Returns:
        Baseline -> coherency (N,), as far as it was measured.
    """
    heat = batch.heatmaps[method]
    complexity = faithfulness.complexity(heat)
    batch.add(method, "complexity", complexity)
    coherencies = {}
    for kind in (None, *get_args(perturbation.Baseline)):
        shown = kind or ZEROS
        names = {metric: columns(metric)[shown] for metric in MASKED}
        if not batch.settings.wants(*names.values()):
            continue
        filling = None if kind is None else batch.filling(kind)
        seen = perturbation.masked_input(batch.x, heat.nan_to_num(), filling)
        if batch.settings.wants(*(names[metric] for metric in _OF_MAPS)):
            capture, maps = batch.again(seen, [method])
            masked = explained_probability(capture)
            coherencies[shown] = faithfulness.coherency(heat, batch.drawn(maps[method]))
            batch.add(method, names["coherency"], coherencies[shown])
        else:
            masked = batch.score(seen, torch.arange(len(seen), device=seen.device))
        masked = masked.masked_fill(~perturbation.has_evidence(heat), torch.nan)
        for metric, function in _OF_PROBABILITIES.items():
            batch.add(method, names[metric], function(batch.probability, masked))
        if shown in coherencies:
            drop = faithfulness.average_drop(batch.probability, masked)
            batch.add(method, names["adcc"], faithfulness.adcc(coherencies[shown], complexity, drop))
    return coherencies
