"""A record that was written by hand, with the right hash: the verification names it, whatever is wrong with it."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from cfcam.clinical.audit.chain import GENESIS, ChainRow, digest, make_row, read_row, verify_rows
from cfcam.clinical.audit.fields import Action

GOOD = make_row(1, datetime(2026, 1, 1, tzinfo=UTC), Action.EXPLAIN, {}, GENESIS)
WRONG = {
    "no sequence": lambda body: {k: v for k, v in body.items() if k != "sequence"},
    "no event": lambda body: {k: v for k, v in body.items() if k != "event"},
    "a list": lambda body: [body],
    "an event of another kind": lambda body: body | {"event": [1]},
    "an event without codes": lambda body: body | {"event": {"id": [], "action_code": "E", "type": None}},
    "an unknown action": lambda body: body | {"action": "other"},
    "a time that is a number": lambda body: body | {"time": 3},
    "a time without a zone": lambda body: body | {"time": "2026-01-01T00:00:00"},
    "details that are none": lambda body: body | {"details": 3},
    "a previous that is a list": lambda body: body | {"previous": []},
}


def row(text: str) -> ChainRow:
    return ChainRow(1, text, digest(text))


def test_the_good_record_is_one():
    assert verify_rows([GOOD]).ok


@pytest.mark.parametrize("name", WRONG)
def test_a_record_of_another_form_is_named(name):
    found = verify_rows([row(json.dumps(WRONG[name](json.loads(GOOD.body))))])
    assert not found.ok
    assert "record 1 " in str(found)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 5000, "1" * 5000, "NaN", "", '{"a": 1e999}'])
def test_a_record_that_is_no_json_is_named(text):
    found = verify_rows([row(text)])
    assert not found.ok
    assert "record 1 is not an audit record" in str(found)
    with pytest.raises(ValueError, match=r"record 1|no "):
        read_row(row(text))
