import math

import numpy as np
import pytest
import torch

from cfcam import Explainer
from cfcam.clinical import checks
from cfcam.clinical.checks.interventions import dilate
from cfcam.clinical.checks.masks import CtLungs, read_mask
from cfcam.clinical.checks.results import Limits, Outcome, count_outcomes
from cfcam.errors import InputError
from cfcam.imaging import Image, Volume, read_image, save_map_nifti
from cfcam.imaging.measured import Measured
from cfcam.models.demo import CLASSES, load_demo_network, sample_phantom
from cfcam.models.demo.network import preprocess

METHOD = "grad-cam"


def box(size, *slices):
    mask = torch.zeros(size, dtype=torch.bool)
    mask[slices] = True
    return mask


def by_name(results):
    return {result.name: result for result in results}


# --- plausibility ---------------------------------------------------------------------------------------------


def test_plausibility_is_the_numbers_worked_out_by_hand():
    heat = torch.tensor([[1.0, 0.5, 0.0, 0.0], [0.25, 0.25, 0.0, 0.0]])
    organ = box((2, 4), 0, slice(0, 2))
    found = by_name(checks.plausibility(heat, organ))
    assert found["organ: energy"].value == pytest.approx(0.75)
    assert found["organ: enrichment"].value == pytest.approx(3.0)
    assert found["organ: rank accuracy"].value == 1.0
    assert {result.outcome for result in found.values()} == {Outcome.PASS}
    away = by_name(checks.plausibility(heat, box((2, 4), slice(0, 2), 3)))
    assert {result.outcome for result in away.values()} == {Outcome.FLAG}


def test_the_tolerance_is_in_millimetres_along_each_axis():
    mask = box((9, 9), 4, 4)
    wide = dilate(mask, 2.0, (1.0, 2.0))
    expected = {(r, c) for r in range(9) for c in range(9) if (r - 4) ** 2 + (2 * (c - 4)) ** 2 <= 4}
    assert {tuple(place) for place in wide.nonzero().tolist()} == expected
    heat = torch.zeros(9, 9)
    heat[6, 4] = 1
    assert checks.plausibility(heat, mask, spacing=(1.0, 2.0), limits=Limits(tolerance_mm=2))[0].value == 1
    assert checks.plausibility(heat, mask, spacing=(1.5, 2.0), limits=Limits(tolerance_mm=2))[0].value == 0
    film = checks.plausibility(heat, mask, spacing=(1.0, 2.0), measured=Measured.FILM, limits=Limits(tolerance_mm=2))[0]
    assert "tolerance 2 mm on the film" in film.detail
    unknown = checks.plausibility(heat, mask, limits=Limits(tolerance_mm=2))[0]
    assert unknown.value == 0
    assert "spacing unknown" in unknown.detail


def test_rank_accuracy_is_a_count_and_chance_for_a_constant_map():
    rng = np.random.default_rng(0)
    heat, mask = rng.random((3, 5, 6)), rng.random((3, 5, 6)) < 0.3
    expected = [mask[n].ravel()[np.argsort(-heat[n].ravel())[: mask[n].sum()]].mean() for n in range(3)]
    found = checks.rank_accuracy(torch.from_numpy(heat), torch.from_numpy(mask))
    assert found.tolist() == pytest.approx(expected)
    constant = checks.rank_accuracy(torch.ones(1, 5, 6), torch.from_numpy(mask[:1]))
    assert float(constant) == pytest.approx(mask[0].mean())


@pytest.mark.parametrize(
    ("heat", "mask", "probability", "why"),
    [
        (torch.rand(4, 4), torch.zeros(4, 4, dtype=torch.bool), None, "is empty"),
        (torch.rand(4, 4), torch.ones(4, 4, dtype=torch.bool), None, "fills"),
        (torch.zeros(4, 4), box((4, 4), 0), None, "no positive evidence"),
        (torch.full((4, 4), torch.nan), box((4, 4), 0), None, "not finite"),
        (torch.rand(4, 4), box((4, 4), 0), 0.2, "probability of 0.200"),
    ],
)
def test_what_cannot_be_judged_is_not_assessed_and_says_why(heat, mask, probability, why):
    for check in (checks.plausibility, checks.artefact_sensitivity):
        for result in check(heat, mask, probability=probability):
            assert result.outcome is Outcome.NOT_ASSESSED
            assert result.value is None
            assert why in result.detail


# --- findings, zones, similar cases ---------------------------------------------------------------------------


def test_missed_and_false_findings_are_counted_and_listed():
    heat = torch.zeros(20, 20)
    heat[2:5, 2:5] = 1
    heat[15:18, 1:3] = 0.8
    findings = box((20, 20), slice(2, 6), slice(2, 6)) | box((20, 20), slice(10, 13), slice(14, 17))
    covered, false = checks.finding_coverage(heat, findings)
    assert (covered.value, covered.outcome) == (0.5, Outcome.FLAG)
    assert "missed (11, 15)" in covered.detail
    assert (false.value, false.outcome) == (1, Outcome.PASS)
    assert "(16, 2)" in false.detail
    assert checks.finding_coverage(heat, findings, limits=Limits(false_regions=0))[1].outcome is Outcome.FLAG


def test_a_volume_is_checked_as_its_slice():
    torch.manual_seed(1)
    heat, mask = torch.rand(8, 9), torch.rand(8, 9) < 0.2
    for check in (checks.plausibility, checks.artefact_sensitivity, checks.finding_coverage):
        flat, deep = check(heat, mask), check(heat[None], mask[None])
        assert [r.value for r in flat] == [r.value for r in deep]


def test_the_reported_zone_is_held_against_the_strongest():
    heat = torch.tensor([[0.2, 0.0], [1.0, 0.8]])
    zones = {"upper": box((2, 2), 0), "lower": box((2, 2), 1)}
    lower, upper = (checks.zone_agreement(heat, zones, name) for name in ("lower", "upper"))
    assert (lower.outcome, lower.value) == (Outcome.PASS, pytest.approx(0.9))
    assert (upper.outcome, upper.value) == (Outcome.FLAG, pytest.approx(0.1))
    assert "most lies in lower (90.0%)" in upper.detail
    with pytest.raises(InputError, match="middle"):
        checks.zone_agreement(heat, zones, "middle")


def test_similar_cases_are_consistent_when_their_maps_are():
    blob = torch.rand(5, 5)
    same = checks.similar_cases(torch.stack([blob, blob, blob]), torch.ones(3))
    assert (same.value, same.outcome) == (pytest.approx(1.0), Outcome.PASS)
    apart = torch.zeros(2, 4)
    apart[0, 0] = apart[1, 3] = 1
    assert checks.similar_cases(apart, torch.ones(2)).outcome is Outcome.FLAG
    assert checks.similar_cases(apart[:1], torch.ones(1)).outcome is Outcome.NOT_ASSESSED


# --- limits ---------------------------------------------------------------------------------------------------


# --- interventions --------------------------------------------------------------------------------------------


# --- the demo world -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def paced():
    """Phantoms with a pacemaker that neither network was trained or tested on, from both worlds."""
    drawn = (sample_phantom(seed, world="shortcut" if seed % 2 else "honest") for seed in range(5_300_000, 5_300_090))
    return [phantom for phantom in drawn if "pacemaker" in phantom.devices][:24]


def checked(phantoms, *, shortcut):
    """The artefact checks of the predicted class of each phantom, and whether that class is consolidation."""
    explain = Explainer(load_demo_network(shortcut=shortcut), [METHOD], classes=CLASSES, probability="sigmoid")
    x = preprocess(torch.stack([torch.from_numpy(phantom.image) for phantom in phantoms]))
    explanation = explain(x)
    results = []
    for n, phantom in enumerate(phantoms):
        device = torch.from_numpy(phantom.masks["pacemaker"] | phantom.masks["lead"])
        target = int(explanation.targets[n, 0])
        heat = explanation.heatmaps(METHOD)[n, 0]
        still = checks.artefact_sensitivity(heat, device, probability=explanation.probability(n, 0))
        results.append(still + checks.artefact_intervention(explain, x[n : n + 1], device, target, METHOD))
    return results, [CLASSES[int(t)] for t in explanation.targets[:, 0]]


def test_the_artefact_check_catches_the_shortcut_network_and_passes_the_honest_one(paced):
    assert len(paced) == 24
    honest, _ = checked(paced, shortcut=False)
    shortcut, classes = checked(paced, shortcut=True)
    for result in checks.over_cases(honest, Limits()):
        assert result.outcome is Outcome.PASS, result
        assert result.value <= 0.1, result
    caught = by_name(checks.over_cases(shortcut, Limits()))
    for name in ("artefact: enrichment", "artefact removed: probability", "artefact removed: map"):
        assert caught[f"all cases: {name}"].outcome is Outcome.FLAG, caught
        assert caught[f"all cases: {name}"].value >= 0.4
    called = [case for case, name in zip(shortcut, classes, strict=True) if name == "consolidation"]
    assert len(called) >= 12
    assert count_outcomes(called)["artefact: enrichment"] == {"pass": 0, "flag": len(called), "not assessed": 0}


def test_the_honest_network_looks_at_the_consolidation_and_not_elsewhere():
    phantoms = [sample_phantom(seed) for seed in range(5_200_000, 5_200_060)]
    phantoms = [phantom for phantom in phantoms if phantom.findings == ("consolidation",)][:6]
    explain = Explainer(load_demo_network(), [METHOD], classes=CLASSES, probability="sigmoid")
    explanation = explain(
        preprocess(torch.stack([torch.from_numpy(phantom.image) for phantom in phantoms])), "consolidation"
    )
    for n, phantom in enumerate(phantoms):
        mask = torch.from_numpy(phantom.masks["consolidation"])
        heat = explanation.heatmaps(METHOD)[n, 0]
        found = by_name(checks.plausibility(heat, mask, probability=explanation.probability(n, 0)))
        if found["organ: enrichment"].value is not None:
            assert found["organ: enrichment"].value > 5
            assert checks.finding_coverage(heat, mask)[0].value == 1


# --- masks ----------------------------------------------------------------------------------------------------


# --- real radiographs -----------------------------------------------------------------------------------------


def test_ct_lungs_are_the_air_inside_the_body():
    voxels = np.full((12, 40, 40), -1000, dtype=np.float32)
    rows, columns = np.mgrid[:40, :40]
    voxels[:, ((rows - 20) / 16) ** 2 + ((columns - 20) / 18) ** 2 <= 1] = 40
    left, right = ((rows - 20) ** 2 + (columns - c) ** 2 <= 36 for c in (11, 29))
    voxels[:, left | right] = -850
    voxels[5:7, 20, 11] = 40  # a vessel
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = 3, 1, 1, 1  # slices, rows, columns: S, A, R
    lungs = CtLungs()(Volume(voxels, affine))["lungs"].numpy()
    assert lungs[6, 20, 11]
    assert (lungs & (left | right)).sum() == 12 * (left | right).sum()
    assert lungs.sum() <= 1.15 * 12 * (left | right).sum()
    with pytest.raises(InputError, match="CT volume"):
        CtLungs()(Image(np.zeros((4, 4), np.uint8), None, ""))


def test_masks_of_another_size_are_resampled_with_a_notice_and_of_another_shape_refused(tmp_path):
    from PIL import Image as Picture

    Picture.fromarray(np.zeros((4, 6), np.uint8)).save(tmp_path / "image.png")
    image = read_image(tmp_path / "image.png")
    half = np.zeros((4, 6), np.uint8)
    half[:, 3:] = 255
    for name, pixels in {"same": half, "small": half[::2, 1::2], "turned": half.T, "empty": half * 0}.items():
        Picture.fromarray(np.ascontiguousarray(pixels)).save(tmp_path / f"{name}.png")
    mask, notices = read_mask(tmp_path / "same.png", image)
    assert mask.tolist() == (half > 0).tolist()
    assert notices == ()
    mask, notices = read_mask(tmp_path / "small.png", image)
    assert mask.shape == (4, 6)
    assert "resampled" in notices[0]
    assert "empty" in read_mask(tmp_path / "empty.png", image)[1][0]
    with pytest.raises(InputError, match="proportions"):
        read_mask(tmp_path / "turned.png", image)


def test_a_nifti_mask_on_another_grid_lands_at_its_place(tmp_path):
    fine = Volume(np.zeros((8, 8, 8), np.float32), np.diag([1.0, 1, 1, 1]))
    coarse = Volume(
        np.zeros((4, 4, 4), np.float32), np.array([[2.0, 0, 0, 0.5], [0, 2, 0, 0.5], [0, 0, 2, 0.5], [0, 0, 0, 1]])
    )
    values = np.zeros((4, 4, 4), np.float32)
    values[1, 2, 3] = 1
    path = save_map_nifti(values, coarse, tmp_path / "mask.nii")
    mask, notices = read_mask(path, fine)
    assert "another grid" in notices[0]
    expected = np.zeros((8, 8, 8), bool)
    expected[2:4, 4:6, 6:8] = True
    assert np.array_equal(mask.numpy(), expected)
    mask, notices = read_mask(path, coarse)
    assert np.array_equal(mask.numpy(), values > 0)
    assert notices == ()
    with pytest.raises(InputError, match="NIfTI for a volume"):
        read_mask("mask.png", fine)


@pytest.mark.data
def test_real_radiographs_are_reported_as_they_are(data):
    from cfcam.imaging import Preprocess
    from cfcam.models import load

    folder = data / "cxr-covid-masks"
    network = load(f"{data / 'networks.py'}:cxr_mobilenet_v2")
    explain = Explainer(network.module, [METHOD])
    pre = Preprocess(size=224, mean=(128 / 255,) * 3, std=(128 / 255,) * 3)
    seen = 0
    for file in sorted((folder / "masks").glob("*__devices.png")):
        stem = file.name.removesuffix("__devices.png")
        image = read_image(folder / "images" / f"{stem}.jpg")
        x = pre(image)[None]
        explanation = explain(x, 1)
        heat = pre.to_original(explanation.heatmaps(METHOD)[0, 0], image.size)
        device = read_mask(file, image)[0]
        results = checks.artefact_sensitivity(heat, device)
        results += checks.artefact_intervention(explain, x, pre.mask(device), 1, METHOD)
        results += checks.retest_stability(explain, x, 1, METHOD)
        for part, check in {"lungs": checks.plausibility, "finding": checks.finding_coverage}.items():
            path = folder / "masks" / f"{stem}__{part}.png"
            if path.exists():
                results += check(heat, read_mask(path, image)[0])
        for result in results:
            assert result.value is not None, result
            assert math.isfinite(result.value)
            assert 0 <= result.value <= (1 if result.unit in ("share", "probability") else math.inf)
        seen += 1
    assert seen == 7
