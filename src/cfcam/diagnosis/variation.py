"""How passes of the same input differ, by random numbers or by a state; and what makes them differ."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cfcam.capture import Network
from cfcam.capture.adapter import call
from cfcam.capture.answers.outputs import LOGIT_KEYS, find_tensor
from cfcam.capture.state.guarantee import observable
from cfcam.capture.state.process import Process
from cfcam.diagnosis.passes import undisturbed

_DRAWING = frozenset(
    {"rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like", "normal", "bernoulli"}
    | {"multinomial", "poisson", "rrelu", "gumbel_softmax", "bernoulli_", "normal_", "uniform_", "exponential_"}
    | {"random_", "cauchy_", "geometric_", "log_normal_"}
)


@dataclass
class Variation:
    """How scores (N, ...) of the same input differ from pass to pass.

    Attributes:
        scores: of the first pass.
        again: of a second pass that began with the same state and random numbers.
        redrawn: of a pass that began with other random numbers.
        in_a_row: of two calls, the second in the state that the first has left; None: there is no state.
        drew: whether random numbers are drawn.
        drawing: what drew them, with the module in which it ran.
        state: names of what a pass changes in the network.
    """

    scores: Tensor
    again: Tensor
    redrawn: Tensor
    in_a_row: tuple[Tensor, Tensor] | None = None
    drew: bool = False
    drawing: list[str] = field(default_factory=list)
    state: list[str] = field(default_factory=list)

    @property
    def varies(self) -> bool:
        """Whether passes differ by more than rounding, with the same random numbers or with others."""
        limit = tolerance(self.scores.dtype, 1e-5)
        pairs = (difference(self.scores, scores) for scores in (self.again, self.redrawn))
        return any(change > limit * scale for change, scale in pairs)


def variation(network: Network, x: Tensor) -> Variation:
    """Runs the same input in the same state, with other random numbers, and twice in a row as a user would."""
    with undisturbed(network.model, x.device):
        scores, again = network(x)[1], network(x)[1]
        drew, state = network.keeper.drew, list(network.keeper.changed)
        with other_numbers(x.device), _Drawing(network.model) as drawing:
            redrawn = network(x)[1]
        calls: list[Tensor | None] = []
        if state:
            with network.keeper.kept(x.device, len(x)):
                calls += [find_tensor(call(network.model, x.clone(), None, network.model), LOGIT_KEYS) for _ in "12"]
    in_a_row = (calls[0], calls[1]) if calls and calls[0] is not None and calls[1] is not None else None
    return Variation(scores, again, redrawn, in_a_row, drew, drawing.found, state)


@contextmanager
def other_numbers(device: torch.device) -> Iterator[None]:
    """Runs its body with other states of all generators of the process."""
    process = Process(device)
    try:
        torch.default_generator.manual_seed(int(torch.randint(1 << 31, ())) + 1)
        random.seed(random.getrandbits(32) + 1)
        if (numpy := sys.modules.get("numpy")) is not None:
            numpy.random.seed(int(numpy.random.randint(1 << 31)))
        if device.type == "cuda":
            torch.cuda.manual_seed(torch.default_generator.initial_seed())
        yield
    finally:
        process.restore()


class _Drawing(TorchFunctionMode):
    """Notes which functions draw random numbers, and in which module they run."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.found: list[str] = []
        self._inside: list[str] = []
        self._names = {module: name or "the network" for module, name in observable(model).items()}
        self._handles: list[Any] = []

    def __enter__(self) -> _Drawing:
        for module, name in self._names.items():
            self._handles.append(module.register_forward_pre_hook(lambda *_, n=name: self._inside.append(n)))
            self._handles.append(
                module.register_forward_hook(lambda *_: self._inside and self._inside.pop() and None, always_call=True)
            )
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        for handle in self._handles:
            handle.remove()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(getattr(func, "overloadpacket", func), "__name__", "")  # exported programs call aten's overloads
        dropping = "dropout" in name and _drops(args, kwargs)
        if (dropping or name in _DRAWING) and kwargs.get("generator") is None:
            said = f"{name} in {self._inside[-1]!r}" if self._inside else name
            self.found += [said] if said not in self.found else []
        return func(*args, **kwargs)


def _drops(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    rate = kwargs.get("p", args[1] if len(args) > 1 else 0.5)
    training = kwargs.get("training", args[2] if len(args) > 2 else True)
    return bool(training) and rate > 0


def difference(first: Tensor, second: Tensor) -> tuple[float, float]:
    """Returns the greatest difference of two scores (N, ...), and the greatest score; of what is finite in both."""
    if first.shape != second.shape:
        return float("inf"), 1.0
    both = torch.stack([first, second]).cpu().double()
    both = both[:, both.isfinite().all(0)]
    if both.numel() == 0:
        return 0.0, 1.0
    return float((both[0] - both[1]).abs().max()), max(float(both.abs().max()), 1e-12)


def tolerance(dtype: torch.dtype, of_float: float) -> float:
    """Returns which share of the greatest score is rounding: ``of_float``, and more in 16 bits."""
    return max(of_float, 2e-2) if dtype in (torch.float16, torch.bfloat16) else of_float
