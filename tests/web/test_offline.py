"""The page in one file: what it holds, that it holds no name and no path, and when it is not written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cfcam.clinical.regions import measure
from cfcam.web.offline import PageTooLargeError
from tests.cli.test_explain import explain
from tests.jobs.world import draw, lines, written
from tests.web.offline_pages import PAGES, SIDE, files, held, page, seen, volume_seen


def test_the_page_holds_the_picture_and_every_map_in_255_steps(tmp_path: Path) -> None:
    one = seen(tmp_path)
    content = page(one)
    (detail,) = held(content)["details"].values()
    assert [(m["class_name"], m["method"], m["status"]) for m in detail["maps"]] == [
        ("right", "grad-cam", "ok"),
        ("right", "grad-cam++", "ok"),
        ("right", "empty", "no positive evidence"),
        ("left", "grad-cam", "ok"),
        ("left", "grad-cam++", "ok"),
        ("left", "empty", "no positive evidence"),
    ]
    there = files(content)
    original = there[f"/studies/{detail['id']}/original.nii"]
    assert np.array_equal(np.frombuffer(original[352:], np.uint8).reshape(SIDE, SIDE), one.image.pixels)
    left = next(m for m in detail["maps"] if (m["class_name"], m["method"]) == ("left", "grad-cam"))
    levels = np.frombuffer(there[left["url"].removeprefix("/api")][352:], np.uint8).reshape(SIDE, SIDE)
    heat = one.preprocess.to_original(one.explanation.heatmaps("grad-cam")[0, 0], (SIDE, SIDE)).numpy()
    assert np.array_equal(levels, np.rint(heat * 255))
    assert levels[:, : SIDE // 2].max() > 250
    assert levels[:, 3 * SIDE // 4 :].max() == 0


def test_the_numbers_are_those_of_python(tmp_path: Path) -> None:
    one = seen(tmp_path)
    content = held(page(one))
    (detail,) = content["details"].values()
    right = next(m for m in detail["maps"] if (m["class_name"], m["method"]) == ("right", "grad-cam"))
    heat = one.preprocess.to_original(one.explanation.heatmaps("grad-cam")[0, 1], (SIDE, SIDE)).contiguous()
    table = measure(heat, (0.5, 0.25), "otsu")
    assert content["tables"][right["id"]] == json.loads(table.to_json())
    assert (right["threshold"], right["rule"], right["peak"]["index"]) == (
        table.threshold,
        "otsu",
        list(table.regions[0].peak or ()),
    )
    assert content["tables"][right["id"]]["unit"] == "mm²"


def test_a_volume_is_held_on_its_own_grid(tmp_path: Path) -> None:
    content = page(volume_seen(tmp_path))
    (detail,) = held(content)["details"].values()
    assert (detail["kind"], detail["shape"]) == ("volume", [3, 4, 5])
    assert detail["maps"][0]["peak"]["index"] == [2, 1, 3]
    assert detail["maps"][0]["peak"]["patient"] == [4.0, 3.0, 12.0]
    values = files(content)[f"/studies/{detail['id']}/original.nii"][352:]
    assert sorted(values) == list(range(60))  # whole numbers travel as bytes


def test_every_channel_of_a_volume_is_held_or_the_page_says_that_it_has_one(tmp_path: Path) -> None:
    one = volume_seen(tmp_path)
    both = replace(one, image=replace(one.image, voxels=np.stack([one.image.voxels, one.image.voxels + 100])))
    content = page(both)
    (detail,) = held(content)["details"].values()
    there = files(content)
    assert [one["name"] for one in detail["channels"]] == ["channel 0", "channel 1"]
    urls = [one["url"].removeprefix("/api") for one in detail["channels"]]
    assert [sorted(there[url][352:]) for url in urls] == [list(range(60)), list(range(100, 160))]
    noise = np.random.default_rng(0).normal(size=(2, 30, 40, 50)).astype(np.float32)  # which cannot be packed
    heat = {"grad-cam": torch.nn.functional.pad(one.explanation.maps["grad-cam"], (0, 45, 0, 36, 0, 27))}
    large = replace(one, explanation=replace(one.explanation, maps=heat, input_size=noise.shape[1:]))
    large = replace(large, image=replace(one.image, voxels=noise))
    short = page(large, most=len(page(large)) - 1)
    (detail,) = held(short)["details"].values()
    assert detail["channels"] == []
    assert detail["notices"] == ["it has 2 channels, and this page holds the first: open it with cfcam view"]
    assert list(files(short)) == [
        f"/studies/{detail['id']}/original.nii",
        detail["maps"][0]["url"].removeprefix("/api"),
    ]


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    assert page(seen(tmp_path)) == page(seen(tmp_path))


def test_no_path_and_nobody_is_named(tmp_path: Path) -> None:
    content = page(seen(tmp_path, name="study-1a2b3c4d"))
    whole = content + b"".join(files(content).values())
    assert b"study-1a2b3c4d" in whole
    for planted in ("JANE-DOE", str(tmp_path), tmp_path.name):
        assert planted.encode() not in whole


def test_a_page_that_is_too_large_is_not_written_and_the_run_is_told_why(tmp_path: Path) -> None:
    one = seen(tmp_path)
    with pytest.raises(PageTooLargeError, match=r"about \d+ MB, more than 0: ask for fewer classes or methods"):
        page(one, most=1000)
    written_ = replace(PAGES, most=1000)(one)
    assert written_.files == ()
    (line,) = written_.left_out
    assert line.startswith("scan.png: its page would have about")
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_a_page_of_each_picture_and_the_manifest_lists_it(tmp_path: Path) -> None:
    draw(tmp_path / "in" / "one.png", corner=1)
    draw(tmp_path / "in" / "two.png", corner=2)
    out = tmp_path / "out"
    more = ("--save", "overlay", "--method", "grad-cam", "--html", "--quiet")
    assert explain(tmp_path / "in", out, *more).exit_code == 0
    assert [name for name in written(out) if name.endswith("_view.html")] == ["one_view.html", "two_view.html"]
    assert [f"{name}_view.html" in line["files"] for name, line in zip(("one", "two"), lines(out), strict=True)]
    (detail,) = held((out / "one_view.html").read_bytes())["details"].values()
    assert detail["name"] == "one.png"
    assert str(tmp_path).encode() not in (out / "one_view.html").read_bytes()
    before = (out / "two_view.html").stat().st_mtime_ns
    assert explain(tmp_path / "in", out, *more).exit_code == 0
    assert (out / "two_view.html").stat().st_mtime_ns == before  # it was there: nothing is done twice
