"""Each check of `cfcam.diagnose` on a network that was broken on purpose, and all of them on networks that are well."""

from __future__ import annotations

import math
import re

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import cfcam
from cfcam import Diagnosis, diagnose
from cfcam.capture import Adapter
from cfcam.diagnosis.passes import observed
from cfcam.diagnosis.setup import smooth_noise
from cfcam.imaging import Image, Preprocess
from cfcam.models.demo import CLASSES, EXAMPLES, load_demo_network, make_phantom
from tests.contract.snapshot import snapshot
from tests.networks import FlattenNet, GapNet
from tests.token_networks import TokenNet

PREPROCESS = Preprocess()


class Net(nn.Module):
    """Two convolutions with a head that tests replace: `forward` is `tail(features(x))`."""

    def __init__(self, channels: int = 8, classes: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, channels, 3, 2, 1), nn.ReLU(), nn.Conv2d(channels, channels, 3, 1, 1), nn.ReLU()
        )
        self.classifier = nn.Linear(channels, classes)

    def tail(self, A: Tensor) -> Tensor:
        return self.classifier(A.mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.features(x))


def image(n: int = 2, size: int = 32, channels: int = 3) -> Tensor:
    return torch.randn(n, channels, size, size, generator=torch.Generator().manual_seed(1))


def phantoms(*names: str) -> Tensor:
    return torch.stack([PREPROCESS(Image(make_phantom(**EXAMPLES[name]).image, None, "")) for name in names])


def gravest(found: Diagnosis) -> list[str]:
    return sorted({f.check for f in found.findings if f.severity == "problem"})


# --- networks that are fine ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("x", [None, *EXAMPLES])
def test_the_demo_network_is_well(x: str | None) -> None:
    given = None if x is None else phantoms(x)
    found = diagnose(load_demo_network(), given, classes=CLASSES, probability="sigmoid")
    assert found.ok, found
    assert not found.of("warning"), found
    assert found.layer == "layer4"
    assert found.synthetic is (x is None)


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (GapNet(1), (2, 3, 64)),
        (GapNet(2), (2, 3, 24, 20)),
        (GapNet(3), (1, 3, 12, 14, 16)),
        (TokenNet(), (2, 3, 14, 10)),
        (nn.DataParallel(GapNet(2)), (2, 3, 24, 20)),
    ],
)
def test_other_networks_are_well(net: nn.Module, shape: tuple[int, ...]) -> None:
    found = diagnose(net.eval(), torch.randn(shape))
    assert found.ok, found
    assert found.layer


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_types_are_well(dtype: torch.dtype) -> None:
    found = diagnose(load_demo_network().to(dtype), phantoms("nodule"), probability="sigmoid")
    assert found.ok, found
    assert not found.of("warning"), found


def test_it_works_in_inference_mode() -> None:
    with torch.inference_mode():
        found = diagnose(load_demo_network(), phantoms("nodule"), probability="sigmoid")
    assert found.ok, found
    assert found["evidence"].severity == "ok"


def test_infinity_in_half_precision() -> None:
    class Huge(Net):
        def tail(self, A: Tensor) -> Tensor:
            return super().tail(self.scale(A * 0 + 300))

        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Conv2d(8, 8, 1)
            nn.init.constant_(self.scale.weight, 300.0)

    found = diagnose(Huge().eval().half(), image())
    assert found["finite"].values == {"module": "scale"}
    assert "float()" in found["finite"].advice
    assert diagnose(Huge().eval(), image())["finite"].severity == "ok"


def test_nothing_of_the_model_or_the_process_is_changed() -> None:
    net, x = GapNet(norm=True).train(), image()
    before = snapshot(net)
    diagnose(net, x)
    diagnose(net, image(size=7, channels=1))
    assert snapshot(net) == before


# --- the network -----------------------------------------------------------------------------------------------------


def test_what_is_no_module_is_said_and_not_raised() -> None:
    found = diagnose(torch.jit.trace(Net().eval(), image()), image())
    assert gravest(found) == ["model"]
    assert "scripted" in found["model"].seen


def test_a_quantised_network_has_no_gradient() -> None:
    class Quantised(Net):
        def __init__(self) -> None:
            super().__init__()
            self.classifier = torch.ao.nn.quantized.dynamic.Linear(8, 3)

    found = diagnose(Quantised().eval(), image())
    quantised = next(f for f in found.of("warning") if f.check == "model")
    assert "'classifier' is quantised" in quantised.seen
    assert "score-cam" in quantised.advice
    assert gravest(found) == ["gradient"]
    without = diagnose(Quantised().eval(), image(), method="score-cam")
    assert without.ok
    assert "evidence" in without


def test_a_compiled_network_is_said_to_run_uncompiled() -> None:
    found = diagnose(torch.compile(Net().eval()), image())
    assert found.ok
    assert "uncompiled" in found["model"].means


def test_frozen_parameters_are_no_problem() -> None:
    found = diagnose(Net().eval().requires_grad_(False), image())
    assert found.ok
    assert "all frozen" in found["model"].seen


def test_weights_that_were_never_loaded() -> None:
    with torch.device("meta"):
        net = Net().eval()
    found = diagnose(net, image())
    assert gravest(found) == ["device"]
    assert "meta" in found["device"].seen


def test_nan_in_the_weights_is_named() -> None:
    net = Net().eval()
    with torch.no_grad():
        net.features[2].weight[0, 0, 0, 0] = torch.nan
    found = diagnose(net, image())
    assert "features.2.weight (1 of 576 numbers" in found["weights"].seen
    assert found["finite"].values == {"module": "features.2"}
    assert not found.ok


def test_batch_norms_that_never_moved() -> None:
    found = diagnose(GapNet(norm=True).eval(), image())
    assert found["weights"].severity == "warning"
    assert found["weights"].values["modules"] == ["features.1"]


def test_training_mode() -> None:
    net = GapNet(norm=True).train()
    found = diagnose(net, image())
    assert found["mode"].severity == "warning"
    assert found["mode"].values == {"training": 10, "batch_norm": 1, "dropout": 1}
    assert found["mode"].advice == "model.eval()"
    assert diagnose(net.eval(), image())["mode"].severity == "ok"


def test_hooks_of_other_code() -> None:
    net = Net().eval()
    assert diagnose(net, image())["hooks"].severity == "ok"
    net.features[1].register_forward_hook(lambda *_: None)
    assert "features.1 (forward hooks)" in diagnose(net, image())["hooks"].seen
    assert diagnose(net, image())["hooks"].severity == "note"


def test_a_backward_hook_before_an_in_place_activation() -> None:
    class InPlace(Net):
        def tail(self, A: Tensor) -> Tensor:
            return super().tail(self.again(A))

        def __init__(self) -> None:
            super().__init__()
            self.again = nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU(inplace=True))
            self.again[0].register_full_backward_hook(lambda *_: None)

    found = diagnose(InPlace().eval(), image(), layer="features")
    assert gravest(found) == ["gradient"]
    assert "backward hook" in found["gradient"].means
    assert found["hooks"].severity == "warning"


# --- the input -------------------------------------------------------------------------------------------------------


def trained(mean: float = 0.0, std: float = 1.0) -> GapNet:
    """A network whose BatchNorm remembers noise with this mean and standard deviation."""
    net = GapNet(norm=True)
    norm = net.features[1]
    norm.momentum = None
    with torch.no_grad():
        net.features[:2].train()(smooth_noise((1, 3, 64, 64)) * std + mean)
    return net.eval()


def test_the_distance_from_the_batch_norm_is_that_of_normal_distributions() -> None:
    net, x = trained(), image() * 3 + 0.5
    norm = net.features[1]
    reached = net.features[0](x).detach().double()
    v, m = reached.var((0, 2, 3), unbiased=False) + norm.eps, reached.mean((0, 2, 3))
    s, r = norm.running_var.double() + norm.eps, norm.running_mean.double()
    expected = []
    for c in range(8):
        q = torch.distributions.Normal(m[c], v[c].sqrt())
        p = torch.distributions.Normal(r[c], s[c].sqrt())
        expected.append(float(torch.distributions.kl_divergence(q, p)))
    (found,) = observed(cfcam.capture.Network(net), x).norms
    assert found.name == "features.1"
    assert found.divergence == pytest.approx(sorted(expected)[3], rel=1e-5)  # torch's median is the lower one
    assert found.distance == pytest.approx(sorted((abs(m - r) / s.sqrt()).tolist())[3], rel=1e-5)


def test_pixels_that_were_not_scaled() -> None:
    x = phantoms("nodule") * torch.tensor(PREPROCESS.std).view(3, 1, 1) + torch.tensor(PREPROCESS.mean).view(3, 1, 1)
    found = diagnose(load_demo_network(), x * 255)
    assert gravest(found) == ["input", "normalisation"]
    assert "0 to 255" in found["input"].means
    assert found["normalisation"].values["divergence"] > 100


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.5, 0.5)])
@pytest.mark.parametrize("known", [False, True])
def test_another_normalisation_is_suspected_and_the_right_one_is_found(mean: float, std: float, known: bool) -> None:
    wrong = Preprocess(mean=(mean,) * 3, std=(std,) * 3)
    x = torch.stack([wrong(Image(make_phantom(**EXAMPLES[n]).image, None, "")) for n in ("nodule", "effusion")])
    found = diagnose(load_demo_network(), x, preprocess=wrong if known else None)
    assert found.ok
    assert found["normalisation"].severity == "warning"
    assert found["normalisation"].advice.startswith("--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225")
    tried = found["normalisation"].values["tried"]
    assert min(tried, key=tried.get) == "ImageNet's normalisation"


def test_a_network_for_raw_pixels_is_recognised() -> None:
    net = trained(mean=120, std=60)
    pixels = (smooth_noise((1, 3, 64, 64)) * 60 + 120).clamp(0, 255)
    assert diagnose(net, pixels)["normalisation"].severity == "ok"
    assert diagnose(net, pixels / 255)["normalisation"].advice.startswith("--mean 0 --std 0.0039")


def test_what_cannot_be_assessed_says_so() -> None:
    found = diagnose(Net().eval(), image())
    assert found["normalisation"].severity == "note"
    assert "no BatchNorm" in found["normalisation"].seen
    assert "made up" in diagnose(load_demo_network())["normalisation"].seen


@pytest.mark.parametrize(
    ("x", "advice"),
    [
        (torch.zeros(3, 32, 32), "x[None]"),
        (torch.randn(2, 32, 32, 3), "x.movedim(-1, 1)"),
        (torch.randint(0, 255, (2, 3, 32, 32), dtype=torch.uint8), "/ 255"),
        (torch.full((1, 3, 32, 32), torch.nan), "nan_to_num"),
        ([[0.0]], "torch.as_tensor"),
        (torch.zeros(5), "x[None]"),
    ],
)
def test_inputs_of_the_wrong_form(x: object, advice: str) -> None:
    found = diagnose(Net().eval(), x)  # type: ignore[arg-type]
    assert found["input"].severity == "problem"
    assert advice in found["input"].advice


def test_a_grey_picture_for_a_colour_network() -> None:
    found = diagnose(Net().eval(), image(channels=1))
    assert gravest(found) == ["run"]
    assert found["run"].values == {"channels": 1, "wanted": 3}
    assert "x.expand(-1, 3, -1, -1)" in found["run"].advice
    repeated = diagnose(Net().eval(), image(channels=1).expand(-1, 3, -1, -1))
    assert repeated.ok
    assert any("grey" in f.seen for f in repeated.of("note"))
    assert not any("grey" in f.seen for f in diagnose(Net().eval(), image()).findings)


def test_a_volume_for_a_network_of_pictures() -> None:
    found = diagnose(Net().eval(), torch.randn(1, 3, 8, 32, 32))
    assert gravest(found) == ["run"]
    assert "Conv2d" in found["run"].seen


def test_a_size_that_does_not_fit_and_one_that_does() -> None:
    found = diagnose(FlattenNet(size=(32, 32)).eval(), image(size=48))
    assert gravest(found) == ["run"]
    assert found["run"].values == {"input": [2, 3, 48, 48], "runs_on": [32, 32], "runs_at": [[32, 32]]}
    assert found["run"].advice == "--size 32"


def test_position_embeddings_of_another_size() -> None:
    class Embedded(Net):
        def __init__(self) -> None:
            super().__init__()
            self.img_size = 32
            self.pos_embed = nn.Parameter(torch.randn(1, 8, 16, 16))

        def tail(self, A: Tensor) -> Tensor:
            return super().tail(A + F.interpolate(self.pos_embed, A.shape[2:]))

    net = Embedded().eval()
    assert diagnose(net, image(size=32))["size"].severity == "ok"
    found = diagnose(net, image(size=48))
    assert found.ok
    assert found["size"].severity == "warning"
    assert "pos_embed" in found["size"].means
    assert found["size"].advice == "--size 32"
    assert diagnose(net).input_shape == (1, 3, 32, 32)


def test_a_network_that_takes_more_than_pictures_is_told_of_the_adapter() -> None:
    class Two(Net):
        def forward(self, x: Tensor, age: Tensor) -> Tensor:
            return super().forward(x) + age

    found = diagnose(Two().eval(), image())
    assert gravest(found) == ["run"]
    assert "Adapter" in found["run"].seen


@pytest.mark.parametrize("n", [1, 3])
def test_a_network_in_an_adapter_is_well(n: int) -> None:
    class Two(Net):
        def forward(self, x: Tensor, age: Tensor) -> Tensor:
            return super().forward(x) + age[:, None]

    ages = torch.rand(n)
    net = Adapter(Two().eval(), lambda x, images: (x[:, :3], ages[images]))
    found = diagnose(net, image(n, channels=4))
    assert found.ok, found
    assert found["batch"].severity == "ok"
    assert found.layer == "model.features"


# --- what it returns -------------------------------------------------------------------------------------------------


def test_the_first_module_with_nan_is_named() -> None:
    class Log(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.log()

    class Logarithm(Net):
        def __init__(self) -> None:
            super().__init__()
            self.log = Log()
            self.after = nn.ReLU()

        def tail(self, A: Tensor) -> Tensor:
            return super().tail(self.after(self.log(A - 1)))

    found = diagnose(Logarithm().eval(), image())
    assert found["finite"].severity == "problem"
    assert found["finite"].values == {"module": "log"}
    assert "its input was finite" in found["finite"].seen
    assert found["weights"].severity == "ok"


def test_class_names_that_are_too_many() -> None:
    found = diagnose(Net(classes=3).eval(), image(), classes=["a", "b", "c", "d"])
    assert gravest(found) == ["classes"]
    assert found["classes"].values == {"names": 4, "outputs": 3}
    assert diagnose(Net(classes=1).eval(), image(), classes=["no", "yes"]).ok


@pytest.mark.parametrize("target", [3, -1, "dog"])
def test_a_class_out_of_range(target: int | str) -> None:
    found = diagnose(Net(classes=3).eval(), image(), targets=target, classes=["a", "b", "c"])
    assert gravest(found) == ["target"]
    assert "0 to 2" in found["target"].advice
    assert found["gradient"].severity == "ok"  # the other checks are made on another target


def test_dropout_that_never_sleeps() -> None:
    class Restless(Net):
        def tail(self, A: Tensor) -> Tensor:
            return super().tail(F.dropout(A, 0.5))

    found = diagnose(Restless().eval(), image())
    assert found["repeat"].severity in ("warning", "problem")
    assert "training=self.training" in found["repeat"].advice
    assert found["repeat"].values["change"] > 0


def test_images_that_mix_in_a_batch() -> None:
    class Mixing(Net):
        def tail(self, A: Tensor) -> Tensor:
            return super().tail(A - A.mean(0, keepdim=True) + 1)

    found = diagnose(Mixing().eval(), image())
    assert found["batch"].severity == "problem"
    norm = nn.BatchNorm2d(8, track_running_stats=False)

    class Normed(Net):
        def __init__(self) -> None:
            super().__init__()
            self.norm = norm

        def tail(self, A: Tensor) -> Tensor:
            return super().tail(self.norm(A).relu())

    assert diagnose(Normed().eval(), image())["batch"].severity == "problem"
    assert diagnose(Net().eval(), image())["batch"].severity == "ok"


def test_one_image_at_a_time() -> None:
    class Alone(Net):
        def tail(self, A: Tensor) -> Tensor:
            return self.classifier(A.mean((2, 3)).reshape(1, 8))

    found = diagnose(Alone().eval(), image(1))
    assert found["batch"].severity == "warning"
    assert "batch_size=1" in found["batch"].advice


def test_a_saturated_softmax() -> None:
    net = Net().eval()
    with torch.no_grad():
        net.classifier.weight.zero_()
        net.classifier.weight[0] = 0.01
        net.classifier.bias.copy_(torch.tensor([40.0, 0.0, 0.0]))
    found = diagnose(net, image())
    assert found["saturation"].severity == "warning"
    z = float(net(image())[:, 0].detach().max())
    assert found["saturation"].values["rest"] == pytest.approx(2 * math.exp(-z) / (1 + 2 * math.exp(-z)), rel=1e-4)
    assert "exactly 1" in found["saturation"].means
    with torch.no_grad():
        net.classifier.bias[0] = 2.0
    assert diagnose(net, image())["saturation"].severity == "ok"


def test_the_rest_of_a_single_logit() -> None:
    net = Net(classes=1).eval()
    with torch.no_grad():
        net.classifier.weight.fill_(1e-3)
        net.classifier.bias.fill_(-20.0)
    found = diagnose(net, image())
    z = float(net(image()).detach().min())
    assert found["saturation"].values["rest"] == pytest.approx(1 / (1 + math.exp(-z)), rel=1e-3)


# --- the layer and the maps ------------------------------------------------------------------------------------------


def test_no_layer_with_places() -> None:
    found = diagnose(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2)).eval(), image())
    assert gravest(found) == ["layer"]
    assert found.layer is None
    assert "before they are flattened" in found["layer"].advice


def test_a_layer_that_does_not_exist() -> None:
    found = diagnose(Net().eval(), image(), layer="feature")
    assert gravest(found) == ["layer"]
    assert "features" in found["layer"].seen


class Branches(Net):
    """With a shared activation, a branch that is never reached, and one that does not lead to the score."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.unused, self.side = nn.Identity(), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.pair, self.pool = nn.Softmax2d(), nn.AdaptiveAvgPool2d(1)

    def tail(self, A: Tensor) -> Tensor:
        self.side(A)
        return self.classifier(self.pool(self.shared(self.shared(A) + 1)).flatten(1))


@pytest.mark.parametrize(
    ("layer", "check", "words"),
    [
        ("shared", "layer", "runs 2 times"),
        ("unused", "layer", "did not run"),
        ("pool", "layer", "a grid of one place"),
        ("classifier", "layer", "cannot be told"),
        ("side", "gradient", "does not depend on layer"),
    ],
)
def test_layers_that_cannot_be_mapped(layer: str, check: str, words: str) -> None:
    found = diagnose(Branches().eval(), image(), layer=layer)
    assert gravest(found) == [check]
    assert words in found[check].seen + found[check].means
    assert "--layer features" in found[check].advice


def test_the_advice_to_take_another_layer_works() -> None:
    found = diagnose(Branches().eval(), image(), layer="shared")
    (other,) = re.findall(r"--layer (\S+)", found["layer"].advice)
    assert diagnose(Branches().eval(), image(), layer=other).ok
    assert found["layer"].values["candidates"][-1] == other
    assert "side" not in found["layer"].values["candidates"]


def test_a_grid_that_is_too_coarse() -> None:
    class Deep(Net):
        def __init__(self) -> None:
            super().__init__()
            steps = [layer for _ in range(3) for layer in (nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU())]
            self.deep = nn.Sequential(*steps)
            self.last = nn.Conv2d(8, 8, 3, 2, 1)

        def tail(self, A: Tensor) -> Tensor:
            return super().tail(self.last(self.deep(A)))

    found = diagnose(Deep().eval(), image(size=32), layer="deep")
    assert found.ok
    assert found["grid"].severity == "warning"
    assert found["grid"].values == {"grid": [2, 2], "cell": [16, 16]}
    assert "--size 64" in found["grid"].advice
    assert "--layer" in found["grid"].advice
    lost = diagnose(Deep().eval(), image(size=32))
    assert lost.layer == "deep"
    assert diagnose(Deep().eval(), image(size=256))["grid"].severity == "ok"
    assert "'last' behind it has one place only" in diagnose(Deep().eval(), image(size=32))["grid"].means


def test_a_dead_layer_and_dead_channels() -> None:
    net = Net().eval()
    with torch.no_grad():
        net.features[2].bias[:6] = -100
    found = diagnose(net, image(), layer="features")
    assert found["activations"].severity == "warning"
    assert found["activations"].values["dead"] == pytest.approx(6 / 8)
    with torch.no_grad():
        net.features[2].bias.fill_(-100)
    found = diagnose(net, image(), layer="features")
    assert found["activations"].severity == "problem"
    assert "all zero" in found["activations"].seen


def test_an_in_place_activation_behind_the_layer() -> None:
    class InPlace(Net):
        def tail(self, A: Tensor) -> Tensor:
            return super().tail(A.sub_(0.1))

    found = diagnose(InPlace().eval(), image(), layer="features")
    assert found.ok
    assert found["in-place"].severity == "note"
    assert diagnose(Net().eval(), image(), layer="features")["in-place"].severity == "ok"


@pytest.mark.parametrize(
    "cut",
    [
        lambda A: A.detach(),
        lambda A: torch.from_numpy(A.detach().numpy()),
        lambda A: (A * 100).to(torch.int32).float() / 100,
    ],
)
def test_a_cut_chain_of_gradients(cut: object) -> None:
    class Cut(Net):
        def tail(self, A: Tensor) -> Tensor:
            return super().tail(cut(A))  # type: ignore[operator]

    found = diagnose(Cut().eval(), image(), layer="features")
    assert gravest(found) == ["gradient"]
    assert "score-cam" in found["gradient"].advice


def test_a_head_without_gradients() -> None:
    class Blocked(Net):
        def tail(self, A: Tensor) -> Tensor:
            with torch.no_grad():
                return super().tail(A)

    assert gravest(diagnose(Blocked().eval(), image(), layer="features")) == ["gradient"]
    assert gravest(diagnose(Blocked().eval(), None, layer="features")) == ["gradient"]


def test_rounding_gives_a_gradient_of_zero() -> None:
    class Rounded(Net):
        def tail(self, A: Tensor) -> Tensor:
            return super().tail((A * 100).round() / 100)

    found = diagnose(Rounded().eval(), image(), layer="features")
    assert gravest(found) == ["gradient"]
    assert "exactly 0" in found["gradient"].seen


def test_no_positive_evidence_with_reason_and_alternative() -> None:
    net = Net().eval()
    with torch.no_grad():
        net.classifier.weight.fill_(-1.0)
        net.classifier.bias.copy_(torch.tensor([5.0, 0.0, 0.0]))
    found = diagnose(net, image())
    assert found.ok
    assert found["evidence"].severity == "warning"
    assert found["evidence"].values["empty"] == 2
    assert "0 of 8 channels speak for the class" in found["evidence"].means
    for name in found["evidence"].values["methods_with_evidence"]:
        e = cfcam.explain(net, image(), name)
        assert (e.maps[name].flatten(2) > 0).any(2).all()


def test_signed_values_are_a_reason_of_their_own() -> None:
    class Signed(Net):
        def tail(self, A: Tensor) -> Tensor:
            return super().tail((A - 10) * torch.tensor(1.0))

        def __init__(self) -> None:
            super().__init__()
            self.shift = nn.Conv2d(8, 8, 1)
            with torch.no_grad():
                self.shift.weight.copy_(torch.eye(8)[..., None, None])
                self.shift.bias.fill_(-10)
                self.classifier.weight.fill_(1.0)

        def forward(self, x: Tensor) -> Tensor:
            return self.classifier(self.shift(self.features(x)).mean((2, 3)))

    found = diagnose(Signed().eval(), image(), layer="shift")
    assert found["evidence"].severity == "warning"
    assert "signed" in found["evidence"].means
    assert "8 of 8 channels speak for the class" in found["evidence"].means


# --- how it is told --------------------------------------------------------------------------------------------------


def test_it_reads_as_text_as_html_and_as_values() -> None:
    import json

    net = Net(classes=3).eval()
    found = diagnose(net, image(), targets="<dog>", classes=["<a>", "b", "c"])
    text = str(found)
    assert text.splitlines()[0] == found.title
    assert text.index("problem: target") < text.index("ok: model")
    page = found._repr_html_()
    assert "&lt;dog&gt;" in page
    assert "<dog>" not in page
    told = json.loads(json.dumps(found.as_dict()))
    assert told["ok"] is False
    assert told["severity"] == "problem"
    assert {"check", "severity", "seen", "means", "advice", "values"} == set(told["findings"][0])
    with pytest.raises(KeyError):
        found["no such check"]


def test_every_problem_and_warning_says_what_it_means_or_what_to_do() -> None:
    broken = [
        diagnose(Branches().train(), image(channels=1)),
        diagnose(Branches().train(), image() * 100, layer="shared", targets=9, classes=["a"]),
        diagnose(load_demo_network(), phantoms("nodule") * 9, targets=9),
    ]
    for found in broken:
        for finding in found.findings:
            if finding.severity in ("problem", "warning"):
                assert finding.advice, finding
