"""A prior beside the current study: where it lies, by how much it differs, and who is offered as one."""

from __future__ import annotations

import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from PIL import Image as PILImage

from cfcam.imaging import Preprocess, VolumePreprocess
from cfcam.jobs.compare import ComparePairs, CompareSettings
from cfcam.models import load
from cfcam.web.library.facts import Facts
from cfcam.web.live.beside import shared_window
from cfcam.web.problems import RefusedError
from cfcam.web.reviews.shown import shown as recorded
from cfcam.web.schemas import Values, Window
from tests.imaging import dicoms
from tests.jobs.compare.test_run import NETWORKS
from tests.jobs.studies import nodule_phantom
from tests.waiting import PATIENCE
from tests.web.server import HEADERS, client_of, served, settings_of

DOWN, RIGHT = 7, -5  # what is at (r, c) of the prior is at (r + 7, c - 5) of the current picture


def saved(place, pixels):
    PILImage.fromarray(pixels).save(place)
    return place


def ids(client):
    return {one["name"].rsplit(".", 1)[0]: one["id"] for one in client.get("/api/studies").json()["studies"]}


def ask(client, **body):
    names = ids(client)
    study, prior = names[body.pop("study", "current")], names[body.pop("prior", "prior")]
    return client.post("/api/compare", json={"study": study, "prior": prior, **body})


def raw(client, one):
    return np.load(io.BytesIO(client.get(one["url"].replace(".nii", ".npy")).content))


def picture(client, url, size):
    return np.frombuffer(client.get(url).content, np.uint8, offset=352).reshape(size)


# the demonstration network on a chest that moved


@pytest.fixture(scope="module")
def chest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chest")
    prior = nodule_phantom().image
    saved(folder / "prior.png", prior)
    saved(folder / "current.png", np.roll(prior, (DOWN, RIGHT), (0, 1)))
    return folder


@pytest.fixture(scope="module")
def client(chest):
    model = load("demo")
    with client_of(settings_of(chest, load=lambda: model, model="demo", methods=("grad-cam",))) as found:
        yield found


@pytest.fixture(scope="module")
def answer(client):
    found = ask(client)
    assert found.status_code == 200, found.text
    return found.json()


def test_the_numbers_are_those_of_the_command(chest, answer, tmp_path):
    expected = ComparePairs(load("demo"), CompareSettings(output=tmp_path)).compare(
        chest / "prior.png", chest / "current.png"
    )
    assert [(one["name"], one["verdict"]) for one in answer["changes"]] == [
        (one.name, one.verdict) for one in expected.changes
    ]
    for one, wanted in zip(answer["changes"], expected.changes, strict=True):
        for name in ("prior", "current", "change", "repeatability"):
            value = getattr(wanted, name)
            close = value if value is None else pytest.approx(value, rel=1e-4, abs=1e-6)
            assert one[name] == close, (one["name"], name)
    assert answer["verdict"] == "no change beyond repeatability"
    assert answer["statement"] == "A change of the map is not a change of disease."
    assert answer["notices"] == list(expected.notes)
    assert "shift 8.6 pixels" in answer["quality"]["text"]  # the length of (7, -5)


def test_the_registered_prior_lies_on_the_current_picture(client, chest, answer):
    before = np.array(PILImage.open(chest / "prior.png"))
    now = np.array(PILImage.open(chest / "current.png"))
    laid = picture(client, answer["original"], now.shape)
    matrix = np.array(answer["quality"]["matrix"])
    np.testing.assert_allclose(matrix[:2, 2], (DOWN, RIGHT), atol=0.25)  # pixels
    inside = np.s_[10:-10, 10:-10]
    assert np.abs(laid[inside].astype(int) - now[inside]).mean() < 1.0  # grey values
    assert np.abs(before[inside].astype(int) - now[inside]).mean() > 5.0  # as it lay before
    assert (laid[: DOWN - 1] == 0).all()  # no part of the prior is there
    assert laid[10:].any()


def test_the_priors_map_is_at_the_current_places_and_is_kept_with_the_study(client, answer):
    (one,) = answer["prior_maps"]
    assert (one["kind"], one["method"], one["class_name"]) == ("prior", "grad-cam", answer["current"]["class_name"])
    assert one["scale_group"] == answer["current"]["scale_group"]
    values = raw(client, one)
    assert values.max() == pytest.approx(one["scale_max"])
    body = {"study": ids(client)["prior"], "methods": ["grad-cam"], "targets": [answer["current"]["class_index"]]}
    own = raw(client, client.post("/api/explain", json=body).json()["maps"][0])  # on the prior's grid
    moved, inside = np.roll(own, (DOWN, RIGHT), (0, 1)), np.s_[10:-10, 10:-10]
    assert np.abs(moved - values)[inside].max() < 0.01 * values.max()
    assert np.abs(own - values)[inside].max() > 0.1 * values.max()
    detail = client.get(f"/api/studies/{ids(client)['current']}").json()
    assert {one["id"], answer["difference"]["id"]} <= {each["id"] for each in detail["maps"]}
    assert next(each for each in detail["maps"] if each["id"] == one["id"])["under"]["url"] == answer["original"]


def test_the_same_question_is_answered_again_without_the_network(client, answer):
    assert ask(client).json() == answer
    assert ask(client, map=answer["current"]["id"]).json() == answer


def test_without_retests_no_verdict_is_given(client, answer):
    found = ask(client, map=answer["current"]["id"], retests=0).json()
    assert {one["verdict"] for one in found["changes"]} == {"not assessed"}
    assert found["difference"]["id"] != answer["difference"]["id"]


# a network whose map is the picture itself


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exact")
    (folder / "networks.py").write_text(NETWORKS)
    network = load(f"{folder / 'networks.py'}:flat", classes=["finding", "nothing"])
    pictures = folder / "pictures"
    pictures.mkdir()
    before, now = np.full((2, 48, 64), 20, np.uint8)
    before[10:20, 10:20] = 120
    now[10:20, 10:20] = 220
    now[30:36, 40:50] = 70
    saved(pictures / "prior.png", before)
    saved(pictures / "current.png", now)
    saved(pictures / "flat.png", np.full((48, 64), 99, np.uint8))
    how = Preprocess(size=(48, 64), mean=(0.0,), std=(1.0,))
    settings = settings_of(
        pictures, load=lambda: network, model="exact", prepare=lambda *_: how, methods=("cam",), targets=("finding",)
    )
    with client_of(settings) as found:
        study = ids(found)["current"]
        body = {"study": study, "methods": ["cam"], "targets": ["finding"]}
        yield found, found.post("/api/explain", json=body).json()["maps"][0]["id"]


def test_the_difference_is_current_less_prior_over_the_greater_maximum(exact):
    client, of = exact
    answer = ask(client, map=of, registration="none", retests=0).json()
    difference = raw(client, answer["difference"])
    expected = np.zeros((48, 64))
    expected[10:20, 10:20] = (220 - 120) / 220
    expected[30:36, 40:50] = (70 - 20) / 220
    np.testing.assert_allclose(difference, expected, atol=1e-5)
    levels = picture(client, answer["difference"]["url"], (48, 64))
    assert levels[0, 0] == 128  # none, in the middle of 0 to 255
    assert levels[15, 15] == round(255 * (1 + 100 / 220) / 2)
    back = ask(client, study="prior", prior="current", registration="none", retests=0).json()
    np.testing.assert_allclose(raw(client, back["difference"]), -expected, atol=1e-5)
    np.testing.assert_allclose(
        raw(client, answer["prior_maps"][0]) / answer["current"]["scale_max"],
        np.where(expected > 0.4, 120 / 220, 20 / 220),
        atol=1e-5,
    )


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"prior": "current"}, "no prior of itself"),
        ({"prior": "flat"}, "of one grey value: there is nothing to register by: not compared"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_words(exact, body, words):
    client, of = exact
    answer = ask(client, map=of, **body)
    assert answer.status_code == 422
    assert words in answer.json()["error"]
    assert "--" not in answer.json()["error"]  # there are no options of a command here


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"retests": -1}, 422), ({"retests": 33}, 422), ({"retests": "many"}, 422), ({"registration": "by hand"}, 422),
        ({"registration": None}, 422), ({"map": "m-1"}, 422), ({"map": 3}, 422), ({"job": "../.."}, 422),
        ({"else": 1}, 422), ({"prior": None}, 422), ({"study": "s-000000000000"}, 404),
        ({"prior": "s-000000000000"}, 404),
    ],
)  # fmt: skip
def test_a_question_that_makes_no_sense_is_answered_in_one_line(exact, more, status):
    client, of = exact
    names = ids(client)
    body = {"study": names["current"], "prior": names["prior"], "map": of, **more}
    answer = client.post("/api/compare", json=body)
    assert answer.status_code == status
    assert "\n" not in answer.json()["error"]


def test_a_map_of_another_study_is_not_found(exact):
    client, of = exact
    assert ask(client, study="prior", prior="current", map=of).status_code == 404


def test_a_map_of_the_prior_is_no_map_to_compare_with(exact):
    client, of = exact
    answer = ask(client, map=of, registration="none", retests=0).json()
    for one in (answer["prior_maps"][0], answer["difference"]):
        refused = ask(client, map=one["id"])
        assert refused.status_code == 422
        assert "choose one" in refused.json()["error"]


def test_no_file_and_no_region_takes_them_for_maps_of_this_study(exact):
    client, of = exact
    answer = ask(client, map=of, registration="none", retests=0).json()
    study = ids(client)["current"]
    for one in (answer["prior_maps"][0]["id"], answer["difference"]["id"]):
        refused = client.post("/api/exports", json={"study": study, "maps": [of, one], "format": "png"})
        assert refused.status_code == 409
        assert "cfcam compare draws both" in refused.json()["error"]
        found = client.app.state.library.find(study)
        with pytest.raises(RefusedError, match="the study's own map"):
            recorded(found, found.map(one))
    body = {"study": study, "map": answer["difference"]["id"]}
    assert client.post("/api/roi", json=body).status_code == 422
    # the prior's region on this grid: a square of 120 over 20, cut at half of 120
    body = {"study": study, "map": answer["prior_maps"][0]["id"], "threshold": 0.5}
    assert client.post("/api/roi", json=body).json()["table"]["regions"][0]["count"] == 100


def test_a_contrast_and_an_unknown_map_are_refused(exact):
    client, _ = exact
    study = ids(client)["current"]
    body = {"study": study, "methods": ["grad-cam"], "targets": ["finding vs nothing"]}
    contrast = client.post("/api/explain", json=body).json()["maps"][0]["id"]
    assert "choose one" in ask(client, map=contrast).json()["error"]
    assert ask(client, map="m-000000000000").status_code == 404


def test_what_does_not_lie_on_the_current_study_is_refused_with_its_numbers(tmp_path):
    model = load("demo")
    saved(tmp_path / "current.png", nodule_phantom().image)
    saved(tmp_path / "prior.png", np.random.default_rng(0).integers(0, 255, (256, 256)).astype(np.uint8))
    with client_of(settings_of(tmp_path, load=lambda: model, model="demo")) as client:
        answer = ask(client)
    assert answer.status_code == 422
    assert "registration not good enough (correlation" in answer.json()["error"]
    assert "choose the registration none" in answer.json()["error"]


# volumes: places are in the patient


def test_a_prior_volume_lies_where_its_affine_says(tmp_path):
    import nibabel

    values = np.random.default_rng(0).integers(0, 900, (10, 12, 8)).astype(np.int16)
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    nibabel.Nifti1Image(values, affine).to_filename(tmp_path / "prior.nii")
    affine[:3, 3] = 2, -3, 4  # of the current volume: its voxel (i, j, k) is (i + 2, j - 3, k + 2) of the prior
    nibabel.Nifti1Image(values[::-1].copy(), affine).to_filename(tmp_path / "current.nii")
    (tmp_path / "networks.py").write_text(NETWORKS)
    network = load(f"{tmp_path / 'networks.py'}:deep", classes=["finding", "nothing"])
    how = VolumePreprocess(intensity="none")
    settings = settings_of(
        tmp_path / "prior.nii", tmp_path / "current.nii", load=lambda: network, prepare=lambda *_: how,
        methods=("cam",), targets=("finding",),
    )  # fmt: skip
    with client_of(settings) as client:
        body = {"study": ids(client)["current"], "methods": ["cam"], "targets": ["finding"]}
        of = client.post("/api/explain", json=body).json()["maps"][0]["id"]
        answer = ask(client, map=of, registration="none", retests=0)
        assert answer.status_code == 200, answer.text
        sent = client.get(answer.json()["original"]).content
        difference = raw(client, answer.json()["difference"])
    laid = nibabel.Nifti1Image.from_bytes(sent)
    np.testing.assert_allclose(laid.affine, affine)
    found = np.asarray(laid.dataobj)
    np.testing.assert_array_equal(found[:8, 3:, :6], values[2:, :9, 2:])
    assert (found[8:] == values.min()).all()  # where the prior is not
    shared = np.s_[:8, 3:, :6]
    expected = (values[::-1][shared].astype(float) - values[2:, :9, 2:]) / 899
    np.testing.assert_allclose(difference[shared] / expected.std(), expected / expected.std(), atol=0.02)
    assert (difference[8:] == 0).all()


def test_a_prior_of_several_channels_lies_under_its_map_by_the_one_that_is_asked_for(tmp_path):
    import nibabel

    values = np.random.default_rng(0).integers(0, 900, (10, 12, 8, 2)).astype(np.int16)
    for name, shown in (("prior", values), ("current", values[::-1].copy())):
        nibabel.Nifti1Image(shown, np.diag([1.0, 1.0, 2.0, 1.0])).to_filename(tmp_path / f"{name}.nii")
    two = "\n\ndef two():\n    return Exact(lambda *_, **__: nn.Conv3d(2, 1, 1, bias=False))\n"
    (tmp_path / "networks.py").write_text(NETWORKS + two)
    network = load(f"{tmp_path / 'networks.py'}:two", classes=["finding", "nothing"])
    how = VolumePreprocess(intensity="none", mean=(0.0, 0.0), std=(1.0, 1.0))
    settings = settings_of(
        tmp_path / "prior.nii", tmp_path / "current.nii", channel="all", load=lambda: network, prepare=lambda *_: how,
        methods=("cam",), targets=("finding",),
    )  # fmt: skip
    with client_of(settings) as client:
        body = {"study": ids(client)["current"], "methods": ["cam"], "targets": ["finding"]}
        of = client.post("/api/explain", json=body).json()["maps"][0]["id"]
        answer = ask(client, map=of, registration="none", retests=0)
        assert answer.status_code == 200, answer.text
        under = answer.json()["prior_maps"][0]["under"]
        for number, channel in enumerate(under["channels"]):
            laid = np.asarray(nibabel.Nifti1Image.from_bytes(client.get(channel["url"]).content).dataobj)
            np.testing.assert_array_equal(laid, values[..., number])
        assert [one["name"] for one in under["channels"]] == ["channel 0", "channel 1"]
        assert client.get(f"{under['url']}?channel=2").status_code == 404


@pytest.mark.parametrize(
    ("prior", "unit", "whose"),
    [
        ((-1000, 100), None, "current"),  # 1100 of 1400 in common
        ((-1000, -400), None, "prior"),  # 600 of 1400
        ((0, 4000), None, "prior"),
        ((-1000, -400), "HU", "current"),
    ],
)
def test_a_prior_volume_is_shown_in_the_same_window_where_grey_values_mean_the_same(prior, unit, whose):
    def facts(low, high, source):
        window = Window(low=low, high=high, source=source)
        values = Values(min=low, max=high, unit=unit)
        return Facts("", (1, 1, 1), None, None, True, None, window, values, (), 0)

    assert shared_window(facts(-1000, 400, "current"), facts(*prior, "prior")).source == whose


# without a network; stopped


def test_without_a_network_it_says_so(chest):
    with client_of(settings_of(chest)) as client:
        answer = ask(client)
    assert answer.status_code == 409
    assert "--model" in answer.json()["error"]


def test_it_can_be_stopped(chest):
    model, go, passes = load("demo"), threading.Event(), []
    with served(settings_of(chest, load=lambda: model, model="demo")) as viewer, ThreadPoolExecutor(1) as pool:
        names = ids(viewer.client)
        body = {"study": names["current"], "methods": ["grad-cam"]}
        of = viewer.client.post("/api/explain", json=body).json()["maps"][0]["id"]
        hook = model.module.register_forward_pre_hook(lambda *_: passes.append(1) or (go.wait(PATIENCE) and None))
        body = {"study": names["current"], "prior": names["prior"], "map": of, "job": "a-compare-job"}
        with httpx.Client(base_url=viewer.base, headers=HEADERS, timeout=PATIENCE) as other:
            answer = pool.submit(other.post, "/api/compare", json=body)
            while not passes:
                time.sleep(0.01)
            assert viewer.client.delete("/api/jobs/a-compare-job").status_code == 204
            go.set()
            assert answer.result(PATIENCE).status_code == 409
        hook.remove()
        assert len(passes) < 17  # of a study and 8 retests, twice


# who is offered


def radiograph(folder, name, patient, date):
    dataset = dicoms.radiograph(nodule_phantom().image.astype(np.uint16) * 16, spacing=(1.5, 1.5))
    dataset.PatientID, dataset.StudyDate = patient, date
    dataset.PatientName = f"Secret^{patient}"
    return dicoms.save(dataset, folder / f"{name}.dcm")


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    for name, patient, date in (
        ("now", "P-1", "20200301"), ("before", "P-1", "20200101"), ("long-before", "P-1", "20190101"),
        ("after", "P-1", "20200401"), ("undated", "P-1", ""), ("other", "P-2", "20200101"), ("nobody", "", "20200229"),
    ):  # fmt: skip
        radiograph(folder, name, patient, date)
    saved(folder / "plain.png", nodule_phantom().image)
    return folder


def by_content(client, folder):
    """Name of the file -> id: a DICOM file has a neutral name in the list."""
    found = {}
    for study in client.app.state.library.studies():
        found[study.given.path.stem] = study.id
    return found


def test_the_same_patients_last_study_is_offered_first_and_another_patients_never(archive):
    with client_of(settings_of(archive)) as client:
        names = by_content(client, archive)
        priors = client.get(f"/api/studies/{names['now']}/priors")
        told = {one["study"]["id"]: (one["same_patient"], one["days"]) for one in priors.json()["priors"]}
        expected = {
            "before": (True, 60), "long-before": (True, 425), "undated": (True, None), "after": (True, -31),
            "nobody": (None, 1), "plain": (None, None),
        }  # fmt: skip
        assert list(told.items()) == [(names[name], what) for name, what in expected.items()]
        detail = client.get(f"/api/studies/{names['now']}")
        assert detail.json()["priors"] == list(told)
        for answer in (priors, detail, client.get("/api/studies")):
            for secret in ("P-1", "P-2", "Secret", "20200301", "2020"):
                assert secret not in answer.text


def test_two_patients_are_refused_and_neither_is_named(archive):
    model = load("demo")
    with client_of(settings_of(archive, load=lambda: model, model="demo")) as client:
        names = by_content(client, archive)
        answer = client.post("/api/compare", json={"study": names["now"], "prior": names["other"]})
    assert answer.status_code == 422
    assert "of two patients" in answer.json()["error"]
    for secret in ("P-1", "P-2", "Secret", "other.dcm", str(archive)):
        assert secret not in answer.text


def test_of_many_pictures_of_unknown_patients_none_is_offered(tmp_path):
    for n in range(70):
        saved(tmp_path / f"{n:03}.png", np.full((4, 4), n, np.uint8))
    with client_of(settings_of(tmp_path)) as client:
        one = next(iter(ids(client).values()))
        assert client.get(f"/api/studies/{one}").json()["priors"] == []
        assert client.get(f"/api/studies/{one}/priors").json() == {"priors": [], "others": 69}
