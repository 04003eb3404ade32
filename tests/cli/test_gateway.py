"""The words of ``cfcam gateway``."""

from __future__ import annotations

import pytest

pytest.importorskip("pydicom")

from cfcam.jobs.gateway.settings import read_settings
from tests.exchange import sources
from tests.jobs.gateway.whole import config
from tests.jobs.studies import cfcam


def test_the_example_is_printed_alone_and_is_a_file_of_settings(tmp_path):
    told = cfcam("gateway", "--example")
    assert told.exit_code == 0
    (tmp_path / "gateway.toml").write_text(told.stdout)
    assert read_settings(tmp_path / "gateway.toml").rule[0].name == "chest"


def test_what_would_be_done_stands_below_each_series(tmp_path):
    for kind in ("CR", "CT"):
        (tmp_path / "in" / kind).mkdir(parents=True)
        for number, dataset in enumerate(sources.sources(kind)):
            dataset.save_as(tmp_path / "in" / kind / f"{number}.dcm", enforce_file_format=True)
    (tmp_path / "in" / "notes.txt").write_text("no DICOM")
    films = '[[rule]]\nname = "films"\nnetworks = ["flat"]\nmodality = ["CR"]\n'
    told = cfcam("gateway", config(tmp_path, None, port=0, rules=films), "--explain", tmp_path / "in")
    assert told.exit_code == 0, told.stderr
    lines = told.stdout.splitlines()
    assert lines[:3] == [
        "series 1: CR, objects 1, slices 1",
        "    rule films: each object alone, by flat",
        "series 2: CT, objects 4, slices 4",
    ]
    assert lines[3].startswith("    ")
    assert lines[3].endswith(": nothing would be done")
    assert "\\n" not in told.stdout
    assert "1 file is no DICOM object with the UIDs" in told.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "no file of settings is given"),
        (["status"], "of which gateway?"),
        (["a.toml", "b.toml"], "one word too many"),
        (["nowhere.toml"], "nowhere.toml: cannot be read"),
    ],
)
def test_words_that_say_nothing_are_told_in_one_line(words, told):
    result = cfcam("gateway", *words)
    assert result.exit_code == 2
    assert told in result.stderr
