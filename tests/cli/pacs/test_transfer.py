"""What is said while objects travel: how far, how long still, how many failed."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from cfcam.cli.pacs import transfer
from cfcam.exchange.pacs import Outcome, Report, Sent


def sent(number, outcome=Outcome.STORED, reason="", size=1000):
    return Sent(number, f"1.2.{number}", outcome, reason, size=size)


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    return now


def test_a_log_file_gets_a_line_now_and_then_with_the_time_left(clock, capsys):
    """After 20 s 4 of 10 are done: 6 more take 30 s."""
    with transfer.progress(10, "sending", quiet=False) as tell:
        for number in range(3):
            clock[0] += 3
            tell(sent(number))
        assert capsys.readouterr().err == ""
        clock[0] = 20.0
        tell(sent(3, Outcome.REFUSED, "no"))
    assert capsys.readouterr().err == "sending: 4 of 10, 30 s left, 1 failed\n"


def test_quiet_says_nothing(clock, capsys):
    with transfer.progress(10, "sending", quiet=True) as tell:
        clock[0] = 100.0
        tell(sent(0))
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(transfer, "err", lambda: Console(file=screen, force_terminal=True, width=100))
    with transfer.progress(2, "fetching", quiet=False) as tell:
        tell(sent(0, size=1_500_000))
        tell(sent(1, Outcome.TRY_AGAIN, "busy", size=0))
    assert "fetching" in screen.getvalue()
    assert "2/2" in screen.getvalue()
    assert "1.5 MB" in screen.getvalue()
    assert "1 failed" in screen.getvalue()


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (2.5e6, "2.5 MB"), (3e9, "3.0 GB")]
)
def test_sizes_as_people_say_them(size, text):
    assert transfer.size_text(int(size)) == text


def test_each_reason_is_said_once_and_not_more_than_anybody_reads(capsys):
    many = [sent(n, Outcome.REFUSED, f"reason {n}") for n in range(12)] + [sent(12, Outcome.REFUSED, "reason 0")]
    transfer.show_reasons(Report(tuple(many)), quiet=False)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "failed: reason 0 (2 objects)"
    assert lines[-1] == "... and 2 other reasons; --json lists every object"
    assert len(lines) == 11


def test_a_warning_of_a_place_is_a_note_and_the_summary_counts(capsys):
    report = Report((sent(0), sent(1, reason="stored with a warning (0xB000)"), sent(2, Outcome.TRY_AGAIN, "busy", 0)))
    transfer.show_reasons(report, quiet=False)
    shown = capsys.readouterr().err
    assert "note: stored with a warning (0xB000)" in shown
    assert "give the same command again later" in shown
    transfer.show_reasons(report, quiet=True)
    assert capsys.readouterr().err == "failed: busy\n"
    transfer.show_summary(report, {"stored": "stored", "try again": "to be tried again"}, "dicom://A@b:1", 2.0)
    assert capsys.readouterr().out == "2 stored, 1 to be tried again in 2.0 s (2.0 kB, 1.0 kB/s) -> dicom://A@b:1\n"
