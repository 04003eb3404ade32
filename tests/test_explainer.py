"""The public face: targets, shapes, one pass, names, provenance."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

import cfcam
from cfcam import AllClasses, ClassTarget, PerImage, TopK
from cfcam.errors import InputError, MethodError, OutputError, TargetError
from cfcam.methods import CFCAM, GradCAM, ScoreCAM
from tests.networks import GapNet, rescale

CLASSES = ("bus", "cat", "Cat", "dog")


@pytest.fixture
def net() -> GapNet:
    return rescale(GapNet()).eval()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 3, 14, 10)


def test_the_public_names() -> None:
    assert cfcam.list_methods()[:5] == ["cam", "grad-cam", "grad-cam++", "score-cam", "cf-cam"]
    for name in cfcam.__all__:
        assert getattr(cfcam, name) is not None
    for name in cfcam.methods.__all__:
        assert getattr(cfcam.methods, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = cfcam.nonsense


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ({"classes": ["bus", "\ud800b", "Cat", "dog"]}, TargetError),
        ({"targets": PerImage(lambda output, images: output[:, 0], "\udfff")}, TargetError),
        ({"methods": {"\ud800": "grad-cam"}}, MethodError),
    ],
)
def test_half_a_character_in_a_name_is_refused_where_it_is_given(
    net: GapNet, x: Tensor, how: dict, error: type
) -> None:
    with pytest.raises(error, match=r"name holds half of a character \('\\ud\w+'\)"):
        cfcam.explain(net, x, layer="features", **{"methods": ["grad-cam"]} | how)


@pytest.mark.parametrize(("name", "cls"), [("sess", "SESS"), ("augmented", "Augmented"), ("fusion", "Fusion")])
def test_a_method_around_another_is_named_with_its_class(name: str, cls: str) -> None:
    with pytest.raises(MethodError, match=rf"give an instance in Python, cfcam\.methods\.{cls}\(base=GradCAM\(\)\)"):
        cfcam.methods.get_method(name)
    assert getattr(cfcam.methods, cls)(base=GradCAM()).name == name


def test_one_call_is_one_forward_pass(net: GapNet, x: Tensor) -> None:
    calls: list[int] = []
    net.register_forward_pre_hook(lambda module, args: calls.append(len(args[0])))
    methods = ["cam", "grad-cam", "grad-cam++", "cf-cam", "cf-cam-bilateral", "cf-cam-guided"]
    cfcam.explain(net, x, methods, targets="all", layer="features")
    assert calls == [3]
    calls.clear()
    with cfcam.Explainer(net, methods) as explainer:
        explainer(x)
        explainer(x)
    assert calls == [1, 3, 3]  # the layer is looked for once, with one image


def test_targets_in_parts_repeat_no_masked_pass(net: GapNet, x: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    from cfcam.capture import Capture

    methods = ["score-cam", "grad-cam", "cam"]
    whole = cfcam.explain(net, x, methods, targets="all", layer="features")
    split = Capture.split
    monkeypatch.setattr(Capture, "split", lambda self: split(self, limit=1))
    passes: list[int] = []
    net.register_forward_pre_hook(lambda module, args: passes.append(len(args[0])))
    parts = cfcam.explain(net, x, methods, targets="all", layer="features")
    assert sum(passes) <= 3 + 3 * 12 + 3 + 3 + 2 * 2
    for name in methods:
        torch.testing.assert_close(parts.maps[name], whole.maps[name])


def test_score_cam_does_not_pay_for_classes(net: GapNet, x: Tensor) -> None:
    passes: list[int] = []
    net.register_forward_pre_hook(lambda module, args: passes.append(len(args[0])))
    for targets in (0, "all"):
        passes.clear()
        cfcam.explain(net, x, ScoreCAM(batch_size=16), targets=targets, layer="features")
        # The images, a mask a channel, the baseline, and that once more, plainly, to hold packed kernels against; and
        # two of the baselines and of the masked images alone, which show whether the network mixes those of a batch.
        assert sum(passes) <= 3 + 3 * 12 + 3 + 3 + 2 * 2
        assert max(passes) <= 16


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (2, [[2], [2], [2]]),
        ([1, 3], [[1, 3]] * 3),
        ((0,), [[0]] * 3),
        ("dog", [[3]] * 3),
        (["bus", 2], [[0, 2]] * 3),
        ("cat", [[1]] * 3),
        ("DOG", [[3]] * 3),
        (torch.tensor([0, 1, 2]), [[0], [1], [2]]),
        (torch.tensor([[0, 1], [1, 2], [2, 3]]), [[0, 1], [1, 2], [2, 3]]),
        (torch.tensor([0, 1, 2]).numpy(), [[0], [1], [2]]),
        (torch.tensor(3), [[3]] * 3),
        ("all", [[0, 1, 2, 3]] * 3),
        (AllClasses(), [[0, 1, 2, 3]] * 3),
        ([ClassTarget("bus"), ClassTarget(1)], [[0, 1]] * 3),
    ],
)
def test_targets(targets: object, expected: list, net: GapNet, x: Tensor) -> None:
    e = cfcam.explain(net, x, "grad-cam", targets=targets, classes=CLASSES)
    assert e.targets.tolist() == expected
    torch.testing.assert_close(e.scores, net(x).gather(1, e.targets).detach())


def test_predicted_and_top_k_are_taken_image_by_image(net: GapNet, x: Tensor) -> None:
    with torch.no_grad():
        net.classifier.bias.sub_(net(x).mean(0))
    order = net(x).argsort(1, descending=True)
    assert len(set(order[:, 0].tolist())) > 1  # the images differ in their class
    for targets in (None, "predicted", TopK(1)):
        assert torch.equal(cfcam.explain(net, x, "cam", targets=targets).targets, order[:, :1])
    for targets in ("top-2", "top2", TopK(2)):
        assert torch.equal(cfcam.explain(net, x, "cam", targets=targets).targets, order[:, :2])


def test_a_callable_target(net: GapNet, x: Tensor) -> None:
    def contrast(logits: Tensor) -> Tensor:
        return logits[:, 0] - logits[:, 2]

    e = cfcam.explain(net, x, ["grad-cam", "score-cam"], targets=[1, contrast], layer="features")
    assert e.targets.tolist() == [[1, -1]] * 3
    torch.testing.assert_close(e.scores[:, 1], contrast(net(x)).detach())
    assert e.label(0, 1) == "contrast"
    assert e.probability(0, 1) is None
    # The gradient of a difference is the difference of the gradients: weights of a linear head, worked by hand.
    W = net.classifier.weight.detach()
    A = net.features(x).detach()
    expected = torch.einsum("c,nchw->nhw", (W[0] - W[2]) / 35, A).relu()
    torch.testing.assert_close(e.maps["grad-cam"][:, 1], expected)


def test_a_segmentation_output_takes_a_callable(x: Tensor) -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 2, 1)).eval()
    e = cfcam.explain(net, x, "grad-cam", targets=lambda out: out[:, 1].sum((1, 2)))
    assert (e.layer, e.probabilities) == ("1", None)
    assert e.label(0, 0) == "<lambda>"


@pytest.mark.parametrize(
    ("name", "message"),
    [("dgo", "no class is called 'dgo'; nearest of 4: 'dog'"), ("CAT", r"stands for classes \[1, 2\]")],
)
def test_class_names_that_do_not_fit(name: str, message: str, net: GapNet, x: Tensor) -> None:
    with pytest.raises(TargetError, match=message):
        cfcam.explain(net, x, "cam", targets=name, classes=CLASSES)


def test_a_wrong_number_of_targets_is_seen_before_the_model_runs(x: Tensor) -> None:
    class Never(GapNet):
        def forward(self, x: Tensor) -> Tensor:
            raise AssertionError("the model ran")

    with pytest.raises(TargetError, match=r"shape \(2,\) for 3 images"):
        cfcam.explain(Never(), x, "cam", targets=torch.tensor([0, 1]), layer="features")


def test_methods_by_instance_name_and_mapping(net: GapNet, x: Tensor) -> None:
    e = cfcam.explain(net, x, ["grad-cam", GradCAM(), CFCAM.guided(), CFCAM(filter=None)], layer="features")
    assert e.methods == ["grad-cam", "cf-cam-guided", "cf-cam"]
    e = cfcam.explain(net, x, {"a": CFCAM(filter=None), "b": "cf-cam"}, layer="features")
    assert e.methods == ["a", "b"]
    assert e.provenance["methods"]["a"]["filter"] is None
    assert e.provenance["methods"]["b"]["clustering"] == "k-means"
    assert e.provenance["methods"]["b"]["groups"] == 32


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ("gradcam", "no method is called 'gradcam'; nearest: grad-cam"),
        ([CFCAM(), CFCAM(filter=None)], "two different methods are called 'cf-cam'"),
        ([], "no method given"),
        ([3], "3 is no method"),
        ([GradCAM], "is no method: give a name"),
    ],
)
def test_methods_that_do_not_fit(methods: object, message: str, net: GapNet, x: Tensor) -> None:
    with pytest.raises(MethodError, match=message):
        cfcam.explain(net, x, methods)


@pytest.mark.parametrize(
    "settings",
    [
        {"metric": "manhattan"},
        {"eps_quantile": 1.5},
        {"important_quantile": -0.1},
        {"filter": "median"},
        {"outliers": "merge"},
        {"weighting": "square"},
        {"doubt": 0.0},
        {"doubt": float("nan")},
    ],
)
def test_parameters_that_do_not_fit(settings: dict) -> None:
    with pytest.raises(MethodError, match=f"CFCAM\\({next(iter(settings))}="):
        CFCAM(**settings)


def test_cam_names_the_alternative_where_it_does_not_apply(x: Tensor) -> None:
    from tests.networks import FlattenNet

    with pytest.raises(MethodError, match=r"needs a linear classifier with 12 inputs.*use grad-cam"):
        cfcam.explain(FlattenNet().eval(), x, "cam", layer="features")

    class Max(GapNet):
        def tail(self, A: Tensor) -> Tensor:
            return self.classifier(A.amax((2, 3)))

    with pytest.raises(MethodError, match=r"not W.mean\(A\) \+ b \(off by up to .*use grad-cam"):
        cfcam.explain(Max().eval(), x, "cam", layer="features")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.zeros(3, 14), r"shape \(3, 14\): give a batch"),
        (torch.zeros(0, 3, 8, 8), r"shape \(0, 3, 8, 8\)"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "torch.uint8: give normalised floating-point"),
        ([[1.0]], "is a list, not a tensor"),
    ],
)
def test_inputs_that_do_not_fit(given: object, message: str, net: GapNet) -> None:
    for layer in (None, "features"):
        with pytest.raises(InputError, match=message):
            cfcam.explain(net, given, layer=layer)


def test_a_model_that_is_none_or_returns_none(x: Tensor) -> None:
    with pytest.raises(InputError, match=r"the model is a function, not a torch.nn.Module"):
        cfcam.explain(lambda x: x, x)

    class Silent(GapNet):
        def forward(self, x: Tensor) -> None:
            self.features(x)

    with pytest.raises(OutputError, match="Silent returned a NoneType without a tensor of class scores"):
        cfcam.explain(Silent(), x)


def test_an_input_of_another_precision_is_brought_to_the_models(net: GapNet, x: Tensor) -> None:
    torch.testing.assert_close(cfcam.explain(net, x.double(), "cam").logits, net(x).detach())


def test_probabilities(net: GapNet, x: Tensor) -> None:
    logits = net(x).detach()
    assert torch.equal(cfcam.explain(net, x, "cam").probabilities, logits.softmax(1))
    e = cfcam.explain(net, x, ["cam", "score-cam"], probability="sigmoid", targets=2)
    assert torch.equal(e.probabilities, logits.sigmoid())
    assert e.probability(1, 0) == pytest.approx(float(logits[1, 2].sigmoid()))


def test_the_layer_matters_and_is_reported(net: GapNet, x: Tensor) -> None:
    e = cfcam.explain(net, x, "grad-cam", layer="features[0]")
    assert e.layer == "features.0"
    assert e.maps["grad-cam"].shape == (3, 1, 7, 5)


def test_the_fingerprint_follows_the_weights(net: GapNet, x: Tensor) -> None:
    explainer = cfcam.Explainer(net, "cam", fingerprint=True)
    before = explainer(x).provenance["model"]["sha256"]
    assert explainer(x).provenance["model"]["sha256"] == before
    other = GapNet()
    other.load_state_dict(net.state_dict())
    assert cfcam.Explainer(other, "cam").fingerprint() == before
    with torch.no_grad():
        net.classifier.bias[0] += 1
    assert explainer(x).provenance["model"]["sha256"] != before


@pytest.mark.parametrize(
    "code", ["import cfcam; cfcam.list_methods()", "import cfcam.methods, cfcam.models, cfcam.cli"]
)
def test_importing_is_cheap(code: str) -> None:
    check = f"{code}; import sys; sys.exit(str({{'torch', 'matplotlib', 'PIL'}} & set(sys.modules) or '') or 0)"
    result = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
