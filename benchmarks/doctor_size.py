"""How often ``cfcam doctor`` leaves the right size and way of resizing alone possible, among others, or out.

    CFCAM_DATA=... python -m benchmarks.doctor_size

First the three real networks, which have no BatchNorm: at which size their answers to 48 pictures are surest and differ
most. All want 224 x 224, and the answers say otherwise, which is why the doctor does not ask them. Then the demo
network and small ones that are trained here (a minute each), of which size and resizing are known: 48 pictures that
they have not seen are prepared in every way once, and 100 random draws of 16 of them are judged as the doctor would.
"""

from __future__ import annotations

import importlib.util
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image as Picture
from torch import Tensor, nn

from cfcam.capture import Network
from cfcam.diagnosis import fit
from cfcam.diagnosis import normalisation as answers
from cfcam.diagnosis.setup import Setup
from cfcam.imaging import Image, Preprocess, read_image
from cfcam.imaging.preprocess import Resize
from cfcam.models.demo import load_demo_network, sample_phantom

REAL = {
    "ultrasound": ("busi_mobilenet_v2", "busi-breast-ultrasound"),
    "chest": ("cxr_mobilenet_v2", "cxr-nih-pneumonia"),
    "ImageNet": ("imagenet_mobilenet_v2", "imagenet-val-boxes"),
}
TRAINED: tuple[tuple[str, int, Resize, bool], ...] = (
    ("busi-breast-ultrasound", 96, "stretch", False),
    ("busi-breast-ultrasound", 128, "stretch", False),
    ("busi-breast-ultrasound", 96, "shorter-side+crop", False),
    ("busi-breast-ultrasound", 96, "pad", False),
    ("cxr-nih-pneumonia", 128, "stretch", False),
    ("busi-breast-ultrasound", 96, "stretch", True),
)
PICTURES, COUNT, DRAWS, TRAINING, EPOCHS = 48, 16, 100, 400, 12
HALF = (0.5,) * 3


def main() -> None:
    """Prints both tables."""
    data = Path(os.environ["CFCAM_DATA"])
    out = sys.stdout
    out.write("| network (true size 224) | surest at | answers differ most at |\n|---|---|---|\n")
    for name, (factory, folder) in REAL.items():
        surest, telling = _by_answers(data, factory, _files(data / folder)[:PICTURES])
        out.write(f"| {name} | {surest} | {telling} |\n")
        out.flush()
    out.write("\n| network | pictures | open | right alone | left open | right left out | assumed 224 left out |\n")
    out.write("|---|---|---|---|---|---|---|\n")
    how, images = _phantoms()
    _report("demo", load_demo_network(), how, images, ("stretch", (224, 224)))
    for folder, side, way, zooms in TRAINED:
        files = _files(data / folder)
        how = Preprocess(size=side, resize=way, mean=HALF, std=HALF)
        network = _trained(files[:TRAINING], how, zooms=zooms)
        images = [read_image(file) for file in files[-PICTURES:]]
        name = f"{folder.split('-')[0]}, {side}, {way}{', random zooms' if zooms else ''}"
        _report(name, network, how, images, (way, (side, side)))


def _files(folder: Path) -> list[Path]:
    files = sorted((folder / "images").iterdir())
    random.Random(0).shuffle(files)  # noqa: S311 (a draw)
    return files


def _by_answers(data: Path, factory: str, files: Sequence[Path]) -> tuple[int, int]:
    spec = importlib.util.spec_from_file_location("networks", data / "networks.py")
    assert spec is not None
    assert spec.loader is not None
    networks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(networks)
    network = getattr(networks, factory)()
    entropy, information = {}, {}
    for side in fit.SIZES:
        how = Preprocess(size=side, mean=(128 / 255,) * 3, std=(128 / 255,) * 3)
        x = torch.stack([how(read_image(file)) for file in files])
        found = answers._answers(Setup(network, Network(network), x[:8]), x)
        entropy[side] = float(found.entropy.mean())
        information[side] = float(found.information(torch.full((1, len(x)), 1 / len(x), dtype=torch.float64)))
    return min(entropy, key=entropy.__getitem__), max(information, key=information.__getitem__)


def _phantoms() -> tuple[Preprocess, list[Image]]:
    images = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(PICTURES):
            file = Path(folder, f"{seed}.png")
            Picture.fromarray(sample_phantom(9_000_000 + seed).image).save(file)
            images.append(read_image(file))
    return Preprocess(), images


def _small() -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for wanted, stride in ((16, 2), (32, 2), (64, 2), (64, 1), (96, 2), (128, 1)):
        layers += [nn.Conv2d(channels, wanted, 3, stride, 1, bias=False), nn.BatchNorm2d(wanted), nn.ReLU()]
        channels = wanted
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 3))


def _label(file: Path) -> int:
    """Benign, malignant or normal by the name of an ultrasound picture; of others, noise: features form as well."""
    return {"b": 0, "m": 1, "n": 2}.get(file.name[0], sum(map(ord, file.stem)) % 2)


def _trained(files: Sequence[Path], how: Preprocess, *, zooms: bool) -> nn.Module:
    torch.manual_seed(0)
    network = _small()
    side = how.input_size[0]
    larger = Preprocess(size=2 * side, resize=how.resize, mean=how.mean, std=how.std) if zooms else how
    x, y = torch.stack([larger(read_image(file)) for file in files]), torch.tensor([_label(file) for file in files])
    optimiser = torch.optim.AdamW(network.parameters(), 2e-3)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(x)).split(32):
            pictures = _zoomed(x[batch], side) if zooms else x[batch]
            loss = F.cross_entropy(network(pictures), y[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return network.eval()


def _zoomed(x: Tensor, side: int) -> Tensor:
    """A random square of 30 to 100 % of the pictures' area, as in the usual training on ImageNet."""
    cut = int(x.shape[-1] * float(torch.empty(1).uniform_(0.3, 1).sqrt()))
    top, left = torch.randint(x.shape[-1] - cut + 1, (2,)).tolist()
    return F.interpolate(x[:, :, top : top + cut, left : left + cut], (side, side), mode="bilinear", antialias=True)


def _report(name: str, network: nn.Module, how: Preprocess, images: Sequence[Image], truth: fit.Way) -> None:
    setup = Setup(network, Network(network), torch.zeros(1, 3, *truth[1]))
    square = all(image.size[0] == image.size[1] for image in images)
    ways = [way for way in fit.WAYS if way != "pad" or not square]
    trials = [(way, (side, side)) for side in fit.SIZES for way in ways]
    seen = {
        (way, size): fit.joined([fit.moments(setup, replace(how, resize=way, size=size)(image)) for image in images])
        for way, size in trials
    }
    _line(name, "size and resizing", [_drawn(seen, trials, n) for n in range(DRAWS)], truth)
    of_size = [trial for trial in trials if trial[0] == truth[0]]
    _line(name, "size", [_drawn(seen, of_size, n) for n in range(DRAWS)], truth)
    if not square:
        of_way = [trial for trial in trials if trial[1] == truth[1]]
        _line(name, "resizing", [_drawn(seen, of_way, n) for n in range(DRAWS)], truth)


def _drawn(seen: dict[fit.Way, list[fit.Moments]], trials: Sequence[fit.Way], seed: int) -> fit.Fit:
    i = torch.tensor(random.Random(seed).sample(range(PICTURES), COUNT))  # noqa: S311 (a draw)
    return fit.judged({t: [fit.Moments(o.norm, o.mean[i], o.square[i]) for o in seen[t]] for t in trials})


def _line(name: str, what: str, found: Sequence[fit.Fit], truth: fit.Way) -> None:
    count: Counter[str] = Counter()
    for one in found:
        right = truth in one.possible
        alone = len(one.ways if what == "resizing" else one.sizes) == 1
        verdict = "not judged" if not one.fits else "alone" if right and alone else "among" if right else "wrong"
        count[verdict] += 1
        count["224"] += one.fits and (224, 224) not in one.sizes
    open_ = count["among"] + count["not judged"]
    last = f"{count['224']} %" if what != "resizing" and truth[1] != (224, 224) else ""
    sys.stdout.write(f"| {name} | {COUNT} | {what} | {count['alone']} % | {open_} % | {count['wrong']} % | {last} |\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
