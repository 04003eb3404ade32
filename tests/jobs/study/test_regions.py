"""``--by-region``: what lies in organs and superpixels, of pictures and volumes, in files, manifest and JSON."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

from cfcam import Segmentation
from cfcam.cli.app import app
from cfcam.cli.options import regions as options
from cfcam.clinical.checks.interventions import remove_artefact
from cfcam.errors import InputError
from cfcam.explainer_windows import Windows, explain_windows
from cfcam.imaging.drawing.charts.bars import region_page
from cfcam.jobs import Input, Kind
from cfcam.jobs.engine.inference import Engine, prepare_methods
from cfcam.jobs.runs import drawing
from cfcam.jobs.study.regions import SLIC, RegionSettings, by_region
from tests.jobs.runs.test_volumes import MARKER, SHAPE, scan
from tests.jobs.runs.test_volumes import NETWORKS as VOLUME_NETWORKS
from tests.jobs.world import NETWORKS, draw, lines, pixels


def explain(*arguments):
    return CliRunner(env={"COLUMNS": "140"}).invoke(app, ["explain", *map(str, arguments)])


def bright(*arguments):
    how = ["--model", f"{NETWORKS}:brightness", "--size", 32, "--mean", 0, "--std", 1, "--classes", "bright,dark"]
    return explain(*arguments, *how, "--method", "grad-cam", "--save", "overlay")


def labels_of(path, size=(48, 64)):
    """Label 1 over the block of `draw`, 2 over the opposite corner."""
    values = np.zeros(size, np.uint8)
    values[: size[0] // 4, : size[1] // 4], values[size[0] // 2 :, size[1] // 2 :] = 1, 2
    Image.fromarray(values).save(path)
    return path


def test_the_regions_of_a_picture_are_in_its_files_the_manifest_and_the_summary(tmp_path):
    draw(tmp_path / "a.png", corner=0)
    seg = labels_of(tmp_path / "seg.png")
    (tmp_path / "names.csv").write_text("label,name\n1,block\n2,ground\n3,nothing\n")
    out = tmp_path / "out"
    result = bright(
        tmp_path / "a.png",
        "-o",
        out,
        "--by-region",
        seg,
        "--region-names",
        tmp_path / "names.csv",
        "--target",
        0,
        "--json",
    )
    assert result.exit_code == 0, result.stderr
    rows = {row["name"]: row for row in lines(out)[0]["targets"][0]["regions"]["grad-cam"]}
    assert rows["block"]["enrichment"] > 2 > 1 > rows["ground"]["enrichment"]
    assert rows["block"]["removal"] > 0.1  # the class is brightness, and the block is what is bright
    assert abs(rows["ground"]["removal"]) < 0.01  # even ground is filled in with itself
    assert rows["block"]["area"] == pytest.approx(1 / 16)
    assert (rows["nothing"]["share"], rows["nothing"]["positions"]) == (None, 0)
    assert json.loads(result.stdout)["images"][0]["targets"][0]["regions"]["grad-cam"] == list(rows.values())
    (table,) = json.loads((out / "a_by_region.json").read_text())
    assert table["regions"] == list(rows.values())
    assert (out / "a_by_region.csv").read_text().splitlines()[1].startswith("grad-cam,bright,block,")
    drawn = pixels(out / "a_by_region.png")
    assert drawn.shape[1] > drawn.shape[0]
    again = bright(
        tmp_path / "a.png", "-o", out, "--by-region", seg, "--region-names", tmp_path / "names.csv", "--target", 0
    )
    assert "1 already done" in again.stdout
    changed = bright(tmp_path / "a.png", "-o", out, "--by-region", seg, "--target", 0)
    assert "1 explained" in changed.stdout


def test_superpixels_have_shares_that_add_up(tmp_path):
    draw(tmp_path / "a.png", corner=0)
    result = bright(tmp_path / "a.png", "-o", tmp_path / "out", "--by-region", "slic:9", "--target", 0)
    assert result.exit_code == 0, result.stderr
    rows = lines(tmp_path / "out")[0]["targets"][0]["regions"]["grad-cam"]
    assert sum(row["share"] for row in rows) == pytest.approx(1)


def test_the_organs_of_a_volume_are_measured_on_its_grid(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        drawing, "region_page", lambda *a, **b: drawn.append((a[0][0], b["title"])) or region_page(*a, **b)
    )
    path = scan(tmp_path / "scan.nii.gz", codes="LPS")
    values = np.zeros(SHAPE, np.int16)
    values[tuple(slice(at - 1, at + 2) for at in MARKER)], values[:2] = 7, 1
    affine = nib.load(path).affine
    nib.save(nib.Nifti1Image(values, affine), tmp_path / "seg.nii.gz")
    nib.save(nib.Nifti1Image(values[:-1], affine), tmp_path / "short.nii.gz")
    how = ["--model", f"{VOLUME_NETWORKS}:bright", "--method", "grad-cam", "--intensity", "unit", "--target", 0]
    result = explain(path, "-o", tmp_path / "out", *how, "--by-region", tmp_path / "seg.nii.gz")
    assert result.exit_code == 0, result.stderr
    rows = {row["name"]: row for row in lines(tmp_path / "out")[0]["targets"][0]["regions"]["grad-cam"]}
    assert rows["region 7"]["positions"] == 27
    assert rows["region 7"]["enrichment"] > 2 > 1 > rows["region 1"]["enrichment"]
    assert rows["region 7"]["removal"] > 0
    assert (tmp_path / "out" / "scan_by_region.png").exists()
    ((first, title),) = drawn
    height, width = first.picture.shape[:2]
    for row, column in ((height // 2, 12), (height // 2, width - 12), (12, width // 2), (height - 12, width // 2)):
        around = first.picture[row - 8 : row + 9, column - 8 : column + 9]
        assert (around.min(-1) > 230).sum() > 5  # a letter: left is left
    assert title == "scan.nii.gz · slices through the peaks of the maps"
    for size in (9, 32):
        words = ["--by-region", tmp_path / "seg.nii.gz", "--json", "--sliding", size]
        windows = explain(path, "-o", tmp_path / str(size), *how, *words)
        assert windows.exit_code == 0, windows.stderr
        image = json.loads(windows.stdout)["images"][0]
        found = {row["name"]: row for row in image["targets"][0]["regions"]["grad-cam"]}
        assert found["region 7"]["removal"] > 10 * abs(found["region 1"]["removal"]) > 0
        assert (found == rows) == (size == 32)  # one window holds the scan
        assert not any("not tried" in notice for notice in image["notices"])
    wrong = explain(path, "-o", tmp_path / "wrong", *how, "--by-region", tmp_path / "short.nii.gz")
    assert wrong.exit_code == 1
    assert "short.nii.gz are on another grid (11 x 15 x 18) than the image (12 x 15 x 18)" in wrong.stderr


def test_regions_that_cannot_be_are_refused_before_the_network_is_loaded(tmp_path):
    draw(tmp_path / "a.png")
    for arguments, said in (
        (["--by-region", "slic:1"], "--by-region slic:1: give a number of superpixels from 2 to 4096"),
        (["--by-region", tmp_path / "no.png"], "no such file or folder"),
        (["--region-names", tmp_path / "a.png"], "--region-names is for the labels of --by-region"),
    ):
        result = bright(tmp_path / "a.png", *arguments)
        assert result.exit_code == 2
        assert said in " ".join(result.stderr.split())
        assert len(result.stderr.splitlines()) == 1
    result = explain(tmp_path / "a.png", "--by-region", "slic:9", "--store", tmp_path / "maps.zarr")
    assert (result.exit_code, "leave --by-region out" in result.stderr) == (2, True)
    with pytest.raises(InputError, match=r"^--by-region slic:x"):
        _ = RegionSettings("slic:x").superpixels
    assert options._SLIC == SLIC


def test_an_input_without_regions_has_no_numbers_and_says_so(tmp_path):
    draw(tmp_path / "a.png")
    (tmp_path / "labels").mkdir()
    result = bright(tmp_path / "a.png", "-o", tmp_path / "out", "--by-region", tmp_path / "labels", "--target", 0)
    assert result.exit_code == 0, result.stderr
    assert "regions" not in lines(tmp_path / "out")[0]["targets"][0]
    assert "a.png: no regions for --by-region were found for a.png" in result.stderr
    assert not list((tmp_path / "out").glob("*by_region*"))


class Around(nn.Module):
    """Three classes at each place, of what is around it: at its border a window sees less than the whole scan does."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv3d(1, 4, 3, padding=1)
        self.head = nn.Conv3d(4, 3, 3, padding=1)

    def forward(self, x):
        return self.head(self.features(x).relu())


@pytest.mark.parametrize("asked", [("predicted",), ("b", 2), ("all",)])
def test_of_a_segmentation_in_windows_map_score_and_fall_are_of_one_score(asked):
    """Brute force: all windows of the filled scan again, for the places that the blend of the untouched one showed."""
    torch.manual_seed(0)
    x = torch.rand(1, 8, 10, 12)
    methods = prepare_methods(["hires-cam"])
    engine = Engine(Around().eval(), methods, asked, layer="features", classes=("a", "b", "c"), batch_size=1)
    engine.windows = Windows((4, 10, 6), 0.5)
    (e,) = engine([x])
    given = Input(Path("scan.nii.gz"), kind=Kind.VOLUME)
    found = by_region(RegionSettings("slic:3"), engine, None, None, x, e, given, several=False)
    places = e.logits[0].argmax(0)
    of_blend = [Segmentation(c, places == c) for c in e.targets[0].tolist()]
    by_places = explain_windows(engine.explainer, x[None], (4, 10, 6), 0.5, of_blend)
    torch.testing.assert_close(e.scores, by_places.scores)
    torch.testing.assert_close(e.maps["hires-cam"], by_places.maps["hires-cam"])
    falls = []
    for name, mask in found.masks.items():
        filled = remove_artefact(x[None], mask, "linear", 0.0)
        without = explain_windows(engine.explainer, filled, (4, 10, 6), 0.5, of_blend)
        falls += (e.scores - without.scores)[0].tolist()
        removals = [found.shares["hires-cam", k][name].removal for k in range(len(of_blend))]
        assert removals == pytest.approx(falls[-len(of_blend) :], rel=1e-3, abs=1e-3)
    assert max(map(abs, falls)) > 0.1
