"""Scores of other inputs, or with other activations, read out as the recorded pass's were; without a graph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from cfcam.capture.answers.answer import Answer
from cfcam.capture.answers.outputs import replace_tensor
from cfcam.capture.batches import by_batches, of_one_size
from cfcam.capture.half_precision import at_least_float32
from cfcam.capture.kernels import PackedKernels
from cfcam.capture.layers.calls import split_call
from cfcam.capture.mixing import found_to_mix, runs_alone
from cfcam.capture.packing import Trust
from cfcam.capture.recording import Recording
from cfcam.capture.state.guarantee import Autocast, preserved
from cfcam.capture.targets.scores import Scores

_PIXELS_AT_ONCE = 8 * 224 * 224
"""Of pictures in one pass on packed kernels: at 16 numbers a pixel, as after a usual stem, 25 MB."""


class Rescorer:
    """Runs the network of a recording on other inputs, and scores the same targets in them.

    Args:
        recording: the first pass.
        autocast: that of the caller in it.
    """

    def __init__(self, recording: Recording, autocast: Autocast) -> None:
        self._recording, self._autocast = recording, autocast
        self._alone: bool | None = None
        self._packed = recording.network.packed
        self._rounding: PackedKernels | None = None

    @property
    def rounds(self) -> bool:
        """Whether passes may be rounded: the CPU has bfloat16, and packed kernels have given the network's numbers.

        Networks that mix the rows of a batch, or take batches of one size only, are left alone.
        """
        network = self._recording.network
        ran = self._packed is not None and self._packed.ran
        trusted = ran and bool(network.trust.agreed) and not self._autocast.enabled
        return trusted and not network.mixes and network.batch is None and PackedKernels.rounding()

    def of_inputs(
        self, x: Tensor, images: Tensor, targets: Scores, *, probability: bool = False, rounded: bool = False
    ) -> Tensor:
        """Returns the scores (M, K) of other inputs, without a graph and without hooks.

        Those of a network that mixes the images of a batch run one at a time, see `cfcam.capture.mixing`.

        Args:
            x: (M, C, *spatial) inputs made from images of the batch.
            images: (M,) int64, which image each was made from: its K targets are scored.
            targets: the K scores of each image.
            probability: class scores as probabilities instead of logits.
            rounded: with convolutions in bfloat16, where `rounds`.
        """
        seen = self._recording
        if seen.input.device.type == "cpu":
            _keep_freed_memory()
            self._packed = self._packed or seen.network.kernels()
        kernels, pixels = self._packed, _PIXELS_AT_ONCE
        if rounded and self.rounds:
            if self._rounding is None:
                self._rounding = PackedKernels(seen.network.model.parameters(), Trust(agreed=True), torch.bfloat16)
            kernels, pixels = self._rounding, 2 * pixels
        parts = 1 if kernels is None or seen.network.batch is not None else _parts(x.shape, pixels)

        def scored(x: Tensor, images: Tensor) -> Tensor:
            return self._scored(x, images, targets, kernels, probability=probability)

        pairs = zip(x.tensor_split(parts), images.tensor_split(parts), strict=True)
        return torch.cat([by_batches(seen.network, len(seen.input), *pair, scored) for pair in pairs])

    def _scored(
        self, x: Tensor, images: Tensor, targets: Scores, kernels: PackedKernels | None, *, probability: bool
    ) -> Tensor:
        network = self._recording.network
        run = partial(self._run, targets=targets, probability=probability)

        def again(rows: Tensor) -> Answer:
            if len(self._recording.input) == 1 and rows.tolist() == [len(x) - 1] and self._ends_as_seen(x):
                return self._recording.answer
            return run(x[rows], images[rows], None)[1]  # packs nothing

        if not runs_alone(network, len(x)):
            scores, found = run(x, images, kernels)
            # Rounded numbers differ from others by more than this looks for.
            if (kernels is not None and kernels is self._rounding) or not found_to_mix(network, x, found, again):
                return scores
        return torch.cat([run(*row, kernels)[0] for row in zip(x.split(1), images.split(1), strict=True)])

    def _run(
        self, x: Tensor, images: Tensor, kernels: PackedKernels | None, *, targets: Scores, probability: bool
    ) -> tuple[Tensor, Answer]:
        found = list[Answer]()
        plain = partial(self._pass, x, images, targets, None, found, probability=probability)
        if kernels is None:
            return plain(), found[-1]
        expected = None
        if kernels.trust.agreed is None and self._ends_as_seen(x):
            every = torch.arange(len(self._recording.input), device=images.device)
            expected = self._read(self._recording.answer, every, targets, probability=probability)[-1:]
        steps = partial(self._pass, x, images, targets, kernels, found, probability=probability)
        return kernels.checked(steps, plain, expected), found[-1]

    def _ends_as_seen(self, x: Tensor) -> bool:
        """Tells whether the last row of ``x`` is that of the first pass, and this ran plainly."""
        seen = self._recording
        return seen.network.packed is None and torch.equal(x[-1:], seen.input[-1:])

    def _pass(
        self,
        x: Tensor,
        images: Tensor,
        targets: Scores,
        packed: PackedKernels | None,
        answers: list[Answer],
        *,
        probability: bool,
    ) -> Tensor:
        seen = self._recording
        with torch.inference_mode(False), torch.no_grad(), preserved(seen.network.model, seen.input.device):
            with self._autocast(), packed or nullcontext():
                found = self.answer(x.to(seen.input.dtype), images)
            scores = self._read(found, images, targets, probability=probability)
        answers[:] = [found]
        return scores

    def _read(self, answer: Answer, images: Tensor, targets: Scores, *, probability: bool) -> Tensor:
        # A softmax in half precision would round away the small differences that masks make.
        with torch.inference_mode(False), torch.no_grad():
            scores = targets(answer.output, at_least_float32(answer.logits), images, probability=probability)
        return at_least_float32(scores)

    def answer(self, x: Tensor, images: Tensor | None = None, rows: int | None = None) -> Answer:
        """Runs the network on other inputs, and reads the same tensor of its output as in the first pass.

        Args:
            x: (M, C, *spatial).
            images: (M,) the image of the batch that each was made from; None: they are the batch.
            rows: of the output, where hooks make more or fewer of them than M.
        """
        seen = self._recording
        given = seen.layout.given(x, seen.given, images)
        if not seen.network.one_at_a_time or len(given) == 1:
            return seen.network.answer(given, images=images, want=seen.want, taken=seen.answer.again(rows))
        single = [None] * len(given) if images is None else images.split(1)
        found = [
            seen.network.answer(one, images=image, want=seen.want, taken=seen.answer.again())
            for one, image in zip(given.split(1), single, strict=True)
        ]
        outputs = [one.output for one in found]
        joined = torch.cat(outputs) if all(isinstance(output, Tensor) for output in outputs) else outputs
        return replace(found[0], output=joined, logits=torch.cat([one.logits for one in found]))

    def of_activations(
        self, activations: Tensor, images: Tensor, targets: Scores, *, probability: bool = False
    ) -> Tensor:
        """Returns the scores (M, K) with the target layer's output replaced, without a graph.

        If all of it belongs to one image, and the network bears it, the head runs on that image once and only the tail
        behind the layer runs M times. Whether it does is tried out once per capture; if not, all of it runs M times.

        Args:
            activations: (M, C, *layer_spatial) what the target layer returns in place of its output.
            images: (M,) int64, which image of the batch each was made from: its K targets are scored.
            targets: the K scores of each image.
            probability: class scores as probabilities instead of logits.
        """
        seen = self._recording
        network, given = seen.network, seen.input
        if self._alone is None and network.batch is None and not network.one_at_a_time and len(images) > 1:
            self._alone = not network.mixes and self._tail_runs_alone(activations, images, targets)
        if len(images) > 1 and (network.one_at_a_time or runs_alone(network, len(images))):
            pairs = zip(activations.split(1), images.split(1), strict=True)
            return torch.cat([self.of_activations(a, i, targets, probability=probability) for a, i in pairs])

        def scored(activations: Tensor, images: Tensor) -> Tensor:
            return self._scored_activations(given[images], activations, images, targets, probability=probability)

        def again(rows: Tensor) -> Tensor:
            return scored(activations[rows], images[rows])

        scores = self._behind_one(activations, images, targets, probability=probability)
        if scores is None:
            scores = by_batches(network, len(given), activations, images, scored)
        if found_to_mix(network, activations, scores, again, seen.layer):
            return torch.cat([again(row) for row in torch.arange(len(images)).split(1)])
        return scores

    def _behind_one(self, activations: Tensor, images: Tensor, targets: Scores, *, probability: bool) -> Tensor | None:
        """Returns the scores of `of_activations` behind a head that runs once; None where that cannot be."""
        seen = self._recording
        if not self._alone or seen.network.batch is not None or len(images) < 2 or bool((images != images[0]).any()):
            return None
        first = seen.input[images[:1]]
        try:
            return self._scored_activations(first, activations, images, targets, probability=probability)
        except RuntimeError as error:  # a tail that takes as many as it was tried with, and no more
            if not of_one_size(error):
                raise
            self._alone = False
            return None

    def _scored_activations(
        self, x: Tensor, activations: Tensor, images: Tensor, targets: Scores, *, probability: bool
    ) -> Tensor:
        seen = self._recording
        call, calls = split_call(seen.layer)[1], 0
        parts: list[Tensor] = []

        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            nonlocal calls, parts
            calls += 1
            if call is not None and calls - 1 != call:
                return output
            if not parts:
                # The tail gets a copy: an in-place activation behind the layer must not change the caller's tensor.
                maps = activations.to(seen.leaves[0].dtype, copy=True)
                parts = list(seen.grid.replaced(seen.own(), maps, images).chunk(len(seen.leaves)))
            return replace_tensor(output, parts.pop(0))

        with torch.inference_mode(False), torch.no_grad(), preserved(seen.network.model, seen.input.device):
            handle = seen.module.register_forward_hook(hook)
            try:
                with self._autocast():
                    found = self.answer(x, images[: len(x)], len(images))
            finally:
                handle.remove()
            scores = targets(found.output, at_least_float32(found.logits), images, probability=probability)
        return at_least_float32(scores)

    def _tail_runs_alone(self, activations: Tensor, images: Tensor, targets: Scores) -> bool:
        """Tells whether the tail scores a batch of activations alike behind a head that saw one image, and mixes none.

        One place's share of a layer may change a score by less than a rounding: what mixing does shows in these two.
        """
        seen, two = self._recording, images[:1].repeat(2)
        # Two very different rows: a tail that mixes the images of a batch must not pass.
        own, one = seen.activations()[images[0]].to(activations), activations[0]
        pair = torch.stack([one, own if (own - one).norm() > one.norm() else torch.zeros_like(one)])

        def again(rows: Tensor) -> Tensor:
            return self._scored_activations(seen.input[two[rows]], pair[rows], two[rows], targets, probability=False)

        try:
            expected = again(torch.arange(2))
            if found_to_mix(seen.network, pair, expected, again, seen.layer):
                return False
            found = self._scored_activations(seen.input[two[:1]], pair, two, targets, probability=False)
        except Exception:  # noqa: BLE001 (a concatenation with features from before the layer, or a network's own check)
            return False
        tolerance = {torch.float64: 1e-8, torch.float32: 1e-4}.get(seen.leaves[0].dtype, 2e-2)
        return found.shape == expected.shape and torch.allclose(
            found,
            expected,
            rtol=tolerance,
            atol=tolerance * float(expected.abs().nan_to_num().max()),
            equal_nan=True,
        )


def _parts(shape: Sequence[int], pixels: int) -> int:
    """Returns in how many passes inputs (M, C, *spatial) are scored on packed kernels, two pictures or more in each.

    What is as wide as a picture is then small enough to stay in memory that is kept (see `_keep_freed_memory`): a
    ResNet-50 on 16 pictures spends a seventh of its time in fresh pages, on twice 8 a thirtieth. Kernels are packed
    already, so that a pass more costs next to nothing.
    """
    count, size = shape[0], math.prod(shape[2:])
    return max(1, min(math.ceil(count * size / pixels), count // 2)) if len(shape) == 4 else 1


@cache
def _keep_freed_memory() -> None:
    """Has the C library keep what one masked pass frees for the next; once for the process.

    With fresh pages for each pass, a ResNet-18 takes a tenth longer and a MobileNetV2 twice as long. glibc gives back
    what is free beyond twice the largest block that it has seen mapped and freed, up to 32 MiB (mallopt(3),
    M_MMAP_THRESHOLD). This block is never touched.
    """
    torch.empty(31 << 20, dtype=torch.uint8)
