"""Makes a small detector with a radiograph, and the picture of how-to/detectors.md.

Run ``python docs/detector_picture.py --out detector-example`` from the repository: it trains a small detector on drawn
phantoms (half a minute on one core) and writes ``network.py``, whose ``finder`` loads it, ``finder.pt``, its weights,
and ``chest.png``. With ``--picture`` it draws the page's picture of them too, by the page's own command.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from cfcam.models import load
from cfcam.models.demo import make_phantom

IMAGES = Path(__file__).parent / "images"
NAMES = ["consolidation", "effusion"]
ASKED = ["box-1", "box-2", "no effusion at 296,272,368,360"]
NETWORK = '''from pathlib import Path

import torch
from torch import nn

from cfcam.capture import Detections


class Finder(nn.Module):
    """For each of 12 x 12 cells two logits, of a consolidation and an effusion, and the corners of its box."""

    def __init__(self):
        super().__init__()

        def block(inputs, outputs):
            return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]

        widths = [*block(1, 12), nn.MaxPool2d(2), *block(12, 24), nn.MaxPool2d(2), *block(24, 48), nn.MaxPool2d(2)]
        self.trunk = nn.Sequential(*widths, *block(48, 48), *block(48, 48))
        self.head = nn.Conv2d(48, 6, 1)

    def forward(self, x):
        raw = self.head(self.trunk(x)).flatten(2).transpose(1, 2)
        rows, columns = torch.meshgrid(torch.arange(12) * 8.0 + 4, torch.arange(12) * 8.0 + 4, indexing="ij")
        centres, reach = torch.stack([columns, rows], -1).reshape(1, -1, 2), 8 * nn.functional.softplus(raw[..., 2:])
        boxes = torch.cat([centres - reach[..., :2], centres + reach[..., 2:]], -1)
        return Detections(boxes, raw[..., :2] - 3)


def finder():
    network = Finder()
    network.load_state_dict(torch.load(Path(__file__).with_name("finder.pt"), weights_only=True))
    return network
'''


def trained(out: Path, epochs: int, count: int) -> None:
    """Writes the network's file, its weights, and a radiograph of four times the size that it sees."""
    (out / "network.py").write_text(NETWORK, encoding="utf-8")
    torch.manual_seed(0)
    phantoms = [
        make_phantom(n, findings=[name for bit, name in enumerate(NAMES) if n >> bit & 1], size=96)
        for n in range(count)
    ]
    pixels = torch.stack([torch.from_numpy(one.image).float()[None] for one in phantoms]) / 255
    x, truth, known = (pixels - 0.5) / 0.25, torch.zeros(count, 144, 2), torch.zeros(count, 144, 4)
    for n, one in enumerate(phantoms):
        for label, name in enumerate(NAMES):
            if one.masks.get(name) is not None and one.masks[name].any():
                rows, columns = one.masks[name].nonzero()
                box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                cell = int((box[1] + box[3]) / 2 // 8) * 12 + int((box[0] + box[2]) / 2 // 8)
                truth[n, cell, label], known[n, cell] = 1, torch.tensor(np.array(box, float))
    network = load(f"{out / 'network.py'}:Finder").module
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(epochs):
        network.train()
        for batch in torch.randperm(len(x)).split(16):
            found, there = network(x[batch]), truth[batch].amax(2) > 0
            wrong = nn.functional.binary_cross_entropy_with_logits(
                found.values, truth[batch], reduction="none", pos_weight=torch.tensor(10.0)
            )
            off = nn.functional.l1_loss(found.boxes[there], known[batch][there])
            (wrong.sum() / len(batch) + off / 8).backward()
            optimizer.step()
            optimizer.zero_grad()
    torch.save(network.state_dict(), out / "finder.pt")
    Image.fromarray(phantoms[3].image.repeat(4, 0).repeat(4, 1)).save(out / "chest.png")  # one with both


def command(out: Path) -> list[str]:
    """Returns the page's command, which explains two boxes and one that is not there."""
    where = ["--model", f"{out / 'network.py'}:finder", "--classes", ",".join(NAMES), "--layer", "trunk.11"]
    prepared = ["--size", "96", "--mean", "0.5", "--std", "0.25", "--method", "hires-cam"]
    asked = [word for target in ASKED for word in ("--target", target)]
    return [sys.executable, "-m", "cfcam.cli", "explain", str(out / "chest.png"), *where, *prepared, *asked]


def main() -> None:
    """Makes the example, and its picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--phantoms", type=int, default=400)
    parser.add_argument("--picture", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        out = given.out or Path(temporary)
        out.mkdir(parents=True, exist_ok=True)
        trained(out, given.epochs, given.phantoms)
        if given.picture:
            subprocess.run([*command(out), "-o", str(out / "maps")], check=True)  # noqa: S603 (our own)
            sheet = Image.open(out / "maps" / "chest_sheet.png").convert("RGB")
            sheet.save(IMAGES / "detector.jpg", quality=90)


if __name__ == "__main__":
    main()
