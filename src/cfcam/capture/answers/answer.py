"""What a network answers: the tensor that is taken out of its output, and how it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from cfcam.capture.answers.activation import Listener, Trace, recorded_end
from cfcam.capture.answers.heads import Leaf, Wanted, class_scores, column_shape, leaves, named_leaf
from cfcam.capture.answers.probabilities import Kind, Probability
from cfcam.capture.answers.readings import Reading, check_given, read
from cfcam.errors import OutputError


@dataclass(frozen=True)
class Taken:
    """Which tensor of an output holds the class scores, and how it is read.

    Attributes:
        path: where it is; "" of an output that is a tensor; None: there is none, and none is needed.
        reading: how it is read.
        rows: inputs that the next output stands for; None: as many as there are.
    """

    path: str | None
    reading: Reading
    rows: int | None = None


@dataclass(frozen=True, eq=False)
class Answer:
    """What a network returned for M inputs.

    Attributes:
        output: all of it.
        logits: (M, classes, ...) the class scores; (M, 0) if there are none and none are needed.
        taken: where they come from.
        outputs: number of columns of the tensor that they are read from.
        numbers: from such an output of M rows to that tensor, if it is not the class scores themselves.
    """

    output: Any
    logits: Tensor
    taken: Taken
    outputs: int = 0
    numbers: Callable[[Any, int], Tensor] | None = None

    @property
    def kind(self) -> Kind:
        """How the class scores become probabilities."""
        return self.taken.reading.kind

    def again(self, rows: int | None = None) -> Taken:
        """Returns what to take from the next output, of ``rows`` inputs."""
        return replace(self.taken, rows=rows)

    def or_anything(self) -> Tensor:
        """Returns the class scores, or where there are none a number (1, 1) that depends on all of the output."""
        if self.taken.path is not None:
            return self.logits
        with torch.enable_grad():
            sums = [leaf.tensor.float().sum() for leaf in leaves(self.output) if leaf.tensor.is_floating_point()]
            return torch.stack(sums).sum().reshape(1, 1) if sums else self.logits.new_zeros(1, 1)


class Answers:
    """What is known of a network's answers; a first pass settles it, with no pass of its own.

    In that pass the network's functions are listened to. Where none of its outputs ends in a softmax or a sigmoid,
    later passes run as if there was nothing to know.

    Args:
        probability: what the user said.
        output: the tensor that the user named; None: none.
    """

    def __init__(self, probability: Probability, output: str | int | None) -> None:
        self.probability = probability
        self.output = output
        self.last: Taken | None = None
        """What the last first pass has taken."""
        self._listens = True
        self._ends: dict[str, Trace] = {}
        self._readings: dict[str, Reading] = {}

    @contextmanager
    def heard(self, model: nn.Module) -> Iterator[Listener | None]:
        """Listens to a pass of the network, if there is something to hear."""
        if not self._listens:
            yield None
            return
        with Listener(affine=not self._ends) as listener, listener.of_scripts(model):
            yield listener

    def taken(
        self,
        output: Any,
        x: Tensor,
        listener: Listener | None,
        usual: Kind,
        want: Wanted,
        taken: Taken | None,
        name: str,
    ) -> Answer:
        """Returns the class scores in an output.

        Args:
            output: what the network returned.
            x: the input (M, C, *spatial).
            listener: what has listened to the pass.
            usual: how logits become probabilities if nothing else is known.
            want: what the class scores must fit.
            taken: what the first pass took; None: this is one.
            name: of the network, for messages.

        Raises:
            OutputError: see `cfcam.capture.answers.heads.class_scores` and `cfcam.capture.answers.readings.read`.
        """
        rows = len(x) if taken is None or taken.rows is None else taken.rows
        spatial = tuple(x.shape[2:])
        leaf = self._leaf(output, rows, spatial, want, taken, name)
        if leaf is None:
            return Answer(output, x.new_zeros(rows, 0), Taken(None, Reading(usual)))
        trace = self._trace(output, leaf, listener)
        if not leaf.tensor.is_floating_point():
            if not want.scores:
                return Answer(output, x.new_zeros(rows, 0), Taken(None, Reading(usual)))
            raise OutputError(
                f"{name} returns {leaf.tensor.dtype} {tuple(leaf.tensor.shape)} for class scores, which have no"
                " gradient: return the logits, not the classes"
            )
        if not want.scores and trace is not None and trace.decided:
            return Answer(output, x.new_zeros(rows, 0), Taken(None, Reading(usual)))
        shape = column_shape(leaf.tensor, rows, spatial)
        numbers = _shaped(leaf.tensor, shape)
        if trace is not None and trace.scores is not None:
            fits = trace.scores.numel() == leaf.tensor.numel()
            trace = replace(trace, scores=_shaped(trace.scores, shape) if fits else None)
        reading = self._reading(leaf.path, numbers, trace, usual) if taken is None else taken.reading
        found = Taken(leaf.path, reading)
        if taken is None:
            self.last = found

        def taken_from(other: Any, count: int) -> Tensor:
            tensor = _at(other, leaf.path, name).tensor
            return _shaped(tensor, column_shape(tensor, count, spatial))

        with torch.inference_mode(False), torch.enable_grad():  # views of scores with a graph keep it
            logits = reading.scores(numbers, trace)
        outputs = numbers.shape[1] if numbers.ndim > 1 else 1
        return Answer(output, logits, found, outputs, None if reading.given is None else taken_from)

    def _leaf(
        self, output: Any, rows: int, spatial: tuple[int, ...], want: Wanted, taken: Taken | None, name: str
    ) -> Leaf | None:
        if taken is not None:
            return None if taken.path is None else _at(output, taken.path, name)
        if self.output is not None:
            return named_leaf(output, self.output)
        try:
            return class_scores(output, rows, spatial, want)
        except OutputError as error:
            if not want.scores:
                return None
            if (advice := getattr(output, "no_class_scores", None)) is not None:
                raise OutputError(f"{name} {advice}") from None
            raise OutputError(f"{name} {error}") from None

    def _trace(self, output: Any, leaf: Leaf, listener: Listener | None) -> Trace | None:
        if listener is not None:
            heard = {one.path: listener.of(one.tensor) for one in leaves(output)}
            self._ends |= {path: replace(trace, scores=None) for path, trace in heard.items() if trace is not None}
            self._listens = any(trace.activated for trace in self._ends.values())
            if (trace := heard[leaf.path]) is not None:
                return trace
        return self._ends.get(leaf.path) or recorded_end(leaf.tensor)

    def _reading(self, path: str, numbers: Tensor, trace: Trace | None, usual: Kind) -> Reading:
        reading = self._readings.get(path)
        if reading is None or reading.unsure:
            reading = self._readings[path] = read(numbers, trace, self.probability, usual)
        check_given(numbers, reading)
        return reading


def _at(output: Any, path: str, name: str) -> Leaf:
    found = next((leaf for leaf in leaves(output) if leaf.path == path), None)
    if found is None:
        raise OutputError(f"{name} returned {path!r} in its first pass, and does not in this one")
    return found


def _shaped(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    if tuple(tensor.shape) == shape:
        return tensor
    with torch.inference_mode(False), torch.enable_grad():
        return tensor.reshape(shape)
