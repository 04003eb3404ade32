"""The protocol of the published CF-CAM as a run of its own: to reproduce figures, not to judge methods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from cfcam.capture import Capture
from cfcam.capture.alone import mixed
from cfcam.maps import heatmaps_of, statuses_of
from cfcam.methods.base import Methods
from cfcam.metrics.functional import paper_protocol as paper
from cfcam.metrics.scorecard.batch import explained_probability, predicted
from cfcam.metrics.scorecard.catalogue import METRICS, PROTOCOL
from cfcam.metrics.scorecard.evaluator import Evaluator, check_labels
from cfcam.metrics.scorecard.samples import Row, Sample

NAME = "cfcam-paper"
COLUMNS = tuple(info for info in METRICS.values() if info.group == PROTOCOL)
"""The protocol's metrics: no part of "all", so that nobody gets them who does not ask for the protocol."""
WRONG = (
    "Average Drop blackens all where the map is 0.5 or less: the size of the region decides, the order in it does not"
    " count. A rise in probability is a negative drop without bound, so that one image can make up for many failures."
    "\n"
    "Average Increase compares with a blank, not with the image, so to mark everything is rewarded; and its grey is"
    " the colour before normalisation, put into an input after it."
    "\n"
    "Insertion and Deletion take equal values in the order of the rows: the many zeros of a map are an order too."
    "\n"
    "A map without evidence is averaged in as if it were one. The same names stand for other numbers in other papers."
).splitlines()
"""What is wrong with the protocol, as the page says it."""


class PaperEvaluator(Evaluator):
    """Measures by the published protocol; see `cfcam.metrics.functional.paper_protocol`.

    Args:
        model: see `Evaluator`.
        methods: see `Evaluator`.
        **settings: of `Evaluator`, without metrics. The predicted class is explained.
    """

    def __init__(self, model: nn.Module, methods: Methods, **settings: Any) -> None:
        super().__init__(model, methods, ("average-drop",), **settings)
        self.settings = replace(self.settings, metrics=tuple(info.name for info in COLUMNS))

    def __call__(self, samples: Sequence[Sample]) -> list[Row]:
        """Returns a row per sample and method; see `Evaluator`."""
        capture = self.capture(torch.stack([sample.image for sample in samples]), None)
        if mixed(capture):
            return [row for sample in samples for row in self([sample])]
        check_labels((sample.label for sample in samples), max(2, capture.logits.shape[1]))
        probability, answers = explained_probability(capture), predicted(capture.logits).tolist()
        background = _score(capture, paper.paper_background(capture.input))
        rows = []
        for method, maps in self.maps(capture).items():
            heat = heatmaps_of(maps, capture.input.shape[2:], capture.placement(maps.shape[2:]))[:, 0]
            columns = self._columns(capture, heat, probability, background)
            for n, sample in enumerate(samples):
                values = {name: float(column[n]) for name, column in columns.items()}
                rows.append(
                    Row(
                        image=sample.name,
                        method=method,
                        target=answers[n],
                        target_name=self.classes[answers[n]] if self.classes else f"class {answers[n]}",
                        probability=float(probability[n]),
                        status=str(statuses_of(maps)[n, 0]),
                        values={name: value for name, value in values.items() if math.isfinite(value)},
                        correct=None if sample.label is None else answers[n] == sample.label,
                        patient=sample.patient,
                        group=sample.group,
                    )
                )
        return rows

    def _columns(self, capture: Capture, heat: Tensor, probability: Tensor, background: Tensor) -> dict[str, Tensor]:
        """Returns metric -> (N,) values of maps (N, *spatial), which are 0 where there is no evidence."""
        x, size = capture.input, self.settings.passes_at_once

        def score(inputs: Tensor, images: Tensor) -> Tensor:
            return capture.rescore(inputs, images, probability=True)[:, 0]

        masked = _score(capture, paper.paper_masked_input(x, heat, x.new_tensor(self.settings.black)))
        inserted = _score(capture, paper.paper_inserted_input(x, heat))
        insertion, deletion = (
            paper.paper_auc(paper.paper_curve(score, x, heat, mode, batch_size=size))
            for mode in ("insertion", "deletion")
        )
        return {
            "paper-average-drop": paper.paper_average_drop(probability, masked),
            "paper-average-increase": paper.paper_average_increase(background, inserted),
            "paper-insertion": insertion,
            "paper-deletion": deletion,
        }


def _score(capture: Capture, x: Tensor) -> Tensor:
    """Returns (N,) the explained class's probability for one changed input of each image (N, C, *spatial)."""
    return capture.rescore(x, torch.arange(len(x), device=x.device), probability=True)[:, 0]
