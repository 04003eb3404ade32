"""TAM: where a language model's own reading of its image tokens speaks for a word, less what earlier words explain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from cfcam.capture import Capture
from cfcam.capture.half_precision import at_least_float32
from cfcam.capture.targets.tokens import Passages
from cfcam.errors import MethodError
from cfcam.methods.base import Method
from cfcam.methods.numbers import check_flags


class Everywhere(Protocol):
    """One image's logits at every place of its sequence.

    Attributes:
        logits: (L, vocabulary), what is predicted behind each place.
        image: (P,) places of the image tokens.
        ids: of the text's tokens before and in the text that is explained.
        places: of each, the place whose logits tell how it bears on a later token.
        start: how many of these stand before the text that is explained.
    """

    logits: Tensor
    image: Tensor
    ids: list[int]
    places: list[int]
    start: int


@dataclass(frozen=True)
class TAM(Method):
    """Token Activation Map: ``ReLU(A_i - s sum_j w_j A_j)``, smoothed by a rank Gaussian filter.

    ``A_i`` is the positive part of the logits of token i at the image tokens, read by the network's own last layer.
    ``w_j`` are the positive parts of the logits of token i at the earlier tokens of prompt and text, other than the
    same token, divided by their sum; ``s`` is the least-squares scale ``<A_i, B> / <B, B>`` of ``B = sum_j w_j A_j``.
    In a window of 3 x 3, sorted, the filter weighs ranks by a Gaussian about the median, as wide as the window's
    coefficient of variation. A word of several tokens has the sum of their maps.

    Only networks that read image tokens in one sequence with the text have it, at their image tokens. The map says what
    their readings look like, and not what made the word probable.

    Args:
        interference: whether what earlier tokens explain is taken away.
        smooth: whether the filter is applied.

    Source: Li et al. 2025, arXiv 2506.23270, section 3.
    """

    name: ClassVar[str] = "tam"
    cost: ClassVar[str] = "2"
    uses_gradients: ClassVar[bool] = False
    selective: ClassVar[bool] = True
    interference: bool = True
    smooth: bool = True

    def __post_init__(self) -> None:
        check_flags(self, "interference", "smooth")

    def __call__(self, capture: Capture) -> Tensor:
        """Returns maps (N, K, *layer_spatial), zero or positive."""
        everywhere = getattr(capture.network.model, "everywhere", None)
        if everywhere is None or capture.layer != getattr(capture.network.model, "layer", None):
            raise MethodError(
                "TAM maps the image tokens of networks that write (cfcam.explain_text), at the layer that is chosen for"
                " them: leave layer=... out, or take hires-cam"
            )
        found = cast("Callable[[Tensor], list[Everywhere]]", everywhere)(capture.given)
        return torch.cat([self._of_image(capture, n, one) for n, one in enumerate(found)])

    def _of_image(self, capture: Capture, image: int, found: Everywhere) -> Tensor:
        columns = []
        for k in range(capture.scores.shape[1]):
            score = capture.targets.functions.get(k)
            if not isinstance(score, Passages):
                raise MethodError("TAM maps tokens and words, and not one answer against another: take hires-cam")
            maps = [self._token(found, found.start + t) for t in range(*score.spans[image])]
            columns.append(torch.stack(maps).sum(0) if maps else found.logits.new_zeros(len(found.image)).float())
        tokens = torch.stack(columns, 1)[None]  # (1, P, K)
        own = capture.grid.maps(tokens)
        return rank_gaussian(own) if self.smooth else own

    def _token(self, found: Everywhere, at: int) -> Tensor:
        """Returns the map (P,) of the token that stands ``at`` a number among all of prompt and text."""
        own = found.ids[at]
        activation = at_least_float32(found.logits[found.image, own]).relu()
        earlier = [j for j in range(at) if found.ids[j] != own]
        if not self.interference or not earlier:
            return activation
        ids = torch.tensor([found.ids[j] for j in earlier], device=found.logits.device)
        places = torch.tensor([found.places[j] for j in earlier], device=found.logits.device)
        weights = at_least_float32(found.logits[places, own]).relu()
        others = at_least_float32(found.logits[found.image][:, ids]).relu()  # (P, earlier)
        context = others @ (weights / weights.sum().clamp(min=1e-8))
        energy = context @ context
        scale = (activation @ context) / energy if energy > 0 else 0.0
        return (activation - scale * context).relu()


def rank_gaussian(maps: Tensor) -> Tensor:
    """Returns maps (N, K, h, w), zero or positive, smoothed: each value is a weighted mean of its window's, sorted."""
    padded = F.pad(maps, (1, 1, 1, 1), mode="reflect" if min(maps.shape[-2:]) > 1 else "replicate")
    windows = padded.unfold(2, 3, 1).unfold(3, 3, 1).flatten(4).sort(-1).values
    mean = windows.mean(-1, keepdim=True)
    width = windows.std(-1, correction=0, keepdim=True) / mean.clamp(min=torch.finfo(maps.dtype).tiny)
    ranks = torch.arange(-4.0, 5.0, device=maps.device, dtype=maps.dtype)
    weights = torch.exp(-(ranks**2) / (2 * width.clamp(min=1e-6) ** 2))
    # Where there is nothing, there is nothing; what is no number stays none.
    return torch.where(mean[..., 0] == 0, 0, (windows * weights).sum(-1) / weights.sum(-1))
