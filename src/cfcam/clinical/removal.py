"""What becomes of the explained score when a region is taken out of the image: the network itself is asked."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cfcam.clinical.checks.interventions import Inpaint, remove_artefact
from cfcam.errors import InputError
from cfcam.explainer import Explainer


class Removal:
    """Fills regions in from their surroundings, and says how far the score falls.

    A fall is no contribution: several regions may each be enough, and the filled image is one that the network was not
    trained on. Falls of regions need not add up to the score.

    Args:
        explainer: of the network.
        x: (1, C, *spatial), as the network takes it.
        targets: as for the explainer; None: the predicted class, which stays the one of the untouched image.
        target: column of the targets.
        inpaint: as `remove_artefact` takes it; "linear" by default, whose cost grows with the picture and not with the
            hole, for an organ is a large one.
        rim: how far around a region the image is filled in too, in positions.

    Raises:
        InputError: there is more than one image, or no such target.

    Example:
        >>> layers = [torch.nn.Conv2d(1, 2, 1), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
        >>> network = torch.nn.Sequential(*layers).requires_grad_(False)
        >>> _ = network[0].weight.fill_(1.0)
        >>> x = torch.zeros(1, 1, 4, 4)
        >>> x[0, 0, 0, 0] = 16.0
        >>> removal = Removal(Explainer(network, "grad-cam", layer="0"), x, 0)
        >>> round(removal(x[0, 0] > 0), 4)  # the mean of the 16 places falls by 1
        1.0
    """

    def __init__(
        self,
        explainer: Explainer,
        x: Tensor,
        targets: Any = None,
        *,
        target: int = 0,
        inpaint: Inpaint = "linear",
        rim: float = 0.0,
    ) -> None:
        if len(x) != 1:
            raise InputError(f"x holds {len(x)} images: give one, (1, C, *spatial)")
        self._capture, self._x = explainer.capture(x, targets), x
        if not 0 <= target < self._capture.scores.shape[1]:
            raise InputError(f"target {target}: there are {self._capture.scores.shape[1]}, counted from 0")
        self._target, self._inpaint, self._rim = target, inpaint, rim

    def __call__(self, mask: Tensor) -> float | None:
        """Returns how far the score falls without a region; None for an empty one, and one that is the whole image.

        Args:
            mask: (*spatial) bool, on the grid of the network's input.
        """
        return self.falls(mask)[self._target]

    def falls(self, mask: Tensor) -> list[float | None]:
        """Returns the same of each target, for one pass of the network."""
        before = self._capture.scores[0]
        if not bool(mask.any()) or bool(mask.all()):
            return [None] * len(before)
        changed = remove_artefact(self._x, mask.to(self._x.device), self._inpaint, self._rim)
        after = self._capture.rescore(changed, torch.zeros(1, dtype=torch.long, device=self._x.device))
        return [float(one) for one in before.double() - after[0].double()]
