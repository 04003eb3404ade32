"""KPCA-CAM against scikit-learn's kernel PCA, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import KernelPCA
from torch import nn

import cfcam
from cfcam import Status
from cfcam.errors import MethodError
from cfcam.methods import KPCACAM
from tests.methods.test_oracles import inputs, network
from tests.networks import GapNet


@pytest.mark.parametrize("settings", [{}, {"gamma": 0.3}, {"kernel": "rbf"}], ids=str)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_it_is_scikit_learns(dims: int, settings: dict) -> None:
    net, x = network(dims, GapNet, channels=6), inputs(dims)
    method = KPCACAM(**settings)
    maps = cfcam.explain(net, x, method, targets=[0, 1], layer="features").maps["kpca-cam"]
    for n, A in enumerate(net.features(x).detach().numpy()):
        matrix = A.reshape(len(A), -1).T
        projection = KernelPCA(n_components=1, kernel=method.kernel, gamma=method.gamma).fit_transform(
            matrix - matrix.mean(0)
        )[:, 0]
        sign = np.sign(projection @ (matrix.mean(1) - matrix.mean()))
        expected = torch.from_numpy(sign * projection).reshape(A.shape[1:])
        torch.testing.assert_close(maps[n, 0], expected, rtol=1e-6, atol=1e-9)
        assert torch.equal(maps[n, 0], maps[n, 1])  # no class is looked at


def test_by_hand() -> None:
    """Places at -a and a, q = exp(-4 a^2 gamma) the rbf kernel of two of them: the map is -+ sqrt((1 - q) / 2)."""
    net = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2))
    x = torch.tensor([[[[1.0, 4.0]]]])  # centred: -1.5 and 1.5
    e = cfcam.explain(net, x.expand(1, 1, 2, 2), KPCACAM("rbf", 0.1), layer="0")
    q = np.exp(-0.1 * 9)
    half = float(((1 - q) / 2) ** 0.5)  # four places, in two pairs: the eigenvalue is 2 (1 - q), shared by four
    torch.testing.assert_close(e.maps["kpca-cam"][0, 0], torch.tensor([[-half, half]] * 2))


def test_places_that_are_all_alike_have_no_component() -> None:
    net = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    e = cfcam.explain(net, torch.ones(2, 3, 4, 5), "kpca-cam", layer="0")
    assert (e.status["kpca-cam"] == Status.NO_POSITIVE_EVIDENCE).all()


def test_a_grid_whose_pairs_are_too_many_is_refused() -> None:
    net = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2))
    with pytest.raises(MethodError, match=r"layer '0' has 4225, more than 4096: name a later layer, or use eigen-cam"):
        cfcam.explain(net, torch.ones(1, 1, 65, 65), "kpca-cam", layer="0")


@pytest.mark.parametrize("settings", [{"kernel": "poly"}, {"gamma": 0.0}, {"gamma": float("nan")}], ids=str)
def test_parameters_that_make_no_sense_are_refused(settings: dict) -> None:
    with pytest.raises(MethodError, match=f"KPCACAM.{next(iter(settings))}="):
        KPCACAM(**settings)
