"""Train a demo network from nothing: `python -m cfcam.models.demo.train [--shortcut] [--out DIR]`.

It draws its own phantoms, trains for some minutes on two cores, measures the network on phantoms it has never
seen (drawn at 512 pixels and stretched, as a user's picture is), and writes the weights with their card.
"""

import argparse
import json
import logging
import platform
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor

from cfcam.models.demo import evaluate
from cfcam.models.demo.network import CLASSES, INPUT_SIZE, DemoNet, file_stem, preprocess
from cfcam.models.demo.phantoms import Phantom, make_phantom, sample_phantom

log = logging.getLogger(__name__)

TRAIN_SEEDS: Final = range(1_000_000, 1_004_000)
TEST_SEEDS: Final = range(2_000_000, 2_000_500)
PAIR_SEEDS: Final = range(3_000_000, 3_000_100)
HEAT_SEEDS: Final = range(4_000_000, 4_000_060)
EPOCHS: Final = 10
BATCH: Final = 32
PEAK_RATE: Final = 4e-3
WEIGHT_DECAY: Final = 0.02
THREADS: Final = 2


def draw(seeds: Sequence[int], size: int, world: str) -> tuple[Tensor, Tensor]:
    """Phantoms at random, drawn by two processes: grey images (N, size, size), uint8, and labels (N, 4)."""
    with ProcessPoolExecutor(THREADS, mp_context=get_context("spawn")) as pool:
        return evaluate.stack(list(pool.map(partial(_draw, size=size, world=world), seeds, chunksize=50)))


def _draw(seed: int, size: int, world: str) -> Phantom:
    phantom = sample_phantom(seed, size=size, world="shortcut" if world == "shortcut" else "honest")
    return Phantom(phantom.image, {}, phantom.findings, phantom.devices, seed)


def augment(images: Tensor, rng: torch.Generator) -> Tensor:
    """Zoom, shift, softness, contrast, brightness and noise at random; (N, H, W) in [0, 255] in and out."""
    n, height, width = images.shape

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, 1, 1, generator=rng)

    zoom, across, down = uniform(0.93, 1.05), uniform(-0.06, 0.06), uniform(-0.06, 0.06)
    zero = torch.zeros_like(zoom)
    warp = torch.cat([torch.cat([zoom, zero, across], 2), torch.cat([zero, zoom, down], 2)], 1)
    grid = F.affine_grid(warp, [n, 1, height, width], align_corners=False)
    x = F.grid_sample(images[:, None].float(), grid, align_corners=False, padding_mode="border")[:, 0]
    x = x + uniform(0.0, 0.8) * (F.avg_pool2d(x, 3, 1, 1, count_include_pad=False) - x)
    x = (x - 110) * uniform(0.8, 1.2) + 110 + uniform(-22, 22)
    x = x + uniform(0.0, 5.0) * torch.randn(x.shape, generator=rng)
    return x.clamp(0, 255)


def fit(images: Tensor, truth: Tensor, *, epochs: int = EPOCHS, seed: int = 0) -> DemoNet:
    """Train a network on grey images (N, 224, 224) and labels (N, 4); returned in eval mode."""
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    network = DemoNet()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(network.parameters(), lr=PEAK_RATE, weight_decay=WEIGHT_DECAY)
    steps = len(images) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, PEAK_RATE, total_steps=epochs * steps, pct_start=0.2, cycle_momentum=False
    )
    for epoch in range(epochs):
        start, total = time.perf_counter(), 0.0
        for batch in torch.randperm(len(images), generator=rng)[: steps * BATCH].split(BATCH):
            x = preprocess(augment(images[batch], rng)).contiguous(memory_format=torch.channels_last)
            loss = F.binary_cross_entropy_with_logits(network(x), truth[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
        log.info("epoch %d of %d: loss %.4f, %.0f s", epoch + 1, epochs, total / steps, time.perf_counter() - start)
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return network.eval()


def measure(network: DemoNet, world: str) -> dict[str, Any]:
    """The figures of a card: test scores in its own and in the honest world, pacemaker effect, heat."""
    worlds = {"test": draw(TEST_SEEDS, 512, world)}
    if world != "honest":
        worlds["test_honest"] = draw(TEST_SEEDS, 512, "honest")
    card: dict[str, Any] = {
        name: evaluate.scores(evaluate.predict(network, images), truth) for name, (images, truth) in worlds.items()
    }
    card["pacemaker_effect"] = evaluate.pacemaker_effect(network, *evaluate.pacemaker_pairs(PAIR_SEEDS))
    card["heat"] = {
        name: evaluate.heat_share(
            network, [make_phantom(seed, size=INPUT_SIZE, findings=[name]) for seed in HEAT_SEEDS], name, name
        )
        for name in CLASSES[1:]
    }
    paced = [make_phantom(seed, size=INPUT_SIZE, devices=["pacemaker"]) for seed in HEAT_SEEDS]
    card["heat"]["consolidation on pacemaker"] = evaluate.heat_share(network, paced, "consolidation", "pacemaker")
    return card


def train(shortcut: bool, out: Path) -> dict[str, Any]:
    """Train and measure one network; write its weights and its card to `out`; return the card."""
    torch.set_num_threads(THREADS)
    start = time.perf_counter()
    world = "shortcut" if shortcut else "honest"
    images, truth = draw(TRAIN_SEEDS, INPUT_SIZE, world)
    drawn = time.perf_counter()
    log.info("%d training phantoms in %.0f s", len(images), drawn - start)
    network = fit(images, truth)
    trained = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    safetensors.torch.save_file(weights, out / f"{file_stem(shortcut)}.safetensors")
    card = {
        "world": world,
        "classes": list(CLASSES),
        "parameters": sum(p.numel() for p in network.parameters()),
        **measure(network, world),
        "train_phantoms": len(images),
        "epochs": EPOCHS,
        "seeds": {
            "train": [TRAIN_SEEDS.start, TRAIN_SEEDS.stop],
            "test": [TEST_SEEDS.start, TEST_SEEDS.stop],
            "pacemaker_pairs": [PAIR_SEEDS.start, PAIR_SEEDS.stop],
            "heat": [HEAT_SEEDS.start, HEAT_SEEDS.stop],
        },
        "seconds": {"drawing": round(drawn - start, 1), "training": round(trained - drawn, 1)},
        "threads": THREADS,
        "command": "python -m cfcam.models.demo.train" + (" --shortcut" if shortcut else ""),
        "versions": {
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }
    card["seconds"]["all"] = round(time.perf_counter() - start, 1)
    (out / f"{file_stem(shortcut)}.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return card


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m cfcam.models.demo.train", description=__doc__)
    parser.add_argument("--shortcut", action="store_true", help="train in the world where pacemakers mark the sick")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder for weights and card")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    log.info("%s", json.dumps(train(arguments.shortcut, arguments.out), indent=2))


if __name__ == "__main__":
    main()
