"""The state contract: whatever forward does to its input, its module and the process, no call of cfcam leaves a trace.

A network of these tests does some deeds in each pass, and notes what it found when the pass began. All passes must
find the same, the scores must be those of a first presentation, and all must be afterwards what it was.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import os
import random
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import cfcam
from cfcam.capture import Adapter
from cfcam.clinical import uncertainty
from tests.contract.snapshot import digest, frozen, snapshot

METHODS = ("grad-cam", "score-cam", "cf-cam", "ablation-cam", "occlusion", "smooth-grad-cam++")


@dataclass
class Memory:
    steps: int = 0
    seen: list[Tensor] = field(default_factory=lambda: [torch.zeros(4)])


class Slotted:
    __slots__ = ("count", "mean")

    def __init__(self) -> None:
        self.count, self.mean = 0, torch.zeros(4)


class Hub(nn.Module):
    """Holds state in every way that was thought of."""

    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Linear(4, 3)
        self.register_buffer("v", torch.zeros(4))
        self.register_buffer("hidden", torch.zeros(4), persistent=False)
        self.register_buffer("window", torch.zeros(3, 4))
        self.row = self.window[1]
        self.n = 0
        self.history: list[float] = [1.0]
        self.cache: dict[str, Any] = {}
        self.nested: Any = {"a": [torch.zeros(4), (torch.ones(4), 3)], "b": OrderedDict(x=1)}
        self.pair = (torch.zeros(4), [0])
        self.queue: deque[Tensor] = deque([torch.zeros(4)], maxlen=2)
        self.names = {"one"}
        self.memory = Memory()
        self.slotted = Slotted()
        self.array = np.zeros(4, np.float32)
        self.bytes = bytearray(b"abc")
        self.unregistered = [nn.BatchNorm1d(4), nn.Linear(4, 4)]
        self.own = torch.Generator().manual_seed(3)
        self.numpy = np.random.default_rng(3)
        self.python = random.Random(3)  # noqa: S311
        self.act: nn.Module = nn.ReLU()


def _new_version(m: Hub, x: Tensor) -> None:
    m.v = 0.5 * m.v + x.mean()


def _grown(m: Hub, x: Tensor) -> None:
    m.history.append(float(x.mean()))
    m.cache[f"pass {len(m.cache)}"] = x
    m.nested["b"]["y"] = x
    m.queue.append(x.mean((0, 2, 3)).sum().expand(4))
    m.names.add(str(len(m.names)))
    m.memory.seen.append(x)


def _toggled_norm(m: Hub, x: Tensor) -> None:
    m.f[1].train()
    m.f[1](m.f[0](x))
    m.f[1].eval()


def _hooked(m: Hub, x: Tensor) -> None:
    m.head.register_forward_hook(lambda module, args, output: output + 1)
    m.f.register_forward_pre_hook(lambda module, args: None)


def _settings(m: Hub, x: Tensor) -> None:
    torch.set_grad_enabled(not torch.is_grad_enabled())
    torch.backends.cudnn.benchmark = not torch.backends.cudnn.benchmark
    torch.set_float32_matmul_precision("medium")
    os.chdir("/")


@torch.no_grad()
def _weights(m: Hub, x: Tensor) -> None:
    m.head.weight.mul_(1.5)


def _energy(m: Hub, x: Tensor) -> None:
    with torch.enable_grad():
        m.head(x.detach().mean((2, 3))[:, :1].expand(-1, 4)).sum().backward()


DEEDS: dict[str, Callable[[Hub, Tensor], Any]] = {
    "input -=": lambda m, x: x.sub_(x.mean()),
    "input slice": lambda m, x: x[:, 0].zero_(),
    "input view": lambda m, x: x.flatten(1).mul_(0.5),
    "input relu": lambda m, x: F.relu(x, inplace=True),
    "input data": lambda m, x: x.data.add_(1),
    "buffer in place": lambda m, x: m.v.add_(x.mean()),
    "buffer data": lambda m, x: m.hidden.data.add_(1),
    "buffer rebound": _new_version,
    "buffer by index": lambda m, x: m.window.__setitem__(1, x.mean().expand(4)),
    "buffer by numpy": lambda m, x: m.hidden.numpy().__iadd__(1),
    "buffer through a view": lambda m, x: m.row.add_(1),
    "counter": lambda m, x: setattr(m, "n", m.n + 1),
    "containers grow": _grown,
    "containers shrink": lambda m, x: (m.history.clear(), m.queue.popleft(), m.names.clear(), m.nested.pop("b")),
    "container replaced": lambda m, x: (setattr(m, "cache", {"new": x}), setattr(m, "history", [])),
    "nested tensor": lambda m, x: (m.nested["a"][0].add_(1), m.nested["a"][1][0].add_(1)),
    "tensor in a tuple": lambda m, x: (m.pair[0].add_(1), m.pair[1].append(1)),
    "dataclass": lambda m, x: (setattr(m.memory, "steps", m.memory.steps + 1), m.memory.seen[0].add_(1)),
    "slots": lambda m, x: (setattr(m.slotted, "count", m.slotted.count + 1), m.slotted.mean.add_(1)),
    "array": lambda m, x: m.array.__iadd__(1),
    "bytes": lambda m, x: m.bytes.extend(b"x"),
    "new attribute": lambda m, x: setattr(m, "last_features", x),
    "attribute deleted": lambda m, x: delattr(m, "names"),
    "unregistered module": lambda m, x: m.unregistered[0](torch.stack([x.mean((0, 2, 3)).sum().expand(4)] * 2 + [m.v])),
    "unregistered weights": lambda m, x: m.unregistered[1].weight.data.mul_(2),
    "batch norm trains": _toggled_norm,
    "flag": lambda m, x: m.act.train(),
    "module replaced": lambda m, x: setattr(m, "act", nn.Tanh()),
    "module added": lambda m, x: m.add_module(f"more{len(m._modules)}", nn.ReLU()),
    "weights in place": _weights,
    "weights data": lambda m, x: m.head.weight.data.clamp_(min=0),
    "weights data replaced": lambda m, x: setattr(m.head.weight, "data", 2 * m.head.weight.data),
    "weights flag": lambda m, x: m.head.weight.requires_grad_(False),
    "weights replaced": lambda m, x: setattr(m.head, "bias", nn.Parameter(m.head.bias.detach() + 1)),
    "backward": _energy,
    "hooks": _hooked,
    "torch random": lambda m, x: torch.rand(3),
    "torch seed": lambda m, x: torch.manual_seed(0),
    "python random": lambda m, x: random.random(),  # noqa: S311
    "numpy random": lambda m, x: np.random.rand(),  # noqa: NPY002
    "own generators": lambda m, x: (torch.rand(1, generator=m.own), m.numpy.random(), m.python.random()),
    "settings": _settings,
}


class Doing(Hub):
    """Does some deeds in each pass; what they leave is in the scores."""

    starts: ClassVar[list[Any]] = []  # of the class: a module's own list would be put back
    deeds: ClassVar[tuple[str, ...]] = ()
    fails_at: ClassVar[int] = 0
    only_several: ClassVar[bool] = False

    def state(self) -> str:
        hooks = [h for m in self.modules() for h in (*m._forward_hooks.values(), *m._forward_pre_hooks.values())]
        hooks = [h for h in hooks if not h.__module__.startswith("cfcam")]
        held = {k: v for k, v in vars(self).items() if k != "_modules" and not k.endswith(("_hooks", "_with_kwargs"))}
        weights = [digest(t) for t in (*self.parameters(), *self.buffers())]
        process = (digest(torch.get_rng_state()), random.getstate(), str(np.random.get_state()))  # noqa: NPY002
        return str((_without_ids(frozen(held, {})), len(hooks), weights, list(self._modules), process))

    def forward(self, x: Tensor) -> Tensor:
        self.starts.append(self.state())
        if 0 < self.fails_at <= len(self.starts):  # each time: what fails in steps is run once more, plainly
            raise RuntimeError("the user's own error")
        for deed in self.deeds if len(x) > 1 or not self.only_several else ():
            DEEDS[deed](self, x)
        f = self.act(self.f(x)).mean((2, 3))
        held = self.v + self.hidden + self.window.sum(0) + self.memory.seen[0] + torch.from_numpy(self.array)
        held = held + self.n + self.slotted.mean + self.pair[0] + self.unregistered[0].running_mean
        return self.head(f + 0.1 * held)


def _without_ids(value: Any) -> Any:
    if isinstance(value, tuple) and len(value) > 1 and isinstance(value[0], str) and type(value[1]) is int:
        return (value[0], *map(_without_ids, value[2:]))
    return type(value)(map(_without_ids, value)) if isinstance(value, (list, tuple)) else value


def doing(*deeds: str, fails_at: int = 0, only_several: bool = False) -> Doing:
    torch.manual_seed(5)
    net = Doing().eval()
    Doing.deeds, Doing.fails_at, Doing.only_several = deeds, fails_at, only_several
    Doing.starts.clear()
    net(torch.rand(2, 3, 8, 8)).sum().backward() if not deeds else None
    Doing.starts.clear()
    return net


def pictures(n: int) -> Tensor:
    return torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def first_presentation(net: nn.Module, x: Tensor) -> Tensor:
    """The scores of a copy that never ran, in the random state of now, in a process that is put back."""
    again = [torch.get_rng_state(), random.getstate(), np.random.get_state()]  # noqa: NPY002
    flags = torch.is_grad_enabled(), torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision()
    scores = copy.deepcopy(net)(x.clone()).detach()
    torch.set_rng_state(again[0])
    random.setstate(again[1])
    np.random.set_state(again[2])  # noqa: NPY002
    torch.set_grad_enabled(flags[0])
    torch.backends.cudnn.benchmark = flags[1]
    torch.set_float32_matmul_precision(flags[2])
    Doing.starts.clear()
    return scores


def check(net: Doing, x: Tensor, methods: Any, layer: str | None = "f") -> None:
    fails_at, Doing.fails_at = Doing.fails_at, 0
    with contextlib.chdir("."):  # of this pass nobody puts anything back
        right = first_presentation(net, x)
    Doing.fails_at = fails_at
    before, given, folder = snapshot(net), x.clone(), Path.cwd()
    if fails_at:
        with pytest.raises(RuntimeError, match="the user's own error"):
            cfcam.explain(net, x, methods, targets=1, layer=layer)
    else:
        e = cfcam.explain(net, x, methods, targets=1, layer=layer)
        torch.testing.assert_close(e.scores[:, 0], right[:, 1])
    assert snapshot(net) == before
    assert torch.equal(x, given)
    assert Path.cwd() == folder
    assert len(set(net.starts)) == 1


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("images", [1, 2])
def test_a_deed_leaves_no_trace(deed: str, images: int) -> None:
    check(doing(deed), pictures(images), ["grad-cam", "score-cam", "ablation-cam"], layer=None)


@pytest.mark.parametrize("deed", DEEDS)
def test_a_deed_that_only_batches_do(deed: str) -> None:
    """The first image alone is probed, and tells nothing of it."""
    layer = "f" if deed == "module replaced" else None  # the module that is put in a layer's place is no layer
    check(doing(deed, only_several=True), pictures(2), ["grad-cam", "score-cam"], layer)


@given(
    deeds=st.lists(st.sampled_from(sorted(DEEDS)), min_size=1, max_size=5, unique=True),
    methods=st.lists(st.sampled_from(METHODS), min_size=1, max_size=2, unique=True),
    images=st.integers(1, 3),
    layer=st.sampled_from([None, "f", "f.0", "act"]),
    train=st.booleans(),
    fails_at=st.sampled_from([0, 0, 1, 2]),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_any_deeds_leave_no_trace(
    deeds: list[str], methods: list[str], images: int, layer: str | None, train: bool, fails_at: int
) -> None:
    if {"container replaced", "containers shrink", "attribute deleted"} & set(deeds):
        deeds = deeds[:1]  # the others would not find what these took away
    if (layer == "act" and "module replaced" in deeds) or (layer == "f.0" and "batch norm trains" in deeds):
        layer = "f"  # that deed runs f.0 a second time, so that its output would be ambiguous
    net = doing(*deeds, fails_at=min(fails_at, 1 if methods == ["grad-cam"] and layer else 2))
    if fails_at > 1 and set(methods) <= {"grad-cam", "cf-cam", "ablation-cam"}:
        Doing.fails_at = 1
    check(net, pictures(images), methods, layer)
    if train:
        net.train()
        before = snapshot(net)
        Doing.fails_at = 0
        cfcam.explain(net, pictures(images), methods, targets=1, layer=layer)
        assert snapshot(net) == before


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.f, self.head = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.f(x).mean((2, 3)))


def test_a_backward_inside_does_not_touch_gradients_that_are_there() -> None:
    class Energy(Plain):
        def forward(self, x: Tensor) -> Tensor:
            with torch.enable_grad():
                self.head(torch.ones(1, 4)).sum().backward()
            return super().forward(x)

    net = Energy().eval()
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = snapshot(net)
    cfcam.explain(net, pictures(2), ["grad-cam", "score-cam"], targets=1)
    assert snapshot(net) == before


def test_an_iterator_that_counts() -> None:
    class Counting(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.steps = itertools.count(3)

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + next(self.steps)

    net = Counting().eval()
    plain = Plain().eval()(pictures(2))
    e = cfcam.explain(net, pictures(2), ["grad-cam", "score-cam"], targets=1)
    torch.testing.assert_close(e.scores[:, 0], plain[:, 1].detach() + 3)
    assert next(net.steps) == 3


def draws() -> Any:
    yield from itertools.count(1.0)


def taking(source: Any) -> nn.Module:
    class Takes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.f, self.fc, self.held = nn.Conv2d(3, 4, 3), nn.Linear(4, 2), {"source": source}

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.f(x).relu().mean((2, 3))) * next(self.held["source"])

    torch.manual_seed(0)
    return Takes().eval()


@pytest.mark.parametrize("source", [range(1, 99), list(range(1, 99)), tuple(range(1, 99)), reversed([9, 8, 2])])
@pytest.mark.parametrize("images", [1, 3])
def test_iterators_begin_where_they_were(source: Any, images: int) -> None:
    first = next(copy.copy(iter(source)))
    x, net = torch.rand(images, 3, 8, 8), taking(iter(source))
    plain = cfcam.explain(taking(iter([first] * 9999)), x, "score-cam")
    e = cfcam.explain(net, x, ["score-cam", "occlusion"])
    assert torch.equal(e.scores, plain.scores)
    assert torch.equal(e.maps["score-cam"], plain.maps["score-cam"])
    assert next(net.held["source"]) == first


@pytest.mark.parametrize(
    "make", [draws, lambda: itertools.cycle([1, 2]), lambda: map(float, [1, 2, 3]), lambda: zip([1], [2], strict=True)]
)
def test_what_can_be_taken_only_once_is_refused(make: Callable[[], Any]) -> None:
    """Masked passes saw another number each, and the user's generator was gone on."""
    source = make()
    net = taking(source)
    for method in ("grad-cam", "score-cam"):
        with pytest.raises(cfcam.CfcamError, match=r"forward takes the next of the \w+ 'held.source'"):
            cfcam.explain(net, torch.rand(2, 3, 8, 8), method)
    assert net.held["source"] is source
    assert next(source) == next(make())


def test_other_inputs_of_an_adapter() -> None:
    class Aged(Plain):
        def forward(self, x: Tensor, age: Tensor) -> Tensor:
            age.mul_(2)
            return super().forward(x) * age

    ages = torch.ones(2, 1)
    adapter = Adapter(Aged().eval(), lambda x, images: (x, ages if len(x) == 2 else ages[images]))
    e = cfcam.explain(adapter, pictures(2), ["grad-cam", "score-cam"], targets=1)
    torch.testing.assert_close(e.scores[:, 0], 2 * Plain().eval()(pictures(2))[:, 1].detach())
    assert torch.equal(ages, torch.ones(2, 1))


def test_the_image_of_a_reference() -> None:
    class Greedy(Plain):
        def forward(self, x: Tensor) -> Tensor:
            self.last = x.mul_(0.5)
            return super().forward(x)

    net, image = Greedy().eval(), pictures(1)
    before = snapshot(net)
    cfcam.Similarity.to_image(net, image)
    assert torch.equal(image, pictures(1))
    assert snapshot(net) == before


def test_lazy_layers_are_left_to_their_owner() -> None:
    class Lazy(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.LazyLinear(3)

    net = Lazy().eval()
    with pytest.raises(cfcam.CfcamError, match="has lazy layers without weights: run it once"):
        cfcam.explain(net, pictures(2), "grad-cam")
    assert type(net.head) is nn.LazyLinear


def test_a_part_that_torch_jit_has_compiled() -> None:
    class Part(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.part = torch.jit.script(nn.Sequential(nn.BatchNorm1d(4)))

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.part(self.f(x).mean((2, 3))))

    net = Part().eval()
    assert cfcam.explain(net, pictures(2), ["grad-cam", "score-cam"], targets=1).layer == "f"
    with pytest.raises(cfcam.CfcamError, match=r"is compiled by torch\.jit and cannot be observed"):
        cfcam.explain(net, pictures(2), "grad-cam", layer="part")


def test_dropout_samples_leave_a_state_alone() -> None:
    class Dropping(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.drop, self.n = nn.Dropout(0.5), 0

        def forward(self, x: Tensor) -> Tensor:
            self.n += 1
            return self.head(self.drop(self.f(x).mean((2, 3)))) + self.n

    net, still = Dropping().eval(), Dropping().eval()
    before = snapshot(net)
    samples = uncertainty.collect(uncertainty.mc_dropout(net, pictures(2), targets=1, samples=3))
    assert snapshot(net) == before
    assert not torch.equal(samples.heatmaps[0], samples.heatmaps[1])
    still.drop = nn.Identity()
    right = still(pictures(2)).detach().softmax(1)  # what is counted is the same in every pass
    assert (samples.probabilities.mean(0) - right).abs().max() < 0.2
