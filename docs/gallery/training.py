"""Maps while a network is trained

A network that is right for the wrong reason is so from some epoch on. The same picture is explained each epoch, beside
the training, which stays the same to the last bit.
"""

# %%
# Noise with a bright square or a dark one; and, in a corner, a mark that always tells which: a shortcut.
import torch
from torch import nn

import cfcam
from cfcam.integrations import TrainingMaps


def draw(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns pictures (count, 1, 32, 32), their classes, and where their squares are."""
    y = torch.randint(2, (count,))
    x, where = 0.4 * torch.randn(count, 1, 32, 32), torch.zeros(count, 32, 32, dtype=torch.bool)
    for n, (row, column) in enumerate(torch.randint(8, 24, (count, 2)).tolist()):
        where[n, row : row + 8, column : column + 8] = True
        x[n, 0][where[n]] += 0.7 - 1.4 * y[n]
        x[n, 0, :4, :4] += 2.0 - 4.0 * y[n]
    return x, y, where


torch.manual_seed(1)
network = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2),
)  # fmt: skip
optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)

# %%
# `masks` say where the evidence is to be; the share of each map that lies there stands in the training's scorecard.
shown, truth, masks = draw(1)
maps = TrainingMaps(shown, truth, masks=masks, classes=["bright", "dark"], names=["a square, and a mark"])
maps(network, 0)
for epoch in range(1, 6):
    for _ in range(10):
        x, y, _ = draw(32)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()
    (row,) = maps(network, epoch)
    print(epoch, f"probability {row['probability']:.2f}, of the map in the square {row['energy']:.0%}")
cfcam.imaging.save_image(maps.strip(), "training.png")

# %%
# The network is right and looks at the mark. No loss says so.
