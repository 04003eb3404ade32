"""Networks that mix the images of a batch: versions of an image run alone, so that no number depends on the batch."""

from __future__ import annotations

import os
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import cfcam
from cfcam.capture import Capture, Network
from cfcam.capture.alone import TOGETHER
from cfcam.capture.mixing import DRAWS, NOTE, differ, found_to_mix
from cfcam.imaging import Preprocess
from cfcam.jobs.engine.inference import Engine
from cfcam.methods import CFCAM, AblationCAM, Occlusion, ReciproCAM, ScoreCAM, get_method
from cfcam.metrics import Evaluator, Sample, evaluate

LAYER = "body"


class Mixing(nn.Module):
    """Subtracts a share of the batch's mean: 0.5 of the input's, or of the layer's output, or nothing.

    Of one image alone that is half of it: ``x - 0.5 * mean([x]) = 0.5 * x``.
    """

    def __init__(self, where: str, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.where = where
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU())
        self.tail = nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), nn.Tanh())
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = x - 0.5 * self.mean_of(x, "input")
        A = self.body(x)
        A = A - 0.5 * self.mean_of(A, "tail")
        return self.head(self.tail(A).mean((2, 3)))

    def mean_of(self, x: Tensor, where: str) -> Tensor:
        if where == self.where:
            return x.mean(0, keepdim=True)
        return x if self.where == f"{where} alone" else torch.zeros_like(x)


def norm_of_the_batch() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6, track_running_stats=False),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, padding=1),
        nn.BatchNorm2d(6, track_running_stats=False),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 4),
    ).eval()


def picture(count: int = 1) -> Tensor:
    return torch.rand(count, 3, 12, 12, generator=torch.Generator().manual_seed(3))


def map_of(
    net: nn.Module, method: Any, x: Tensor | None = None, layer: str = LAYER, target: int = 1
) -> cfcam.Explanation:
    return cfcam.explain(net, picture() if x is None else x, method, targets=[target], layer=layer)


def only(explanation: cfcam.Explanation) -> np.ndarray[Any, Any]:
    return np.asarray(next(iter(explanation.maps.values())))


METHODS = [
    ScoreCAM(),
    AblationCAM(),
    ReciproCAM(),
    Occlusion(),
    *map(get_method, ("ss-cam", "is-cam", "finer-cam", "smooth-grad", "full-grad", "expected-grad-cam")),
    CFCAM.steady(),
    CFCAM.best(),
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.label)
@pytest.mark.parametrize("where", ["input", "tail"])
def test_an_image_has_the_map_of_the_network_that_sees_it_alone(where: str, method: Any) -> None:
    nets = [Mixing(place).eval() for place in (where, f"{where} alone")]
    found, right = (only(map_of(net, method, target={"input": 1, "tail": 2}[where])) for net in nets)
    assert np.abs(right).max() > 0
    np.testing.assert_allclose(found, right, atol=1e-6 * max(1, np.abs(right).max()), rtol=1e-4)


class Rows(Mixing):
    """Features of a row that depend on its batch in another way than all on all; of one image alone they do not."""

    def __init__(self, kind: str) -> None:
        super().__init__("nowhere")
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        f = self.tail(self.body(x)).mean((2, 3))
        if self.kind == "a sequence":  # as nn.LSTM takes a batch that is not its first axis
            f = f.cumsum(0)
        elif self.kind == "backwards":
            f = f.flip(0).cumsum(0).flip(0)
        elif self.kind == "from four on":
            f = f + f.mean(0) if len(x) >= 4 else f
        elif self.kind == "by number":
            f = f * (1 + 0.3 * torch.arange(len(x))[:, None])
        return self.head(f)


@pytest.mark.parametrize(
    "method",
    [
        ScoreCAM(),
        AblationCAM(),
        ReciproCAM(),
        CFCAM.steady(),
        CFCAM(views=8, layers=("body", "tail")),
        CFCAM.best(),
        pytest.param("integrated-gradients", marks=pytest.mark.skipif(not find_spec("captum"), reason="no Captum")),
    ],
    ids=str,
)
def test_whichever_rows_are_changed_by_whichever(method: Any) -> None:
    right = only(map_of(Mixing("nowhere").eval(), method, target=2))
    assert np.abs(right).max() > 0
    for kind in ("a sequence", "backwards", "from four on", "by number"):
        found = map_of(Rows(kind).eval(), method, target=2)
        np.testing.assert_allclose(only(found), right, atol=1e-3 * np.abs(right).max(), err_msg=kind)


@pytest.mark.parametrize("first", [torch.zeros(12), torch.linspace(0, 1e-4, 12)], ids=["blank", "nearly blank"])
@pytest.mark.parametrize("method", [ScoreCAM(), Occlusion(), CFCAM.steady(), CFCAM.best()], ids=lambda m: m.label)
def test_a_picture_that_shows_nothing_teaches_nothing(method: Any, first: Tensor) -> None:
    nets = [Mixing(place).eval() for place in ("input", "input alone")]
    explainers = [cfcam.Explainer(net, method, layer=LAYER) for net in nets]
    found, right = ([e(x, [1]) for x in (first.expand(1, 3, 12, 12), picture())][1] for e in explainers)
    np.testing.assert_allclose(only(found), only(right), atol=1e-6, rtol=1e-4)
    assert found.provenance["notes"] == [NOTE]


def test_integrated_gradients_are_those_of_single_points() -> None:
    pytest.importorskip("captum")
    found, right = (only(map_of(Mixing(place).eval(), "integrated-gradients")) for place in ("input", "input alone"))
    np.testing.assert_allclose(found, right, atol=1e-6)


@pytest.mark.parametrize("method", [ScoreCAM, AblationCAM, ReciproCAM, Occlusion])
def test_no_map_depends_on_a_batch_size(method: Any) -> None:
    explained = [map_of(norm_of_the_batch(), method(batch_size=size), layer="2") for size in (1, None, 3)]
    for other in explained[1:]:
        np.testing.assert_allclose(only(other), only(explained[0]), atol=1e-6)
        assert other.provenance["notes"] == [NOTE]


@pytest.mark.parametrize("method", [ScoreCAM(), AblationCAM(), Occlusion()])
def test_a_network_that_does_not_mix_pays_two_rows(method: Any) -> None:
    net, rows = Mixing("nowhere").eval(), list[int]()
    explainer = cfcam.Explainer(net, method, layer=LAYER)
    net.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    first = explainer(picture(), [1])
    of_first, rows[:] = list(rows), []
    explainer(picture(), [1])
    assert explainer._network.mixes in (False, None)  # what is behind a layer tells of what is behind it
    assert "notes" not in first.provenance
    # The first time packed kernels are held against a plain pass too; a tail is first tried with two strong rows.
    plain = 2 if isinstance(method, AblationCAM) else of_first[1]
    assert sum(of_first) - sum(rows) <= 2 + plain


def test_images_that_are_given_together_run_together_and_that_is_said() -> None:
    x, net = picture(2), norm_of_the_batch()
    explanation = map_of(net, ScoreCAM(), x, layer="2")
    torch.testing.assert_close(explanation.logits, net(x))
    assert explanation.provenance["notes"] == [NOTE, f"{TOGETHER} (image 0, 1)"]


class Drawing(nn.Module):
    """Adds noise: of a generator that it holds, whose state each pass finds as it was; or of the operating system."""

    def __init__(self, own: bool) -> None:
        super().__init__()
        self.net, self.own = Mixing("nowhere"), torch.Generator().manual_seed(0) if own else None

    def forward(self, x: Tensor) -> Tensor:
        if self.own is not None:
            return self.net(x + 0.3 * torch.randn(x.shape, generator=self.own))
        noise = np.frombuffer(os.urandom(x.numel()), np.uint8).reshape(x.shape)
        return self.net(x + 0.3 * torch.from_numpy(noise / 255).to(x))


@pytest.mark.parametrize("own", [True, False])
def test_a_network_that_draws_is_run_to_an_end(own: bool) -> None:
    explanation = map_of(Drawing(own=own).eval(), [ScoreCAM(), AblationCAM()], layer="net.body")
    assert explanation.provenance["notes"] == [DRAWS]


def test_a_network_of_one_batch_size_goes_on() -> None:
    class Sized(Mixing):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.reshape(2, 3, 12, 12))

    plain = [map_of(Mixing("nowhere").eval(), method, picture(2)) for method in (ScoreCAM(), AblationCAM())]
    sized = [map_of(Sized("nowhere").eval(), method, picture(2)) for method in (ScoreCAM(), AblationCAM())]
    for one, other in zip(plain, sized, strict=True):
        np.testing.assert_allclose(only(other), only(one), atol=1e-6)
        assert "notes" not in other.provenance


def test_rows_that_are_alike_tell_nothing_of_others() -> None:
    network, x = Network(Mixing("nowhere").eval()), picture()
    capture = Capture(network, x, layer=LAYER, targets=[1])
    both = torch.cat([x, x * 1.001])
    for rows, learnt in ((both, None), (torch.cat([x, 2 * x]), False)):

        def again(which: Tensor, rows: Tensor = rows) -> Any:
            return capture.answer(rows[which], torch.zeros_like(which))

        assert not found_to_mix(network, rows, again(torch.arange(2)), again)
        assert network.mixes is learnt


def test_numbers_differ_beyond_rounding() -> None:
    one = torch.tensor([[1.0, 2.0]])
    assert not differ(one + 1e-6, one)
    assert differ(one + 1e-3, one)
    assert not differ(one.half() + 1e-2, one.half())
    assert differ(torch.tensor([[torch.nan, 2.0]]), one)
    assert not differ(one[:, :1], one)  # other boxes


def test_runs_explain_pictures_one_by_one() -> None:
    """Whatever the size of their batch: noise beside noise shows it before the first picture is read."""
    preprocess = Preprocess(size=(12, 12), mean=(0.0,) * 3, std=(1.0,) * 3)
    found = []
    for size in (1, 4):
        engine = Engine(norm_of_the_batch(), {"grad-cam": get_method("grad-cam")}, [1], layer="2", batch_size=size)
        engine.rehearse(preprocess)
        assert engine.notes == [NOTE]
        found.append(engine(list(picture(4))))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(only(other), only(one), atol=1e-6)
        torch.testing.assert_close(other.logits, one.logits)
    both = engine.explainer(picture(4), torch.tensor([0, 1, 2, 3]))
    assert both.targets[:, 0].tolist() == [0, 1, 2, 3]
    alone = [engine.explainer(x[None], [n]) for n, x in enumerate(picture(4))]
    torch.testing.assert_close(both.maps["grad-cam"], torch.cat([one.maps["grad-cam"] for one in alone]))


def test_an_evaluation_does_not_depend_on_its_batch_size() -> None:
    samples = [Sample(x, label=n % 4, name=f"{n}") for n, x in enumerate(picture(3))]
    rows = []
    for size in (1, 3):
        evaluator = Evaluator(
            norm_of_the_batch(), "grad-cam", ("insertion-blur", "deletion-blur"), controls=False, layer="2"
        )
        rows.append([row for n in range(0, 3, size) for row in evaluator(samples[n : n + size])])
    for one, other in zip(*rows, strict=True):
        assert replace(other, values={}) == replace(one, values={})
        assert other.values == pytest.approx(one.values, abs=1e-6)
    card = evaluate(norm_of_the_batch(), samples, "grad-cam", ("insertion-blur",), controls=False, layer="2")
    assert card.info["notes"] == [NOTE]
