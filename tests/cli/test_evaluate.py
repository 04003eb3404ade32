import csv
import json
import tarfile

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cfcam.cli.app import app
from cfcam.jobs.runs.status import status
from cfcam.metrics.scorecard.catalogue import CATALOGUE, GROUPS, QUICK
from cfcam.metrics.scorecard.paper import NAME
from tests.jobs.world import NETWORKS, draw, written

BRIGHT = ["--model", f"{NETWORKS}:brightness", "--size", "32", "--mean", "0", "--std", "1", "--classes", "bright,dark"]
SHORT = ["--metrics", "average-drop,energy", "--methods", "grad-cam++"]
NETWORK_3D = str(NETWORKS).replace("user_networks", "volume_networks") + ":bright"
VOLUMES = ["--model", NETWORK_3D, "--classes", "bright,dark"]


def cfcam(*arguments):
    return CliRunner(env={"COLUMNS": "140"}).invoke(app, [str(a) for a in arguments])


def evaluate(data, output, *arguments):
    return cfcam("evaluate", data, "-o", output, *BRIGHT, *SHORT, *arguments)


def one_line(result):
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def scans(folder, count=3):
    """Pictures with a bright block in a corner, whose masks are that block, in folders called like the class."""
    for n in range(count):
        draw(folder / "bright" / f"{n}.png", corner=n % 4)
        block = np.asarray(Image.open(folder / "bright" / f"{n}.png").convert("L")) == 255
        (folder / "masks" / "bright").mkdir(parents=True, exist_ok=True)
        Image.fromarray(block).save(folder / "masks" / "bright" / f"{n}.png")
    return folder


def test_a_folder_with_masks_becomes_a_scorecard(tmp_path):
    result = evaluate(scans(tmp_path / "in"), tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert "grad-cam++" in result.stdout
    assert "grad-cam++ beside grad-cam" in result.stdout
    assert "3 images, layer features" in result.stdout
    assert str(tmp_path / "out" / "index.html") in result.stdout.replace("\n", "")
    assert "not a medical device" in result.stdout
    files = written(tmp_path / "out")
    for name in ("index.html", "per_image.csv", "rows.jsonl", "summary.md", "figures/bars-localization.svg"):
        assert name in files
    with (tmp_path / "out" / "per_image.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["image"], row["correct"]) for row in rows} == {(f"bright/{n}.png", "True") for n in range(3)}
    mine = [float(row["energy"]) for row in rows if row["method"] == "grad-cam++"]
    noise = [float(row["energy"]) for row in rows if row["method"] == "random"]
    assert min(mine) > 2 * max(noise)


def test_json_is_the_only_thing_on_stdout_and_quiet_says_nothing(tmp_path):
    scans(tmp_path / "in", 2)
    told = json.loads(evaluate(tmp_path / "in", tmp_path / "out", "--json").stdout)
    assert told["images"] == 2
    assert told["page"] == str(tmp_path / "out" / "index.html")
    assert {line["metric"] for line in told["summary"]} == {"average-drop", "energy"}
    assert told["info"]["cases"] == {"found": 2, "taken": 2, "seed": 0}
    again = evaluate(tmp_path / "in", tmp_path / "out", "--quiet")
    assert (again.exit_code, again.output) == (0, "")


def test_failures_are_listed_and_give_exit_code_1(tmp_path):
    scans(tmp_path / "in", 1)
    for n in range(12):
        (tmp_path / "in" / "bright" / f"broken{n:02}.png").write_bytes(b"")
    result = evaluate(tmp_path / "in", tmp_path / "out")
    assert result.exit_code == 1
    failures = [line for line in result.stderr.splitlines() if line.startswith("failed: ")]
    assert len(failures) == 10
    assert "bright/broken00.png: " in failures[0]
    assert "file is empty" in failures[0]
    assert "and 2 more" in result.stderr
    assert "1 image, 12 failed" in result.stdout


def test_if_nothing_can_be_evaluated_no_page_is_written(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"")
    result = evaluate(tmp_path / "in", tmp_path / "out")
    assert result.exit_code == 1
    assert "error: none of 1 pictures could be evaluated" in result.stderr
    assert not (tmp_path / "out" / "index.html").exists()


def test_a_second_run_measures_nothing_again_and_another_set_up_needs_overwrite(tmp_path):
    scans(tmp_path / "in", 2)
    evaluate(tmp_path / "in", tmp_path / "out")
    again = evaluate(tmp_path / "in", tmp_path / "out")
    assert "note: 2 of 2 images were done before" in again.stderr
    other = evaluate(tmp_path / "in", tmp_path / "out", "--seed", "1")
    assert other.exit_code == 2
    assert "--overwrite" in one_line(other)
    assert evaluate(tmp_path / "in", tmp_path / "out", "--seed", "1", "--overwrite").exit_code == 0


def test_a_table_with_boxes_and_its_notices(tmp_path):
    draw(tmp_path / "a.png")
    (tmp_path / "cases.csv").write_text('image,label,boxes,split\na.png,bright,"[[-2, 0, 16, 12]]",test\n')
    result = evaluate(tmp_path / "cases.csv", tmp_path / "out", "--explain", "label")
    assert result.exit_code == 0, result.stderr
    assert "note: cases.csv: columns not used: split" in result.stderr
    assert "reaches out of the picture" in (tmp_path / "out" / "index.html").read_text()


def test_the_demo_takes_parts_away_and_shows_several_baselines(tmp_path):
    metrics = ["--metrics", "part-removal,part-removal-ceiling,deletion-blur,adcc", "--baselines", "mean,blur"]
    result = cfcam("evaluate", "demo", "--limit", "3", "--methods", "cam", "--no-controls", *metrics, "-o", tmp_path)
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    assert "Deletion with mean and blur: cam" in said
    assert "ADCC with zero, mean and blur: cam" in said
    assert "the published definition of Average Drop" in (tmp_path / "index.html").read_text()
    names = json.loads((tmp_path / "scorecard.json").read_text())["info"]["settings"]["metrics"]
    assert names == [
        "deletion-mean", "deletion-blur", "adcc", "adcc-mean", "adcc-blur", "part-removal", "part-removal-ceiling"
    ]  # fmt: skip
    rows = list(csv.DictReader((tmp_path / "per_image.csv").open()))
    assert all(len({row["adcc"], row["adcc-mean"], row["adcc-blur"]}) == 3 for row in rows)
    assert any(float(row["part-removal"] or 0) for row in rows)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--baselines", "grey"], "--baselines 'grey': there are black, mean, blur, noise"),
        (["--metrics", "energy", "--baselines", "mean"], "add insertion-deletion-mean"),
        (["--protocol", "cfcam-paper", "--baselines", "mean"], "brings its own baselines"),
    ],
)
def test_baselines_that_cannot_be_are_named(tmp_path, arguments, words):
    result = cfcam("evaluate", "demo", *arguments, "-o", tmp_path)
    assert result.exit_code == 2
    assert words in " ".join(result.output.split())


def test_without_data_the_demo_network_gets_phantoms(tmp_path):
    for n, arguments in enumerate((["demo"], ["--model", "demo"])):
        result = cfcam("evaluate", *arguments, "--limit", "2", "-o", tmp_path / str(n), *SHORT, "--json")
        assert result.exit_code == 0, result.stderr
        told = json.loads(result.stdout)
        assert told["images"] == 2
        assert told["info"]["data"] == "drawn chest phantoms"
        assert told["info"]["settings"]["explained"] == "label"


def volumes(folder, count=2, axes=3):
    """Dark volumes with a bright block of 3 voxels in a corner, whose masks are that block."""
    folder.mkdir(parents=True)
    block = np.zeros((9, 12, 15), np.int16)
    block[0:3, 3:6, 9:12] = 900
    for n in range(count):
        voxels = block if axes == 3 else np.stack([block * 0, block], -1)
        nib.save(nib.Nifti1Image(voxels, np.diag([2, 2, 2, 1])), folder / f"{n}.nii.gz")
        nib.save(nib.Nifti1Image((block > 0).astype(np.uint8), np.diag([2, 2, 2, 1])), folder / f"{n}_mask.nii.gz")
    return folder


def test_volumes_with_masks_become_a_scorecard(tmp_path):
    arguments = ["evaluate", volumes(tmp_path / "in"), "-o", tmp_path / "out", *VOLUMES, *SHORT]
    result = cfcam(*arguments, "--intensity", "unit", "--orientation", "SPL", "--size", "15x12x9", "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["images"] == 2
    assert told["info"]["preprocess"]["size"] == [15, 12, 9]
    assert told["info"]["preprocess"]["orientation"] == "SPL"
    assert told["info"]["batch_size"] == 1
    energy = {line["method"]: line["mean"] for line in told["summary"] if line["metric"] == "energy"}
    assert energy["grad-cam++"] > 5 * energy["random"]
    again = cfcam(*arguments, "--orientation", "source")
    assert again.exit_code == 2
    assert "--overwrite" in one_line(again)


def test_of_a_time_series_one_volume_is_asked_for(tmp_path):
    arguments = ["evaluate", volumes(tmp_path / "in", axes=4), *VOLUMES, *SHORT, "--size", "12"]
    result = cfcam(*arguments, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "holds 2 volumes" in result.stderr
    assert "none of 2 volumes could be evaluated" in result.stderr
    assert cfcam(*arguments, "-o", tmp_path / "out1", "--time", "1").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["VOLUMES", *BRIGHT], ["these are volumes", "takes pictures"]),
        (["VOLUMES/0.nii.gz", *BRIGHT], ["these are volumes"]),
        (["PICTURES", *BRIGHT, "--spacing", "1"], ["--spacing is for volumes"]),
        (["PICTURES", *BRIGHT, "--irregular", "resample"], ["--irregular is for volumes"]),
        (["PICTURES", *BRIGHT[:2], "--size", "32x32x32"], ["--size", "takes pictures"]),
        (["PICTURES", *VOLUMES], ["no volume in it"]),
        (["demo", *VOLUMES], ["phantoms are pictures", "takes volumes"]),
        (["VOLUMES", *VOLUMES, "--resize", "pad"], ["--resize is for pictures"]),
        (["VOLUMES", *VOLUMES, "--size", "32x32"], ["size", "three"]),
        (["VOLUMES", *VOLUMES, "--window", "bone marrow"], ["--window", "lung"]),
        (["VOLUMES", *VOLUMES, "--protocol", NAME], ["one of pictures"]),
    ],
)
def test_volumes_and_pictures_that_are_mixed_up_are_one_line(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    volumes(tmp_path / "VOLUMES", 1)
    draw(tmp_path / "PICTURES" / "a.png")
    result = cfcam("evaluate", *arguments)
    assert result.exit_code == 2
    line = one_line(result)
    for word in words:
        assert word in line


def test_the_help_teaches_volumes():
    text = " ".join(cfcam("evaluate", "--help", "all").stdout.split())
    for words in (
        "pictures or volumes",
        "NIfTI files or folders of DICOM slices",
        "--spacing",
        "1 for volumes",
        "--time",
    ):
        assert words in text


def test_the_published_protocol(tmp_path):
    result = cfcam("evaluate", "demo", "--limit", "1", "-o", tmp_path, "--protocol", NAME, "--no-controls", "--json")
    assert result.exit_code == 0, result.stderr
    assert {line["metric"] for line in json.loads(result.stdout)["summary"]} == {
        "paper-average-drop", "paper-average-increase", "paper-insertion", "paper-deletion"
    }  # fmt: skip
    assert "Measured by the protocol" in (tmp_path / "index.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["cfcam evaluate demo", "--model", "CSV"]),
        (["DATA"], ["no network is named", "--model"]),
        (["nowhere/", *BRIGHT], ["nowhere", "no such file or folder"]),
        (["nowhere.csv", *BRIGHT], ["nowhere.csv", "no such file"]),
        (["DATA", *BRIGHT, "--metrics", "hitrate"], ["hitrate", "hit-rate", "cfcam metrics"]),
        (["DATA", *BRIGHT, "--metrics", ","], ["--metrics"]),
        (["DATA", *BRIGHT, "--metrics", "iou-tuned"], ["iou-tuned", "--threshold"]),
        (["DATA", *BRIGHT, "--methods", "gradcam"], ["gradcam", "grad-cam"]),
        (["DATA", *BRIGHT, "--explain", "truth"], ["truth", "predicted or label"]),
        (["DATA", *BRIGHT, "--threshold", "50"], ["threshold", "50"]),
        (["DATA", *BRIGHT, "--layer", "featurs"], ["featurs", "features"]),
        (["DATA", *BRIGHT, "--protocol", "paper"], ["paper", "cfcam-paper"]),
        (["DATA", *BRIGHT, "--protocol", NAME, "--metrics", "all"], ["--metrics"]),
        (["DATA", *BRIGHT, "--output", "DATA/bright/0.png"], ["cannot be written"]),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    scans(tmp_path / "DATA", 1)
    result = cfcam("evaluate", *arguments)
    assert result.exit_code == 2
    line = one_line(result)
    for word in words:
        assert word in line


def test_metrics_lists_all_with_direction_needs_and_source():
    told = json.loads(cfcam("metrics", "--json").stdout)
    assert [row["name"] for row in told] == list(CATALOGUE)
    assert {row["group"] for row in told} == set(GROUPS)
    assert {row["name"] for row in told if row["quick"]} == set(QUICK)
    assert all(row["what"] for row in told)
    by_name = {row["name"]: row for row in told}
    assert by_name["average-drop"]["higher_is_better"] is False
    assert by_name["average-drop"]["source"] == "arXiv 1710.11063"
    assert by_name["iou-tuned"]["needs"] == "ground truth, --threshold"
    table = cfcam("metrics").stdout
    assert all(name in table for name in CATALOGUE)
    assert "lower, %" in table


def test_where_all_fail_each_is_told_why_and_the_log_holds_json_alone(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"no picture")
    quiet = evaluate(tmp_path / "in", tmp_path / "quiet", "-q")
    assert (quiet.exit_code, quiet.stdout) == (1, "")
    assert "failed: a.png: is a text file" in quiet.stderr
    assert quiet.stderr.endswith("none of 1 pictures could be evaluated\n")
    logged = evaluate(tmp_path / "in", tmp_path / "log", "--log-json")
    assert logged.exit_code == 1
    lines = [json.loads(line) for line in logged.stderr.splitlines()]
    assert "is a text file" in next(one["reason"] for one in lines if "reason" in one)
    assert (lines[-1]["level"], lines[-1]["error"]) == ("error", "none of 1 pictures could be evaluated")


def test_what_fails_is_told_with_its_line_in_the_log_and_by_its_kind(tmp_path):
    whole, torn = draw(tmp_path / "in" / "1.png"), draw(tmp_path / "in" / "2.png")
    torn.write_bytes(torn.read_bytes()[:-40])
    with tarfile.open(tmp_path / "in" / "v-1.tar", "w") as tar:
        tar.add(whole, "1.png")
        tar.add(torn, "2.png")
    (tmp_path / "in" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    names = ("1.png", "v-1.tar/1.png", "v-1.tar/2.png", "missing.png", "gone.png", "2.png")
    (tmp_path / "in" / "cases.csv").write_text("\n".join(("image", *names)))
    done = evaluate(tmp_path / "in" / "cases.csv", tmp_path / "out", "--log-json")
    assert done.exit_code == 1
    logged = [json.loads(line) for line in done.stderr.splitlines()]
    told = {one["input"]: one["reason"] for one in logged if one["level"] == "error"}
    assert told.pop("v-1.tar/2.png").startswith("the PNG file is")
    assert told.pop("2.png").startswith("the PNG file is")
    assert told == {
        "missing.png": "no such file; check the path (line 5 of cases.csv)",
        "gone.png": "is a link to nothing; check the path (line 6 of cases.csv)",
    }
    assert (logged[-1]["done"], logged[-1]["failed"]) == (6, 4)
    assert "failures" not in logged[-1]
    assert not any(str(tmp_path) in line for line in done.stderr.splitlines())
    kinds = status(tmp_path / "out").failures
    assert not any("png" in kind for kind in kinds)
    assert sorted(kinds.values()) == [1, 1, 2]
