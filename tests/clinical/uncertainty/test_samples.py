import math
import weakref
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch

from cfcam import Status
from cfcam.clinical.uncertainty import (
    Samples,
    collect,
    mutual_information,
    predictive_entropy,
    summarise,
    to_uncertainty,
)
from cfcam.clinical.uncertainty import samples as uncertainty_samples
from cfcam.errors import InputError

OK, EMPTY, BROKEN = Status.OK, Status.NO_POSITIVE_EVIDENCE, Status.NOT_FINITE


def make(maps, probabilities=None, statuses=None, targets=None, source="ensemble", **kwargs):
    if statuses is None:
        statuses = np.full(tuple(maps.shape[:3]), OK, dtype=object)
    if targets is None:
        targets = torch.arange(maps.shape[2]).expand(maps.shape[1], -1)
    return Samples(maps, probabilities, statuses, targets, source, "grad-cam", **kwargs)


def parts_of(samples, *sizes):
    starts = np.cumsum([0, *sizes])
    for a, b in pairwise(starts.tolist()):
        yield make(
            samples.heatmaps[a:b],
            None if samples.probabilities is None else samples.probabilities[a:b],
            samples.statuses[a:b],
            samples.targets,
            multilabel=samples.multilabel,
        )


def soft_iou(a, b):
    a, b = a / a.max(), b / b.max()
    return np.minimum(a, b).sum() / np.maximum(a, b).sum()


@pytest.mark.parametrize("spatial", [(6, 5), (3, 4, 5)])
def test_mean_sd_inclusion_and_agreement_are_those_of_numpy(spatial):
    rng = np.random.default_rng(0)
    maps = rng.random((7, 3, 2, *spatial))
    samples = make(torch.from_numpy(maps))
    for given in (samples, parts_of(samples, 1, 4, 2)):
        found = summarise(given, 0.6)
        assert found.samples == 7
        assert found.mean.dtype == torch.float64
        np.testing.assert_allclose(found.mean, maps.mean(0), atol=1e-14)
        np.testing.assert_allclose(found.sd, maps.std(0), atol=1e-14)
        np.testing.assert_allclose(found.inclusion, (maps >= 0.6).mean(0))
        for n in range(3):
            for k in range(2):
                pairs = [soft_iou(maps[i, n, k], maps[j, n, k]) for i, j in combinations(range(7), 2)]
                assert float(found.agreement[n, k]) == pytest.approx(np.mean(pairs))


def test_a_volume_of_depth_one_is_its_slice():
    maps = torch.rand(4, 1, 1, 6, 5)
    flat, deep = summarise(make(maps)), summarise(make(maps[:, :, :, None]))
    for name in ("mean", "sd", "inclusion"):
        assert torch.equal(getattr(flat, name), getattr(deep, name)[:, :, 0])
    assert torch.equal(flat.agreement, deep.agreement)


def test_two_disjoint_masks_are_included_in_half_of_the_samples_and_do_not_agree():
    maps = torch.zeros(2, 1, 1, 4, 4)
    maps[0, ..., :2, :], maps[1, ..., 2:, :] = 1, 1
    found = summarise(make(maps))
    assert torch.equal(found.inclusion, torch.full((1, 1, 4, 4), 0.5))
    assert torch.equal(found.sd, torch.full((1, 1, 4, 4), 0.5))
    assert float(found.agreement) == 0


def test_equal_samples_have_no_spread_at_all():
    maps = torch.rand(1, 2, 2, 5, 5).expand(9, -1, -1, -1, -1)
    proba = torch.tensor([[0.1, 0.7, 0.2], [1 / 3, 1 / 3, 1 / 3]]).expand(9, -1, -1)
    found = summarise(make(maps, proba))
    assert torch.equal(found.mean, maps[0])
    assert not found.sd.any()
    assert not found.probability_sd.any()
    assert torch.equal(found.agreement, torch.ones(2, 2, dtype=torch.float64))
    assert torch.allclose(found.mutual_information, torch.zeros(2, 2, dtype=torch.float64), atol=1e-12)
    assert float(found.entropy[1, 0]) == pytest.approx(math.log(3))
    assert float(found.entropy[0, 1]) == pytest.approx(
        -(0.1 * math.log(0.1) + 0.7 * math.log(0.7) + 0.2 * math.log(0.2))
    )


def test_the_entropies_of_two_opposite_predictions_are_worked_out_by_hand():
    p = torch.tensor([[[0.9, 0.1]], [[0.1, 0.9]]], dtype=torch.float64)
    each = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    assert float(predictive_entropy(p)) == pytest.approx(math.log(2))
    assert float(mutual_information(p)) == pytest.approx(math.log(2) - each)
    sure = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    assert float(mutual_information(sure)) == pytest.approx(math.log(2))  # all of it: each sample is sure


def test_a_multi_label_network_has_an_entropy_for_each_class():
    p = torch.tensor([[[0.9, 0.5, 0.2]], [[0.1, 0.5, 0.2]]], dtype=torch.float64)

    def binary(q):
        return -(q * math.log(q) + (1 - q) * math.log(1 - q))

    assert predictive_entropy(p, True)[0].tolist() == pytest.approx([math.log(2), math.log(2), binary(0.2)])
    assert mutual_information(p, True)[0].tolist() == pytest.approx([math.log(2) - binary(0.9), 0, 0], abs=1e-12)
    found = summarise(make(torch.rand(2, 1, 2, 3, 3), p, targets=torch.tensor([[2, 0]]), multilabel=True))
    assert found.entropy[0].tolist() == pytest.approx([binary(0.2), math.log(2)])
    assert found.probability_mean[0].tolist() == pytest.approx([0.2, 0.5])
    assert found.probability_sd[0].tolist() == pytest.approx([0, 0.4])


def test_a_callable_has_no_probability_but_the_prediction_has_its_entropy():
    p = torch.full((2, 1, 4), 0.25)
    found = summarise(make(torch.rand(2, 1, 1, 3, 3), p, targets=torch.tensor([[-1]])))
    assert found.probability_mean.isnan().all()
    assert float(found.entropy) == pytest.approx(math.log(4))
    one = to_uncertainty(found, lambda maps: maps)
    assert (one.probability_mean, one.probability_sd, one.class_name) == (None, None, "score")


def test_maps_without_evidence_count_as_zero_and_broken_ones_are_left_out():
    maps = torch.rand(4, 1, 1, 3, 3, dtype=torch.float64)
    maps[1] = 0
    maps[2] = 0  # as heatmaps are drawn of what is not finite
    statuses = np.array([OK, EMPTY, BROKEN, OK], dtype=object).reshape(4, 1, 1)
    found = summarise(make(maps, statuses=statuses))
    kept = maps[[0, 1, 3]].numpy()
    np.testing.assert_allclose(found.mean, kept.mean(0))
    np.testing.assert_allclose(found.sd, kept.std(0))
    assert float(found.agreement) == pytest.approx(soft_iou(maps[0].numpy(), maps[3].numpy()))
    assert "1 of the maps have no positive evidence" in found.note()
    assert "1 of the maps are not finite" in found.note()
    statuses[0] = EMPTY
    alone = summarise(make(maps, statuses=statuses))
    assert alone.agreement.isnan().all()
    assert to_uncertainty(alone, lambda maps: maps).agreement is None


def test_a_place_that_a_sample_does_not_show_is_judged_by_the_others():
    maps = torch.rand(3, 1, 1, 4, 4, dtype=torch.float64)
    maps[1, ..., 0] = math.nan
    maps[2, ..., 0] = math.nan
    found = summarise(make(maps), 0.5)
    assert not found.mean.isnan().any()
    assert torch.equal(found.mean[..., 0], maps[0, ..., 0])
    assert not found.sd[..., 0].any()
    assert torch.equal(found.inclusion[..., 0], (maps[0, ..., 0] >= 0.5).double())
    shown = maps[..., 1:]
    np.testing.assert_allclose(found.mean[..., 1:], shown.mean(0))
    pairs = [(0, 1, shown), (0, 2, shown), (1, 2, shown)]
    assert float(found.agreement) == pytest.approx(np.mean([soft_iou(m[i].numpy(), m[j].numpy()) for i, j, m in pairs]))


def test_agreement_of_maps_larger_than_what_is_kept_is_nearly_that_of_all_positions(monkeypatch):
    coarse = torch.rand(5, 2, 1, 4, 4, 4)
    maps = torch.nn.functional.interpolate(coarse.flatten(0, 2)[:, None], size=(31, 32, 33), mode="trilinear")
    maps = maps.reshape(5, 2, 1, 31, 32, 33)
    exact = summarise(make(maps))
    monkeypatch.setattr(uncertainty_samples, "_KEPT", 8000)
    blocks = summarise(make(maps))
    assert (exact.block, blocks.block) == (1, 2)
    assert torch.allclose(exact.agreement, blocks.agreement, atol=0.01)
    assert not torch.equal(exact.agreement, blocks.agreement)
    assert "blocks of 2" in blocks.note()
    assert torch.equal(exact.sd, blocks.sd)


def test_the_maps_of_large_volumes_are_not_kept(monkeypatch):
    monkeypatch.setattr(uncertainty_samples, "_KEPT", 64)
    made = []

    def parts():
        for _ in range(6):
            part = make(torch.rand(1, 1, 1, 8, 8, 8))
            made.append(weakref.ref(part.heatmaps))
            yield part

    found = summarise(parts())
    assert found.samples == len(made) == 6
    assert sum(ref() is not None for ref in made) <= 1


def test_numbers_go_to_the_grid_of_the_source_as_plain_values():
    maps = torch.rand(3, 2, 2, 4, 4)
    proba = torch.rand(3, 2, 2).softmax(2)
    summary = summarise(make(maps, proba, source="mc-dropout"))
    seen = []

    def doubled(three):
        seen.append(tuple(three.shape))
        return three.repeat_interleave(2, -1).repeat_interleave(2, -2)

    one = to_uncertainty(summary, doubled, image=1, target=1, class_name="nodule")
    assert seen == [(3, 4, 4)]
    assert one.mean.shape == one.sd.shape == one.inclusion.shape == (8, 8)
    assert {m.dtype for m in (one.mean, one.sd, one.inclusion)} == {np.dtype(np.float32)}
    np.testing.assert_allclose(one.mean[::2, ::2], summary.mean[1, 1], atol=1e-7)
    np.testing.assert_allclose(one.sd[1::2, ::2], summary.sd[1, 1], atol=1e-7)
    np.testing.assert_allclose(one.inclusion[::2, 1::2], summary.inclusion[1, 1], atol=1e-7)
    assert (one.source, one.samples, one.class_index, one.class_name) == ("mc-dropout", 3, 1, "nodule")
    assert one.agreement == float(summary.agreement[1, 1])
    assert one.mutual_information == float(summary.mutual_information[1, 1])
    assert one.probability_mean == pytest.approx(float(proba[:, 1, 1].double().mean()))
    assert one.note.startswith("3 samples: ")
    arrays = to_uncertainty(summary, lambda three: three.numpy())
    np.testing.assert_array_equal(arrays.mean, summary.mean[0, 0])


def test_collected_parts_are_the_samples():
    samples = make(torch.rand(5, 1, 2, 3, 3), torch.rand(5, 1, 4))
    whole = collect(parts_of(samples, 2, 3))
    assert torch.equal(whole.heatmaps, samples.heatmaps)
    assert torch.equal(whole.probabilities, samples.probabilities)
    assert len(whole) == 5
    with pytest.raises(InputError, match="no samples"):
        collect([])


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (lambda: summarise([]), "no samples"),
        (lambda: summarise(make(torch.rand(1, 1, 1, 3, 3))), "at least 2"),
        (lambda: summarise(make(torch.rand(2, 1, 1, 3, 3)), 0.0), "threshold"),
        (lambda: summarise([make(torch.rand(1, 1, 1, 3, 3)), make(torch.rand(1, 1, 1, 3, 4))]), "only samples of the"),
        (lambda: make(torch.rand(1, 1, 3)), "give \\(S, N, K"),
        (lambda: make(torch.rand(2, 1, 1, 3, 3), torch.rand(3, 1, 2)), "give \\(S, N, K"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(given, why):
    with pytest.raises(InputError, match=why) as caught:
        given()
    assert "\n" not in str(caught.value)


def test_agreement_of_a_million_positions_is_that_of_double_precision():
    """Sums that go one by one were off by 7e-6 here, and by 2e-4 for a volume."""
    side = torch.linspace(-1, 1, 1000)
    maps = torch.stack([torch.exp(-((side[:, None] - c) ** 2) - (side - c / 2) ** 2) for c in (0.0, 0.1, 0.3)])
    maps = (maps / maps.flatten(1).amax(1)[:, None, None])[:, None]
    found = uncertainty_samples.pairwise_agreement(maps, torch.ones(3, 1, dtype=torch.bool))
    exact = uncertainty_samples.pairwise_agreement(maps.double(), torch.ones(3, 1, dtype=torch.bool))
    assert float((found - exact).abs()) < 1e-7
