"""What a scorecard examines: the layer, changed copies and second networks are made once, and nothing is changed."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import cfcam
from cfcam.capture import Network
from cfcam.errors import LayerError, MethodError
from cfcam.methods import named_methods
from cfcam.metrics import Evaluator, MetricError, Sample
from cfcam.metrics.scorecard.settings import Settings
from cfcam.metrics.scorecard.subject import Subject
from tests.networks import GapNet, redundant, rescale


@pytest.fixture
def net() -> GapNet:
    torch.manual_seed(1)
    return redundant(rescale(GapNet(channels=24))).eval()


def subject(net: GapNet, **more: object) -> Subject:
    return Subject(Network(net), named_methods(["cam", "grad-cam"]), Settings(("mprt",), stages=2), **more)  # type: ignore[arg-type]


def test_the_layer_is_the_named_one_or_chosen_on_the_first_batch(net: GapNet) -> None:
    x = torch.randn(2, 3, 32, 32)
    chosen = subject(net)
    assert chosen.layer_name is None
    assert chosen.capture(x, 0).layer == chosen.layer(x) == chosen.layer_name == "features"
    assert subject(net, layer="features.0").layer(x) == "features.0"
    with pytest.raises(LayerError, match="nowhere"):
        subject(net, layer="nowhere")


def test_maps_are_those_of_the_methods_that_are_asked_for(net: GapNet) -> None:
    one = subject(net, layer="features")
    capture = one.capture(torch.randn(2, 3, 32, 32), 0)
    maps = one.maps(capture)
    assert list(maps) == ["cam", "grad-cam"]
    assert list(one.maps(capture, ["cam"])) == ["cam"]
    torch.testing.assert_close(maps["cam"], one.methods["cam"].maps(capture))


def test_randomised_copies_are_made_once_ever_further_down_and_the_network_stays(net: GapNet) -> None:
    before, x = copy.deepcopy(net.state_dict()), torch.randn(2, 3, 32, 32)
    one = subject(net)
    stages = one.randomised(x)
    assert one.randomised(x) is stages
    assert len(stages) == 2

    def changed(stage: Network) -> set[str]:
        return {name for name, value in stage.model.state_dict().items() if not torch.equal(value, before[name])}

    assert changed(stages[0]) < changed(stages[1])
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    again = subject(net).randomised(x)
    assert all(
        torch.equal(a, b)
        for one, other in zip(stages, again, strict=True)
        for a, b in zip(one.model.state_dict().values(), other.model.state_dict().values(), strict=True)
    )


def test_a_second_network_has_a_layer_of_its_own_and_has_to_be_given(net: GapNet) -> None:
    x, other = torch.randn(2, 3, 32, 32), GapNet().eval()
    one = subject(net, layer="features.0", networks={"repeatability": other, "reproducibility": None})
    network, layer = one.second("repeatability", x)
    assert network.model is other
    assert layer == "features"
    assert one.second("repeatability", x)[0] is network
    with pytest.raises(MetricError, match="reproducibility needs a second network"):
        one.second("reproducibility", x)


def test_an_evaluator_is_a_subject_with_the_settings_that_were_asked_for(net: GapNet) -> None:
    evaluator = Evaluator(net, ["cam"], ["mprt"], stages=3, controls=False)
    assert isinstance(evaluator, Subject)
    assert (evaluator.settings, list(evaluator.methods)) == (Settings(("mprt",), stages=3), ["cam"])
    assert evaluator.costs is None


class WithoutGradients(nn.Module):
    """A network as another runtime gives it: scores, and nothing that leads back from them."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.grid = net, nn.AvgPool2d(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.grid(x)
        with torch.no_grad():
            return self.net(x)


def test_controls_that_need_gradients_are_left_out_where_there_are_none(net: GapNet) -> None:
    """They were the only ones that needed any, and no map without gradients could be measured."""
    x = torch.randn(2, 3, 32, 32)
    quantised = torch.ao.quantization.quantize_dynamic(net, {nn.Linear})
    for network, method, layer in ((WithoutGradients(net), "occlusion", "grid"), (quantised, "score-cam", "features")):
        card = cfcam.evaluate(network, x, [method], ["complexity"], layer=layer)
        assert card.methods == [method, "random", "centre", "channel-mean"]
        (note,) = (note for note in card.info["notes"] if note.startswith("without the controls"))
        assert note == (
            "without the controls grad-cam and blurred-grad-cam: they need gradients, and there are none from the score"
            f" to layer {layer!r}"
        )
        with pytest.raises((LayerError, MethodError)):
            cfcam.evaluate(network, x, [method, "grad-cam"], ["complexity"], layer=layer)
    whole = cfcam.evaluate(net, x, ["score-cam"], ["complexity"], layer="features")
    assert set(whole.controls) == {"grad-cam", "random", "centre", "channel-mean", "blurred-grad-cam"}


@pytest.mark.parametrize("both", [True, False])
def test_a_network_that_segments_is_told_that_the_scorecard_is_of_classes(both: bool) -> None:
    """Its rival was looked for where a masked picture showed it, and a class that was nowhere ended the evaluation."""
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 3, 1)).eval()
    nn.init.constant_(net[2].weight, 0.0)
    image = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    if both:
        net[0].weight.data, net[0].bias.data = torch.eye(4, 3)[..., None, None], torch.zeros(4)
        net[2].weight.data[1, 0], net[2].weight.data[2, 1] = 1.0, 1.0
    net[2].bias.data = torch.tensor([-9.0, 0.1, 0.0])
    with pytest.raises(MetricError, match=r"the network segments.*cfcam\.capture\.Adapter"):
        Evaluator(net, "grad-cam", layer="0")([Sample(image, name="a")])
    mean = cfcam.capture.Adapter(net, lambda x, images: x, lambda output: output.mean((-2, -1)))
    assert Evaluator(mean, "grad-cam", layer="model.0")([Sample(image, name="a")])[0].target in (0, 1, 2)
