"""Pictures side by side on a processor: copies of a network, each with its own share of the cores."""

from __future__ import annotations

import copy
import itertools
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from cfcam.capture import Capture, Network
from cfcam.capture.state.guarantee import is_compiled, preserved
from cfcam.explainer import Explainer
from cfcam.explanation import Explanation
from cfcam.stages import FORWARD, MAPS, Stages, current, stage

LEAST = 4
"""Pictures that a lane gets at least: with fewer, what a pass costs beside its arithmetic is felt."""


LIGHT = 400_000_000
"""Multiply-adds of a batch below which one core does it all: what Python does around it is most of the time, and
threads that wait for each other at the end of an operator only keep those that read and write from their core."""

_LIGHT_INPUT = 1 << 20  # numbers of a batch of inputs beyond which no network is light


def lane_count(batch_size: int) -> int:
    """Returns how many lanes the threads of torch and the size of the batches are enough for."""
    return max(1, min(torch.get_num_threads(), batch_size // LEAST))


def threads(count: int, name: str, *, torch_threads: int = 1) -> ThreadPoolExecutor:
    """Returns a pool whose threads run torch on ``torch_threads`` cores each; the caller's own number stays."""
    before = torch.get_num_threads()
    started = threading.Barrier(count + 1)
    pool = ThreadPoolExecutor(count, name, initializer=_use, initargs=(torch_threads,))
    for _ in range(count):
        pool.submit(started.wait)
    started.wait()
    torch.set_num_threads(before)  # each thread has its own number, but setting one also sets that of threads to come
    return pool


def _use(torch_threads: int) -> None:
    torch.get_num_threads()  # a thread takes over the common number at its first question, whatever was set before
    torch.set_num_threads(torch_threads)


@contextmanager
def on_one_core() -> Iterator[None]:
    """Keeps torch on one core meanwhile, in this thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Lanes:
    """Explains the parts of a batch at the same time, each on its own copy of the network.

    The threads of an operator wait for each other at its end, and longer where a picture is drawn beside them. Two
    passes with a core each do not: ``docs/performance.md`` has a folder run on two cores.

    The copies share parameters and buffers with the network, so they take no memory to speak of.

    Args:
        explainers: one for each copy, and one for the network itself; each has its share of torch's threads.
    """

    def __init__(self, explainers: Sequence[Explainer]) -> None:
        for lane in explainers:
            lane._network.one_by_one = True  # if it mixes them
        self._explainers = list(explainers)
        share = max(1, torch.get_num_threads() // len(self._explainers))
        self._pool = threads(len(self._explainers), "cfcam-lane", torch_threads=share)

    def __call__(self, x: Tensor, targets: Sequence[int | str] | Tensor) -> list[Explanation]:
        """Explains a batch (N, C, *spatial) of N >= `LEAST`; returns the explanations of its parts, in order.

        Targets in a tensor (N, K) are those image by image.

        Raises:
            Exception: what a part of it raised, once none of them runs any more.
        """
        count = min(len(self._explainers), len(x) // LEAST)
        parts = x.tensor_split(count)
        asked: Sequence[Any] = targets.tensor_split(count) if isinstance(targets, Tensor) else [targets] * count
        stages = current()
        running = [
            self._pool.submit(explained, explainer, part, of_part, stages)
            for explainer, part, of_part in zip(self._explainers, parts, asked, strict=False)
        ]
        wait(running)
        return [future.result() for future in running]


def explained(
    explainer: Explainer, x: Tensor, targets: Sequence[int | str] | Tensor, stages: Stages | None = None
) -> Explanation:
    """Explains a batch, and counts the network's pass and the maps apart; ``stages`` where another thread measures."""
    with stage(FORWARD, stages):
        capture = explainer.capture(x, targets)
    with stage(MAPS, stages):
        return explainer.explained(capture)


def multiply_adds(network: Network, x: Tensor) -> int:
    """Returns how many multiplications the layers with weights make of an input; what has none is not counted.

    It is counted and not timed, so that runs of the same inputs go down the same lanes, and write the same bytes.
    """
    counts: list[int] = []

    def count(layer: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            counts.append(output.numel() * layer.weight[0].numel())  # type: ignore[index]

    layers = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    hooks = [layer.register_forward_hook(count) for layer in network.model.modules() if isinstance(layer, layers)]
    try:
        with preserved(network.model, x.device), torch.no_grad():
            network(x)
    finally:
        for hook in hooks:
            hook.remove()
    return sum(counts)


def is_light(network: Network, x: Tensor, batch_size: int) -> bool:
    """Tells whether a batch of such inputs is worked through in milliseconds; of large ones that is not even tried."""
    if x.numel() * batch_size > _LIGHT_INPUT:
        return False
    try:
        return multiply_adds(network, x) * batch_size < LIGHT
    except Exception:  # noqa: BLE001 (a network may refuse zeros with any error; pictures will tell)
        return False


def copies_of(network: Network, x: Tensor, layer: str, count: int) -> list[nn.Module]:
    """Returns up to ``count`` further networks that may run beside this one; empty where that is not certain.

    A copy is used if it gives the same numbers on ``x`` and at the layer, and if the network draws no random numbers,
    whose order would depend on which part is faster, changes no tensor in place, which the copies share, and no setting
    of the process, which a thread does not put back.

    Args:
        network: the network.
        x: (1, C, *spatial) an input to try the copies on.
        layer: the layer that is mapped.
        count: how many.
    """
    model = network.model
    tensors = list(itertools.chain(model.parameters(), model.buffers()))
    if any(t.device.type != "cpu" for t in tensors) or any(map(is_compiled, model.modules())):
        return []
    if torch.is_autocast_enabled("cpu") or "OpenMP" not in torch.__config__.parallel_info():
        return []
    try:
        copies = [copy.deepcopy(model, {id(t): t for t in tensors}) for _ in range(count)]
        if all(_same(network, Network(other, network.probability, network.output), x, layer) for other in copies):
            return copies
    except Exception:  # noqa: BLE001 (a network may refuse to be copied with any error; it then runs alone)
        return []
    return []


def _same(network: Network, other: Network, x: Tensor, layer: str) -> bool:
    with preserved(network.model, x.device), torch.inference_mode(False), torch.no_grad():
        network(x)
    if network.keeper.drew or network.keeper.moves or network.keeper.sets:
        return False
    ours, theirs = (Capture(one, x, layer=layer) for one in (network, other))
    return torch.equal(ours.activations, theirs.activations) and torch.equal(ours.logits, theirs.logits)
