"""Folders that hold maps: what a run wrote, and a saved explanation, with its pictures and without."""

from __future__ import annotations

import io
import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch

from cfcam.explanation import Explanation
from cfcam.files import sha256_of
from cfcam.jobs import Save
from tests.jobs.world import folder_of, run, written
from tests.web.server import client_of, settings_of

CORNERS = ((0, 0), (0, 1), (1, 1), (1, 0))  # of the white block of each picture: lower half, right half


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    folder_of(folder / "in", 4)
    (folder / "in" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for _ in run(folder / "in", folder / "out", save=frozenset({Save.MAPS})):
        pass
    return folder


def details(client):
    listed = client.get("/api/studies").json()["studies"]
    return {one["name"]: client.get(f"/api/studies/{one['id']}").json() for one in listed}


def array_of(client, found):
    return np.load(io.BytesIO(client.get(found["url"].replace(".nii", ".npy")).content))


def half(place, size):
    return tuple(int(at >= length / 2) for at, length in zip(place, size, strict=True))


def test_the_maps_of_a_run_lie_on_their_pictures_and_say_what_the_run_said(world):
    before = {name: sha256_of(world / "out" / name) for name in written(world / "out")}
    with client_of(settings_of(world / "out")) as client:
        listed = {one["name"]: one for one in client.get("/api/studies").json()["studies"]}
        assert (listed["picture1.png"]["predicted"], listed["picture1.png"]["maps"]) == ("bright", 1)
        found = details(client)
        for n, corner in enumerate(CORNERS):
            detail = found[f"picture{n}.png"]
            (one,) = detail["maps"]
            raw = array_of(client, one)
            assert raw.shape == (48, 64) == tuple(detail["shape"])
            assert half(one["peak"]["index"], (48, 64)) == corner
            assert one["scale_max"] == pytest.approx(raw.max(), rel=1e-4)
            sent = client.get(one["url"]).content
            steps = np.frombuffer(sent[352:], np.uint8).reshape(48, 64)
            assert np.abs(steps / 255 - raw.clip(0) / raw.max()).max() <= 0.5 / 255 + 1e-5
            assert 0 < one["threshold"] < 1
            assert sum(detail["probabilities"].values()) == pytest.approx(1)
            whole = np.frombuffer(client.get(one["url"], params={"raw": True}).content[352:], np.float32)
            assert np.array_equal(whole.reshape(48, 64), raw)
        assert found["broken.png"].keys() == {"error"}
    assert {name: sha256_of(world / "out" / name) for name in written(world / "out")} == before


def test_ids_of_maps_stay_and_those_of_two_pictures_differ(world):
    ids = []
    for _ in range(2):
        with client_of(settings_of(world / "out")) as client:
            ids.append([one["id"] for detail in details(client).values() for one in detail.get("maps", ())])
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 4


def test_where_the_pictures_are_gone_the_maps_are_shown_over_black_and_it_is_said(world, tmp_path):
    shutil.copytree(world / "in", tmp_path / "in")
    for _ in run(tmp_path / "in", tmp_path / "out", save=frozenset({Save.MAPS})):
        pass
    shutil.rmtree(tmp_path / "in")
    with client_of(settings_of(tmp_path / "out")) as client:
        detail = details(client)["picture2"]
    assert (detail["shape"], detail["values"]["max"]) == ([32, 32], 0)
    assert "is not where it was" in detail["notices"][-1]
    assert half(detail["maps"][0]["peak"]["index"], (32, 32)) == CORNERS[2]


def test_a_saved_explanation_is_shown_alone_or_over_the_picture_that_is_opened_with_it(world):
    saved = world / "out" / "picture2_maps"
    with client_of(settings_of(saved)) as client:
        (detail,) = details(client).values()
        assert (detail["name"], detail["shape"]) == ("image 1", [32, 32])
        assert "holds no picture" in detail["notices"][-1]
    with client_of(settings_of(saved, world / "in" / "picture2.png")) as client:
        (detail,) = details(client).values()
        assert (detail["name"], detail["shape"]) == ("picture2.png", [48, 64])
        assert half(detail["maps"][0]["peak"]["index"], (48, 64)) == CORNERS[2]
        assert "laid over all of it" in detail["notices"][-1]


def test_a_saved_explanation_of_a_volume_lies_along_the_axes_of_the_file_that_is_opened_with_it(tmp_path):
    cells = torch.zeros(1, 1, 3, 2, 2)
    cells[0, 0, 2, 0, 1] = 1
    logits = torch.tensor([[2.0, 0.0]])
    chosen = torch.zeros(1, 1, dtype=torch.int64)
    Explanation(
        {"grad-cam": cells}, chosen, logits[:, :1].clone(), logits, logits.softmax(1), "features", (6, 4, 4)
    ).save(tmp_path / "maps")
    values = np.arange(12 * 8 * 4, dtype=np.int16).reshape(12, 8, 4)
    nib.save(nib.Nifti1Image(values, np.diag([-1.0, 1, 2, 1])), tmp_path / "scan.nii")
    with client_of(settings_of(tmp_path / "maps", tmp_path / "scan.nii")) as client:
        (detail,) = details(client).values()
        (one,) = detail["maps"]
        raw = array_of(client, one)
    assert raw.shape == (12, 8, 4) == tuple(detail["shape"])
    assert [at // part for at, part in zip(one["peak"]["index"], (4, 4, 2), strict=True)] == [2, 0, 1]
    assert raw[11, 0, 3] == raw.max() == 1
    assert not raw[:5].any()
    assert "along the axes of its file" in detail["notices"][-1]


def test_a_broken_explanation_is_told_in_one_line_without_its_path(world, tmp_path):
    broken = tmp_path / "maps"
    shutil.copytree(world / "out" / "picture1_maps", broken)
    (broken / "maps.safetensors").write_bytes(b"nothing")
    with client_of(settings_of(broken)) as client:
        listed = client.get("/api/studies").json()["studies"]
        answer = client.get(f"/api/studies/{listed[0]['id']}")
    assert answer.status_code == 422
    assert "is broken: explain it again" in answer.json()["error"]
    assert str(tmp_path) not in answer.text


def test_files_made_of_a_runs_maps_say_which_weights_made_them_and_the_same_numbers_as_the_run(world):
    (made,) = json.loads((world / "out" / "run.json").read_bytes())["runs"].values()
    with client_of(settings_of(world / "out")) as client:
        listed = {one["name"]: one["id"] for one in client.get("/api/studies").json()["studies"]}
        study = listed["picture2.png"]
        (one,) = client.get(f"/api/studies/{study}").json()["maps"]
        body = {"study": study, "maps": [one["id"]], "format": "json"}
        numbers = client.post("/api/exports", json=body).json()
    assert numbers["model"]["weights_sha256"] == made["settings"]["model"]["sha256"]
    assert len(numbers["model"]["weights_sha256"]) == 64
    (found,) = numbers["maps"]
    assert found["parameters"] == made["settings"]["methods"][one["method"]]
    assert found["regions"]["threshold"] == one["threshold"]
    assert found["regions"]["regions"][0]["peak"] == one["peak"]["index"]
    assert found["probability"] == one["probability"]
    assert str(world) not in json.dumps(numbers)
