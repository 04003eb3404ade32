"""Tables: what goes out is no formula and comes back as it was; what comes in is told by file and line."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cfcam import csv_text
from cfcam.csv_text import cell, lines_of, plain, read_text, rows_of, table
from cfcam.errors import InputError, JobError

FORMULAS = ["=1+1", "=cmd|' /C calc'!A0", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''@x"]


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0") | st.sampled_from("=+-@'\r"))


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_written_as_text_and_read_as_it_was(text):
    assert cell(text) == "'" + text
    assert plain(cell(text)) == text


@pytest.mark.parametrize(
    "value",
    ["-0.5", "+1e-3", "-12", "-inf", "nan", "-1.5 2 -3e4", -0.5, 3, None, "", "a=b", "'q'", "left - right", "−1"],
)
def test_numbers_and_other_texts_stay_as_they_are(value):
    assert cell(value) is value
    assert not isinstance(value, str) or plain(value) == value


@settings(max_examples=60)
@given(st.lists(st.lists(TEXTS, min_size=2, max_size=2)))
def test_every_text_comes_back(rows):
    text = table(["a", "=b"], [dict(zip(["a", "=b"], row, strict=True)) for row in rows])
    first, *others = csv.reader(io.StringIO(text, newline=""))
    assert [plain(one) for one in first] == ["a", "=b"]
    assert [[plain(one) for one in row] for row in others] == rows


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"a,b\n\xff", r"not UTF-8 text .byte 4"),
        (b"a,b\n1,2\n3,\0", r"line 3 holds the character '.x00'"),
        (b"a,b\n\x1b[31m", r"line 2 holds the character '.x1b'"),
    ],
)
def test_what_is_no_text_is_told_by_its_place(data, told, tmp_path):
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(JobError, match=rf"^t\.csv: .*{told}"):
        read_text(tmp_path / "t.csv", JobError)


def test_a_table_is_bounded_and_a_path_is_a_path(tmp_path, monkeypatch):
    (tmp_path / "t.csv").write_text("a,b\n")
    monkeypatch.setattr(csv_text, "LARGEST", 3)
    with pytest.raises(InputError, match="larger than a table can be"):
        read_text(tmp_path / "t.csv")
    with pytest.raises(InputError, match="cannot be read"):
        read_text(Path("a\0b"))


def test_a_field_without_end_is_told_by_its_line():
    with pytest.raises(InputError, match=r"^t: line \d+ is no CSV"):
        list(lines_of('a\n"' + "x" * 200_000 + '"\n', "t"))


def test_lines_by_column():
    assert rows_of("a,b\n1\n\n2,3,4\n", "t") == (["a", "b"], [{"a": "1", "b": ""}, {"a": "2", "b": "3"}])
