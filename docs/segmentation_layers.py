"""Measures where maps of segmentation networks lie, layer by layer, for the table in how-to/targets.md.

Run ``python docs/segmentation_layers.py`` from the repository; it trains small networks on the phantoms of
``tests/test_organ_energy.py`` (minutes on one core) and prints the rows of the table.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.test_organ_energy import (
    ORGANS,
    enrichment,
    own_organ_is_highest,
    phantoms,
    swin_unetr,
    trained,
    unet,
)

import cfcam

METHODS = ("hires-cam", "layer-cam", "grad-cam", "cf-cam", "score-cam")
SIZE = (64, 64)


@dataclass(frozen=True)
class Network:
    """A network, how it is trained, for which seeds, and the layers besides the automatic one."""

    name: str
    make: Callable[[], nn.Module]
    layers: tuple[str, ...]
    steps: int = 150
    batch: int = 8
    rate: float = 3e-3
    seeds: tuple[int, ...] = (0,)


def plain_unet() -> nn.Module:
    from monai.networks.nets import UNet

    return UNet(2, 1, 4, channels=(8, 16, 32), strides=(2, 2))


def basic_unet() -> nn.Module:
    from monai.networks.nets import BasicUNet

    return BasicUNet(2, 1, 4, features=(8, 8, 16, 16, 32, 8))


def segresnet() -> nn.Module:
    from monai.networks.nets import SegResNet

    return SegResNet(2, 8, 1, 4, blocks_down=(1, 1, 1), blocks_up=(1, 1))


class SegFormer(nn.Module):
    """Its scores, enlarged to the size of the picture."""

    def __init__(self) -> None:
        from transformers import SegformerConfig, SegformerForSemanticSegmentation

        super().__init__()
        config = SegformerConfig(
            num_channels=1, num_labels=4, depths=[1, 1, 1, 1], hidden_sizes=[16, 16, 24, 32], decoder_hidden_size=32,
            num_attention_heads=[1, 2, 2, 4], hidden_dropout_prob=0, classifier_dropout_prob=0, drop_path_rate=0,
            initializer_range=0.1,
        )  # fmt: skip
        self.network = SegformerForSemanticSegmentation(config)

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.network(x).logits, x.shape[2:], mode="bilinear")


NETWORKS = [
    Network("UNet, residual", lambda: unet(2), ("model.1", "model.1.submodule.1.submodule"), 300, 8, 1e-2, (0, 1, 2)),
    Network("UNet, plain", plain_unet, ("model.1.submodule.1.submodule",), 300, 8, 1e-2, (0, 1, 2)),
    Network("BasicUNet", basic_unet, ("upcat_2", "down_4")),
    Network("SegResNet", segresnet, ("up_layers.1", "down_layers.2")),
    Network("SwinUNETR", lambda: swin_unetr(2), ("decoder2", "encoder10"), 100, 4),
    Network("SegFormer", SegFormer, ("network.segformer.stages.3",), 900, 8, 5e-3),
]  # fmt: skip


def dice(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The lowest of the organs' Dice coefficients."""
    with torch.no_grad():
        found = model(images).argmax(1)
    pairs = [(found == organ, labels == organ) for organ in ORGANS]
    return min(float(2 * (a & b).sum() / (a.sum() + b.sum())) for a, b in pairs)


def main() -> None:
    """Prints a line for each network, seed and layer."""
    images, labels = phantoms(6, SIZE, seed=99)
    print("| network | seed | Dice | layer |", " | ".join(METHODS), "|")
    for network in NETWORKS:
        for seed in network.seeds:
            torch.manual_seed(seed)
            model = trained(network.make(), SIZE, network.steps, network.batch, network.rate)
            for layer in (None, *network.layers):
                e = cfcam.explain(model, images, METHODS, targets=list(ORGANS), layer=layer)
                right = [
                    own_organ_is_highest(enrichment(e.heatmaps(m), labels).nan_to_num(-1)).float().mean()
                    for m in METHODS
                ]
                figures = " | ".join(f"{share:.2f}" for share in right)
                chosen = f"{e.layer}{'' if layer else ' (automatic)'}"
                print(
                    f"| {network.name} | {seed} | {dice(model, images, labels):.2f} | {chosen} | {figures} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
