"""What a run says while it works."""

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from cfcam.cli.output import run as said
from cfcam.cli.output.tally import Tally
from cfcam.jobs import Outcome
from cfcam.jobs.runs.manifest import Explained, State
from cfcam.log import Log


def test_each_failure_is_one_line_of_the_log_without_the_folders_from_the_root():
    stream = io.StringIO()
    with said.logged(Log(stream, as_json=True), "explaining", 3) as step:
        step(Outcome(Path("in/a.png"), State.DONE))
        step(Outcome(Path("in/b.png"), State.FAILED, error="the file is empty (0 bytes); copy or export it again"))
        step(Outcome(Path("/home/doe/c.png"), State.FAILED, error="'/home/doe/c.png' is no picture, see /data/x"))
    begun, one, two, ended = map(json.loads, stream.getvalue().splitlines())
    assert (begun["message"], ended["message"], ended["failed"]) == ("begun", "ended", 2)
    assert (one["level"], one["message"], one["task"]) == ("error", "failed", "explaining")
    assert (one["input"], one["reason"]) == ("in/b.png", "the file is empty (0 bytes); copy or export it again")
    assert (two["input"], two["reason"]) == ("c.png", "c.png' is no picture, see x")


@pytest.mark.parametrize(
    ("states", "told"),
    [
        ([State.FAILED], "explaining: 1 of 13, 1 failed"),
        ([State.SKIPPED], "explaining: 1 of 13"),
        ([State.DONE], "explaining: 1 of 13, 1.0 images/s, 12 s left"),
        ([State.DONE, State.FAILED], "explaining: 2 of 13, 1.0 images/s, 11 s left, 1 failed"),
    ],
)
def test_progress_has_no_empty_words(capsys, monkeypatch, states, told):
    now = iter([0.0, *([0.0] * (len(states) - 1)), 1.0])
    monkeypatch.setattr(said.time, "perf_counter", lambda: next(now))
    monkeypatch.setattr(said, "_QUIET_SECONDS", 0.5)
    lines = said._Lines(13, "explaining")
    for state in states:
        lines(Outcome(Path("a.png"), state))
    assert capsys.readouterr().err.strip() == told


@pytest.mark.parametrize("name", ["a.png", f"chest-{'of-somebody-' * 15}7.png", "\u80f8\u90e8" * 40 + ".png"])
def test_a_long_name_takes_no_room_from_the_answer(capsys, tmp_path, name):
    tally = Tally()
    tally.add(
        Outcome(
            Path(name),
            State.DONE,
            (Explained(1, "lung opacity", 0.522, {"grad-cam": "ok"}),),
            (tmp_path / f"{name[:60]}_sheet.png",),
        )
    )
    said.show_table(tally, SimpleNamespace(settings=SimpleNamespace(output=tmp_path)))
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["image", "class", "probability", "maps", "file"]
    assert all(word in row for word in ("lung opacity", " 0.522 ", " ok ", ".png ", "_sheet.png"))
    assert row.startswith(name[:4].rstrip("."))
