"""What paths hold: each kind of source, under a name that tells nothing of a patient, on its own grid."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image as PILImage

nib = pytest.importorskip("nibabel")
pytest.importorskip("pydicom")

from tests.imaging import dicoms  # noqa: E402
from tests.jobs.studies import MARKER, SHAPE, ct_study, phantom_radiograph, place_by_hand  # noqa: E402
from tests.web.server import client_of, settings_of  # noqa: E402


def only(client):
    (study,) = client.get("/api/studies").json()["studies"]
    return study["id"]


def nifti_of(client, study):
    return nib.Nifti1Image.from_stream(io.BytesIO(client.get(f"/api/studies/{study}/original.nii").content))


def hottest(image):
    values = np.asanyarray(image.dataobj)
    return np.unravel_index(values.argmax(), values.shape)


def test_a_ct_series_at_an_angle_lies_where_its_slices_lie_and_keeps_its_units(tmp_path):
    ct_study(tmp_path / "ct")
    with client_of(settings_of(tmp_path / "ct")) as client:
        study = only(client)
        image, detail = nifti_of(client, study), client.get(f"/api/studies/{study}").json()
    assert image.get_data_dtype() == np.int16
    values = np.asanyarray(image.dataobj)
    block = np.argwhere(values == values.max()).mean(0)  # the marker's middle, in the file's own index
    lps = place_by_hand(*MARKER)
    for affine in (image.header.get_sform(), image.header.get_qform()):
        assert np.allclose((affine @ [*block, 1])[:3], lps * (-1, -1, 1), atol=0.01)
    assert np.allclose((np.array(detail["affine"]) @ [*MARKER, 1])[:3], lps * (-1, -1, 1), atol=1e-6)
    assert (detail["shape"], detail["modality"], detail["values"]["unit"]) == (list(SHAPE), "CT", "HU")
    assert (detail["values"]["max"], detail["windows"]["lung"]) == (900, [-600, 1500])


@pytest.mark.parametrize("turn", [np.eye(3), np.diag([-1.0, 1, 1]), np.array([[0, 0, -1.0], [1, 0, 0], [0, 1, 0]])])
def test_a_nifti_keeps_its_transform_and_its_index(tmp_path, turn):
    values = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn * (1.0, 2.0, 3.0), (-7, 8, 9)
    nib.save(nib.Nifti1Image(values, affine), tmp_path / "scan.nii.gz")
    with client_of(settings_of(tmp_path / "scan.nii.gz")) as client:
        image = nifti_of(client, only(client))
    assert np.array_equal(np.asanyarray(image.dataobj), values)
    assert np.allclose(image.affine, affine, atol=1e-5)


def test_a_radiograph_says_where_its_edges_lie(tmp_path):
    phantom_radiograph(tmp_path / "film.dcm")
    with client_of(settings_of(tmp_path / "film.dcm")) as client:
        detail = client.get(f"/api/studies/{only(client)}").json()
    assert (detail["edges"], detail["placed"], detail["spacing"]) == (["L", "I"], True, [0.2, 0.1])


def test_white_is_one_in_monochrome1(tmp_path):
    stored = np.zeros((4, 6), int)
    stored[0, 0] = 4095  # black in MONOCHROME1
    dicoms.save(dicoms.radiograph(stored, photometric="MONOCHROME1"), tmp_path / "film.dcm")
    with client_of(settings_of(tmp_path / "film.dcm")) as client:
        study = only(client)
        values = np.asanyarray(nifti_of(client, study).dataobj)[:, 0, :].T
        shown = PILImage.open(io.BytesIO(client.get(f"/api/studies/{study}/picture.png").content))
    assert (values[0, 0], values[1, 1]) == (0, 65535)
    assert (np.asarray(shown)[0, 0], np.asarray(shown)[1, 1]) == (0, 255)


def test_nothing_of_a_patient_and_no_path_is_in_any_answer(tmp_path, capfd):
    secret = tmp_path / "DOE^JANE 1901"
    ct_study(secret / "series")
    phantom_radiograph(secret / "JANEDOE.dcm")
    (secret / "JANEDOE-broken.dcm").write_bytes(bytes(128) + b"DICM" + b"\x08\x00\x18\x00UI\x04\x00JANE")
    told = []
    with client_of(settings_of(secret, recursive=True)) as client:
        listed = client.get("/api/studies")
        told.append(listed.text)
        for study in listed.json()["studies"]:
            for what in ("", "/original.nii", "/thumbnail.png", "/picture.png", "/maps/m-000000000000.nii"):
                answer = client.get(f"/api/studies/{study['id']}{what}")
                told.append(json.dumps(dict(answer.headers)) + answer.content.decode("latin-1"))
        assert len(listed.json()["studies"]) == 3
    everything = "".join([*told, *capfd.readouterr()])
    for planted in (*dicoms.PLANTED, "JANE", "DOE", str(tmp_path), tmp_path.name):
        assert planted not in everything


def test_folders_below_are_what_pictures_are_of_and_the_same_name_twice_is_two_studies(tmp_path):
    for kind in ("ill", "well"):
        (tmp_path / kind).mkdir()
        PILImage.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / kind / "scan.png")
    with client_of(settings_of(tmp_path, recursive=True)) as client:
        listed = client.get("/api/studies", params={"sort": "label"}).json()["studies"]
    assert [(one["name"], one["label"]) for one in listed] == [("ill/scan.png", "ill"), ("well/scan.png", "well")]
    assert len({one["id"] for one in listed}) == 2


def two_channels(folder, *names):
    folder.mkdir()
    for n, name in enumerate(names):
        nib.save(nib.Nifti1Image(np.full((4, 5, 6), n + 1, np.float32), np.diag([1.0, 2, 3, 1])), folder / name)
    return [folder / name for name in names]


def test_several_files_are_one_study_of_as_many_channels_each_of_which_can_be_shown(tmp_path):
    files = two_channels(tmp_path / "patient", "flair.nii.gz", "t2.nii.gz")
    with client_of(settings_of(channels=tuple(files))) as client:
        study = only(client)
        detail = client.get(f"/api/studies/{study}").json()
        assert client.app.state.library.find(study).image().voxels[:, 0, 0, 0].tolist() == [1, 2]
        assert hottest(nifti_of(client, study)) == (0, 0, 0)
        assert (detail["name"], detail["kind"], detail["values"]["max"]) == ("flair.nii.gz", "volume", 1)
        shown = [client.get(one["url"]).content[-1] for one in detail["channels"]]
        assert client.get(f"/api/studies/{study}/original.nii?channel=2").status_code == 404
    assert [(one["name"], one["file"], one["values"]["max"]) for one in detail["channels"]] == [
        ("flair", "flair.nii.gz", 1),
        ("t2", "t2.nii.gz", 2),
    ]
    assert shown == [1, 2]  # the last voxel of each file


def test_of_a_folder_the_files_that_end_as_channels_do_are_one_study_each(tmp_path):
    two_channels(tmp_path / "scans", "a_0000.nii.gz", "a_0001.nii.gz", "b_0000.nii.gz", "c.nii.gz")
    how = settings_of(tmp_path / "scans", endings=("_0000", "_0001"), names=("CT", "PET"))
    with client_of(how) as client:
        names = {one["name"]: one["id"] for one in client.get("/api/studies").json()["studies"]}
        assert sorted(names) == ["a_0000.nii.gz", "b_0000.nii.gz", "c.nii.gz"]
        channels = client.get(f"/api/studies/{names['a_0000.nii.gz']}").json()["channels"]
        assert [(one["name"], one["file"]) for one in channels] == [("CT", "a_0000.nii.gz"), ("PET", "a_0001.nii.gz")]
        lacking = client.get(f"/api/studies/{names['b_0000.nii.gz']}")
        assert client.get(f"/api/studies/{names['c.nii.gz']}").status_code == 200  # it can be looked at
    assert lacking.json()["error"] == (
        "b_0000.nii.gz: channel 1 (PET) of 2 is missing: b_0001.nii.gz does not lie beside it; put it there"
    )


@pytest.mark.parametrize("name", ["scan.png", "scan.nii.gz", "sub/scan.png", "sub/scan.nii.gz"])
def test_an_error_names_its_file_once(tmp_path, name):
    file = tmp_path / "opened" / name
    file.parent.mkdir(parents=True)
    file.write_bytes(b"\x89PNG\r\n\x1a\n" if name.endswith("png") else b"\x1f\x8b")
    with client_of(settings_of(tmp_path / "opened", recursive=True)) as client:
        told = client.get(f"/api/studies/{only(client)}").json()["error"]
    assert told.startswith(f"{name}: ")
    assert told.count("scan") == 1
