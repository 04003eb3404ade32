from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from cfcam.errors import InputError
from cfcam.metrics.functional.paper_protocol import (
    GREY,
    paper_auc,
    paper_average_drop,
    paper_average_increase,
    paper_background,
    paper_curve,
    paper_inserted_input,
    paper_masked_input,
)


def weighted(inputs: Tensor, images: Tensor) -> Tensor:
    weights = torch.linspace(0, 1, inputs[0].numel(), dtype=inputs.dtype).view(inputs.shape[1:])
    return (inputs * weights).flatten(1).mean(1)


def curve_oracle(image: np.ndarray, heatmap: np.ndarray, deletion: bool) -> list[float]:
    """The published loop: a hundredth more of the positions a step, all of them in the last one."""
    flat = heatmap.ravel()
    order = sorted(range(flat.size), key=lambda p: (flat[p], p), reverse=True)
    weights = np.linspace(0, 1, image.size).reshape(image.shape)
    curve = []
    for k in range(101):
        taken = order[: flat.size if k == 100 else k * (flat.size // 100)]
        mask = np.full(flat.size, float(deletion))
        mask[taken] = float(not deletion)
        curve.append(float((image * mask.reshape(heatmap.shape) * weights).mean()))
    return curve


@pytest.mark.parametrize("mode", ["deletion", "insertion"])
def test_curves_equal_the_published_loop_ties_included(mode: str) -> None:
    x = torch.rand(2, 3, 13, 17, dtype=torch.float64)
    heatmap = (torch.rand(2, 13, 17) - 0.5).clamp(min=0).round(decimals=1)
    curves = paper_curve(weighted, x, heatmap, mode, batch_size=7)
    assert curves.shape == (2, 101)
    for i in range(2):
        expected = curve_oracle(x[i].numpy(), heatmap[i].numpy(), mode == "deletion")
        np.testing.assert_allclose(curves[i], expected, atol=1e-12)
        area = sum((a + b) / 200 for a, b in zip(expected[1:], expected[:-1], strict=True))
        assert float(paper_auc(curves)[i]) == pytest.approx(area)


def test_a_map_without_order_is_restored_from_the_bottom_up() -> None:
    """One of the protocol's faults: the zeros of a map are an order."""
    x = torch.zeros(1, 1, 20, 20)
    x[:, :, 10:] = 1

    def mean(inputs: Tensor, images: Tensor) -> Tensor:
        return inputs.mean((1, 2, 3))

    curve = paper_curve(mean, x, torch.zeros(1, 20, 20), "insertion")
    torch.testing.assert_close(curve[0, 50:], torch.full((51,), 0.5))


def test_masks_have_the_published_thresholds_and_backgrounds() -> None:
    x = torch.rand(1, 3, 2, 2) + 1
    heatmap = torch.tensor([[[0.3, 0.31], [0.5, 0.51]]])
    black = torch.tensor([-1.0, -2.0, -3.0])
    masked = paper_masked_input(x, heatmap, black)
    assert (masked[0, :, 1, 1] == x[0, :, 1, 1]).all()
    assert (masked[0, :, [0, 0, 1], [0, 1, 0]] == black[:, None]).all()
    inserted = paper_inserted_input(x, heatmap)
    assert (inserted[0, :, [0, 1, 1], [1, 0, 1]] == x[0, :, [0, 1, 1], [1, 0, 1]]).all()
    assert (inserted[0, :, 0, 0] == torch.tensor(GREY)).all()
    assert (paper_background(x)[0, :, 1, 1] == torch.tensor(GREY)).all()
    assert paper_background(x[:, :1])[0, 0, 0, 0] == pytest.approx(sum(GREY) / 3)


def test_nothing_is_clamped_and_empty_maps_are_scored() -> None:
    drop = paper_average_drop(torch.tensor([0.5, 0.1, 0.8]), torch.tensor([0.25, 0.9, 0.8]))
    torch.testing.assert_close(drop, torch.tensor([50.0, -800.0, 0.0]))
    torch.testing.assert_close(
        paper_average_increase(torch.tensor([0.5, 0.1]), torch.tensor([0.25, 0.9])), torch.tensor([-0.25, 0.8])
    )
    x = torch.rand(2, 1, 3, 3)
    empty = torch.zeros(2, 3, 3)
    empty[1] = torch.nan
    assert (paper_masked_input(x, empty) == 0).all()
    assert (paper_inserted_input(x, empty) == paper_background(x)).all()
    with pytest.raises(InputError, match=r"\(2, 3, 3\)"):
        paper_masked_input(x, empty[:1])
