"""What becomes of the explained score when a region is taken out of the image: the network itself is asked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cfcam.blending import Patch, Weight
from cfcam.clinical.checks.interventions import Inpaint, remove_artefact
from cfcam.errors import InputError
from cfcam.explainer import Explainer
from cfcam.explainer_windows import Windows, WindowScores


class Removal:
    """Fills regions in from their surroundings, and says how far the score falls.

    A fall is no contribution: several regions may each be enough, and the filled image is one that the network was not
    trained on. Falls of regions need not add up to the score.

    Args:
        explainer: of the network.
        x: (1, C, *spatial), as the network takes it.
        targets: as for the explainer; None: the predicted class, which stays the one of the untouched image.
        target: column of the targets.
        inpaint: as `remove_artefact` takes it; "linear" by default, which is quick in a hole as large as an organ.
        rim: how far around a region the image is filled in too, in positions.
        windows: as `explain_windows` took the image in. The score is that of its explanation, whose places and classes
            stay; only windows that a region touches are run again.
        weight: likewise.

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
        windows: Windows | None = None,
        weight: Weight = "gaussian",
    ) -> None:
        if len(x) != 1:
            raise InputError(f"x holds {len(x)} images: give one, (1, C, *spatial)")
        self._x, self._inpaint, self._rim = x, inpaint, rim
        self._scores = (
            _Whole(explainer, x, targets)
            if windows is None or windows.hold(x)
            else WindowScores(explainer, x, windows, targets, weight=weight)
        )
        if not 0 <= target < self._scores.count:
            raise InputError(f"target {target}: there are {self._scores.count}, counted from 0")
        self._target = target

    def __call__(self, mask: Tensor) -> float | None:
        """Returns how far the score falls without a region; None for an empty one, and one that is the whole image.

        Args:
            mask: (*spatial) bool, on the grid of the network's input.
        """
        return self.falls(mask)[self._target]

    def falls(self, mask: Tensor) -> list[float | None]:
        """Returns the same of each target."""
        return self.of_regions({"": mask})[""]

    def of_regions(self, masks: Mapping[str, Tensor]) -> dict[str, list[float | None]]:
        """Returns the same of each target for several regions, each taken out by itself; windows are run once for all.

        Args:
            masks: name -> (*spatial) bool.
        """
        taken = {name: self._filled(mask) for name, mask in masks.items() if 0 < int(mask.sum()) < mask.numel()}
        falls = dict(zip(taken, self._scores.falls(list(taken.values())).tolist(), strict=True)) if taken else {}
        return {name: falls.get(name, [None] * self._scores.count) for name in masks}

    def _filled(self, mask: Tensor) -> Patch:
        """The block of the image around a region, filled in: what the linear inpainting sees ends next to the hole."""
        if mask.dtype is not torch.bool or mask.shape != self._x.shape[2:]:
            raise InputError(
                f"a region {tuple(mask.shape)} of {mask.dtype} for x {tuple(self._x.shape)}: give bool (*spatial)"
            )
        around = math.ceil(self._rim) + 1 if self._inpaint == "linear" else max(mask.shape)
        found = [mask.any(tuple(n for n in range(mask.ndim) if n != axis)).nonzero() for axis in range(mask.ndim)]
        block = tuple(slice(max(int(at[0]) - around, 0), int(at[-1]) + around + 1) for at in found)
        x = self._x[(slice(None), slice(None), *block)]
        return Patch(
            tuple(side.start for side in block), remove_artefact(x, mask[block].to(x.device), self._inpaint, self._rim)
        )


class _Whole:
    """The scores of an image that is explained in one piece, asked again as `WindowScores` are."""

    def __init__(self, explainer: Explainer, x: Tensor, targets: Any) -> None:
        self._capture = explainer.capture(x, targets)
        self.count = self._capture.scores.shape[1]

    def falls(self, patches: Sequence[Patch]) -> Tensor:
        x, before = self._capture.input, self._capture.scores[0].double().cpu()
        falls = torch.zeros(len(patches), self.count, dtype=torch.float64)
        for n, patch in enumerate(patches):
            if (changed := patch.into(x)) is not None:
                after = self._capture.rescore(changed, torch.zeros(1, dtype=torch.long, device=x.device))
                falls[n] = before - after[0].double().cpu()
        return falls
