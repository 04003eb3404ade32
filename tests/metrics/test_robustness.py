"""Perturbations are what they say, and maps under them are compared where the question makes sense."""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import cfcam
from cfcam.capture import Capture, Network
from cfcam.errors import InputError
from cfcam.methods import FinerCAM, Fusion, GradCAM, Occlusion
from cfcam.metrics import Sample
from cfcam.metrics.functional.perturbation import image_seeds
from cfcam.metrics.functional.robustness import (
    add_noise,
    jpeg,
    max_sensitivity,
    max_sensitivity_inputs,
    noisy_gradients,
    responsiveness,
    shift,
    stability,
    unshift,
    window,
)
from cfcam.metrics.functional.similarity import soft_iou
from cfcam.metrics.robustness import MaxSensitivity, Responsiveness, Stability
from tests.networks import FlattenNet

TRUE = torch.tensor([True])


def images(n: int, *size: int, seed: int = 0) -> Tensor:
    """Returns random images that do not depend on the global random state."""
    return torch.randn(n, *size, generator=torch.Generator().manual_seed(seed))


def peaks(n: int, *size: int, seed: int = 0) -> Tensor:
    return images(n, *size, seed=seed).abs()


# --- perturbations of the input -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(3, 64, 64), (1, 24, 24, 24)])
def test_noise_has_the_level_of_each_image(size: tuple[int, ...]) -> None:
    x = images(2, *size) * torch.tensor([1.0, 50.0]).reshape(2, *[1] * len(size)) + 7
    noise = add_noise(x, 0.2) - x
    for n in range(2):
        assert float(noise[n].std()) == pytest.approx(0.2 * float(x[n].std()), rel=0.03)
        assert abs(float(noise[n].mean())) < 0.02 * float(x[n].std())
    own = (noise[0] / x[0].std()).flatten(), (noise[1] / x[1].std()).flatten()
    assert abs(float(torch.corrcoef(torch.stack(own))[0, 1])) < 0.05


RANDOM: list[Callable[[Tensor, int], Tensor]] = [
    lambda x, seed: add_noise(x, 0.3, seed=seed),
    lambda x, seed: torch.stack(list(max_sensitivity_inputs(x, 0.1, 3, seed=seed)), 1),
    lambda x, seed: noisy_gradients(x.unsqueeze(1), seed=image_seeds(x, seed)),
]


@pytest.mark.parametrize("perturb", RANDOM)
@pytest.mark.parametrize("size", [(3, 9, 7), (2, 5, 4, 6)])
def test_random_perturbations_depend_on_seed_and_image_only(perturb, size: tuple[int, ...]) -> None:
    x = images(4, *size)
    together = perturb(x, 0)
    assert torch.equal(together, perturb(x, 0))
    assert torch.equal(together.flip(0), perturb(x.flip(0), 0))
    assert torch.equal(together, torch.cat([perturb(x[n : n + 1], 0) for n in range(4)]))
    assert not torch.isclose(together, perturb(x, 1)).any(1).all()


@pytest.mark.parametrize("perturb", RANDOM)
def test_the_global_random_state_is_left_alone(perturb) -> None:
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    perturb(images(2, 3, 5, 5), 0)
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(numpy_before, np.random.get_state()[1])  # noqa: NPY002


def test_seeds_are_of_the_content() -> None:
    x = images(2, 3, 4, 4)
    same, other = image_seeds(x)
    assert same != other
    assert image_seeds(torch.cat([x[1:], x[:1]])) == [other, same]
    assert image_seeds(x, 5) != image_seeds(x)


@pytest.mark.parametrize(
    ("size", "pixels"), [((5, 7), (2, -3)), ((5, 7), (0, 0)), ((4, 5, 6), (1, -2, 3)), ((6,), (4,))]
)
def test_shift_equals_a_loop_and_unshift_undoes_it(size: tuple[int, ...], pixels: tuple[int, ...]) -> None:
    x = images(2, 3, *size)
    expected = np.empty(x.shape, dtype=np.float32)
    for place in np.ndindex(*size):
        source = tuple(int(np.clip(p - d, 0, s - 1)) for p, d, s in zip(place, pixels, size, strict=True))
        expected[(..., *place)] = x.numpy()[(..., *source)]
    moved = shift(x, pixels)
    np.testing.assert_array_equal(moved.numpy(), expected)
    back = unshift(moved[:, 0], pixels)
    inside = torch.ones(size, dtype=torch.bool)
    for place in np.ndindex(*size):
        inside[place] = all(0 <= p + d < s for p, d, s in zip(place, pixels, size, strict=True))
    assert torch.equal(~back.isnan(), inside.expand_as(back))
    assert torch.equal(back[:, inside], x[:, 0][:, inside])


@pytest.mark.parametrize("similarity", ["soft_iou", "pearson", "ssim"])
@pytest.mark.parametrize("size", [(20, 16), (12, 10, 14)])
def test_a_map_that_moves_with_the_image_is_stable(similarity: str, size: tuple[int, ...]) -> None:
    x = peaks(3, 1, *size)
    pixels = [2, -1, 3][: len(size)]
    moved = unshift(shift(x, pixels)[:, 0], pixels)
    unchanged = torch.ones(3, dtype=torch.bool)
    torch.testing.assert_close(stability(x[:, 0], moved, unchanged, similarity), torch.ones(3), atol=1e-5, rtol=0)
    stays = unshift(x[:, 0], pixels)
    assert bool((stability(x[:, 0], stays, unchanged, similarity) < 0.8).all())


def test_beyond_the_common_region_nothing_counts_and_a_broken_map_stays_broken() -> None:
    original, perturbed = torch.rand(3, 6, 6, generator=torch.Generator()), torch.full((3, 6, 6), torch.nan)
    perturbed[:2, 1:, 2:] = original[:2, 1:, 2:]
    perturbed[1, 3, 3] = torch.nan
    original[0, 0, 0] = 1e6  # outside: must not set the scale of what is compared
    unchanged = torch.ones(3, dtype=torch.bool)
    value = stability(original, perturbed, unchanged)
    assert float(value[0]) == pytest.approx(1)
    assert value.isnan().tolist() == [False, True, True]
    alone = torch.cat([stability(original[n : n + 1], perturbed[n : n + 1], TRUE) for n in range(3)])
    torch.testing.assert_close(value, alone, equal_nan=True)
    moved = responsiveness(original, perturbed, unchanged)
    assert float(moved[0]) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_equals_pillow(channels: int) -> None:
    from PIL import Image

    x = images(2, channels, 24, 17) * 3 - 1
    compressed = jpeg(x, 30)
    for n in range(2):
        image = x[n].numpy().astype(np.float64)
        pixels = np.round((image - image.min()) / (image.max() - image.min()) * 255).astype(np.uint8)
        picture = Image.fromarray(pixels[0] if channels == 1 else pixels.transpose(1, 2, 0))
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=30)
        decoded = np.asarray(Image.open(file), dtype=np.float64).reshape(24, 17, channels).transpose(2, 0, 1)
        expected = decoded / 255 * (image.max() - image.min()) + image.min()
        np.testing.assert_allclose(compressed[n].numpy(), expected, atol=1e-5)
    assert float((jpeg(x, 95) - x).abs().mean()) < 0.9 * float((compressed - x).abs().mean())
    assert torch.equal(compressed, torch.cat([jpeg(x[:1], 30), jpeg(x[1:], 30)]))


def test_jpeg_leaves_what_has_no_range() -> None:
    x = images(3, 1, 8, 8)
    x[0], x[1, 0, 2, 2] = 4, torch.nan
    assert torch.equal(jpeg(x, 30)[0], x[0])
    torch.testing.assert_close(jpeg(x, 30)[1], x[1], equal_nan=True, rtol=0, atol=0)
    assert bool(jpeg(x, 30)[2].isfinite().all())


def test_window_by_hand() -> None:
    x = torch.tensor([[[[10.0, 11.0], [15.5, 20.0]]], [[[0.0, 0.5], [0.1, 1.0]]]])
    expected = torch.tensor([[[[10.0, 10.0], [15.0, 20.0]]], [[[0.0, 0.4444], [0.0, 1.0]]]])
    torch.testing.assert_close(window(x, 0.9, 0.05), expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(window(x, 1.0, 0.0), x)
    wide = window(x, 2.0, 0.0)  # all of the range in the middle half of the window
    torch.testing.assert_close(wide, x * 0.5 + torch.tensor([7.5, 0.25]).reshape(2, 1, 1, 1))
    flat = torch.full((1, 2, 3, 3), 4.0)
    assert torch.equal(window(flat), flat)


@pytest.mark.parametrize(
    "call",
    [
        lambda: add_noise(images(1, 1, 4, 4), -1),
        lambda: shift(images(1, 1, 4, 4), (1, 2, 3)),
        lambda: shift(images(1, 1, 4, 4), 4),
        lambda: unshift(images(1, 4, 4), (1,)),
        lambda: jpeg(images(1, 2, 4, 4), 30),
        lambda: jpeg(images(1, 1, 4, 4, 4), 30),
        lambda: jpeg(images(1, 1, 4, 4), 0),
        lambda: window(images(1, 1, 4, 4), 0.0),
        lambda: max_sensitivity_inputs(images(1, 1, 4, 4), -0.1, 1),
        lambda: noisy_gradients(images(3, 2, 1, 4, 4), seed=[1, 2]),
        lambda: noisy_gradients(images(3, 2, 1, 4, 4), -3),
        lambda: stability(peaks(2, 4), peaks(2, 5), torch.tensor([True, True])),
        lambda: stability(peaks(2, 4), peaks(2, 4), torch.tensor([1, 1])),
        lambda: responsiveness(peaks(2, 4), peaks(2, 4), TRUE),
        lambda: max_sensitivity(peaks(2, 4), peaks(2, 4)),
        lambda: max_sensitivity(peaks(2, 4), peaks(3, 1, 4)),
    ],
)
def test_bad_arguments_are_one_line(call: Callable[[], object]) -> None:
    with pytest.raises(InputError) as error:
        call()
    assert "\n" not in str(error.value)


# --- noise on the gradients ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(40, 12, 12), (20, 8, 8, 8)])
def test_gradient_noise_has_the_level_of_each_image_and_target(size: tuple[int, ...]) -> None:
    scale = torch.tensor([[1e-5, 1.0], [1e2, 3.0]]).reshape(2, 2, *[1] * len(size))
    gradients = images(2, 2, *size) * scale
    noise = noisy_gradients(gradients, 3.0) - gradients
    ratio = noise.flatten(2).std(2) / gradients.flatten(2).std(2)
    torch.testing.assert_close(ratio, torch.full((2, 2), 3.0), atol=0.1, rtol=0)
    assert torch.equal(noisy_gradients(gradients, 0.0), gradients)


def test_gradients_constant_in_space_get_noise_too() -> None:
    behind_pooling = images(1, 1, 16, 1, 1).expand(1, 1, 16, 7, 7)
    noise = noisy_gradients(behind_pooling, 3.0) - behind_pooling
    assert bool((noise.flatten(3).std(3) > 0.5 * behind_pooling.std()).all())


def test_targets_of_an_image_equal_one_at_a_time_and_images_draw_their_own() -> None:
    gradients = images(2, 3, 8, 5, 5)
    together = noisy_gradients(gradients, 2.0, seed=[4, 9])
    one_by_one = torch.cat([noisy_gradients(gradients[:, k : k + 1], 2.0, seed=[4, 9]) for k in range(3)], 1)
    assert torch.equal(together, one_by_one)
    same = noisy_gradients(gradients[:1].expand(2, -1, -1, -1, -1), 2.0, seed=[4, 9])
    assert not torch.isclose(same[0], same[1]).any(0).all()
    shared = noisy_gradients(gradients[:1].expand(2, -1, -1, -1, -1), 2.0, seed=4)
    assert torch.equal(shared[0], shared[1])


@pytest.mark.parametrize("dims", [2, 3])
def test_a_disturbed_capture_maps_other_gradients_and_leaves_the_first_alone(dims: int) -> None:
    net = FlattenNet(dims, size={2: (14, 10), 3: (6, 8, 10)}[dims]).eval()
    capture = Capture(Network(net), images(2, 3, *{2: (14, 10), 3: (6, 8, 10)}[dims]), layer="features", targets=[0, 2])
    true, own = capture.gradients.clone(), GradCAM()(capture)
    noisy = noisy_gradients(capture.gradients, 3.0, seed=1)
    other = capture.disturbed(lambda g: noisy_gradients(g, 3.0, seed=1))
    weights = noisy.flatten(3).mean(3)
    expected = torch.einsum("nkc,nc...->nk...", weights, capture.activations).clamp(min=0)
    torch.testing.assert_close(GradCAM()(other), expected, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(expected, own)
    assert torch.equal(capture.gradients, true)
    assert torch.equal(GradCAM()(capture), own)
    assert other.activations is capture.activations
    assert other.memo("key", lambda: 1) == capture.memo("key", lambda: 2)
    parts = torch.cat([GradCAM()(part) for part in other.split(limit=1)], 1)
    torch.testing.assert_close(parts, GradCAM()(other))


def test_noise_on_the_gradients_reaches_other_layers_scores_and_inputs_too() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(648, 3))
    capture = Capture(Network(net), images(2, 3, 13, 13), layer="3", targets=[0, 2])
    noisy = capture.disturbed(torch.neg)
    for name, other in (("layer", {"layer": "1"}), ("x", {"x": capture.input + 1}), ("targets", {"targets": None})):
        true = capture.again(**other).gradients
        assert true.abs().max() > 0
        assert torch.equal(noisy.again(**other).gradients, -true), name
    two = Fusion(base=GradCAM(), layers=("1", "3"))
    positive, negative = two(capture), two(noisy)
    assert not torch.allclose(positive, negative)
    card = cfcam.evaluate(
        net,
        [Sample(x, 0) for x in images(3, 3, 13, 13)],
        {"two": two, "finer": FinerCAM(), "occlusion": Occlusion()},
        ["gradient-noise-soft-iou"],
        controls=False,
        layer="3",
    )
    values = {row.method: row.values.get("gradient-noise-soft-iou", math.nan) for row in card.rows}
    assert 0 <= values["two"] < 0.99
    assert 0 <= values["finer"] < 0.99
    assert math.isnan(values["occlusion"])  # it reads no gradients


# --- what maps do -------------------------------------------------------------------------------------------------


def test_stability_and_responsiveness_ask_of_different_images() -> None:
    original = torch.tensor([[0.0, 1.0, 0.5]] * 3)
    perturbed = torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    unchanged = torch.tensor([True, False, True])
    value = stability(original, perturbed, unchanged)
    torch.testing.assert_close(value, torch.tensor([2 / 3, torch.nan, torch.nan]), equal_nan=True)
    value = responsiveness(original, perturbed, ~unchanged)
    torch.testing.assert_close(value, torch.tensor([torch.nan, 1 / 3, torch.nan]), equal_nan=True)


def test_a_constant_map_is_stable_but_does_not_respond_and_a_random_one_the_reverse() -> None:
    flags = torch.ones(4, dtype=torch.bool)
    constant = torch.full((4, 50, 50), 0.7)
    assert stability(constant, constant, flags).tolist() == [1.0] * 4
    assert responsiveness(constant, constant, flags).tolist() == [0.0] * 4
    random = torch.rand(2, 4, 50, 50, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(stability(*random, flags), torch.full((4,), 0.5), atol=0.03, rtol=0)
    torch.testing.assert_close(responsiveness(*random, flags), torch.full((4,), 0.5), atol=0.03, rtol=0)


def test_stability_takes_any_similarity() -> None:
    a, b = peaks(2, 8, 8), peaks(2, 8, 8, seed=1)
    flags = torch.tensor([True, True])
    assert torch.equal(stability(a, b, flags, soft_iou), stability(a, b, flags))
    assert torch.equal(stability(a, b, flags, lambda a, b: (a - b).flatten(1).sum(1)), (a - b).flatten(1).sum(1))


@pytest.mark.parametrize("size", [(6, 5), (3, 4, 5)])
def test_max_sensitivity_equals_a_loop(size: tuple[int, ...]) -> None:
    original, perturbed = images(4, *size), images(12, *size, seed=1).reshape(3, 4, *size)
    value = max_sensitivity(original, perturbed)
    for n in range(4):
        norms = [np.linalg.norm((perturbed[r, n] - original[n]).numpy().ravel()) for r in range(3)]
        assert float(value[n]) == pytest.approx(max(norms) / np.linalg.norm(original[n].numpy().ravel()), rel=1e-5)


def test_max_sensitivity_of_a_volume_is_that_of_double_precision() -> None:
    original, perturbed = torch.rand(2, 1, 128, 128, 128, generator=torch.Generator().manual_seed(0))
    exact = (perturbed.double() - original.double()).norm() / original.double().norm()
    assert float(max_sensitivity(original, perturbed[None])) == pytest.approx(float(exact), rel=1e-6)


def test_max_sensitivity_of_maps_that_vanish_or_break() -> None:
    original = torch.tensor([[3.0, 4.0], [3.0, 4.0], [0.0, 0.0], [3.0, torch.nan], [-1.0, 0.0]])
    perturbed = torch.tensor([[0.0, 0.0], [torch.nan, 4.0], [1.0, 0.0], [3.0, 4.0], [1.0, 0.0]])[None]
    value = max_sensitivity(original, perturbed)
    torch.testing.assert_close(value, torch.tensor([1.0, *[torch.nan] * 4]), equal_nan=True)
    assert max_sensitivity(original[:1], original[None, :1]).tolist() == [0.0]


def test_draws_fill_the_ball_evenly() -> None:
    x = images(2, 3, 40, 40)
    draws = torch.stack(list(max_sensitivity_inputs(x, 0.3, 5))) - x
    assert draws.shape == (5, 2, 3, 40, 40)
    assert 0.299 < float(draws.abs().max()) <= 0.3 + 1e-6
    assert abs(float(draws.mean())) < 0.01
    assert float(draws.var()) == pytest.approx(0.3**2 / 3, rel=0.03)
    assert abs(float(torch.corrcoef(draws.flatten(1))[0, 1])) < 0.05


class Toy(nn.Module):
    """A network whose gradient times input varies with the input."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * 6 * 6, 3)
        with torch.no_grad():
            self.linear.weight.copy_(images(3, 72, seed=2))
            self.linear.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.linear((x.flatten(1) / 3).tanh())


def toy_explanation(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(model(x).gather(1, target[:, None]).sum(), x)
    return (gradient * x).detach().abs().sum(1)


def test_max_sensitivity_equals_captums_and_quantus() -> None:
    import quantus
    from captum.metrics import sensitivity_max

    model, x, target = Toy().eval(), images(4, 2, 6, 6), torch.tensor([0, 1, 2, 1])
    inputs = torch.stack(list(max_sensitivity_inputs(x, 0.2, 5)))
    original = toy_explanation(model, x, target)
    value = max_sensitivity(original, torch.stack([toy_explanation(model, moved, target) for moved in inputs]))

    def explain(given: Tensor | tuple[Tensor, ...]) -> tuple[Tensor]:
        batch = given[0] if isinstance(given, tuple) else given
        return (toy_explanation(model, batch, target.repeat_interleave(len(batch) // 4)),)

    expected = sensitivity_max(
        explain,
        x,
        perturb_func=lambda given: inputs.transpose(0, 1).flatten(0, 1),
        n_perturb_samples=5,
    )
    torch.testing.assert_close(value, expected, atol=1e-6, rtol=1e-5)

    steps = iter(inputs.numpy())
    metric = quantus.MaxSensitivity(
        nr_samples=5,
        perturb_func=lambda arr, **_: next(steps).reshape(arr.shape),
        perturb_func_kwargs={},
        norm_numerator=quantus.norm_func.fro_norm,
        norm_denominator=quantus.norm_func.fro_norm,
        similarity_func=quantus.similarity_func.difference,
        normalise=False,
        abs=False,
        disable_warnings=True,
    )
    scores = metric(
        model=model,
        x_batch=x.numpy(),
        y_batch=target.numpy(),
        explain_func=lambda model, inputs, targets, **_: toy_explanation(
            model, torch.as_tensor(inputs), torch.as_tensor(targets)
        )[:, None].numpy(),
    )
    np.testing.assert_allclose(value.numpy(), scores, rtol=1e-5)


# --- the metrics --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("similarity", ["soft_iou", "pearson", "ssim"])
def test_metrics_average_what_was_assessed(similarity: str) -> None:
    a, b, flags = peaks(5, 12, 12), peaks(5, 12, 12, seed=1), torch.tensor([True, True, False, True, True])
    b[4] = 0
    metric = Stability(similarity)
    for part in (slice(0, 2), slice(2, 5)):
        metric.update(a[part], b[part], flags[part])
    torch.testing.assert_close(metric.compute(), stability(a, b, flags, similarity)[[0, 1, 3]].mean())
    assert (int(metric.assessed), int(metric.not_assessed)) == (3, 2)
    metric = Responsiveness()
    metric.update(a, b, ~flags)
    torch.testing.assert_close(metric.compute(), 1 - soft_iou(a, b)[2])
    metric = MaxSensitivity()
    metric.update(a, torch.stack([b, a]))
    torch.testing.assert_close(metric.compute(), ((a - b).flatten(1).norm(dim=1) / a.flatten(1).norm(dim=1)).mean())
    assert (Stability.higher_is_better, Responsiveness.higher_is_better, MaxSensitivity.higher_is_better) == (
        True,
        True,
        False,
    )
