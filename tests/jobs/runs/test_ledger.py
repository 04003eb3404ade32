import json

from cfcam.jobs.inputs.marks import Lookup
from cfcam.jobs.runs.ledger import Ledger, head


def test_lines_are_read_where_they_lie(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"first\nsecond\n")
    other.write_bytes(b"third\n")
    ledger = Ledger()
    for file, start, length, name in ((one, 0, 6, "a"), (one, 6, 7, "b"), (other, 0, 6, "a")):
        ledger.enter(file, start, length, f"/in/{name}", name)
    assert [ledger.line(n) for n in (2, 1, 0)] == [b"third\n", b"second\n", b"first\n"]
    assert [ledger.of(n) for n in range(3)] == [one, one, other]
    assert ledger.several() == [[0, 2]]
    assert ledger.has_name(1, "b")
    assert not ledger.has_name(1, "a")
    assert list(Lookup(ledger.inputs())("/in/a")) == list(Lookup(ledger.names())("a")) == [0, 2]


def test_the_head_of_a_line_tells_input_and_name_whatever_stands_between():
    values = {"input": 'a"b\\\udcff', "sha256": None, "error": 'its ,"name":"x" is odd', "name": "結/é", "files": {}}
    line = json.dumps(values, separators=(",", ":")).encode() + b"\n"
    assert head(line) == (values["input"], values["name"])
    assert head(line[:-1]) is None
    assert head(line.replace(b'"name":"', b'"name":{"name":"', 1)) is None
    assert head(b'{"input":"a","seconds":3,"name":"b"}\n') is None  # no line of a run's: it is read as a whole
    assert head(b'{"input":"\\uZZZZ","name":"b"}\n') is None
