"""A note says that nothing has changed only if nothing has."""

import os
import shutil

import pytest

from cfcam.files import own_output
from cfcam.jobs.runs import unchanged as module
from cfcam.jobs.runs.unchanged import FILE_NAME, Unchanged


@pytest.fixture
def settled(monkeypatch):
    """Files of just now are as good as old ones."""
    monkeypatch.setattr(module, "is_past", lambda changed: True)
    monkeypatch.setattr(module, "is_settled", lambda stamp: True)


@pytest.fixture
def world(tmp_path):
    for name in (
        "in/a.png",
        "in/b.png",
        "in/deeper/c.png",
        "out/a_map.png",
        "out/index/part.parquet",
        "net.py",
        "w.pt",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def note(world, recursive=True, options=(("size", 32),), sources=("in",)):
    places = tuple(world / name for name in sources)
    return Unchanged(world / "out", places, recursive, dict(options), (world / "w.pt",))


def left(world, **how):
    one = note(world, **how)
    one.begin()
    one.write(3, [str(world / "net.py")])


def rewritten(path):
    """Other bytes, with the size and the time of before: only the entry of the file tells."""
    before = path.stat()
    path.write_text(path.read_text()[::-1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_where_nothing_has_changed_the_inputs_are_counted(settled, world):
    left(world)
    assert note(world).inputs() == 3
    with own_output(world / "out"):  # a lock is no part of what was written
        assert note(world).inputs() == 3
    assert note(world).inputs() == 3


CHANGES = {
    "an input is new": lambda world: (world / "in" / "d.png").write_text("d"),
    "an input deeper is new": lambda world: (world / "in" / "deeper" / "d.png").write_text("d"),
    "an input is gone": lambda world: (world / "in" / "a.png").unlink(),
    "an input has another name": lambda world: (world / "in" / "a.png").rename(world / "in" / "e.png"),
    "an input has other bytes": lambda world: rewritten(world / "in" / "a.png"),
    "an input is another file": lambda world: replaced(world / "in" / "a.png"),
    "all inputs are gone": lambda world: shutil.rmtree(world / "in"),
    "a map has other bytes": lambda world: rewritten(world / "out" / "a_map.png"),
    "a map is gone": lambda world: (world / "out" / "index" / "part.parquet").unlink(),
    "there is another map": lambda world: (world / "out" / "b_map.png").write_text("b"),
    "the code has changed": lambda world: rewritten(world / "net.py"),
    "the weights have changed": lambda world: rewritten(world / "w.pt"),
    "the weights are gone": lambda world: (world / "w.pt").unlink(),
    "the note is torn": lambda world: (world / "out" / FILE_NAME).write_bytes(b'{"cfcam_unchanged": 1, "comm'),
    "the note is none": lambda world: (world / "out" / FILE_NAME).write_bytes(b"[]"),
    "the note is of a later cfcam": lambda world: (world / "out" / FILE_NAME).write_bytes(b'{"cfcam_unchanged": 2}'),
    "there is no note": lambda world: (world / "out" / FILE_NAME).unlink(),
}


def replaced(path):
    other = path.with_suffix(".other")
    shutil.copy2(path, other)
    other.replace(path)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_where_something_has_changed_nothing_is_told(settled, world, change):
    left(world)
    change(world)
    assert note(world).inputs() is None


def test_another_command_is_not_told_of(settled, world):
    left(world)
    assert note(world, options=(("size", 64),)).inputs() is None
    assert note(world, recursive=False).inputs() is None
    assert note(world, sources=("in/a.png",)).inputs() is None


@pytest.mark.parametrize("sources", [("in/*.png",), ("in/a.png", "in/b.png")], ids=["a glob", "files"])
def test_files_and_globs_are_looked_at_too(settled, world, sources):
    left(world, sources=sources, recursive=False)
    assert note(world, sources=sources, recursive=False).inputs() == 3
    rewritten(world / "in" / "b.png")
    assert note(world, sources=sources, recursive=False).inputs() is None


def test_an_output_below_the_inputs_is_none_of_them(settled, world):
    left(world, sources=(".",))
    assert note(world, sources=(".",)).inputs() == 3


def test_no_note_is_left_of_what_changed_while_the_run_was_at_work(settled, world):
    one = note(world)
    one.begin()
    rewritten(world / "in" / "a.png")
    one.write(3, [])
    assert not (world / "out" / FILE_NAME).exists()


@pytest.mark.parametrize("source", ["nothing", "list.csv", "in/dangling.png"])
def test_no_note_is_left_where_the_system_says_too_little(settled, world, source):
    (world / "list.csv").write_text("path\nin/a.png\n")
    (world / "in" / "dangling.png").symlink_to(world / "nowhere")
    left(world, sources=(source,))
    assert not (world / "out" / FILE_NAME).exists()


def test_no_note_is_left_of_files_of_just_now(world):
    left(world)
    assert not (world / "out" / FILE_NAME).exists()
