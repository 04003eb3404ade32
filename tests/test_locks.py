"""One run at a time in a folder; the message names the other; a kill frees it; forks and shards."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cfcam import locks
from cfcam.errors import DiskError, InputError, JobError
from cfcam.files import append_line, check_inside, own_output, write_whole

_HOLDS = """
import sys
from pathlib import Path
from cfcam.locks import alone_in
with alone_in(Path(sys.argv[1]), part=sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Starts processes that hold the folder until their stdin is closed."""
    started = []

    def start(part=""):
        process = subprocess.Popen(
            [sys.executable, "-c", _HOLDS, str(tmp_path), part], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        started.append(process)
        assert process.stdout.readline() == b"held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_second_process_is_told_which_one_is_at_work(tmp_path, holder):
    other = holder()
    said = rf"maps: another run is at work there \(process {other.pid} on {re.escape(socket.gethostname())}, since 20"
    with pytest.raises(InputError, match=said), locks.alone_in(tmp_path, InputError, shown="maps"):
        pass
    assert [one.pid for one in locks.at_work(tmp_path)] == [other.pid]
    other.communicate()
    assert list(tmp_path.iterdir()) == []  # the run that ended well leaves nothing behind
    with locks.alone_in(tmp_path):
        pass


def test_a_run_that_was_killed_holds_nothing_any_longer(tmp_path, holder):
    other = holder()
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert (tmp_path / locks.NAME).exists()
    assert locks.at_work(tmp_path) == []
    with locks.alone_in(tmp_path):
        assert json.loads((tmp_path / locks.NAME).read_bytes())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_whoever_holds_a_folder_in_a_thread_holds_it_once_more_and_another_thread_does_not(tmp_path):
    told = []

    def second():
        try:
            with locks.alone_in(tmp_path):
                told.append("held")
        except JobError as error:
            told.append(str(error))

    with locks.alone_in(tmp_path), own_output(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert f"process {os.getpid()} " in told[0]
    with locks.alone_in(tmp_path):
        pass


def test_a_fork_holds_nothing_of_its_parents(tmp_path):
    held = locks.alone_in(tmp_path)
    held.__enter__()
    hear, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(hear, 1)
        os._exit(0)
    held.__exit__(None, None, None)
    with locks.alone_in(tmp_path):  # while the fork lives
        pass
    os.write(tell, b".")
    assert os.waitpid(child, 0)[1] == 0


def test_parts_share_a_folder_and_none_of_them_shares_it_with_a_whole_run(tmp_path, holder):
    first, second = holder("1-of-2"), holder("2-of-2")
    with pytest.raises(JobError) as caught, locks.alone_in(tmp_path):
        pass
    assert all(f"process {one.pid} on" in str(caught.value) for one in (first, second))
    with pytest.raises(JobError) as caught, locks.alone_in(tmp_path, part="1-of-2"):
        pass
    assert f"process {first.pid} on" in str(caught.value)  # the one that is in the way
    assert f"process {second.pid} on" not in str(caught.value)
    assert {one.part for one in locks.at_work(tmp_path)} == {"1-of-2", "2-of-2"}
    first.communicate()
    with locks.alone_in(tmp_path, part="1-of-2"):
        pass
    second.communicate()
    with locks.alone_in(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_locks_of_shards_that_were_killed_go_with_the_next_run_over_the_whole(tmp_path, holder):
    first, second = holder("1-of-2"), holder("2-of-2")
    first.kill()
    first.wait()
    assert (tmp_path / f"{locks.NAME}-1-of-2").exists()
    assert [one.pid for one in locks.at_work(tmp_path)] == [second.pid]
    second.kill()
    second.wait()
    with locks.alone_in(tmp_path):
        assert [one.name for one in tmp_path.iterdir()] == [locks.NAME]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("said", [b"", b"[" * 5000, b'{"pid": "no", "host": 1}', b'{"pid": 1}', b"\xff"])
def test_a_lock_that_says_nonsense_is_one_all_the_same(tmp_path, holder, said):
    holder()
    (tmp_path / locks.NAME).write_bytes(said)
    with pytest.raises(JobError, match="it does not say which"), locks.alone_in(tmp_path):
        pass


def test_no_link_is_followed_to_what_it_would_overwrite(tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"theirs")
    folder = tmp_path / "output"
    folder.mkdir()
    (folder / locks.NAME).symlink_to(victim)
    with pytest.raises(JobError, match="cannot be written into"), own_output(folder):
        pass
    assert victim.read_bytes() == b"theirs"


def test_a_folder_that_goes_away_and_comes_back_belongs_to_whoever_takes_it_then(tmp_path):
    folder = tmp_path / "output"
    folder.mkdir()
    with locks.alone_in(folder):
        (folder / locks.NAME).unlink()
        (folder / locks.NAME).write_bytes(b"of another run")
    assert (folder / locks.NAME).read_bytes() == b"of another run"


def test_where_there_are_no_locks_that_is_said_and_the_run_goes_on(tmp_path, monkeypatch):
    def missing(file, how):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(locks.fcntl, "flock", missing)
    with pytest.warns(RuntimeWarning, match=r"knows no locks: see to it that no other run"), own_output(tmp_path):
        Path(tmp_path, "a").touch()


@pytest.mark.parametrize("part", ["", "1-of-2"])
def test_a_run_whose_lock_was_removed_writes_nothing_more_and_leaves_the_next_one_its_own(tmp_path, holder, part):
    """A lock that is removed by hand, or by a tidy script, lets a second run in."""
    said = (
        r"cannot be written into any more \(its lock \.cfcam-lock was removed, so that another run may be at work there"
    )
    with own_output(tmp_path, part=part):
        (tmp_path / "a").mkdir()
        write_whole(tmp_path / "a" / "first", b"1")
        for lock in tmp_path.glob(f"{locks.NAME}*"):
            lock.unlink()
        other = holder(part)
        for place in (tmp_path / "second", tmp_path / "a" / "second"):
            with pytest.raises(DiskError, match=said):
                write_whole(place, b"2")
            assert not place.exists()
        with pytest.raises(InputError, match=said):
            check_inside(tmp_path / "second", InputError)
        with pytest.raises(DiskError, match=said):
            append_line(tmp_path / "lines", {})
    assert [one.pid for one in locks.at_work(tmp_path)] == [other.pid]
    assert not list(tmp_path.rglob("*.tmp"))
