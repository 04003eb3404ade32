"""A method of your own

A method is a frozen dataclass: its fields are its parameters, and calling it with a capture is its whole behaviour.
"""

# %%
# This one weighs each channel by its mean gradient, as Grad-CAM does, but keeps only the channels that speak for the
# class most clearly. Everything that it needs is in the capture, and was computed once for all methods.
from dataclasses import dataclass
from typing import ClassVar

import torch

import cfcam
from cfcam.imaging import Image, Preprocess
from cfcam.methods import Method
from cfcam.models.demo import CLASSES, load_demo_network, make_phantom


@dataclass(frozen=True)
class FewChannels(Method):
    """Grad-CAM of the `keep` channels with the greatest weights."""

    name: ClassVar[str] = "few-channels"
    keep: int = 8

    def __call__(self, capture) -> torch.Tensor:
        weights = capture.gradients.flatten(3).mean(3)  # (N, K, C)
        least = weights.topk(self.keep, dim=2).values[..., -1:]
        kept = torch.where(weights >= least, weights, 0)
        return torch.einsum("nkc,nc...->nk...", kept, capture.activations).relu()


# %%
# It goes wherever a name of a method can go: into `explain`, a folder run, a scorecard.
network = load_demo_network()
picture = Image(make_phantom(seed=14, findings=["effusion"]).image, None, "")
x = Preprocess()(picture)[None]
methods = {"grad-cam": "grad-cam", "32 channels": FewChannels(32), "2 channels": FewChannels(2)}
e = cfcam.explain(network, x, methods, classes=CLASSES, probability="sigmoid")
e.plot([picture]).savefig("own_method.png")

# %%
# Its parameters are in the provenance of every result.
print(e.provenance["methods"]["2 channels"])
