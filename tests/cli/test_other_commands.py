import json
import re

from typer.testing import CliRunner

from cfcam import list_methods
from cfcam.cli.app import app
from cfcam.methods import list_pixel_methods, list_text_methods
from tests.jobs.world import NETWORKS, draw, lines, written


def cfcam(*arguments):
    return CliRunner(env={"COLUMNS": "140"}).invoke(app, [str(a) for a in arguments])


def test_methods_lists_every_method_with_what_it_costs_and_where_it_comes_from():
    told = json.loads(cfcam("methods", "--json").stdout)
    assert [row["name"] for row in told] == [*list_methods(), *list_pixel_methods(), *list_text_methods()]
    assert all(row["what"] and row["cost"] for row in told)
    assert all(re.search(r"arXiv \d{4}\.\d{4,5}|IEEE|WACV", row["source"]) for row in told)
    by_name = {row["name"]: row for row in told}
    assert by_name["score-cam"]["cost"] == "2 + channels"
    assert by_name["cf-cam"]["cost"] == "1 + backward"
    assert by_name["cf-cam-best"]["cost"] == "up to 73 + backward"
    assert "guided filter" in by_name["cf-cam-guided"]["what"]
    assert all(row["for"] and len(row["for"]) < 90 for row in told)
    without = {name for name, row in by_name.items() if row["gradients"] == "no"}
    assert {"cam", "score-cam", "recipro-cam", "occlusion", "attention-rollout", "kpca-cam"} <= without
    assert without.isdisjoint({"grad-cam", "finer-cam", "refine-cam", "legrad", "winsor-cam", "cf-cam-best"})
    assert {row["gradients"] for row in told} == {"yes", "no"}
    assert by_name["winsor-cam"]["cost"] == "2 + backward"
    assert by_name["libra-grad"]["scorecard"] == "not in the scorecard"
    table = cfcam("methods").stdout
    (line,) = re.findall(r"^grad-cam  .*$", table, re.MULTILINE)
    assert re.split(r"  +", line.strip())[-1] == by_name["grad-cam"]["scorecard"] == "what the others are compared with"
    assert all(name in table for name in list_methods())
    assert "SESS (windows of a large picture)" in " ".join(table.split())


def test_layers_marks_the_one_that_explain_maps_and_says_why(tmp_path):
    spec = f"{NETWORKS}:brightness"
    result = cfcam("layers", spec, "--size", "32")
    assert result.exit_code == 0, result.stderr
    (chosen,) = [line for line in result.stdout.splitlines() if line.startswith(">")]
    assert "features" in chosen
    assert "4 x 4 x 4" in chosen
    assert "chosen as the last" in result.stdout
    told = json.loads(cfcam("layers", spec, "--size", "32", "--json").stdout)
    assert told["chosen"] == "features"
    assert [(i["name"], i["shape"], i["chosen"]) for i in told["layers"]] == [
        ("features", [1, 4, 4, 4], True),
        ("head", [1, 2], False),
    ]
    image = draw(tmp_path / "a.png")
    assert "4 x 4 x 4" in cfcam("layers", spec, "--size", "32", "--image", image).stdout
    cfcam("explain", image, "-o", tmp_path / "out", "-m", spec, "--size", "32")
    assert lines(tmp_path / "out")[0]["layer"] == "features"


def test_layers_of_a_network_without_one_prints_them_and_the_reason():
    result = cfcam("layers", f"{NETWORKS}:flat", "--size", "32")
    assert result.exit_code == 1
    assert "flatten" in result.stdout
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: no layer's output has a spatial extent")


def test_layers_with_the_wrong_input_is_one_line():
    result = cfcam("layers", f"{NETWORKS}:flat", "--size", "48")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "(1, 3, 48, 48)" in line


def test_inner_modules_are_listed_on_demand():
    spec = f"{NETWORKS}:nested"
    some, every = (json.loads(cfcam("layers", spec, "--json", *extra).stdout) for extra in ([], ["--all"]))
    assert [i["name"] for i in some["layers"]] == [
        *(f"stages.{n}" for n in range(5)), "stages", "pool", "head"
    ]  # fmt: skip
    assert len(every["layers"]) == 8 + 5 * 2
    assert some["chosen"] == every["chosen"] == "stages"
    assert sum(i["chosen"] for i in some["layers"]) == 1
    assert "10 modules inside of blocks are not listed" in cfcam("layers", spec).stdout


def test_the_demo_writes_pictures_maps_and_the_story_of_the_shortcut(tmp_path, monkeypatch):
    monkeypatch.setattr("cfcam.cli.demo.METHODS", ("grad-cam", "cam"))
    result = cfcam("demo", "--output", tmp_path / "demo")
    assert result.exit_code == 0, result.stderr
    files = written(tmp_path / "demo")
    shown = ("maps/index.html", "maps/nodule_sheet.png", "maps/nodule_cam.png", "shortcut/pacemaker_sheet.png")
    for name in ("testimgs/nodule.png", *shown):
        assert name in files
    assert len([n for n in files if n.startswith("maps/") and n.endswith("_sheet.png")]) == 6
    assert [n for n in files if n.startswith("shortcut/") and n.endswith("_sheet.png")] == [
        "shortcut/pacemaker_sheet.png"
    ]
    (pacemaker,) = lines(tmp_path / "demo" / "shortcut")
    assert pacemaker["targets"][0]["label"] == "consolidation"
    for number in "123":
        assert f"\n{number}. " in result.stdout
    again = cfcam("demo", "--output", tmp_path / "demo")
    assert "6 already done" in again.stdout


def test_layers_takes_the_network_its_classes_and_a_method_as_the_other_commands_do(tmp_path):
    spec = f"{NETWORKS}:brightness"
    one, two = cfcam("layers", spec, "--json"), cfcam("layers", "-m", spec, "--classes", "bright,dark", "--json")
    assert one.stdout == two.stdout
    assert "2 classes" in cfcam("layers", "-m", spec, "--classes", "a,b,c", "--num-classes", "2").stderr
    for n in range(2):
        draw(tmp_path / f"{n}.png", corner=n)
    told = cfcam("layers", "-m", spec, "--size", "32", "--measure", tmp_path, "--method", "hires-cam", "--json")
    assert told.exit_code == 0, told.stderr
    assert json.loads(told.stdout)["method"] == "hires-cam"
    assert (
        "hires-cam ranked on 2 pictures"
        in cfcam("layers", "-m", spec, "--size", "32", "--measure", tmp_path, "--method", "hires-cam").stdout
    )
