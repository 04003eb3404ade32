"""Journals tell what a worker did, whatever became of the worker in the middle of a line."""

from cfcam.jobs.cluster.journal import Journal, journals

PART, RUN = "0123456789abcdef01234567", "89abcdef"


def journal(output, attempt=0):
    (output / ".cluster").mkdir(exist_ok=True)
    return Journal(output, PART, RUN, attempt)


def test_what_was_begun_and_did_not_end_is_open(tmp_path):
    with journal(tmp_path) as one:
        one.begin("a")
        one.end("a", '{"x": "\\n"}')
        one.begin("b")
    told = journal(tmp_path).read()
    assert told.ended == {"a": '{"x": "\\n"}'}
    assert told.open == ["b"]


def test_a_torn_line_is_none_and_a_foreign_one_is_passed_over(tmp_path):
    with journal(tmp_path) as one:
        one.end("a\udc80 name\nof two lines", "A")
        one.end("b", "B")
    path = tmp_path / ".cluster" / f"{PART}.{RUN}.0.jsonl"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert set(journal(tmp_path).read().ended) == (
            set() if whole[:length].count(b"\n") < 1 else {"a\udc80 name\nof two lines"}
        )
    path.write_bytes(b'\0\0\0\n[1]\n{"ended": 5, "line": "x"}\n' + whole)
    assert list(journal(tmp_path).read().ended.values()) == ["A", "B"]


def test_each_attempt_has_its_own_and_other_files_are_none_of_them(tmp_path):
    for attempt in range(2):
        with journal(tmp_path, attempt) as one:
            one.end(str(attempt), "")
    (tmp_path / ".cluster" / "notes.jsonl").write_text('{"ended": "x", "line": "y"}\n')
    assert [list(told.ended) for _, told in journals(tmp_path)] == [["0"], ["1"]]
    journal(tmp_path, 0).remove()
    assert [list(told.ended) for _, told in journals(tmp_path)] == [["1"]]
    assert journal(tmp_path, 7).read().ended == {}
