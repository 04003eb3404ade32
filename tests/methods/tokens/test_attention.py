"""Attention rollout and LeGrad against loops in NumPy, and where the attention comes from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import cfcam
from cfcam.errors import MethodError
from tests.contract.snapshot import snapshot
from tests.token_networks import Block, Kind, TokenNet

Array = NDArray[np.float64]
GRID = (3, 2)


@pytest.fixture(params=["class", "mean"])
def net(request: pytest.FixtureRequest) -> TokenNet:
    return TokenNet(GRID, width=8, prefix=2, reads=request.param).double().eval()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 3, 6, 4, dtype=torch.float64)


def weights(module: nn.Module, name: str) -> Array:
    return getattr(module, name).detach().numpy()


def linear(layer: nn.Linear, x: Array) -> Array:
    return x @ weights(layer, "weight").T + weights(layer, "bias")


def norm(layer: nn.LayerNorm, x: Array) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + layer.eps) * weights(layer, "weight") + weights(
        layer, "bias"
    )


def gelu(x: Array) -> Array:
    from scipy.special import erf

    return x * (1 + erf(x / np.sqrt(2))) / 2


def attention(block: Block, x: Array) -> tuple[Array, Array]:
    """One image's attention (heads, T, T) and values (heads, T, d)."""
    q, k, v = np.split(linear(block.attn.qkv, norm(block.norm1, x)), 3, axis=-1)
    size = q.shape[-1] // block.attn.heads
    maps, values = [], []
    for h in range(block.attn.heads):
        part = slice(h * size, (h + 1) * size)
        scores = q[:, part] @ k[:, part].T / np.sqrt(size)
        e = np.exp(scores - scores.max(-1, keepdims=True))
        maps.append(e / e.sum(-1, keepdims=True))
        values.append(v[:, part])
    return np.stack(maps), np.stack(values)


def output(block: Block, x: Array, maps: Array, values: Array) -> Array:
    """What the block returns for an attention, which need not be its own."""
    x = x + linear(block.attn.proj, np.concatenate(list(maps @ values), axis=-1))
    return x + linear(block.mlp[2], gelu(linear(block.mlp[0], norm(block.norm2, x))))


def score(net: TokenNet, tokens: Array, c: int) -> float:
    tokens = norm(net.norm, tokens)
    read = tokens[0] if net.reads == "class" else tokens[net.prefix :].mean(0)
    return float(linear(net.head, read)[c])


def embedded(net: TokenNet, image: Tensor) -> Array:
    patches = net.patch(image[None])[0].flatten(1).T
    return (torch.cat([net.extra[0], patches]) + net.position[0]).detach().numpy()


def rollout(net: TokenNet, image: Tensor) -> Array:
    tokens = embedded(net, image)
    total = np.eye(len(tokens))
    for block in net.blocks:
        maps, values = attention(block, tokens)
        total = (maps.mean(0) / 2 + np.eye(len(tokens)) / 2) @ total
        tokens = output(block, tokens, maps, values)
    read = total[0] if net.reads == "class" else total[net.prefix :].mean(0)
    return read[net.prefix :].reshape(GRID)


def legrad(net: TokenNet, image: Tensor, c: int, step: float = 1e-5) -> Array:
    """The gradient of each block's own score by differences, entry by entry of its attention."""
    tokens, layers = embedded(net, image), []
    for block in net.blocks:
        maps, values = attention(block, tokens)
        gradient = np.zeros_like(maps)
        for place in np.ndindex(*maps.shape):
            moved = [maps.copy(), maps.copy()]
            moved[0][place] += step
            moved[1][place] -= step
            up, down = (score(net, output(block, tokens, m, values), c) for m in moved)
            gradient[place] = (up - down) / (2 * step)
        layers.append(np.maximum(gradient, 0).mean((0, 1)))
        tokens = output(block, tokens, maps, values)
    return np.mean(layers, axis=0)[net.prefix :].reshape(GRID)


def test_rollout_equals_a_loop(net: TokenNet, x: Tensor) -> None:
    maps = cfcam.explain(net, x, "attention-rollout", targets=[0, 3]).maps["attention-rollout"]
    for n in range(len(x)):
        for k in range(2):
            np.testing.assert_allclose(maps[n, k], rollout(net, x[n]), rtol=1e-10)


def test_legrad_equals_differences_of_each_blocks_score(net: TokenNet, x: Tensor) -> None:
    maps = cfcam.explain(net, x, "legrad", targets=torch.tensor([[1, 2], [0, 3]])).maps["legrad"]
    for n, classes in enumerate([(1, 2), (0, 3)]):
        for k, c in enumerate(classes):
            np.testing.assert_allclose(maps[n, k], legrad(net, x[n], c), rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("method", ["attention-rollout", "legrad"])
@pytest.mark.parametrize("kind", ["fused", "multi-head"])
def test_fused_attention_is_seen_too(method: str, kind: Kind, net: TokenNet, x: Tensor) -> None:
    """torch's own attention keeps its maps to itself; computed in plain form they are the same."""
    other = TokenNet(GRID, width=8, prefix=2, reads=net.reads, kind=kind).double().eval()
    other.load_state_dict(net.state_dict(), strict=False)
    for a, b in zip(net.blocks, other.blocks, strict=True):
        if kind == "multi-head":
            b.attn.multi.load_state_dict(
                {
                    "in_proj_weight": a.attn.qkv.weight,
                    "in_proj_bias": a.attn.qkv.bias,
                    "out_proj.weight": a.attn.proj.weight,
                    "out_proj.bias": a.attn.proj.bias,
                }
            )
    other.requires_grad_(False)  # without gradients torch may take a path of its own
    state = snapshot(other)
    torch.testing.assert_close(
        cfcam.explain(other, x, method, targets=[0, 3]).maps[method],
        cfcam.explain(net, x, method, targets=[0, 3]).maps[method],
    )
    assert snapshot(other) == state


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_rollout_of_the_attentions_that_transformers_returns(implementation: str) -> None:
    import transformers

    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=16, image_size=(32, 48)
    )
    config._attn_implementation = "eager"
    model = transformers.ViTForImageClassification(config).double().eval()
    x = torch.randn(2, 3, 32, 48, dtype=torch.float64)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
        attentions = model(x, output_attentions=True).attentions
    expected = torch.eye(7, dtype=torch.float64)
    for layer in attentions:
        expected = (layer.mean(1) + torch.eye(7)) / 2 @ expected
    model.set_attn_implementation(implementation)
    maps = cfcam.explain(model, x, "attention-rollout").maps["attention-rollout"]
    # Eager attention takes its softmax in float32, whatever the model's type.
    torch.testing.assert_close(maps[:, 0], expected[:, 0, 1:].unflatten(1, (2, 3)), rtol=1e-5, atol=1e-7)


def test_a_block_that_attends_twice_has_no_legrad(x: Tensor) -> None:
    class Twice(TokenNet):
        def __init__(self) -> None:
            super().__init__(GRID, depth=2)
            self.blocks = nn.Sequential(nn.Sequential(*self.blocks), Block(16, 2, "plain"))

    net = Twice().double().eval()
    assert cfcam.explain(net, x, "attention-rollout").maps["attention-rollout"].shape == (2, 1, *GRID)
    with pytest.raises(MethodError, match=r"one attention each, .* blocks.0.0.attn, .* use attention-rollout"):
        cfcam.explain(net, x, "legrad")


@pytest.mark.parametrize("method", ["attention-rollout", "legrad"])
def test_attention_within_windows_is_refused(method: str) -> None:
    import transformers

    settings = {"embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "image_size": 32, "window_size": 4}
    model = transformers.SwinForImageClassification(transformers.SwinConfig(num_labels=3, **settings)).eval()
    with pytest.raises(MethodError, match=r"attends within windows.* use grad-cam"):
        cfcam.explain(model, torch.randn(1, 3, 32, 32), method)


def test_a_layer_of_other_tokens_is_refused(net: TokenNet, x: Tensor) -> None:
    with pytest.raises(MethodError, match="maps 8 tokens, and layer 'patch' has 3 x 2: name a layer of the tokens"):
        cfcam.explain(net, x, "attention-rollout", layer="patch")


def test_a_backbone_under_no_grad(net: TokenNet, x: Tensor) -> None:
    class Frozen(TokenNet):
        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                return super().forward(x)

    frozen = Frozen(GRID, width=8, prefix=2, reads=net.reads).double().eval()
    frozen.load_state_dict(net.state_dict())
    for method in ("attention-rollout", "legrad"):
        maps = [cfcam.explain(n, x, method, targets=1, layer="norm").maps[method] for n in (frozen, net)]
        torch.testing.assert_close(*maps)
