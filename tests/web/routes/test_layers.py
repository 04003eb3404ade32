"""What stands beside a map: the numbers of a study with the same seed, and a network that is left as it was."""

from __future__ import annotations

import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import numpy as np
import pytest
import torch
from PIL import Image as PILImage

from cfcam import Explainer
from cfcam.imaging import read_image
from cfcam.jobs import explain_study
from cfcam.jobs.inputs.preparing import prepared_for
from cfcam.jobs.study.settings import StudySettings
from cfcam.metrics.functional.sanity import randomised
from cfcam.models import load
from tests.jobs.studies import nodule_phantom
from tests.waiting import PATIENCE
from tests.web.server import HEADERS, client_of, served, settings_of


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    place = tmp_path_factory.mktemp("layers") / "chest.png"
    PILImage.fromarray(nodule_phantom().image).save(place)
    return place


@pytest.fixture(scope="module")
def model():
    return load("demo")


@pytest.fixture(scope="module")
def client(picture, model):
    with client_of(settings_of(picture, load=lambda: model, model="demo")) as found:
        yield found


def study_of(client):
    return client.get("/api/studies").json()["studies"][0]["id"]


def evidence(client, **more):
    body = {"study": study_of(client), "methods": ["grad-cam"], **more}
    return client.post("/api/explain", json=body).json()["maps"][0]


def ask(client, kind, of, **more):
    return client.post("/api/layers", json={"study": study_of(client), "map": of, "kind": kind, **more})


def raw(client, one):
    return np.load(io.BytesIO(client.get(one["url"].replace(".nii", ".npy")).content))


def test_uncertainty_is_that_of_a_study_in_every_number(client, picture):
    map_ = evidence(client)
    answer = ask(client, "uncertainty", map_["id"]).json()
    (one,) = answer["maps"]
    how = StudySettings(uncertainty=("augmentation",))
    (expected,) = explain_study(load("demo"), picture, "grad-cam", settings=how).uncertainty
    assert answer["agreement"] == expected.agreement
    assert f"{expected.agreement:.2f}" in answer["text"]
    assert expected.note in answer["notices"]
    np.testing.assert_allclose(raw(client, one), expected.sd, atol=1e-6)
    assert one["scale_max"] == pytest.approx(expected.sd.max())
    assert (one["kind"], one["method"], one["class_name"]) == (
        "uncertainty",
        "grad-cam, SD under augmentation",
        "nodule",
    )
    assert one["peak"]["index"] == list(np.unravel_index(expected.sd.argmax(), expected.sd.shape))
    kept = client.get(f"/api/studies/{study_of(client)}").json()["maps"]
    assert {map_["id"], one["id"]} <= {each["id"] for each in kept}


def test_a_control_is_the_map_of_a_network_that_has_learned_nothing(client, picture, model):
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    image, prepared = read_image(picture), prepared_for(load("demo"), None)
    x = prepared(image)[None]
    ((_, drawn),) = randomised(load("demo").module, 0, most=1, sample=x, reset=False)
    readable = 0
    for target in range(4):
        map_ = evidence(client, targets=[target])
        answer = ask(client, "control", map_["id"]).json()
        (one,) = answer["maps"]
        expected = Explainer(drawn, "grad-cam", layer="layer4")(x, [target])
        heat = prepared.to_original(expected.heatmaps("grad-cam")[0, 0], image.size).numpy()
        np.testing.assert_allclose(raw(client, one) / np.float32(one["scale_max"] or 1), heat, atol=1e-5)
        assert (one["kind"], one["method"]) == ("control", "grad-cam, weights at random (seed 0)")
        assert (one["probability"], one["class_name"]) == (None, map_["class_name"])
        assert one["scale_group"] != map_["scale_group"]
        if "ok" == one["status"] == map_["status"]:
            readable += 1
            ours = raw(client, map_) / np.float32(map_["scale_max"])
            both = np.minimum(ours, heat).sum() / np.maximum(ours, heat).sum()
            assert answer["agreement"] == pytest.approx(both, abs=1e-4)
        else:
            assert answer["agreement"] is None
    assert readable
    assert all(torch.equal(value, before[name]) for name, value in model.module.state_dict().items())


def test_the_same_question_has_the_same_answer_and_a_map_of_its_own(client):
    for kind in ("uncertainty", "control"):
        of, other = evidence(client), evidence(client, targets=["effusion"])
        first, again = (ask(client, kind, of["id"]).json() for _ in range(2))
        assert first["maps"][0]["id"] == again["maps"][0]["id"]
        assert first["agreement"] == again["agreement"]
        assert ask(client, kind, other["id"]).json()["maps"][0]["id"] != first["maps"][0]["id"]


@pytest.mark.parametrize(
    ("more", "status", "words"),
    [
        ({"map": "m-000000000000"}, 404, "no map"),
        ({"study": "s-000000000000"}, 404, "no study"),
        ({"kind": "evidence"}, 422, "kind"),
        ({"samples": 10**9}, 422, "samples"),
    ],
)
def test_what_cannot_be_asked_is_told_in_one_line(client, more, status, words):
    answer = ask(client, more.pop("kind", "control"), more.pop("map", evidence(client)["id"]), **more)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert words in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def test_only_evidence_for_a_class_by_this_network_is_measured(client, picture):
    contrast = evidence(client, targets=["nodule vs effusion"])
    answer = ask(client, "control", contrast["id"])
    assert (answer.status_code, "contrast" in answer.text) == (422, True)
    spread = ask(client, "uncertainty", evidence(client)["id"]).json()["maps"][0]
    answer = ask(client, "uncertainty", spread["id"])
    assert (answer.status_code, "a map of uncertainty" in answer.text) == (422, True)
    study = client.app.state.library.find(study_of(client))
    study.add(replace(study.map(evidence(client)["id"]), id="m-0123456789ab", about=None))
    answer = ask(client, "control", "m-0123456789ab")
    assert (answer.status_code, "not known to have made" in answer.text) == (422, True)


def test_it_can_be_stopped_and_the_network_goes_on(picture):
    model, go, passes = load("demo"), threading.Event(), []
    with served(settings_of(picture, load=lambda: model, model="demo")) as viewer, ThreadPoolExecutor(1) as pool:
        of = evidence(viewer.client)
        study = study_of(viewer.client)
        hook = model.module.register_forward_pre_hook(lambda *_: passes.append(1) or (go.wait(PATIENCE) and None))
        body = {"study": study, "map": of["id"], "kind": "uncertainty", "job": "a-layer-job"}
        with httpx.Client(base_url=viewer.base, headers=HEADERS, timeout=PATIENCE) as other:
            answer = pool.submit(other.post, "/api/layers", json=body)
            while not passes:
                time.sleep(0.01)
            assert viewer.client.delete("/api/jobs/a-layer-job").status_code == 204
            go.set()
            assert answer.result(PATIENCE).status_code == 409
        hook.remove()
        assert ask(viewer.client, "uncertainty", of["id"]).status_code == 200
