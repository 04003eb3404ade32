"""Files are there whole or not at all, whatever happens while they are written; lines survive a kill."""

from __future__ import annotations

import json
import os
import shutil
import time

import pytest

from cfcam import files
from cfcam.errors import ImageError, InputError, JobError, LinkError


def test_a_writer_that_fails_leaves_what_was_there_and_nothing_else(tmp_path):
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    with pytest.raises(IsADirectoryError), files.whole(target) as place:
        _fails_halfway(place)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"a.bin": b"old"}


def test_nothing_lies_under_the_name_until_all_of_it_does(tmp_path):
    with files.whole(tmp_path / "a.bin") as place:
        place.write_bytes(b"half")
        assert not (tmp_path / "a.bin").exists()
        place.write_bytes(b"whole")
    assert (tmp_path / "a.bin").read_bytes() == b"whole"


def test_a_link_that_somebody_laid_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "victim").write_bytes(b"theirs")
    (tmp_path / "a.bin").symlink_to(tmp_path / "victim")
    files.write_whole(tmp_path / "a.bin", b"ours")
    assert (tmp_path / "victim").read_bytes() == b"theirs"
    assert not (tmp_path / "a.bin").is_symlink()


@pytest.mark.parametrize("inside", ["link/a.bin", "link/sub/a.bin", "sub/link/a.bin"])
def test_a_folder_in_an_output_that_leads_out_of_it_is_not_written_through(tmp_path, inside):
    secret, out = tmp_path / "secret", tmp_path / "out"
    for folder in (secret, out / "sub"):
        folder.mkdir(parents=True)
    (out / inside.partition("/a")[0].replace("link/sub", "link")).symlink_to(secret)
    for write in (
        lambda path: files.write_whole(path, b"ours"),
        lambda path: files.save(path, b"ours"),
        lambda path: files.make_folder(path.parent),
        lambda path: files.append_line(path, {}),
    ):
        with files.output_of(out), pytest.raises(LinkError, match=r"^(sub/)?link is a link that leads out of the out"):
            write(out / inside)
    assert not any(secret.iterdir())


def test_an_output_may_be_a_link_and_may_have_links_to_itself(tmp_path):
    (tmp_path / "disk" / "sub").mkdir(parents=True)
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "again").symlink_to("sub")
    with files.output_of(tmp_path / "out"):
        files.save(tmp_path / "out" / "again" / "a.bin", b"ours")
    (tmp_path / "elsewhere").symlink_to(tmp_path / "disk")  # of no output of ours
    files.save(tmp_path / "elsewhere" / "sub" / "b.bin", b"ours")
    assert {path.name for path in (tmp_path / "disk" / "sub").iterdir()} == {"a.bin", "b.bin"}


def test_an_output_that_was_removed_is_not_made_again(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with files.output_of(out):
        files.make_folder(out / "sub" / "deeper")
        shutil.rmtree(out)
        for folder in (out, out / "sub"):
            with pytest.raises(FileNotFoundError):
                files.make_folder(folder)
    assert not out.exists()


def test_lines_are_not_added_to_a_file_that_lies_elsewhere(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "victim").write_bytes(b"")
    (tmp_path / "out" / "rows.jsonl").symlink_to(tmp_path / "victim")
    with files.output_of(tmp_path / "out"), pytest.raises(LinkError, match=r"rows\.jsonl is a link"):
        files.append_line(tmp_path / "out" / "rows.jsonl", {})
    assert not (tmp_path / "victim").read_bytes()


def test_saving_makes_the_folder_and_leaves_equal_bytes_as_they_are(tmp_path):
    target = files.save(tmp_path / "new" / "a.json", b"{}")
    before = target.stat().st_ino
    assert files.save(target, b"{}").stat().st_ino == before
    assert files.save(target, b"[]").read_bytes() == b"[]"


@pytest.mark.parametrize("error", [InputError, ImageError])
def test_what_cannot_be_written_is_told_in_one_line_without_its_folders(tmp_path, error):
    (tmp_path / "patient").write_bytes(b"a file where a folder should be")
    with pytest.raises(error, match=r"^a\.json: cannot be written \(.+\); check the folder") as caught:
        files.save(tmp_path / "patient" / "a.json", b"{}", error)
    assert "patient" not in str(caught.value)


def test_lines_come_back_with_their_places_and_a_torn_last_one_is_none(tmp_path):
    path = tmp_path / "rows.jsonl"
    written = [files.append_line(path, {"n": n, "text": "ä" * n}) for n in range(3)]
    whole = path.read_bytes()
    for cut in range(written[2].start, len(whole)):
        path.write_bytes(whole[:cut])
        assert list(files.lines_of(path)) == written[:2]
    path.write_bytes(whole)
    found = list(files.lines_of(path))
    assert found == written
    assert [json.loads(whole[line.start : line.start + line.length]) for line in found] == [
        line.values for line in found
    ]


@pytest.mark.parametrize("foreign", [b"[1, 2]\n", b"no JSON\n", b"\xff\n", b"[" * 100_000 + b"\n", b"\n"])
def test_a_foreign_line_is_seen_as_one_and_the_next_is_read(tmp_path, foreign):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(foreign)
    files.append_line(path, {"a": 1})
    assert [line.values for line in files.lines_of(path)] == [None, {"a": 1}]


def test_what_a_killed_run_left_half_written_goes_and_nothing_else_does(tmp_path):
    names = [".00112233445566aa.tmp", "ward/3/.00112233445566bb.tmp", "theirs/.00112233445566cc.tmp"]
    kept = [
        ".mine.tmp",
        "0011223344556677.tmp",
        "theirs/.cfcam-lock",
        names[2],
    ]  # another run is, or was, at work there
    for name in {*names, *kept}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    files.make_output(tmp_path)
    assert {file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*") if file.is_file()} == {*kept}


def test_where_runs_share_a_folder_what_may_be_of_another_stays_for_an_hour(tmp_path):
    now = time.time()
    for name, age in {".00112233445566aa.tmp": 3700, ".00112233445566bb.tmp": 60}.items():
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (now - age, now - age))
    files.make_output(tmp_path, part="1-of-2")
    assert [file.name for file in tmp_path.iterdir()] == [".00112233445566bb.tmp"]


def test_an_output_folder_is_made_and_tried_and_one_that_cannot_be_is_told_in_one_line(tmp_path):
    files.make_output(tmp_path / "a" / "b")
    assert list(tmp_path.rglob("*")) == [tmp_path / "a", tmp_path / "a" / "b"]
    (tmp_path / "file").touch()
    with pytest.raises(JobError, match=r"^here: cannot be written into \(Not a directory\): choose another --output"):
        files.make_output(tmp_path / "file" / "b", shown="here")
    gone = tmp_path / "gone"
    gone.symlink_to(tmp_path / "nowhere" / "x")
    with pytest.raises(ImageError, match=r"gone: cannot be written into"):
        files.make_output(gone, ImageError)


@pytest.mark.parametrize(("there", "written"), [(False, False), (False, True), (True, False)])
def test_a_folder_that_was_made_for_nothing_goes_again(tmp_path, there, written):
    folder = tmp_path / "out"
    if there:
        folder.mkdir()

    def fail():
        with files.own_output(folder):
            if written:
                (folder / "a").touch()
            raise InputError("no such audit")

    with pytest.raises(InputError, match="no such audit"):
        fail()
    assert folder.exists() == (there or written)
    with files.own_output(folder):
        pass
    assert folder.is_dir()


def test_no_link_can_be_laid_where_an_output_folder_is_tried(tmp_path):
    laid = tmp_path / f".cfcam.{os.getpid()}.tmp"  # as earlier versions called it
    laid.symlink_to(tmp_path / "made")
    files.make_output(tmp_path)
    assert list(tmp_path.iterdir()) == [laid]


def test_equal_values_have_equal_bytes_and_hashes_whatever_their_order():
    assert files.canonical({"b": float("nan"), "a": (1, "ä")}) == b'{"a":[1,"\\u00e4"],"b":null}'
    assert files.digest({"a": 1, "b": 2}) == files.digest({"b": 2, "a": 1})


def test_the_hashes_by_which_a_stopped_run_goes_on_are_those_of_earlier_versions():
    """Two functions, and not one: each keeps the bytes that it always hashed."""
    values = {"method": ["grad-cam"], "size": (224, 224), "none": None, "x": 0.1}
    assert files.settings_hash(values) == "b949a3c9620aedcb1297f234d769740b9628466a83f3dbf498cd142650e1c2db"
    assert files.digest(values) == "722b9ccab5be49f32c43f04988c82ae5ecb0f302809507dac04b2baece710409"


def _fails_halfway(place):
    place.write_bytes(b"half of the n")
    raise IsADirectoryError


@pytest.mark.parametrize("name", ["a", "a/b.png", "ward..3/a", ".hidden", "結節/\udcff"])
def test_a_name_that_can_only_lie_in_its_folder(name):
    assert files.stays_inside(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "/", "/etc/passwd", "a/../b", "..\\b", "C:b", "\\\\server\\b", "a\0", 7, None]
)
def test_a_name_that_may_lead_elsewhere(name):
    assert not files.stays_inside(name)


def test_another_output_is_named_by_the_option_that_names_it(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(JobError, match=r"\(Not a directory\): choose another --store$"):
        files.make_output(tmp_path / "file" / "maps.zarr", option="--store")
