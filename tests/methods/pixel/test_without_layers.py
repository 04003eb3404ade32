"""Networks without a layer that has places: methods of the input's own places explain them, at the layer "input"."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

import cfcam
from cfcam import Explainer
from cfcam.errors import LayerError
from cfcam.methods import Augmented, Fusion, HiResCAM, ReciproCAM, SmoothGrad
from cfcam.metrics.scorecard.evaluator import Evaluator
from cfcam.metrics.scorecard.samples import Sample


def flat(*shape: int) -> nn.Module:
    torch.manual_seed(0)
    size = int(torch.tensor(shape).prod())
    return nn.Sequential(nn.Flatten(), nn.Linear(size, 6), nn.ReLU(), nn.Linear(6, 3)).eval()


def seeded(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


def slopes(network: nn.Module, x: Tensor, k: int) -> Tensor:
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(network(leaf)[:, k].sum(), leaf)[0]


@pytest.mark.parametrize("shape", [(2, 11), (1, 7, 9), (1, 4, 5, 6)])
def test_the_gradient_of_the_inputs_own_places(shape: tuple[int, ...]) -> None:
    network, x = flat(*shape), seeded(3, *shape)
    found = cfcam.explain(network, x, SmoothGrad(samples=1, noise=0), targets=[0, 2])
    for k, target in enumerate((0, 2)):
        torch.testing.assert_close(found.maps["smooth-grad"][:, k], slopes(network, x, target).abs().sum(1))
    assert found.layer == "input"
    assert found.heatmaps("smooth-grad").shape == (3, 2, *shape[1:])


@pytest.mark.parametrize("method", ["integrated-gradients", "full-grad", "guided-backprop"])
def test_image_by_image_and_class_by_class(method: str) -> None:
    network, x = flat(1, 7, 9), seeded(3, 1, 7, 9)
    together = cfcam.explain(network, x, method, targets=[0, 2]).maps[method]
    alone = cfcam.explain(network, x[1:2], method, targets=2).maps[method]
    torch.testing.assert_close(alone, together[1:2, 1:])


def test_methods_of_layers_are_refused_with_what_to_take_instead() -> None:
    network, x = flat(1, 7, 9), seeded(3, 1, 7, 9)
    explainer = Explainer(network, "smooth-grad")
    assert [explainer(x).layer, explainer(x).layer] == ["input", "input"]
    for methods in ("grad-cam", "guided-grad-cam", ["smooth-grad", "occlusion"]):
        with pytest.raises(LayerError, match=r"take a method that needs none \(smooth-grad, integrated-gradients"):
            explainer.but(methods)(x)  # what is known of the network does not make the input a layer of theirs


def test_what_goes_around_such_a_method_needs_no_layer_either_but_for_a_fusion_of_layers() -> None:
    network, x, plain = flat(1, 7, 9), seeded(3, 1, 7, 9), SmoothGrad(samples=1, noise=0)
    found = cfcam.explain(network, x, Augmented(plain, flips=(), scales=()), targets=[0, 2])
    torch.testing.assert_close(
        found.maps["smooth-grad-augmented"], cfcam.explain(network, x, plain, targets=[0, 2]).maps["smooth-grad"]
    )
    with pytest.raises(LayerError, match="take a method that needs none"):
        cfcam.explain(network, x, Fusion(base=plain))


def test_such_maps_are_measured() -> None:
    samples = [Sample(image, name=str(n)) for n, image in enumerate(seeded(2, 1, 7, 9))]
    rows = Evaluator(flat(1, 7, 9), "smooth-grad", "adcc", controls=False)(samples)
    assert [(row.image, row.method, "adcc" in row.values) for row in rows] == [
        ("0", "smooth-grad", True),
        ("1", "smooth-grad", True),
    ]


def test_a_layer_is_still_named_where_there_is_one() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 35, 3)).eval()
    assert cfcam.explain(network, seeded(2, 1, 7, 9), "smooth-grad").layer == "1"


def test_the_input_can_be_named_as_a_layer() -> None:
    """HiResCAM there is gradient times input; Recipro-CAM asks what the network says of one pixel."""
    network, x = flat(2, 3, 4), seeded(2, 2, 3, 4)
    found = cfcam.explain(network, x, [HiResCAM(), ReciproCAM(score="logit", zero=None)], targets=[1], layer="input")
    torch.testing.assert_close(found.maps["hires-cam"][:, 0], (slopes(network, x, 1) * x).sum(1))
    pixel = torch.zeros_like(x)
    pixel[:, :, 1, 2] = x[:, :, 1, 2]
    torch.testing.assert_close(found.maps["recipro-cam"][:, 0, 1, 2], network(pixel)[:, 1].detach())


def test_a_module_that_is_called_input_is_meant_by_its_name() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.input, self.head = nn.Conv2d(1, 2, 3), nn.Linear(2, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.input(x).mean((2, 3)))

    assert cfcam.explain(Named().eval(), seeded(2, 1, 7, 9), "grad-cam", layer="input").maps["grad-cam"].shape[2:] == (
        5,
        7,
    )


def test_a_flat_network_whose_first_layer_is_called_input_is_explained_at_its_own_input() -> None:
    """The name was taken for that layer, which has no places: the network was refused."""
    network = flat(1, 7, 9)
    named = nn.Sequential(OrderedDict(flat=network[0], input=network[1], act=network[2], head=network[3]))
    x = seeded(2, 1, 7, 9)
    for method in ("smooth-grad", "full-grad"):
        found, same = (cfcam.explain(net, x, method, targets=1) for net in (named, network))
        torch.testing.assert_close(found.maps[method], same.maps[method])
        assert (found.layer, same.layer) == ("(input)", "input")
    at_input = cfcam.explain(named, x, HiResCAM(), targets=1, layer="(input)").maps["hires-cam"]
    torch.testing.assert_close(at_input[:, 0], (slopes(network, x, 1) * x).sum(1))
    card = cfcam.evaluate(named, x, ["smooth-grad"], ["complexity"], controls=False)
    assert card.info["layer"] == "(input)"


def test_controls_that_map_a_layer_are_left_out_where_there_is_none_and_that_is_said() -> None:
    """They were refused with all others in Python, and measured as if the input were a layer on the command line."""
    network, x = flat(1, 7, 9), seeded(2, 1, 7, 9)
    for layer in (None, "input"):  # chosen, or as the command line passes it on
        card = cfcam.evaluate(network, list(x), ["smooth-grad"], ["complexity"], layer=layer)
        assert card.methods == ["smooth-grad", "random", "centre", "channel-mean"]
        assert card.controls == ("random", "centre", "channel-mean")
        assert [
            note for note in card.info["notes"] if note.startswith("without the controls grad-cam and blurred-grad")
        ]
        assert set(card.info["methods"]) == set(card.methods)
    with pytest.raises(LayerError, match="take a method that needs none"):
        cfcam.evaluate(network, list(x), ["smooth-grad", "grad-cam"], ["complexity"])
    asked = cfcam.evaluate(network, list(x), ["grad-cam"], ["complexity"], layer="input")
    assert asked.methods == ["grad-cam", "random", "centre", "channel-mean"]
