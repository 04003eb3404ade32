"""``--target labels.csv``: another class of each input; ``--json -``: one JSON text on stdout, and nothing else."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from cfcam.cli.app import app
from tests.jobs.world import NETWORKS, draw, folder_of, lines


def explain(*arguments, model=f"{NETWORKS}:brightness"):
    how = ["--model", model, "--size", 32, "--mean", 0, "--std", 1, "--classes", "bright,dark", "--method", "grad-cam"]
    return CliRunner(env={"COLUMNS": "140"}).invoke(app, ["explain", *map(str, (*arguments, *how))])


def classes(output):
    return {one["name"]: [target["index"] for target in one["targets"]] for one in lines(output)}


@pytest.mark.parametrize("labels", [("bright", "dark", "bright"), ("0", "1", "0")])
def test_of_each_input_the_class_of_its_line_is_explained(tmp_path, labels):
    folder_of(tmp_path / "in", 3)
    rows = "".join(f"in/picture{n}.png,{label}\n" for n, label in enumerate(labels))
    (tmp_path / "labels.csv").write_text(f"file,label\n{rows}")
    result = explain(tmp_path / "in", "-o", tmp_path / "out", "--target", tmp_path / "labels.csv")
    assert result.exit_code == 0, result.stderr
    assert classes(tmp_path / "out") == {"picture0": [0], "picture1": [1], "picture2": [0]}
    again = explain(tmp_path / "in", "-o", tmp_path / "out", "--target", tmp_path / "labels.csv")
    assert "3 already done" in again.stdout
    (tmp_path / "labels.csv").write_text(f"file,label\n{rows.replace('picture0.png,' + labels[0], 'picture0.png,1')}")
    explain(tmp_path / "in", "-o", tmp_path / "out", "--target", tmp_path / "labels.csv")
    assert classes(tmp_path / "out")["picture0"] == [1]


def test_its_maps_are_those_of_the_class_alone(tmp_path):
    path = draw(tmp_path / "a.png")
    (tmp_path / "labels.csv").write_text("file,label\na.png,dark\n")
    for name, target in (("table", tmp_path / "labels.csv"), ("alone", "dark")):
        explain(path, "-o", tmp_path / name, "--target", target, "--save", "overlay")
    assert (tmp_path / "table" / "a_grad-cam.png").read_bytes() == (tmp_path / "alone" / "a_grad-cam.png").read_bytes()


@pytest.mark.parametrize(
    ("rows", "more", "said"),
    [
        ("in/picture0.png,bright\n", [], "labels.csv: 1 of 2 inputs have no line with a label, the first of them is"),
        (
            "in/picture0.png,bright\nin/picture1.png,\n",
            [],
            "have no line with a label, the first of them is line 3 (picture1.png), whose label is empty",
        ),
        (
            "in/picture0.png,bright\nin/picture1.png,grey\n",
            [],
            "labels.csv: line 3 (picture1.png): no class is called 'grey'",
        ),
        ("in/picture0.png,bright\n", ["--target", "0"], "--target: a table says which one class"),
        ("elsewhere.png,bright\n", [], "labels.csv: none of its pictures is among those to explain"),
    ],
)
def test_a_table_that_does_not_fit_is_one_line(tmp_path, rows, more, said):
    folder_of(tmp_path / "in", 2)
    (tmp_path / "labels.csv").write_text(f"file,label\n{rows}")
    result = explain(tmp_path / "in", "-o", tmp_path / "out", "--target", tmp_path / "labels.csv", *more)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert said in line


def test_a_table_that_is_not_there_is_one_line(tmp_path):
    result = explain(draw(tmp_path / "a.png"), "--target", tmp_path / "no.csv")
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert "no such file; give a CSV file with the columns file and label" in result.stderr


def test_json_with_a_dash_is_one_text_with_all_probabilities_whatever_the_network_prints(tmp_path):
    folder_of(tmp_path / "in", 2)
    (tmp_path / "nets.py").write_text(
        f"import sys\nsys.path.insert(0, {str(NETWORKS.parent)!r})\nimport user_networks\n"
        "class Loud(user_networks.Brightness):\n"
        "    def forward(self, x):\n        print('forward')\n        return super().forward(x)\n"
        "def loud():\n    print('made')\n    return Loud()\n"
    )
    result = explain(tmp_path / "in", "-o", tmp_path / "out", "--json", "-", model=f"{tmp_path / 'nets.py'}:loud")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert [set(one["probabilities"]) for one in told["images"]] == [{"bright", "dark"}] * 2
    assert all(sum(one["probabilities"].values()) == pytest.approx(1) for one in told["images"])
    assert "made" in result.stderr
    assert "forward" in result.stderr


def test_a_dash_alone_is_no_input(tmp_path):
    result = explain(draw(tmp_path / "a.png"), "-")
    assert (result.exit_code, result.stderr) == (
        2,
        "error: -: pictures are not read from a pipe; name files or folders\n",
    )
