"""KPCA-CAM: the first kernel principal component of a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from cfcam.capture import Capture
from cfcam.errors import MethodError
from cfcam.methods.base import Method
from cfcam.methods.numbers import check_numbers

_MOST_PLACES = 4096
"""Places for which the matrix of all pairs is decomposed; the time grows with the third power."""


@dataclass(frozen=True)
class KPCACAM(Method):
    """KPCA-CAM: the places' activations, centred, projected on their first kernel principal component, signed.

    With ``x_p`` the activations of place p minus each channel's mean and k the kernel, the map is the first
    eigenvector of the centred matrix ``k(x_p, x_q)`` times the root of its eigenvalue. As in Eigen-CAM no score is
    looked at, the map is the same for every class, and it is turned so that it goes with the mean activation (where
    the two are all but uncorrelated, so that its largest absolute value is positive).

    Args:
        kernel: "sigmoid", ``tanh(gamma x.y + 1)`` (the authors' code), or "rbf", ``exp(-gamma |x - y|^2)``.
        gamma: of the kernel; None: 1 / channels.

    Raises:
        MethodError: the layer has more than 4096 places.

    Source: Karmani et al. 2024, arXiv 2410.00267, with the kernel's parameters of scikit-learn that its code takes.
    """

    name: ClassVar[str] = "kpca-cam"
    cost: ClassVar[str] = "1"
    uses_gradients: ClassVar[bool] = False
    selective: ClassVar[bool] = True
    kernel: Literal["sigmoid", "rbf"] = "sigmoid"
    gamma: float | None = None

    def __post_init__(self) -> None:
        if self.kernel not in ("sigmoid", "rbf"):
            raise MethodError(f"KPCACAM(kernel={self.kernel!r}): 'sigmoid' or 'rbf'")
        check_numbers(self, "gamma", above=0, optional=True)

    def __call__(self, capture: Capture) -> Tensor:
        """Returns signed maps (N, K, *layer_spatial), alike for the K targets."""
        A = capture.activations
        places = A[0, 0].numel()
        if places > _MOST_PLACES:
            raise MethodError(
                f"kpca-cam compares all pairs of places, and layer {capture.layer!r} has {places}, more than"
                f" {_MOST_PLACES}: name a later layer, or use eigen-cam"
            )
        rows = [self._component(image) for image in A.flatten(2).mT]
        maps = torch.stack(rows).to(A.dtype).unflatten(1, A.shape[2:])
        return torch.stack([maps] * capture.scores.shape[1], dim=1)

    def _component(self, matrix: Tensor) -> Tensor:
        """Returns (S,) the first component of one image's activations (S, C)."""
        if not bool(matrix.isfinite().all()):
            return torch.full_like(matrix[:, 0], torch.nan)
        matrix = matrix.double()
        matrix = matrix - matrix.mean(0)
        gamma = 1 / matrix.shape[1] if self.gamma is None else self.gamma
        if self.kernel == "sigmoid":
            K = (gamma * matrix @ matrix.T + 1).tanh()
        else:
            K = (-gamma * torch.cdist(matrix, matrix, compute_mode="donot_use_mm_for_euclid_dist").square()).exp()
        K = K - K.mean(0) - K.mean(1, keepdim=True) + K.mean()
        values, vectors = torch.linalg.eigh(K)
        if float(values[-1]) <= 1e-12 * len(K):  # all places are alike
            return torch.zeros_like(matrix[:, 0])
        component = vectors[:, -1] * values[-1].sqrt()
        towards = matrix.mean(1)
        product, largest = component @ towards, component[component.abs().argmax()]
        # behind a layer norm without weights the means over channels are 0 but for rounding, and tell nothing
        told = towards.norm() > 1e-3 * matrix.norm() / matrix.shape[1] ** 0.5
        uncorrelated = ~told | (product.abs() <= 1e-3 * component.norm() * towards.norm())
        return component if bool((largest if uncorrelated else product) >= 0) else -component
