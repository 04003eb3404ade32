"""What makes the passes of a network differ: random numbers, a state, the other images; and where it comes from."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from cfcam.capture.adapter import call
from cfcam.capture.answers.outputs import LOGIT_KEYS, find_tensor
from cfcam.capture.state.guarantee import observable
from cfcam.capture.state.process import Process

if TYPE_CHECKING:
    from cfcam.diagnosis.setup import Setup

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


def variation(setup: Setup) -> Variation:
    """Runs the same input in the same state, with other random numbers, and twice in a row as a user would."""
    network, x = setup.network, setup.x
    with setup.undisturbed():
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
        name = getattr(func, "__name__", "")
        dropping = "dropout" in name and _drops(args, kwargs)
        if (dropping or name in _DRAWING) and kwargs.get("generator") is None:
            said = f"{name} in {self._inside[-1]!r}" if self._inside else name
            self.found += [said] if said not in self.found else []
        return func(*args, **kwargs)


def _drops(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    rate = kwargs.get("p", args[1] if len(args) > 1 else 0.5)
    training = kwargs.get("training", args[2] if len(args) > 2 else True)
    return bool(training) and rate > 0


def mixing(setup: Setup, alone: Tensor, both: Tensor, images: Tensor) -> list[str]:
    """Returns what mixes the images of a batch: the first module whose output shows it, and norms over the batch."""
    network, found = setup.network, []
    outputs: list[dict[str, Tensor]] = []
    names = {module: name for module, name in observable(network.model).items() if name}
    norms: list[str] = []

    def hook(module: nn.Module, args: Any, output: Any) -> None:
        tensor = find_tensor(output)
        if tensor is not None and tensor.ndim:
            outputs[-1].setdefault(names[module], tensor[0].detach().float().clone())
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
