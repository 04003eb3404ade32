"""The one reader of JSON: what it takes is what the standard library gives; what it refuses, with the place."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cfcam import json_text
from cfcam.errors import InputError, ModelError
from cfcam.json_text import DEEPEST, parse, parse_line

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
)  # fmt: skip


@settings(max_examples=40)
@given(VALUES, st.booleans())
def test_what_was_written_is_what_is_read(values: object, ascii_only: bool) -> None:
    assert parse(json.dumps(values, ensure_ascii=ascii_only), "x.json") == values


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b'{\n "a": 1,\n "b": }', r"line 3, column 7: Expecting value"),
        (b"", "line 1, column 1"),
        (b"\xff\xfe{}", "no UTF-8 text .byte 1"),
        (b'{"a": 1, "b": {"c": 2, "c": 3}}', "the key 'c' twice"),
        (b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1), f"nested {DEEPEST + 1} deep, {DEEPEST} are allowed"),
        (b"[" * 200_000, "nested 200000 deep"),
        (b'{"a":' * 100 + b"1" + b"}" * 100, "nested 100 deep"),
        (b"[1" + b"0" * 5000 + b"]", "a number of 5001 digits"),
        (b"[1" + b"0" * 350 + b"]", "a number of 351 digits"),
        (b"[1e999]", "the number 1e999"),
        (b"[-1E+400]", "the number -1E.400"),
        (b"[1" + b"0" * 350 + b".5]", "larger than can be calculated with"),
        (b"[Infinity]", "Infinity"),
        (b'["ok", "\\ud800"]', "half of a surrogate pair"),
        (b'{"\\uDC00": 1}', "half of a surrogate pair"),
        (b"[" + b"1," * 4_000_001 + b"1]", "more values than such a file can"),
    ],
)
def test_what_is_refused(text: bytes, told: str) -> None:
    with pytest.raises(InputError, match=rf"^card\.json: .*{told}.*; correct it$"):
        parse(text, "card.json")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b"[" * DEEPEST + b"]" * DEEPEST, None),
        (json.dumps("[" * 500 + '"\\' * 500).encode(), "[" * 500 + '"\\' * 500),
        (b"[1e308, 1" + b"0" * 100 + b"]", [1e308, 10**100]),
        (b'["\\ud83d\\ude00"]', ["\U0001f600"]),
        (b'["\\\\ud800"]', ["\\ud800"]),
        (b'["[[[["]' , ["[[[["]),
    ],
)  # fmt: skip
def test_what_is_taken(text: bytes, values: object) -> None:
    assert parse(text, "x") == (json.loads(text) if values is None else values)


def test_nan_is_taken_as_ever_and_infinity_where_the_file_is_of_maps() -> None:
    assert math.isnan(parse(b"[NaN]", "x")[0])
    assert parse(b"[Infinity, -Infinity, 1e999]", "x", finite=False) == [math.inf, -math.inf, math.inf]


def test_brackets_in_a_text_that_does_not_end_are_counted_in_one_pass() -> None:
    # A pattern that tries again at each quotation mark would take hours for this.
    with pytest.raises(InputError, match="no JSON"):
        parse(b"[]" * 65 + b'"' + b'\\"' * 2**20 + b"\\", "x")


def test_a_file_is_named_by_its_name_and_no_more_of_it_is_read_than_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    with pytest.raises(ModelError, match=r"^run\.json: cannot be read \(No such file or directory\)"):
        json_text.read(path, ModelError)
    path.write_bytes(b"[1, 2, 3]")
    assert json_text.read(path, largest=9) == [1, 2, 3]
    with pytest.raises(InputError, match=r"^the card: is larger than such a file can be"):
        json_text.read(path, shown="the card", largest=8)
    with pytest.raises(InputError, match="cannot be read"):
        json_text.read(Path("a\0b"))


@pytest.mark.parametrize("line", [b"", b"[]", b"{", b'{"a": ' + b"[" * 90 + b"]" * 90 + b"}", b'{"a": ' + b"[" * 10**6])
def test_a_line_that_is_no_object_is_none(line: bytes) -> None:
    assert parse_line(line) is None


def test_a_line_keeps_names_that_are_not_in_the_encoding_of_the_system() -> None:
    assert parse_line(b'{"name": "\\udcff"}') == {"name": "\udcff"}
