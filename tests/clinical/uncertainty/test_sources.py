import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from cfcam import Explainer, Status, explain
from cfcam.capture import Adapter
from cfcam.clinical.uncertainty import (
    Augmentations,
    NotAvailableError,
    augmentation,
    collect,
    dropout_modules,
    ensemble,
    mc_dropout,
    method_disagreement,
    summarise,
    to_uncertainty,
)
from cfcam.clinical.uncertainty.dropout import pass_seeds
from cfcam.errors import InputError, MethodError, TargetError
from cfcam.explainer_windows import explain_windows
from cfcam.methods.base import Method
from cfcam.methods.gradient.grad_cam import GradCAM
from tests.networks import GapNet, rescale


class OneUnit(nn.Module):
    """Logits (0, g m) with g the mean of x and m the only unit of dropout: 0 or 1 / (1 - p)."""

    def __init__(self, p=0.5, scale=1.0):
        super().__init__()
        self.features = nn.Conv2d(1, 1, 1, bias=False)
        self.drop = nn.Dropout(p)
        self.classifier = nn.Linear(1, 2, bias=False)
        nn.init.ones_(self.features.weight)
        with torch.no_grad():
            self.classifier.weight.copy_(torch.tensor([[0.0], [scale]]))

    def forward(self, x):
        return self.classifier(self.drop(self.features(x).mean((2, 3))))


class Pointwise(nn.Module):
    """1 x 1 convolutions and a mean: moves with its input, border and all."""

    def __init__(self, dims=2):
        super().__init__()
        conv = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
        self.features = nn.Sequential(conv(1, 4, 1), nn.ReLU())
        self.classifier = nn.Linear(4, 3)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(2).mean(2))


def images(n=1, dims=2, dtype=torch.float32):
    return torch.randn(n, 3, *((14, 10, 12)[:dims]), dtype=dtype)


def state_of(model):
    return (
        [m.training for m in model.modules()],
        [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()],
        {name: tensor.clone() for name, tensor in model.state_dict().items()},
        [p.grad for p in model.parameters()],
        torch.get_rng_state(),
    )


def assert_same_state(model, before):
    after = state_of(model)
    assert after[:2] == before[:2]
    assert all(torch.equal(after[2][name], tensor) for name, tensor in before[2].items())
    assert after[3] == before[3]
    assert torch.equal(after[4], before[4])


def counted(model):
    """The number of images that each pass of a network has seen, after one plain pass has chosen the layer."""
    seen = []
    model.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    return seen


# --- Monte Carlo dropout --------------------------------------------------------------------------------------


def test_one_unit_of_dropout_gives_the_mean_variance_and_information_of_a_coin():
    x = torch.full((1, 1, 4, 4), 0.7)
    kept = 1 / (1 + math.exp(-1.4))  # the unit doubled; dropped it leaves 0.5
    mean, sd = (kept + 0.5) / 2, (kept - 0.5) / 2
    found = summarise(mc_dropout(OneUnit(), x, "grad-cam", 1, samples=2000, seed=3))
    share = float(found.mean.mean())  # of the samples that kept the unit: their map is 1 everywhere, the others' is 0
    assert share == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(2000))
    assert float(found.probability_mean) == pytest.approx(mean, abs=4 * sd / math.sqrt(2000))
    assert float(found.probability_mean) == pytest.approx(share * kept + (1 - share) * 0.5)
    assert float(found.probability_sd) == pytest.approx((kept - 0.5) * math.sqrt(share * (1 - share)))
    assert found.sd.unique().tolist() == pytest.approx([math.sqrt(share * (1 - share))])

    def entropy(p):
        return -(p * math.log(p) + (1 - p) * math.log(1 - p))

    exact = entropy(share * kept + (1 - share) * 0.5) - share * entropy(kept) - (1 - share) * math.log(2)
    assert float(found.mutual_information) == pytest.approx(exact, abs=1e-6)
    assert float(found.agreement) == pytest.approx(1)  # of the maps that there are
    assert (found.statuses == Status.NO_POSITIVE_EVIDENCE).mean() == pytest.approx(1 - share)


def test_a_rate_that_drops_next_to_nothing_leaves_the_plain_map_and_batch_norm_in_evaluation():
    model = GapNet(norm=True)
    model.features[1].running_mean.fill_(0.3)  # unlike those of the batch
    model.drop.p = 1e-9
    x = images(3)
    plain = explain(model.eval(), x, "grad-cam", targets=[0, 2])
    samples = collect(mc_dropout(model.train(), x, "grad-cam", [0, 2], samples=4))
    assert samples.heatmaps.shape == (4, 3, 2, 14, 10)
    assert torch.allclose(samples.heatmaps, plain.heatmaps("grad-cam").expand(4, -1, -1, -1, -1), atol=1e-5)
    assert torch.allclose(samples.probabilities, plain.probabilities.expand(4, -1, -1), atol=1e-6)


@pytest.mark.parametrize("training", [False, True])
def test_nothing_is_left_behind_between_parts_or_after_errors(training):
    model = GapNet(norm=True).train(training)
    x = images(2)
    before = state_of(model)
    parts = mc_dropout(model, x, "grad-cam", samples=5, batch_size=2)
    for part in parts:
        assert part.heatmaps.isfinite().all()
        assert_same_state(model, before)

    class Broken(nn.Module):
        def forward(self, pooled):
            if broken:
                raise RuntimeError("in the middle of a pass")
            return pooled

    broken = False
    model.pool = nn.Sequential(model.pool, Broken()).train(training)
    parts = mc_dropout(model, x, "grad-cam", samples=5)
    broken, before = True, state_of(model)
    with pytest.raises(RuntimeError, match="in the middle"):
        next(parts)
    assert_same_state(model, before)


def test_the_random_state_is_the_same_whatever_explains():
    model, x = GapNet(), images()

    def twice(explainer, inputs, targets):
        model(inputs)
        return explainer(inputs, targets)

    before = torch.get_rng_state()
    collect(mc_dropout(model, x, targets=1, samples=3, run=twice))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_layer_is_chosen_without_dropout():
    model, dropped = GapNet(), []
    model.drop.register_forward_pre_hook(lambda module, args: dropped.append(module.training))
    collect(mc_dropout(model, images(), targets=1, samples=3))
    assert dropped == [False, True]


def test_a_seed_gives_the_same_samples_and_another_gives_others():
    model, x = rescale(GapNet()), images(2)
    first, again, other = (collect(mc_dropout(model, x, samples=4, seed=s)) for s in (5, 5, 6))
    assert torch.equal(first.heatmaps, again.heatmaps)
    assert torch.equal(first.probabilities, again.probabilities)
    assert not torch.equal(first.probabilities, other.probabilities)
    assert len({tuple(p.tolist()) for p in first.probabilities[:, 0]}) == 4
    assert pass_seeds([1, 2], 0, 3) != pass_seeds([1, 3], 0, 3) != pass_seeds([1, 3], 1, 3)


@pytest.mark.parametrize(("dims", "dtype"), [(2, torch.float32), (3, torch.float32), (2, torch.float64)])
def test_a_batch_equals_its_images_one_by_one(dims, dtype):
    model, x = rescale(GapNet(dims)).to(dtype), images(3, dims, dtype)
    settings = {"samples": 5, "batch_size": 2, "seed": 1}
    batch = collect(mc_dropout(model, x, "grad-cam++", [1, 3], **settings))
    assert batch.heatmaps.shape == (5, 3, 2, *x.shape[2:])
    assert batch.heatmaps.dtype == dtype
    for n in range(3):
        alone = collect(mc_dropout(model, x[n : n + 1], "grad-cam++", [1, 3], **settings))
        assert torch.equal(alone.heatmaps[:, 0], batch.heatmaps[:, n])
        assert torch.equal(alone.probabilities[:, 0], batch.probabilities[:, n])
    one = summarise(mc_dropout(model, x, "grad-cam++", 3, **settings))
    both = summarise(mc_dropout(model, x, "grad-cam++", [1, 3], **settings))
    # one class alone takes other kernels than two together, which round by where the memory happens to lie
    torch.testing.assert_close(one.mean[:, 0], both.mean[:, 1], rtol=0, atol=1e-6)
    torch.testing.assert_close(one.entropy[:, 0], both.entropy[:, 1], rtol=0, atol=1e-6)


def test_there_are_as_many_passes_as_samples_and_one_to_decide_the_class():
    model, x = GapNet(), images(3)
    explainer = Explainer(model, "grad-cam", layer="features")
    seen = counted(model)
    collect(mc_dropout(explainer, x, "grad-cam", 1, samples=7))
    assert (len(seen), sum(seen)) == (3, 21)
    seen.clear()
    collect(mc_dropout(explainer, x, "grad-cam", 1, samples=7, batch_size=3))
    assert seen == [3, 3, 3, 3, 3, 3, 1, 1, 1]
    seen.clear()
    collect(mc_dropout(explainer, x, "grad-cam", samples=7))
    assert seen == [3, 7, 7, 7]


def test_all_samples_explain_the_class_that_the_network_predicts_without_dropout():
    model, x = rescale(GapNet()), images(4)
    plain = explain(model, x, "grad-cam")
    samples = collect(mc_dropout(model, x, samples=30))
    assert torch.equal(samples.targets, plain.targets)
    assert bool((samples.probabilities.argmax(2) != plain.targets[:, 0]).any())  # though some predict another
    top = collect(mc_dropout(model, x, targets="top-2", samples=2))
    assert torch.equal(top.targets, explain(model, x, "grad-cam", targets="top-2").targets)


def test_a_constant_network_is_certain_of_what_it_says():
    model = GapNet().eval()
    with torch.no_grad():
        model.classifier.weight.zero_()
    found = summarise(mc_dropout(model, images(), targets=0, samples=5))
    assert not found.sd.any()
    assert not found.probability_sd.any()
    assert float(found.mutual_information) == pytest.approx(0, abs=1e-12)
    assert "dropout changes nothing" in found.note()


@pytest.mark.parametrize("model", [Pointwise(), OneUnit(p=0.0)])
def test_without_dropout_it_says_so_and_names_what_to_do(model):
    with pytest.raises(NotAvailableError, match="ensemble of checkpoints, augmentation") as caught:
        mc_dropout(model, torch.rand(1, 1, 8, 8))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "dropout",
    [nn.Dropout(0.5), nn.Dropout1d(0.5), nn.Dropout2d(0.5), nn.AlphaDropout(0.5), nn.FeatureAlphaDropout(0.5)],
)
def test_every_dropout_module_of_torch_is_switched(dropout):
    model = rescale(GapNet())
    if isinstance(dropout, (nn.Dropout2d, nn.FeatureAlphaDropout)):
        model.features.append(dropout)
        model.drop = nn.Identity()
    else:
        model.drop = nn.Sequential(nn.Unflatten(1, (6, 2)), dropout, nn.Flatten())
    assert dropout_modules(model) == [dropout]
    found = summarise(mc_dropout(Explainer(model, "grad-cam", layer="features[0]"), images(), targets=0, samples=6))
    assert float(found.probability_sd) > 0.001


def test_functional_dropout_of_a_module_is_left_off():
    class Functional(nn.Module):
        def forward(self, x):
            return nn.functional.dropout(x, 0.9, self.training)

    model = GapNet().train()
    model.drop = Functional()
    assert dropout_modules(model) == []
    with pytest.raises(NotAvailableError):
        mc_dropout(model, images())


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_attention_dropout_of_a_hugging_face_vit_is_switched_by_its_attention_modules(implementation):
    transformers = pytest.importorskip("transformers")

    def vit(hidden, attention):
        torch.manual_seed(0)
        config = transformers.ViTConfig(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            image_size=32,
            patch_size=8,
            num_labels=3,
            hidden_dropout_prob=hidden,
            attention_probs_dropout_prob=attention,
            attn_implementation=implementation,
            initializer_range=0.5,
        )
        return transformers.ViTForImageClassification(config).eval()

    x = torch.randn(2, 3, 32, 32)
    spread = {}
    for rates in ((0.0, 0.5), (0.3, 0.0)):
        model = vit(*rates)
        before = state_of(model)
        spread[rates] = summarise(mc_dropout(model, x, "grad-cam", 1, samples=4)).probability_sd
        assert_same_state(model, before)
    assert all(bool((sd > 1e-4).all()) for sd in spread.values())
    names = {type(module).__name__ for module in dropout_modules(vit(0.0, 0.5))}
    assert len(names) == 1
    assert "Attention" in names.pop()
    with pytest.raises(NotAvailableError):
        mc_dropout(vit(0.0, 0.0), x)


@pytest.mark.parametrize("kind", ["encoder layer", "attention"])
def test_torchs_fused_transformer_kernels_do_not_pass_dropout_by(kind):
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches = nn.Conv2d(3, 8, 4, 4)
            layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.5, batch_first=True)
            self.block = layer if kind == "encoder layer" else nn.MultiheadAttention(8, 2, 0.5, batch_first=True)
            self.last = nn.Conv1d(8, 8, 1)
            self.head = nn.Linear(8, 3)

        def forward(self, x):
            tokens = self.patches(x).flatten(2).transpose(1, 2)
            tokens = self.block(tokens) if kind == "encoder layer" else self.block(tokens, tokens, tokens)[0]
            return self.head(self.last(tokens.transpose(1, 2)).mean(2))

    model = Tokens().eval()
    explainer = Explainer(model, "grad-cam", layer="last")  # the block runs without a graph, where kernels are fused
    x = torch.randn(1, 3, 16, 16)
    explainer(x)  # the first pass observes the modules by hooks, which keep kernels from being fused
    found = summarise(mc_dropout(explainer, x, "grad-cam", 0, samples=4))
    assert float(found.probability_sd) > 1e-4
    assert not any(m.training for m in model.modules())


def test_all_passes_of_a_method_see_one_thinned_network():
    @dataclass(frozen=True)
    class Twice(Method):
        name: ClassVar[str] = "twice"

        def __call__(self, capture):
            again = capture.again(capture.input.clone())
            assert torch.equal(again.logits, capture.logits)
            drawn.append(capture.logits)
            return GradCAM()(again)

    drawn = []
    samples = collect(mc_dropout(rescale(GapNet()), images(), Twice(), 1, samples=6, batch_size=3))
    assert len({tuple(row.tolist()) for part in drawn for row in part}) == 6
    assert samples.method == "twice"


def test_a_method_of_masked_passes_can_be_sampled():
    model, x = rescale(GapNet()), images(2)
    before = state_of(model)
    samples = collect(mc_dropout(model, x, "score-cam", 1, samples=3))
    assert samples.heatmaps.shape == (3, 2, 1, 14, 10)
    assert not torch.equal(samples.heatmaps[0], samples.heatmaps[1])
    assert_same_state(model, before)


def test_callables_and_adapters_go_through_the_network_as_the_batch_that_they_belong_to():
    model, x = rescale(GapNet()), images(3)
    shift = torch.tensor([0.0, 5.0, -5.0])
    adapted = Adapter(model, lambda x, images: (x + shift[images].reshape(-1, 1, 1, 1),))
    seen = counted(model)
    found = summarise(mc_dropout(Explainer(adapted, "grad-cam", layer="model.features"), x, "grad-cam", 1, samples=4))
    assert seen == [3] * 4
    model.drop.p = 1e-9
    plain = explain(adapted, x, "grad-cam", targets=1, layer="model.features")
    still = summarise(mc_dropout(Explainer(adapted, "grad-cam", layer="model.features"), x, "grad-cam", 1, samples=2))
    assert torch.allclose(still.mean, plain.heatmaps("grad-cam"), atol=1e-5)
    assert found.mean.shape == still.mean.shape
    mixed = collect(mc_dropout(model, x, targets=["predicted", lambda out: out[:, 2]], samples=2))
    assert torch.equal(mixed.targets[:, 0], explain(model, x, "grad-cam").targets[:, 0])
    assert mixed.targets[:, 1].tolist() == [-1] * 3
    named = collect(mc_dropout(model, x, targets=[2, 0], samples=2))
    assert named.targets.tolist() == [[2, 0]] * 3


def test_a_volume_can_be_sampled_window_by_window():
    model, x = rescale(GapNet(3)), images(1, 3)
    explainer = Explainer(model, "grad-cam", layer="features")
    parts = mc_dropout(
        explainer, x, samples=3, run=lambda e, inputs, targets: explain_windows(e, inputs, 8, 0.25, targets)
    )
    samples = collect(parts)
    assert samples.heatmaps.shape == (3, 1, 1, 14, 10, 12)
    assert torch.equal(samples.targets, explain_windows(explainer, x, 8, 0.25).targets)
    assert float(summarise(samples).probability_sd) > 1e-4


# --- Ensembles ------------------------------------------------------------------------------------------------


def test_an_ensemble_of_two_known_networks_has_the_entropy_worked_out_by_hand():
    x = torch.full((1, 1, 4, 4), 1.0)
    p, q = 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(1))
    models = [OneUnit(scale=2.0), OneUnit(scale=-1.0)]
    found = summarise(ensemble(models, x, "grad-cam", 1))

    def entropy(r):
        return -(r * math.log(r) + (1 - r) * math.log(1 - r))

    assert float(found.probability_mean) == pytest.approx((p + q) / 2)
    assert float(found.probability_sd) == pytest.approx((p - q) / 2)
    assert float(found.entropy) == pytest.approx(entropy((p + q) / 2))
    assert float(found.mutual_information) == pytest.approx(entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2)
    assert found.agreement.isnan().all()  # the second has nothing for this class
    assert torch.equal(found.inclusion, torch.full((1, 1, 4, 4), 0.5))
    assert (found.source, found.samples, found.method) == ("ensemble", 2, "grad-cam")


def test_an_ensemble_explains_what_its_mean_predicts():
    x = torch.full((1, 1, 4, 4), 1.0)
    models = [OneUnit(scale=-0.5), OneUnit(scale=-0.5), OneUnit(scale=4.0)]
    assert collect(ensemble(models, x)).targets.tolist() == [[1]]
    assert collect(ensemble(models[:2], x)).targets.tolist() == [[0]]


def test_members_may_be_of_different_architecture_and_give_their_own_maps():
    x = images(2)
    flat, deep = GapNet(), GapNet(channels=20)
    members = [Explainer(flat, ["grad-cam", "cam"], layer="features[2]", classes="abcd"), deep]
    samples = collect(ensemble(members, x, "grad-cam", ["b", "d"]))
    for n, (model, layer) in enumerate([(flat, "features[2]"), (deep, None)]):
        alone = explain(model, x, "grad-cam", targets=[1, 3], layer=layer)
        assert torch.equal(samples.heatmaps[n], alone.heatmaps("grad-cam"))
        assert torch.equal(samples.probabilities[n], alone.probabilities)
    assert list(members[0].methods) == ["grad-cam", "cam"]
    assert members[0].classes == tuple("abcd")


def test_networks_of_other_classes_are_refused():
    x = images()
    named = [Explainer(GapNet(), "grad-cam", classes=names) for names in ("abcd", "abdc")]
    with pytest.raises(InputError, match="network 2 of the ensemble has other class names"):
        ensemble(named, x)
    with pytest.raises(InputError, match="4 and 5 classes"):
        collect(ensemble([GapNet(), GapNet(classes=5)], x, targets=1))
    with pytest.raises(InputError, match="4 and 5 classes"):
        ensemble([GapNet(), GapNet(classes=5)], x)
    kinds = [Explainer(GapNet(), "grad-cam", probability=kind) for kind in ("softmax", "sigmoid")]
    with pytest.raises(InputError, match="different kinds"):
        collect(ensemble(kinds, x, targets=1))
    with pytest.raises(InputError, match="1 networks: give at least 2"):
        ensemble([GapNet()], x)


def test_multi_label_networks_have_binary_entropies():
    x = images(2)
    explainer = Explainer(rescale(GapNet()), "grad-cam", probability="sigmoid")
    samples = collect(mc_dropout(explainer, x, targets="all", samples=5))
    assert samples.multilabel
    found = summarise(samples)
    p = samples.probabilities.double().mean(0).numpy()
    np.testing.assert_allclose(found.entropy, -(p * np.log(p) + (1 - p) * np.log(1 - p)))


# --- Augmentation ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dims", "dtype"), [(2, torch.float32), (3, torch.float64)])
def test_a_shifted_image_gives_its_map_back_without_a_seam(dims, dtype):
    model = Pointwise(dims).to(dtype)
    x = torch.rand(2, 1, *((24, 20, 30)[-dims:]), dtype=dtype)
    x[(slice(None), slice(None), *[slice(8, 12)] * dims)] += 3  # the peak, away from the border
    plain = explain(model, x, "grad-cam", targets=[0, 1, 2])
    only = Augmentations(shift=0.1, degrees=0, zoom=0, noise=0)
    samples = collect(augmentation(model, x, "grad-cam", [0, 1, 2], changes=only))
    assert len(samples) == 1 + 2 * dims
    assert torch.equal(samples.heatmaps[0], plain.heatmaps("grad-cam"))
    readable = torch.from_numpy(plain.status["grad-cam"] == Status.OK)
    assert readable.any()
    for one in samples.heatmaps:
        shown = ~one.isnan()
        assert shown.double().mean() > 0.85
        assert torch.allclose(one[shown], plain.heatmaps("grad-cam")[shown], atol=1e-5)
    found = summarise(samples)
    assert not found.mean.isnan().any()
    assert float(found.sd.max()) < 1e-5
    assert torch.allclose(found.agreement[readable], torch.ones(1, dtype=torch.float64), atol=1e-5)


@pytest.mark.parametrize("changes", [Augmentations(0, 2.0, 0, 0), Augmentations(0, 0, 0.02, 0)])
@pytest.mark.parametrize("dims", [2, 3])
def test_a_turned_or_zoomed_image_gives_its_map_back(dims, changes):
    axes = [torch.linspace(-1, 1, size) for size in (16, 48, 40)[-dims:]]
    grid = torch.meshgrid(*axes, indexing="ij")
    blob = torch.exp(-sum((g - 0.3) ** 2 for g in grid) / 0.15)
    model = Pointwise(dims)
    with torch.no_grad():
        for p in model.parameters():
            p.abs_()
    x = blob[None, None]
    plain = explain(model, x, "grad-cam", targets=1).heatmaps("grad-cam")
    samples = collect(augmentation(model, x, "grad-cam", 1, changes=changes))
    assert len(samples) == 3
    for one in samples.heatmaps[1:]:
        shown = ~one.isnan()
        assert 0.75 < float(shown.double().mean()) <= 1
        assert float((one - plain)[shown].abs().max()) < 0.05
    assert float(summarise(samples).agreement) > 0.97


def test_flips_are_off_unless_asked_for_and_come_back():
    model, x = Pointwise(), torch.rand(1, 1, 20, 24)
    assert not any("mirrored" in change.name for change in Augmentations().of(x))
    both = Augmentations(0, 0, 0, 0, flips=(-1, -2))
    assert [change.name for change in both.of(x)[1:]] == [f"mirrored along {a}" for a in ((-1,), (-2,), (-1, -2))]
    samples = collect(augmentation(model, x, "grad-cam", 0, changes=both))
    assert torch.allclose(samples.heatmaps, samples.heatmaps[:1].expand_as(samples.heatmaps), atol=1e-6)


def test_each_change_is_one_pass_of_each_image_and_noise_follows_the_seed():
    model, x = rescale(GapNet()), torch.randn(2, 3, 32, 12)  # the second axis is too short to be shifted
    explainer = Explainer(model, "grad-cam", layer="features")
    seen = counted(model)
    before = state_of(model)
    first = collect(augmentation(explainer, x, targets=1, seed=4))
    assert sum(seen) == 2 * (1 + 2 + 2 + 2 + 2)
    assert_same_state(model, before)
    again = collect(augmentation(explainer, x, targets=1, seed=4, batch_size=2))
    other = collect(augmentation(explainer, x, targets=1, seed=5))
    assert torch.allclose(first.probabilities, again.probabilities, atol=1e-6)
    differ = (first.probabilities != other.probabilities).flatten(1).any(1)
    assert differ.tolist() == [False] * 7 + [True] * 2
    assert not torch.equal(first.probabilities[7], first.probabilities[8])
    alone = collect(augmentation(explainer, x[1:], targets=1, seed=4))
    assert torch.allclose(alone.probabilities[:, 0], first.probabilities[:, 1], atol=1e-6)
    predicted = collect(augmentation(explainer, x, seed=4)).targets
    assert torch.equal(predicted, explainer(x).targets)


@pytest.mark.parametrize(
    ("changes", "x", "why"),
    [
        (Augmentations(0, 0, 0, 0), torch.rand(1, 3, 8, 8), "change nothing"),
        (Augmentations(flips=(-3,)), torch.rand(1, 3, 8, 8), "2 spatial axes"),
        (Augmentations(), torch.rand(1, 3, 8), "pictures"),
    ],
)
def test_changes_that_an_input_cannot_undergo_are_refused(changes, x, why):
    with pytest.raises(InputError, match=why):
        augmentation(GapNet(), x, changes=changes)
    with pytest.raises(InputError, match="different flips"):
        Augmentations(flips=(-1, -1))


# --- Methods --------------------------------------------------------------------------------------------------


def test_methods_disagree_without_a_probability():
    model, x = rescale(GapNet()), images(2)
    explanation = explain(model, x, ["grad-cam", "grad-cam++", "cf-cam"], targets=[1, 2])
    found = summarise(method_disagreement(explanation), 0.4)
    stack = torch.stack([explanation.heatmaps(name) for name in explanation.methods]).double().numpy()
    np.testing.assert_allclose(found.mean, stack.mean(0), atol=1e-6)
    np.testing.assert_allclose(found.sd, stack.std(0), atol=1e-6)
    np.testing.assert_allclose(found.inclusion, (stack >= 0.4).mean(0), atol=1e-6)
    assert (found.method, found.source, found.samples) == ("several", "methods", 3)
    assert found.probability_mean is found.entropy is found.mutual_information is None
    one = to_uncertainty(found, lambda maps: maps, class_name="b")
    assert (one.probability_sd, one.entropy, one.mutual_information) == (None, None, None)
    assert "not a probability" in one.note
    two = summarise(method_disagreement(explanation, ["grad-cam", "cf-cam"]))
    assert two.samples == 2


def test_one_method_or_an_unknown_one_cannot_disagree():
    explanation = explain(GapNet(), images(), ["grad-cam", "cam"])
    with pytest.raises(InputError, match="1 methods"):
        method_disagreement(explanation, ["grad-cam"])
    with pytest.raises(InputError, match="no maps of 'cf-cam'"):
        method_disagreement(explanation, ["grad-cam", "cf-cam"])


@pytest.mark.parametrize(
    ("given", "error", "why"),
    [
        (lambda: mc_dropout(GapNet(), images(), samples=1), InputError, "at least 2"),
        (lambda: collect(mc_dropout(GapNet(), images(), targets=0, batch_size=0)), InputError, "at least 1"),
        (lambda: mc_dropout(GapNet(), "x"), InputError, "no batch of images"),
        (lambda: mc_dropout(GapNet(), images(), "no-cam"), MethodError, "no-cam"),
        (lambda: mc_dropout(GapNet(), images(), ["cam", "grad-cam"]), InputError, "2 methods"),
        (lambda: collect(mc_dropout(GapNet(), images(), targets=9)), TargetError, "9"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(given, error, why):
    with pytest.raises(error, match=why) as caught:
        given()
    assert "\n" not in str(caught.value)
