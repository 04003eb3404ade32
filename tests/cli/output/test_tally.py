from pathlib import Path

from cfcam.cli.output.tally import FAILURES_SHOWN, ROWS_SHOWN, Tally
from cfcam.jobs import Explained, Outcome, State


def outcome(name, status=State.DONE, **more):
    targets = (Explained(1, "nodule", 0.5, {"cam": "ok"}),) if status is State.DONE else ()
    return Outcome(Path(name), status, targets, **more)


def test_what_is_kept_does_not_grow_with_the_pictures():
    tally = Tally(seconds=2.0)
    for n in range(500):
        tally.add(outcome(f"in/{n}.png", notices=("odd",)))
        tally.add(outcome(f"in/{n}.bad", State.FAILED, error="broken"))
    assert (tally.count("done"), tally.count("failed"), tally.count("skipped")) == (500, 500, 0)
    assert [one.path.name for one in tally.shown] == [f"{n}.png" for n in range(ROWS_SHOWN)]
    assert [one.path.name for one in tally.failed] == [f"{n}.bad" for n in range(FAILURES_SHOWN)]
    assert (tally.rows, tally.rate, tally.several) == (500, 250.0, False)
    assert tally.notices == {"odd": ("0.png", 500)}
    assert tally.outcomes == []
    tally.add(outcome("elsewhere/0.png"))
    assert tally.several


def test_what_was_shown_while_the_run_went_on_is_not_told_again_at_its_end():
    tally = Tally(
        told={"a.nii: odd", "b.png: grey (the first such file; others are not listed)", "c.png: x (the first)"}
    )
    for name, notice in (("a.nii", "odd"), ("d.nii", "odd"), ("b.png", "grey"), ("e.png", "grey"), ("c.png", "x")):
        tally.add(outcome(name, notices=(notice, "from the record")))
    assert tally.news == ["a.nii and 4 more: from the record", "b.png and 1 more: grey"]


def test_all_outcomes_are_kept_where_they_are_asked_for():
    tally = Tally(keep=True)
    tally.add(one := outcome("a.png"))
    assert tally.outcomes == [one]


def test_overlays_of_jpegs_are_weighed_and_those_that_went_away_count_nothing(tmp_path):
    source, overlay, sheet = (tmp_path / name for name in ("a.jpg", "a_cam.png", "a_sheet.png"))
    source.write_bytes(b"12")
    overlay.write_bytes(b"123456")
    sheet.write_bytes(b"1")
    tally = Tally()
    tally.add(outcome(source, files=(overlay, sheet, tmp_path / "gone.png")))
    assert (tally.read, tally.written) == (4, 6)
