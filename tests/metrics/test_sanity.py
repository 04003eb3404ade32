"""Cascading randomisation changes what it should and nothing else, and what is said of the maps it gives."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import cfcam
from cfcam.errors import InputError
from cfcam.metrics.functional.sanity import (
    class_agreement,
    class_sensitivity,
    emprt,
    mprt,
    passes_mprt,
    random_similarity,
    randomised,
)
from cfcam.metrics.functional.similarity import pearson, soft_iou, ssim
from cfcam.metrics.sanity import EMPRT, MPRT, ClassAgreement, ClassSensitivity
from tests.networks import FlattenNet, GapNet


class Mixed(nn.Module):
    """Layers of several kinds: own parameters, attention, BatchNorm, a scalar, a module that resets its children."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 6))
        self.embed = nn.Linear(3, 6)
        self.norm = nn.BatchNorm1d(6)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.block = Resetting()
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(self.embed(x.transpose(1, 2)).transpose(1, 2)).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], 1)
        return self.head(self.block(self.attention(tokens, tokens, tokens)[0])[:, 0])


class Resetting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 6)
        self.scale = nn.Parameter(torch.tensor(0.8))

    def reset_parameters(self) -> None:
        self.inner.reset_parameters()
        nn.init.ones_(self.scale)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) * self.scale


def trained(model: nn.Module) -> nn.Module:
    """Moves every parameter and statistic away from where initialisation could put it."""
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.mul_(1.5).add_(0.1 + torch.rand(tensor.shape, generator=generator))
    return model.eval()


NETWORKS = [
    lambda: GapNet(2, norm=True),
    lambda: GapNet(3, norm=True),
    lambda: FlattenNet(2),
    Mixed,
]


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def changed(model: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}


@pytest.mark.parametrize("make", NETWORKS)
def test_each_stage_changes_one_more_layer_and_the_last_all_parameters(make) -> None:
    model = trained(make())
    before = previous = state(model)
    done = []
    for name, network in randomised(model):
        layer = network.get_submodule(name)
        inside = {f"{name}.{key}".lstrip(".") for key, _ in layer.named_parameters(recurse=False)}
        touched = changed(network, previous)
        parameters = {key for key, _ in network.named_parameters()}
        assert touched & parameters == inside
        assert all(key.rpartition(".")[0] == name for key in touched - parameters)  # running statistics
        done.append(name)
        previous = state(network)
    assert sorted(done) == sorted(n for n, m in model.named_modules() if list(m.parameters(recurse=False)))
    assert changed(network, before) >= {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize("make", NETWORKS)
def test_model_and_random_state_are_left_alone(make) -> None:
    model = trained(make()).train()
    model.get_submodule("").register_forward_hook(lambda *_: None)
    before, flags = state(model), [m.training for m in model.modules()]
    random_state = torch.get_rng_state()
    x = torch.rand(2, 3, *{5: (4, 6, 5), 4: (14, 10)}.get(_input_axes(model), (5,)), generator=torch.Generator())
    for _ in randomised(model, sample=x):
        assert torch.equal(torch.get_rng_state(), random_state)
    assert changed(model, before) == set()
    assert [m.training for m in model.modules()] == flags
    assert all(not m._forward_pre_hooks for m in model.modules())
    assert all(p.grad is None for p in model.parameters())


def _input_axes(model: nn.Module) -> int:
    kernel = next((p for p in model.parameters() if p.ndim > 3), None)
    return 3 if kernel is None else kernel.ndim


def test_batch_norm_forgets_its_statistics_too() -> None:
    *_, (_, network) = randomised(trained(GapNet(2, norm=True)))
    norm = network.features[1]
    assert norm.running_mean.tolist() == [0.0] * 8
    assert norm.running_var.tolist() == [1.0] * 8


def test_the_seed_alone_decides() -> None:
    model = trained(GapNet())
    results = []
    for seed in (0, 0, 1):
        torch.rand(1)
        *_, (_, network) = randomised(model, seed)
        results.append(state(network))
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])
    assert not any(torch.equal(results[0][name], results[2][name]) for name in results[0])


def test_layers_of_one_shape_get_different_parameters() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    *_, (_, network) = randomised(model)
    assert not torch.isclose(network[0].weight, network[1].weight).any()


def test_without_a_reset_the_parameters_keep_mean_and_deviation() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(3 + 0.5 * torch.randn(200, 200))

    model = Bare()
    ((name, network),) = randomised(model)
    assert name == ""
    old, new = model.weight.detach().flatten(), network.weight.detach().flatten()
    assert float(new.mean()) == pytest.approx(float(old.mean()), abs=0.02)
    assert float(new.std()) == pytest.approx(float(old.std()), rel=0.02)
    assert abs(float(torch.corrcoef(torch.stack([new, old]))[0, 1])) < 0.03


def test_without_reset_every_layer_keeps_the_size_of_its_parameters() -> None:
    model = nn.Sequential(nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 100))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(20).add_(1)
    *_, (_, fresh) = randomised(model)
    *_, (_, kept) = randomised(model, reset=False)
    for layer in (0, 2):
        before, after = model[layer].weight.detach(), kept[layer].weight.detach()
        assert float(after.std()) == pytest.approx(float(before.std()), rel=0.05)
        assert not torch.isclose(after, before).all(1).any()
        assert float(fresh[layer].weight.detach().std()) < 0.1 * float(before.std())


@pytest.mark.parametrize(
    ("most", "expected"), [(1, [6]), (2, [0, 6]), (3, [0, 3, 6]), (4, [0, 2, 4, 6]), (99, range(7))]
)
def test_fewer_stages_are_spread_evenly_over_the_same_cascade(most: int, expected: list[int]) -> None:
    model = trained(nn.Sequential(*[nn.Linear(3, 3) for _ in range(7)]))
    full = [(name, state(network)) for name, network in randomised(model)]
    some = [(name, state(network)) for name, network in randomised(model, most=most)]
    assert [name for name, _ in full] == ["6", "5", "4", "3", "2", "1", "0"]
    assert [name for name, _ in some] == [full[i][0] for i in expected]
    for (_, found), i in zip(some, expected, strict=True):
        assert all(torch.equal(found[key], full[i][1][key]) for key in found)


def test_a_sample_gives_the_order_of_use() -> None:
    model = trained(FlattenNet(2))  # registers its classifier before the hidden layer that runs before it
    assert [name for name, _ in randomised(model)][:2] == ["hidden", "classifier"]
    found = [name for name, _ in randomised(model, sample=torch.rand(2, 3, 14, 10))]
    assert found == ["classifier", "hidden", "features.2", "features.0"]


def test_parameters_used_from_outside_their_module_follow_the_module_around() -> None:
    # Attention uses the weights of its out_proj without calling it; the token belongs to the outermost module.
    found = [name for name, _ in randomised(trained(Mixed()), sample=torch.rand(2, 3, 5))]
    assert found == ["head", "block.inner", "block", "attention.out_proj", "attention", "norm", "embed", ""]


def test_frozen_parameters_stay_frozen_and_double_stays_double() -> None:
    model = trained(GapNet().double()).requires_grad_(False)
    *_, (_, network) = randomised(model)
    assert all(not p.requires_grad and p.dtype == torch.float64 for p in network.parameters())
    network(torch.rand(1, 3, 8, 8, dtype=torch.float64))


@pytest.mark.parametrize("call", [lambda: randomised(nn.ReLU()), lambda: randomised(GapNet(), most=0)])
def test_nothing_to_randomise_is_an_error_at_once(call) -> None:
    with pytest.raises(InputError):
        call()


def test_maps_of_a_randomised_network_can_be_compared() -> None:
    model, x = FlattenNet(2).eval(), torch.rand(3, 3, 14, 10)

    def maps(network: nn.Module) -> Tensor:
        return cfcam.explain(network, x, "grad-cam", targets=1, layer="features").heatmaps("grad-cam")[:, 0]

    original = maps(model)
    curve = mprt(torch.stack([maps(network) for _, network in randomised(model)]), original, "soft_iou")
    assert curve.shape == (4, 3)
    assert bool((curve.nanmean(1) < 0.9).all())  # NaN where a map is empty, but not all of a stage are
    assert mprt(original[None], original, "soft_iou").tolist() == [[1.0] * 3]


# --- what is said of the maps -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "compare"), [("ssim", ssim), ("soft_iou", soft_iou), ("pearson", pearson)])
@pytest.mark.parametrize("size", [(12, 9), (7, 8, 6)])
def test_mprt_compares_stage_by_stage(name, compare, size: tuple[int, ...]) -> None:
    original, stages = torch.rand(4, *size), torch.rand(3, 4, *size)
    stages[1, 2] = 0
    curve = mprt(stages, original, name)
    for s in range(3):
        for n in range(4):
            expected = compare(original[n : n + 1], stages[s, n : n + 1])[0]
            torch.testing.assert_close(curve[s, n], expected, equal_nan=True)
    assert curve.isnan().sum() == 1


def test_a_constant_map_fails_and_a_random_one_passes() -> None:
    constant = torch.full((5, 20, 20), 0.4)
    curve = mprt(constant.expand(3, -1, -1, -1), constant)
    torch.testing.assert_close(curve, torch.ones(3, 5))
    limit = random_similarity(constant)
    assert passes_mprt(curve, limit - 1e-3).sum() == 0
    shapes = 0.8 + 0.2 * torch.rand(5, 20, 20)  # maps that are alike whatever the image, as of a centred object
    random = torch.rand(3, 5, 20, 20)
    assert passes_mprt(mprt(random, shapes), random_similarity(shapes)).min() == 1


def test_passing_is_below_and_what_was_not_assessed_stays_so() -> None:
    value = passes_mprt(torch.tensor([[0.2, 0.5], [0.6, torch.nan]]), torch.tensor(0.5))
    torch.testing.assert_close(value, torch.tensor([[1.0, 0.0], [0.0, torch.nan]]), equal_nan=True)
    assert passes_mprt(torch.tensor([0.2]), torch.nan).isnan()


def test_random_similarity_of_few_maps_is_of_all_pairs() -> None:
    maps = torch.rand(6, 9, 8)
    maps[4] = torch.nan
    kept = [0, 1, 2, 3, 5]
    pairs = [float(soft_iou(maps[i][None], maps[j][None])) for i in kept for j in kept if i < j]
    assert float(random_similarity(maps, similarity="soft_iou")) == pytest.approx(np.mean(pairs), rel=1e-5)
    assert random_similarity(maps[3:5]).isnan()


def test_random_pairs_are_of_different_images_and_of_the_seed() -> None:
    own_places = torch.eye(60).reshape(60, 6, 10)  # like itself: 1, like any other: 0
    assert float(random_similarity(own_places, 1000, similarity="soft_iou")) == 0
    maps = torch.rand(40, 5, 5)
    before = torch.get_rng_state()
    values = [float(random_similarity(maps, seed=seed, similarity="soft_iou")) for seed in (0, 0, 1)]
    assert torch.equal(before, torch.get_rng_state())
    assert values[0] == values[1] != values[2]
    every = float(random_similarity(maps, 10_000, similarity="soft_iou"))
    assert values[0] == pytest.approx(every, abs=0.05)


@pytest.mark.parametrize("size", [(30, 20), (9, 8, 7)])
def test_emprt_equals_numpys_histogram(size: tuple[int, ...]) -> None:
    original, random = torch.rand(3, *size) ** 4, torch.rand(3, *size)
    original[0] = (original[0] * 100).round() / 100  # values on the edges of bins

    def entropy(values: Tensor) -> float:
        share = np.histogram(values.numpy().ravel().astype(np.float64), bins=100)[0] / values.numel()
        return float(-sum(p * np.log(p) for p in share if p > 0))

    value = emprt(original, random)
    for n in range(3):
        expected = (entropy(random[n]) - entropy(original[n])) / entropy(original[n])
        assert float(value[n]) == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(value, torch.cat([emprt(original[n : n + 1], random[n : n + 1]) for n in range(3)]))


def test_emprt_of_maps_without_an_answer() -> None:
    original = torch.rand(4, 8, 8)
    random = torch.rand(4, 8, 8)
    original[1], random[2], original[3, 0, 0] = 0.5, 0, torch.nan
    assert emprt(original, random).isnan().tolist() == [False, True, True, True]
    assert float(emprt(original[:1], torch.ones(1, 8, 8))) == -1
    torch.testing.assert_close(emprt(original[:1], original[:1] * 3), torch.zeros(1))


class Recording:
    """An explanation (gradient times input, absolute) that keeps every map it gave."""

    def __init__(self) -> None:
        self.maps: list[np.ndarray] = []

    def __call__(self, model: nn.Module, inputs: np.ndarray, targets: np.ndarray, **_: object) -> np.ndarray:
        with torch.enable_grad():
            x = torch.as_tensor(inputs).detach().requires_grad_()
            score = model(x).gather(1, torch.as_tensor(targets)[:, None]).sum()
            (gradient,) = torch.autograd.grad(score, x)
        self.maps.append((gradient * x).abs().sum(1, keepdim=True).detach().numpy())
        return self.maps[-1]


def test_mprt_and_emprt_equal_quantus_on_the_maps_it_made() -> None:
    import quantus

    model, x, y = FlattenNet(2).eval(), torch.rand(3, 3, 14, 10).numpy(), np.array([0, 2, 1])
    given = Recording()(model, x, y)
    explain = Recording()
    scores = quantus.MPRT(
        similarity_func=quantus.similarity_func.correlation_pearson,
        layer_order="top_down",
        normalise=False,
        abs=False,
        disable_warnings=True,
    )(copy.deepcopy(model), x, y, a_batch=given, explain_func=explain)
    stages = torch.from_numpy(np.stack(explain.maps[-4:]))[:, :, 0]
    curve = mprt(stages, torch.from_numpy(given)[:, 0], "pearson")
    expected = [values for stage, values in scores.items() if stage != "original"]
    np.testing.assert_allclose(curve.numpy(), np.array(expected), atol=1e-5)

    explain = Recording()
    scores = quantus.EfficientMPRT(
        layer_order="top_down",
        normalise=False,
        abs=False,
        disable_warnings=True,
        complexity_func_kwargs={"n_bins": 100},
    )(copy.deepcopy(model), x, y, a_batch=given, explain_func=explain)
    last = torch.from_numpy(explain.maps[-1])[:, 0]
    np.testing.assert_allclose(emprt(torch.from_numpy(given)[:, 0], last).numpy(), scores, rtol=1e-4)


def test_class_sensitivity_is_what_is_not_alike() -> None:
    a, b = torch.rand(2, 3, 10, 10)
    b[2] = 0
    torch.testing.assert_close(class_sensitivity(a, b), 1 - soft_iou(a, b), equal_nan=True)
    torch.testing.assert_close(class_sensitivity(a, b, "pearson"), 1 - pearson(a, b), equal_nan=True)
    assert class_sensitivity(a, a).tolist() == [0.0] * 3


def test_class_agreement_by_hand() -> None:
    """Ranks 1 2 3 4 against 1 2 4 3, 4 3 2 1 and, of what is below 0, three ties: 2 2 2 4."""
    a = torch.tensor([[0.1, 0.2, 0.3, 0.4]]).repeat(5, 1)
    b = torch.tensor([[1.0, 2, 9, 8], [4, 3, 2, 1], [-1, -2, -3, 5], [1, 1, 1, 1], [-1, -2, -3, -4]])
    expected = torch.tensor([0.8, -1.0, 3 / 15**0.5, torch.nan, torch.nan])
    torch.testing.assert_close(class_agreement(a, b), expected, equal_nan=True)
    mean, share = ClassAgreement(), ClassAgreement(above=0.75)
    for metric in (mean, share):
        metric.update(a[:2], b[:2])
        metric.update(a[2:], b[2:])
        assert (int(metric.assessed), int(metric.not_assessed)) == (3, 2)
        assert not metric.higher_is_better
    torch.testing.assert_close(mean.compute(), expected[:3].mean())
    torch.testing.assert_close(share.compute(), torch.tensor(2 / 3))


@pytest.mark.parametrize("above", [1.0, 2, -1.5, float("nan"), "0.9", True])
def test_an_agreement_that_no_map_can_be_above_is_refused(above: object) -> None:
    with pytest.raises(InputError, match="a number from -1 to below 1, or None"):
        ClassAgreement(above=above)


def test_a_map_that_knows_no_class_agrees_wholly_and_chance_not_at_all() -> None:
    net = GapNet(channels=8).eval()
    pictures = [torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(n)) for n in range(12)]
    card = cfcam.evaluate(net, pictures, ["grad-cam"], "class-agreement", layer="features")
    of = {line.method: line.mean for line in card.summary()}
    assert of["channel-mean"] == pytest.approx(1)
    assert of["centre"] == pytest.approx(1)
    assert abs(of["random"]) < 0.1
    assert of["grad-cam"] < 0.9


@pytest.mark.parametrize(
    "call",
    [
        lambda: mprt(torch.rand(2, 3, 4), torch.rand(2, 3, 4)),
        lambda: mprt(torch.rand(2, 3, 4, 4), torch.rand(3, 4, 5)),
        lambda: mprt(torch.rand(0, 3, 4, 4), torch.rand(3, 4, 4)),
        lambda: emprt(torch.rand(3, 4, 4), torch.rand(3, 4, 5)),
        lambda: random_similarity(torch.rand(3, 4, 4), 0),
        lambda: class_sensitivity(torch.rand(3, 4), torch.rand(2, 4)),
        lambda: MPRT("nearest"),  # type: ignore[arg-type]
    ],
)
def test_bad_arguments_are_one_line(call) -> None:
    with pytest.raises(InputError) as error:
        call()
    assert "\n" not in str(error.value)


def test_metrics_average_what_was_assessed() -> None:
    original, stages = torch.rand(4, 12, 12), torch.rand(3, 4, 12, 12)
    stages[-1, 3] = 0
    metric = MPRT("pearson")
    for part in (slice(0, 1), slice(1, 4)):
        metric.update(stages[:, part], original[part])
    torch.testing.assert_close(metric.compute(), pearson(original, stages[-1])[:3].mean())
    assert (int(metric.assessed), int(metric.not_assessed)) == (3, 1)
    metric = EMPRT()
    metric.update(original, stages[-1])
    torch.testing.assert_close(metric.compute(), emprt(original, stages[-1])[:3].mean())
    metric = ClassSensitivity()
    metric.update(original, stages[0])
    torch.testing.assert_close(metric.compute(), 1 - soft_iou(original, stages[0]).mean())
    assert (MPRT.higher_is_better, EMPRT.higher_is_better, ClassSensitivity.higher_is_better) == (False, True, True)
