"""The filters against OpenCV and kornia, and the facts that a filter of gradients must keep."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from cfcam.methods import BilateralFilter, Filter, GuidedFilter, PublishedFilter
from tests import oracles


@pytest.mark.parametrize(("shape", "radius"), [((32, 28), 2), ((40, 40), 5), ((21, 64), 3)])
def test_guided_filter_equals_opencv_away_from_borders(shape: tuple[int, int], radius: int) -> None:
    ximgproc = pytest.importorskip("cv2.ximgproc")
    maps = torch.randn(3, *shape)
    ours = GuidedFilter(radius=radius, regularization=0.1)(maps).numpy()
    for image, filtered in zip(maps.numpy(), ours, strict=True):
        expected = ximgproc.guidedFilter(image, image, radius, 0.1 * float(image.var()))
        inner = (slice(2 * radius, -2 * radius),) * 2  # two box means in a row reach 2 r
        # OpenCV divides by an approximate reciprocal: it is 1.5e-4 from its own definition in float64.
        np.testing.assert_allclose(filtered[inner], expected[inner], atol=5e-4)
        assert np.abs(filtered[inner] - image[inner]).max() > 0.1  # the filter did something


def test_bilateral_filter_equals_kornias() -> None:
    from kornia.filters import bilateral_blur

    maps = torch.randn(3, 12, 15)
    mad = (maps - maps.flatten(1).median(1).values[:, None, None]).abs().flatten(1).median(1).values
    expected = bilateral_blur(maps[:, None], 5, 1.4826 * mad, (1.5, 1.5), border_type="reflect")[:, 0]
    torch.testing.assert_close(BilateralFilter()(maps), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", [(7,), (5, 8), (1, 6), (2, 2), (3, 4, 5), (2, 7, 5), (2, 2, 2), (1, 1)])
@pytest.mark.parametrize("name", ["bilateral", "guided", "published"])
def test_filters_equal_their_written_out_form(name: str, shape: tuple[int, ...]) -> None:
    filtering: Filter = {
        "bilateral": BilateralFilter(),
        "guided": GuidedFilter(),
        "published": PublishedFilter(),
    }[name]
    maps = torch.randn(2, *shape, dtype=torch.float64)
    expected = np.stack([oracles.FILTERS[name](image) for image in maps.numpy()]) if max(shape) > 1 else maps.numpy()
    if name == "published" and max(shape) == 1:
        expected = np.stack([oracles.published(image) for image in maps.numpy()])
    np.testing.assert_allclose(filtering(maps).numpy(), expected, atol=1e-10)


@pytest.mark.parametrize("filtering", [BilateralFilter(), GuidedFilter()])
class TestEdgePreservingFilters:
    def test_a_constant_stays(self, filtering: Filter) -> None:
        maps = torch.tensor([0.0, 1e-3, -2.0]).reshape(3, 1, 1).expand(3, 9, 7)
        torch.testing.assert_close(filtering(maps), maps)

    def test_each_map_by_itself(self, filtering: Filter) -> None:
        maps = torch.randn(4, 9, 7) * torch.tensor([1.0, 1e-4, 1e3, 1.0]).reshape(4, 1, 1)
        alone = torch.cat([filtering(m[None]) for m in maps])
        torch.testing.assert_close(filtering(maps), alone)

    def test_the_unit_of_the_gradient_does_not_matter(self, filtering: Filter) -> None:
        maps = torch.randn(2, 9, 7, dtype=torch.float64)
        torch.testing.assert_close(filtering(maps * 1e-6), filtering(maps) * 1e-6)

    def test_noise_falls_and_an_edge_stays(self, filtering: Filter) -> None:
        edge = torch.zeros(1, 20, 40)
        edge[..., 20:] = 1
        noisy = edge + 0.05 * torch.randn_like(edge)
        filtered = filtering(noisy)
        away = (..., slice(0, 6))
        assert (filtered - edge)[away].std() < 0.6 * (noisy - edge)[away].std()
        assert (filtered[..., 20] - filtered[..., 19]).mean() > 0.8

    def test_a_depth_of_one_changes_nothing(self, filtering: Filter) -> None:
        maps = torch.randn(2, 9, 7, dtype=torch.float64)
        torch.testing.assert_close(filtering(maps[:, None])[:, 0], filtering(maps))


def test_a_gradient_that_is_mostly_zero_still_has_a_scale() -> None:
    maps: Tensor = torch.zeros(1, 8, 8)
    maps[0, 3, 3] = 1.0
    filtered = BilateralFilter()(maps)
    assert 0 < filtered[0, 3, 3] <= 1
    assert filtered.isfinite().all()
