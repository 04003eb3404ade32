"""How often ``cfcam doctor`` names the right normalisation of networks without BatchNorms, and how often a wrong one.

    CFCAM_DATA=... python benchmarks/doctor_normalisation.py

Every network answers to 96 random pictures in every normalisation once; then 300 random draws of 8, 16 and 32 of these
pictures are judged, as the doctor would. All three networks want (p - 128)/128.
"""

from __future__ import annotations

import importlib.util
import os
import random
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import torch

from cfcam.capture import Network
from cfcam.diagnosis import normalisation as judged
from cfcam.diagnosis.setup import Setup
from cfcam.imaging import Preprocess, read_image

NETWORKS = {
    "ultrasound": ("busi_mobilenet_v2", "busi-breast-ultrasound/images"),
    "chest": ("cxr_mobilenet_v2", "cxr-nih-pneumonia/images"),
    "ImageNet": ("imagenet_mobilenet_v2", "imagenet-val-boxes/images"),
}
PICTURES, DRAWS = 96, 300


def main() -> None:
    """Prints a line for each network and number of pictures."""
    data = Path(os.environ["CFCAM_DATA"])
    spec = importlib.util.spec_from_file_location("networks", data / "networks.py")
    assert spec is not None
    assert spec.loader is not None
    networks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(networks)
    out = sys.stdout
    out.write("| network | pictures | right | wrong | not judged |\n|---|---|---|---|---|\n")
    prepare = Preprocess(mean=(0.0,) * 3, std=(1.0,) * 3)
    for name, (factory, folder) in NETWORKS.items():
        files = random.Random(11).sample(sorted((data / folder).iterdir()), PICTURES)  # noqa: S311 (a draw)
        pixels = torch.stack([prepare(read_image(file)) for file in files])
        setup = Setup(getattr(networks, factory)(), Network(getattr(networks, factory)()), pixels[:8])
        collected = _collected(setup, pixels)
        for count in (8, 16, 32):
            found = Counter(_judged(collected, count, seed) for seed in range(DRAWS))
            right = found.pop(judged.HALVES, 0)
            none = found.pop(None, 0)
            shares = (f"{100 * n / DRAWS:.1f} %" for n in (right, sum(found.values()), none))
            out.write(f"| {name} | {count} | {' | '.join(shares)} |\n")
            out.flush()


def _collected(setup: Setup, pixels: torch.Tensor) -> dict[str, tuple[judged.Answers, torch.Tensor]]:
    found = {}
    agreement = judged._agreement
    for name, x in judged.normalised(pixels).items():
        kept: list[torch.Tensor] = []
        judged._agreement = lambda one, other, kept=kept: kept.append(torch.stack([one, other])) or 0.0
        found[name] = (judged._answers(setup, x), kept[0])
    judged._agreement = agreement
    return found


def _judged(collected: dict[str, tuple[judged.Answers, torch.Tensor]], count: int, seed: int) -> str | None:
    drawn = torch.tensor(random.Random(seed).sample(range(PICTURES), count))  # noqa: S311 (a draw)
    answers = {
        name: replace(
            one,
            entropy=one.entropy[drawn],
            probabilities=one.probabilities[drawn],
            mirrored=judged._agreement(*features[:, drawn]),
        )
        for name, (one, features) in collected.items()
    }
    return judged._best(answers)[0]


if __name__ == "__main__":
    main()
