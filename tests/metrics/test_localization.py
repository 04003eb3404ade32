"""Localisation metrics: by hand, against scikit-learn, scikit-image, Quantus, torchmetrics, and what chance gives."""

from __future__ import annotations

import warnings
from datetime import timedelta

import numpy as np
import pytest
import torch
from torch import Tensor

from cfcam.errors import InputError
from cfcam.metrics import localization as classes
from cfcam.metrics.functional import localization as functional
from tests.allocations import Large

NAN = float("nan")
SIZES = [(12, 9), (6, 7, 5)]
PAIRED = {
    "hit_rate": functional.hit_rate,
    "energy_in_ground_truth": functional.energy_in_ground_truth,
    "enrichment": functional.enrichment,
    "auprc": functional.auprc,
    "iou_otsu": functional.iou_otsu,
    "iou": lambda heatmap, truth: functional.iou(heatmap, truth, 0.5),
    "lesion_coverage": lambda heatmap, truth: functional.lesion_coverage(heatmap, truth, 0.5),
    "false_components": lambda heatmap, truth: functional.false_components(heatmap, truth, 0.5),
    "max_box_hits": lambda heatmap, truth: functional.max_box_hits(heatmap, truth).flatten(1).mean(1),
}
NO_MAP_CAN_CHANGE_IT = {"hit_rate", "energy_in_ground_truth", "enrichment", "auprc", "false_components"}


def random_case(size: tuple[int, ...], batch: int = 6) -> tuple[Tensor, Tensor]:
    """Maps with many equal values, a maximum of 1, and a ground truth in two pieces."""
    heatmap = (torch.rand(batch, *size) * 20).round() / 20
    heatmap.view(batch, -1)[:, 3] = 1
    truth = torch.zeros(batch, *size, dtype=torch.bool)
    truth[:, 1:4, 2:5] = True
    truth[:, 5, 0] = True
    return heatmap, truth


def box_truth(size: tuple[int, ...]) -> Tensor:
    truth = torch.zeros(1, *size, dtype=torch.bool)
    truth[(0, *(slice(length // 4, length // 2) for length in size))] = True
    return truth


# Facts that hold for all


@pytest.mark.parametrize("size", [(16, 20), (8, 10, 12)])
def test_a_map_that_is_the_ground_truth_is_perfect(size):
    truth = box_truth(size)
    heatmap = truth.float()
    for name in ("hit_rate", "energy_in_ground_truth", "auprc", "iou_otsu", "iou", "lesion_coverage", "max_box_hits"):
        assert PAIRED[name](heatmap, truth).tolist() == [1], name
    assert functional.false_components(heatmap, truth, 0.5).tolist() == [0]
    assert functional.enrichment(heatmap, truth).item() == pytest.approx(1 / truth.float().mean().item())
    assert functional.max_box_acc_v2(heatmap, truth).item() == 1


def test_a_constant_map_scores_chance():
    truth = box_truth((16, 20))
    share = truth.float().mean().item()
    for value in (1.0, 0.37):
        heatmap = torch.full((1, 16, 20), value)
        for name in ("hit_rate", "energy_in_ground_truth", "auprc", "iou_otsu"):
            assert PAIRED[name](heatmap, truth).item() == pytest.approx(share), name
        assert functional.enrichment(heatmap, truth).item() == pytest.approx(1)


def test_random_maps_score_chance():
    generator = torch.Generator().manual_seed(1)
    heatmap = torch.rand(4000, 12, 12, generator=generator)
    truth = torch.zeros(4000, 12, 12, dtype=torch.bool)
    truth[:, 2:6, 3:12] = True
    share = 36 / 144
    assert functional.hit_rate(heatmap, truth).mean().item() == pytest.approx(share, abs=0.025)
    assert functional.energy_in_ground_truth(heatmap, truth).mean().item() == pytest.approx(share, abs=0.005)
    assert functional.enrichment(heatmap, truth).mean().item() == pytest.approx(1, abs=0.02)
    assert functional.auprc(heatmap, truth).mean().item() == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("name", PAIRED)
def test_what_cannot_be_assessed_is_nan_and_never_zero(name):
    size = (10, 10)
    good = torch.rand(size).clamp(0.05)
    maps = torch.stack([torch.zeros(size), good, good, good, good, good])
    maps[1, 4, 4], maps[2, 0, 0], maps[3, 9, 9] = NAN, torch.inf, -torch.inf
    truth = box_truth(size).expand(6, *size).clone()
    truth[4] = False
    assert PAIRED[name](maps, truth).isnan().tolist() == [True, True, True, True, True, False]


@pytest.mark.parametrize("name", PAIRED)
def test_ground_truth_that_fills_the_frame(name):
    value = PAIRED[name](torch.rand(1, 10, 10), torch.ones(1, 10, 10, dtype=torch.bool))
    assert value.isnan().item() == (name in NO_MAP_CAN_CHANGE_IT)


@pytest.mark.parametrize("name", PAIRED)
@pytest.mark.parametrize("size", SIZES)
def test_a_batch_equals_its_maps_one_by_one(name, size):
    heatmap, truth = random_case(size)
    truth[2] = truth[2].flip(0)
    heatmap[4] = 0
    together = PAIRED[name](heatmap, truth)
    alone = torch.cat([PAIRED[name](heatmap[n : n + 1], truth[n : n + 1]) for n in range(len(heatmap))])
    torch.testing.assert_close(together, alone, equal_nan=True)


@pytest.mark.parametrize("name", PAIRED)
def test_a_picture_is_a_volume_of_depth_one(name):
    heatmap, truth = random_case((12, 9))
    torch.testing.assert_close(PAIRED[name](heatmap, truth), PAIRED[name](heatmap[:, None], truth[:, None]))


@pytest.mark.parametrize("name", PAIRED)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_precisions_give_the_same_and_no_batch_is_no_error(name, dtype):
    heatmap, truth = random_case((12, 9))
    heatmap = (heatmap * 16).round() / 16  # exact in every type
    value = PAIRED[name](heatmap.to(dtype), truth)
    torch.testing.assert_close(value.float(), PAIRED[name](heatmap, truth))
    assert PAIRED[name](heatmap[:0], truth[:0]).shape == (0,)


def test_nothing_is_changed_and_no_random_number_drawn():
    heatmap, truth = random_case((12, 9))
    before, state = (heatmap.clone(), truth.clone()), torch.get_rng_state()
    for function in PAIRED.values():
        function(heatmap, truth)
    functional.hit_rate(heatmap, truth, tolerance=3)
    assert torch.equal(heatmap, before[0])
    assert torch.equal(truth, before[1])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", PAIRED)
def test_bad_maps_and_masks_are_refused(name):
    heatmap, truth = random_case((12, 9))
    for bad, words in ((heatmap * 255, r"\[0, 1\]"), (heatmap - 0.5, r"\[0, 1\]"), ((heatmap * 9).long(), "floats")):
        with pytest.raises(InputError, match=words):
            PAIRED[name](bad, truth)
    with pytest.raises(InputError, match=r"\(6, 9, 12\).*\(6, 12, 9\)"):
        PAIRED[name](heatmap, truth.transpose(1, 2))
    if name != "max_box_hits":  # there numbers are boxes
        with pytest.raises(InputError, match="bool"):
            PAIRED[name](heatmap, truth.float())


# Hit rate


def test_hit_rate_by_hand():
    heatmap = torch.tensor([[0.1, 1, 0], [1, 0.1, 0], [1, 1, 0], [1, 1, 1]])
    truth = torch.tensor([[False, True, False]]).expand(4, 3)
    torch.testing.assert_close(functional.hit_rate(heatmap, truth), torch.tensor([1, 0, 1 / 2, 1 / 3]))


@pytest.mark.parametrize(("offset", "hit"), [((0, 5), 1), ((0, 6), 0), ((3, 4), 1), ((4, 4), 0), ((-5, 0), 1)])
def test_tolerance_is_a_euclidean_distance(offset, hit):
    truth = torch.zeros(1, 21, 21, dtype=torch.bool)
    truth[0, 10, 10] = True
    heatmap = torch.zeros(1, 21, 21)
    heatmap[0, 10 + offset[0], 10 + offset[1]] = 1
    assert functional.hit_rate(heatmap, truth, tolerance=5).item() == hit
    assert functional.hit_rate(heatmap[:, None], truth[:, None], tolerance=5).item() == hit


@pytest.mark.parametrize("size", [(30, 17), (9, 12, 10)])
@pytest.mark.parametrize("tolerance", [1, 2.5, 4])
def test_tolerance_agrees_with_scipys_distance_transform(size, tolerance):
    from scipy.ndimage import distance_transform_edt

    truth = torch.rand(3, *size) < 0.003
    truth[:, 0] = False
    truth[(slice(None), *(length // 2 for length in size))] = True
    near = torch.stack([torch.from_numpy(distance_transform_edt(~mask.numpy()) <= tolerance) for mask in truth])
    heatmap = torch.zeros(3, *size)
    heatmap[:] = near.float()  # the maximum is shared by exactly what should be a hit
    assert functional.hit_rate(heatmap, truth, tolerance).tolist() == [1, 1, 1]
    heatmap[:] = 1  # and now by all
    torch.testing.assert_close(functional.hit_rate(heatmap, truth, tolerance), near.flatten(1).float().mean(1))


@pytest.mark.parametrize("tolerance", [-1, NAN, torch.inf])
def test_a_tolerance_is_a_number_of_pixels(tolerance):
    with pytest.raises(InputError, match="pixels"):
        functional.hit_rate(*random_case((12, 9)), tolerance)


# Area under the precision-recall curve


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("levels", [1, 2, 7, 10**6])
def test_auprc_is_scikit_learns_average_precision(size, levels):
    from sklearn.metrics import average_precision_score

    heatmap, truth = random_case(size)
    heatmap = (torch.rand_like(heatmap) * levels).ceil() / levels  # with 1 level all are equal, with 10^6 none
    expected = [average_precision_score(t.flatten(), h.flatten()) for h, t in zip(heatmap, truth, strict=True)]
    torch.testing.assert_close(functional.auprc(heatmap, truth).tolist(), expected, rtol=1e-5, atol=1e-6)


def test_auprc_is_torchmetrics_average_precision():
    from torchmetrics.functional.classification import binary_average_precision

    heatmap, truth = random_case((12, 9))
    expected = [binary_average_precision(h.flatten(), t.flatten().int()) for h, t in zip(heatmap, truth, strict=True)]
    torch.testing.assert_close(functional.auprc(heatmap, truth), torch.stack(expected))


# Thresholds and IoU


@pytest.mark.parametrize("size", [(40, 31), (12, 14, 13)])
def test_otsu_is_scikit_images_up_to_the_half_bin(size):
    from skimage.filters import threshold_otsu

    noise = torch.rand(8, *size, dtype=torch.float64)
    heatmap = torch.cat([noise[:4], noise[4:] ** 4 * 0.7 + 0.1])
    span = torch.tensor([(h.max() - h.min()).item() for h in heatmap], dtype=torch.float64)
    expected = torch.tensor([threshold_otsu(h.numpy()) for h in heatmap], dtype=torch.float64) + span / 512
    torch.testing.assert_close(functional.otsu_threshold(heatmap), expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(functional.otsu_threshold(heatmap.float()), expected.float(), rtol=0, atol=5e-3)


def test_otsu_separates_two_groups_exactly():
    heatmap = torch.tensor([[0.0, 0.1, 0.1, 0.9, 1.0, 0.9], [0, 0, 0, 0, 0, 1], [0.5, 0.5, 0.5, 0.5, 0.5, 0.6]])
    marked = heatmap >= functional.otsu_threshold(heatmap)[:, None]
    assert marked.int().tolist() == [[0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 1]]
    unreadable = torch.tensor([[0.0, 0.0], [NAN, 1.0]])
    assert functional.otsu_threshold(unreadable).isnan().all()


def test_iou_otsu_is_the_iou_of_scikit_images_binary_map():
    from skimage.filters import threshold_otsu

    heatmap, truth = torch.rand(5, 64, 64), box_truth((64, 64)).expand(5, 64, 64)
    marked = torch.stack([h >= threshold_otsu(h.numpy()) for h in heatmap])
    expected = (marked & truth).sum((1, 2)) / (marked | truth).sum((1, 2))
    torch.testing.assert_close(functional.iou_otsu(heatmap, truth), expected, rtol=0, atol=5e-3)


def test_iou_is_torchmetrics_jaccard_index():
    from torchmetrics.functional.classification import binary_jaccard_index

    heatmap, truth = random_case((12, 9))
    marked = heatmap >= 0.5
    expected = [binary_jaccard_index(m.int(), t.int()) for m, t in zip(marked, truth, strict=True)]
    torch.testing.assert_close(functional.iou(heatmap, truth, 0.5), torch.stack(expected))


def test_iou_takes_one_threshold_for_each_map():
    heatmap = torch.tensor([[0.2, 1.0, 0.5], [0.2, 1.0, 0.5]])
    truth = torch.tensor([[False, True, False]] * 2)
    assert functional.iou(heatmap, truth, torch.tensor([0.5, 0.6])).tolist() == [0.5, 1]
    with pytest.raises(InputError, match="one for each"):
        functional.iou(heatmap, truth, torch.tensor([0.5]))


def test_a_map_that_does_not_reach_the_threshold_marks_nothing():
    heatmap, truth = torch.full((1, 4, 4), 0.3), box_truth((4, 4))
    assert functional.iou(heatmap, truth, 0.5).item() == 0
    assert functional.lesion_coverage(heatmap, truth, 0.5).item() == 0
    assert functional.false_components(heatmap, truth, 0.5).item() == 0
    assert functional.box_of_largest_component(heatmap, 0.5).isnan().all()


@pytest.mark.parametrize("size", SIZES)
def test_iou_curve_is_iou_at_each_threshold(size):
    heatmap, truth = random_case(size)  # values on 0, 0.05, 0.1, ...: thresholds fall on them
    heatmap[1] = 0
    curve = functional.iou_curve(heatmap, truth)
    one_by_one = torch.stack([functional.iou(heatmap, truth, t) for t in functional.THRESHOLDS], dim=1)
    torch.testing.assert_close(curve, one_by_one, equal_nan=True)


def test_tuned_threshold_is_the_best_on_average():
    # Of the first map 0.5 and more is right, of the second 0.3 and more; thresholds 0.25 and 0.4 each lose on one.
    heatmap = torch.tensor([[1.0, 0.5, 0.3, 0.3, 0.1], [1.0, 0.5, 0.3, 0.1, 0.1], [0.0, 0.0, 0.0, 0.0, 0.0]])
    truth = torch.tensor([[1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]]) == 1
    # Mean IoU: 0.05 -> (2/5 + 3/5)/2, 0.25 -> (2/4 + 1)/2, 0.4 -> (1 + 2/3)/2, 0.8 -> (1/2 + 1/3)/2
    assert functional.tune_threshold(heatmap, truth, [0.05, 0.25, 0.4, 0.8]) == 0.4
    assert functional.tune_threshold(heatmap[1:], truth[1:], [0.05, 0.25, 0.4, 0.8]) == 0.25
    with pytest.raises(InputError, match="no threshold"):
        functional.tune_threshold(heatmap[2:], truth[2:])


@pytest.mark.parametrize("threshold", [0, -0.1, 1.5, NAN])
def test_a_threshold_lies_above_0_and_up_to_1(threshold):
    heatmap, truth = random_case((12, 9))
    for call in (functional.iou, functional.lesion_coverage, functional.false_components):
        with pytest.raises(InputError, match="threshold"):
            call(heatmap, truth, threshold)
    with pytest.raises(InputError, match="threshold"):
        functional.tune_threshold(heatmap, truth, [0.3, threshold])


# Components


def lesions() -> tuple[Tensor, Tensor]:
    """A lesion of ten pixels of which three are marked, one of two by a corner, and two blobs elsewhere."""
    truth, heatmap = torch.zeros(1, 12, 12, dtype=torch.bool), torch.zeros(1, 12, 12)
    truth[0, 1, 0:10] = True
    truth[0, 5, 5] = truth[0, 6, 6] = True
    heatmap[0, 1, 0:3] = 0.9
    heatmap[0, 10, 0:3] = 0.8
    heatmap[0, 10, 6] = heatmap[0, 11, 7] = 0.7
    return heatmap, truth


@pytest.mark.parametrize(("overlap", "share"), [(0.1, 0.5), (0.3, 0.5), (0.31, 0)])
def test_lesion_coverage_by_hand(overlap, share):
    assert functional.lesion_coverage(*lesions(), 0.5, overlap).item() == share


def test_connectivity_decides_what_one_component_is():
    heatmap, truth = lesions()
    assert functional.lesion_coverage(heatmap, truth, 0.5, full_connectivity=False).item() == pytest.approx(1 / 3)
    assert functional.false_components(heatmap, truth, 0.5).item() == 2
    assert functional.false_components(heatmap, truth, 0.5, full_connectivity=False).item() == 3
    # In a volume corners touch across slices too.
    volume, deep = torch.zeros(1, 4, 4, 4), torch.zeros(1, 4, 4, 4, dtype=torch.bool)
    volume[0, 0, 0, 0] = volume[0, 1, 1, 1] = 1
    deep[0, 3, 3, 3] = True
    assert functional.false_components(volume, deep, 0.5).item() == 1
    assert functional.false_components(volume, deep, 0.5, full_connectivity=False).item() == 2


@pytest.mark.parametrize("size", [(20, 20), (8, 9, 10)])
def test_components_agree_with_a_loop_over_scikit_images_labels(size):
    from skimage.measure import label

    heatmap, truth = torch.rand(5, *size), torch.rand(5, *size) < 0.1
    coverage, false = [], []
    for h, t in zip(heatmap.numpy() >= 0.7, truth.numpy(), strict=True):
        lesion, blob = label(t, connectivity=t.ndim), label(h, connectivity=t.ndim)
        coverage.append(np.mean([h[lesion == i].mean() >= 0.4 for i in range(1, lesion.max() + 1)]))
        false.append(sum(not t[blob == i].any() for i in range(1, blob.max() + 1)))
    found = functional.lesion_coverage(heatmap, truth, 0.7, overlap=0.4)
    torch.testing.assert_close(found.tolist(), coverage, rtol=1e-6, atol=1e-6)
    assert functional.false_components(heatmap, truth, 0.7).tolist() == false


@pytest.mark.parametrize("overlap", [0, -0.5, 1.1])
def test_an_overlap_is_a_share(overlap):
    with pytest.raises(InputError, match="share"):
        functional.lesion_coverage(*lesions(), 0.5, overlap)


def test_the_largest_component_has_the_box():
    heatmap = torch.zeros(3, 8, 10)
    heatmap[0, 1:3, 2:9] = 1  # fourteen pixels
    heatmap[0, 5:8, 0:4] = 0.6  # twelve, or with what is below the threshold more
    heatmap[0, 4, 0:8] = 0.4
    heatmap[2] = NAN
    boxes = functional.box_of_largest_component(heatmap, 0.5)
    assert boxes[0].tolist() == [2, 1, 9, 3]
    assert boxes[1:].isnan().all()
    volume = torch.zeros(1, 4, 5, 6)
    volume[0, 1:2, 2:4, 3:6] = 1
    assert functional.box_of_largest_component(volume, 0.5).tolist() == [[3, 2, 1, 6, 4, 2]]


# MaxBoxAcc v2


def test_max_box_hits_by_hand():
    heatmap = torch.zeros(1, 10, 10)
    heatmap[0, 2:6, 2:6] = 0.4  # IoU 16/24 with the ground truth
    heatmap[0, 2:4, 2:6] = 1.0  # IoU 8/24
    hits = functional.max_box_hits(heatmap, [[[2, 2, 6, 8]]], [0.3, 0.5], [0.3, 0.5, 0.7])
    assert hits.tolist() == [[[1, 1, 0], [1, 0, 0]]]


def test_any_component_may_fit_any_box():
    heatmap = torch.zeros(1, 10, 10)
    heatmap[0, 0:6, 0:6] = 1  # the largest fits nothing
    heatmap[0, 8:10, 8:10] = 0.9
    boxes = [[[0, 9, 1, 10], [8, 8, 10, 10]]]
    assert functional.max_box_hits(heatmap, boxes, [0.5], [0.7]).item() == 1


def test_the_best_threshold_is_one_for_all_images():
    # Each map is right at its own threshold only: with one for both, half of them are.
    heatmap = torch.zeros(2, 1, 10)
    heatmap[:, 0, :9], heatmap[:, 0, :2] = 0.5, 1.0
    boxes = [[[0, 0, 2, 1]], [[0, 0, 9, 1]]]
    assert functional.max_box_acc_v2(heatmap, boxes).item() == 0.5
    assert functional.max_box_acc_v2(heatmap[:1], boxes[:1]).item() == 1
    assert functional.max_box_acc_v2(heatmap[1:], boxes[1:]).item() == 1


def test_each_iou_level_has_its_own_best_threshold():
    # At 0.3 both maps fit by half; at 0.8 the first fits fully, the second by a fifth.
    heatmap = torch.zeros(2, 1, 10)
    heatmap[0, 0, :8], heatmap[0, 0, :4] = 0.5, 1.0
    heatmap[1, 0, :10], heatmap[1, 0, :1] = 0.5, 1.0
    boxes = [[[0, 0, 4, 1]], [[0, 0, 5, 1]]]
    assert functional.max_box_acc_v2(heatmap, boxes, [0.3, 0.8], [0.3, 0.7]).item() == (1 + 0.5) / 2
    assert classes.MaxBoxAccV2([0.3, 0.8], [0.3, 0.7])(heatmap, boxes).item() == (1 + 0.5) / 2


def test_max_box_acc_agrees_with_a_loop_over_scikit_image():
    from skimage.measure import label, regionprops

    def iou(a, b):
        width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        shared = max(width, 0) * max(height, 0)
        area_a, area_b = (a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1])
        return shared / (area_a + area_b - shared)

    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(5, 1, 4, 4, generator=generator)
    heatmap = torch.nn.functional.interpolate(coarse, size=(24, 24), mode="bilinear")[:, 0]
    boxes = [[[2, 3, 14, 12]], [[0, 0, 10, 24], [12.5, 4, 20, 9]], [[5, 5, 9, 9]], [[0, 10, 24, 20]], [[1, 1, 20, 20]]]
    thresholds, levels = [0.2, 0.4, 0.6, 0.8], [0.3, 0.5, 0.7]
    table = np.zeros((5, 4, 3))
    for n, t, level in np.ndindex(table.shape):
        regions = regionprops(label(heatmap[n].numpy() >= np.float32(thresholds[t]), connectivity=2))
        found = [(r.bbox[1], r.bbox[0], r.bbox[3], r.bbox[2]) for r in regions]
        table[n, t, level] = any(iou(f, b) >= levels[level] for f in found for b in boxes[n])
    assert 0 < table.mean() < 1
    np.testing.assert_array_equal(functional.max_box_hits(heatmap, boxes, thresholds, levels), table)
    expected = table.mean(0).max(0).mean()
    assert functional.max_box_acc_v2(heatmap, boxes, thresholds, levels).item() == pytest.approx(expected)


def test_masks_are_boxed_by_component():
    heatmap, truth = random_case((12, 9))
    assert [boxes.tolist() for boxes in functional.boxes_of_components(truth)] == [[[2, 1, 5, 4], [0, 5, 1, 6]]] * 6
    by_boxes = functional.max_box_hits(heatmap, functional.boxes_of_components(truth))
    assert torch.equal(functional.max_box_hits(heatmap, truth), by_boxes)


def test_volumes_at_many_thresholds_are_taken_in_parts(monkeypatch):
    from cfcam.metrics.functional import components

    heatmap, truth = random_case((6, 7, 5))
    whole = functional.max_box_hits(heatmap, truth)
    monkeypatch.setattr(components, "_POSITIONS_AT_ONCE", 7 * 6 * 7 * 5)
    assert torch.equal(functional.max_box_hits(heatmap, truth), whole)


def test_images_without_boxes_are_not_assessed():
    heatmap, _ = random_case((12, 9), batch=2)
    hits = functional.max_box_hits(heatmap, [[[1, 1, 5, 5]], []])
    assert hits.isnan().flatten(1).all(1).tolist() == [False, True]
    with pytest.raises(InputError, match="boxes of 1 images"):
        functional.max_box_hits(heatmap, [[[1, 1, 5, 5]]])


# Ground truth


def test_masks_of_two_values_become_bool():
    mask = torch.tensor([[0, 1, 0], [1, 1, 0]])
    for same in (mask.bool(), mask, mask * 255, (mask * 255).to(torch.uint8), mask.float()):
        assert torch.equal(functional.check_ground_truth(same, (2, 3)), mask.bool())
    assert functional.check_ground_truth(torch.zeros(4, 2, 3), (2, 3)).sum() == 0
    assert functional.check_ground_truth(torch.full((2, 3), 255), (2, 3)).all()


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (torch.zeros(3, 2), r"\(3, 2\).*\(2, 3\).*transposed"),
        (torch.zeros(5, 3, 2), r"\(3, 2\).*\(2, 3\).*transposed"),
        (torch.zeros(4, 6), r"\(4, 6\).*\(2, 3\).*nearest"),
        (torch.zeros(1, 1, 2, 3), r"\(1, 1, 2, 3\).*channel"),
        (torch.zeros(3), r"\(3,\).*\(2, 3\)"),
        (torch.tensor([[0, 1, 2], [0, 0, 0]]), "one label"),
        (torch.tensor([[0.0, 0.3, 0.9], [0, 0, 0]]), "threshold it"),
        (torch.tensor([[0, -1, 0], [0, 0, 0]]), "values"),
        (torch.tensor([[0, NAN, 0], [0, 0, 0]]), "values"),
    ],
)
def test_masks_that_do_not_fit_are_refused_with_both_shapes(mask, words):
    with pytest.raises(InputError, match=words):
        functional.check_ground_truth(mask, (2, 3))


def test_boxes_become_masks():
    mask = functional.boxes_to_mask([[1, 0, 3, 2], [4, 2, 5, 3]], size=(3, 5))
    assert mask.int().tolist() == [[0, 1, 1, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 1]]
    assert not functional.boxes_to_mask([], size=(3, 5)).any()
    volume = functional.boxes_to_mask(torch.tensor([[1.0, 0, 2, 3, 1, 4]]), size=(5, 4, 6))
    assert volume.nonzero().tolist() == [[2, 0, 1], [2, 0, 2], [3, 0, 1], [3, 0, 2]]


def test_a_pixel_is_inside_when_its_centre_is_and_no_box_vanishes():
    assert functional.boxes_to_mask([[0.6, 0, 2.4, 1]], size=(1, 4)).int().tolist() == [[0, 1, 0, 0]]
    assert functional.boxes_to_mask([[0.4, 0, 2.6, 1]], size=(1, 4)).int().tolist() == [[1, 1, 1, 0]]
    assert functional.boxes_to_mask([[3.6, 0.1, 3.9, 0.2]], size=(1, 4)).int().tolist() == [[0, 0, 0, 1]]


def test_masks_and_boxes_are_inverse():
    boxes = torch.tensor([[0, 0, 4, 2], [6, 3, 9, 12]], dtype=torch.float64)
    assert torch.equal(functional.boxes_of_components(functional.boxes_to_mask(boxes, (12, 9))[None])[0], boxes)


def test_boxes_out_of_the_frame_are_clipped_with_a_notice():
    with pytest.warns(UserWarning, match=r"1 of 2 boxes.*\(3, 5\).*-2\.0, 1\.0, 7\.0, 9\.0"):
        mask = functional.boxes_to_mask([[0, 0, 1, 1], [-2, 1, 7, 9]], size=(3, 5))
    assert mask.int().tolist() == [[1, 0, 0, 0, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        functional.boxes_to_mask([[0, 0, 5.00001, 3]], size=(3, 5))  # rounding is no news


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ([3, 0, 1, 2], r"inverted.*\[3\.0, 0\.0, 1\.0, 2\.0\]"),
        ([1, 1, 1, 2], "empty"),
        ([NAN, 0, 1, 2], "not finite"),
        ([0, 0, torch.inf, 2], "not finite"),
        ([5, 0, 8, 2], r"outside.*\[5\.0, 0\.0, 8\.0, 2\.0\].*\(3, 5\)"),
        ([-4, 0, 0, 2], "outside"),
        ([0, 0, 1, 2, 3, 4], r"\(m, 4\)"),
        ([0, "left", 1, 2], r"left.*\(m, 4\)"),
    ],
)
def test_impossible_boxes_are_refused_with_their_numbers(box, words):
    with pytest.raises(InputError, match=words):
        functional.boxes_to_mask([box], size=(3, 5))


# Other libraries


@pytest.mark.parametrize(
    ("metric", "function"),
    [("PointingGame", functional.hit_rate), ("RelevanceMassAccuracy", functional.energy_in_ground_truth)],
)
def test_quantus_agrees(metric, function):
    import quantus

    heatmap, truth = torch.rand(6, 12, 12), torch.rand(6, 12, 12) < 0.4
    scores = getattr(quantus, metric)(abs=False, normalise=False, disable_warnings=True)(
        model=None,
        x_batch=np.zeros((6, 3, 12, 12), np.float32),
        y_batch=np.zeros(6, int),
        a_batch=heatmap[:, None].numpy(),
        s_batch=truth[:, None].numpy(),
        channel_first=True,
    )
    np.testing.assert_allclose(function(heatmap, truth), np.asarray(scores, float), rtol=1e-5)


def test_quantus_rank_accuracy_is_the_iou_of_as_many_pixels_as_the_ground_truth_has():
    import quantus

    heatmap, truth = torch.rand(6, 12, 12), torch.rand(6, 12, 12) < 0.4
    scores = quantus.RelevanceRankAccuracy(abs=False, normalise=False, disable_warnings=True)(
        model=None,
        x_batch=np.zeros((6, 3, 12, 12), np.float32),
        y_batch=np.zeros(6, int),
        a_batch=heatmap[:, None].numpy(),
        s_batch=truth[:, None].numpy(),
        channel_first=True,
    )
    ordered = heatmap.flatten(1).sort(1, descending=True).values
    threshold = ordered.gather(1, truth.flatten(1).sum(1, keepdim=True) - 1)[:, 0]
    rank = torch.tensor(np.asarray(scores, float)).float()
    torch.testing.assert_close(functional.iou(heatmap, truth, threshold), rank / (2 - rank))


# Classes

CLASSES = {
    "hit_rate": classes.HitRate,
    "energy_in_ground_truth": classes.EnergyInGroundTruth,
    "enrichment": classes.Enrichment,
    "auprc": classes.AUPRC,
    "iou_otsu": classes.IoUOtsu,
    "iou": lambda: classes.IoUTuned(threshold=0.5),
    "lesion_coverage": lambda: classes.LesionCoverage(threshold=0.5),
    "false_components": lambda: classes.FalseComponents(threshold=0.5),
}


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_is_the_mean_of_what_was_assessed(name):
    heatmap, truth = random_case((12, 9))
    heatmap[1], truth[4] = 0, False
    metric = CLASSES[name]()
    for part in (slice(0, 4), slice(4, 6)):
        metric.update(heatmap[part], truth[part])
    torch.testing.assert_close(metric.compute(), PAIRED[name](heatmap, truth).nanmean())
    assert (metric.assessed.item(), metric.not_assessed.item()) == (4, 2)
    metric.reset()
    metric.update(heatmap[1:2], truth[1:2])
    assert metric.compute().isnan()
    assert metric.higher_is_better == (name != "false_components")


def test_max_box_acc_class_is_the_function_over_all_batches():
    heatmap = torch.zeros(4, 1, 10)
    heatmap[:, 0, :9], heatmap[:, 0, :2], heatmap[3] = 0.5, 1.0, 0.0
    boxes = [[[0, 0, 2, 1]], [[0, 0, 9, 1]], [[0, 0, 9, 1]], [[0, 0, 9, 1]]]
    metric = classes.MaxBoxAccV2()
    for n in range(4):
        metric.update(heatmap[n : n + 1], boxes[n : n + 1])
    assert metric.compute().item() == functional.max_box_acc_v2(heatmap, boxes).item() == pytest.approx(2 / 3)
    assert (metric.assessed.item(), metric.not_assessed.item()) == (3, 1)
    metric.reset()
    metric.update(heatmap[3:], boxes[3:])
    assert metric.compute().isnan()


def test_options_reach_the_functions():
    heatmap, truth = lesions()
    assert classes.LesionCoverage(0.5, overlap=0.31)(heatmap, truth).item() == 0
    assert classes.LesionCoverage(0.5, full_connectivity=False)(heatmap, truth).item() == pytest.approx(1 / 3)
    assert classes.FalseComponents(0.5, full_connectivity=False)(heatmap, truth).item() == 3
    assert classes.IoUTuned(0.85)(heatmap, truth).item() == pytest.approx(3 / 12)
    near = torch.zeros(1, 12, 12).index_put((torch.tensor(0), torch.tensor(3), torch.tensor(0)), torch.tensor(1.0))
    assert classes.HitRate()(near, truth).item() == 0
    assert classes.HitRate(tolerance=2)(near, truth).item() == 1
    assert classes.MaxBoxAccV2([0.5], [0.9])(heatmap, [[[0, 1, 3, 2]]]).item() == 1


def in_process_group(rank: int, store: str, folder: str) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=2, timeout=timedelta(minutes=2)
    )
    try:
        heatmap, truth = torch.load(f"{folder}/case.pt")
        mine = slice(0, 4) if rank == 0 else slice(4, 6)  # of different number, so a mean of means would be wrong
        energy, boxes = classes.EnergyInGroundTruth(), classes.MaxBoxAccV2()
        energy.update(heatmap[mine], truth[mine])
        boxes.update(heatmap[mine], truth[mine])
        torch.save((energy.compute(), boxes.compute()), f"{folder}/{rank}.pt")
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without distributed")
def test_two_processes_give_the_number_of_one(tmp_path):
    heatmap, truth = random_case((12, 9))
    heatmap[1] = 0
    torch.save((heatmap, truth), tmp_path / "case.pt")
    expected = functional.energy_in_ground_truth(heatmap, truth).nanmean(), functional.max_box_acc_v2(heatmap, truth)
    store, folder = str(tmp_path / "store"), str(tmp_path)
    other = torch.multiprocessing.get_context("spawn").Process(target=in_process_group, args=(1, store, folder))
    other.start()
    try:
        in_process_group(0, store, folder)
    finally:
        other.join(timeout=120)
    assert other.exitcode == 0
    for rank in (0, 1):
        torch.testing.assert_close(torch.load(tmp_path / f"{rank}.pt"), expected)


def test_a_map_in_order_is_read_from_where_it_lies_and_not_copied():
    heat, _ = random_case((64, 64, 64), batch=1)
    with Large(heat.untyped_storage().nbytes() // 2) as large:
        functional.otsu_threshold(heat)
    assert large.made == []


def test_a_map_that_is_read_is_not_changed_whatever_is_wrong_with_it():
    heat, _ = random_case((8, 8), batch=2)
    wrong = torch.cat([heat, torch.full_like(heat[:1], torch.nan), heat[:1] + 5e-5])
    before = wrong.clone()
    found = functional.otsu_threshold(wrong)
    assert torch.equal(found[:2], functional.otsu_threshold(heat))
    assert found[2].isnan()
    torch.testing.assert_close(wrong, before, equal_nan=True, rtol=0, atol=0)
