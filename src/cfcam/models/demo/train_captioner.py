"""Train the demo network that writes from nothing: `python -m cfcam.models.demo.train_captioner [--out DIR]`.

What looks stays the honest demo network's; what writes learns from phantoms that it draws itself, in about a minute.
"""

import argparse
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor

from cfcam.models.demo.captioner import WEIGHTS, captioning_network, describe, questions, tokenizer
from cfcam.models.demo.network import preprocess
from cfcam.models.demo.phantoms import sample_phantom

log = logging.getLogger(__name__)

TRAIN_SEEDS: Final = range(5_000_000, 5_001_200)
STEPS: Final = 1200
BATCH: Final = 64
PEAK_RATE: Final = 3e-3
END: Final = "</s>"


def examples(seeds: Sequence[int], network: Any) -> tuple[Tensor, list[list[tuple[str, str]]]]:
    """Returns the image tokens (N, 196, 144) of phantoms in half precision, and of each prompts with texts."""
    tokens, texts = [], []
    for seed in seeds:
        phantom = sample_phantom(seed, size=224)
        with torch.no_grad():
            tokens.append(network.encoder(preprocess(torch.from_numpy(phantom.image)[None]))[0].half())
        texts.append([("", describe(phantom)), *questions(phantom)])
    return torch.cat(tokens), texts


def train(seeds: Sequence[int] = TRAIN_SEEDS, steps: int = STEPS, batch: int = BATCH) -> Any:
    """Returns the trained network."""
    torch.manual_seed(0)
    network, words = captioning_network(), tokenizer()
    began = time.monotonic()
    tokens, texts = examples(seeds, network)
    log.info("%d phantoms in %.0f s", len(seeds), time.monotonic() - began)
    rng = torch.Generator().manual_seed(0)
    learned = [p for name, p in network.named_parameters() if not name.startswith("encoder.")]
    optimiser = torch.optim.AdamW(learned, lr=PEAK_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_RATE, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        chosen = torch.randint(len(tokens), (batch,), generator=rng)
        which = [int(n) for n in torch.randint(9, (batch,), generator=rng)]
        rows, starts = [], []
        for image, number in zip(chosen.tolist(), which, strict=True):
            prompt, text = texts[image][max(0, number - 2)]  # a caption in three of nine
            before = [1, *words(prompt)["input_ids"]] if prompt else [1]
            rows.append([*before, *words(text)["input_ids"], 2])
            starts.append(len(before))
        length = max(map(len, rows))
        ids = torch.tensor([[*row, *[0] * (length - len(row))] for row in rows])
        logits = network(
            encoder_outputs=(tokens[chosen].float(),), decoder_input_ids=ids[:, :-1], use_cache=False
        ).logits
        place = torch.arange(1, length)[None]
        told = (place >= torch.tensor(starts)[:, None]) & (place < torch.tensor([len(row) for row in rows])[:, None])
        loss = F.cross_entropy(logits[told], ids[:, 1:][told])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 100 == 99:
            log.info("step %d: loss %.4f, %.0f s", step + 1, float(loss), time.monotonic() - began)
    return network.eval()


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, and write the weights of what writes, in half precision."""
    parser = argparse.ArgumentParser(description="Train the demo network that writes, from nothing.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder for the weights")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    network = train()
    kept = {n: v.half().contiguous() for n, v in network.state_dict().items() if not n.startswith("encoder.")}
    kept.pop("decoder.lm_head.weight", None)  # tied to the words' embedding
    safetensors.torch.save_file(kept, options.out / WEIGHTS)
    log.info("%s: %d bytes", WEIGHTS, (options.out / WEIGHTS).stat().st_size)


if __name__ == "__main__":
    main()
