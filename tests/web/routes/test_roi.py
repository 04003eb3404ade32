"""Regions over the wire, in mm as worked out by hand."""

from __future__ import annotations

import json
import math

import nibabel as nib
import numpy as np
import pytest
import torch

pytest.importorskip("skimage")

from cfcam.clinical.regions import measure
from cfcam.imaging import VolumePreprocess
from cfcam.models import load
from tests.jobs.studies import SHAPE, THREE_D, marked_voxels
from tests.web.server import client_of, settings_of

SPACING = (1.0, 2.0, 3.0)


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scan")
    nib.save(nib.Nifti1Image(marked_voxels().astype(np.float32), np.diag([*SPACING, 1])), folder / "scan.nii.gz")
    model = load(f"{THREE_D}:bright", classes=("bright", "dark"))
    unit = VolumePreprocess(intensity="unit")
    with client_of(settings_of(folder, load=lambda: model, model="bright", prepare=lambda *_: unit)) as client:
        (study,) = (one["id"] for one in client.get("/api/studies").json()["studies"])
        (made,) = client.post("/api/explain", json={"study": study, "methods": ["grad-cam"]}).json()["maps"]
        heat = client.app.state.library.find(study).map(made["id"]).heat()
        yield client, {"study": study, "map": made["id"]}, heat


def roi(scan, **more):
    client, base, _ = scan
    return client.post("/api/roi", json={**base, **more})


@pytest.mark.parametrize("threshold", ["otsu", 0.5, "quantile:0.9"])
def test_a_threshold_gives_the_table_of_regions(scan, threshold):
    expected = measure(*map_of(scan), threshold, affine=np.diag([*SPACING, 1.0]))
    found = roi(scan, threshold=threshold).json()
    assert found["table"]["regions"][0] == plain(expected["map"])
    assert (found["table"]["rule"], found["table"]["unit"]) == (str(threshold), "mm³")
    assert found["text"] == expected.to_text()


def map_of(scan):
    return torch.from_numpy(scan[2]), SPACING


def plain(region):
    return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(region).items()}


def test_without_a_threshold_it_is_the_map_s_own(scan):
    assert roi(scan).json()["table"] == roi(scan, threshold="otsu").json()["table"]


def test_a_polygon_on_a_slice_has_an_area_and_in_several_a_volume(scan):
    # axes are i, j, k to the right, front and top: axial slices lie across k, coronal ones across j
    corners = [(1.5, 2.5), (1.5, 7.5), (5.5, 7.5), (5.5, 2.5)]  # 4 by 5 positions
    one = roi(scan, polygon=corners, plane="axial", slice=6).json()
    region = one["table"]["regions"][1]
    assert (region["name"], region["size"], region["unit"]) == ("drawn", 4 * 1.0 * 5 * 2.0, "mm²")
    assert region["centroid_patient"] == [3.5 * 1.0, 5.0 * 2.0, 6 * 3.0]
    assert region["mean"] == pytest.approx(float(scan[2][2:6, 3:8, 6].mean()))
    assert len(one["outlines"]["drawn"]) == 1
    several = roi(scan, polygon=corners, plane="coronal", slice=6, slices=[2, 4]).json()
    region = several["table"]["regions"][1]
    assert (region["size"], region["unit"]) == (4 * 1.0 * 5 * 3.0 * 3 * 2.0, "mm³")
    assert region["mean"] == pytest.approx(float(scan[2][2:6, 2:5, 3:8].mean()))


def test_a_rule_cuts_the_whole_map_also_where_one_slice_is_measured(scan):
    whole = roi(scan, threshold="otsu").json()["table"]
    one = roi(scan, threshold="otsu", polygon=[(0, 0), (0, 3), (3, 3)], slice=0).json()["table"]
    assert (one["threshold"], one["rule"]) == (whole["threshold"], "otsu")


def test_outlines_of_a_slice_go_around_what_the_map_marks(scan):
    heat = scan[2]
    slice_, level = int(np.unravel_index(heat.argmax(), SHAPE)[2]), 0.5
    (line,) = roi(scan, threshold=level, slice=slice_, plane="axial").json()["outlines"]["map"]
    rows, columns = np.array(line).T
    marked = np.argwhere(heat[:, :, slice_] >= level)
    assert (rows.min() <= marked[:, 0].min(), rows.max() >= marked[:, 0].max()) == (True, True)
    assert math.ceil(rows.min()) == marked[:, 0].min()
    assert math.floor(columns.max()) == marked[:, 1].max()


@pytest.mark.parametrize(
    ("more", "status", "words"),
    [
        ({"map": "m-000000000000"}, 404, "no map"),
        ({"threshold": "otsi"}, 422, "otsu"),
        ({"threshold": 0}, 422, "(0, 1]"),
        ({"threshold": 1e400}, 422, "threshold"),
        ({"polygon": [[0, 0], [1, 1], [2, 0]]}, 422, "which slice"),
        ({"polygon": [[0, 0], [1, 1]], "slice": 1}, 422, "polygon"),
        ({"polygon": [[0, 0], [1, 1], [1e308, -1e308]], "slice": 1}, 200, ""),
        ({"polygon": [[0, 0], [1, 1], [2, 0]], "slice": 999}, 422, "slices 0 to 17"),
        ({"polygon": [[0, 0], [1, 1], [2, 0]], "slice": 1, "slices": [3, 99]}, 422, "slices 0 to 17"),
        ({"polygon": [[0, 0], [1, 1], [2, 0]], "slice": 10**30}, 422, "slice"),
        ({"plane": "oblique", "slice": 1}, 422, "plane"),
    ],
)
def test_what_cannot_be_measured_is_told_in_one_line(scan, more, status, words):
    client, base, _ = scan
    content = json.dumps({**base, **more})
    answer = client.post("/api/roi", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert words in answer.text
    assert status == 200 or "\n" not in answer.json()["error"]
