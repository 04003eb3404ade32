import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image

from cfcam import Explanation
from cfcam.errors import CfcamError, InputError, LayerError, MethodError, ModelError, TargetError
from cfcam.files import sha256_of
from cfcam.imaging import Preprocess
from cfcam.jobs import JobError, Save, Settings, State
from cfcam.methods import Method
from tests.jobs.world import PLAIN, draw, folder_of, lines, pixels, run, written
from tests.waiting import PATIENCE, until


@pytest.mark.parametrize("corner", range(4))
def test_the_overlay_has_the_size_of_the_picture_and_glows_where_the_network_looked(tmp_path, corner):
    draw(tmp_path / "in" / "a.png", corner=corner, size=(300, 240), grey=10)
    (outcome,) = run(tmp_path / "in", tmp_path / "out")
    assert outcome.status is State.DONE
    before, after = pixels(tmp_path / "in" / "a.png"), pixels(tmp_path / "out" / "a_grad-cam.png")
    assert after.shape == (300, 240, 3)
    # ember has no blue, so the brightest block loses it; elsewhere little changes
    y, x = np.unravel_index((before - after)[..., 2].argmax(), (300, 240))
    assert (y < 150, x < 120) == (corner in (0, 1), corner in (0, 3))


def test_outcomes_come_in_the_order_of_the_inputs_with_class_probability_and_status(tmp_path):
    paths = folder_of(tmp_path / "in", 11)
    outcomes = list(run(tmp_path / "in", tmp_path / "out", batch_size=3))
    assert [o.path for o in outcomes] == paths
    for outcome in outcomes:
        (target,) = outcome.targets
        assert (target.index, target.label, target.maps) == (0, "bright", {"grad-cam": "ok"})
        assert 0.5 < target.probability < 1
        assert [f.name for f in outcome.files] == [f"{outcome.path.stem}_grad-cam.png"]
    each = [outcome.targets[0].probability for outcome in outcomes]
    assert each == sorted(set(each))  # the pictures are one brighter than the other


def test_every_manifest_line_is_complete_and_its_hashes_are_true(tmp_path):
    paths = folder_of(tmp_path / "in", 3)
    out = tmp_path / "out"
    everything = frozenset(Save)
    list(run(tmp_path / "in", out, methods=("grad-cam", "grad-cam++"), save=everything, command=("cfcam", "explain")))
    listed = set()
    for path, line in zip(paths, lines(out), strict=True):
        assert line["input"] == str(path)
        assert line["sha256"] == sha256_of(path)
        assert (line["status"], line["error"], line["layer"]) == ("done", None, "features")
        (target,) = line["targets"]
        assert (target["index"], target["label"]) == (0, "bright")
        assert target["maps"] == {"grad-cam": "ok", "grad-cam++": "ok"}
        assert line["seconds"] > 0
        assert list(line["probabilities"]) == ["bright", "dark"]
        assert line["probabilities"]["bright"] == target["probability"]
        assert sum(line["probabilities"].values()) == pytest.approx(1)
        for name, digest in line["files"].items():
            assert sha256_of(out / name) == digest
        listed |= set(line["files"])
    assert listed | {"manifest.jsonl", "run.json"} == set(written(out))
    (meaning,) = json.loads((out / "run.json").read_text())["runs"].values()
    assert meaning["command"] == ["cfcam", "explain"]
    assert meaning["settings"]["methods"]["grad-cam"] == {"method": "GradCAM"}
    assert len(meaning["settings"]["model"]["sha256"]) == 64
    assert Preprocess(**meaning["settings"]["preprocess"]) == PLAIN


def test_saved_maps_are_those_of_this_picture(tmp_path):
    folder_of(tmp_path / "in", 3)
    list(run(tmp_path / "in", tmp_path / "out", save=frozenset({Save.MAPS})))
    for corner, (y, x) in enumerate([(0, 0), (0, 3), (3, 3)]):
        loaded = Explanation.load(tmp_path / "out" / f"picture{corner}_maps")
        maps = loaded.maps["grad-cam"]
        assert maps.shape == (1, 1, 4, 4)
        assert divmod(int(maps.argmax()), 4) == (y, x)


def test_a_map_without_positive_evidence_is_no_failure_and_is_marked(tmp_path):
    draw(tmp_path / "in" / "a.png", size=(200, 300))
    (outcome,) = run(tmp_path / "in", tmp_path / "out", targets=("dark",), save=frozenset({Save.OVERLAY, Save.SHEET}))
    assert outcome.status is State.DONE
    assert outcome.targets[0].maps == {"grad-cam": "no positive evidence"}
    before, after = pixels(tmp_path / "in" / "a.png"), pixels(tmp_path / "out" / "a_grad-cam.png")
    changed = (before != after).any(axis=(1, 2))
    assert changed[0]
    assert not changed[100:].any()
    assert lines(tmp_path / "out")[0]["targets"][0]["maps"] == {"grad-cam": "no positive evidence"}


def test_several_targets_put_the_class_into_the_name_and_each_class_is_drawn_once(tmp_path):
    draw(tmp_path / "in" / "a.png")
    (outcome,) = run(tmp_path / "in", tmp_path / "out", targets=("predicted", 0, 1), classes=("so/bright", "x" * 300))
    assert [t.index for t in outcome.targets] == [0, 1]
    first, second = (f.name for f in outcome.files)
    assert first == "a_grad-cam_so-bright.png"
    assert second.startswith("a_grad-cam_xxxx")
    assert len(second) < 80


def test_broken_pictures_are_reported_and_the_rest_is_done(tmp_path):
    good = folder_of(tmp_path / "in", 5)
    whole = good[0].read_bytes()
    bad = {
        "empty.png": (b"", "empty"),
        "cut.png": (whole[: len(whole) // 2], "cut off"),
        "text.png": (b"this is no picture", "text"),
        "huge.png": (_png_header(20000, 5000), "megapixels"),
    }
    for name, (data, _) in bad.items():
        (tmp_path / "in" / name).write_bytes(data)
    outcomes = {o.path.name: o for o in run(tmp_path / "in", tmp_path / "out", batch_size=2)}
    assert {n for n, o in outcomes.items() if o.status is State.DONE} == {p.name for p in good}
    for name, (_, reason) in bad.items():
        assert outcomes[name].status is State.FAILED
        assert reason in outcomes[name].error
        assert "\n" not in outcomes[name].error
    failed = {line["name"]: line for line in lines(tmp_path / "out") if line["status"] == "failed"}
    assert sorted(failed) == ["cut", "empty", "huge", "text"]
    assert all(line["error"] == outcomes[f"{name}.png"].error for name, line in failed.items())
    assert all(line["files"] == {} for line in failed.values())


def _png_header(width, height):
    import struct
    import zlib

    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    header = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + header + b"\0\0\0\0IDAT" + b"\x35\xaf\x06\x1e" + b"\0\0\0\0IEND\xaeB`\x82"


def test_only_the_culprit_of_a_batch_fails_and_memory_that_is_short_halves_the_batch(tmp_path):
    folder_of(tmp_path / "in", 7)
    draw(tmp_path / "in" / "white.png", grey=255)
    Image.new("RGB", (40, 40)).save(tmp_path / "in" / "black.png")
    job = run(tmp_path / "in", tmp_path / "out", "fragile", batch_size=8)
    outcomes = {o.path.stem: o for o in job}
    failed = {name: o.error for name, o in outcomes.items() if o.status is State.FAILED}
    assert sorted(failed) == ["black", "white"]
    assert "RuntimeError: a white picture is too much for me" in failed["white"]
    assert "not finite" in failed["black"]
    assert "normalisation" in failed["black"]
    assert job.notes == ["memory is short: batches of 2 from here on"]


def test_score_cam_halves_its_own_batches_when_one_picture_is_too_much(tmp_path):
    draw(tmp_path / "in" / "a.png")
    score_cam = {"methods": ("score-cam",), "save": frozenset({Save.MAPS})}
    for name, network in (("narrow", "crowded"), ("wide", "brightness")):
        assert [o.status for o in run(tmp_path / "in", tmp_path / name, network, **score_cam)] == [State.DONE]
    one, other = (Explanation.load(tmp_path / name / "a_maps").maps["score-cam"] for name in ("narrow", "wide"))
    assert float(one.max()) > 0
    assert torch.allclose(one, other)


@pytest.mark.parametrize(
    ("network", "settings", "error", "words"),
    [
        ("brightness", {"layer": "featurs"}, LayerError, "features"),
        ("brightness", {"layer": "head"}, LayerError, "spatial"),
        ("brightness", {"targets": (7,)}, TargetError, "class 7 is out of range"),
        ("brightness", {"targets": ("brigt",)}, TargetError, "bright"),
        ("brightness", {"methods": ("grad-cm",)}, MethodError, "grad-cam"),
        ("brightness", {"palette": "infernoo"}, InputError, "inferno"),
        ("brightness", {"opacity": 1.5}, InputError, "opacity"),
        ("brightness", {"blend": "multiply"}, InputError, "blend"),
        ("brightness", {"save": frozenset()}, InputError, "overlay"),
        ("brightness", {"batch_size": 0}, InputError, "batch"),
        ("flat", {}, LayerError, "spatial"),
        ("grey", {"methods": ("cam",), "preprocess": Preprocess(32, mean=(0.5,), std=(0.5,))}, MethodError, "grad-cam"),
        ("grey", {}, InputError, "takes 1 channel"),
        ("broken_weights", {}, ModelError, "features.weight"),
    ],
)
def test_a_wrong_set_up_is_refused_before_anything_is_written(tmp_path, network, settings, error, words):
    folder_of(tmp_path / "in", 2)
    with pytest.raises(error, match=words) as caught:
        list(run(tmp_path / "in", tmp_path / "out", network, **settings))
    assert isinstance(caught.value, CfcamError)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_class_names_must_be_as_many_as_classes(tmp_path):
    folder_of(tmp_path / "in", 1)
    with pytest.raises(TargetError, match="3 class names for a network with 2"):
        run(tmp_path / "in", tmp_path / "out", classes=("a", "b", "c"))


def test_methods_that_do_not_apply_can_be_left_out(tmp_path):
    folder_of(tmp_path / "in", 1)
    job = run(
        tmp_path / "in",
        tmp_path / "out",
        "grey",
        methods=("cam", "grad-cam"),
        preprocess=Preprocess(32, mean=(0.5,), std=(0.5,)),
        leave_out=True,
    )
    assert [list(o.targets[0].maps) for o in job] == [["grad-cam"]]
    assert "cam is left out" in job.notes[0]


def test_a_second_run_does_nothing_and_a_changed_one_only_what_changed(tmp_path):
    paths = folder_of(tmp_path / "in", 4)
    out = tmp_path / "out"
    list(run(tmp_path / "in", out))
    times = {p: p.stat().st_mtime_ns for p in out.rglob("*.png")}
    manifest = (out / "manifest.jsonl").read_bytes()
    again = list(run(tmp_path / "in", out))
    assert {o.status for o in again} == {State.SKIPPED}
    assert [o.targets[0].label for o in again] == ["bright"] * 4
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*.png")} == times
    assert (out / "manifest.jsonl").read_bytes() == manifest

    draw(paths[0], corner=3)  # another picture under the same name
    (out / "picture1_grad-cam.png").unlink()  # a lost file
    (out / "picture2_grad-cam.png").write_bytes(b"touched")  # a damaged file
    third = list(run(tmp_path / "in", out))
    assert [o.status for o in third] == [State.DONE] * 3 + [State.SKIPPED]
    assert len({line["name"] for line in lines(out)}) == len(lines(out)) == 4


@pytest.mark.parametrize(
    "change",
    [
        {"palette": "viridis"},
        {"opacity": 0.4},
        {"blend": "contour"},
        {"methods": ("grad-cam++",)},
        {"targets": (1,)},
        {"network": "delicate"},
        {"classes": ("hell", "dunkel")},
        {"preprocess": Preprocess(24, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))},
        {"overwrite": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_changes_the_pictures_makes_them_anew(tmp_path, change):
    draw(tmp_path / "in" / "a.png")
    list(run(tmp_path / "in", tmp_path / "out"))
    assert [o.status for o in run(tmp_path / "in", tmp_path / "out", **change)] == [State.DONE]


def test_another_layer_makes_them_anew(tmp_path):
    draw(tmp_path / "in" / "a.png")
    list(run(tmp_path / "in", tmp_path / "out", "nested"))
    assert [o.status for o in run(tmp_path / "in", tmp_path / "out", "nested", layer="stages.1")] == [State.DONE]


def test_what_changes_no_picture_does_not(tmp_path):
    draw(tmp_path / "in" / "a.png")
    list(run(tmp_path / "in", tmp_path / "out"))
    assert [o.status for o in run(tmp_path / "in", tmp_path / "out", batch_size=3)] == [State.SKIPPED]


def test_failed_pictures_are_tried_again(tmp_path):
    broken = tmp_path / "in" / "a.png"
    draw(tmp_path / "in" / "b.png")
    broken.write_bytes(b"")
    assert [o.status for o in run(tmp_path / "in", tmp_path / "out")] == [State.FAILED, State.DONE]
    draw(broken)
    assert [o.status for o in run(tmp_path / "in", tmp_path / "out")] == [State.DONE, State.SKIPPED]
    assert sorted(line["name"] + " " + line["status"] for line in lines(tmp_path / "out")) == ["a done", "b done"]


def test_a_run_that_is_left_in_the_middle_is_gone_on_with(tmp_path):
    folder_of(tmp_path / "in", 60)
    out = tmp_path / "out"
    before = threading.active_count()
    outcomes = iter(run(tmp_path / "in", out, batch_size=4))
    next(outcomes)
    until(lambda: any(name.startswith("picture1") for name in written(out)))  # the first batch is drawn in the meantime
    outcomes.close()
    finished = len(lines(out))
    assert 2 <= finished < 60
    on_disk = {name for name in written(out) if name.endswith(".png")}
    assert on_disk == {name for line in lines(out) for name in line["files"]}
    states = [o.status for o in run(tmp_path / "in", out, batch_size=4)]
    assert states == [State.SKIPPED] * finished + [State.DONE] * (60 - finished)
    assert threading.active_count() <= before
    assert len(lines(out)) == 60


def test_batches_change_no_picture(tmp_path):
    folder_of(tmp_path / "in", 9)
    methods = ("grad-cam", "grad-cam++", "cf-cam", "score-cam")
    for size in (1, 8):
        list(run(tmp_path / "in", tmp_path / f"out{size}", methods=methods, batch_size=size))
    names = [n for n in written(tmp_path / "out1") if n.endswith(".png")]
    assert len(names) == 36
    for name in names:
        assert np.abs(pixels(tmp_path / "out1" / name) - pixels(tmp_path / "out8" / name)).max() <= 1


def test_names_that_would_collide_are_told_apart_and_sub_folders_mirrored(tmp_path):
    draw(tmp_path / "in" / "a.png", corner=0)
    draw(tmp_path / "in" / "a.bmp", corner=1)
    draw(tmp_path / "in" / "deep" / "a.png", corner=2)
    list(run(tmp_path / "in", tmp_path / "out", recursive=True))
    drawn = [n for n in written(tmp_path / "out") if n.endswith(".png")]
    assert drawn == ["a-bmp_grad-cam.png", "a-png_grad-cam.png", "deep/a_grad-cam.png"]
    assert len({(tmp_path / "out" / n).read_bytes() for n in drawn}) == 3


def test_another_picture_of_the_same_name_does_not_overwrite_the_first(tmp_path):
    one, other = draw(tmp_path / "x" / "a.png", corner=0), draw(tmp_path / "y" / "a.png", corner=2)
    list(run(one, tmp_path / "out"))
    first = (tmp_path / "out" / "a_grad-cam.png").read_bytes()
    list(run(other, tmp_path / "out"))
    assert (tmp_path / "out" / "a_grad-cam.png").read_bytes() == first
    assert [line["input"] for line in lines(tmp_path / "out")] == [str(one), str(other)]


def test_a_large_radiograph_keeps_its_size_and_aspect(tmp_path):
    draw(tmp_path / "in" / "thorax.png", size=(3000, 2400), corner=2)
    (outcome,) = run(tmp_path / "in", tmp_path / "out", save=frozenset({Save.OVERLAY, Save.SHEET}))
    assert outcome.status is State.DONE
    with Image.open(tmp_path / "out" / "thorax_grad-cam.png") as overlay:
        assert overlay.size == (2400, 3000)
    with Image.open(tmp_path / "out" / "thorax_sheet.png") as sheet:
        assert max(sheet.size) < 1500


def test_a_picture_too_large_to_be_held_is_read_again_and_drawn_the_same(tmp_path, monkeypatch):
    folder_of(tmp_path / "in", 3)
    list(run(tmp_path / "in", tmp_path / "held"))
    monkeypatch.setattr("cfcam.jobs.runs.work._KEPT_BYTES", 0)
    monkeypatch.setattr("cfcam.jobs.runs.flow._LARGE_PIXELS", 0)
    list(run(tmp_path / "in", tmp_path / "read"))
    for n in range(3):
        name = f"picture{n}_grad-cam.png"
        assert (tmp_path / "held" / name).read_bytes() == (tmp_path / "read" / name).read_bytes()


def test_few_pictures_are_held_at_a_time(tmp_path, monkeypatch):
    import weakref

    from cfcam.jobs.inputs import reading
    from cfcam.jobs.runs import flow as module

    folder_of(tmp_path / "in", 80)
    alive, most, read = weakref.WeakSet(), 0, reading.read_image

    def counted(*args, **kwargs):
        nonlocal most
        image = read(*args, **kwargs)
        alive.add(image)
        most = max(most, len(alive))
        return image

    monkeypatch.setattr(reading, "read_image", counted)
    assert len(list(run(tmp_path / "in", tmp_path / "out", batch_size=2))) == 80
    assert 2 <= most <= 2 * module._READERS + 2 * module._DRAWERS + 6


def test_of_large_pictures_one_at_a_time_is_prepared(tmp_path, monkeypatch):
    folder_of(tmp_path / "in", 8)
    busy, most, prepare, lock = 0, 0, Preprocess.__call__, threading.Lock()
    pairs = threading.Barrier(2)
    meanwhile = lambda: pairs.wait(PATIENCE)  # noqa: E731 (of small ones each waits for another)

    def counted(self, image):
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        meanwhile()
        prepared = prepare(self, image)
        with lock:
            busy -= 1
        return prepared

    monkeypatch.setattr(Preprocess, "__call__", counted)
    list(run(tmp_path / "in", tmp_path / "small"))
    assert most > 1
    most, meanwhile = 0, lambda: time.sleep(0.05)
    monkeypatch.setattr("cfcam.jobs.runs.flow._LARGE_PIXELS", 0)
    list(run(tmp_path / "in", tmp_path / "large"))
    assert most == 1


def test_a_picture_that_changes_under_way_fails(tmp_path, monkeypatch):
    from cfcam.jobs.inputs import reading

    path = draw(tmp_path / "a.png")
    read = reading.read_image

    def changing(*args, **kwargs):
        image = read(*args, **kwargs)
        draw(path, corner=3)
        return image

    monkeypatch.setattr(reading, "read_image", changing)
    monkeypatch.setattr("cfcam.jobs.runs.work._KEPT_BYTES", 0)
    (outcome,) = run(path, tmp_path / "out")
    assert outcome.status is State.FAILED
    assert "changed" in outcome.error
    assert lines(tmp_path / "out")[0]["files"] == {}


@dataclass(frozen=True)
class Picky(Method):
    """Does not apply to pictures darker than a level."""

    name = "picky"
    level: float = 0.0

    def __call__(self, capture):
        if bool((capture.input.mean((1, 2, 3)) < self.level).any()):
            raise MethodError("picky wants more light")
        return capture.activations[:, :1]


def test_a_method_that_fails_on_every_picture_is_a_wrong_set_up_and_on_one_a_failure(tmp_path):
    folder_of(tmp_path / "in", 3)
    draw(tmp_path / "in" / "night.png", grey=0)
    with pytest.raises(MethodError, match="more light"):
        list(run(tmp_path / "in", tmp_path / "none", methods=(Picky(0.9),)))
    states = {o.path.stem: o.status for o in run(tmp_path / "in", tmp_path / "most", methods=(Picky(0.15),))}
    assert states.pop("night") is State.FAILED
    assert set(states.values()) == {State.DONE}


def test_the_folder_of_the_pictures_is_not_written_into(tmp_path):
    folder_of(tmp_path / "in", 1)
    with pytest.raises(JobError, match="choose another"):
        run(tmp_path / "in", tmp_path / "in")
    assert written(tmp_path / "in") == ["picture0.png"]


@pytest.mark.parametrize("inside", ["index_files", "sub", "sub/deep", "picture0_maps", "manifest.jsonl"])
def test_nothing_is_written_through_a_link_that_leads_out_of_the_output(tmp_path, inside):
    folder_of(tmp_path / "in" / "sub" / "deep", 1)
    folder_of(tmp_path / "in", 1)
    out, secret = tmp_path / "out", tmp_path / "secret"
    (out / inside).parent.mkdir(parents=True)
    if "." in inside:
        secret.touch()
    else:
        secret.mkdir()
    (out / inside).symlink_to(secret)
    with pytest.raises(JobError, match=rf"^{inside} is a link that leads out of the output folder: nothing is written"):
        list(run(tmp_path / "in", out, recursive=True, save=frozenset(Save)))
    assert not (secret.read_bytes() if secret.is_file() else list(secret.iterdir()))
    assert not (out / ".cfcam-lock").exists()


def test_an_output_folder_that_cannot_be_made_is_refused(tmp_path):
    folder_of(tmp_path / "in", 1)
    (tmp_path / "file").touch()
    with pytest.raises(JobError, match="cannot be written"):
        run(tmp_path / "in", tmp_path / "file" / "out")


def test_a_layer_that_is_to_be_measured_is_refused_before_anything_is_read(tmp_path):
    folder_of(tmp_path / "in", 1)
    with pytest.raises(JobError, match="cfcam layers MODEL --measure"):
        run(tmp_path / "in", tmp_path / "out", layer="measured")


@pytest.mark.parametrize("kind", ["jpg", "webp", "svg", "pdf"])
def test_pictures_are_written_in_the_format_asked_for_and_the_next_run_finds_them(tmp_path, kind):
    draw(tmp_path / "in" / "a.png")
    saved = frozenset({Save.OVERLAY, Save.SHEET})
    (outcome,) = run(tmp_path / "in", tmp_path / "out", format=kind, save=saved)
    assert [f.name for f in outcome.files] == [f"a_grad-cam.{kind}", f"a_sheet.{kind}"]
    letters = {"svg": b">original</text>", "pdf": b"/FontFile2"}.get(kind, b"")
    assert letters in outcome.files[1].read_bytes()
    assert not letters or letters not in outcome.files[0].read_bytes()
    (again,) = run(tmp_path / "in", tmp_path / "out", format=kind, save=saved)
    assert again.status is State.SKIPPED
    (other,) = run(tmp_path / "in", tmp_path / "out", save=saved)
    assert other.status is State.DONE
    assert "format" not in Settings().drawn()  # so that runs of before go on


def test_smaller_pictures_say_their_scale_and_change_no_number(tmp_path):
    draw(tmp_path / "in" / "a.png", size=(100, 200))
    saved = frozenset(Save)
    (full,) = run(tmp_path / "in", tmp_path / "full", save=saved)
    (small,) = run(tmp_path / "in", tmp_path / "small", save=saved, max_size=50)
    assert pixels(tmp_path / "small" / "a_grad-cam.png").shape == (25, 50, 3)
    sheet = "a_sheet.png"  # its words are to be read
    assert (tmp_path / "small" / sheet).read_bytes() == (tmp_path / "full" / sheet).read_bytes()
    assert (full.scale, small.scale) == (1, 0.25)
    assert lines(tmp_path / "small")[0]["scale"] == 0.25
    assert "scale" not in lines(tmp_path / "full")[0]
    assert small.targets == full.targets
    assert small.probabilities == full.probabilities
    maps = "a_maps/maps.safetensors"
    assert (tmp_path / "small" / maps).read_bytes() == (tmp_path / "full" / maps).read_bytes()
    (again,) = run(tmp_path / "in", tmp_path / "small", save=saved, max_size=50)
    assert (again.status, again.scale) == (State.SKIPPED, 0.25)
    with pytest.raises(CfcamError, match="is to be 15 pixels: give 16 or more"):
        run(tmp_path / "in", tmp_path / "small", max_size=15)


def test_overlay_and_sheet_of_a_radiograph_say_left_and_right_and_those_of_a_silent_one_do_not(tmp_path):
    from tests.imaging.dicoms import radiograph, save

    shown = {}
    for name, orientation in (("hung", ["L", "F"]), ("mirrored", ["R", "F"]), ("silent", None)):
        ds = radiograph((np.arange(100 * 100).reshape(100, 100) % 4000).astype(np.uint16))
        if orientation:
            ds.PatientOrientation = orientation
        save(ds, tmp_path / name / "a.dcm")
        both = frozenset({Save.OVERLAY, Save.SHEET})
        (outcome,) = run(tmp_path / name, tmp_path / f"{name}-out", save=both)
        assert outcome.error is None
        shown[name] = [pixels(file) for file in outcome.files]
    for hung, mirrored, silent in zip(*shown.values(), strict=True):
        assert (hung != silent).any()
        changed = (hung != mirrored).any(axis=2).any(axis=0)
        assert changed.any()  # R and L stand on the other side
    changed = (shown["hung"][0] != shown["silent"][0]).any(axis=2)
    assert not changed[22:-22, 22:-22].any()


def test_what_a_run_is_set_up_with_brings_no_statistics():
    """They take longer to import than a tiny network to load, and 40 MB."""
    code = "import sys, cfcam.jobs.runs.run, cfcam.jobs.runs.settings; sys.exit('scipy.stats' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
