"""Faithfulness, accumulated over batches and processes: the classes of `cfcam.metrics.functional.faithfulness`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from cfcam.metrics.base import MapMetric
from cfcam.metrics.functional import faithfulness as functional
from cfcam.metrics.functional.perturbation import Baseline, Mode, Score, baseline_image, perturbation_curve


class AverageDrop(MapMetric):
    """How much of the probability is lost when only what the map marks is shown, in %; lower is better, 0 to 100.

    Source: Chattopadhay et al. 2018, arXiv 1710.11063; see `average_drop`.

    Example:
        >>> import torch
        >>> metric = AverageDrop()
        >>> metric.update(torch.tensor([0.8, 0.5, 0.9]), torch.tensor([0.6, 0.9, torch.nan]))
        >>> metric.compute(), metric.not_assessed
        (tensor(12.5000), tensor(1))
    """

    higher_is_better = False

    def update(self, original: Tensor, masked: Tensor) -> None:
        """Adds probabilities (B,) of images, and of the images times their maps."""
        self._add(functional.average_drop(original, masked))


class IncreaseInConfidence(MapMetric):
    """The share of images that are recognised better when only what the map marks is shown, in %; higher is better.

    Source: Chattopadhay et al. 2018, arXiv 1710.11063; see `increase_in_confidence`.

    Example:
        >>> import torch
        >>> metric = IncreaseInConfidence()
        >>> metric.update(torch.tensor([0.8, 0.5]), torch.tensor([0.6, 0.9]))
        >>> metric.compute()
        tensor(50.)
    """

    higher_is_better = True

    def update(self, original: Tensor, masked: Tensor) -> None:
        """Adds probabilities (B,) of images, and of the images times their maps."""
        self._add(functional.increase_in_confidence(original, masked))


class AverageGain(MapMetric):
    """How much of the missing probability is won when only what the map marks is shown, in %; higher is better.

    From 0 to 100. Source: Zhang et al. 2023, arXiv 2301.07002; see `average_gain`.

    Example:
        >>> import torch
        >>> metric = AverageGain()
        >>> metric.update(torch.tensor([0.8, 0.5]), torch.tensor([0.6, 0.75]))
        >>> metric.compute()
        tensor(25.)
    """

    higher_is_better = True

    def update(self, original: Tensor, masked: Tensor) -> None:
        """Adds probabilities (B,) of images, and of the images times their maps."""
        self._add(functional.average_gain(original, masked))


class _Curves(MapMetric):
    """What a metric of `perturbation_curve` is made with.

    Args:
        baseline: "blur", "mean", "black" or "noise", see `baseline_image`. Rankings of methods depend on it: name it
            beside a figure. "black" alone needs knowledge of the preprocessing.
        black: what a black pixel becomes in preprocessing.
        steps: intervals of the curve, each a pass.
        batch_size: inputs in one pass.
        seed: for ties and noise.
    """

    def __init__(
        self,
        baseline: Baseline = "blur",
        *,
        black: float | Tensor = 0.0,
        steps: int = 32,
        batch_size: int = 16,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.baseline = baseline
        self.black = black
        self.steps = steps
        self.batch_size = batch_size
        self.seed = seed

    def _curve(self, mode: Mode, score: Score, x: Tensor, heatmap: Tensor, ends: Tensor | None = None) -> Tensor:
        return perturbation_curve(
            score,
            x,
            heatmap,
            baseline=baseline_image(x, self.baseline, self.black, seed=self.seed),
            mode=mode,
            steps=self.steps,
            ends=ends,
            batch_size=self.batch_size,
            seed=self.seed,
        )


class Deletion(_Curves):
    """Area under the probability while what the map marks is removed, most important first; lower is better, 0 to 1.

    Source: Petsiuk et al. 2018 (RISE), arXiv 1806.07421; see `perturbation_curve`. The arguments are those of
    `Insertion`.

    Example:
        >>> import torch
        >>> metric = Deletion("black", steps=4)
        >>> x = torch.tensor([[[0.0, 4.0, 0.0, 0.0]]])
        >>> metric.update(lambda inputs, images: inputs.mean((1, 2)), x, torch.tensor([[0.1, 1.0, 0.5, 0.2]]))
        >>> metric.compute()
        tensor(0.1250)
    """

    higher_is_better = False

    def update(self, score: Score, x: Tensor, heatmap: Tensor) -> None:
        """Adds images (B, C, *spatial) with their maps (B, *spatial)."""
        self._add(functional.auc(self._curve("deletion", score, x, heatmap)))


class Insertion(_Curves):
    """Area under the probability while what the map marks is restored, most important first; higher is better, 0 to 1.

    Args:
        baseline: "blur", "mean", "black" or "noise", see `baseline_image`. Rankings of methods depend on it: name it
            beside a figure. "black" alone needs knowledge of the preprocessing.
        black: what a black pixel becomes in preprocessing.
        steps: intervals of the curve, each a pass.
        batch_size: inputs in one pass.
        seed: for ties.

    Source: Petsiuk et al. 2018 (RISE), arXiv 1806.07421; see `perturbation_curve`.

    Example:
        >>> import torch
        >>> metric = Insertion("black", steps=4)
        >>> x = torch.tensor([[[0.0, 4.0, 0.0, 0.0]]])
        >>> metric.update(lambda inputs, images: inputs.mean((1, 2)), x, torch.tensor([[0.1, 1.0, 0.5, 0.2]]))
        >>> metric.compute()
        tensor(0.8750)
    """

    higher_is_better = True

    def update(self, score: Score, x: Tensor, heatmap: Tensor) -> None:
        """Adds images (B, C, *spatial) with their maps (B, *spatial)."""
        self._add(functional.auc(self._curve("insertion", score, x, heatmap)))


class InsertionMinusDeletion(_Curves):
    """`Insertion` less `Deletion` with the same baseline; higher is better, -1 to 1, near 0 for an order by chance.

    The arguments are those of `Insertion`.

    Example:
        >>> import torch
        >>> metric = InsertionMinusDeletion("black", steps=4)
        >>> x = torch.tensor([[[0.0, 4.0, 0.0, 0.0]]])
        >>> metric.update(lambda inputs, images: inputs.mean((1, 2)), x, torch.tensor([[0.1, 1.0, 0.5, 0.2]]))
        >>> metric.compute()
        tensor(0.7500)
    """

    higher_is_better = True

    def update(self, score: Score, x: Tensor, heatmap: Tensor) -> None:
        """Adds images (B, C, *spatial) with their maps (B, *spatial)."""
        deletion = self._curve("deletion", score, x, heatmap)
        insertion = self._curve("insertion", score, x, heatmap, ends=deletion[:, [0, -1]])
        self._add(functional.insertion_minus_deletion(insertion, deletion))


class Coherency(MapMetric):
    """How well maps agree with the maps of what they mark; higher is better, 0 to 1.

    Source: Poppi et al. 2021, arXiv 2104.10252; see `coherency`.

    Example:
        >>> import torch
        >>> metric = Coherency()
        >>> metric.update(torch.tensor([[0.0, 0.5, 1.0]]), torch.tensor([[1.0, 0.5, 0.0]]))
        >>> metric.compute()
        tensor(0.)
    """

    higher_is_better = True

    def update(self, heatmap: Tensor, masked_heatmap: Tensor) -> None:
        """Adds maps (B, *spatial) of images, and of the images times these maps."""
        self._add(functional.coherency(heatmap, masked_heatmap))


class Complexity(MapMetric):
    """How much of the image the map marks; lower is better, 0 to 1.

    Source: Poppi et al. 2021, arXiv 2104.10252; see `complexity`.

    Example:
        >>> import torch
        >>> metric = Complexity()
        >>> metric.update(torch.tensor([[0.0, 0.0, 1.0, 0.5], [0.0, 0.0, 0.0, 0.0]]))
        >>> metric.compute(), metric.not_assessed
        (tensor(0.3750), tensor(1))
    """

    higher_is_better = False

    def update(self, heatmap: Tensor) -> None:
        """Adds maps (B, *spatial) in [0, 1]."""
        self._add(functional.complexity(heatmap))


class ADCC(MapMetric):
    """Harmonic mean of coherency, 1 - complexity and 1 - average drop, map by map; higher is better, 0 to 1.

    Source: Poppi et al. 2021, arXiv 2104.10252; see `adcc`.

    Example:
        >>> import torch
        >>> metric = ADCC()
        >>> metric.update(torch.tensor([0.9, 0.9]), torch.tensor([0.4, 0.4]), torch.tensor([10.0, 100.0]))
        >>> metric.compute()
        tensor(0.3857)
    """

    higher_is_better = True

    def update(self, coherency: Tensor, complexity: Tensor, average_drop: Tensor) -> None:
        """Adds the three of each map (B,), the average drop in %."""
        self._add(functional.adcc(coherency, complexity, average_drop))


class ROAD(MapMetric):
    """Half the gap between imputing the least and the most relevant pixels away; higher is better, -0.5 to 0.5.

    Blurring a map alone raises it: read it beside the controls.

    Args:
        percentiles: shares of the positions that are removed, in %.
        noise: standard deviation of the imputation's noise, in the units of the images.
        seed: for ties and noise.
        batch_size: inputs in one pass.

    Source: Rong et al. 2022, arXiv 2202.00449; see `road` and `road_curves`.

    Example:
        >>> import torch
        >>> metric = ROAD(percentiles=[50], noise=0.0)
        >>> x = torch.tensor([[[0.0, 0.0, 0.0, 1.0, 1.0, 1.0]]])
        >>> heatmap = torch.tensor([[0.1, 0.2, 0.3, 0.8, 0.9, 1.0]])
        >>> metric.update(lambda inputs, images: inputs.mean((1, 2)), x, heatmap)
        >>> metric.compute()
        tensor(0.5000)
    """

    higher_is_better = True

    def __init__(
        self,
        percentiles: Sequence[float] = (20, 40, 60, 80),
        *,
        noise: float = 0.01,
        seed: int = 0,
        batch_size: int = 16,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.percentiles = tuple(percentiles)
        self.noise = noise
        self.seed = seed
        self.batch_size = batch_size

    def update(self, score: Score, x: Tensor, heatmap: Tensor) -> None:
        """Adds images (B, C, *spatial) with their maps (B, *spatial)."""
        morf, lerf = functional.road_curves(
            score, x, heatmap, self.percentiles, noise=self.noise, seed=self.seed, batch_size=self.batch_size
        )
        self._add(functional.road(morf, lerf))


class ARCC(MapMetric):
    """Harmonic mean of coherency, 1 - complexity and ROAD, map by map; higher is better, 0 to 1.

    Source: Domeniconi et al. 2026, arXiv 2605.14641; see `arcc`.

    Example:
        >>> import torch
        >>> metric = ARCC()
        >>> metric.update(torch.tensor([0.9]), torch.tensor([0.4]), torch.tensor([0.3]))
        >>> metric.compute()
        tensor(0.6750)
    """

    higher_is_better = True

    def update(self, coherency: Tensor, complexity: Tensor, road: Tensor) -> None:
        """Adds the three of each map (B,)."""
        self._add(functional.arcc(coherency, complexity, road))
