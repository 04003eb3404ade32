import csv
import io
import json
import math
import tracemalloc

import numpy as np
import pytest
import torch

from cfcam.clinical.regions import measure
from cfcam.errors import ImageError, InputError
from cfcam.imaging.measured import Measured

HEAT = torch.tensor([[0.0, 0.2, 0.0, 0.0], [0.0, 0.0, 0.6, 0.0], [0.8, 0.0, 0.0, 1.0]])


def test_every_number_of_a_picture_is_the_one_worked_out_by_hand():
    table = measure(HEAT, (2.0, 0.5), 0.5)
    region = table["map"]
    # Marked: (1, 2) 0.6, (2, 0) 0.8, (2, 3) 1.0; the first and the last touch by a corner.
    assert (region.count, region.components) == (3, 2)
    assert (region.size, region.largest, region.unit) == (3.0, 2.0, "mm²")
    assert region.peak == (2, 3)
    assert region.peak_mm == (4.0, 1.5)
    assert region.peak_patient is None
    assert region.centroid == pytest.approx((5 / 3, 5 / 3))
    assert region.centroid_mm == pytest.approx((10 / 3, 5 / 6))
    assert region.mean == pytest.approx(0.8)
    assert region.sd == pytest.approx(math.sqrt(0.08 / 3))
    assert region.maximum == 1.0
    assert region.energy == pytest.approx(2.4 / 2.6)


def test_without_spacing_sizes_are_counted_and_the_unit_says_so():
    assert measure(HEAT, None, 0.5)["map"].unit == "pixels"
    assert measure(HEAT, None, 0.5)["map"].size == 3
    assert measure(HEAT, None, 0.5)["map"].peak_mm is None
    assert measure(HEAT[None], None, 0.5)["map"].unit == "voxels"


def test_a_volume_is_measured_in_mm3_and_placed_in_the_patient():
    rng = np.random.default_rng(0)
    heat = rng.random((5, 6, 7)).astype(np.float32)
    affine = np.array([[0, 0, -0.7, 30], [0, 1.5, 0, -20], [4.0, 0, 0, 10], [0, 0, 0, 1]])
    region = measure(torch.from_numpy(heat), None, 0.9, affine=affine)["map"]
    marked = heat >= np.float32(0.9)
    assert region.unit == "mm³"
    assert region.size == pytest.approx(marked.sum() * 0.7 * 1.5 * 4)
    peak = np.unravel_index(heat.argmax(), heat.shape)
    assert region.peak == peak
    assert region.peak_patient == pytest.approx((affine @ [*peak, 1])[:3])
    centre = np.argwhere(marked).mean(0)
    assert region.centroid_patient == pytest.approx((affine @ [*centre, 1])[:3])
    assert region.centroid_mm == pytest.approx(centre * [4, 1.5, 0.7])
    assert region.energy == pytest.approx(heat[marked].sum() / heat.sum())


def test_a_picture_with_an_affine_lies_in_its_plane():
    affine = np.array([[0, 0.5, 0, 1], [0, 0, 1, 2], [-0.5, 0, 0, 3], [0, 0, 0, 1.0]])
    region = measure(HEAT, (0.5, 0.5), 0.9, affine=affine)["map"]
    assert region.peak_patient == pytest.approx((1 + 3 * 0.5, 2, 3 - 2 * 0.5))


def test_depth_1_has_the_numbers_of_the_slice():
    flat, deep = measure(HEAT, (2, 3), 0.5)["map"], measure(HEAT[None], (1, 2, 3), 0.5)["map"]
    assert (flat.size, flat.largest, flat.components, flat.mean, flat.sd, flat.energy) == (
        deep.size, deep.largest, deep.components, deep.mean, deep.sd, deep.energy,
    )  # fmt: skip


def test_thresholds():
    ramp = torch.linspace(0, 1, 11)[None]
    assert measure(ramp, None, "quantile:0.9").threshold == pytest.approx(0.9)
    assert measure(ramp, None, "quantile:0.9")["map"].count == 2
    two = torch.tensor([[0.0, 0.1, 0.9, 1.0]])
    assert measure(two)["map"].count == 2
    assert measure(two).rule == "otsu"
    sparse = torch.zeros(1, 100)
    sparse[0, 3] = 1
    assert measure(sparse, None, "quantile:0.5")["map"].count == 1  # 0 is never marked


@pytest.mark.parametrize("threshold", [0, 1.1, "quantile:1", "quantile:x", "median", math.nan])
def test_thresholds_that_are_none_are_refused(threshold):
    with pytest.raises(InputError, match="threshold"):
        measure(HEAT, None, threshold)


def test_masks_are_measured_beside_the_map_and_keep_their_order():
    lung, empty = torch.zeros(2, 3, 4, dtype=torch.bool)
    lung[:2] = True
    table = measure(HEAT, (1, 1), 0.5, {"lung": lung, "device": empty})
    assert [region.name for region in table] == ["map", "lung", "device"]
    assert table["lung"].size == 8
    assert table["lung"].energy == pytest.approx(0.8 / 2.6)
    assert table["lung"].mean == pytest.approx(0.1)
    assert (table["device"].size, table["device"].energy, table["device"].peak) == (0.0, 0.0, None)


@pytest.mark.parametrize("heat", [torch.zeros(3, 4), torch.full((3, 4), torch.nan)])
@pytest.mark.parametrize("threshold", ["otsu", 0.5, "quantile:0.9"])
def test_a_map_without_evidence_marks_nothing_and_is_no_error(heat, threshold):
    table = measure(heat, None, threshold, {"lung": torch.ones(3, 4)})
    assert table.threshold is None
    assert table["map"].count == 0
    assert table["map"].energy is None
    assert table["lung"].energy is None
    json.loads(table.to_json())


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="spacing"):
        measure(HEAT, (1.0,))
    with pytest.raises(InputError, match="spacing"):
        measure(HEAT, (1.0, -1.0))
    with pytest.raises(InputError, match="one map"):
        measure(HEAT[0])
    with pytest.raises(InputError, match=r"\[0, 1\]"):
        measure(HEAT * 7)
    with pytest.raises(InputError, match="transposed"):
        measure(HEAT, masks={"lung": torch.ones(4, 3)})
    with pytest.raises(InputError, match="another"):
        measure(HEAT, masks={"map": torch.ones(3, 4)})
    with pytest.raises(ImageError, match="affine"):
        measure(HEAT, affine=np.zeros((4, 4)))
    with pytest.raises(InputError, match="no region"):
        measure(HEAT)["lung"]


def test_text_json_and_csv_hold_the_same_numbers():
    table = measure(HEAT, (2.0, 0.5), 0.5, {"lung": torch.ones(3, 4)})
    assert json.loads(table.to_json())["regions"][0]["size"] == 3.0
    rows = list(csv.DictReader(io.StringIO(table.to_csv())))
    assert [float(row["size"]) for row in rows] == [3.0, 12.0]
    assert rows[0]["peak_mm"] == "4 1.5"
    assert rows[0]["unit"] == "mm²"
    text = table.to_text().splitlines()
    assert text[1].split()[:3] == ["map", "3", "2"]
    assert "sizes in mm²; threshold 0.5 (0.5)" in text[-1]


def test_sizes_of_a_radiograph_say_where_their_millimetres_are():
    table = measure(HEAT, (2.0, 0.5), 0.5, measured=Measured.DETECTOR)
    assert "sizes in mm² at the detector; " in table.to_text()
    assert "positions in mm at the detector from the first pixel" in table.to_text()
    assert json.loads(table.to_json())["measured"] == "at the detector"
    (row,) = csv.DictReader(io.StringIO(table.to_csv()))
    assert (row["unit"], row["measured"]) == ("mm²", "at the detector")
    assert measure(HEAT, threshold=0.5, measured=Measured.DETECTOR).measured is None  # counted in pixels


def test_a_volume_is_measured_without_copies_of_it():
    places = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, n) for n in (64, 96, 128)], indexing="ij"))
    heat = (1 - places.abs().mean(0)).clamp(0, 1)
    measure(heat[:4], threshold=0.3)  # what is loaded on first use
    tracemalloc.start()
    region = measure(heat, threshold=0.3)["map"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert region.count > 0.8 * heat.numel()
    assert peak < 1.5 * 4 * heat.numel()  # of which masks, and labels of two bytes
    marked = heat[heat >= 0.3].double()
    assert region.mean == pytest.approx(float(marked.mean()), rel=1e-12)
    assert region.sd == pytest.approx(float(marked.std(correction=0)), rel=1e-12)
    assert region.energy == pytest.approx(float(marked.sum() / heat.double().sum()), rel=1e-12)
    assert region.centroid == pytest.approx((heat >= 0.3).nonzero().double().mean(0).tolist(), rel=1e-12)


def test_more_parts_than_two_bytes_count_are_counted():
    dots = torch.zeros(600, 600)
    dots[::2, ::2] = 1
    region = measure(dots, threshold=0.5)["map"]
    assert (region.components, region.count, region.largest) == (90_000, 90_000, 1.0)
