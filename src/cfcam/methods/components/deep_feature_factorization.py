"""Deep Feature Factorization: what a layer does, as a few concepts, and what each says for a class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from cfcam.capture import Capture
from cfcam.methods.base import Method
from cfcam.methods.numbers import check_flags, check_whole_numbers

_FLOOR = 1e-2
"""What a start of 0 is lifted to, as a share of the largest: products never leave 0."""


class Factors(NamedTuple):
    """A layer as concepts: ``activations ~ sum_j maps_j vectors_j``.

    Attributes:
        maps: (N, J, *layer_spatial) where each concept is, 0 or above.
        vectors: (N, J, C) which channels it is made of, the largest absolute value of each 1.
        evidence: (N, K, J) what a unit of it adds to each target's score where it is, to first order.
    """

    maps: Tensor
    vectors: Tensor
    evidence: Tensor


@dataclass(frozen=True)
class DeepFeatureFactorization(Method):
    """Deep Feature Factorization: the concepts of a layer, weighted by what they say for the class.

    The activations X of all places (S, C) become ``W H``: ``W >= 0`` (S, J) says where concepts are, ``H >= 0`` (J, C)
    what they are made of. It is the non-negative factorisation with the least squared error that multiplicative updates
    find from a start by singular vectors. Where a layer has negative values their absolute values are channels of their
    own; behind a ReLU there are none. The paper stops at the concepts, and looks at no class. The map is ours:
    ``ReLU(sum_j e_j W_j)``, with ``e_j`` the gradient along the concept's channels, averaged over the places by how
    much of the concept they hold. Behind pooling it is Grad-CAM of the factorised layer.

    Args:
        concepts: J; fewer where the layer has fewer places or channels.
        shared: factorise all images of a batch together, so that a concept is the same in all, as in the paper's
            co-segmentation. A map then depends on the images beside it.
        steps: of the updates.

    Raises:
        MethodError: a number that is not 1 or more.

    Source: Collins et al. 2018, arXiv 1806.10206; the updates are those of Lee and Seung 2001, NIPS 13; the start is
    after Boutsidis and Gallopoulos 2008, Pattern Recognition 41.
    """

    name: ClassVar[str] = "dff"
    concepts: int = 4
    shared: bool = False
    steps: int = 200

    def __post_init__(self) -> None:
        check_whole_numbers(self, "concepts", "steps")
        check_flags(self, "shared")

    def __call__(self, capture: Capture) -> Tensor:
        """Returns maps (N, K, *layer_spatial), 0 or above."""
        factors = self.factors(capture)
        weighed = torch.einsum("nkj,njs->nks", factors.evidence, factors.maps.flatten(2))
        return weighed.relu().to(capture.activations.dtype).unflatten(2, factors.maps.shape[2:])

    def factors(self, capture: Capture) -> Factors:
        """Returns the concepts themselves, in double precision; NaN for an image that is not finite."""
        W, vectors = capture.memo(("dff", self), lambda: self._concepts(capture.activations))  # alike for all targets
        amount = W / W.sum(1, keepdim=True).clamp(min=torch.finfo(W.dtype).tiny)
        each = torch.einsum("njc,nsj->njcs", vectors, amount).flatten(2)
        evidence = capture.gradients.flatten(2).double() @ each.mT
        return Factors(W.mT.unflatten(2, capture.activations.shape[2:]), vectors, evidence)

    def _concepts(self, A: Tensor) -> tuple[Tensor, Tensor]:
        """Returns where concepts are (N, S, J), and their vectors (N, J, C), of activations (N, C, *layer_spatial)."""
        matrices = A.flatten(2).mT.double()  # (N, S, C)
        split = torch.cat([matrices.relu(), (-matrices).relu()], 2)
        finite = split.isfinite().flatten(1).all(1)
        concepts = min(self.concepts, *split.shape[1:])
        W = split.new_full((*split.shape[:2], concepts), torch.nan)
        H = split.new_full((len(split), concepts, split.shape[2]), torch.nan)
        if self.shared and bool(finite.any()):
            known = split[finite]
            where, what = factorised(known.flatten(0, 1), concepts, self.steps)
            W[finite], H[finite] = where.unflatten(0, known.shape[:2]), what
        elif not self.shared:
            for n in finite.nonzero().flatten().tolist():
                W[n], H[n] = factorised(split[n], concepts, self.steps)
        vectors = H[..., : A.shape[1]] - H[..., A.shape[1] :]
        size = vectors.abs().amax(2, keepdim=True)
        size = torch.where(size == 0, 1, size)
        return W * size.mT, vectors / size


# By hand, and not scikit-learn's NMF, which is no dependency and runs on the CPU: the tests hold this to its updates.
def factorised(matrix: Tensor, concepts: int, steps: int) -> tuple[Tensor, Tensor]:
    """Returns W (S, J) and H (J, C), both 0 or above, of a matrix (S, C) ~ W H that is 0 or above.

    Args:
        matrix: in double precision.
        concepts: J, at most S and C.
        steps: updates of both.
    """
    W, H = start(matrix, concepts)
    tiny = torch.finfo(matrix.dtype).tiny
    for _ in range(steps):
        W = W * (matrix @ H.T) / (W @ (H @ H.T)).clamp(min=tiny)
        H = H * (W.T @ matrix) / ((W.T @ W) @ H).clamp(min=tiny)
    return W, H


def start(matrix: Tensor, concepts: int) -> tuple[Tensor, Tensor]:
    """Returns where the updates begin: the stronger sign of each singular pair, zeros lifted where anything is."""
    U, sigma, V = torch.linalg.svd(matrix, full_matrices=False)
    U, sigma, V = U[:, :concepts], sigma[:concepts], V[:concepts]
    plus, minus = U.relu().norm(dim=0) * V.relu().norm(dim=1), (-U).relu().norm(dim=0) * (-V).relu().norm(dim=1)
    sign = torch.where(plus >= minus, 1.0, -1.0)
    W, H = (U * sign).relu(), (V * sign[:, None]).relu()
    strength = (sigma * torch.maximum(plus, minus)).sqrt()
    W = W / W.norm(dim=0).clamp(min=torch.finfo(W.dtype).tiny) * strength
    H = H / H.norm(dim=1, keepdim=True).clamp(min=torch.finfo(H.dtype).tiny) * strength[:, None]
    W = torch.maximum(W, _FLOOR * W.amax(0) * (matrix > 0).any(1, keepdim=True))
    return W, torch.maximum(H, _FLOOR * H.amax(1, keepdim=True) * (matrix > 0).any(0))
