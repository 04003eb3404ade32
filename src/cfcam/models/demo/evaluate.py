"""What the demo networks reach on phantoms: accuracy, the pacemaker's effect, and where the heat lies."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cfcam.models.demo.network import CLASSES, DemoNet, preprocess
from cfcam.models.demo.phantoms import Phantom, make_phantom

BATCH: Final = 50
REACH: Final = 0.05
"""A finding's surroundings that count as found: 5 % of the width, less than one cell of the 14 x 14 grid."""


def labels(phantom: Phantom) -> list[float]:
    """The phantom's true labels, 0 or 1, in the order of `CLASSES`."""
    present = [float(name in phantom.findings) for name in CLASSES[1:]]
    return [float(not any(present)), *present]


def stack(phantoms: Sequence[Phantom]) -> tuple[Tensor, Tensor]:
    """Phantoms of one size to grey images (N, H, W), uint8, and labels (N, 4)."""
    images = torch.from_numpy(np.stack([phantom.image for phantom in phantoms]))
    return images, torch.tensor([labels(phantom) for phantom in phantoms])


@torch.no_grad()
def predict(network: DemoNet, images: Tensor) -> Tensor:
    """Probabilities (N, 4) of grey images (N, H, W) in [0, 255]."""
    return torch.cat([network(preprocess(part)).sigmoid() for part in images.split(BATCH)])


def scores(probabilities: Tensor, truth: Tensor) -> dict[str, Any]:
    """Accuracy at 0.5 and area under the ROC curve per label; exact match: share with all labels right."""
    right = (probabilities > 0.5) == (truth > 0.5)
    return {
        "phantoms": len(truth),
        "exact_match": _figure(right.all(dim=1).float().mean()),
        "accuracy": {name: _figure(right[:, k].float().mean()) for k, name in enumerate(CLASSES)},
        "auc": {name: _figure(auc(probabilities[:, k], truth[:, k])) for k, name in enumerate(CLASSES)},
    }


def auc(score: Tensor, truth: Tensor) -> Tensor:
    """Area under the ROC curve: how often a positive scores above a negative, a tie counting half."""
    gap = score[truth > 0.5][:, None] - score[truth <= 0.5][None, :]
    return ((gap > 0).float() + 0.5 * (gap == 0).float()).mean()


def pacemaker_pairs(seeds: Sequence[int], size: int = 512) -> tuple[Tensor, Tensor]:
    """The same patients without and with a pacemaker, none with a consolidation: two stacks (N, H, W)."""
    findings = [((), ("nodule",), ("effusion",))[seed % 3] for seed in seeds]
    both = [
        [make_phantom(seed, size=size, findings=found, devices=devices).image for devices in ((), ("pacemaker",))]
        for seed, found in zip(seeds, findings, strict=True)
    ]
    without, paced = torch.from_numpy(np.array(both)).unbind(dim=1)
    return without, paced


def pacemaker_effect(network: DemoNet, without: Tensor, paced: Tensor) -> float:
    """How much a pacemaker raises the probability of consolidation on average, in [-1, 1]; 0 is right."""
    column = CLASSES.index("consolidation")
    return _figure((predict(network, paced) - predict(network, without))[:, column].mean())


def heat(network: DemoNet, phantom: Phantom, label: str) -> Tensor:
    """Grad-CAM (Selvaraju et al. 2017) of one label at layer4, on the phantom's pixels, with sum 1 (or 0)."""
    x = preprocess(torch.from_numpy(phantom.image)[None])
    with torch.no_grad():
        below = network.layer3(network.layer2(network.layer1(network.stem(x))))
    activations = network.layer4(below)
    logit = network.classifier(network.pool(activations).flatten(1))[0, CLASSES.index(label)]
    (gradients,) = torch.autograd.grad(logit, activations)
    cam = (gradients.mean(dim=(2, 3), keepdim=True) * activations).sum(dim=1, keepdim=True).relu().detach()
    cam = F.interpolate(cam, size=phantom.image.shape, mode="bilinear")[0, 0]
    return cam / cam.sum().clamp(min=1e-12)


def heat_share(network: DemoNet, phantoms: Sequence[Phantom], label: str, part: str) -> dict[str, float]:
    """Where the heat of a label lies, averaged over phantoms that have the part.

    Returns:
        "inside": the share of the heat in the part's surroundings; "area": their share of the picture;
        "pointing": how often the hottest pixel lies in them (the pointing game); all in [0, 1].
    """
    rows = []
    for phantom in phantoms:
        radius = round(REACH * phantom.image.shape[0])
        mask = torch.from_numpy(phantom.masks[part])[None].float()
        near = F.max_pool2d(mask, 2 * radius + 1, stride=1, padding=radius)[0] > 0
        cam = heat(network, phantom, label)
        hit = near.flatten()[cam.argmax()] & (cam.max() > 0)
        rows.append([float(cam[near].sum()), float(near.float().mean()), float(hit)])
    inside, area, hits = torch.tensor(rows).mean(dim=0)
    return {"inside": _figure(inside), "area": _figure(area), "pointing": _figure(hits)}


def _figure(value: Tensor) -> float:
    return round(float(value), 4)
