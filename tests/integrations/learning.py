"""A training with all that another reader of the random numbers would spoil: dropout, batch norm, shuffles, draws."""

# ruff: noqa: NPY002, S311 (the random numbers of the process are what it is about)

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn


class Net(nn.Module):
    """Takes ``pixel_values`` or a batch of pictures, and returns a loss with labels, as transformers' models do."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Dropout2d(0.3),
            nn.Conv2d(6, 8, 3),
            nn.ReLU(),
        )
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(8, 2))

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> Any:
        logits = self.head(self.features(pixel_values))
        if labels is None:
            return logits
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def pictures(count: int = 24) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures (N, 1, 12, 12) of noise, a bright square in those of class 1, and masks of it."""
    generator = torch.Generator().manual_seed(3)
    x, labels = torch.rand(count, 1, 12, 12, generator=generator), torch.arange(count) % 2
    masks = torch.zeros(count, 12, 12, dtype=torch.bool)
    masks[:, 3:7, 4:8] = True
    x[labels == 1] += 2 * masks[labels == 1][:, None]
    return x, labels, masks


def trained(each_epoch: Callable[[nn.Module, int], Any], epochs: int = 3, autocast: bool = False) -> list[Any]:
    """Trains; returns all that tells two trainings apart, to the last bit.

    ``each_epoch`` is called in the middle of each epoch too, between backward and step, where gradients matter.
    """
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    net, (x, labels, _) = Net(), pictures()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    data = torch.utils.data.TensorDataset(x, labels)
    for epoch in range(1, epochs + 1):
        net.train()
        for number, (batch, truth) in enumerate(torch.utils.data.DataLoader(data, batch_size=6, shuffle=True)):
            noisy = batch + 0.1 * torch.randn_like(batch) + random.random() * 0.1 + float(np.random.rand()) * 0.1
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                if autocast and number == 1:
                    each_epoch(net, epoch)  # inside of autocast, before the weights are cast for the training's pass
                loss = net(noisy, truth)["loss"]
            loss.backward()
            if number == 1:
                each_epoch(net, epoch)
            optimizer.step()
            optimizer.zero_grad()
        each_epoch(net, epoch)
    modes = [module.training for module in net.modules()]
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in net.modules()]
    drawn = [torch.rand(3), torch.tensor(np.random.rand(3)), torch.tensor(random.random())]
    moments = [value for state in optimizer.state.values() for value in state.values()]
    return [*net.state_dict().values(), *moments, *drawn, torch.tensor(modes), torch.tensor(hooks)]


def optional(*libraries: str) -> None:
    """Skips a test of what another library does with ours where that is not installed; a full run has it."""
    for library in libraries:
        pytest.importorskip(library, reason=f"{library} is not installed")
