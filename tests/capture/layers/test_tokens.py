"""How outputs are read as maps: grids, layouts, prefix tokens; and what is too ambiguous to be read."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

import cfcam
from cfcam.capture import Capture, Network, TokenGrid
from cfcam.capture.layers.tokens import Evidence, channel_axis
from cfcam.errors import LayerError
from cfcam.methods import GradCAM
from tests.token_networks import TokenNet


def evidence(input_shape: Sequence[int], *seen: tuple[nn.Module, Sequence[int]]) -> Evidence:
    """What is known after modules returned outputs of these shapes."""
    found = Evidence(tuple(input_shape))
    for module, shape in seen:
        found.observe(module, None, torch.empty(shape))
    return found


def patches(*grid: int) -> tuple[nn.Module, Sequence[int]]:
    return [nn.Conv1d, nn.Conv2d, nn.Conv3d][len(grid) - 1](3, 8, 1), (1, 8, *grid)


def tokens(count: int, width: int = 8) -> tuple[nn.Module, Sequence[int]]:
    return nn.LayerNorm(width), (1, count, width)


# --- the view ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grid", "shape"),
    [
        (TokenGrid((2, 3), 2, -1), (4, 8, 5)),  # (N, T, C) behind two other tokens
        (TokenGrid((2, 3), 0, -1), (4, 6, 5)),
        (TokenGrid((2, 3), 0, -1), (4, 2, 3, 5)),  # (N, H, W, C)
        (TokenGrid((2, 3), 0, 1), (4, 5, 6)),  # (N, C, T)
        (TokenGrid((2, 3), 1, 1), (4, 5, 7)),
        (TokenGrid((2, 3)), (4, 5, 2, 3)),
        (TokenGrid((6,), 1, -1), (4, 7, 5)),
        (TokenGrid((2, 3, 2), 1, -1), (4, 13, 5)),
        (TokenGrid((2, 3), 1, -1, suffix=2), (4, 9, 5)),  # two detection tokens behind the patches
        (TokenGrid((6,), 0, 1, suffix=1), (4, 5, 7)),
    ],
)
def test_maps_and_back(grid: TokenGrid, shape: tuple[int, ...]) -> None:
    output = torch.randn(shape)
    maps = grid.maps(output)
    assert maps.shape == (4, 5, *grid.grid)
    flat = output.flatten(1, -2) if grid.channels == -1 else output.flatten(2).mT  # (N, T, C)
    for place, index in enumerate(torch.cartesian_prod(*map(torch.arange, grid.grid)).reshape(-1, len(grid.grid))):
        assert torch.equal(maps[(slice(None), slice(None), *index)], flat[:, grid.prefix + place])
    images = torch.tensor([3, 0, 0])
    again = grid.replaced(output, maps[images], images)
    assert torch.equal(again, output[images])
    assert torch.equal(grid.maps(grid.replaced(output, 2 * maps[images], images)), 2 * maps[images])


# --- the grid, from what ran ------------------------------------------------------------------------------------------


def readings(found: Evidence, *shape: int) -> list[tuple[tuple[int, ...], int, int]]:
    return [(r.grid, r.prefix, r.channels) for r in found.readings(shape)]


@pytest.mark.parametrize("prefix", [0, 1, 2, 5])
def test_the_patch_embeddings_grid(prefix: int) -> None:
    """T alone would not tell 4 x 12 from 6 x 8."""
    for grid in ((4, 12), (6, 8), (12, 4)):
        found = evidence((1, 3, 48, 96), patches(*grid), tokens(48 + prefix))
        assert readings(found, 1, 48 + prefix, 8) == [(grid, prefix, -1)]


def test_merging_halves_the_grid_of_the_patches() -> None:
    found = evidence((1, 3, 64, 96), patches(16, 24), tokens(384), tokens(96), tokens(24))
    assert readings(found, 1, 96, 8) == [((8, 12), 0, -1)]
    assert readings(found, 1, 24, 8) == [((4, 6), 0, -1)]
    assert readings(evidence((1, 3, 28, 20), patches(7, 5), tokens(12)), 1, 12, 8) == [((4, 3), 0, -1)]  # rounded up
    assert readings(evidence((1, 3, 28, 20), patches(7, 5), tokens(6)), 1, 6, 8) == [((3, 2), 0, -1)]  # or down


def test_a_linear_patch_embedding_of_equal_patches() -> None:
    """No convolution: the number of its tokens, and the input's own sides, leave one side of a patch."""
    found = evidence((1, 3, 64, 96), tokens(24, 16), tokens(25, 16))
    assert readings(found, 1, 25, 16) == [((4, 6), 1, -1)]
    assert readings(evidence((1, 1, 32, 32, 48), tokens(12, 16)), 1, 12, 16) == [((2, 2, 3), 0, -1)]
    assert readings(evidence((1, 3, 64, 96), tokens(23, 16)), 1, 23, 16) == []


def test_what_is_no_grid_is_not_read() -> None:
    found = evidence((1, 3, 64, 64), patches(8, 8), tokens(64), tokens(10), tokens(100))
    assert readings(found, 1, 10, 8) == []  # latent vectors
    assert readings(found, 1, 100, 8) == []  # 36 other tokens are no prefix
    assert readings(found, 64, 16, 8) == []  # windows along the batch
    assert readings(found, 1, 8) == []


def test_two_grids_that_are_possible_are_both_named() -> None:
    found = evidence((1, 3, 48, 48), patches(4, 12), patches(6, 8), tokens(48))
    assert readings(found, 1, 48, 8) == [((4, 12), 0, -1), ((6, 8), 0, -1)]


def test_tokens_in_the_order_of_their_pooling_are_not_read_before_it_ends() -> None:
    class HieraUnroll(nn.Module):
        schedule = ((2, 2), (2, 2))

    found = evidence((1, 3, 64, 64), patches(16, 16), (HieraUnroll(), (1, 256, 8)), tokens(256), tokens(64), tokens(16))
    assert readings(found, 1, 256, 8) == []
    assert readings(found, 1, 64, 8) == []
    assert readings(found, 1, 16, 8) == [((4, 4), 0, -1)]


# --- the axis of the channels -----------------------------------------------------------------------------------------


def test_channels_last_or_first_by_what_worked_on_them() -> None:
    conv, norm = nn.Conv2d(3, 8, 1), nn.LayerNorm(8)
    found = evidence((1, 3, 32, 32), (conv, (1, 8, 4, 6)), (norm, (1, 4, 6, 8)))
    assert readings(found, 1, 8, 4, 6) == [((4, 6), 0, 1)]
    assert readings(found, 1, 4, 6, 8) == [((4, 6), 0, -1)]
    assert readings(found, 1, 16, 2, 3) == [((2, 3), 0, 1)]  # pooled: the grid tells
    assert readings(found, 1, 2, 3, 16) == [((2, 3), 0, -1)]


def test_a_cube_that_both_axes_worked_on_is_ambiguous() -> None:
    conv, norm = nn.Conv2d(3, 8, 1), nn.LayerNorm(8)
    found = evidence((1, 3, 32, 32), (conv, (1, 8, 8, 8)), (norm, (1, 8, 8, 8)))
    assert readings(found, 1, 8, 8, 8) == [((8, 8), 0, 1), ((8, 8), 0, -1)]
    assert readings(evidence((1, 3, 32, 32), (conv, (1, 8, 8, 8))), 1, 8, 8, 8) == [((8, 8), 0, 1)]


@pytest.mark.parametrize(
    ("module", "shape", "axis"),
    [
        (nn.Conv2d(3, 8, 1), (1, 8, 4, 4), 1),
        (nn.BatchNorm1d(8), (1, 8, 4), 1),
        (nn.GroupNorm(2, 8), (1, 8, 4, 4), 1),
        (nn.MaxPool2d(2), (1, 8, 4, 4), 1),
        (nn.Linear(3, 8), (1, 4, 4, 8), -1),
        (nn.RMSNorm(8), (1, 4, 8), -1),
        (nn.ReLU(), (1, 8, 4, 4), None),
    ],
)
def test_the_axis_that_a_module_works_on(module: nn.Module, shape: tuple[int, ...], axis: int | None) -> None:
    assert channel_axis(module, shape) == axis


def test_the_axis_of_a_layer_norm_of_somebody_elses_is_that_of_its_width() -> None:
    class LayerNorm2d(nn.LayerNorm):
        """Normalises axis 1, though its type says the last one, as in torchvision and timm."""

    assert channel_axis(LayerNorm2d(8), (1, 8, 4, 5)) == 1
    assert channel_axis(LayerNorm2d(8), (1, 4, 5, 8)) == -1
    assert channel_axis(LayerNorm2d(8), (1, 8, 8, 8)) is None


# --- captures -----------------------------------------------------------------------------------------------------


class Merged(nn.Module):
    """Blocks on a grid with the channels last, and on flattened tokens, of the same numbers."""

    def __init__(self, size: tuple[int, int] = (5, 3), width: int = 6) -> None:
        super().__init__()
        self.size = size
        self.patch = nn.Conv2d(3, width, 2, stride=2)
        self.first = nn.Identity()
        self.last = nn.LayerNorm(width)
        self.flat = nn.LayerNorm(width)
        self.turned = nn.Identity()
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.first(self.patch(x))
        last = self.last(maps.permute(0, 2, 3, 1))
        flat = self.flat(last.flatten(1, 2))
        turned = self.turned(flat.mT)  # (N, C, T)
        return self.head(turned.square().mean(2))


def test_one_network_in_four_layouts() -> None:
    net, x = Merged().double().eval(), torch.randn(2, 3, 10, 6, dtype=torch.float64)
    kept = {}
    handles = [
        net.get_submodule(name).register_forward_hook(lambda _, __, out, name=name: kept.__setitem__(name, out))
        for name in ("first", "last", "flat", "turned")
    ]
    logits = net(x)
    for handle in handles:
        handle.remove()
    for name, tensor in kept.items():
        capture = Capture(Network(net), x, layer=name, targets=[0, 2])
        to_maps = {
            "first": lambda t: t,
            "last": lambda t: t.permute(0, 3, 1, 2),
            "flat": lambda t: t.mT.unflatten(2, (5, 3)),
            "turned": lambda t: t.unflatten(2, (5, 3)),
        }[name]
        torch.testing.assert_close(capture.activations, to_maps(tensor).detach())
        for k, c in enumerate((0, 2)):
            (gradient,) = torch.autograd.grad(logits[:, c].sum(), tensor, retain_graph=True)
            torch.testing.assert_close(capture.gradients[:, k], to_maps(gradient))


def test_the_network_sees_what_it_always_saw() -> None:
    """The view is cfcam's alone: logits are bit for bit the same, whatever the layer."""
    net, x = TokenNet(prefix=3).eval(), torch.randn(2, 3, 14, 10)
    with torch.no_grad():
        expected = net(x)
    for layer in ("blocks.0", "blocks.2.norm1", "patch"):
        assert torch.equal(Capture(Network(net), x, layer=layer).logits, expected)


def test_grad_cam_on_tokens_equals_a_loop() -> None:
    net, x = TokenNet((3, 2), prefix=2).double().eval(), torch.randn(2, 3, 6, 4, dtype=torch.float64)
    kept = []
    handle = net.blocks[2].norm1.register_forward_hook(lambda _, __, out: kept.append(out))
    logits = net(x)
    handle.remove()
    (gradient,) = torch.autograd.grad(logits[:, 1].sum(), kept[0])
    tokens = kept[0].detach()
    for n in range(2):
        weights = gradient[n, 2:].mean(0)  # over the places, without the two other tokens
        expected = [[max(float(tokens[n, 2 + 2 * i + j] @ weights), 0.0) for j in range(2)] for i in range(3)]
        found = cfcam.explain(net, x[n : n + 1], GradCAM(), targets=1).maps["grad-cam"][0, 0]
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_replaced_activations_keep_the_other_tokens() -> None:
    net, x = TokenNet(prefix=2).double().eval(), torch.randn(2, 3, 14, 10, dtype=torch.float64)
    capture = Capture(Network(net), x, layer="blocks.0", targets=[0, 3])
    images = torch.tensor([1, 0, 1])
    same = capture.rescore_activations(capture.activations[images], images)
    torch.testing.assert_close(same, capture.scores[images])
    tokens = net.blocks[0](torch.cat([net.extra.expand(2, -1, -1), net.patch(x).flatten(2).mT], 1) + net.position)
    tokens[:, 2:] = 0
    expected = net.head(net.norm(net.blocks[2](net.blocks[1](tokens)))[:, 0]).detach()[:, [0, 3]]
    empty = torch.zeros_like(capture.activations)
    torch.testing.assert_close(capture.rescore_activations(empty, torch.arange(2)), expected)


def test_an_ambiguous_layer_is_refused_with_its_readings() -> None:
    class Cube(Merged):
        def __init__(self) -> None:
            super().__init__((6, 6))

    net, x = Cube().eval(), torch.randn(2, 3, 12, 12)
    with pytest.raises(LayerError, match=r"'last' .* can be read as 6 x 6; or as 6 x 6, channels last") as error:
        Capture(Network(net), x, layer="last")
    assert "\n" not in str(error.value)


def test_a_second_input_size_has_its_own_grid() -> None:
    net = Merged((0, 0)).eval()
    with cfcam.Explainer(net, "grad-cam", layer="flat") as explainer:
        assert explainer(torch.randn(1, 3, 10, 6)).maps["grad-cam"].shape == (1, 1, 5, 3)
        assert explainer(torch.randn(1, 3, 6, 10)).maps["grad-cam"].shape == (1, 1, 3, 5)
        assert explainer(torch.randn(2, 3, 10, 6)).maps["grad-cam"].shape == (2, 1, 5, 3)


def test_detection_tokens_stand_behind_the_patches() -> None:
    """YOLOS puts a class token before its patches and detection tokens behind; as a prefix they would shift maps."""
    from transformers import YolosConfig, YolosForObjectDetection

    config = YolosConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=[64, 96],
        patch_size=16,
        num_detection_tokens=5,
        num_labels=3,
    )
    model = YolosForObjectDetection(config).eval()
    x = torch.randn(2, 3, 64, 96)
    name = next(n for n, m in model.named_modules() if n.endswith("layer.0"))
    found = cfcam.capture.Capture(
        cfcam.capture.Network(model), x, layer=name, targets=[lambda output: output.logits[:, 0, 0]]
    )
    assert found.grid == TokenGrid((4, 6), 1, -1, suffix=5)
    seen: list[torch.Tensor] = []
    handle = model.get_submodule(name).register_forward_hook(
        lambda module, args, output: seen.append(output[0] if isinstance(output, tuple) else output)
    )
    with torch.no_grad():
        model(x)
    handle.remove()
    assert torch.allclose(found.activations, seen[0][:, 1:25].mT.unflatten(2, (4, 6)), atol=1e-6)


class Asking(nn.Module):
    """A trunk of 2 x 3 places, and queries that look at them; joined: they go on behind the queries."""

    def __init__(self, count: int, *, joined: bool) -> None:
        super().__init__()
        self.trunk, self.queries = nn.Conv2d(3, 8, 4, stride=4), nn.Embedding(count, 8)
        self.block, self.last, self.joined = nn.LayerNorm(8), nn.Linear(8, 2), joined

    def forward(self, x: Tensor) -> Tensor:
        seen = self.trunk(x).flatten(2).mT
        asked = self.queries.weight.expand(len(x), -1, -1)
        if self.joined:
            return self.last(self.block(torch.cat([asked, self.block(seen)], 1))).mean(1)
        return self.last(self.block(asked + seen.mean(1, keepdim=True))).mean(1)


@pytest.mark.parametrize("count", [6, 7, 9])
def test_queries_are_no_places_whatever_their_number(count: int) -> None:
    """Of 9 queries (2 x 3 places "behind 3 other tokens") a map was drawn, and so of 6."""
    net, x = Asking(count, joined=False), torch.randn(1, 3, 8, 12)
    with pytest.raises(LayerError, match="no spatial extent to map"):
        cfcam.explain(net, x, "grad-cam", targets=0, layer="block")
    with pytest.raises(LayerError, match="which are no grid"):
        cfcam.explain(net, x, "grad-cam", targets=0)


@pytest.mark.parametrize("count", [4, 40])
def test_places_go_on_behind_queries_however_many_these_are(count: int) -> None:
    net, x = Asking(count, joined=True), torch.randn(2, 3, 8, 12)
    found = Capture(Network(net), x, layer="block#1", targets=[0])
    assert found.grid == TokenGrid((2, 3), count, -1)
    with torch.no_grad():
        places = net.block(net.block(net.trunk(x).flatten(2).mT))
    torch.testing.assert_close(found.activations, places.mT.unflatten(2, (2, 3)))


def test_the_layer_of_eomt_is_found_with_more_queries_than_a_prefix_holds() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.EomtConfig(
        num_labels=3, image_size=32, num_queries=30, num_blocks=1, hidden_size=24, num_hidden_layers=2,
        num_attention_heads=2, patch_size=8,
    )  # fmt: skip
    net = cfcam.Segmenter(transformers.EomtForUniversalSegmentation(config).eval())
    with cfcam.Explainer(net, "hires-cam", probability="softmax") as explainer:
        e = explainer(torch.randn(1, 3, 32, 32))
        assert e.maps["hires-cam"].shape == (1, 1, 4, 4)
    assert e.layer == "model.model.layers.1" or e.layer.endswith("layers.1")
