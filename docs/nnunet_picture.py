"""Makes a small nnU-Net folder with a scan of two modalities, and the picture of how-to/nnunet-and-monai-bundles.md.

Run ``python docs/nnunet_picture.py --out nnunet-example`` from the repository: it trains a small network of nnU-Net's
kind on drawn volumes (half a minute on one core) and writes ``network``, a folder as nnU-Net v2's training leaves it,
and ``scan_0000.nii.gz`` and ``scan_0001.nii.gz``. With ``--picture`` it draws the page's picture of them too.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests import nnunet

from cfcam.imaging import NnunetPreprocess, Volume

IMAGES = Path(__file__).parent / "images"
SIZE = (44, 40, 15)
_C, _S = np.cos(0.2), np.sin(0.2)
TILTED = np.array([[-_C, -_S, 0, 30], [_S, -_C, 0, 25], [0, 0, 3, -20], [0, 0, 0, 1]])
"""Voxels of 1 x 1 x 3 mm, two of their axes backwards, and turned by 11 degrees."""
LESION = 2


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A body with an organ that the first modality shows, and in it a lesion that the second one shows alone."""
    rng = np.random.default_rng(seed)
    mm = np.stack(np.meshgrid(*map(np.arange, SIZE), indexing="ij"), -1) * (1, 1, 3.0)
    middle = np.array([22, 20, 21.0])
    body = (((mm - middle) / (19, 17, 20)) ** 2).sum(-1) < 1
    organ_at = middle + rng.uniform(-4, 4, 3)
    organ = (((mm - organ_at) / (10, 9, 12)) ** 2).sum(-1) < 1
    lesion = (((mm - organ_at - rng.uniform(-3, 3, 3)) / 5.5) ** 2).sum(-1) < 1
    labels = np.where(lesion, LESION, np.where(organ, 1, 0))
    first = body * (60 + 60 * organ + rng.normal(0, 8, SIZE))
    second = body * (100 + 80 * lesion + rng.normal(0, 10, SIZE))
    return np.stack([first, second]).astype(np.float32), labels


def plans() -> dict[str, Any]:
    made = deepcopy(nnunet.PLANS)
    base = made["configurations"]["3d_base"]
    base["patch_size"] = [16, 24, 24]
    base["architecture"]["arch_kwargs"] |= {"features_per_stage": [8, 16], "n_conv_per_stage": [2, 2]}
    return made


def train(steps: int, how: NnunetPreprocess) -> torch.nn.Module:
    """The plans' network, trained on patches of drawn volumes with cross entropy."""
    network = nnunet.network(plans()).train()
    network.decoder.deep_supervision = False
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    rng = np.random.default_rng(0)
    seen = []
    for seed in range(1, 7):
        voxels, labels = drawn(seed)
        volume = Volume(voxels, TILTED)
        classes = [how.mask(torch.from_numpy(labels == c), volume) for c in (1, LESION)]
        seen.append((how(volume), classes[0] + 2 * classes[1].long()))
    for step in range(steps):
        x, y = seen[step % len(seen)]
        start = [int(rng.integers(0, extent - side + 1)) for extent, side in zip(y.shape, how.patch, strict=True)]
        here = tuple(slice(at, at + side) for at, side in zip(start, how.patch, strict=True))
        loss = F.cross_entropy(network(x[(slice(None), *here)][None]), y[here][None], torch.tensor([1.0, 2.0, 4.0]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval()


def make(out: Path, steps: int) -> None:
    """Writes the folder of the network, and the scan."""
    own = plans()
    base, full = own["configurations"]["3d_base"], own["configurations"]["3d_fullres"]
    how = NnunetPreprocess(
        orientation=None,
        spacing=tuple(full["spacing"]),
        schemes=tuple(base["normalization_schemes"]),
        within=tuple(base["use_mask_for_norm"]),
        properties=({name: nnunet.CT[name] for name in ("mean", "std", "percentile_00_5", "percentile_99_5")}, {}),
        patch=tuple(base["patch_size"]),
    )
    dataset = nnunet.DATASET | {"labels": {"background": 0, "organ": 1, "lesion": LESION}}
    nnunet.folder(out / "network", plans=own, dataset=dataset, network_weights=train(steps, how).state_dict())
    voxels, labels = drawn(99)
    for n, channel in enumerate(voxels):
        image = nib.Nifti1Image(channel, TILTED)
        image.header.set_xyzt_units("mm")
        nib.save(image, out / f"scan_{n:04d}.nii.gz")
    nib.save(nib.Nifti1Image(labels.astype(np.uint8), TILTED), out / "labels.nii.gz")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--picture", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as elsewhere:
        out = asked.out or Path(elsewhere)
        make(out, asked.steps)
        if asked.picture:
            command = ["explain", "scan_0000.nii.gz", "--model", "nnunet:network", "--target", "lesion"]
            given = ["--method", "grad-cam", "--method", "hires-cam", "--save", "sheet", "-o", "maps"]
            subprocess.run([sys.executable, "-m", "cfcam.cli", *command, *given], cwd=out, check=True)  # noqa: S603
            from PIL import Image

            with Image.open(out / "maps" / "scan_0000_sheet.png") as sheet:
                smaller = sheet.convert("RGB").resize((1400, round(sheet.height * 1400 / sheet.width)))
            smaller.save(IMAGES / "nnunet.jpg", quality=88, optimize=True)


if __name__ == "__main__":
    main()
