"""A volume

In three dimensions nothing changes but one more axis. Every method runs on volumes.
"""

# %%
# A small 3-D network learns on drawn volumes whether a bright ball is in one, and has to find out by itself where.
import torch
from torch import nn

import cfcam

torch.manual_seed(0)


def draw(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns noise (count, 1, 24, 24, 24), whether there is a ball in it, and the ball's centre (count, 3)."""
    y, centre = torch.randint(2, (count,)), torch.randint(5, 19, (count, 3))
    axis = torch.arange(24)
    squares = [(axis - centre[:, d : d + 1]) ** 2 for d in range(3)]
    distance = squares[0][:, :, None, None] + squares[1][:, None, :, None] + squares[2][:, None, None, :]
    ball = (distance < 10).float() * y[:, None, None, None]
    return (0.5 * torch.randn(count, 24, 24, 24) + ball)[:, None], y, centre


network = nn.Sequential(
    nn.Conv3d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool3d(2),
    nn.Conv3d(8, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool3d(1), nn.Flatten(), nn.Linear(16, 2),
)  # fmt: skip
optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
for _ in range(60):
    x, y, _ = draw(8)
    optimizer.zero_grad()
    nn.functional.cross_entropy(network(x), y).backward()
    optimizer.step()

# %%
# The maps are volumes. A figure cuts them through their peak, in all three directions.
x, y, centre = draw(40)
with torch.no_grad():
    right = (network.eval()(x).argmax(1) == y).float().mean()
print(f"right: {float(right):.0%} of 40 new volumes")

with_ball = int(y.nonzero()[0])
e = cfcam.explain(network, x[with_ball : with_ball + 1], ["grad-cam", "hires-cam"], classes=["nothing", "ball"])
print("ball at", centre[with_ball].tolist(), e.layer, tuple(e.maps["hires-cam"].shape[2:]))
e.plot(x[with_ball : with_ball + 1]).savefig("volume.png")

# %%
# For scans there is more: [Explain volumes](../how-to/volumes.md) reads NIfTI and DICOM series, writes maps on the grid
# of the scan, and takes what does not fit into memory window by window.
