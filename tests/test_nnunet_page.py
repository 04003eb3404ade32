"""docs/how-to/nnunet-and-monai-bundles.md from nothing: the map lies on the lesion, on the grid of the files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from cfcam.cli.app import app
from cfcam.jobs import explain_study
from cfcam.models import load

pytest.importorskip("dynamic_network_architectures", reason="dynamic-network-architectures is not installed")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("nnunet") / "example"
    out.mkdir()
    subprocess.run([sys.executable, ROOT / "docs" / "nnunet_picture.py", "--out", out, "--steps", "60"], check=True)
    return out


def explain(*words: object, json: bool = True):
    given = ["--target", "lesion", "--method", "hires-cam", "--save", "overlay", *["--json"] * json, *map(str, words)]
    return CliRunner().invoke(app, ["explain", *given])


def test_the_map_lies_on_the_lesion_on_the_grid_of_the_files(made, tmp_path):
    model = ("--model", f"nnunet:{made / 'network'}")
    found = explain(made / "scan_0000.nii.gz", *model, "-o", tmp_path / "by-name")
    assert found.exit_code == 0, found.output
    heat, labels = nib.load(tmp_path / "by-name" / "scan_0000_hires-cam.nii.gz"), nib.load(made / "labels.nii.gz")
    np.testing.assert_allclose(heat.affine, labels.affine, atol=1e-5)
    values, lesion = np.maximum(heat.get_fdata(), 0), labels.get_fdata() == 2
    assert values.shape == lesion.shape
    assert values[lesion].sum() / values.sum() > 0.7
    assert values[lesion].sum() / values.sum() / lesion.mean() > 30
    named = ",".join(str(made / f"scan_000{n}.nii.gz") for n in (0, 1))
    assert explain("--channels", named, *model, "-o", tmp_path / "listed").exit_code == 0
    assert np.array_equal(nib.load(tmp_path / "listed" / "scan_0000_hires-cam.nii.gz").get_fdata(), heat.get_fdata())


def test_organs_are_taken_out_window_by_window_also_by_labels_that_are_mirrored(made, tmp_path):
    """The lesion takes its own score away; labels of the same voxels in another order of theirs give the same rows."""
    labels = nib.load(made / "labels.nii.gz")
    last = np.array(labels.shape) - 1
    values = np.asarray(labels.dataobj)[::-1, :, ::-1].transpose(1, 2, 0)
    way = np.array([[0, 0, -1, last[0]], [1, 0, 0, 0], [0, -1, 0, last[2]], [0, 0, 0, 1.0]])  # from its index to ours
    found = {}
    for name, image in {"ours": labels, "turned": nib.Nifti1Image(values, labels.affine @ way)}.items():
        nib.save(image, tmp_path / f"{name}.nii.gz")
        words = ["--model", f"nnunet:{made / 'network'}", "--by-region", tmp_path / f"{name}.nii.gz"]
        done = explain(made / "scan_0000.nii.gz", *words, "-o", tmp_path / name)
        assert done.exit_code == 0, done.output
        assert "not tried" not in done.output
        (target,) = json.loads(done.stdout)["images"][0]["targets"]
        found[name] = {row["name"]: row for row in target["regions"]["hires-cam"]}
    rows = found["ours"]
    assert rows["region 2"]["share"] > 0.7 > 0.3 > rows["region 1"]["share"]
    assert rows["region 2"]["removal"] > rows["region 1"]["removal"] > 0
    assert found["turned"] == rows


def test_a_folder_counts_each_study_once_and_a_changed_modality_is_seen(made, tmp_path):
    scans = tmp_path / "scans"
    scans.mkdir()
    for name in ("a", "b"):
        for n in (0, 1):
            shutil.copy(made / f"scan_000{n}.nii.gz", scans / f"{name}_000{n}.nii.gz")
    words = (scans, "--model", f"nnunet:{made / 'network'}", "-o", tmp_path / "out")
    assert [one["status"] for one in json.loads(explain(*words).stdout)["images"]] == ["done", "done"]
    changed = nib.load(scans / "b_0001.nii.gz")
    nib.save(nib.Nifti1Image(changed.get_fdata() * 1.5, changed.affine, changed.header), scans / "b_0001.nii.gz")
    assert [one["status"] for one in json.loads(explain(*words).stdout)["images"]] == ["skipped", "done"]
    limited = json.loads(explain(*words, "--limit", "2").stdout)["images"]
    assert [Path(one["path"]).name for one in limited] == ["a_0000.nii.gz", "b_0000.nii.gz"]  # studies, not files


def test_larger_windows_than_the_volume_see_it_filled_up_and_those_it_cannot_take_are_one_line(made, tmp_path):
    model = ("--model", f"nnunet:{made / 'network'}", "-o", tmp_path / "out")
    found = explain(made / "scan_0000.nii.gz", *model, "--sliding", "64x48x48")
    assert found.exit_code == 0, found.output
    heat = nib.load(tmp_path / "out" / "scan_0000_hires-cam.nii.gz").get_fdata()
    lesion = nib.load(made / "labels.nii.gz").get_fdata() == 2
    assert np.maximum(heat, 0)[lesion].sum() / np.maximum(heat, 0).sum() > 0.6
    odd = explain(made / "scan_0000.nii.gz", *model, "--sliding", "17").output
    assert "give other windows (--sliding): smaller ones, or of sides that it can divide" in odd
    assert "--size" not in odd


def test_a_study_in_python_takes_the_windows_and_the_files_of_the_plans(made):
    found = explain_study(load(f"nnunet:{made / 'network'}"), made / "scan_0000.nii.gz", ("hires-cam",), "lesion")
    (explained,) = found.maps
    lesion = nib.load(made / "labels.nii.gz").get_fdata() == 2
    assert explained.heatmap[lesion].sum() / explained.heatmap.sum() > 0.7


@pytest.mark.parametrize("words", [("evaluate",), ("check",), ("compare", "scan_0000.nii.gz")])
def test_what_explains_in_one_piece_refuses_a_network_of_windows(made, tmp_path, words):
    command, *more = words
    model = ("--model", f"nnunet:{made / 'network'}", "-o", tmp_path / "out")
    given = [command, made / "scan_0000.nii.gz", *(made / name for name in more), *model]
    found = CliRunner().invoke(app, list(map(str, given)))
    assert found.exit_code != 0
    assert "nnunet: the network sees a volume in windows, and here it is explained in one piece: use" in found.output


def test_what_is_missing_is_one_line(made, tmp_path):
    model = ("--model", f"nnunet:{made / 'network'}", "-o", tmp_path / "out")
    shutil.copy(made / "scan_0000.nii.gz", tmp_path / "scan_0000.nii.gz")
    found = explain(tmp_path / "scan_0000.nii.gz", *model)
    assert found.exit_code == 1
    assert "channel 1 (T1) of 2 is missing: scan_0001.nii.gz does not lie beside it" in found.output
    odd = nib.load(made / "scan_0001.nii.gz")
    nib.save(nib.Nifti1Image(odd.get_fdata()[1:], odd.affine, odd.header), tmp_path / "scan_0001.nii.gz")
    assert (
        "channel 1 (T1) lies on another grid than scan_0000.nii.gz"
        in explain(tmp_path / "scan_0000.nii.gz", *model).output
    )
    one = explain("--channels", made / "scan_0000.nii.gz", *model)
    assert "channel 1 (T1) of 2 is missing: name its file too, after scan_0000.nii.gz (by the names" in one.output
    none = explain("--channels", f"{made / 'scan_0000.nii.gz'},{tmp_path / 'none.nii.gz'}", *model)
    assert "channel 1 is missing: there is no " in none.output
    both = explain(made / "scan_0000.nii.gz", "--channels", "a,b", *model)
    assert both.exit_code == 2
    option = explain(made / "scan_0000.nii.gz", "--spacing", "2", *model)
    assert "nnunet says itself how its volumes are prepared: leave --spacing out" in option.output


def test_files_in_another_order_than_their_names_say_are_noted_beside_the_result_and_in_the_record(made, tmp_path):
    model, out = ("--model", f"nnunet:{made / 'network'}"), tmp_path / "out"
    names = [made / f"scan_000{n}.nii.gz" for n in (1, 0)]
    found = explain("--channels", ",".join(map(str, names)), *model, "-o", out)
    assert found.exit_code == 0, found.output
    said = (
        "the file name scan_0001 speaks of channel 1 (T1), and is read as channel 0 (CT): check the order of the files"
    )
    assert f"note: scan_0001.nii.gz: {said}" in found.stderr
    plain = explain("--channels", ",".join(map(str, names)), *model, "-o", tmp_path / "plain", json=False)
    assert plain.output.count(said) == 1
    skipped = explain("--channels", ",".join(map(str, names)), *model, "-o", tmp_path / "plain", json=False)
    assert skipped.output.count(said) == 1  # from the record
    told = json.loads(found.stdout)["images"][0]
    assert told["channels"] == [
        {"channel": "CT", "file": "scan_0001.nii.gz"},
        {"channel": "T1", "file": "scan_0000.nii.gz"},
    ]
    record = json.loads((out / "manifest.jsonl").read_text())
    assert record["channels"] == [["CT", "scan_0001.nii.gz"], ["T1", "scan_0000.nii.gz"]]
    assert record["notices"][0] == told["notices"][0] == said
    right = explain(made / "scan_0000.nii.gz", *model, "-o", tmp_path / "right")
    assert json.loads(right.stdout)["images"][0]["notices"] == []
    again = json.loads(explain(made / "scan_0000.nii.gz", *model, "-o", tmp_path / "right").stdout)["images"][0]
    assert (again["status"], [one["file"] for one in again["channels"]]) == (
        "skipped",
        ["scan_0000.nii.gz", "scan_0001.nii.gz"],
    )
    study = explain_study(load(f"nnunet:{made / 'network'}"), made / "scan_0000.nii.gz", ("hires-cam",), "lesion")
    assert study.provenance["channels"] == {"CT": "scan_0000.nii.gz", "T1": "scan_0001.nii.gz"}
