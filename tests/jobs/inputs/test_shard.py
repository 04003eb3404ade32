"""Each input is one shard's, whoever asks, and wherever the folder is."""

import hashlib
import os
from pathlib import Path, PurePosixPath

import pytest

from cfcam.errors import InputError
from cfcam.jobs import Input
from cfcam.jobs.inputs.shard import Shard, all_of, beside, content_path, parts_of


@pytest.mark.parametrize("count", [1, 2, 7])
def test_each_input_is_taken_by_exactly_one_shard_and_all_shards_have_some(count):
    shards = [Shard(number, count) for number in range(1, count + 1)]
    taken = [[shard.takes(f"ward/picture{n}.png") for shard in shards] for n in range(200)]
    assert all(sum(row) == 1 for row in taken)
    assert all(any(column) for column in zip(*taken, strict=True))


def test_who_takes_an_input_does_not_depend_on_where_the_folder_is():
    here = Input(Path("/data/scans/ward/a.png"), PurePosixPath("ward"))
    there = Input(Path("mnt/a.png"), PurePosixPath("ward"))
    assert content_path(here) == content_path(there) == "ward/a.png"
    place = int(hashlib.sha256(b"ward/a.png").hexdigest()[:16], 16) % 5
    assert [Shard(n, 5).takes("ward/a.png") for n in range(1, 6)].index(True) == place


def test_a_shard_is_written_as_which_of_how_many():
    assert Shard.parse("2/8") == Shard(2, 8)
    assert (str(Shard(2, 8)), Shard(2, 8).name) == ("2/8", "2-of-8")


@pytest.mark.parametrize("text", ["", "2", "0/4", "5/4", "-1/4", "1/0", "1/4/2", "a/b", "1/9999999", "١/٤", " 1/4"])
def test_what_is_no_shard_is_refused_in_one_line(text):
    with pytest.raises(InputError, match="1/4"):
        Shard.parse(text)


def test_files_of_shards_stand_beside_that_of_the_whole_and_strangers_are_none(tmp_path):
    whole = tmp_path / "manifest.jsonl"
    assert (all_of(whole), parts_of(tmp_path / "no" / "manifest.jsonl")) == ([], [])
    two = beside(whole, Shard(2, 8))
    assert (two.name, beside(whole, None)) == ("manifest.2-of-8.jsonl", whole)
    for name in ("manifest.2-of-8.jsonl", "manifest.10-of-12.jsonl", "manifest.old.jsonl", "manifest.0-of-2.jsonl"):
        (tmp_path / name).write_text("")
    assert [path.name for path in parts_of(whole)] == ["manifest.10-of-12.jsonl", "manifest.2-of-8.jsonl"]


def test_what_was_written_to_last_comes_last(tmp_path):
    whole = tmp_path / "rows.jsonl"
    for moment, path in enumerate([whole, beside(whole, Shard(2, 2)), beside(whole, Shard(1, 2))]):
        path.write_text("")
        os.utime(path, ns=(moment, moment))
    assert [path.name for path in all_of(whole)] == ["rows.jsonl", "rows.2-of-2.jsonl", "rows.1-of-2.jsonl"]
