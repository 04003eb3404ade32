"""A small 3-D network of MONAI, trained here on AdrenalMNIST3D, and its samples; weights are kept beside the results.

Volumes are halved to 32 voxels a side, so that training takes minutes on two cores.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cfcam.metrics import Sample

EPOCHS, BATCH, RATE = 8, 32, 1e-3
_KEPT = Path(os.environ.get("CFCAM_CACHE", tempfile.gettempdir()))


def adrenal(file: Path, part: Literal["test", "tune"], slices: int = 1) -> tuple[nn.Module, list[Sample]]:
    """Returns the network and the samples of a part, labels in turn; the ground truth is the gland itself.

    Args:
        file: adrenalmnist3d_64.npz.
        part: "test", or "tune": the validation part.
        slices: so many along the first axis are averaged into one, for the network of such volumes too.
    """
    network = _network()
    weights = _KEPT / f"cfcam-adrenal-resnet10{'' if slices == 1 else f'-{slices}'}.safetensors"
    if weights.exists():
        network.load_state_dict(load_file(weights))
    else:
        _train(network, file, slices)
        save_file(network.state_dict(), weights)
    network.eval()
    held = "test" if part == "test" else "val"
    volumes, labels = _part(file, held)
    volumes = _thick(volumes, slices)
    known = (volumes, labels) if slices > 1 else _part(file, "test")
    print(
        f"adrenal: accuracy {_accuracy(network, *known):.3f} on the {held if slices > 1 else 'test'} part", flush=True
    )
    order = np.random.default_rng(7).permutation(len(labels))
    return network, [
        Sample(_normalised(volumes[i]), int(labels[i]), volumes[i, 0] > 0.5, f"adrenal-{i}") for i in order
    ]


def _network() -> nn.Module:
    from monai.networks.nets import resnet10

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return resnet10(
            spatial_dims=3, n_input_channels=1, num_classes=2, conv1_t_stride=1, no_max_pool=True, widen_factor=0.25
        )


def _part(file: Path, part: str) -> tuple[Tensor, Tensor]:
    with np.load(file) as data:
        volumes = torch.from_numpy(data[f"{part}_images"]).float().div_(255)[:, None]
        labels = torch.from_numpy(data[f"{part}_labels"][:, 0].astype(np.int64))
    return nn.functional.avg_pool3d(volumes, 2), labels


def _thick(volumes: Tensor, slices: int) -> Tensor:
    return nn.functional.avg_pool3d(volumes, (slices, 1, 1))


def _normalised(volumes: Tensor) -> Tensor:
    return (volumes - 0.1) / 0.3


def _train(network: nn.Module, file: Path, slices: int) -> None:
    volumes, labels = _part(file, "train")
    x, draw = _normalised(volumes), torch.Generator().manual_seed(0)
    weight = labels.bincount().float().reciprocal()
    loss = nn.CrossEntropyLoss(weight=weight / weight.sum() * 2)
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=1e-2)
    batches = len(labels) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2 * RATE, total_steps=EPOCHS * batches)
    network.train()
    for epoch in range(EPOCHS):
        total = 0.0
        for chosen in torch.randperm(len(labels), generator=draw)[: batches * BATCH].split(BATCH):
            shift = torch.randint(-2, 3, (3,), generator=draw).tolist()
            optimiser.zero_grad()
            moved = _thick(x[chosen].roll(shift, dims=(2, 3, 4)), slices)
            error = loss(network(moved), labels[chosen])
            error.backward()
            optimiser.step()
            schedule.step()
            total += error.item()
        print(f"adrenal: epoch {epoch + 1} of {EPOCHS}, loss {total / batches:.3f}", flush=True)


@torch.inference_mode()
def _accuracy(network: nn.Module, volumes: Tensor, labels: Tensor) -> float:
    """Balanced over the two classes."""
    right = torch.cat([network(_normalised(v)).argmax(1) for v in volumes.split(BATCH)]) == labels
    return float(torch.stack([right[labels == label].float().mean() for label in (0, 1)]).mean())
