from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest

from cfcam.errors import CfcamError
from cfcam.models.demo import DEVICES, FINDINGS, Phantom, make_phantom, sample_phantom
from cfcam.models.demo.canvas import Canvas

SEEDS = range(100, 116)
LUNGS = ("left lung", "right lung")
# Grey values of one phantom, every 24th pixel: a change means that the networks need new training.
GOLDEN = [
    [8, 169, 184, 153, 8],
    [162, 59, 190, 93, 246],
    [109, 56, 225, 55, 57],
    [112, 53, 210, 199, 69],
    [134, 200, 218, 202, 63],
]


def grey(phantom: Phantom) -> np.ndarray:
    return phantom.image.astype(int)


def lungs(phantom: Phantom) -> np.ndarray:
    return phantom.masks["left lung"] | phantom.masks["right lung"]


def centre(mask: np.ndarray) -> tuple[float, float]:
    """Row and column of a mask's centre, as shares of the picture."""
    rows, columns = np.nonzero(mask)
    return float(rows.mean()) / mask.shape[0], float(columns.mean()) / mask.shape[1]


def grown(mask: np.ndarray, pixels: int) -> np.ndarray:
    """The mask and everything within so many pixels of it (in rows and columns)."""
    out = mask.copy()
    for _ in range(pixels):
        padded = np.pad(out, 1)
        out = np.logical_or.reduce([padded[i : i + len(out), j : j + len(out)] for i in range(3) for j in range(3)])
    return out


def test_a_seed_and_its_arguments_decide_every_pixel() -> None:
    one, two = (make_phantom(7, size=128, findings=FINDINGS, devices=DEVICES) for _ in range(2))
    assert np.array_equal(one.image, two.image)
    assert all(np.array_equal(one.masks[name], two.masks[name]) for name in one.masks)
    assert np.abs(grey(one) - grey(make_phantom(8, size=128, findings=FINDINGS, devices=DEVICES))).mean() > 5


def test_a_seed_gives_the_same_patient_on_every_platform() -> None:
    phantom = make_phantom(7, size=128, findings=("nodule",), devices=("pacemaker",))
    samples = grey(phantom)[8::24, 8::24]
    assert np.abs(samples - GOLDEN).max() <= 2


def test_the_picture_and_its_masks_have_the_promised_form() -> None:
    phantom = make_phantom(3, size=160, findings=["effusion", "nodule"], devices=["tube", "pacemaker"])
    parts = {*LUNGS, "heart", "spine", "ribs", "effusion", "nodule", "pacemaker", "lead", "tube", "marker"}
    assert phantom.image.shape == (160, 160)
    assert phantom.image.dtype == np.uint8
    assert set(phantom.masks) == parts
    assert all(mask.shape == (160, 160) and mask.dtype == np.bool_ for mask in phantom.masks.values())
    assert (phantom.findings, phantom.devices, phantom.seed) == (
        ("nodule", "effusion"),
        ("pacemaker", "tube"),
        3,
    )
    assert "marker" not in make_phantom(3, size=64, marker=None).masks


def test_every_part_has_a_plausible_size() -> None:
    bounds = {
        "left lung": (0.10, 0.28), "right lung": (0.12, 0.30), "heart": (0.04, 0.12), "spine": (0.05, 0.11),
        "ribs": (0.08, 0.35), "nodule": (0.0018, 0.012), "consolidation": (0.008, 0.07),
        "effusion": (0.006, 0.10), "pacemaker": (0.005, 0.012), "lead": (0.002, 0.012),
        "tube": (0.002, 0.015), "marker": (0.0005, 0.003),
    }  # fmt: skip
    for seed in SEEDS:
        phantom = make_phantom(seed, size=192, findings=FINDINGS, devices=DEVICES)
        for name, (low, high) in bounds.items():
            assert low < phantom.masks[name].mean() < high, (seed, name)


def test_anatomy_belongs_to_the_patient_and_not_to_the_findings() -> None:
    plain = make_phantom(21, size=128)
    full = make_phantom(21, size=128, findings=FINDINGS, devices=DEVICES, marker=None)
    for name in (*LUNGS, "heart", "spine", "ribs"):
        assert np.array_equal(plain.masks[name], full.masks[name])


@pytest.mark.parametrize("finding", FINDINGS)
def test_a_finding_stays_where_it_is_when_others_join(finding: str) -> None:
    alone = make_phantom(22, size=128, findings=[finding])
    joined = make_phantom(22, size=128, findings=FINDINGS)
    assert np.array_equal(alone.masks[finding], joined.masks[finding])


def test_the_picture_obeys_the_radiological_convention() -> None:
    for seed in SEEDS:
        phantom = make_phantom(seed, size=128)
        at = {name: centre(mask) for name, mask in phantom.masks.items()}
        assert at["left lung"][1] > at["spine"][1] > at["right lung"][1]
        assert at["heart"][1] > at["spine"][1] + 0.02
        assert at["marker"][0] < 0.15
        assert at["marker"][1] > 0.85
    assert centre(make_phantom(0, size=128, marker="R").masks["marker"])[1] < 0.15
    paced = [make_phantom(seed, size=64, devices=["pacemaker"]).masks["pacemaker"] for seed in range(40)]
    sides = [centre(mask)[1] > 0.5 for mask in paced]
    assert 0.75 < np.mean(sides) < 1


def test_lungs_are_dark_and_heart_and_spine_bright() -> None:
    for seed in SEEDS:
        phantom = make_phantom(seed, size=128)
        lung = grey(phantom)[lungs(phantom)].mean()
        assert lung + 60 < grey(phantom)[phantom.masks["heart"]].mean()
        assert lung + 60 < grey(phantom)[phantom.masks["spine"]].mean()


@pytest.mark.parametrize("finding", FINDINGS)
def test_a_finding_lies_within_one_lung(finding: str) -> None:
    for seed in SEEDS:
        phantom = make_phantom(seed, size=192, findings=[finding])
        inside = [bool((phantom.masks[finding] & ~phantom.masks[lung]).sum() == 0) for lung in LUNGS]
        assert sum(inside) == 1, seed


@pytest.mark.parametrize("finding", FINDINGS)
def test_a_finding_brightens_its_mask_and_nothing_beyond_its_soft_edge(finding: str) -> None:
    for seed in SEEDS:
        sick = make_phantom(seed, size=192, findings=[finding])
        change = grey(sick) - grey(make_phantom(seed, size=192))
        mask = sick.masks[finding]
        assert change.min() >= 0, seed
        assert change[mask].mean() > 25, seed
        assert change[mask].min() > change.max() / 5, seed
        assert not change[~grown(lungs(sick), 3)].any(), seed
        assert change[~mask].sum() < 0.8 * change[mask].sum(), seed


def test_a_nodule_is_a_disc_of_half_its_attenuation() -> None:
    checked = 0
    for seed in SEEDS:
        phantom = make_phantom(seed, size=384, findings=["nodule"])
        mask = phantom.masks["nodule"]
        if (grown(mask, 10) & ~lungs(phantom)).any():
            continue
        rows, columns = np.nonzero(mask)
        width, height = np.ptp(columns) + 1, np.ptp(rows) + 1
        assert 0.03 * 0.95 < width / 2 / 384 < 0.055 * 1.06
        assert abs(width - height) <= 0.12 * width
        assert mask.sum() == pytest.approx(np.pi / 4 * width * height, rel=0.06)
        checked += 1
    assert checked > len(SEEDS) / 2


def test_an_effusion_fills_the_costophrenic_angle() -> None:
    for seed in SEEDS:
        phantom = make_phantom(seed, size=192, findings=["effusion"])
        fluid = phantom.masks["effusion"]
        lung = next(phantom.masks[name] for name in LUNGS if (phantom.masks[name] & fluid).any())
        assert centre(fluid)[0] > centre(lung)[0] + 0.1
        rows, columns = np.nonzero(lung)
        outer = np.abs(columns - 96) > 0.3 * 192
        lowest = np.argmax(np.where(outer, rows, 0))
        near = np.zeros_like(lung)
        near[rows[lowest], columns[lowest]] = True
        assert (grown(near, 4) & fluid).any(), seed


def test_several_findings_lie_apart() -> None:
    for seed in range(100, 140):
        masks = make_phantom(seed, size=96, findings=FINDINGS).masks
        for one, two in combinations(FINDINGS, 2):
            assert not (masks[one] & masks[two]).any(), (seed, one, two)


@pytest.mark.parametrize("device", DEVICES)
def test_a_device_changes_its_own_pixels_only(device: str) -> None:
    own = {"pacemaker": ("pacemaker", "lead"), "tube": ("tube",)}[device]
    for seed in SEEDS:
        fitted = make_phantom(seed, size=192, findings=["nodule"], devices=[device])
        change = grey(fitted) - grey(make_phantom(seed, size=192, findings=["nodule"]))
        mask = np.logical_or.reduce([fitted.masks[name] for name in own])
        assert not change[~grown(mask, 2)].any(), seed
        assert change.min() >= 0, seed
        assert change[mask].mean() > 15, seed


def test_the_pacemaker_mask_is_the_bright_box() -> None:
    for seed in SEEDS:
        paced = make_phantom(seed, size=256, devices=["pacemaker"])
        mask, lead = paced.masks["pacemaker"], paced.masks["lead"]
        change = grey(paced) - grey(make_phantom(seed, size=256))
        change[grown(lead, 2) & ~mask] = 0
        bright = change > np.median(change[mask]) * 0.3
        assert (bright & mask).sum() / (bright | mask).sum() > 0.88, seed
        assert not (mask & lead).any()
        assert (grown(lead, 3) & mask).any(), "the lead starts at the generator"
        assert (lead & paced.masks["heart"]).sum() > 0.1 * lead.sum(), "and ends in the heart"


def test_the_size_changes_the_resolution_only() -> None:
    fine = make_phantom(5, size=384, findings=FINDINGS, devices=DEVICES)
    coarse = make_phantom(5, size=192, findings=FINDINGS, devices=DEVICES)
    mean = fine.image.reshape(192, 2, 192, 2).mean(axis=(1, 3))
    assert np.abs(mean - coarse.image).mean() < 4
    for name, mask in coarse.masks.items():
        share = fine.masks[name].reshape(192, 2, 192, 2).mean(axis=(1, 3))
        assert not (mask & ~grown(share > 0, 1)).any(), name
        assert not ((share == 1) & ~grown(mask, 1)).any(), name
        assert mask.mean() == pytest.approx(share.mean(), rel=0.2), name


def test_conspicuity_fades_a_finding_but_not_its_mask() -> None:
    plain, usual = make_phantom(9, size=128), make_phantom(9, size=128, findings=["consolidation"])
    faint = make_phantom(9, size=128, findings=["consolidation"], conspicuity=0.2)
    mask = usual.masks["consolidation"]
    assert np.array_equal(mask, faint.masks["consolidation"])
    full, little = ((grey(other) - grey(plain))[mask].mean() for other in (usual, faint))
    assert 0.1 * full < little < 0.3 * full


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"findings": ["mass"]}, "unknown finding 'mass': choose from nodule, consolidation, effusion"),
        ({"findings": "nodule"}, r"write \['nodule'\]"),
        ({"devices": ["stent"]}, "unknown device 'stent'"),
        ({"marker": "X"}, "unknown marker 'X'"),
        ({"size": 32}, "size is 32"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_a_mistake_is_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(CfcamError, match=message):
        make_phantom(**{"seed": 0, **arguments})  # type: ignore[arg-type]


def test_devices_are_chance_in_the_honest_world_and_a_giveaway_in_the_other() -> None:
    for world, sick_range, well_range in (
        ("honest", (0.15, 0.45), (0.15, 0.45)),
        ("shortcut", (0.9, 1.0), (0.0, 0.08)),
    ):
        cases = [sample_phantom(seed, size=64, world=world) for seed in range(200)]  # type: ignore[arg-type]
        sick = [case for case in cases if "consolidation" in case.findings]
        well = [case for case in cases if "consolidation" not in case.findings]
        for group, (low, high) in ((sick, sick_range), (well, well_range)):
            assert low <= np.mean(["pacemaker" in case.devices for case in group]) <= high, world
        counts = np.bincount([len(case.findings) for case in cases], minlength=4) / len(cases)
        assert 0.2 < counts[0] < 0.4
        assert 0.1 < counts[2] + counts[3] < 0.28


def test_a_stroke_is_the_distance_to_its_nearest_piece() -> None:
    canvas = Canvas(96)
    turn, scale = 0.3, 1.07
    x = ((np.cos(turn) * canvas.x + np.sin(turn) * (canvas.y - 0.5)) / scale).astype(np.float32)
    y = ((np.cos(turn) * (canvas.y - 0.5) - np.sin(turn) * canvas.x) / scale + 0.5).astype(np.float32)
    points = [(-0.3, 0.2), (0.1, 0.3), (0.15, 0.7)]
    dense = np.concatenate([np.linspace(a, b, 400) for a, b in pairwise(points)])
    expected = np.hypot(x[..., None] - dense[:, 0], y[..., None] - dense[:, 1]).min(axis=-1)
    near = expected < 0.034
    np.testing.assert_allclose(canvas.stroke(x, y, points)[near], expected[near], atol=1e-3)
