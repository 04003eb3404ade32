"""Maps over the wire: those of ``cfcam explain``, made with the first request, and nothing for who has left."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image as PILImage

from cfcam.imaging import VolumePreprocess
from cfcam.jobs import explain_study
from cfcam.models import load
from cfcam.web.live import maps
from cfcam.web.live.live import Live
from tests.jobs.studies import THREE_D, marked_voxels, nodule_phantom
from tests.waiting import PATIENCE
from tests.web.server import HEADERS, client_of, served, settings_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("studies")
    pixels = nodule_phantom().image
    for n in range(3):
        PILImage.fromarray(np.roll(pixels, 7 * n, axis=1)).save(found / f"chest{n}.png")
    return found


def demo_settings(folder, **more):
    return settings_of(folder, load=lambda: load("demo"), model="demo", **more)


@pytest.fixture(scope="module")
def client(folder):
    with client_of(demo_settings(folder)) as found:
        yield found


def ids(client):
    return [one["id"] for one in client.get("/api/studies?sort=name").json()["studies"]]


def ask(client, study, **more):
    return client.post("/api/explain", json={"study": study, "methods": ["grad-cam"], **more})


def test_the_network_is_loaded_with_the_first_map_and_not_before(folder):
    loaded = []
    settings = settings_of(folder, load=lambda: loaded.append(1) or load("demo"), model="demo")
    with client_of(settings) as client:
        assert client.get("/api/info").json()["model"] == {
            "name": "demo", "layer": None, "layers": [], "classes": [], "loaded": False
        }  # fmt: skip
        study = ids(client)[0]
        assert client.get(f"/api/studies/{study}/original.nii").status_code == 200
        assert not loaded
        assert ask(client, study).status_code == 200
        model = client.get("/api/info").json()["model"]
        assert (model["loaded"], model["layer"], model["classes"][1]) == (True, "layer4", "nodule")
        assert "layer3" in model["layers"]
        ask(client, study, targets=["effusion"])
        assert loaded == [1]


def test_the_network_is_loaded_when_its_layers_are_asked_for(folder):
    loaded = []
    settings = settings_of(folder, load=lambda: loaded.append(1) or load("demo"), model="demo")
    with client_of(settings) as client:
        study = ids(client)[0]
        for _ in range(2):
            model = client.post("/api/model", json={"study": study}).json()
            assert (model["loaded"], model["classes"][1]) == (True, "nodule")
            assert "layer3" in model["layers"]
        assert model == client.get("/api/info").json()["model"]
        assert loaded == [1]
        assert client.get(f"/api/studies/{study}").json()["maps"] == []
        assert client.post("/api/model", json={"study": "s-000000000000"}).status_code == 404
    with client_of(settings_of(folder)) as client:
        assert client.post("/api/model", json={"study": ids(client)[0]}).status_code == 409


def test_a_map_is_that_of_a_study_in_every_number(client, folder):
    answer = ask(client, ids(client)[0], methods=["grad-cam", "cf-cam"], targets=["predicted", 3]).json()
    expected = explain_study(load("demo"), folder / "chest0.png", ("grad-cam", "cf-cam"), ("predicted", 3))
    assert answer["probabilities"] == dict(expected.probabilities)
    for ours, theirs in zip(answer["maps"], expected.maps, strict=True):
        assert (ours["method"], ours["class_name"], ours["class_index"]) == (
            theirs.method, theirs.class_name, theirs.class_index
        )  # fmt: skip
        assert (ours["probability"], ours["status"]) == (theirs.probability, theirs.status)
        assert ours["threshold"] == theirs.regions.threshold
        assert ours["peak"]["index"] == list(theirs.regions["map"].peak)
        raw = np.load(blob(client, ours["url"].replace(".nii", ".npy")))
        np.testing.assert_allclose(raw / np.float32(ours["scale_max"]), theirs.heatmap, rtol=1e-6)
        levels = nib.Nifti1Image.from_bytes(client.get(ours["url"]).content)
        shown = np.asarray(levels.dataobj.get_unscaled())[:, 0].T
        np.testing.assert_array_equal(shown, np.rint(theirs.heatmap * np.float32(255)))
    first = client.get(f"/api/studies/{ids(client)[0]}").json()
    assert {one["id"] for one in answer["maps"]} <= {one["id"] for one in first["maps"]}
    assert (first["predicted"], first["probabilities"]) == ("nodule", answer["probabilities"])


def blob(client, where):
    import io

    return io.BytesIO(client.get(where).content)


def test_maps_of_one_method_share_a_scale_and_those_of_two_do_not(client):
    maps = ask(client, ids(client)[0], methods=["grad-cam", "cf-cam"], targets=[0, 1]).json()["maps"]
    groups = {(one["method"], one["scale_group"]) for one in maps}
    assert len(groups) == 2
    assert len({group for _, group in groups}) == 2
    other = ask(client, ids(client)[1]).json()["maps"][0]
    assert (other["method"], other["scale_group"]) in groups
    layer = ask(client, ids(client)[1], layer="layer3").json()["maps"][0]
    assert layer["scale_group"] not in {group for _, group in groups}


def test_the_same_map_has_the_same_id_everywhere_and_another_map_another(client, folder):
    study = ids(client)[1]
    made = [
        ask(client, study, **more).json()["maps"][0]["id"]
        for more in (
            {},
            {"targets": ["nodule"]},
            {"targets": ["effusion"]},
            {"layer": "layer3"},
            {"methods": ["cf-cam"]},
        )
    ]
    assert made[0] == made[1]  # the predicted class is this one
    assert len(set(made)) == 4
    with client_of(demo_settings(folder)) as another:
        assert ask(another, study).json()["maps"][0]["id"] == made[0]


def test_a_contrast_has_a_margin_and_an_empty_map_says_so(client):
    (one,) = ask(client, ids(client)[0], targets=["nodule vs effusion"]).json()["maps"]
    assert (one["probability"], one["class_index"], one["margin"] > 0) == (None, -1, True)
    maps = ask(client, ids(client)[0], targets=["all"], methods=["hires-cam", "layer-cam", "grad-cam"]).json()["maps"]
    empty = [one for one in maps if one["status"] != "ok"]
    for one in empty:
        assert one["status"] == "no positive evidence"
        assert (one["threshold"], one["peak"], one["scale_max"]) == (None, None, None)


@pytest.mark.parametrize(
    ("more", "status", "words"),
    [
        ({"study": "s-000000000000"}, 404, "no study"),
        ({"study": "../../etc/passwd"}, 422, "study"),
        ({"methods": ["gradcam"]}, 422, "grad-cam"),
        ({"methods": []}, 422, "methods"),
        ({"targets": ["nodul"]}, 422, "nodule"),
        ({"targets": [10**30]}, 422, "out of range"),
        ({"targets": [None]}, 422, "targets"),
        ({"layer": "layer9"}, 422, "layer4"),
        ({"method": "grad-cam"}, 422, "method"),
        ({"job": "a b"}, 422, "job"),
    ],
)
def test_what_cannot_be_explained_is_told_in_one_line(client, more, status, words):
    answer = ask(client, more.pop("study", ids(client)[0]), **more)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert words in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def test_a_viewer_without_a_network_says_so(folder):
    with client_of(settings_of(folder)) as client:
        assert client.get("/api/info").json()["model"] is None
        answer = ask(client, ids(client)[0])
        assert (answer.status_code, "--model" in answer.json()["error"]) == (409, True)


def test_a_network_that_cannot_be_loaded_is_told(folder):
    with client_of(settings_of(folder, load=lambda: load("nowhere.py:net"), model="net")) as client:
        answer = ask(client, ids(client)[0])
        assert answer.status_code == 422
        assert "nowhere.py" in answer.json()["error"]


def test_a_volume_is_explained_as_a_study_is_and_its_map_kept_small(tmp_path):
    nib.save(nib.Nifti1Image(marked_voxels().astype(np.float32), np.diag([1.0, 2, 3, 1])), tmp_path / "scan.nii.gz")
    unit = VolumePreprocess(intensity="unit")
    model = load(f"{THREE_D}:bright", classes=("bright", "dark"))
    settings = settings_of(tmp_path, load=lambda: model, model="bright", prepare=lambda *_: unit)
    with client_of(settings) as client:
        (study,) = ids(client)
        (one,) = ask(client, study).json()["maps"]
        expected = explain_study(model, tmp_path / "scan.nii.gz", "grad-cam", preprocess=unit).maps[0]
        assert one["threshold"] == expected.regions.threshold
        assert one["peak"]["index"] == list(expected.regions["map"].peak)
        assert one["peak"]["patient"] == pytest.approx(expected.regions["map"].peak_patient)
        raw = np.load(blob(client, one["url"].replace(".nii", ".npy")))
        np.testing.assert_allclose(raw / np.float32(one["scale_max"]), expected.heatmap, rtol=1e-6)


def test_of_the_maps_of_a_volume_one_is_in_memory_at_a_time(tmp_path, monkeypatch):
    there, most = set(), []

    class Noted(maps.Handed):
        """Notes how many maps on the grid wait to be sent when another is made."""

        def __init__(self, make, made):
            super().__init__(make, made)
            there.add(self)
            most.append(len(there))

        def __call__(self):
            there.discard(self)
            return super().__call__()

    monkeypatch.setattr(maps, "Handed", Noted)
    nib.save(nib.Nifti1Image(marked_voxels().astype(np.float32), np.diag([1.0, 2, 3, 1])), tmp_path / "scan.nii.gz")
    unit = VolumePreprocess(intensity="unit")
    settings = settings_of(tmp_path, load=lambda: load(f"{THREE_D}:bright"), prepare=lambda *_: unit)
    with client_of(settings) as client:
        (study,) = ids(client)
        assert len(ask(client, study, methods=["grad-cam", "cf-cam", "layer-cam"]).json()["maps"]) == 3
    assert most == [1, 1, 1]
    assert not there


# --- many at a time, and who leaves


def test_twenty_at_once_get_what_each_would_get_alone(folder):
    asked = [(n % 3, ("grad-cam", "cf-cam", "layer-cam")[n % 3], n % 4) for n in range(20)]
    with client_of(demo_settings(folder)) as alone:
        found = ids(alone)
        expected = {
            one: ask(alone, found[one[0]], methods=[one[1]], targets=[one[2]]).json()["maps"][0] for one in set(asked)
        }
        values = {one: client_array(alone, made) for one, made in expected.items()}
    with served(demo_settings(folder)) as viewer, ThreadPoolExecutor(20) as pool:

        def get(one):
            body = {"study": found[one[0]], "methods": [one[1]], "targets": [one[2]]}
            with httpx.Client(base_url=viewer.base, headers=HEADERS, timeout=PATIENCE) as client:
                made = client.post("/api/explain", json=body).json()["maps"][0]
                return made, client_array(client, made)

        for one, (made, array) in zip(asked, pool.map(get, asked), strict=True):
            assert made["id"] == expected[one]["id"]
            assert made["threshold"] == expected[one]["threshold"]
            np.testing.assert_array_equal(array, values[one])


def client_array(client, made):
    return np.load(blob(client, made["url"].replace(".nii", ".npy")))


def test_a_client_that_leaves_in_the_middle_or_in_the_line_costs_no_further_pass(folder):
    model = load("demo")
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    passes, go = [], threading.Event()
    with served(settings_of(folder, load=lambda: model, model="demo")) as viewer:
        found = ids(viewer.client)
        ask(viewer.client, found[0])
        model.module.register_forward_pre_hook(lambda *_: passes.append(1) or (go.wait(PATIENCE) and None))
        body = {"study": found[1], "methods": ["score-cam"], "targets": ["predicted"], "job": "first-job"}

        async def leave():
            async with httpx.AsyncClient(base_url=viewer.base, headers=HEADERS, timeout=PATIENCE) as client:
                first = asyncio.create_task(client.post("/api/explain", json=body, timeout=PATIENCE))
                while not passes:
                    await asyncio.sleep(0.01)
                rest = [{**body, "study": found[2], "job": f"waiting-{n}"} for n in range(3)]
                waiting = [asyncio.create_task(client.post("/api/explain", json=one, timeout=PATIENCE)) for one in rest]
                while (await client.get("/api/jobs/waiting-2")).status_code != 200:
                    await asyncio.sleep(0.01)
                for task in (first, *waiting):
                    task.cancel()
                await asyncio.gather(first, *waiting, return_exceptions=True)
            async with httpx.AsyncClient(base_url=viewer.base, headers=HEADERS, timeout=PATIENCE) as client:
                for job in ("first-job", *(f"waiting-{n}" for n in range(3))):  # each is noticed at a look of its own
                    while (await client.get(f"/api/jobs/{job}")).status_code == 200:
                        await asyncio.sleep(0.02)

        asyncio.run(leave())
        go.set()
        body = {"study": found[0], "methods": ["grad-cam"], "targets": ["effusion"]}
        answer = viewer.client.post("/api/explain", json=body)
        assert answer.status_code == 200
        assert len(passes) == 1  # the one that had begun; the last question was answered from a pass that was kept
    assert all(torch.equal(value, before[name]) for name, value in model.module.state_dict().items())


def test_a_job_tells_how_far_it_is_and_can_be_stopped(folder):
    model, go, passes = load("demo"), threading.Event(), []
    with served(settings_of(folder, load=lambda: model, model="demo")) as viewer, ThreadPoolExecutor(1) as pool:
        found = ids(viewer.client)
        ask(viewer.client, found[0])
        model.module.register_forward_pre_hook(lambda *_: passes.append(1) or (go.wait(PATIENCE) and None))
        body = {"study": found[1], "methods": ["grad-cam", "score-cam"], "job": "of-a-test"}
        with httpx.Client(base_url=viewer.base, headers=HEADERS, timeout=PATIENCE) as other:
            answer = pool.submit(other.post, "/api/explain", json=body)
            while not passes:
                time.sleep(0.01)
            told = viewer.client.get("/api/jobs/of-a-test").json()
            assert (told["waiting"], 0 <= told["fraction"] < 1) == (False, True)
            assert viewer.client.post("/api/explain", json=body).status_code == 409  # this name is taken
            assert viewer.client.delete("/api/jobs/of-a-test").status_code == 204
            go.set()
            assert answer.result(PATIENCE).status_code == 409
        assert viewer.client.get("/api/jobs/of-a-test").status_code == 404
        assert viewer.client.delete("/api/jobs/of-a-test").status_code == 404


def test_a_line_that_is_full_is_told_at_once_with_when_to_come_again(folder):
    model, go, begun = load("demo"), threading.Event(), threading.Event()
    settings = settings_of(folder, load=lambda: model, model="demo")
    with served(settings, live=Live(settings, waiting=2)) as viewer, ThreadPoolExecutor(2) as pool:
        found = ids(viewer.client)
        ask(viewer.client, found[0])
        model.module.register_forward_pre_hook(lambda *_: begun.set() or (go.wait(PATIENCE) and None))

        def post(n):
            body = {"study": found[n], "methods": ["grad-cam"], "job": f"number-{n}"}
            return httpx.post(f"{viewer.base}/api/explain", json=body, headers=HEADERS, timeout=PATIENCE)

        running = [pool.submit(post, n) for n in (1, 2)]
        begun.wait(PATIENCE)
        while (
            viewer.client.get("/api/jobs/number-2").status_code != 200
            or viewer.client.get("/api/jobs/number-1").status_code != 200
        ):
            time.sleep(0.01)
        answer = ask(viewer.client, found[0])
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert viewer.client.get(f"/api/studies/{found[0]}/original.nii").status_code == 200  # it never waits for maps
        go.set()
        assert [one.result().status_code for one in running] == [200, 200]
        assert ask(viewer.client, found[0]).status_code == 200


def test_what_is_held_does_not_grow_with_the_questions(folder):
    settings = demo_settings(folder, memory=4 * 2**20)
    with client_of(settings) as client:
        found, library = ids(client), client.app.state.library
        methods, layers = ("grad-cam", "cf-cam", "layer-cam", "grad-cam++", "hires-cam"), (None, "layer2", "layer3")
        engine = None
        for n in range(200):
            body = {"targets": [n % 4], "methods": [methods[n % 5]], "layer": layers[n % 3]}
            made = ask(client, found[(n // 7) % 3], **body).json()["maps"][0]
            if n % 5 == 0:
                assert client.get(made["url"]).status_code == 200
            assert library.cache.size <= 4 * 2**20
        engine = client.app.state.live._network.owner
        assert len(engine._passes) <= 3
        assert max(map(len, engine._passes.values())) <= 6
        assert all(len(study._live) <= 60 for study in library.studies())
        json.dumps(client.get(f"/api/studies/{found[0]}").json())
