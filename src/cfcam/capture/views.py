"""Several versions of each image in one pass: what a method learns from views of an input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cfcam.capture.capture import Capture
from cfcam.capture.recording import Recording
from cfcam.capture.rescoring import Rescorer
from cfcam.capture.targets.scores import ImageScore, Scores
from cfcam.capture.together import Together


@dataclass(frozen=True)
class ViewScores(Scores):
    """The scores of V views of N images, row v * N + n: each view has its own, for a mask moves with its picture.

    Attributes:
        views: the scores of N images, view by view.
    """

    views: tuple[Scores, ...] = ()

    def __call__(
        self, output: object, logits: Tensor, images: Tensor | None = None, *, probability: bool = False
    ) -> Tensor:
        """Returns the scores (V * N, K), see `Scores`."""
        own = torch.arange(len(self.indices), device=self.indices.device) if images is None else images
        if not any(isinstance(function, ImageScore) for function in self.functions.values()):
            return super().__call__(output, logits, own, probability=probability)
        count = len(self.indices) // len(self.views)
        found = [view(output, logits, own % count, probability=probability) for view in self.views]
        return torch.stack(found)[own // count, torch.arange(len(own), device=own.device)]

    def select(self, columns: slice) -> ViewScores:
        """Returns the scores of some of the K columns."""
        kept = super().select(columns)
        views = tuple(view.select(columns) for view in self.views)
        return ViewScores(kept.indices, kept.functions, kept.probability, views)


def of_views(
    capture: Capture,
    key: object,
    versions: Callable[[], Tensor],
    targets: Sequence[Scores],
    layers: Sequence[str | nn.Module],
) -> list[Capture]:
    """Returns captures, one a layer, of V views of each of the N images of a capture: row v * N + n, in one pass.

    One backward pass for each target gives the gradients at all layers. The pass is shared by parts of the targets.

    Args:
        capture: of the images.
        key: of these views and layers among all that is asked of the capture.
        versions: gives the views (V * N, C, *spatial).
        targets: V times the K scores of the N images, as they are in each view.
        layers: names of different layers, or the modules.

    Raises:
        LayerError: see `Capture`.
    """
    first, count = capture._recording, len(capture.input)
    images = torch.arange(count, device=capture.input.device).repeat(len(targets))
    kept = targets[0]
    scores_of = ViewScores(kept.indices.repeat(len(targets), 1), kept.functions, kept.probability, tuple(targets))
    found = capture.network.find_each(layers)

    def scored(recording: Recording) -> Tensor:
        with torch.enable_grad():
            return scores_of(recording.answer.output, recording.answer.logits)

    def recorded() -> list[tuple[Recording, Rescorer]]:
        x = versions().to(capture.input)
        together = Recording.of_layers(first, found, scored, (x, images))
        return [(one, Rescorer(one, capture.autocast)) for one in together]

    with torch.inference_mode(False), capture.autocast():
        known = capture.memo(("views", key), recorded)
        scores = scored(known[0][0])
    together = (Together([one for one, _ in known], scores, capture.autocast), 0) if len(known) > 1 else None
    captures = []
    for one, rescorer in known:
        other = capture._copy()
        other.layer, other._module = one.layer, one.module
        other._recording, other._rescorer, other._memo = one, rescorer, {}
        other.targets, other._scores, other._together = scores_of, scores, together
        if (change := capture._change) is not None:  # what is done to gradients of N images, to those of each view
            other._change = lambda g, change=change: torch.cat([change(part) for part in g.split(count)])
        captures.append(other)
    return captures
