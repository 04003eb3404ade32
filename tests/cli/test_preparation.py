"""Every command that prepares pictures says what was assumed about them, and on what its numbers therefore rest."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest
from PIL import Image

from tests.cli.test_explain import cfcam
from tests.jobs.world import NETWORKS, folder_of, lines
from tests.machine import data_folder

ASSUMED = "normalised with ImageNet's mean and SD"
SAID = "not stated by the network"
MODEL = ["--model", f"{NETWORKS}:brightness", "--size", "32", "--classes", "bright,dark"]


@pytest.fixture
def folder(tmp_path):
    folder_of(tmp_path / "in", 2)
    return tmp_path / "in"


def one_text(text):
    return " ".join(text.split())


def test_explain_in_its_table_and_its_files(folder, tmp_path, monkeypatch):
    from cfcam.jobs.runs import pictures

    footers = []
    drawn = pictures.contact_page
    monkeypatch.setattr(pictures, "contact_page", lambda *a, **k: footers.append(k["footer"]) or drawn(*a, **k))
    result = cfcam("explain", folder, "-o", tmp_path / "out", *MODEL)
    assert f"prepared: {ASSUMED}" in result.stdout
    assert SAID in result.stdout
    assert f"{ASSUMED}" in result.stderr
    assert "--mean, --std, --size, or a JSON file beside the weights" in one_text(result.stderr)
    assert all(f"assumed: {ASSUMED}" in footer and "not a medical device" in footer for footer in footers)
    assert len(footers) == 2
    (run,) = json.loads((tmp_path / "out" / "run.json").read_text())["runs"].values()
    assert run["settings"]["preprocess"]["sources"]["mean"] == "assumed"
    assert run["settings"]["preprocess"]["sources"]["size"] == "given"
    assert any(ASSUMED in note for note in run["notes"])
    again = json.loads(cfcam("explain", folder, "-o", tmp_path / "out", *MODEL, "--json").stdout)
    assert any(ASSUMED in line for line in again["assumed"])
    assert ASSUMED in again["prepared"]


def test_what_is_given_or_beside_the_weights_is_not_assumed(folder, tmp_path):
    result = cfcam("explain", folder, "-o", tmp_path / "a", *MODEL, "--mean", "0", "--std", "1", "--resize", "stretch")
    assert "normalised with mean 0 and SD 1, 32 x 32 pixels" in result.stdout or "given" in result.stdout
    assert result.stderr == ""


def test_bands_and_grey_pictures_are_told_below_the_table_and_in_the_manifest(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    (tmp_path / "in").mkdir()
    bands = np.random.default_rng(0).integers(0, 255, (40, 40, 4), np.uint8)
    tifffile.imwrite(tmp_path / "in" / "a.tif", bands, photometric="rgb", extrasamples=["unspecified"])
    for name in "bcd":
        Image.new("L", (40, 40), 99).save(tmp_path / "in" / f"{name}.png")
    result = cfcam("explain", tmp_path / "in", "-o", tmp_path / "out", *MODEL, "--method", "grad-cam")
    bands_told = "a.tif: it has 4 bands: red, green and blue are taken"
    assert (result.stderr.count(bands_told), result.stdout.count(bands_told)) == (1, 0)  # once: when it was read
    assert "b.png and 2 more: it is grey: repeated to 3 channels" in result.stdout
    told = {line["name"]: line["notices"] for line in lines(tmp_path / "out")}
    assert told["b"] == ["it is grey: repeated to 3 channels"]
    assert "4 bands" in told["a"][0]
    resumed = json.loads(
        cfcam("explain", tmp_path / "in", "-o", tmp_path / "out", *MODEL, "--method", "grad-cam", "--json").stdout
    )
    assert [image["status"] for image in resumed["images"]] == ["skipped"] * 4
    assert resumed["images"][1]["notices"] == ["it is grey: repeated to 3 channels"]


def test_evaluate_on_its_page_and_in_its_json(folder, tmp_path):
    result = cfcam("evaluate", folder, "-o", tmp_path / "out", *MODEL, "--methods", "grad-cam", "--metrics", "adcc")
    assert ASSUMED in one_text(result.stderr), result.stderr
    info = json.loads((tmp_path / "out" / "scorecard.json").read_text())["info"]
    assert ASSUMED in info["prepared"]
    assert info["preprocess"]["sources"]["mean"] == "assumed"
    page = (tmp_path / "out" / "index.html").read_text().replace("&#39;", "'")
    assert ASSUMED in page
    assert SAID in page


def test_check(folder):
    result = cfcam("check", folder / "picture0.png", *MODEL, "--no-retest", "--json")
    assert ASSUMED in one_text(result.stderr)
    assert any(ASSUMED in line for line in json.loads(result.stdout)["provenance"]["assumed"])


def test_compare(folder, tmp_path):
    result = cfcam(
        "compare", folder / "picture0.png", folder / "picture1.png", *MODEL, "-o", tmp_path / "out", "--retests", "0",
        "--no-registration", "--json",
    )  # fmt: skip
    (document,) = json.loads(result.stdout)
    assert any(ASSUMED in note for note in document["notes"]), document
    assert document["preprocess"]["sources"]["mean"] == "assumed"


def test_evidence(folder, tmp_path):
    result = cfcam(
        "evidence", "--data", folder, *MODEL, "-o", tmp_path / "out", "--retests", "0", "--gallery", "0", "--limit",
        "1", "--metrics", "adcc",
    )  # fmt: skip
    assert ASSUMED in one_text(result.stderr), result.output
    page = (tmp_path / "out" / "index.html").read_text().replace("&#39;", "'")
    assert ASSUMED in page


def test_a_report_says_so_with_the_network_and_among_its_limits(folder, tmp_path):
    result = cfcam("explain", folder / "picture0.png", "-o", tmp_path / "out", *MODEL, "--report", "html")
    assert result.exit_code == 0, result.stderr
    (report,) = (tmp_path / "out").glob("*_report.html")
    page = report.read_text().replace("&#39;", "'")
    assert page.count(ASSUMED) >= 2
    assert f"Normalised with ImageNet's mean and SD: {SAID}." in page
    numbers = json.loads(next((tmp_path / "out").glob("*_regions.json")).read_text())
    assert ASSUMED in numbers["provenance"]["prepared"]


def test_layers_measured_on_pictures(folder):
    result = cfcam("layers", f"{NETWORKS}:brightness", "--size", "32", "--measure", folder)
    assert ASSUMED in one_text(result.stderr), result.output


@pytest.mark.parametrize("channels", [2, 4])
def test_a_network_of_other_channels_is_refused_in_one_line(channels, folder, tmp_path):
    nets = tmp_path / "nets.py"
    nets.write_text(
        "from torch import nn\n\ndef make(channels):\n"
        "    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),"
        " nn.Linear(4, 2))\n"
    )
    spec = ["--model", f"{nets}:make(channels={channels})", "--size", "32"]
    result = cfcam("explain", folder, "-o", tmp_path / "out", *spec)
    assert result.exit_code != 0
    assert f"the network takes {channels} channels, and nobody says how they are normalised" in one_text(result.stderr)
    result = cfcam("explain", folder, "-o", tmp_path / "out", *spec, "--mean", "0.5", "--std", "0.5")
    assert f"the network takes {channels} channels: give a TIFF with exactly {channels} bands" in one_text(
        result.stderr
    )
    assert result.exit_code == 1


def test_a_network_of_four_channels_takes_a_picture_of_four_bands(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    nets = tmp_path / "nets.py"
    nets.write_text(
        "from torch import nn\n\ndef make():\n"
        "    return nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),"
        " nn.Linear(4, 2))\n"
    )
    bands = np.random.default_rng(0).integers(0, 255, (40, 40, 4), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", bands, photometric="minisblack", planarconfig="contig")
    result = cfcam(
        "explain", tmp_path / "a.tif", "-o", tmp_path / "out", "--model", f"{nets}:make", "--mean", "0.1,0.2,0.3,0.4",
        "--std", "0.5", "--method", "grad-cam",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "its 4 bands are taken in their order" in one_text(result.stdout)


@pytest.mark.parametrize("channels", [1, 4])
def test_without_a_picture_nobody_asks_how_it_is_normalised(channels, tmp_path):
    nets = tmp_path / "nets.py"
    nets.write_text(
        "from torch import nn\n\ndef make():\n"
        f"    return nn.Sequential(nn.Conv2d({channels}, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),"
        " nn.Linear(4, 2))\n"
    )
    assert cfcam("layers", f"{nets}:make", "--size", "32").exit_code == 0
    found = json.loads(cfcam("doctor", "--model", f"{nets}:make", "--size", "32", "--json").stdout)
    assert found["input_shape"] == [1, channels, 32, 32]


@pytest.mark.parametrize("name", ["benign_164.jpg", "malignant_1.jpg"])
def test_on_a_real_network_the_assumption_is_said_and_what_is_given_gives_its_own_probabilities(name, tmp_path):
    data = data_folder()
    picture = data / "busi-breast-ultrasound" / "images" / name
    spec = ["--model", f"{data}/networks.py:busi_mobilenet_v2", "--classes", "benign,malignant,normal"]
    spec += ["--method", "grad-cam", "--target", "all"]

    def explained(*options):
        result = cfcam("explain", picture, "-o", tmp_path / f"{len(options)}", *spec, *options, "--json")
        assert result.exit_code == 0, result.stderr
        told = json.loads(result.stdout)
        targets = {target["label"]: target["probability"] for target in told["images"][0]["targets"]}
        return told, [targets[label] for label in ("benign", "malignant", "normal")]

    table = cfcam("explain", picture, "-o", tmp_path / "table", *spec).stdout
    assert f"prepared: {ASSUMED}" in table
    assert SAID in table
    told, assumed = explained()
    assert f"{ASSUMED}: {SAID}" in told["assumed"]
    assert told["preprocess"]["sources"]["mean"] == told["preprocess"]["sources"]["std"] == "assumed"

    told, given = explained("--mean", "0.50196", "--std", "0.50196")
    assert not any("normalised" in line for line in told["assumed"])
    assert told["preprocess"]["sources"]["mean"] == told["preprocess"]["sources"]["std"] == "given"
    own = probabilities_by_hand(data, picture)
    assert given == pytest.approx(own, abs=1e-3)
    if name == "benign_164.jpg":  # what was assumed decides even the class
        assert assumed[0] > 0.9
        assert own[1] > 0.8


def probabilities_by_hand(data, picture):
    """What the network answers to (p - 128)/128 of a grey picture's bytes, without any of cfcam."""
    import torch
    import torch.nn.functional as F

    spec = importlib.util.spec_from_file_location("real_networks", data / "networks.py")
    networks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(networks)
    grey = torch.tensor(np.asarray(Image.open(picture).convert("L")), dtype=torch.float32)[None, None]
    small = F.interpolate(grey, (224, 224), mode="bilinear", antialias=True)
    with torch.no_grad():
        return networks.busi_mobilenet_v2()(((small - 128) / 128).expand(-1, 3, -1, -1)).softmax(1)[0].tolist()
