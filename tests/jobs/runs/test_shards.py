"""Shards of a run write side by side, and joined they are what one run would have written."""

import json
import shutil
from dataclasses import replace

import pytest

from cfcam.jobs import Save, Settings, State
from cfcam.jobs.index.settings import PageSettings
from cfcam.jobs.inputs.shard import Shard
from tests.jobs.world import draw, folder_of, lines, run, written

# One picture in a pass: in which company a picture is explained may change the last bit of its numbers.
EVERYTHING = {"save": frozenset({Save.OVERLAY, Save.MAPS}), "page": PageSettings(), "batch_size": 1}


def folder(place, count=9):
    """Pictures, two of which differ in their endings alone, so that their names hang together; and a broken one."""
    folder_of(place, count)
    draw(place / "picture3.jpg", grey=90)
    (place / "broken.png").write_bytes(b"no picture")
    return place


def shards(source, out, count, **settings):
    return [list(run(source, out, shard=Shard(n, count), **settings)) for n in range(1, count + 1)]


def timeless(out):
    """The bytes of all files; the manifest without the times in each line, run.json without its moments."""
    found = {name: (out / name).read_bytes() for name in written(out)}
    found["manifest.jsonl"] = [{**line, "seconds": 0, "stamps": {}} for line in lines(out)]
    runs = json.loads(found.pop("run.json"))["runs"]
    found["run.json"] = {key: entry["settings"] for key, entry in runs.items()}
    return found


def test_shards_joined_are_the_bytes_of_one_run(tmp_path):
    source = folder(tmp_path / "in")
    list(run(source, tmp_path / "one", **EVERYTHING))
    outcomes = shards(source, tmp_path / "many", 3, **EVERYTHING)
    assert sum(map(len, outcomes)) == 11
    assert not (tmp_path / "many" / "manifest.jsonl").exists()
    joined = list(run(source, tmp_path / "many", **EVERYTHING))
    assert [o.status for o in joined].count(State.SKIPPED) == 10  # but the broken one, which is tried again
    assert timeless(tmp_path / "many") == timeless(tmp_path / "one")


def test_a_shard_touches_nothing_of_another(tmp_path):
    source, out = folder(tmp_path / "in"), tmp_path / "out"
    list(run(source, out, shard=Shard(1, 2)))
    before = {name: (out / name).read_bytes() for name in written(out)}
    list(run(source, out, shard=Shard(2, 2)))
    assert before == {name: (out / name).read_bytes() for name in before}
    assert {"manifest.2-of-2.jsonl", "run.2-of-2.json"} <= set(written(out)) - set(before)


@pytest.mark.parametrize("others", [Shard(1, 3), Shard(2, 2)])
def test_another_number_of_shards_goes_on_with_what_is_done(tmp_path, others):
    source, out = folder(tmp_path / "in"), tmp_path / "out"
    shards(source, out, 4)
    again = list(run(source, out, shard=others))
    assert {o.status for o in again} <= {State.SKIPPED, State.FAILED}
    assert len(again) == len(run(source, out, shard=others))


def test_a_picture_that_came_later_does_not_take_the_name_of_another_shards(tmp_path):
    source, out = folder_of(tmp_path / "in", 6)[0].parent, tmp_path / "out"
    shards(source, out, 2)
    held = {name: (out / name).read_bytes() for name in written(out) if name.endswith(".png")}
    for n in range(6):
        draw(source / f"picture{n}.jpg", grey=120)  # it would be called like the PNG, which a shard may not have itself
    shards(source, out, 2)
    assert held == {name: (out / name).read_bytes() for name in held}
    assert len([name for name in written(out) if name.endswith(".png")]) == 12


def test_where_the_whole_was_stopped_while_it_joined_nothing_is_lost(tmp_path):
    source, out = folder(tmp_path / "in"), tmp_path / "out"
    shards(source, out, 2)
    part = out / "manifest.1-of-2.jsonl"
    held = part.read_bytes()
    list(run(source, out))
    expected = timeless(out)
    part.write_bytes(held)  # killed between the new manifest and the end of the old ones
    assert {o.status for o in run(source, out)} == {State.SKIPPED, State.FAILED}
    assert timeless(out) == expected


def test_the_settings_of_shards_are_those_of_the_whole():
    assert Settings().drawn() == replace(Settings(), shard=Shard(1, 2)).drawn()


def test_shards_that_ran_in_folders_of_their_own_are_joined_by_copying_them_into_one(tmp_path):
    source = folder(tmp_path / "in")
    list(run(source, tmp_path / "one", **EVERYTHING))
    for n in (1, 2):
        list(run(source, tmp_path / f"machine{n}", shard=Shard(n, 2), **EVERYTHING))
        shutil.copytree(tmp_path / f"machine{n}", tmp_path / "joined", dirs_exist_ok=True)
    joined = list(run(source, tmp_path / "joined", **EVERYTHING))
    assert [o.status for o in joined].count(State.SKIPPED) == 10  # but the broken one, which is tried again
    assert timeless(tmp_path / "joined") == timeless(tmp_path / "one")
