"""Outputs that are probabilities already: recognised, taken as they are, and explained by the score before them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import cfcam
from cfcam.capture import Capture, Network
from cfcam.capture.answers.activation import Listener
from cfcam.errors import CfcamError, InputError, OutputError

Ending = Callable[[Tensor], Any]


class Ends(nn.Module):
    """features -> mean over places -> linear -> an ending."""

    def __init__(self, outputs: int, ending: Ending | nn.Module, bias: float = 0.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(outputs)
        self.f, self.fc = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), nn.Linear(4, outputs)
        for p in self.parameters():
            p.data = torch.randn(p.shape, generator=generator)
        self.fc.bias.data += bias
        self.ending = ending

    def z(self, x: Tensor) -> Tensor:
        return self.fc(self.f(x).mean((2, 3)))

    def forward(self, x: Tensor) -> Any:
        return self.ending(self.z(x))


def plain(net: Ends) -> Ends:
    """The same network without its ending."""
    other = Ends(net.fc.out_features, lambda z: z)
    other.load_state_dict(net.state_dict(), strict=False)
    return other.eval()


@pytest.fixture
def x() -> Tensor:
    return torch.rand(3, 3, 12, 10, generator=torch.Generator().manual_seed(0))


def without_graph(z: Tensor) -> Tensor:
    with torch.no_grad():
        return z.sigmoid().squeeze(1)


def in_place(z: Tensor) -> Tensor:
    return z.clone().sigmoid_()


SINGLE: dict[str, Ending | nn.Module] = {
    "module": nn.Sigmoid(),
    "torch": torch.sigmoid,
    "functional": F.sigmoid,
    "method": lambda z: z.sigmoid(),
    "special": torch.special.expit,
    "in place": in_place,
    "(N,)": lambda z: z.sigmoid()[:, 0],
    "squeezed": lambda z: torch.sigmoid(z).squeeze(1),
    "flattened": lambda z: torch.sigmoid(z).flatten(),
    "before the view": lambda z: torch.sigmoid(z.view(-1)),
    "(1 - p, p)": lambda z: torch.cat([1 - z.sigmoid(), z.sigmoid()], dim=1),
    "stacked": lambda z: torch.stack([1.0 - torch.sigmoid(z[:, 0]), torch.sigmoid(z[:, 0])], dim=-1),
    "ones minus p": lambda z: torch.cat([torch.ones_like(z) - z.sigmoid(), z.sigmoid()], 1),
    "without a graph": without_graph,
    "detached": lambda z: z.sigmoid().detach(),
    "data": lambda z: z.sigmoid().data,
    "clamped": lambda z: z.sigmoid().clamp(1e-7, 1 - 1e-7),
    "cast": lambda z: z.sigmoid().double(),
    "in a tuple": lambda z: (z.sigmoid(),),
    "under a key": lambda z: {"loss": None, "logits": z.sigmoid()},
    "log": lambda z: F.logsigmoid(z),
}


@pytest.mark.parametrize("ending", SINGLE)
@pytest.mark.parametrize("n", [1, 3])
def test_a_probability_of_one_class(ending: str, n: int, x: Tensor) -> None:
    net = Ends(1, SINGLE[ending], bias=-1.0).eval()
    bare = cfcam.explain(plain(net), x[:n], ["grad-cam", "score-cam"])
    e = cfcam.explain(net, x[:n], ["grad-cam", "score-cam"])
    p = net.z(x[:n]).sigmoid().detach()
    torch.testing.assert_close(e.probabilities, torch.cat([1 - p, p], 1))
    assert torch.equal(e.targets[:, 0], (p[:, 0] > 0.5).long())
    torch.testing.assert_close(e.scores.float(), bare.scores)
    torch.testing.assert_close(e.maps, bare.maps)
    assert e.provenance["probability"].startswith("given (")
    assert "at the end" in e.provenance["probability"]


SEVERAL: dict[str, tuple[Ending | nn.Module, str]] = {
    "module": (nn.Softmax(1), "softmax"),
    "functional": (lambda z: F.softmax(z, dim=-1), "softmax"),
    "torch": (lambda z: torch.softmax(z, 1), "softmax"),
    "method": (lambda z: z.softmax(1), "softmax"),
    "keyword": (lambda z: F.softmax(input=z, dim=1), "softmax"),
    "temperature": (lambda z: F.softmax(z / 1.0, 1), "softmax"),
    "log module": (nn.LogSoftmax(1), "softmax"),
    "log functional": (lambda z: F.log_softmax(z, 1), "softmax"),
    "log of softmax": (lambda z: z.softmax(1).log(), "softmax"),
    "log with an epsilon": (lambda z: (z.softmax(1) + 1e-9).log(), "softmax"),
    "exp of log": (lambda z: z.log_softmax(1).exp(), "softmax"),
    "transposed": (lambda z: z.t().softmax(0).t(), "softmax"),
    "permuted": (lambda z: z.t().softmax(0).permute(1, 0).contiguous(), "softmax"),
    "reshaped": (lambda z: z.softmax(1)[:, :, None, None].reshape(len(z), -1), "softmax"),
    "clamped": (lambda z: z.softmax(1).clamp(min=1e-8), "softmax"),
    "dropout": (lambda z: F.dropout(z.softmax(1), training=False), "softmax"),
    "in a dict": (lambda z: {"features": z @ torch.rand(3, 3), "out": z.softmax(1)}, "softmax"),
    "multi-label": (torch.sigmoid, "sigmoid"),
    "multi-label log": (nn.LogSigmoid(), "sigmoid"),
    "multi-label by columns": (lambda z: torch.cat([c.sigmoid() for c in z.split(1, 1)], 1), "sigmoid"),
    "multi-label unbound": (lambda z: torch.stack(torch.sigmoid(z).unbind(1), 1), "sigmoid"),
    "greatest of places": (lambda z: torch.stack([z, z - 1], 2).sigmoid().amax(2), "sigmoid"),
}


@pytest.mark.parametrize("ending", SEVERAL)
@pytest.mark.parametrize("n", [1, 3])
def test_probabilities_of_several_classes(ending: str, n: int, x: Tensor) -> None:
    function, kind = SEVERAL[ending]
    net, x = Ends(3, function).eval(), x[:n]
    bare = cfcam.explain(plain(net), x, ["grad-cam", "score-cam", "cam"], probability=kind)
    e = cfcam.explain(net, x, ["grad-cam", "score-cam", "cam"])
    torch.testing.assert_close(e.probabilities, bare.probabilities)
    torch.testing.assert_close(e.scores, bare.scores)
    torch.testing.assert_close(e.maps, bare.maps)
    assert torch.equal(e.targets, bare.targets)
    assert e.provenance["probability"].startswith("given (")


def test_the_pair_of_a_sigmoid_is_one_score_and_two_sigmoids_are_two(x: Tensor) -> None:
    pair = cfcam.explain(Ends(1, SINGLE["(1 - p, p)"]).eval(), x, "grad-cam")
    assert pair.logits.shape == (3, 1)
    two = Ends(2, torch.sigmoid).eval()
    assert torch.allclose(cfcam.explain(two, x, "grad-cam").probabilities, two(x))


def put_in_place(z: Tensor) -> Tensor:
    p = torch.zeros(len(z), 3)
    p[:, :2], p[:, 2] = z.sigmoid()[:, :2], 0.5
    return p


UNREACHED: dict[str, tuple[Ending, bool]] = {
    "mean of two": (lambda z: (z.softmax(1) + (2 * z).softmax(1)) / 2, True),
    "ensemble": (lambda z: torch.stack([z.softmax(1), (2 * z).softmax(1)]).mean(0), True),
    "by hand": (lambda z: z.exp() / z.exp().sum(1, keepdim=True), True),
    "fine classes merged": (lambda z: z.softmax(1) @ torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), True),
    "experts by einsum": (lambda z: torch.einsum("ng,ngc->nc", z.softmax(1), torch.stack([z] * 3, 1).softmax(2)), True),
    "experts by bmm": (lambda z: (z.softmax(1)[:, None] @ torch.stack([z] * 3, 1).softmax(2))[:, 0], True),
    "evidence": (lambda z: (F.softplus(z) + 1) / (F.softplus(z) + 1).sum(1, keepdim=True), True),
    "product": (lambda z: z.sigmoid() * (z + 1).sigmoid(), False),
    "hard": (lambda z: F.hardsigmoid(z / 9), False),
    "masked": (lambda z: z.sigmoid() * torch.tensor([0.0, 1.0, 0.0]), False),
    "filled": (lambda z: z.sigmoid().masked_fill(torch.tensor([True, False, False]), 0.5), False),
    "put in place": (put_in_place, False),
    "noisy or": (lambda z: 1 - (1 - z[:, :2].sigmoid()).prod(1), False),
    "one of a softmax": (lambda z: z.softmax(1)[:, 1], False),
}


@pytest.mark.parametrize("ending", UNREACHED)
def test_probabilities_whose_scores_cannot_be_reached(ending: str, x: Tensor) -> None:
    function, exclusive = UNREACHED[ending]
    net = Ends(3, function).eval()
    e = cfcam.explain(net, x, "grad-cam", targets=1)
    p = net(x).detach()
    p = torch.stack([1 - p, p], 1) if p.ndim == 1 else p
    torch.testing.assert_close(e.probabilities, p, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(e.scores[:, 0], p[:, 1].log() if exclusive else p[:, 1].logit(), atol=1e-5, rtol=1e-4)
    assert "explained" in e.provenance["notes"][0]


EYE = torch.eye(3)

RAW: dict[str, Ending] = {
    "in [0, 1] by chance": lambda z: F.linear(z.tanh(), torch.eye(3) / 4, torch.full((3,), 0.5)),
    "rectified": lambda z: (z * 0.01).relu().clamp(max=1),
    "behind a gate": lambda z: z * z.sigmoid(),
    "attention inside": lambda z: (z[:, :, None] @ z[:, None]).softmax(-1) @ z[:, :, None] @ torch.ones(1, 1),
    "experts of logits": lambda z: torch.einsum("ng,ngc->nc", z.softmax(1), torch.stack([F.linear(z, EYE)] * 3, 1)),
    "a layer behind a softmax": lambda z: F.linear(z.softmax(1), nn.Parameter(EYE, requires_grad=False)),
    "mean of logits": lambda z: (z + z.flip(1)) / 2,
}


@pytest.mark.parametrize("ending", RAW)
def test_logits_stay_logits(ending: str, x: Tensor) -> None:
    def vector(z: Tensor) -> Tensor:
        return RAW[ending](z).reshape(len(z), 3)

    net = Ends(3, vector).eval()
    e = cfcam.explain(net, x, "grad-cam", targets=1)
    assert torch.equal(e.logits, net(x).detach())
    assert torch.equal(e.probabilities, net(x).detach().softmax(1))
    assert e.provenance["probability"] == "softmax"


def test_a_range_alone_is_said_and_not_taken(x: Tensor) -> None:
    net = Ends(3, lambda z: 0.5 + z.tanh() / 4).eval()
    e = cfcam.explain(net, x, "grad-cam")
    assert "all outputs lie in [0, 1]" in e.provenance["notes"][0]
    assert torch.equal(e.probabilities, net(x).detach().softmax(1))
    told = cfcam.explain(net, x, "grad-cam", probability="given")
    torch.testing.assert_close(told.probabilities, net(x).detach())
    assert told.provenance["probability"] == "given (as asked, each by itself)"
    clean = cfcam.explain(Ends(3, RAW["in [0, 1] by chance"]).eval(), x, "grad-cam")
    assert "notes" not in clean.provenance


def test_rows_of_a_linear_layer_that_sum_to_one_are_logits(x: Tensor) -> None:
    net = Ends(2, lambda z: z).eval()
    net.fc.weight.data = torch.stack([torch.full((4,), 0.01), torch.full((4,), -0.01)])
    net.fc.bias.data = torch.tensor([0.25, 0.75])
    assert torch.equal(cfcam.explain(net, x, "grad-cam").probabilities, net(x).detach().softmax(1))


def test_a_regression_is_its_own_number(x: Tensor) -> None:
    net = Ends(2, torch.sigmoid).eval()
    e = cfcam.explain(net, x, ["grad-cam", "score-cam"], targets="output-1")
    torch.testing.assert_close(e.scores[:, 0], net(x)[:, 1].detach())
    age = Ends(1, lambda z: 100 * z.sigmoid()).eval()
    e = cfcam.explain(age, x, "grad-cam", targets="output-0")
    torch.testing.assert_close(e.scores, age(x).detach())
    assert "lies outside of [0, 1]" in e.provenance["notes"][0]


class Dense(nn.Module):
    def __init__(self, axes: int, outputs: int, ending: Ending | nn.Module) -> None:
        super().__init__()
        convolution = {2: nn.Conv2d, 3: nn.Conv3d}[axes]
        self.f = nn.Sequential(convolution(1, 4, 3, padding=1), nn.ReLU())
        self.c, self.ending = convolution(4, outputs, 1), ending
        generator = torch.Generator().manual_seed(5)
        for p in self.parameters():
            p.data = torch.randn(p.shape, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        return self.ending(self.c(self.f(x)))


DENSE: dict[str, tuple[int, Ending | nn.Module, str]] = {
    "sigmoid": (1, nn.Sigmoid(), "auto"),
    "sigmoid without the channel": (1, lambda z: z.sigmoid().squeeze(1), "auto"),
    "squeezed": (1, lambda z: z.sigmoid().squeeze(), "auto"),
    "multi-label": (3, nn.Sigmoid(), "sigmoid"),
    "softmax": (3, nn.Softmax(1), "softmax"),
    "channels last": (3, lambda z: z.movedim(1, -1).softmax(-1).movedim(-1, 1), "softmax"),
    "log-softmax": (3, nn.LogSoftmax(1), "softmax"),
}


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("ending", DENSE)
def test_segmentations(ending: str, axes: int) -> None:
    outputs, function, kind = DENSE[ending]
    x = torch.rand(2, 1, *(8, 7, 6)[:axes], generator=torch.Generator().manual_seed(4))
    net, bare = Dense(axes, outputs, function).eval(), Dense(axes, outputs, lambda z: z).eval()
    centre = bare(x).transpose(0, 1).flatten(1).median(1).values.detach()
    for one in (net, bare):  # each class is then predicted somewhere in each image
        one.c.bias.data -= centre
    methods = ["grad-cam", "score-cam"]
    e, right = cfcam.explain(net, x, methods), cfcam.explain(bare, x, methods, probability=kind)
    assert torch.equal(e.targets, right.targets)
    torch.testing.assert_close(e.scores, right.scores)
    torch.testing.assert_close(e.maps, right.maps)


@pytest.mark.parametrize("ending", ["module", "(1 - p, p)", "clamped", "squeezed"])
def test_masked_passes_read_as_the_first(ending: str, x: Tensor) -> None:
    net = Ends(1, SINGLE[ending]).eval()
    capture = Capture(Network(net), x, layer="f", targets=1)
    images = torch.tensor([0, 2, 2, 1])
    other = torch.rand(4, *x.shape[1:])
    z = net.z(other).detach()
    torch.testing.assert_close(capture.rescore(other, images), z)
    torch.testing.assert_close(capture.rescore(other[:1], images[:1]), z[:1])
    torch.testing.assert_close(capture.rescore(other, images, probability=True), z.sigmoid())
    maps = torch.rand(3, *capture.activations.shape[1:])
    right = net.fc(maps.mean((2, 3))).detach()
    for rows in (torch.zeros(3, dtype=torch.long), torch.arange(3)):
        torch.testing.assert_close(capture.rescore_activations(maps, rows), right)


def test_a_clamp_that_bites_is_the_probability_and_keeps_the_gradient(x: Tensor) -> None:
    net = Ends(1, lambda z: z.sigmoid().clamp(0.1, 0.9), bias=30.0).eval()
    e = cfcam.explain(net, x, "grad-cam")
    torch.testing.assert_close(e.probabilities[:, 1], torch.full((3,), 0.9))
    bare = cfcam.explain(plain(net), x, "grad-cam")
    torch.testing.assert_close(e.maps, bare.maps)


def test_a_saturated_probability_still_has_a_map(x: Tensor) -> None:
    """In float32 the sigmoid of 40 is 1, and its gradient 0."""
    net = Ends(1, nn.Sigmoid(), bias=40.0).eval()
    e = cfcam.explain(net, x, "grad-cam")
    torch.testing.assert_close(e.maps, cfcam.explain(plain(net), x, "grad-cam").maps)
    assert e.scores.min() > 30


@pytest.mark.parametrize("asked", ["sigmoid", "given", "softmax"])
def test_no_activation_is_applied_twice(asked: Any, x: Tensor) -> None:
    net = Ends(1, nn.Sigmoid()).eval()
    e = cfcam.explain(net, x, "grad-cam", probability=asked)
    torch.testing.assert_close(e.probabilities[:, 1:], net(x).detach())
    assert ("not applied once more" in str(e.provenance.get("notes"))) == (asked != "given")
    several = Ends(3, nn.Sigmoid()).eval()
    if asked == "softmax":
        with pytest.raises(OutputError, match=r"probability='softmax' is asked for.*sigmoid at the end.*'given'"):
            cfcam.explain(several, x, "grad-cam", probability=asked)
    else:
        e = cfcam.explain(several, x, "grad-cam", probability=asked)
        torch.testing.assert_close(e.probabilities, several(x).detach())


def test_probabilities_that_are_none(x: Tensor) -> None:
    with pytest.raises(OutputError, match=r"probability='given', but the output runs from .* lie in \[0, 1\]"):
        cfcam.explain(Ends(3, lambda z: 9 * z).eval(), x, "grad-cam", probability="given")


@pytest.mark.parametrize("wrong", ["sigmiod", "Softmax", "logits", None, 1])
def test_a_typo_is_refused(wrong: Any, x: Tensor) -> None:
    net = Ends(2, nn.Identity()).eval()
    makers: list[Callable[[], Any]] = [
        lambda: cfcam.Explainer(net, probability=wrong),
        lambda: cfcam.explain(net, x, probability=wrong),
        lambda: Network(net, wrong),
    ]
    for make in makers:
        with pytest.raises(InputError, match=r"probability=.* is unknown: (did you mean|give one of)"):
            make()
    with pytest.raises(CfcamError, match="did you mean 'sigmoid'"):
        Network(net, "sigmiod")  # type: ignore[arg-type]


def test_half_precision(x: Tensor) -> None:
    net = Ends(3, nn.Softmax(1)).eval()
    right = net(x).detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        e = cfcam.explain(net, x, "grad-cam")
    torch.testing.assert_close(e.probabilities, right, atol=2e-2, rtol=0)
    assert e.provenance["probability"] == "given (softmax at the end)"
    half = cfcam.explain(net.to(torch.bfloat16), x.bfloat16(), "grad-cam")
    torch.testing.assert_close(half.probabilities, right, atol=2e-2, rtol=0)


def test_compiled_and_scripted_parts(x: Tensor) -> None:
    """Their functions cannot be listened to: autograd, or the sums, tell."""
    for ending in (torch.jit.script(nn.Softmax(1)), torch.compile(nn.Softmax(1), backend="eager")):
        net = Ends(3, ending).eval()
        e = cfcam.explain(net, x, "grad-cam", layer="f")
        torch.testing.assert_close(e.probabilities, net(x).detach())


@pytest.mark.parametrize(
    ("outputs", "activation"),
    [(1, nn.Sigmoid()), (3, nn.Sigmoid()), (3, nn.Softmax(1)), (3, nn.LogSoftmax(1)), (3, nn.Identity())],
)
@pytest.mark.parametrize("make", ["script", "trace"])
@pytest.mark.parametrize("runs", [0, 3])
def test_heads_compiled_by_torch_jit_read_the_same_however_often_they_ran(
    outputs: int, activation: nn.Module, make: str, runs: int, x: Tensor
) -> None:
    """A profiled graph hides its functions from autograd: the first call had another reading than the third."""
    net = Ends(outputs, nn.Identity()).eval()
    head = nn.Sequential(nn.Linear(4, outputs), activation).eval()
    nn.init.constant_(head[0].bias, -3.0)
    net.fc = torch.jit.script(head) if make == "script" else torch.jit.trace(head, torch.rand(3, 4))
    for _ in range(runs):
        net(x)
    e = cfcam.explain(net, x, "grad-cam")
    right = cfcam.explain(with_head(net, head), x, "grad-cam")
    torch.testing.assert_close(e.probabilities, right.probabilities)
    assert torch.equal(e.targets, right.targets)
    assert ("notes" in e.provenance) == (not isinstance(activation, nn.Identity))


def with_head(net: Ends, head: nn.Module) -> Ends:
    other = Ends(1, nn.Identity()).eval()
    other.f, other.fc = net.f, head
    return other


DECISIONS: dict[str, Ending] = {
    "rounded": lambda z: z.sigmoid().round(),
    "above a half": lambda z: (z.sigmoid() > 0.5).float(),
    "logits above zero": lambda z: z.gt(0).to(z.dtype),
    "where": lambda z: torch.where(torch.sigmoid(z) >= 0.5, 1.0, 0.0),
    "one-hot": lambda z: F.one_hot(z.softmax(1).argmax(1), 3).float(),
    "not": lambda z: 1 - (z.sigmoid() > 0.5).float(),
    "under a key": lambda z: {"probs": (z.sigmoid() > 0.5).float()},
}


@pytest.mark.parametrize("ending", DECISIONS)
def test_decisions_are_no_scores(ending: str, x: Tensor) -> None:
    """0 and 1 were taken for logits: p = 0.5 for what is certain, or "does not depend on layer"."""
    net = Ends(3, DECISIONS[ending]).eval()
    for method in ("grad-cam", "score-cam"):
        with pytest.raises(OutputError, match="the output is decisions"):
            cfcam.explain(net, x, method)

    def share(out: Any) -> Tensor:
        return (out["probs"] if isinstance(out, dict) else out).mean(1)

    assert cfcam.explain(net, x, "score-cam", targets=share).maps["score-cam"].shape[:2] == (3, 1)


def test_votes_and_gates_are_no_decisions(x: Tensor) -> None:
    for ending in (lambda z: z * (z > 0), lambda z: torch.where(z > 0, z, 0.1 * z)):
        net = Ends(3, ending).eval()
        assert torch.equal(cfcam.explain(net, x, "grad-cam").probabilities, net(x).detach().softmax(1))
    votes = Ends(3, lambda z: torch.stack([(z > t).float() for t in (-1, 0, 1)]).mean(0)).eval()
    assert cfcam.explain(votes, x, "score-cam").scores.shape == (3, 1)


def test_a_callable_gets_classes_too(x: Tensor) -> None:
    net = Ends(3, lambda z: z.argmax(1)).eval()
    e = cfcam.explain(net, x, "score-cam", targets=lambda out: (out == 1).float())
    assert e.scores.shape == (3, 1)


def test_hooks_are_not_heard(x: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """What hooks ask tensors, their shapes a thousand times, was led through the listener: half of a call's time."""
    heard: list[str] = []
    listen = Listener.__torch_function__

    def counted(self: Listener, func: Any, *args: Any) -> Any:
        heard.append(getattr(func, "__name__", ""))
        return listen(self, func, *args)

    monkeypatch.setattr(Listener, "__torch_function__", counted)
    cfcam.explain(Ends(3, lambda z: z).eval(), x, "grad-cam")
    assert heard.count("conv2d") == 1
    assert heard.count("__get__") == 0


def test_a_network_without_an_activation_is_listened_to_once(x: Tensor) -> None:
    network = Network(Ends(3, nn.Identity()).eval())
    network(x)
    with network.answers.heard(network.model) as listener:
        assert listener is None


@pytest.mark.parametrize("ending", ["module", "(1 - p, p)", "squeezed"])
def test_metrics_and_doctor_read_alike(ending: str, x: Tensor) -> None:
    net = Ends(1, SINGLE[ending]).eval()
    given = cfcam.evaluate(net, [(one, 0) for one in x], "grad-cam", "average-drop", explained="label", controls=False)
    bare = cfcam.evaluate(
        plain(net), [(one, 0) for one in x], "grad-cam", "average-drop", explained="label", controls=False
    )
    for row, right in zip(given.rows, bare.rows, strict=True):
        assert row.probability == pytest.approx(right.probability, rel=1e-4)
        assert row.values == pytest.approx(right.values, rel=1e-3, nan_ok=True)
    found = cfcam.diagnose(net, x)["output"]
    assert found.severity == "ok"
    assert "probabilities already (sigmoid at the end), taken as they are" in found.seen
    assert not cfcam.explain(net, x, "grad-cam").multilabel
    assert cfcam.explain(Ends(2, torch.sigmoid).eval(), x, "grad-cam").multilabel


def test_other_readers_of_probabilities(x: Tensor) -> None:
    """Windows, and a softmax over something else than the classes."""
    net = Ends(1, nn.Sigmoid()).eval()
    from cfcam.explainer_windows import explain_windows

    net.f[0].padding = (1, 1)
    whole = explain_windows(cfcam.Explainer(net, "grad-cam"), x, (12, 5), 0, targets=1)
    halves = [net.z(x[..., :5]), net.z(x[..., 5:])]
    torch.testing.assert_close(whole.probabilities[:, 1:], (sum(halves) / 2).sigmoid().detach())
    over_images = cfcam.explain(Ends(3, nn.Softmax(0)).eval(), x, "grad-cam", targets=0)
    assert "does not run over the classes" in over_images.provenance["notes"][0]
