import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cfcam.cli.app import app
from cfcam.models.demo import make_phantom


def check(*arguments):
    return CliRunner(env={"COLUMNS": "140"}).invoke(app, ["check", *(str(a) for a in arguments)])


def save(path, pixels):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two healthy patients with a pacemaker, one of them also with a consolidation, and their masks."""
    folder = tmp_path_factory.mktemp("world")
    for name, findings in {"a": (), "b": ("consolidation",)}.items():
        phantom = make_phantom(10, size=256, findings=findings, devices=["pacemaker"])
        save(folder / "images" / f"{name}.png", phantom.image)
        device = phantom.masks["pacemaker"] | phantom.masks["lead"]
        lungs = phantom.masks["left lung"] | phantom.masks["right lung"]
        save(folder / "devices" / f"{name}.png", device.astype(np.uint8) * 255)
        save(folder / "masks" / f"{name}__lungs.png", lungs.astype(np.uint8) * 255)
        if findings:
            save(folder / "findings" / f"{name}.png", phantom.masks["consolidation"].astype(np.uint8))
    return folder


def outcomes(result):
    document = json.loads(result.stdout)
    return {case["image"]: {c["name"]: c["outcome"] for c in case["checks"]} for case in document["cases"]}


def test_the_shortcut_is_flagged_and_the_honest_network_is_not(world):
    arguments = [world / "images" / "b.png", "--artefacts", world / "devices", "--json", "--target", "consolidation"]
    honest, shortcut = (check(*arguments, "--model", name) for name in ("demo", "demo-shortcut"))
    found = outcomes(honest)["b.png"]
    assert [v for k, v in found.items() if k.startswith("artefact")] == ["pass"] * 5
    assert outcomes(shortcut)["b.png"]["artefact: enrichment"] == "flag"
    assert shortcut.exit_code == 1


def test_all_masks_of_several_pictures_and_a_file_of_results(world, tmp_path):
    result = check(
        world / "images", "--organ", world / "masks" / "{stem}__lungs.png", "--artefacts", world / "devices",
        "--findings", world / "findings", "--json", "--output", tmp_path / "deep" / "checks.json", "--model", "demo",
    )  # fmt: skip
    assert json.loads((tmp_path / "deep" / "checks.json").read_text()) == json.loads(result.stdout)
    found = outcomes(result)
    assert found["b.png"]["findings: covered"] == "pass"
    assert found["a.png"]["findings: covered"] == "not assessed"
    assert "no mask for --findings was found for a.png" in result.stderr
    assert set(found["a.png"]) >= {"organ: energy", "artefact removed: map", "test-retest: map"}
    document = json.loads(result.stdout)
    assert document["counts"]["organ: energy"]["not assessed"] == 0
    assert document["limits"]["artefact_enrichment"] == 3.0
    assert "all cases: organ: energy" in [found["name"] for found in document["all"]]


def test_limits_decide_and_the_table_shows_them(world, tmp_path):
    (tmp_path / "strict.json").write_text('{"findings_covered": 0, "artefact_energy": 0, "artefact_enrichment": 0}')
    arguments = [world / "images" / "b.png", "--artefacts", world / "devices" / "b.png", "--no-retest"]
    assert check(*arguments).exit_code == 0
    strict = check(*arguments, "--limits", tmp_path / "strict.json")
    assert strict.exit_code == 1
    assert "artefact: energy" in strict.stdout
    assert "flag" in strict.stdout
    assert "not a medical device" in strict.stderr


def test_mistakes_are_one_line(world, tmp_path):
    one = check(world / "images", "--artefacts", world / "devices" / "a.png")
    assert one.exit_code == 2
    assert "{stem}" in one.stderr
    (tmp_path / "limits.json").write_text('{"artifact": 1}')
    wrong = check(world / "images", "--limits", tmp_path / "limits.json")
    assert wrong.exit_code == 2
    assert "artifact" in wrong.stderr
    assert check(tmp_path / "none.png").exit_code == 2
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere" / "x")
    unwritten = check(world / "images" / "a.png", "--output", tmp_path / "gone" / "checks.json")
    assert unwritten.exit_code == 2
    assert "checks.json: cannot be written (" in " ".join(unwritten.stderr.split())


def test_the_peak_is_told_with_its_part_and_its_share_where_somebody_asks(world, tmp_path):
    arguments = [world / "images" / "b.png", "--target", "consolidation", "--no-retest", "--model", "demo"]
    told = json.loads(check(*arguments, "--peak-stability", "--json").stdout)["cases"][0]
    (result,) = [one for one in told["checks"] if one["name"] == "peak: stays"]
    assert told["peak_stability"]["motions"] == 17
    assert result["value"] == told["peak_stability"]["stayed"] / 17
    assert result["detail"].startswith(f"{told['where']}: stays under {told['peak_stability']['stayed']} of 17")
    assert told["where"].endswith("third of the picture (patient side not stated)")
    (tmp_path / "strict.json").write_text('{"peak_stays": 1.5}')
    flagged = json.loads(check(*arguments, "--peak-stability", "--limits", tmp_path / "strict.json", "--json").stdout)
    assert [one["outcome"] for one in flagged["cases"][0]["checks"]] == ["flag"]
    without = json.loads(check(*arguments, "--json").stdout)["cases"][0]
    assert "where" not in without
    assert without["checks"] == []
