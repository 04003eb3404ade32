"""The check of the batch: whether an image's answer depends on the others beside it, and what mixes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cfcam.capture.answers.outputs import find_tensor
from cfcam.capture.state.guarantee import observable
from cfcam.diagnosis.findings import Finding, Severity, not_assessed, ok
from cfcam.diagnosis.setup import Setup, attempt
from cfcam.diagnosis.variation import difference, tolerance
from cfcam.errors import describe


def check_batch(setup: Setup) -> Iterator[Finding]:
    """Compares the scores of an image alone with its scores in a batch."""
    alone = setup.x[:1]
    other = setup.x[1:2] if len(setup.x) > 1 else alone.flip(-1) * 0.5
    if torch.equal(alone, other):  # two blank pictures tell nothing
        other = alone + torch.linspace(-1, 1, alone.numel()).reshape_as(alone).to(alone)
    # One that takes the batch for a sequence changes later rows alone, and one may mix larger batches only.
    count = 5 if alone.ndim < 5 else 3
    both = torch.cat([alone, other] * 2 + [alone])[:count]
    images = torch.arange(count, device=both.device) % 2 % len(setup.x)  # of which image each is, for an adapter
    varies, _ = attempt(lambda: setup.variation.varies)
    if varies:
        why = "two passes of the same input differ already (see repeat), which hides what other images do"
        yield not_assessed("batch", why, "switch off what is random, and run cfcam doctor again")
        return
    with setup.undisturbed():
        single, error = attempt(lambda: setup.network(alone, images=images[:1])[1])
        if single is None or len(single) != 1:
            yield _one_size(setup, error)
            return
        several, error = attempt(lambda: setup.network(both, images=images)[1])
    if several is None:
        yield Finding(
            "batch",
            Severity.WARNING,
            f"the network runs on one image and fails on {count}: {describe(error, 200)}" if error else "",
            "methods of masked passes send several images at once",
            "--batch-size 1; ScoreCAM(batch_size=1); exported programs: export with a dynamic batch",
        )
        return
    rows = range(0, count, 2)
    change, scale = max(difference(single, several[n : n + 1]) for n in rows)
    row = next(n for n in rows if difference(single, several[n : n + 1])[0] == change or n == rows[-1])
    values = {"change": change, "scale": scale}
    if change <= tolerance(single.dtype, 1e-3) * scale:
        yield ok("batch", f"an image's scores in a batch differ from those alone by {change:.1g}", **values)
        return
    causes, _ = attempt(lambda: mixing(setup, alone, both, images, row))
    yield Finding(
        "batch",
        Severity.PROBLEM,
        f"an image's scores change by {change:.3g} (of {scale:.3g}) when another is in its batch"
        + "".join(f"; {cause}" for cause in causes or ()),
        "images mix: a normalisation over the batch (BatchNorm that trains, or with track_running_stats=False),"
        " attention or a mean over axis 0, or rows that are shuffled; gradients of images in one batch then hold parts"
        " of the others, and their changed versions run one at a time",
        "give images one at a time, as cfcam explain does by itself; better: normalise each image by itself",
        values | {"causes": causes or []},
    )


def _one_size(setup: Setup, error: Exception | None) -> Finding:
    given = len(setup.x)
    return Finding(
        "batch",
        Severity.WARNING,
        f"the network runs on {given} images and not on one" + (f": {describe(error, 200)}" if error else ""),
        f"a batch size is written into its forward, or it was exported with one: cfcam sends {given} images at a time,"
        " and whether they mix is not assessed",
        f"give {given} images in every call; or x.view(len(x), -1), and an export with a dynamic batch",
    )


def mixing(setup: Setup, alone: Tensor, both: Tensor, images: Tensor, row: int) -> list[str]:
    """Returns what mixes the images of a batch: the first module whose output shows it, and norms over the batch."""
    network, found = setup.network, []
    outputs: list[dict[str, Tensor]] = []
    names = {module: name for module, name in observable(network.model).items() if name}
    norms: list[str] = []

    def hook(module: nn.Module, args: Any, output: Any) -> None:
        tensor = find_tensor(output)
        if tensor is not None and tensor.ndim and len(tensor) in (1, len(both)):
            outputs[-1].setdefault(names[module], tensor[row if len(tensor) > 1 else 0].detach().float().clone())
        if isinstance(module, _BatchNorm) and (module.training or module.running_mean is None):
            norms.append(names[module])

    handles = [module.register_forward_hook(hook) for module in names]
    try:
        for x, which in ((alone, images[:1]), (both, images)):
            outputs.append({})
            with setup.undisturbed():
                network(x, images=which)
    finally:
        for handle in handles:
            handle.remove()
    for name, one in outputs[0].items():
        other = outputs[1].get(name)
        if other is None or one.shape != other.shape:
            continue
        if float((one - other).abs().max()) > 1e-3 * max(float(one.abs().max()), 1e-6):
            found.append(f"first seen in the output of {name!r} ({type(network.model.get_submodule(name)).__name__})")
            break
    if norms:
        kind = "runs in training mode, or keeps no statistics"
        found.append(f"BatchNorm {norms[0]!r} {kind}, and takes its statistics from the batch")
    return found
