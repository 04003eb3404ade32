"""The words of ``cfcam gateway``."""

from __future__ import annotations

import pytest

pytest.importorskip("pydicom")

from cfcam.jobs.gateway.settings import read_settings
from tests.jobs.studies import cfcam


def test_the_example_is_printed_alone_and_is_a_file_of_settings(tmp_path):
    told = cfcam("gateway", "--example")
    assert told.exit_code == 0
    (tmp_path / "gateway.toml").write_text(told.stdout)
    assert read_settings(tmp_path / "gateway.toml").rule[0].name == "chest"


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
