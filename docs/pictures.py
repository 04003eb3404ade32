"""Makes the pictures of the README and the documentation, of phantoms only: `python docs/pictures.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image as PILImage
from torch import nn

import cfcam
from cfcam.imaging import Image, Panel, Preprocess, contact_sheet
from cfcam.integrations import TrainingMaps
from cfcam.models.demo import CLASSES, EXAMPLES, load_demo_network, make_phantom

FOLDER = Path(__file__).parent / "images"
PREPROCESS = Preprocess()
RELATIVES = [
    "hires-cam",
    "xgrad-cam",
    "layer-cam",
    "ablation-cam",
    "eigen-cam",
    "eigen-grad-cam",
    "smooth-grad-cam++",
    "ss-cam",
    "is-cam",
    "finer-cam",
    "refine-cam",
    "occlusion",
]
RIVALS = ["grad-cam", "recipro-cam", "vit-recipro-cam", "winsor-cam", "shapley-cam", "expected-grad-cam", "kpca-cam"]
PIXELS = ["integrated-gradients", "smooth-grad", "full-grad", "guided-backprop", "guided-grad-cam"]


def sheet(
    example: str, methods: list, targets: object, *, shortcut: bool = False, title: str = "", pixels: bool = False
) -> np.ndarray:
    """A contact sheet of one example picture, explained by the honest or by the shortcut network.

    Maps of pixels are drawn without an outline, which would be all of the picture, and denser.
    """
    image = Image(make_phantom(**EXAMPLES[example]).image, None, "")
    network = load_demo_network(shortcut=shortcut)
    x = PREPROCESS(image)[None]
    e = cfcam.explain(network, x, methods, targets=targets, classes=CLASSES, probability="sigmoid")
    panels = [
        Panel(
            PREPROCESS.to_original(e.heatmaps(method)[0, k], image.size),
            method,
            e.label(0, k),
            e.probability(0, k),
            e.status[method][0, k],
            threshold=1.0 if pixels else None,
        )
        for k in range(e.targets.shape[1])
        for method in e.methods
    ]
    footer = f"{'' if pixels else f'layer {e.layer}, '}phantom, research use only"
    return contact_sheet(image.rgb(), panels, title=title, footer=footer, **({"opacity": 1.0} if pixels else {}))


def training() -> np.ndarray:
    """The strip of a small network that learns to see a consolidation."""
    torch.manual_seed(0)
    phantoms = [make_phantom(n, findings=["consolidation"] * (n % 2), size=96, conspicuity=1.3) for n in range(400)]
    pixels = torch.stack([torch.from_numpy(one.image).float()[None] for one in phantoms])
    x, labels = (pixels - pixels.mean()) / pixels.std(), torch.arange(len(phantoms)) % 2
    mask = torch.from_numpy(phantoms[3].masks["consolidation"])

    def block(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]

    blocks = [*block(1, 12), nn.MaxPool2d(2), *block(12, 24), nn.MaxPool2d(2), *block(24, 32), nn.MaxPool2d(2)]
    network = nn.Sequential(*blocks, *block(32, 32), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 2))
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    maps = TrainingMaps(x[3:4], 1, masks=mask[None], classes=["no finding", "consolidation"], names=["phantom 3"])
    maps(network, 0)
    for epoch in range(1, 15):
        network.train()
        for batch in torch.randperm(len(x)).split(16):
            nn.functional.cross_entropy(network(x[batch]), labels[batch]).backward()
            optimizer.step()
            optimizer.zero_grad()
        maps(network, epoch)
    return maps.strip(most=10)


def smaller(picture: np.ndarray, width: int = 1600) -> np.ndarray:
    height = round(picture.shape[0] * width / picture.shape[1])
    resized = PILImage.fromarray(picture).resize((width, height), PILImage.Resampling.LANCZOS)
    return np.asarray(resized)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    four = ["grad-cam", "grad-cam++", "score-cam", "cf-cam"]
    pictures = {
        "readme": sheet(
            "effusion-and-nodule",
            four,
            ["nodule", "effusion"],
            title="two findings, four methods, one forward pass for all but Score-CAM",
        ),
        "methods": sheet("consolidation", ["cam", *four], None, title="the methods side by side"),
        "relatives": sheet("effusion-and-nodule", RELATIVES, ["nodule"], title="the relatives, asked for the nodule"),
        "rivals": sheet("effusion-and-nodule", RIVALS, ["nodule"], title="the rivals, asked for the nodule"),
        "pixels": sheet(
            "effusion-and-nodule", PIXELS, ["nodule"], title="companions on the input's own grid", pixels=True
        ),
        "presets": sheet(
            "consolidation",
            ["cf-cam", "cf-cam-bilateral", "cf-cam-guided", "cf-cam-reference"],
            None,
            title="CF-CAM: the default and the published settings",
        ),
        "shortcut": sheet(
            "pacemaker",
            ["grad-cam", "score-cam", "cf-cam"],
            "consolidation",
            shortcut=True,
            title="the network that has learnt the pacemaker calls this consolidation",
        ),
        "honest": sheet(
            "pacemaker",
            ["grad-cam", "score-cam", "cf-cam"],
            ["no finding", "consolidation"],
            title="the honest network, same picture",
        ),
    }
    pictures["training"] = training()
    for name, picture in pictures.items():
        PILImage.fromarray(smaller(picture)).save(FOLDER / f"{name}.jpg", quality=88, optimize=True)


if __name__ == "__main__":
    main()
