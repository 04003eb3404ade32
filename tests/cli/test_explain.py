import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from cfcam.cli.app import app
from tests.jobs.world import NETWORKS, draw, folder_of, lines, pixels, written
from tests.waiting import PATIENCE, until

BRIGHT = ["--size", "32", "--mean", "0", "--std", "1", "--classes", "bright,dark"]


def network(name="brightness"):
    return ["--model", f"{NETWORKS}:{name}", *BRIGHT]


def cfcam(*arguments):
    return CliRunner(env={"COLUMNS": "140"}).invoke(app, [str(a) for a in arguments])


def explain(paths, output, *arguments, name="brightness"):
    paths = paths if isinstance(paths, list) else [paths]
    return cfcam("explain", *paths, "-o", output, *network(name), *arguments)


def one_line(result):
    """The only line on stderr."""
    (line,) = result.stderr.splitlines()
    return line


def test_a_folder_becomes_overlays_and_sheets_and_a_table(tmp_path):
    folder_of(tmp_path / "in", 3)
    result = explain(tmp_path / "in", tmp_path / "out")
    assert result.exit_code == 0
    methods = ("cf-cam", "grad-cam", "grad-cam++", "sheet")
    pictures = [f"picture{n}_{m}.png" for n in range(3) for m in methods]
    small = [f"index_files/picture{n}.jpg" for n in range(3)]
    assert written(tmp_path / "out") == sorted([*pictures, *small, "index.html", "manifest.jsonl", "run.json"])
    assert f"look at {tmp_path / 'out' / 'index.html'}" in result.stdout.replace("\n", "")
    for n in range(3):
        assert f"picture{n}.png" in result.stdout
        assert f"picture{n}_sheet.png" in result.stdout
    assert "bright" in result.stdout
    assert "3 explained" in result.stdout
    assert "not a medical device" in result.stdout


def test_options_reach_the_pictures(tmp_path):
    draw(tmp_path / "a.png", corner=2)
    result = explain(
        [tmp_path / "a.png"], tmp_path / "out", "--method", "grad-cam", "--method", "score-cam", "--target", "1",
        "--target", "bright", "--palette", "viridis", "--opacity", "1", "--save", "maps,overlay", "--layer", "features",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert written(tmp_path / "out") == [
        "a_grad-cam_bright.png",
        "a_grad-cam_dark.png",
        "a_maps/explanation.json",
        "a_maps/maps.safetensors",
        "a_score-cam_bright.png",
        "a_score-cam_dark.png",
        "manifest.jsonl",
        "run.json",
    ]
    picture = pixels(tmp_path / "out" / "a_grad-cam_bright.png")
    assert picture[0, 0].tolist() != picture[-1, -1].tolist()
    assert picture[-1, -1].tolist() == [253, 231, 36]  # the bright end of viridis, at full opacity
    assert "no positive evidence" in result.stdout


def test_the_preset_of_the_seeds_is_40_percent_jet_everywhere(tmp_path):
    draw(tmp_path / "a.png", corner=2)
    options = ["--method", "grad-cam", "--save", "overlay"]
    ways = {
        "seeds": ["--preset", "seeds"],
        "told": ["--palette", "jet", "--opacity", "0.4", "--blend", "uniform"],
        "value": [],
        "contour": ["--blend", "contour"],
    }
    for name, way in ways.items():
        assert explain([tmp_path / "a.png"], tmp_path / name, *options, *way).exit_code == 0
    drawn = {name: pixels(tmp_path / name / "a_grad-cam.png") for name in ways}
    before = pixels(tmp_path / "a.png")
    np.testing.assert_array_equal(drawn["seeds"], drawn["told"])
    # at the peak, in the white corner: 0.4 of jet's last colour, and half of ember's
    for name, colour, share in (("seeds", (127, 0, 0), 0.4), ("value", (255, 190, 0), 0.5)):
        expected = np.floor(share * np.array(colour) + (1 - share) * 255 + 0.5)
        np.testing.assert_array_equal(drawn[name][-1, -1], expected)
    line = (drawn["contour"] != before).any(axis=2)
    colours = {tuple(colour) for colour in drawn["contour"][line].tolist()}
    assert colours == {(90, 235, 255), (0, 0, 0)}
    runs = {name: json.loads((tmp_path / name / "run.json").read_text())["runs"] for name in ways}
    told = {name: next(iter(of_run.values()))["settings"] for name, of_run in runs.items()}
    assert [(told[n]["palette"], told[n]["opacity"], told[n]["blend"]) for n in ("seeds", "value", "contour")] == [
        ("jet", 0.4, "uniform"), ("ember", 0.5, "value"), ("ember", 0.5, "contour"),
    ]  # fmt: skip


def test_json_is_the_only_thing_on_stdout(tmp_path):
    folder_of(tmp_path / "in", 2)
    (tmp_path / "in" / "broken.png").write_bytes(b"")
    result = explain(tmp_path / "in", tmp_path / "out", "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert (told["explained"], told["already_done"], told["failed"]) == (2, 0, 1)
    by_name = {image["path"].rpartition("/")[2]: image for image in told["images"]}
    assert by_name["broken.png"]["status"] == "failed"
    assert "empty" in by_name["broken.png"]["error"]
    assert by_name["picture0.png"]["targets"][0]["label"] == "bright"
    files = [Path(file).relative_to(tmp_path / "out").as_posix() for file in by_name["picture0.png"]["files"]]
    assert sorted(files) == [
        "index_files/picture0.jpg",  # for the page that shows all pictures
        "picture0_cf-cam.png",
        "picture0_grad-cam++.png",
        "picture0_grad-cam.png",
        "picture0_sheet.png",
    ]


def test_quiet_says_nothing(tmp_path):
    folder_of(tmp_path / "in", 1)
    result = explain(tmp_path / "in", tmp_path / "out", "--quiet")
    assert (result.exit_code, result.output) == (0, "")


def test_the_defaults_are_the_folder_testimgs_and_the_folder_output(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = cfcam("explain", *network(), "--method", "grad-cam")
    assert result.exit_code == 2
    assert "testimgs" in one_line(result)
    draw(tmp_path / "testimgs" / "a.png")
    assert cfcam("explain", *network(), "--method", "grad-cam").exit_code == 0
    assert (tmp_path / "output" / "a_grad-cam.png").exists()


def test_globs_recursion_and_limit(tmp_path):
    draw(tmp_path / "in" / "x" / "a.png")
    draw(tmp_path / "in" / "y" / "a.png")
    draw(tmp_path / "in" / "y" / "b.jpg")
    common = ["--method", "grad-cam", "--save", "overlay"]
    assert explain(tmp_path / "in", tmp_path / "1", "-r", *common).exit_code == 0
    assert explain(tmp_path / "in" / "*" / "*.png", tmp_path / "2", *common).exit_code == 0
    assert explain(tmp_path / "in", tmp_path / "3", "-r", "--limit", "1", *common).exit_code == 0
    drawn = [[n for n in written(tmp_path / str(i)) if n.endswith(".png")] for i in (1, 2, 3)]
    assert drawn[0] == ["x/a_grad-cam.png", "y/a_grad-cam.png", "y/b_grad-cam.png"]
    assert drawn[1] == ["x/a_grad-cam.png", "y/a_grad-cam.png"]
    assert drawn[2] == ["x/a_grad-cam.png"]


def test_all_methods_leave_out_what_does_not_apply_and_say_so(tmp_path):
    draw(tmp_path / "a.png")
    result = cfcam(
        "explain", tmp_path / "a.png", "-o", tmp_path / "out", "-m", f"{NETWORKS}:grey", "--size", "32",
        "--mean", "0.5", "--std", "0.5", "--method", "all", "--save", "overlay",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "note: cam is left out" in result.stderr
    drawn = [n for n in written(tmp_path / "out") if n.endswith(".png")]
    assert "a_score-cam.png" in drawn
    assert "a_cf-cam-guided.png" in drawn
    assert "a_cam.png" not in drawn


def test_notes_of_the_network_are_warnings(tmp_path):
    draw(tmp_path / "a.png")
    result = explain(tmp_path / "a.png", tmp_path / "out", "--num-classes", "3", "--classes", "a,b,c")
    assert result.exit_code == 0, result.stderr
    assert "warning: " in result.stderr
    assert "random" in result.stderr


def test_the_demo_network_is_not_taken_for_one_that_knows_real_pictures(tmp_path):
    result = cfcam("explain", draw(tmp_path / "a.png"), "-o", tmp_path / "out", "--method", "grad-cam")
    assert result.exit_code == 0, result.stderr
    assert "note: the demo network knows drawn phantoms only" in result.stderr


def test_failures_are_listed_in_one_line_each_and_the_rest_is_done(tmp_path):
    folder_of(tmp_path / "in", 2)
    for n in range(13):
        (tmp_path / "in" / f"broken{n}.png").write_bytes(b"")
    result = explain(tmp_path / "in", tmp_path / "out", "--method", "grad-cam")
    assert result.exit_code == 1
    failures = [line for line in result.stderr.splitlines() if line.startswith("failed: ")]
    assert len(failures) == 10
    assert failures[0].startswith(f"failed: {tmp_path / 'in' / 'broken0.png'}: the file is empty")
    assert "and 3 more" in result.stderr
    assert "2 explained, 13 failed" in result.stdout
    assert sum(line["status"] == "failed" for line in lines(tmp_path / "out")) == 13
    assert "Traceback" not in result.output


def test_a_file_that_failed_is_named_once(tmp_path):
    picture = draw(tmp_path / "x.png")
    data = picture.read_bytes()
    picture.write_bytes(data[: len(data) // 2])
    result = explain(picture, tmp_path / "out", "--method", "grad-cam")
    assert result.exit_code == 1
    assert f"failed: {picture}: the PNG file is cut off" in result.stderr


def test_a_long_table_is_shortened(tmp_path):
    folder_of(tmp_path / "in", 23)
    result = explain(tmp_path / "in", tmp_path / "out", "--method", "grad-cam", "--save", "overlay")
    assert "picture19.png" in result.stdout
    assert "picture20.png" not in result.stdout
    assert "3 more" in result.stdout


def test_file_names_are_never_taken_for_markup_and_may_hold_anything(tmp_path):
    for name in ("[red].png", "[bold] x.png", "line\nbreak.png", ":smile:.png", "結節.png"):
        draw(tmp_path / "in" / name)
    (tmp_path / "in" / "[bold]broken.png").write_bytes(b"")
    result = explain(tmp_path / "in", tmp_path / "out", "--method", "grad-cam", "--save", "overlay")
    assert result.exit_code == 1
    for shown in ("[red].png", "[bold] x.png", "line\\nbreak.png", ":smile:.png", "結節.png"):
        assert shown in result.stdout
    assert "[bold]broken.png: the file is empty" in result.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux takes any bytes as a name")
def test_a_file_name_that_is_no_text_at_all(tmp_path):
    (tmp_path / "in").mkdir()
    good = draw(tmp_path / "a.png")
    odd = bytes(tmp_path / "in") + b"/\xff\xfe.png"
    with open(odd, "wb") as file:  # noqa: PTH123
        file.write(good.read_bytes())
    done = subprocess.run(
        [sys.executable, "-m", "cfcam.cli", "explain", tmp_path / "in", "-o", tmp_path / "out", *network()],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert lines(tmp_path / "out")[0]["status"] == "done"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--method", "grad-cm"], ["grad-cm", "grad-cam"]),
        (["--layer", "featurs"], ["featurs", "features"]),
        (["--layer", "head"], ["head", "spatial"]),
        (["--target", "9"], ["class 9", "2 classes"]),
        (["--target", "-1"], ["class -1"]),
        (["--target", "brigth"], ["brigth", "bright"]),
        (["--palette", "infrno"], ["infrno", "inferno"]),
        (["--opacity", "2"], ["opacity", "2"]),
        (["--save", "overlays"], ["overlays", "overlay"]),
        (["--mean", "a,b"], ["--mean", "a,b"]),
        (["--size", "big"], ["--size", "big"]),
        (["--resize", "squeeze"], ["squeeze", "pad"]),
        (["--device", "quantum"], ["quantum"]),
        (["--classes", "a,b,c"], ["3 class names"]),
        (["--weights", "nowhere.pt"], ["nowhere.pt"]),
        (["--model", f"{NETWORKS}:raising"], ["user_networks.py", "no such checkpoint in my cupboard"]),
        (["--model", f"{NETWORKS}:broken_weight"], ["broken_weights"]),
        (["--model", f"{NETWORKS}:flat"], ["spatial"]),
        (["--model", f"{NETWORKS}:broken_weights"], ["NaN", "features.weight"]),
        (["--model", "resnet"], ["resnet", "torchvision:resnet50"]),
        (["--max-megapixels", "0"], ["pixels"]),
    ],
    ids=lambda value: " ".join(value)[-24:] if isinstance(value, list) and value[0].startswith("--") else "",
)
def test_wrong_usage_is_one_line_and_exit_code_2(tmp_path, arguments, words):
    folder_of(tmp_path / "in", 1)
    result = explain(tmp_path / "in", tmp_path / "out", *arguments)
    assert result.exit_code == 2
    line = one_line(result)
    assert line.startswith("error: ")
    for word in words:
        assert word in line
    assert not (tmp_path / "out").exists()


def test_weights_of_another_network_are_refused_with_the_keys(tmp_path):
    draw(tmp_path / "a.png")
    torch.save({"conv.weight": torch.zeros(1), "head.weight": torch.zeros(5, 4)}, tmp_path / "other.pt")
    result = explain(tmp_path / "a.png", tmp_path / "out", "--weights", tmp_path / "other.pt")
    assert result.exit_code == 2
    assert "features.weight" in one_line(result)
    assert "conv.weight" in one_line(result)


@pytest.mark.parametrize("path", ["nowhere.png", "nowhere", "*.nothing"])
def test_paths_that_lead_nowhere(tmp_path, path):
    result = explain(tmp_path / path, tmp_path / "out")
    assert result.exit_code == 2
    assert path in one_line(result)


def test_a_limit_of_megapixels_can_be_raised(tmp_path):
    Image.new("L", (1200, 1000), 90).save(tmp_path / "a.png")
    small = explain(tmp_path / "a.png", tmp_path / "out", "--max-megapixels", "1")
    assert small.exit_code == 1
    assert "--max-megapixels" in small.stderr
    assert explain(tmp_path / "a.png", tmp_path / "out", "--max-megapixels", "1.2").exit_code == 0


def test_a_traceback_is_shown_with_debug_only(tmp_path):
    draw(tmp_path / "a.png")
    arguments = [tmp_path / "a.png", tmp_path / "out", "--layer", "nothing"]
    assert "Traceback" not in explain(*arguments).output
    with_debug = explain(*arguments, "--debug")
    assert with_debug.exit_code == 2
    assert "Traceback" in with_debug.stderr
    assert with_debug.stderr.splitlines()[-1].startswith("error: ")


def test_what_nobody_foresaw_is_one_line_too(tmp_path, monkeypatch):
    draw(tmp_path / "a.png")
    monkeypatch.setattr("cfcam.jobs.inputs.many.Inputs.found", lambda *a, **k: 1 / 0)
    result = explain(tmp_path / "a.png", tmp_path / "out")
    assert result.exit_code == 1
    assert one_line(result) == "error: ZeroDivisionError: division by zero; run again with --debug to see where"


def test_a_second_run_says_that_all_is_done(tmp_path):
    folder_of(tmp_path / "in", 3)
    explain(tmp_path / "in", tmp_path / "out", "--method", "grad-cam")
    again = explain(tmp_path / "in", tmp_path / "out", "--method", "grad-cam")
    assert again.exit_code == 0
    assert "0 explained, 3 already done" in again.stdout
    assert "3 explained" in explain(tmp_path / "in", tmp_path / "out", "--method", "grad-cam", "--overwrite").stdout


HELD = ["--method", "grad-cam", "--save", "overlay", "--batch-size", "1", *network("held")]


def start(tmp_path, output):
    """A run that comes far enough for its first lines, and not soon to its end."""
    command = [sys.executable, "-m", "cfcam.cli", "explain", tmp_path / "in", "-o", output, *HELD]
    held = os.environ | {"CFCAM_TESTS_PASSES": "30"}
    return subprocess.Popen(
        [str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=held
    )


def wait_for_lines(process, output, count):
    """Waits for whole lines of the manifest."""
    manifest = output / "manifest.jsonl"
    there = lambda: manifest.exists() and manifest.read_bytes().count(b"\n") >= count  # noqa: E731
    until(lambda: there() or process.poll() is not None)
    assert there(), f"the run ended with {process.poll()} before {count} lines: {process.communicate()}"


def test_a_killed_run_goes_on_where_it_stopped_and_ends_like_one_that_was_not(tmp_path):
    folder_of(tmp_path / "in", 40)
    process = start(tmp_path, tmp_path / "out")
    wait_for_lines(process, tmp_path / "out", 3)
    process.kill()
    process.communicate()
    finished = len(lines(tmp_path / "out"))
    assert 3 <= finished < 40
    for half in (tmp_path / "out").glob(".*.tmp"):  # the kill may have met a file that was being written
        os.utime(half, (0, 0))
    before = {
        line["name"]: (tmp_path / "out" / f"{line['name']}_grad-cam.png").stat() for line in lines(tmp_path / "out")
    }

    second = cfcam("explain", tmp_path / "in", "-o", tmp_path / "out", *HELD)
    assert second.exit_code == 0, second.stderr
    assert f"{40 - finished} explained, {finished} already done" in second.stdout
    for name, stat in before.items():
        now = (tmp_path / "out" / f"{name}_grad-cam.png").stat()
        assert (now.st_mtime_ns, now.st_ino) == (stat.st_mtime_ns, stat.st_ino)

    cfcam("explain", tmp_path / "in", "-o", tmp_path / "whole", *HELD)
    assert written(tmp_path / "out") == written(tmp_path / "whole")
    one, other = lines(tmp_path / "out"), lines(tmp_path / "whole")
    assert [line["name"] for line in one] == [f"picture{n}" for n in range(40)]
    for line in (*one, *other):
        del line["seconds"]
        line.pop("stamps", None)  # times, too
    assert one == other  # the hashes of all files among them


def test_ctrl_c_ends_with_130_and_a_line_that_says_how_to_go_on(tmp_path):
    folder_of(tmp_path / "in", 60)
    process = start(tmp_path, tmp_path / "out")
    wait_for_lines(process, tmp_path / "out", 2)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "goes on where it stopped" in stderr
    assert "Traceback" not in stderr
    assert 2 <= len(lines(tmp_path / "out")) < 60
    assert not [name for name in written(tmp_path / "out") if "tmp" in name]
    assert "not explained yet: the run was stopped" in (tmp_path / "out" / "index.html").read_text()


@pytest.mark.parametrize("form", ["--recursive", "--json"])
def test_a_closed_pipe_is_no_error(tmp_path, form):
    folder_of(tmp_path / "in", 2)
    command = [sys.executable, "-m", "cfcam.cli", "explain", tmp_path / "in", "-o", tmp_path / "out", *HELD, form]
    process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    stderr = process.stderr.read()
    process.wait()
    assert "Traceback" not in stderr
    assert "Broken" not in stderr


@pytest.mark.parametrize(("kind", "told"), [("png", True), ("jpg", False)])
def test_overlays_that_are_much_larger_than_their_jpegs_are_told_of_with_the_way_out(tmp_path, monkeypatch, kind, told):
    from cfcam.cli.output import run as output

    monkeypatch.setattr(output, "_WORTH_SAVING", 10_000)
    noise = torch.randint(0, 256, (240, 320, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    (tmp_path / "in").mkdir()
    Image.fromarray(noise.numpy()).save(tmp_path / "in" / "a.jpg", quality=40)
    result = explain(tmp_path / "in", tmp_path / "out", "--format", kind, "--save", "overlay")
    assert result.exit_code == 0, result.output
    ratio = (tmp_path / "out" / f"a_grad-cam.{kind}").stat().st_size / (tmp_path / "in" / "a.jpg").stat().st_size
    assert (ratio > 3) == told
    said = f"{ratio:.0f} times what their JPEGs do: --format jpg keeps them small"
    assert (said in " ".join(result.output.split())) == told


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--workers", "2"], "--workers is for several: give --engine processes or ray, or leave it out"),
        (["--ray-address", "auto"], "--ray-address is for a cluster: give --engine ray, or leave it out"),
        (["--engine", "processes", "--ray-address", "auto"], "--ray-address is for a cluster: give --engine ray"),
        (["--engine", "spark"], "--engine"),
        (["--engine", "processes", "--shard", "1/2"], "leave it out, --engine processes shares inputs out"),
        (["--engine", "ray", "--shard", "1/2"], "leave it out, --engine ray shares inputs out"),
        (["--engine", "ray", "--ray-address", "http://head:8265"], "give HOST:PORT of the cluster's head"),
    ],
)
def test_what_belongs_to_a_cluster_is_refused_without_one_before_anything_is_loaded(tmp_path, options, told):
    draw(tmp_path / "a.png")
    result = explain([tmp_path / "a.png"], tmp_path / "out", *options)
    assert result.exit_code == 2
    assert told in one_line(result)
    assert not (tmp_path / "out").exists()


def test_more_processes_than_cpus_are_told_in_a_note(tmp_path):
    draw(tmp_path / "a.png")
    result = explain([tmp_path / "a.png"], tmp_path / "out", "--engine", "processes", "--workers", "999")
    assert result.exit_code == 0
    assert "note: --workers 999: more than the" in " ".join(result.stderr.split())


def test_a_cluster_needs_ray_and_one_line_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr("cfcam.cli.options.cluster.find_spec", lambda name: None)
    draw(tmp_path / "a.png")
    result = explain([tmp_path / "a.png"], tmp_path / "out", "--engine", "ray")
    assert result.exit_code == 2
    assert "--engine ray needs ray, which is not installed: pip install 'cfcam[ray]'" in one_line(result)


@pytest.fixture
def settled(monkeypatch):
    """What was written just now is as good as what is old."""
    from cfcam.jobs.runs import unchanged

    monkeypatch.setattr(unchanged, "is_past", lambda changed: True)
    monkeypatch.setattr(unchanged, "is_settled", lambda stamp: True)


def a_network(folder):
    """A network in a file, whose factory reads its weights from another."""
    torch.save({"bias": torch.tensor([1.0, 0.0])}, folder / "bias.pt")
    (folder / "net.py").write_text(
        "import torch\nfrom torch import nn\n\ndef own():\n"
        "    torch.manual_seed(0)\n    last = nn.Linear(2, 2)\n"
        f"    last.load_state_dict(torch.load({str(folder / 'bias.pt')!r}), strict=False)\n"
        "    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), last)\n"
    )
    return ["--model", f"{folder / 'net.py'}:own", *BRIGHT, "--method", "grad-cam"]


def test_where_nothing_has_changed_no_network_is_loaded(tmp_path, settled, monkeypatch):
    folder_of(tmp_path / "in", 3)
    out, own = tmp_path / "out", a_network(tmp_path)
    assert cfcam("explain", tmp_path / "in", "-o", out, *own).exit_code == 0
    files = {name: (out / name).read_bytes() for name in written(out)}
    with monkeypatch.context() as patch:
        patch.setattr("cfcam.models.load", None)
        again = cfcam("explain", tmp_path / "in", "-o", out, *own)
        assert again.exit_code == 0
        assert f"all 3 inputs already done, and nothing has changed since -> {out}/" in again.stdout.replace("\n", "")
        assert cfcam("explain", tmp_path / "in", "-o", out, *own, "--quiet").stdout == ""
        told = json.loads(cfcam("explain", tmp_path / "in", "-o", out, *own, "--log-json").stderr)
        assert (told["message"], told["skipped"], told["unchanged"]) == ("ended", 3, True)
        for more in ("--verify", "--overwrite", "--json", "--shard=1/2", "--report=html", "--batch-size=2"):
            assert cfcam("explain", tmp_path / "in", "-o", out, *own, more).exit_code != 0  # would load it
    assert files == {name: (out / name).read_bytes() for name in written(out)}


@pytest.mark.parametrize("what", ["a picture", "the code", "the weights that the code reads", "a map"])
def test_where_something_has_changed_it_is_explained_anew(tmp_path, settled, what):
    folder_of(tmp_path / "in", 3)
    out, own = tmp_path / "out", a_network(tmp_path)
    cfcam("explain", tmp_path / "in", "-o", out, *own)
    if what == "a picture":
        draw(tmp_path / "in" / "picture1.png", corner=3, grey=90)
    elif what == "the code":
        (tmp_path / "net.py").write_text((tmp_path / "net.py").read_text().replace("seed(0)", "seed(1)"))
    elif what == "a map":
        (out / "picture1_grad-cam.png").unlink()
    else:
        torch.save({"bias": torch.tensor([0.0, 1.0])}, tmp_path / "bias.pt")
    again = cfcam("explain", tmp_path / "in", "-o", out, *own)
    one = what in ("a picture", "a map")
    assert ("1 explained, 2 already done" if one else "3 explained") in again.stdout
