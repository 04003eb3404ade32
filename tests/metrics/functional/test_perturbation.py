from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cfcam.errors import InputError
from cfcam.metrics.functional.perturbation import (
    baseline_image,
    has_evidence,
    masked_input,
    masked_probability,
    noisy_linear_imputation,
    perturbation_curve,
    rank_positions,
)

SIZES = {1: (24,), 2: (9, 14), 3: (5, 6, 7)}


def mean_score(inputs: Tensor, images: Tensor) -> Tensor:
    """A network that is linear in its pixels: the mean of its input."""
    return inputs.flatten(1).mean(1)


# --- baselines ---


def test_noise_has_the_mean_and_deviation_of_each_channel_and_is_the_images_own() -> None:
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 5, 9])[:, None, None]
    x = x + torch.tensor([3.0, 0, -7])[:, None, None]
    noise = baseline_image(x, "noise")
    assert (noise.mean((2, 3)) - x.mean((2, 3))).abs().max() < 0.05 * 9
    torch.testing.assert_close(noise.std((2, 3)), x.std((2, 3)), rtol=0.05, atol=0)
    assert torch.equal(baseline_image(x[1:], "noise"), noise[1:])  # whatever images stand beside it
    assert not torch.equal(baseline_image(x, "noise", seed=1), noise)
    flat = torch.full((1, 1, 4, 4), 2.0)
    assert torch.equal(baseline_image(flat, "noise"), flat)


def test_black_is_the_value_of_a_black_pixel_in_each_channel() -> None:
    x = torch.randn(2, 3, 4, 5)
    assert (baseline_image(x, "black") == 0).all()
    black = baseline_image(x, "black", torch.tensor([-2.0, -1.0, -3.0]))
    assert black.shape == x.shape
    assert (black.mean((0, 2, 3)) == torch.tensor([-2.0, -1.0, -3.0])).all()


def test_mean_is_that_of_each_image_and_channel() -> None:
    x = torch.randn(2, 3, 4, 5, 6)
    mean = baseline_image(x, "mean")
    torch.testing.assert_close(mean[1, 2], torch.full((4, 5, 6), float(x[1, 2].mean())))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_blur_is_a_gaussian_of_a_sixteenth_of_each_axis_with_normalised_borders(dims: int) -> None:
    size = (24, 16, 8)[:dims]
    x = torch.rand(1, 2, *size, dtype=torch.float64).numpy()
    grid = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1)
    expected = np.empty_like(x)
    for place in np.ndindex(*size):
        weight = np.exp(-(((grid - place) / (np.array(size) / 16)) ** 2).sum(-1) / 2)
        expected[(slice(None), slice(None), *place)] = (weight * x).reshape(1, 2, -1).sum(2) / weight.sum()
    np.testing.assert_allclose(baseline_image(torch.from_numpy(x), "blur").numpy(), expected, atol=1e-12)


def test_a_baseline_that_does_not_exist_is_refused() -> None:
    x = torch.zeros(1, 3, 4, 4)
    with pytest.raises(InputError, match=r"'grey'.*'blur'"):
        baseline_image(x, "grey")
    with pytest.raises(InputError, match=r"\(2,\).*3 channels"):
        baseline_image(x, "black", torch.zeros(2))


# --- order ---


def test_positions_come_from_the_most_to_the_least_important() -> None:
    heatmap = torch.rand(3, 6, 7)
    order = rank_positions(heatmap)
    np.testing.assert_array_equal(order.numpy(), np.argsort(-heatmap.flatten(1).numpy(), axis=1))


def test_ties_are_scattered_not_contiguous() -> None:
    """A constant map, and the zeros of a rectified one, have no order: any prefix must cover the image evenly."""
    heatmap = torch.zeros(40, 40)
    heatmap[:10] = 1 + torch.arange(400.0).view(10, 40)
    for flat, first in ((torch.ones(1, 40, 40), 0), (heatmap[None], 400)):
        tied = rank_positions(flat)[0, first:]
        quarter = tied[: len(tied) // 4]
        neighbours = (quarter[1:] - quarter[:-1]).abs() == 1
        assert neighbours.float().mean() < 0.02
        rows = (quarter // 40).bincount(minlength=40)[10:]
        assert rows.min() >= 1
        assert rows.max() < 25


def test_a_negative_zero_ties_with_a_positive_one() -> None:
    zeros = torch.zeros(1, 50)
    signed = torch.where(torch.arange(50) % 2 == 0, -zeros, zeros)
    assert (rank_positions(signed) == rank_positions(zeros)).all()


def test_the_order_is_deterministic_and_leaves_the_global_random_state_alone() -> None:
    heatmap = (torch.rand(4, 8, 8) * 3).round()  # many ties
    state = torch.get_rng_state()
    order = rank_positions(heatmap, seed=1)
    assert (torch.get_rng_state() == state).all()
    assert (order == rank_positions(heatmap, seed=1)).all()
    assert (order != rank_positions(heatmap, seed=2)).any()
    for i in range(4):
        assert (rank_positions(heatmap[i : i + 1], seed=1)[0] == order[i]).all()


# --- curves ---


def curve_oracle(x: np.ndarray, b: np.ndarray, h: np.ndarray, w: np.ndarray, steps: int, deletion: bool) -> list[float]:
    """The curve of a linear network with weights ``w`` for one image, pixel by pixel; ``h`` has no ties."""
    positions = list(np.ndindex(*h.shape))
    positions.sort(key=lambda p: -h[p])
    curve = []
    for step in range(steps + 1):
        image = (x if deletion else b).copy()
        for p in positions[: round(step * len(positions) / steps)]:
            image[(slice(None), *p)] = (b if deletion else x)[(slice(None), *p)]
        curve.append(float((w * image).sum()))
    return curve


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("mode", ["deletion", "insertion"])
def test_curves_equal_the_loop_written_out(dims: int, mode: str) -> None:
    size, steps = SIZES[dims], 8
    x, baseline, w = (torch.randn(3, 2, *size, dtype=torch.float64) for _ in range(3))
    heatmap = torch.rand(3, *size)

    def score(inputs: Tensor, images: Tensor) -> Tensor:
        return (w[images] * inputs).flatten(1).sum(1)  # each image of the batch has its own class

    curves = perturbation_curve(
        score,
        x,
        heatmap,
        baseline=baseline,
        mode=mode,
        steps=steps,
        batch_size=5,
    )
    for i in range(3):
        expected = curve_oracle(*(t[i].numpy() for t in (x, baseline, heatmap, w)), steps, mode == "deletion")
        np.testing.assert_allclose(curves[i], expected, atol=1e-10)


def test_a_map_without_order_gives_the_diagonal_on_a_network_linear_in_pixels() -> None:
    x = torch.full((1, 1, 20, 20), 0.8)
    for heatmap in (torch.rand(1, 20, 20), torch.ones(1, 20, 20)):
        for mode, expected in (("deletion", torch.linspace(0.8, 0, 11)), ("insertion", torch.linspace(0, 0.8, 11))):
            curve = perturbation_curve(
                mean_score,
                x,
                heatmap,
                baseline=torch.zeros_like(x),
                mode=mode,
                steps=10,
            )
            torch.testing.assert_close(curve[0], expected)


def test_a_random_maps_insertion_and_deletion_agree_on_a_network_linear_in_pixels() -> None:
    x = torch.rand(8, 3, 48, 48)
    heatmap, baseline = torch.rand(8, 48, 48), torch.zeros_like(x)
    deletion, insertion = (
        perturbation_curve(mean_score, x, heatmap, baseline=baseline, mode=mode, steps=24).mean(1)
        for mode in ("deletion", "insertion")
    )
    torch.testing.assert_close(deletion, insertion, atol=0.01, rtol=0)


def test_what_is_deleted_and_what_is_inserted_add_up_on_a_linear_network() -> None:
    x, baseline, heatmap = torch.rand(2, 3, 9, 9), torch.rand(2, 3, 9, 9), torch.rand(2, 9, 9)
    deletion = perturbation_curve(mean_score, x, heatmap, baseline=baseline, steps=7)
    insertion = perturbation_curve(mean_score, x, heatmap, baseline=baseline, mode="insertion", steps=7)
    both = x.flatten(1).mean(1) + baseline.flatten(1).mean(1)
    torch.testing.assert_close(deletion + insertion, both[:, None].expand(2, 8))


def test_a_volume_of_depth_one_is_an_image() -> None:
    x, heatmap = torch.rand(2, 3, 8, 9), torch.rand(2, 8, 9).round(decimals=1)
    for kind in ("black", "mean", "blur"):
        flat = perturbation_curve(mean_score, x, heatmap, baseline=baseline_image(x, kind), steps=6)
        deep = x.unsqueeze(2)
        baseline = baseline_image(deep, kind)
        volume = perturbation_curve(mean_score, deep, heatmap.unsqueeze(1), baseline=baseline, steps=6)
        torch.testing.assert_close(volume, flat)


def test_a_batch_gives_what_its_images_give_one_by_one() -> None:
    x, heatmap = torch.rand(3, 2, 8, 8), torch.rand(3, 8, 8).round(decimals=1)
    baseline = baseline_image(x, "blur")
    whole = perturbation_curve(mean_score, x, heatmap, baseline=baseline, steps=5)
    for i in range(3):
        one = slice(i, i + 1)
        alone = perturbation_curve(mean_score, x[one], heatmap[one], baseline=baseline[one], steps=5, batch_size=1)
        assert (alone[0] == whole[i]).all()


def test_a_curve_costs_steps_plus_one_passes_in_bounded_batches_and_two_less_with_known_ends() -> None:
    sizes: list[int] = []

    def score(inputs: Tensor, images: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        sizes.append(len(inputs))
        return mean_score(inputs, images)

    x, heatmap = torch.rand(3, 1, 6, 6, requires_grad=True), torch.rand(3, 6, 6)
    heatmap[1] = 0  # not assessed, so not run
    baseline = torch.zeros_like(x)
    for mode in ("deletion", "insertion"):
        sizes.clear()
        curve = perturbation_curve(score, x, heatmap, baseline=baseline, mode=mode, steps=9, batch_size=4)
        assert (sum(sizes), max(sizes)) == (2 * 10, 4)
        sizes.clear()
        ends = torch.stack([mean_score(x.detach(), x), mean_score(baseline, x)], 1)
        known = perturbation_curve(
            score,
            x,
            heatmap,
            baseline=baseline,
            mode=mode,
            steps=9,
            ends=ends,
        )
        assert sum(sizes) == 2 * 8
        torch.testing.assert_close(known, curve, equal_nan=True)
        assert not curve.requires_grad


def test_maps_that_are_not_finite_or_empty_have_no_curve_and_no_probability() -> None:
    x, heatmap = torch.rand(4, 1, 5, 5), torch.rand(4, 5, 5)
    heatmap[0, 2, 2] = torch.nan
    heatmap[1] = 0
    heatmap[3, 0, 0] = torch.inf
    assert has_evidence(heatmap).tolist() == [False, False, True, False]
    curve = perturbation_curve(mean_score, x, heatmap, baseline=torch.zeros_like(x), steps=4)
    assert curve.isnan().all(1).tolist() == [True, True, False, True]
    assert masked_probability(mean_score, x, heatmap).isnan().tolist() == [True, True, False, True]
    nothing = perturbation_curve(mean_score, x[:2], heatmap[:2], baseline=torch.zeros_like(x[:2]), steps=4)
    assert nothing.shape == (2, 5)
    assert nothing.isnan().all()


def test_the_probability_of_a_masked_image_is_that_of_the_product() -> None:
    x, heatmap = torch.rand(3, 2, 4, 5), torch.rand(3, 4, 5)
    expected = [(x[i] * heatmap[i]).mean() for i in range(3)]
    torch.testing.assert_close(masked_probability(mean_score, x, heatmap, batch_size=2), torch.stack(expected))
    assert (masked_input(x, torch.ones(3, 4, 5)) == x).all()


def test_a_baseline_shows_where_a_map_lets_it() -> None:
    x, heatmap, baseline = torch.rand(3, 2, 4, 5), torch.rand(3, 4, 5), torch.rand(3, 2, 4, 5)
    m = heatmap[:, None]
    seen = masked_input(x, heatmap, baseline)
    torch.testing.assert_close(seen, m * x + (1 - m) * baseline)
    torch.testing.assert_close(masked_input(x, heatmap, torch.zeros_like(x)), masked_input(x, heatmap))
    assert masked_input(x, torch.ones(3, 4, 5), baseline).equal(x)
    assert masked_input(x, torch.zeros(3, 4, 5), baseline).equal(baseline)
    heatmap[1] = 0
    masked = masked_probability(mean_score, x, heatmap, baseline=baseline, batch_size=1)
    assert masked.isnan().tolist() == [False, True, False]
    torch.testing.assert_close(masked[[0, 2]], seen[[0, 2]].flatten(1).mean(1))
    for wrong in (
        lambda b: masked_input(x, heatmap, b),
        lambda b: masked_probability(mean_score, x, heatmap, baseline=b),
    ):
        with pytest.raises(InputError, match="see baseline_image"):
            wrong(baseline[:1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heatmap": torch.ones(2, 3, 3)}, r"\(2, 3, 3\).*\(2, 4, 4\)"),
        ({"baseline": torch.zeros(1, 1, 4, 4)}, r"baseline is \(1, 1, 4, 4\)"),
        ({"steps": 0}, "0 steps"),
        ({"steps": 17}, "17 steps.*16 positions"),
        ({"mode": "removal"}, "'removal'"),
        ({"score": lambda inputs, images: inputs}, "score function returned"),
    ],
)
def test_wrong_arguments_of_a_curve_are_refused(change: dict[str, object], message: str) -> None:
    x = torch.zeros(2, 1, 4, 4)
    arguments = {"score": mean_score, "x": x, "heatmap": torch.ones(2, 4, 4), "baseline": x, "steps": 4} | change
    with pytest.raises(InputError, match=message):
        perturbation_curve(**arguments)


# --- noisy linear imputation ---


def imputation_oracle(x: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """The linear system of ROAD, solved directly, for one image (C, *spatial)."""
    from scipy.sparse import coo_matrix, diags
    from scipy.sparse.linalg import spsolve

    number = np.arange(keep.size).reshape(keep.shape)
    pixels, neighbours, weights = [], [], []
    for offset in itertools.product((-1, 0, 1), repeat=keep.ndim):
        if any(offset):
            here = tuple(slice(max(0, -o), s - max(0, o)) for o, s in zip(offset, keep.shape, strict=True))
            there = tuple(slice(max(0, o), s - max(0, -o)) for o, s in zip(offset, keep.shape, strict=True))
            pixels.append(number[here].ravel())
            neighbours.append(number[there].ravel())
            # Two dimensions: 1/6 and 1/12. The common factor does not matter, only 1 : 1/2 (: 1/4).
            weights.append(np.full(pixels[-1].size, 0.5 ** sum(map(abs, offset))))
    links = coo_matrix((np.hstack(weights), (np.hstack(pixels), np.hstack(neighbours))), 2 * [keep.size]).tocsr()
    system = (diags(np.asarray(links.sum(1)).ravel()) - links).tocsr()[~keep.ravel()]
    flat = np.where(keep, x, 0).reshape(len(x), -1)
    solution = spsolve(system[:, ~keep.ravel()].tocsc(), -system @ flat.T)
    flat[:, ~keep.ravel()] = solution.reshape(-1, len(x)).T
    return flat.reshape(x.shape)


def removals(size: tuple[int, ...]) -> dict[str, Tensor]:
    """Masks (1, *size) of kept pixels: scattered, a hole, all but a hole, all but one pixel, stripes."""
    axes = [torch.linspace(-1, 1, s) if s > 1 else torch.zeros(1) for s in size]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(0).sqrt()
    one = torch.zeros(size, dtype=torch.bool)
    one.view(-1)[one.numel() // 3] = True
    stripes = torch.zeros(size, dtype=torch.bool)
    stripes[::3] = True
    noise = torch.rand(size, generator=torch.Generator().manual_seed(0))
    masks = {
        "scattered": noise >= 0.9 * noise.max(),
        "hole": grid > 0.8,
        "rest": grid < 0.6,
        "pixel": one,
        "stripes": stripes,
    }
    return {name: mask.unsqueeze(0) for name, mask in masks.items()}


@pytest.mark.parametrize("size", [(40,), (33, 20), (7, 9, 10), (1, 17), (16, 1, 5)])
def test_imputation_solves_the_published_system(size: tuple[int, ...]) -> None:
    x = torch.rand(1, 3, *size)
    for name, keep in removals(size).items():
        expected = imputation_oracle(x[0].double().numpy(), keep[0].numpy())
        imputed = noisy_linear_imputation(x, keep, noise=0.0)[0].numpy()
        assert np.abs(imputed - expected).max() <= 1e-3, name


def test_imputation_at_the_size_of_a_real_input_with_nine_tenths_removed() -> None:
    place = torch.linspace(0, 1, 224)
    waves = torch.stack([(7 * place[:, None] + k * place).sin() for k in (3.0, 11.0, 23.0)])
    x = waves + 0.3 * torch.randn(3, 224, 224)
    span = float(x.max() - x.min())
    distance = (place[:, None] - 0.4).square() + (place - 0.55).square()
    keep = distance > distance.flatten().quantile(0.9)
    for mask in (keep, ~keep):
        expected = imputation_oracle(x.double().numpy(), mask.numpy())
        imputed = noisy_linear_imputation(x[None], mask[None], noise=0.0)[0].numpy()
        assert np.abs(imputed - expected).max() <= 1e-3 * span


def test_a_long_signal_is_imputed_as_precisely_as_a_short_one() -> None:
    x = torch.rand(1, 2, 6000).cumsum(2)
    keep = torch.zeros(1, 6000, dtype=torch.bool)
    keep[:, [0, 1700, -1]] = True
    expected = imputation_oracle(x[0].double().numpy(), keep[0].numpy())
    imputed = noisy_linear_imputation(x, keep, noise=0.0)[0].numpy()
    assert np.abs(imputed - expected).max() <= 1e-3 * float(x.max() - x.min())


def test_an_image_that_is_not_finite_spoils_no_other() -> None:
    x, keep = torch.rand(2, 1, 20, 20), removals((20, 20))["hole"].expand(2, -1, -1)
    x[0, 0, 0, 0] = torch.nan
    imputed = noisy_linear_imputation(x, keep)
    assert imputed[0].isnan().any()
    torch.testing.assert_close(imputed[1], noisy_linear_imputation(x[1:], keep[1:])[0])


def test_what_does_not_converge_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cfcam.metrics.functional.imputation._ITERATIONS", 1)
    with pytest.raises(InputError, match="did not settle in 1 steps"):
        noisy_linear_imputation(torch.rand(1, 1, 20, 20), removals((20, 20))["hole"])


@pytest.mark.data
def test_imputation_of_a_real_picture(data: Path) -> None:
    from PIL import Image

    file = min((data / "imagenet-val-boxes" / "images").iterdir())
    pixels = np.asarray(Image.open(file).convert("RGB").resize((160, 120)), dtype=np.float64).transpose(2, 0, 1) / 255
    keep = np.hypot(*np.mgrid[-1:1:120j, -1:1:160j]) > 0.9
    imputed = noisy_linear_imputation(torch.from_numpy(pixels)[None], torch.from_numpy(keep)[None], noise=0.0)
    np.testing.assert_allclose(imputed[0].numpy(), imputation_oracle(pixels, keep), atol=1e-3)


def test_imputation_equals_quantus() -> None:
    quantus = pytest.importorskip("quantus.functions.perturb_func")
    x = torch.rand(1, 3, 18, 15)
    for keep in removals((18, 15)).values():
        removed = np.flatnonzero(~keep.numpy())
        expected = quantus.noisy_linear_imputation(x[0].double().numpy(), removed, noise=0.0)
        torch.testing.assert_close(
            noisy_linear_imputation(x, keep, noise=0.0)[0].double(), torch.from_numpy(expected), atol=1e-3, rtol=0
        )


def test_in_one_dimension_imputation_is_linear_interpolation() -> None:
    x = torch.tensor([[[5.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]]])
    keep = torch.tensor([[True, False, False, False, True, False, False]])
    imputed = noisy_linear_imputation(x, keep, noise=0.0)
    torch.testing.assert_close(imputed, torch.tensor([[[5.0, 4.0, 3.0, 2.0, 1.0, 1.0, 1.0]]]), atol=1e-3, rtol=0)


def test_a_slope_inside_a_hole_is_restored() -> None:
    """Linear functions solve the system, so the hole in a slope cannot be seen afterwards."""
    slope = (torch.arange(20.0)[:, None] + 2 * torch.arange(30.0))[None, None]
    keep = torch.ones(1, 20, 30, dtype=torch.bool)
    keep[:, 3:17, 4:26] = False
    torch.testing.assert_close(noisy_linear_imputation(slope, keep, noise=0.0), slope, atol=0.07, rtol=0)


def test_a_volume_of_depth_one_is_imputed_as_an_image() -> None:
    x = torch.rand(1, 2, 12, 13)
    for keep in removals((12, 13)).values():
        flat = noisy_linear_imputation(x, keep)
        deep = noisy_linear_imputation(x.unsqueeze(3), keep.unsqueeze(2))
        torch.testing.assert_close(deep.squeeze(3), flat, atol=1e-3, rtol=0)


def test_a_batch_is_imputed_as_its_images_one_by_one() -> None:
    """Also where the others need more steps, or none, or have another range."""
    x = torch.rand(4, 2, 40, 40) * torch.tensor([1.0, 100.0, 1e-3, 1.0]).view(4, 1, 1, 1)
    masks = removals((40, 40))
    keep = torch.cat([masks["scattered"], masks["hole"], masks["pixel"], torch.ones_like(masks["hole"])])
    whole = noisy_linear_imputation(x, keep, noise=0.0)
    for i in range(4):
        alone = noisy_linear_imputation(x[i : i + 1], keep[i : i + 1], noise=0.0)[0]
        torch.testing.assert_close(whole[i], alone, atol=1e-6 * float(x[i].max()), rtol=0)


def test_kept_pixels_stay_and_the_noise_is_gaussian_seeded_and_the_same_for_every_image() -> None:
    x = torch.zeros(2, 3, 64, 64)
    keep = torch.rand(1, 64, 64).expand(2, -1, -1) > 0.9
    state = torch.get_rng_state()
    imputed = noisy_linear_imputation(x, keep, noise=0.01, seed=3)
    assert (torch.get_rng_state() == state).all()
    removed = imputed.movedim(1, -1)[~keep]
    assert (imputed.movedim(1, -1)[keep] == 0).all()
    assert abs(float(removed.std()) - 0.01) < 2e-4
    assert abs(float(removed.mean())) < 2e-4
    assert (imputed[0] == imputed[1]).all()
    assert (imputed == noisy_linear_imputation(x, keep, noise=0.01, seed=3)).all()
    assert (imputed != noisy_linear_imputation(x, keep, noise=0.01, seed=4)).any()


def test_removed_values_do_not_leak_and_one_colour_stays_one_colour() -> None:
    x = torch.full((1, 1, 20, 20), 7.25)
    keep = removals((20, 20))["rest"]
    spoiled = torch.where(keep.unsqueeze(1), x, torch.nan)
    assert (noisy_linear_imputation(spoiled, keep, noise=0.0) - 7.25).abs().max() < 1e-4


def test_nothing_removed_is_nothing_changed() -> None:
    x = torch.rand(2, 1, 5, 6)
    assert (noisy_linear_imputation(x, torch.ones(2, 5, 6, dtype=torch.bool)) == x).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_imputation_keeps_the_type(dtype: torch.dtype) -> None:
    x, keep = torch.rand(1, 1, 16, 16).to(dtype), removals((16, 16))["hole"]
    imputed = noisy_linear_imputation(x, keep, noise=0.0)
    assert imputed.dtype == dtype
    expected = noisy_linear_imputation(x.double(), keep, noise=0.0)
    torch.testing.assert_close(imputed.double(), expected, atol=5e-3, rtol=0)


def test_imputation_refuses_what_it_cannot_solve() -> None:
    x = torch.zeros(2, 1, 4, 4)
    nothing = torch.ones(2, 4, 4, dtype=torch.bool)
    nothing[1] = False
    with pytest.raises(InputError, match="keeps no pixel"):
        noisy_linear_imputation(x, nothing)
    with pytest.raises(InputError, match=r"torch.float32.*\(2, 4, 4\)"):
        noisy_linear_imputation(x, torch.ones(2, 4, 4))
    with pytest.raises(InputError, match=r"\(2, 4, 4\)"):
        noisy_linear_imputation(x, nothing[:1])
