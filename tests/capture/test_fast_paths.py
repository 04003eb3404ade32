"""What is done fast equals what is done plainly: random networks, layouts, batch sizes."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import cfcam
from cfcam.capture import Capture, Network
from cfcam.methods import CFCAM, GradCAM, GradCAMPlusPlus, ScoreCAM
from tests.contract.snapshot import snapshot
from tests.networks import FlattenNet, GapNet, redundant

SIZES = {1: (30,), 2: (14, 10), 3: (6, 8, 10)}
networks = st.builds(
    lambda dims, flat, norm, seed: (dims, flat, norm, seed),
    st.sampled_from([1, 2, 3]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 10_000),
)


def build(case: tuple[int, bool, bool, int]) -> GapNet:
    dims, flat, norm, seed = case
    torch.manual_seed(seed)
    net = FlattenNet(dims, size=SIZES[dims]) if flat else GapNet(dims, norm=norm)
    return redundant(net).double().eval()


@settings(max_examples=40)
@given(networks, st.integers(1, 5), st.sampled_from([torch.float32, torch.float64]))
def test_masked_passes_equal_plain_ones(case: tuple[int, bool, bool, int], masks: int, dtype: torch.dtype) -> None:
    """Packed kernels (float32) and the model's own (float64) are the same numbers, and the model keeps its own."""
    net = build(case).to(dtype)
    x = torch.randn(2, 3, *SIZES[case[0]], dtype=dtype)
    capture = Capture(Network(net), x, layer="features", targets=torch.tensor([[0, 3], [2, 1]]))
    other, images = torch.randn(masks, *x.shape[1:], dtype=dtype), torch.arange(masks) % 2
    strides = [p.stride() for p in net.parameters()]
    state = snapshot(net)
    found = capture.rescore(other, images)
    assert snapshot(net) == state
    assert [p.stride() for p in net.parameters()] == strides
    expected = net(other).gather(1, capture.targets.indices[images]).detach()
    rtol, atol = (1e-9, 1e-12) if dtype == torch.float64 else (1e-5, 1e-5 * float(expected.abs().max()))
    torch.testing.assert_close(found, expected, rtol=rtol, atol=atol)


@settings(max_examples=15)
@given(networks, st.integers(1, 40))
def test_the_number_of_masks_at_a_time_does_not_matter(case: tuple[int, bool, bool, int], chunk: int) -> None:
    net, x = build(case), torch.randn(2, 3, *SIZES[case[0]], dtype=torch.float64)
    methods = {"auto": ScoreCAM(), "given": ScoreCAM(batch_size=chunk)}
    maps = cfcam.explain(net, x, methods, targets=[0, 1], layer="features").maps
    torch.testing.assert_close(maps["auto"], maps["given"], rtol=1e-9, atol=1e-12)


@settings(max_examples=25)
@given(networks)
def test_the_tail_alone_gives_the_gradients_of_the_whole(case: tuple[int, bool, bool, int]) -> None:
    """A graph of the tail only, against one of the whole network through parameters and all."""
    net = build(case)
    x = torch.randn(2, 3, *SIZES[case[0]], dtype=torch.float64)
    capture = Capture(Network(net), x, layer="features", targets=[1, 2])
    kept = []
    handle = net.features.register_forward_hook(lambda module, args, output: kept.append(output))
    logits = net(x)
    handle.remove()
    for k, c in enumerate((1, 2)):
        (expected,) = torch.autograd.grad(logits[:, c].sum(), kept[0], retain_graph=True)
        torch.testing.assert_close(capture.gradients[:, k], expected)


@settings(max_examples=15)
@given(networks)
def test_methods_that_share_a_pass_equal_methods_alone(case: tuple[int, bool, bool, int]) -> None:
    net, x = build(case), torch.randn(3, 3, *SIZES[case[0]], dtype=torch.float64)
    methods = [GradCAM(), GradCAMPlusPlus(), CFCAM(), CFCAM.guided(), CFCAM.bilateral()]
    together = cfcam.explain(net, x, methods, targets="all", layer="features").maps
    for method in methods:
        alone = cfcam.explain(net, x, method, targets="all", layer="features").maps[method.label]
        assert torch.equal(together[method.label], alone)
