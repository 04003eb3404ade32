"""Makes the pictures of the README and the documentation, of phantoms only: `python docs/pictures.py [NAME...]`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PILImage
from torch import nn

import cfcam
from cfcam.imaging import Image, Panel, Preprocess, contact_sheet
from cfcam.integrations import TrainingMaps
from cfcam.methods import SESS, GradCAM
from cfcam.models.demo import CLASSES, EXAMPLES, load_demo_captioner, load_demo_network, make_phantom

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
RIVALS = [
    "grad-cam",
    "recipro-cam",
    "vit-recipro-cam",
    "winsor-cam",
    "shapley-cam",
    "expected-grad-cam",
    "kpca-cam",
    "dff",
    SESS(GradCAM()),
]
FOUR = ["grad-cam", "grad-cam++", "score-cam", "cf-cam"]
BOTH = ["nodule", "effusion"]
PIXELS = ["integrated-gradients", "smooth-grad", "full-grad", "guided-backprop", "guided-grad-cam"]


def sheet(
    example: str,
    methods: list,
    targets: object,
    *,
    shortcut: bool = False,
    title: str = "",
    pixels: bool = False,
    a_row: bool = False,
) -> np.ndarray:
    """A contact sheet of one example picture, explained by the honest or by the shortcut network.

    Maps of pixels are drawn without an outline, which would be all of the picture, and denser. All classes of one
    method may stand in a row.
    """
    image = Image(make_phantom(**EXAMPLES[example]).image, None, "")
    network = load_demo_network(shortcut=shortcut)
    x = PREPROCESS(image)[None]
    e = cfcam.explain(network, x, methods, targets=targets, classes=CLASSES, probability="sigmoid")
    panels = [
        Panel(
            PREPROCESS.to_original(e.heatmaps(method)[0, k], image.size),
            *((e.label(0, k), method) if a_row else (method, e.label(0, k))),
            e.probability(0, k),
            e.status[method][0, k],
            threshold=1.0 if pixels else None,
        )
        for k in range(e.targets.shape[1])
        for method in e.methods
    ]
    footer = f"{'' if pixels else f'layer {e.layer}, '}phantom, research use only"
    opacity = {"opacity": 1.0} if pixels else {}
    return contact_sheet(image.rgb(), panels, title=title, footer=footer, **opacity)


def words() -> np.ndarray:
    """What the demo network that writes says of a phantom, each word over its map."""
    picture = make_phantom(1, findings=["nodule", "effusion"]).image
    found = cfcam.explain_text(load_demo_captioner(), picture)
    return found.strip(picture, panel_size=220, footer="hires-cam of image tokens, phantom, research use only")


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
    width = min(width, picture.shape[1])
    height = round(picture.shape[0] * width / picture.shape[1])
    resized = PILImage.fromarray(picture).resize((width, height), PILImage.Resampling.LANCZOS)
    return np.asarray(resized)


both = partial(sheet, "effusion-and-nodule")
PICTURES: dict[str, Callable[[], np.ndarray]] = {
    "words": words,
    "readme": partial(both, FOUR, BOTH, title="two findings, four methods, one forward pass for all but Score-CAM"),
    "methods": partial(sheet, "consolidation", ["cam", *FOUR], None, title="the methods side by side"),
    "cam": partial(both, ["cam", "grad-cam"], ["effusion"], title="CAM, and Grad-CAM, here its positive part"),
    "grad-cam": partial(both, ["grad-cam"], [*BOTH, "consolidation"], title="a map a class, found or not", a_row=True),
    "grad-cam-plus-plus": partial(
        both, ["grad-cam", "grad-cam++"], ["effusion"], title="positive gradients alone: a bit of the nodule, too"
    ),
    "score-cam": partial(both, ["grad-cam", "score-cam"], ["effusion"], title="by gradients, and by masks"),
    "relatives": partial(both, RELATIVES, ["nodule"], title="the relatives, asked for the nodule"),
    "rivals": partial(both, RIVALS, ["nodule"], title="the rivals, asked for the nodule"),
    "pixels": partial(both, PIXELS, ["nodule"], title="companions on the input's own grid", pixels=True),
    "presets": partial(
        sheet,
        "consolidation",
        [
            "cf-cam",
            "cf-cam-steady",
            "cf-cam-best",
            "cf-cam-hierarchical",
            "cf-cam-bilateral",
            "cf-cam-guided",
            "cf-cam-reference",
        ],
        None,
        title="CF-CAM: the default, over views, by masks, and the published settings",
    ),
    "shortcut": partial(
        sheet,
        "pacemaker",
        ["grad-cam", "score-cam", "cf-cam"],
        "consolidation",
        shortcut=True,
        title="the network that has learnt the pacemaker calls this consolidation",
    ),
    "honest": partial(
        sheet,
        "pacemaker",
        ["grad-cam", "score-cam", "cf-cam"],
        ["no finding", "consolidation"],
        title="the honest network, same picture",
    ),
    "training": training,
}


def main(names: list[str]) -> None:
    FOLDER.mkdir(exist_ok=True)
    for name in names or PICTURES:
        picture = PILImage.fromarray(smaller(PICTURES[name]()))
        picture.save(FOLDER / f"{name}.jpg", quality=88, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
