"""A 3-D network on real volumes, from training to the share of a map inside a label: `python docs/hippocampus.py`.

The volumes are MR crops around the hippocampus with voxel labels of its anterior and posterior part (Medical
Segmentation Decathlon, task 4), in the folder that CFCAM_DATA names. A small network learns to tell a half with the
anterior part from one with the posterior part; it never sees the labels. Then its maps are held against them.
About two minutes on one core. Weights are not kept; `--out FOLDER` writes maps (NIfTI) and figures.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import cfcam
from cfcam.imaging import (
    Panel,
    Volume,
    VolumePreprocess,
    read_volume,
    save_image,
    save_map_nifti,
    slices_figure,
    volume_sheet,
)

CLASSES = ("anterior", "posterior")
HALF = 24  # voxels of 1 mm from the back to the front of a half
PREPROCESS = VolumePreprocess(orientation="RAS", spacing=1.0, size=(32, HALF, 32))
METHODS = ("grad-cam", "cf-cam", "score-cam")
CONTROL = "(centre)"  # a blob in the middle of every half, whatever the network says


@dataclass(frozen=True)
class Half:
    """A crop with its class (0 anterior, 1 posterior) and the voxels of that part."""

    name: str
    volume: Volume
    part: np.ndarray
    target: int


class SmallNet(nn.Module):
    """Four convolutions to a map of a quarter of each side, averaged."""

    def __init__(self) -> None:
        super().__init__()

        def block(inputs: int, outputs: int) -> list[nn.Module]:
            return [nn.Conv3d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm3d(outputs), nn.ReLU()]

        self.features = nn.Sequential(
            *block(1, 12), nn.MaxPool3d(2), *block(12, 24), nn.MaxPool3d(2), *block(24, 32), *block(32, 32)
        )
        self.head = nn.Linear(32, len(CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3, 4)))


def halves(folder: Path) -> list[list[Half]]:
    """Two halves of each volume, around the middle of its anterior and of its posterior part."""
    found = []
    for path in sorted((folder / "images").glob("*.nii.gz")):
        volume, labels = read_volume(path), read_volume(folder / "labels" / path.name).voxels
        pair = []
        for target in range(len(CLASSES)):
            part = labels == target + 1
            middle = round(float(np.argwhere(part)[:, 1].mean()))
            start = min(max(middle - HALF // 2, 0), volume.size[1] - HALF)
            affine = np.array(volume.affine)
            affine[:3, 3] = volume.place((0, start, 0))
            cut = (slice(None), slice(start, start + HALF))
            pair.append(Half(path.name.removesuffix(".nii.gz"), Volume(volume.voxels[cut], affine), part[cut], target))
        found.append(pair)
    return found


def augmented(x: Tensor, generator: torch.Generator) -> Tensor:
    """Shifts by up to 3 voxels, mirrors left and right, and changes contrast and noise."""
    shifts = torch.randint(-3, 4, (3,), generator=generator).tolist()
    x = torch.roll(F.pad(x, [3] * 6, mode="replicate"), shifts, (2, 3, 4))[..., 3:-3, 3:-3, 3:-3]
    if torch.rand((), generator=generator) < 0.5:
        x = x.flip(2)
    scale = 1 + 0.2 * torch.randn(len(x), 1, 1, 1, 1, generator=generator)
    return x * scale + 0.1 * torch.randn(x.shape, generator=generator)


def train(network: SmallNet, examples: list[Half], epochs: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.stack([PREPROCESS(half.volume) for half in examples])
    targets = torch.tensor([half.target for half in examples])
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=epochs)
    network.train()
    for epoch in range(epochs):
        order = torch.randperm(len(inputs), generator=generator)
        losses = []
        for batch in order.split(7):
            loss = F.cross_entropy(network(augmented(inputs[batch], generator)), targets[batch], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        schedule.step()
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1}: loss {np.mean(losses):.3f}")
    network.eval()


def energy(heat: np.ndarray, part: np.ndarray) -> tuple[float, float]:
    """The share of a map's energy inside a part, and how often that is the part's share of the voxels."""
    share = float(heat[part].sum() / heat.sum())
    return share, share / float(part.mean())


def centred(shape: tuple[int, ...]) -> np.ndarray:
    """A Gaussian in the middle, with a standard deviation of a quarter of each side."""
    places = [(np.arange(n) - (n - 1) / 2) / (n / 4) for n in shape]
    return np.exp(-0.5 * sum(axis**2 for axis in np.meshgrid(*places, indexing="ij")))


def explain(network: SmallNet, examples: list[Half], out: Path | None) -> dict[tuple[str, str], np.ndarray]:
    """Shares and enrichments of each method and class, over the halves that were classified rightly."""
    results: dict[tuple[str, str], list[tuple[float, float]]] = {}
    explainer = cfcam.Explainer(network, METHODS, classes=CLASSES)
    for half in examples:
        e = explainer(PREPROCESS(half.volume)[None], half.target)
        control = energy(centred(half.part.shape), half.part)
        results.setdefault((CONTROL, CLASSES[half.target]), []).append(control)
        panels = []
        for method in METHODS:
            status = str(e.status[method][0, 0])
            if status != "ok":
                print(f"{half.name} {CLASSES[half.target]} {method}: {status}")
                continue
            heat = PREPROCESS.to_original(e.heatmaps(method)[0, 0], half.volume).numpy()
            results.setdefault((method, CLASSES[half.target]), []).append(energy(heat, half.part))
            panels.append(Panel(heat, method, CLASSES[half.target], e.probability(0, 0), status))
            if out is not None:
                save_map_nifti(heat, half.volume, out / f"{half.name}_{CLASSES[half.target]}_{method}.nii.gz")
        if out is not None:
            title = f"{half.name}, {CLASSES[half.target]} half"
            save_image(volume_sheet(half.volume, panels, title=title), out / f"{half.name}_{CLASSES[half.target]}.png")
            figure = slices_figure(half.volume, panels[0].heatmap, title=f"{title}: {panels[0].method}")
            save_image(figure, out / f"{half.name}_{CLASSES[half.target]}_slices.png")
    return {key: np.array(values) for key, values in results.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and augmentation")
    parser.add_argument("--out", type=Path, help="write maps and figures of the held-out volumes")
    arguments = parser.parse_args()
    started = time.perf_counter()
    torch.manual_seed(arguments.seed)
    pairs = halves(Path(os.environ["CFCAM_DATA"], "hippocampus-mri3d"))
    held_out = len(pairs) // 3
    learnt, kept = pairs[:-held_out], [half for pair in pairs[-held_out:] for half in pair]
    network = SmallNet()
    train(network, [half for pair in learnt for half in pair], arguments.epochs, arguments.seed)
    with torch.no_grad():
        predicted = network(torch.stack([PREPROCESS(half.volume) for half in kept])).argmax(1).tolist()
    right = [half for half, answer in zip(kept, predicted, strict=True) if answer == half.target]
    print(f"held out: {len(right)} of {len(kept)} halves of {held_out} volumes are told rightly")
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
    print(
        "energy of the map inside the part that names the half (mean; least to most), and how often its share of voxels"
    )
    for (method, part), values in explain(network, right, arguments.out).items():
        share, times = values.T
        spread = f"{share.min():.2f} to {share.max():.2f}"
        print(f"{method:10} {part:10} {share.mean():.2f} ({spread}), {times.mean():.1f} times, n = {len(values)}")
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
