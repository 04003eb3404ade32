"""Which layer is chosen, on real architectures; how layers are named; and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import cfcam
from cfcam.capture import Network, automatic_layer, find_layer, probe_layers
from cfcam.errors import LayerError
from tests.networks import GapNet
from tests.token_networks import TokenNet


def automatic(model: nn.Module, *shape: int) -> tuple[str, tuple[int, ...]]:
    """The chosen layer, and the shape of what it returns."""
    network, x = Network(model.eval()), torch.randn(2, *shape)
    name = automatic_layer(network, x)
    infos, _ = probe_layers(network, x)
    return name, next(i.shape for i in infos if i.name == name)[1:]


class Latents(nn.Module):
    """A patch embedding, then latent vectors that read it: nothing behind it is a grid."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, stride=4)
        self.latents = nn.Parameter(torch.randn(1, 5, 8))
        self.blocks = nn.Sequential(*[nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8), nn.GELU()) for _ in range(3)])
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch(x).flatten(2)
        read = (self.latents @ patches).softmax(-1) @ patches.mT
        return self.head(self.blocks(read).mean(1))


def test_tokens_that_are_no_grid_are_refused_with_candidates() -> None:
    """The last spatial grid is the patch embedding, far from the decision: no silent choice."""
    with pytest.raises(LayerError, match=r"works on tokens .* behind 'patch', .* name one with layer=") as error:
        automatic(Latents(), 3, 32, 32)
    assert "\n" not in str(error.value)
    with pytest.raises(LayerError, match=r"'blocks' returns \(2, 5, 8\) .* has no spatial extent to map"):
        cfcam.explain(Latents(), torch.randn(2, 3, 32, 32), layer="blocks")


@pytest.mark.parametrize("reads", ["class", "mean"])
@pytest.mark.parametrize("prefix", [1, 5])
@pytest.mark.parametrize("grid", [(7, 5), (4, 4), (9,), (3, 4, 2)])
def test_tokens(grid: tuple[int, ...], prefix: int, reads: str) -> None:
    """Behind the last attention only the class token counts, if the classifier reads that one."""
    net, x = TokenNet(grid, prefix=prefix, reads=reads), torch.randn(2, 3, *(2 * n for n in grid))
    name, shape = automatic(net, *x.shape[1:])
    assert name == ("blocks.2.norm1" if reads == "class" else "norm")
    assert shape == (prefix + torch.Size(grid).numel(), 16)
    infos, _ = probe_layers(Network(net), x)
    by_name = {i.name: i for i in infos}
    assert by_name[name].grid == grid
    assert by_name["norm"].reaches is (reads == "mean")
    assert by_name["blocks.1"].reaches


def test_a_classifier_of_zeros_is_said_to_be_one() -> None:
    net = TokenNet()
    nn.init.zeros_(net.head.weight)
    with pytest.raises(LayerError, match=r"depends on no layer's output at most places \(a classifier of zeros"):
        automatic(net, 3, 14, 10)


def test_a_class_token_behind_a_frozen_backbone() -> None:
    """The network's own no_grad block does not hide which tokens count."""

    class Frozen(TokenNet):
        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                return super().forward(x)

    assert automatic(Frozen(), 3, 14, 10)[0] == "blocks.2.norm1"


def test_the_branches_of_a_block_that_ends_smaller_are_not_chosen() -> None:
    """What its branches started from is: at this size the last block leaves one position."""

    class Reduction(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2))
            self.two = nn.Sequential(nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, stride=2))

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([self.one(x), self.two(x)], 1)

    net = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.ReLU()),
        Reduction(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 2),
    )
    assert automatic(net, 3, 16, 16) == ("0", (8, 4, 4))  # the block leaves 1 x 1
    assert automatic(net, 3, 32, 32) == ("1", (16, 3, 3))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["DenseNet121", "resnet18", "SEResNet50", "EfficientNetBN"])
def test_monai_classifiers(kind: str, dims: int) -> None:
    from monai.networks import nets

    settings = {
        "DenseNet121": {"in_channels": 1, "out_channels": 2},
        "resnet18": {"n_input_channels": 1, "num_classes": 2, "pretrained": False},
        "SEResNet50": {"in_channels": 1, "num_classes": 2},
        "EfficientNetBN": {
            "model_name": "efficientnet-b0",
            "in_channels": 1,
            "num_classes": 2,
            "pretrained": False,
        },
    }[kind]
    model = getattr(nets, kind)(spatial_dims=dims, **settings).eval()
    size = 96 if dims == 2 else 64
    name, shape = automatic(model, 1, *[size] * dims)
    expected = {"DenseNet121": "class_layers.relu", "resnet18": "layer4", "SEResNet50": "layer4"}
    assert name == expected.get(kind, name)
    assert len(shape) == dims + 1
    assert shape[0] >= 512  # the widest, last stage
    x = torch.randn(1, 1, *[size] * dims)
    e = cfcam.explain(model, x, ["grad-cam", "cf-cam"])
    assert e.heatmaps("grad-cam").shape == (1, 1, *[size] * dims)


class Vgg(nn.Module):
    """Ends its features in a max-pooling, then pools adaptively to a grid that is no single position."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2))
        self.avgpool = nn.AdaptiveAvgPool2d(4)
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(128, 16), nn.ReLU(), nn.Linear(16, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)))


def test_pooling_at_the_end_is_not_the_layer() -> None:
    """Nor is the convolution, whose output the in-place activation replaces."""
    assert automatic(Vgg(), 3, 16, 16) == ("features.1", (8, 16, 16))


def test_the_choice_follows_the_users_own_input() -> None:
    """A small picture leaves one position at the last stage: the stage before it is mapped."""
    net = nn.Sequential(
        *[nn.Sequential(nn.Conv2d(3 if i == 0 else 8, 8, 3, 2, 1), nn.ReLU()) for i in range(4)],
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 2),
    )
    assert automatic(net, 3, 64, 64)[0] == "3"
    assert automatic(net, 3, 16, 16)[0] == "2"
    with cfcam.Explainer(net, "grad-cam") as explainer:
        assert explainer(torch.randn(1, 3, 64, 64)).layer == "3"
        assert explainer(torch.randn(1, 3, 16, 16)).layer == "2"


def test_a_network_without_spatial_layers_is_refused() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 4))
    with pytest.raises(
        LayerError, match=r"no layer's output has a spatial extent for an input of shape \(1, 3, 4, 4\)"
    ):
        cfcam.explain(net, torch.randn(2, 3, 4, 4))


def test_a_module_that_runs_several_times_is_avoided_and_refused() -> None:
    class Reused(GapNet):
        def forward(self, x: Tensor) -> Tensor:
            return self.tail(self.act(self.act(self.features(x))))

    net = Reused()
    net.act = nn.ReLU()
    assert automatic(net, 3, 14, 10)[0] == "features"
    with pytest.raises(LayerError, match="'act' runs several times in one pass"):
        cfcam.explain(net, torch.randn(1, 3, 14, 10), layer="act")


@pytest.mark.parametrize("name", ["features.2", "features[2]", "features[-2]", ".features[ 2]".replace(" ", "")])
def test_names_of_layers(name: str) -> None:
    net = GapNet()
    assert find_layer(net, name) == ("features.2", net.features[2])
    assert find_layer(net, net.features[2]) == ("features.2", net.features[2])


@pytest.mark.parametrize("name", ["feature", "features.9", "features[-9]", "", "classifier.weight"])
def test_an_unknown_layer_offers_the_nearest(name: str) -> None:
    with pytest.raises(LayerError, match=r"GapNet has no layer '.*'; nearest: .*") as error:
        find_layer(GapNet(), name)
    if name.startswith("feature"):
        assert "features" in str(error.value).split("nearest")[1]


def test_a_module_of_another_model_is_refused() -> None:
    with pytest.raises(LayerError, match="not a module of this GapNet"):
        find_layer(GapNet(), nn.ReLU())


@pytest.mark.parametrize("layer", ["pool", "classifier"])
def test_a_layer_without_spatial_extent_is_refused(layer: str) -> None:
    with pytest.raises(LayerError, match=f"layer '{layer}' returns .* no spatial extent"):
        cfcam.explain(GapNet(), torch.randn(2, 3, 14, 10), layer=layer)


def test_a_layer_that_does_not_run_is_refused() -> None:
    net = GapNet()
    net.unused = nn.Conv2d(3, 3, 1)
    with pytest.raises(LayerError, match="'unused' did not run"):
        cfcam.explain(net, torch.randn(2, 3, 14, 10), layer="unused")


def test_a_layer_that_returns_a_tuple() -> None:
    class Pair(nn.Module):
        def forward(self, A: Tensor) -> tuple[Tensor, str]:
            return A, "extra"

    class Net(GapNet):
        def forward(self, x: Tensor) -> Tensor:
            A, extra = self.pair(self.features(x))
            assert extra == "extra"
            return self.tail(A)

    net = Net().eval()
    net.pair = Pair()
    x = torch.randn(2, 3, 14, 10)
    pair, plain = (cfcam.explain(net, x, "grad-cam", targets=1, layer=n).maps["grad-cam"] for n in ("pair", "features"))
    torch.testing.assert_close(pair, plain)
