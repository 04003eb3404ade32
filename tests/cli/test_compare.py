import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cfcam.cli.app import app
from cfcam.models.demo import make_phantom


def compare(*arguments):
    return CliRunner(env={"COLUMNS": "160"}).invoke(app, ["compare", *(str(a) for a in arguments)])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """One patient three times: with a nodule, shifted, and without it; and a picture of nothing."""
    folder = tmp_path_factory.mktemp("world")
    ill = make_phantom(7, findings=["nodule"], size=224).image
    pictures = {
        "first": ill,
        "shifted": np.roll(ill, 5, 1),
        "cured": make_phantom(7, size=224).image,
        "noise": np.random.default_rng(0).integers(0, 255, (224, 224), dtype=np.uint8),
    }
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


def test_a_pair_gives_a_table_a_figure_and_the_sentence(world, tmp_path):
    mask = make_phantom(7, findings=["nodule"], size=224).masks["nodule"]
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "nodule.png")
    result = compare(
        world / "first.png", world / "cured.png", "--target", "nodule", "--retests", 3, "-o", tmp_path / "out",
        "--mask", f"nodule={tmp_path / 'nodule.png'}",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    for words in ("first.png -> cured.png: nodule, grad-cam", "beyond repeatability", "mean in nodule", "hot area"):
        assert words in " ".join(result.stdout.split())
    assert "A change of the map is not a change of disease." in result.stdout
    assert "not a medical device" in result.stderr
    assert Image.open(tmp_path / "out" / "first_cured.png").size[0] > 900
    assert json.loads((tmp_path / "out" / "first_cured.json").read_text())["state"] == "compared"


def test_pairs_in_json_with_a_failure_then_resumed(world, tmp_path):
    table = tmp_path / "pairs.csv"
    rows = [("first", "noise", "bad"), ("first", "shifted", "good")]
    table.write_text("prior,current,name\n" + "".join(f"{world / a}.png,{world / b}.png,{n}\n" for a, b, n in rows))
    arguments = ["--pairs", table, "--target", "nodule", "--retests", 2, "-o", tmp_path / "out", "--json"]
    result = compare(*arguments)
    assert result.exit_code == 1
    bad, good = json.loads(result.stdout)
    assert (bad["state"], good["state"]) == ("not compared", "compared")
    assert good["statement"] == bad["statement"] == "A change of the map is not a change of disease."
    assert "registration not good enough: not compared" in result.stderr
    assert "--no-registration" in result.stderr
    assert "2/2 good: compared" in result.stderr
    again = compare(*arguments)
    assert "2/2 good: resumed" in again.stderr
    assert json.loads(again.stdout)[1] == good


def test_mistakes_are_one_line(world, tmp_path):
    first = world / "first.png"
    for arguments, named in (
        ([first], "two studies"),
        ([], "two studies"),
        ([first, first, "--pairs", "x.csv"], "--pairs"),
        ([first, first, "--registration", "elastic"], "rigid or affine"),
        ([first, first, "--gate", "corelation=1"], "corelation"),
        ([first, first, "--mask", "lobe"], "NAME=FILE"),
        ([first, first, "--threshold", "2"], "threshold"),
        (["--pairs", tmp_path / "none.csv"], "none.csv"),
    ):
        result = compare(*arguments, "-o", tmp_path / "out")
        assert result.exit_code == 2, arguments
        assert named in result.stderr
        assert result.stderr.strip().count("\n") == 0
    assert not (tmp_path / "out").exists()


def test_a_study_that_is_not_there_is_wrong_usage(world, tmp_path):
    result = compare(world / "first.png", world / "none.png", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "none.png: no such file" in result.stderr
