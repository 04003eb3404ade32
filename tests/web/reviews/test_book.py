"""Answers in SQLite and in PostgreSQL: several viewers at once lose none, and what cannot be used is said."""

import threading
from dataclasses import replace

import pytest

pytest.importorskip("fastapi", reason="the viewer needs FastAPI: pip install 'cfcam[view]'")
pytest.importorskip("sqlalchemy", reason="the audit needs SQLAlchemy: pip install 'cfcam[audit]'")
pytest.importorskip("alembic", reason="the audit needs Alembic: pip install 'cfcam[audit]'")

from cfcam.clinical.audit import Audit, AuditError
from cfcam.clinical.review import Shown, Verdict
from cfcam.web.problems import RefusedError
from cfcam.web.reviews.book import ReviewBook
from tests.clinical.audit.test_postgresql import server, tamper
from tests.clinical.audit.test_postgresql import where as postgresql

__all__ = ["postgresql", "server"]  # fixtures

SHOWN = Shown("s-" + "0" * 12, "m-" + "1" * 12, "a" * 64, "b" * 64, "c" * 64, "grad-cam", "layer4", 1, 0.87)


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path):
    return str(tmp_path / "audit.sqlite") if request.param == "sqlite" else request.getfixturevalue("postgresql")


def test_viewers_that_answer_at_once_lose_nothing_and_see_each_other(place):
    books = [ReviewBook(place) for _ in range(3)]
    problems = []

    def answer(book, reader):
        try:
            for number in range(6):
                book.add(replace(SHOWN, map=f"m-{number % 2:012x}"), Verdict.ACCEPT, reader, comment=f"{number}")
        except Exception as problem:  # noqa: BLE001 (told below)
            problems.append(problem)

    threads = [threading.Thread(target=answer, args=(book, f"Reader {n}")) for n, book in enumerate(books)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    audit = Audit(place, create=False)
    assert audit.verify().ok
    for book in (*books, ReviewBook(place)):
        found = book.of(SHOWN.study, SHOWN.source_sha256)
        assert len(found) == 18
        for n in range(3):
            assert [one.comment for one in found if one.reviewer == f"Reader {n}"] == list("012345")
        before: dict[str, list[str]] = {}
        for one in found:  # what it takes the place of is an earlier answer on the same map
            earlier = before.setdefault(one.shown.map, [])
            assert one.supersedes in earlier if earlier else one.supersedes is None
            earlier.append(one.record_id)


def test_records_of_others_and_studies_of_another_content_are_left_alone(place):
    audit = Audit(place)
    audit.append("explain", {"data_sha256": "a" * 64})
    book = ReviewBook(place)
    mine = book.add(SHOWN, Verdict.REJECT, "R")
    book.add(replace(SHOWN, source_sha256="e" * 64), Verdict.ACCEPT, "R")
    audit.append("review", {"decision": "comment"})
    assert book.of(SHOWN.study, SHOWN.source_sha256) == [mine]
    reviews, head = book.certified(SHOWN.study, SHOWN.source_sha256)
    assert (reviews, head) == ([mine], audit.verify().head)


def test_an_answer_that_was_changed_in_postgresql_is_found(postgresql):
    book = ReviewBook(postgresql)
    book.add(SHOWN, Verdict.REJECT, "R")
    tamper(postgresql, "UPDATE audit_record SET body = replace(body, 'reject', 'accept')")
    with pytest.raises(RefusedError, match="record 1") as caught:
        book.certified(SHOWN.study, SHOWN.source_sha256)
    assert caught.value.status_code == 409


def test_what_may_not_be_recorded_is_the_readers_fault_and_a_bad_audit_is_not(tmp_path):
    book = ReviewBook(str(tmp_path / "audit.sqlite"))
    with pytest.raises(AuditError, match="comment"):
        book.add(SHOWN, Verdict.ACCEPT, "R", comment="a\x00b")
    bad = tmp_path / "planted-place.sqlite"
    bad.write_bytes(b"no database" * 100)
    with pytest.raises(RefusedError, match="audit") as caught:
        ReviewBook(str(bad)).add(SHOWN, Verdict.ACCEPT, "R")
    assert (caught.value.status_code, "planted" in str(caught.value)) == (503, False)


def test_without_an_audit_nothing_is_taken(tmp_path):
    book = ReviewBook(None)
    assert not book.open
    with pytest.raises(RefusedError, match="--record"):
        book.add(SHOWN, Verdict.ACCEPT, "R")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("own", "given", "told"), [(None, " A  B ", "A B"), ("Own", None, "Own"), ("Own", "Own", "Own")]
)
def test_whose_answer_it_is(own, given, told):
    assert ReviewBook(None, own).reader(given) == told
