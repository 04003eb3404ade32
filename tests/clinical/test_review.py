"""Verdicts on maps: what a record of one holds, and which of several counts."""

import hashlib
import sqlite3
import struct

import numpy as np
import pytest

pytest.importorskip("sqlalchemy", reason="the audit needs SQLAlchemy: pip install 'cfcam[audit]'")
pytest.importorskip("alembic", reason="the audit needs Alembic: pip install 'cfcam[audit]'")

from cfcam.clinical.audit import Audit
from cfcam.clinical.audit.export import verify_export
from cfcam.clinical.review import Review, Shown, Verdict, by_map, values_sha256
from cfcam.errors import InputError

SHOWN = Shown("s-" + "0" * 12, "m-" + "1" * 12, "a" * 64, "b" * 64, "c" * 64, "grad-cam", "layer4", 1, 0.87)
VIEW = {"opacity": 0.4, "threshold": None, "window": [-160.0, 240.0], "fade": True}


def written(audit, verdict="accept", reviewer="Dr. Ána Müller", shown=SHOWN, **more):
    return Review.of(audit.append("review", Review(shown, Verdict(verdict), reviewer, **more).details()))


def test_a_review_comes_back_from_its_record_as_it_was_given(tmp_path):
    audit = Audit(tmp_path / "audit.sqlite")
    given = {"comment": "the border\nnot the nodule", "amended": {"class_index": 0}, "view": VIEW}
    first = written(audit)
    second = written(audit, "amend", supersedes=first.record_id, **given)
    (_, record) = Audit(tmp_path / "audit.sqlite").records()
    read = Review.of(record)
    assert read == second
    assert (read.shown, read.verdict, read.reviewer) == (SHOWN, Verdict.AMEND, "Dr. Ána Müller")
    assert (read.comment, read.amended, read.view) == (given["comment"], {"class_index": 0}, VIEW)
    assert read.supersedes == first.record_id == f"1-{first.hash[:12]}"
    assert (read.time, read.hash) == (record.time, record.hash)


def test_records_of_before_and_reviews_are_one_whole_chain_and_a_changed_verdict_is_found(tmp_path):
    where = tmp_path / "audit.sqlite"
    audit = Audit(where)
    audit.append("explain", {"data_sha256": "a" * 64})
    written(audit, "reject", comment="no")
    written(audit)
    assert audit.verify().ok
    audit.export(tmp_path / "out.jsonl")
    assert verify_export(tmp_path / "out.jsonl").count == 3
    with sqlite3.connect(where) as connection:
        connection.execute("DROP TRIGGER IF EXISTS audit_record_no_update")
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("UPDATE audit_record SET body = replace(body, 'reject', 'accept') WHERE sequence = 2")
    verified = audit.verify()
    assert (verified.ok, verified.first_bad) == (False, 2)


def test_what_may_not_be_recorded_stays_out_and_is_no_reason_to_lose_a_verdict(tmp_path):
    odd = Shown(SHOWN.study, SHOWN.map, "a" * 64, "b" * 64, "", "My Method^Name", "läyer", None, None)
    record = Audit(tmp_path / "audit.sqlite").append("review", Review(odd, Verdict.ACCEPT, "R").details())
    assert set(record.details) == {"study", "map", "data_sha256", "map_sha256", "reviewer", "decision"}
    assert Review.of(record).shown == Shown(SHOWN.study, SHOWN.map, "a" * 64, "b" * 64, "", "", "", None, None)


def test_records_that_are_no_reviews_are_none(tmp_path):
    audit = Audit(tmp_path / "audit.sqlite")
    assert Review.of(audit.append("review", {"decision": "comment", "comment_sha256": "d" * 64})) is None
    assert (
        Review.of(audit.append("review", Review(SHOWN, Verdict.ACCEPT, "R").details() | {"decision": "amend"})) is None
    )
    assert Review.of(audit.append("explain", {})) is None


@pytest.mark.parametrize(("verdict", "more"), [("amend", {}), ("accept", {"amended": {"class_index": 1}})])
def test_an_amendment_says_what_and_nothing_else_amends(verdict, more):
    with pytest.raises(InputError, match="amend"):
        Review(SHOWN, Verdict(verdict), "R", **more)


def test_the_last_verdict_of_a_map_counts_and_readers_who_differ_are_told(tmp_path):
    audit = Audit(tmp_path / "audit.sqlite")
    other = Shown(SHOWN.study, "m-" + "2" * 12, "a" * 64, "b" * 64, "c" * 64, "eigen-cam", "layer4", 1, None)
    said = [
        written(audit, "reject", "one"),
        written(audit, "accept", "two", other),
        written(audit, "accept", "two"),
        written(audit, "reject", "two", other),
    ]
    found = by_map(said)
    assert list(found) == [SHOWN.map, other.map]
    assert found[SHOWN.map].reviews == (said[0], said[2])
    assert found[SHOWN.map].latest is said[2]
    assert found[SHOWN.map].contested
    assert not found[other.map].contested  # the one reader has changed their mind


def test_only_later_records_are_read_again(tmp_path):
    audit = Audit(tmp_path / "audit.sqlite")
    for number in range(4):
        audit.append("explain", {"count": number})
    assert [one.details["count"] for one in audit.records(after=2)] == [2, 3]
    assert list(audit.records(after=4)) == []


def test_the_hash_of_a_map_is_that_of_its_numbers():
    values = np.array([[0.0, 0.5], [1.0, 0.25]])
    expected = hashlib.sha256(struct.pack("<4f", 0, 0.5, 1, 0.25)).hexdigest()
    assert values_sha256(values) == values_sha256(values.astype(">f4")) == expected
    assert values_sha256(np.asfortranarray(values)) == expected
    assert values_sha256(values.T) != expected
