"""``cfcam explain --target box-1``: boxes of a detector, in pixels of the picture, drawn over their maps."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import cfcam
from cfcam.cli.app import app
from tests.jobs.world import lines, pixels
from tests.web.offline_pages import held

NET = '''
import cfcam
import torch
from torch import nn
from cfcam.capture import Detections


class Quarters(nn.Module):
    """The logit of class c at a quarter of the picture is 6 times the mean of colour c over it, less 2."""

    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(3, 2, 1, bias=False)
        self.features.weight.data = torch.eye(3)[:2, :, None, None]

    def forward(self, x):
        return nn.functional.adaptive_avg_pool2d(self.features(x), 2)


def read(means, size):
    h, w = size[0] / 2, size[1] / 2
    boxes = torch.tensor([[0, 0, w, h], [w, 0, 2 * w, h], [0, h, w, 2 * h], [w, h, 2 * w, 2 * h]])
    return Detections(boxes.expand(len(means), 4, 4), 6 * means.flatten(2).transpose(1, 2) - 2)


def net():
    return cfcam.Detector(Quarters().eval(), read)
'''
ALL = [
    "box-1", "box-2", "mass in box-1", "boxes-0.5", "box at 120,90", "box at 0,0,80,60", "mass at 80,60,160,120",
    "no mass at 85,5,150,55",
]  # fmt: skip


@pytest.fixture
def world(tmp_path):
    """A picture of 120 x 160 with a red block in its first quarter and a green one in its last."""
    (tmp_path / "net.py").write_text(NET)
    drawn = np.zeros((120, 160, 3), np.uint8)
    drawn[10:50, 10:70, 0], drawn[70:110, 90:150, 1] = 255, 200
    Image.fromarray(drawn).save(tmp_path / "a.png")
    return tmp_path


def explain(world, *arguments, paths=("a.png",)):
    how = ["--model", f"{world / 'net.py'}:net", "--size", 64, "--mean", 0, "--std", 1, "--layer", "model.features"]
    how += ["--classes", "nodule,mass", "--method", "hires-cam", "-o", world / "out"]
    names = [world / path for path in paths]
    return CliRunner(env={"COLUMNS": "140"}).invoke(app, ["explain", *map(str, (*names, *how, *arguments))])


def asking(*targets):
    return [word for target in targets for word in ("--target", target)]


def test_each_box_has_a_map_a_probability_and_its_place_in_the_picture(world):
    result = explain(world, *asking(*ALL), "--json", "-")
    assert result.exit_code == 0, result.stderr
    found = {one["label"]: one for one in json.loads(result.stdout)["images"][0]["targets"]}
    first, last = [0, 0, 80, 60], [80, 60, 160, 120]
    assert {label: one["box"] for label, one in found.items()} == {
        "box 1: nodule": first, "box 2: mass": last, "mass in box 1": first, "mass at 120,90": last,
        "nodule at 0,0,80,60": first, "mass at 80,60,160,120": last,
        "no mass at 85,5,150,55": pytest.approx([85, 5, 150, 55], abs=1e-3),
    }  # fmt: skip
    red = 6 * (40 * 60) / (60 * 80) - 2  # of the quarter of 60 x 80 pixels 40 x 60 are red: the logit is 1
    assert found["box 1: nodule"]["probability"] == pytest.approx(1 / (1 + np.exp(-red)), abs=0.02)
    assert found["mass in box 1"]["maps"] == {"hires-cam": "no positive evidence"}
    assert lines(world / "out")[0]["targets"][0]["box"] == first
    assert (world / "out" / "a_hires-cam_box-1-nodule.png").is_file()


def test_a_store_holds_each_box_with_its_map_and_its_place_in_the_picture(world):
    Image.fromarray(np.asarray(Image.open(world / "a.png"))[:, ::-1].copy()).save(world / "b.png")
    how = [*asking("box-1", "box at 120,90"), "--output", "output", "--store", world / "maps.zarr"]
    result = explain(world, *how, paths=("a.png", "b.png"))
    assert result.exit_code == 0, result.stderr
    store = cfcam.open_store(world / "maps.zarr")
    found = {(row.input[-5:], row.label): list(row.box) for row in store.table.itertuples()}
    assert found == {  # in b.png the red block is on the right, and the green one on the left below
        ("a.png", "box 1: nodule"): [0, 0, 80, 60],
        ("a.png", "mass at 120,90"): [80, 60, 160, 120],
        ("b.png", "box 1: nodule"): [80, 0, 160, 60],
        ("b.png", "nodule at 120,90"): [80, 0, 160, 60],  # the nearest of 0.5 or more
    }
    right = np.flatnonzero(store.table.input.str.endswith("b.png"))[0]
    heat = store.heatmap(right, (120, 160))
    assert heat[:, 80:].sum() > 100 * max(heat[:, :70].sum(), 1e-6)


def test_the_page_in_one_file_holds_the_box_of_each_map(world):
    result = explain(world, *asking("box-1", "box-2"), "--html")
    assert result.exit_code == 0, result.stderr
    (detail,) = held((world / "out" / "a_view.html").read_bytes())["details"].values()
    assert {one["class_name"]: one["box"] for one in detail["maps"]} == {
        "box 1: nodule": [0, 0, 80, 60],
        "box 2: mass": [80, 60, 160, 120],
    }


def test_the_overlay_shows_the_map_by_hand_and_the_box_around_it(world):
    """Gradient times activation is positive where the class's colour is, and nowhere else."""
    assert explain(world, "--target", "box-2", "--save", "overlay").exit_code == 0
    drawn, plain = pixels(world / "out" / "a_hires-cam.png"), pixels(world / "a.png")
    box = np.zeros((120, 160), bool)
    box[59:, 79:] = True
    inner = np.zeros_like(box)
    inner[63:117, 83:157] = True
    line = (drawn == 255).all(2)
    assert line[60, 80:].all()
    assert line[60:, 80].all()
    assert line[119, 80:].all()
    assert line[60:, 159].all()
    assert not line[inner].any()
    changed = (drawn != plain).any(2)
    assert not changed[~box].any()
    assert changed[75:105, 95:145].all()  # the green block


def test_all_methods_explain_a_box_but_those_of_classes_and_of_attention(world):
    result = explain(world, "--target", "box-1", "--method", "all", "--save", "maps", "--json", "-")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    left_out = {note.partition(" is left out")[0] for note in told["notes"] if " is left out" in note}
    assert left_out == {"cam", "finer-cam", "attention-rollout", "legrad", "winsor-cam"}
    assert len(told["images"][0]["targets"][0]["maps"]) > 25


def test_pictures_of_other_sizes_have_other_boxes_and_a_second_run_leaves_them(world):
    drawn = np.zeros((50, 40, 3), np.uint8)
    drawn[:20, 22:, 0] = 255
    Image.fromarray(drawn).save(world / "b.png")
    result = explain(world, "--target", "boxes-0.5", paths=("a.png", "b.png"))
    assert result.exit_code == 0, result.stderr
    found = {one["name"]: [target["box"] for target in one["targets"]] for one in lines(world / "out")}
    assert found == {"a": [[0, 0, 80, 60], [80, 60, 160, 120]], "b": [[20, 0, 40, 25]]}
    assert "2 already done" in explain(world, "--target", "boxes-0.5", paths=("a.png", "b.png")).stdout


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("box-7", "there is no box 7: the detector has 4 there"),
        ("boxes-0.9", "no box has a probability of 0.9 or more, the greatest is 0.73"),
        ("box at 500,20", "is not in the part of the picture that the network sees: give x from 0 to 160 and y from 0"),
        ("box at 100,100,300,140", "is not in the part of the picture that the network sees"),
        (
            "box at 30,30,90,90",
            "no box of the detector overlaps (30, 30, 90, 90) by a half (the nearest, (0, 0, 80, 60)",
        ),
    ],
)
def test_a_picture_without_such_a_box_fails_in_one_line_and_others_do_not(world, target, said):
    result = explain(world, "--target", target)
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if "failed: " in line]
    assert said in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--target", "box-0"], "boxes are counted from 1"),
        (["--target", "boxes-2"], "a probability from 0, below 1"),
        (["--target", "box at 9,9,3,3"], "is empty"),
        (["--target", "lamp in box-1"], "no class is called 'lamp'; nearest of 2: 'nodule', 'mass'"),
        (["--target", "no lamp at 1,2,30,40"], "no class is called 'lamp'"),
        (["--target", "box-1", "--by-region", "slic:9"], "--by-region asks other passes than that in which boxes"),
        (["--target", "box-1", "--sliding", "32"], "--sliding asks other passes than that in which boxes are found"),
        ([], "classes are asked for box by box: give the target box-1 (the most probable one) or boxes-0.5"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(world, arguments, said):
    result = explain(world, *arguments)
    assert result.exit_code == 2
    assert said in result.stderr.splitlines()[-1]
    assert not (world / "out").exists()


def test_a_box_that_cannot_be_is_told_before_torch_is_imported():
    code = (
        "import sys\nfrom cfcam.cli.app import app\n"
        "try:\n    app(['explain', '--target', 'box-0'])\n"
        "except SystemExit as end:\n    sys.exit(10 * end.code + ('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (20, 1)
    assert "boxes are counted from 1" in done.stderr


@pytest.mark.parametrize("command", ["view", "check", "doctor", "compare"])
def test_other_commands_say_where_boxes_are_explained(world, command):
    paths = [world / "a.png"] * (1 + (command == "compare"))
    words = [command, *([] if command == "doctor" else paths), "--model", f"{world / 'net.py'}:net"]
    result = CliRunner().invoke(app, [*map(str, words), "--target", "box-1"])
    assert result.exit_code == 2
    assert "boxes of a detector are explained by cfcam explain" in result.stderr


def test_a_folder_of_transformers_that_holds_a_detector(world):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.YolosConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, image_size=[64, 64],
        patch_size=16, num_detection_tokens=5, id2label={0: "nodule", 1: "mass"},
    )  # fmt: skip
    model = transformers.YolosForObjectDetection(config).eval()
    model.save_pretrained(world / "yolos")
    settings = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": {"shortest_edge": 64, "longest_edge": 90}}
    (world / "yolos" / "preprocessor_config.json").write_text(json.dumps({"do_resize": True, **settings}))
    how = ["--layer", "model.vit.encoder.layer.0", "--method", "grad-cam", "--target", "box-1", "-o", world / "out"]
    words = ["explain", world / "a.png", "--model", f"hf:{world / 'yolos'}", *how, "--json", "-"]
    result = CliRunner().invoke(app, [*map(str, words)])
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert "64 x 64 pixels: stated by the network" in told["prepared"]
    assert "states a size of a kind that cfcam does not have" in told["prepared"]
    x = (torch.from_numpy(pixels(world / "a.png")).permute(2, 0, 1)[None] / 255 - 0.5) / 0.5
    x = torch.nn.functional.interpolate(x, 64, mode="bilinear", antialias=True)
    target = told["images"][0]["targets"][0]
    e = cfcam.explain(cfcam.Detector(model), x, "grad-cam", targets="box-1", layer="model.vit.encoder.layer.0")
    assert target["probability"] == pytest.approx(e.probability(0, 0), abs=1e-3)
    scaled = (e.boxes[0, 0] * torch.tensor([160, 120, 160, 120]) / 64).tolist()
    assert target["box"] == pytest.approx(scaled, abs=0.1)
    assert target["label"].removeprefix("box 1: ") in ("nodule", "mass")
    (world / "yolos" / "model.safetensors").unlink()
    torch.save(model.state_dict(), world / "weights.pt")  # of the detector itself, not of what wraps it
    words += ["--weights", world / "weights.pt", "--overwrite"]
    result = CliRunner().invoke(app, [*map(str, words)])
    assert result.exit_code == 0, result.stderr
    again = json.loads(result.stdout)
    assert again["images"][0]["targets"] == told["images"][0]["targets"]
