"""What a run is to do, by the inputs and what its output folder says of them."""

import json

import pytest

from cfcam.jobs import Input, JobError
from cfcam.jobs.runs.manifest import Manifest, Record, State
from cfcam.jobs.runs.plan import Plan
from cfcam.jobs.runs.standing import stands
from tests.jobs.world import draw

MADE_BY = {"cfcam": "1", "torch": "2", "python": "3", "device": "cpu"}


def record(path, name, files=None, sha256="a" * 64):
    return Record(str(path), sha256, State.DONE, None, name, "conv", (), files or {}, 0.1, "settings", "1")


def test_an_input_keeps_its_name_and_one_that_is_gone_gives_it_up(tmp_path):
    here, new = draw(tmp_path / "x" / "a.png"), draw(tmp_path / "y" / "a.png")
    out = tmp_path / "out"
    out.mkdir()
    manifest = Manifest.open(out)
    manifest.append(record(here, "a"))
    plan = Plan((Input(new),), out, "settings")
    assert plan.names(manifest) == ["a-png"]
    assert Plan((Input(here), Input(new)), out, "settings").names(manifest) == ["a", "a-png"]
    here.unlink()
    assert plan.names(manifest) == ["a"]


def test_what_is_done_is_done_for_these_settings_this_source_and_these_files(tmp_path):
    path = draw(tmp_path / "a.png")
    (tmp_path / "manifest.jsonl").write_bytes((known := record(path, "a")).line())
    manifest = Manifest.open(tmp_path)
    assert Plan((Input(path),), tmp_path, "settings").known("a", manifest) == known
    assert Plan((Input(path),), tmp_path, "settings").known("b", manifest) is None
    assert Plan((Input(path),), tmp_path, "others").known("a", manifest) is None
    assert Plan((Input(path),), tmp_path, "settings", overwrite=True).known("a", manifest) is None
    assert stands(known, lambda: "a" * 64, tmp_path)
    assert not stands(known, lambda: "b" * 64, tmp_path)
    assert not stands(record(path, "a", {"a_grad-cam.png": "c" * 64}), lambda: "a" * 64, tmp_path)  # that file is gone


def test_an_input_whose_digest_cannot_be_had_is_read_again(tmp_path):
    def broken():
        raise KeyError("no such tag")

    assert not stands(record(draw(tmp_path / "a.png"), "a"), broken, tmp_path)


@pytest.mark.parametrize("before", [None, b"{", b'{"runs": 3}', b'{"runs": {"earlier": {"inputs": 7}}}'])
def test_settings_are_entered_beside_those_of_earlier_runs_and_over_what_is_broken(tmp_path, before):
    if before is not None:
        (tmp_path / "run.json").write_bytes(before)
    plan = Plan((Input(tmp_path / "a.png"),), tmp_path, "hash")
    plan.enter({"layer": "conv"}, MADE_BY, command=("cfcam",), notes=["look"])
    runs = json.loads((tmp_path / "run.json").read_bytes())["runs"]
    entered = runs.pop("hash")
    assert (entered["settings"], entered["command"], entered["notes"]) == ({"layer": "conv"}, ["cfcam"], ["look"])
    assert (entered["inputs"], entered["machine"]["device"]) == (1, "cpu")
    assert list(runs) == (["earlier"] if before and b"earlier" in before else [])


def test_the_folder_of_the_inputs_is_none_for_the_output(tmp_path):
    path = draw(tmp_path / "in" / "a.png")
    with pytest.raises(JobError, match="holds input pictures"):
        Plan((Input(path),), tmp_path / "in", "hash").make_folder()
    Plan((Input(path),), tmp_path / "out" / "deep", "hash").make_folder()
    assert list((tmp_path / "out" / "deep").iterdir()) == []
