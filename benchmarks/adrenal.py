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
_WEIGHTS = Path(os.environ.get("CFCAM_CACHE", tempfile.gettempdir())) / "cfcam-adrenal-resnet10.safetensors"


def adrenal(file: Path, part: Literal["test", "tune"]) -> tuple[nn.Module, list[Sample]]:
    """Returns the network and the samples of a part, labels in turn; the ground truth is the gland itself.

    Args:
        file: adrenalmnist3d_64.npz.
        part: "test", or "tune": the validation part.
    """
    network = _network()
    if _WEIGHTS.exists():
        network.load_state_dict(load_file(_WEIGHTS))
    else:
        _train(network, file)
        save_file(network.state_dict(), _WEIGHTS)
    network.eval()
    volumes, labels = _part(file, "test" if part == "test" else "val")
    print(f"adrenal: accuracy {_accuracy(network, *_part(file, 'test')):.3f} on the test part", flush=True)
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


def _normalised(volumes: Tensor) -> Tensor:
    return (volumes - 0.1) / 0.3


def _train(network: nn.Module, file: Path) -> None:
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
            error = loss(network(x[chosen].roll(shift, dims=(2, 3, 4))), labels[chosen])
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
