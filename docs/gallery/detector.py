"""The boxes of a detector

Which part of a picture speaks for this box, and which against a box that the detector does not see?
"""

# %%
# A small detector, which learns in a few seconds to find the bright square of a picture drawn for the purpose: for each
# of 8 x 8 cells a logit, and a box round its middle. What it returns is what `Detections` holds.
import torch
from torch import nn

import cfcam
from cfcam.capture import Detections


class Finder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(2), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Conv2d(16, 1, 1)

    def forward(self, x: torch.Tensor) -> Detections:
        scores = self.head(self.trunk(x)).flatten(1)[..., None]
        rows, columns = torch.meshgrid(torch.arange(8) * 4.0 + 2, torch.arange(8) * 4.0 + 2, indexing="ij")
        middles = torch.stack([columns, rows], -1).reshape(1, -1, 2).expand(len(x), -1, -1)
        return Detections(torch.cat([middles - 4, middles + 4], -1), scores)


def draw(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns noise (count, 1, 32, 32) with a bright square round the middle of a cell, and the cells (count,)."""
    x, cells = 0.4 * torch.randn(count, 1, 32, 32), torch.randint(1, 7, (count, 2))
    for n, (row, column) in enumerate((4 * cells + 2).tolist()):
        x[n, 0, row - 4 : row + 4, column - 4 : column + 4] += 1.5
    return x, 8 * cells[:, 0] + cells[:, 1]


torch.manual_seed(0)
detector = Finder()
optimizer = torch.optim.Adam(detector.parameters(), lr=1e-2)
for _ in range(80):
    x, cells = draw(32)
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(detector(x).values[..., 0], cells).backward()
    optimizer.step()

detector.eval()
x, cells = draw(200)
with torch.no_grad():
    print(f"right: {float((detector(x).values[..., 0].argmax(1) == cells).float().mean()):.0%} of 200 new pictures")

# %%
# The most probable box of each picture, and why there is none in a corner: the mere noise there speaks against one.
targets = [cfcam.TopBoxes(1), cfcam.MissingBox([24, 0, 32, 8], 0)]
e = cfcam.explain(detector, x[:1], "hires-cam", targets=targets, layer="trunk", classes=["square"])
for name in e.target_names:
    print(name)
e.plot(x[:1]).savefig("detector.png")
