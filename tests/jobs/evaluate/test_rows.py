"""``rows.jsonl`` as an earlier cfcam wrote it, byte by byte, so that its stopped runs go on."""

import json

import pytest

from cfcam.errors import JobError
from cfcam.jobs.evaluate.rows import Part, RowsFile
from cfcam.metrics.scorecard.samples import Row

SETUP = {"cfcam": "0.1.0", "layer": "layer4", "classes": ["none", "Knöchel"]}
HEADER = (
    b'{"format":1,"fingerprint":"f0e059b25f6df01f60e6765b9e79eb2d02ac738b591556854a7bbc2ae40232a4",'
    b'"setup":{"cfcam":"0.1.0","layer":"layer4","classes":["none","Kn\\u00f6chel"]}}\n'
)
FIRST = (
    b'{"key":"aa","rows":[{"image":"x","method":"grad-cam","target":1,"target_name":"nodule","probability":0.75,'
    b'"status":"ok","values":{"adcc":0.5,"energy":NaN},"correct":null,"patient":"p","group":null,"extra":{}}],'
    b'"failed":{"y":"broken"},"notes":{}}\n'
)
COSTS = b'{"costs":{"grad-cam":{"milliseconds":2.0}}}\n'
ROW = Row("x", "grad-cam", 1, "nodule", 0.75, "ok", {"adcc": 0.5, "energy": float("nan")}, patient="p")


def test_a_file_is_written_as_ever(tmp_path):
    file = RowsFile(tmp_path, SETUP)
    file.append(Part("aa", [ROW], {"y": "broken"}))
    file.set_costs({"grad-cam": {"milliseconds": 2.0}})
    assert file.path.read_bytes() == HEADER + FIRST + COSTS


@pytest.mark.parametrize("torn", [b"", b'{"key":"bb","rows":[', FIRST.replace(b"aa", b"bb")[:-1]])
def test_a_run_goes_on_from_the_whole_lines(tmp_path, torn):
    (tmp_path / "rows.jsonl").write_bytes(HEADER + FIRST + COSTS + torn)
    file = RowsFile(tmp_path, SETUP)
    assert "aa" in file
    assert "bb" not in file
    assert file.read("aa").failed == {"y": "broken"}
    assert str(file.read("aa").rows[0]) == str(ROW)
    assert file.costs == {"grad-cam": {"milliseconds": 2.0}}
    file.append(Part("cc"))
    last = b'{"key":"cc","rows":[],"failed":{},"notes":{}}\n'
    assert file.path.read_bytes() == HEADER + FIRST + COSTS + last
    assert file.read("cc") == Part("cc")


GOOD = json.loads(FIRST)


@pytest.mark.parametrize(
    "change",
    [
        {"key": ["aa"]},
        {"rows": 5},
        {"rows": [{"a": 1}]},
        {"rows": [5]},
        {"rows": [GOOD["rows"][0] | {"image": []}]},
        {"rows": [GOOD["rows"][0] | {"probability": "x"}]},
        {"rows": [GOOD["rows"][0] | {"values": {"adcc": "x"}}]},
        {"failed": 5},
        {"failed": [1, 2]},
        {"failed": {"y": 5}},
        {"notes": 5},
        {"notes": {"y": 5}},
        {"costs": 5},
        {"costs": {"grad-cam": [1]}},
        {"costs": {"grad-cam": {"milliseconds": "x"}}},
    ],
)
def test_a_line_of_something_else_is_none(tmp_path, change):
    """Whoever wrote it: a run goes on without it, and a status counts without it."""
    stranger = json.dumps(change if "costs" in change else GOOD | change).encode() + b"\n"
    (tmp_path / "rows.jsonl").write_bytes(HEADER + FIRST.replace(b"aa", b"bb") + COSTS + stranger)
    file = RowsFile(tmp_path, SETUP)
    assert [file.known(key, ["x", "y"]) is None for key in ("aa", "bb")] == [True, False]
    assert file.costs == {"grad-cam": {"milliseconds": 2.0}}


def test_what_a_line_tells_of_other_cases_says_nothing(tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(HEADER + FIRST)
    file = RowsFile(tmp_path, SETUP)
    assert file.known("aa", ["x", "y"]) == file.read("aa")
    assert [file.known("aa", names) for names in (["x"], ["x", "y", "z"], ["x", "z"])] == [None] * 3
    assert file.known("bb", ["x", "y"]) is None
    (tmp_path / "rows.jsonl").write_bytes(HEADER + b" " * len(FIRST))
    with pytest.raises(JobError, match="was changed meanwhile: give the same command again"):
        file.read("aa")


def test_a_header_that_was_torn_is_written_anew(tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(HEADER[:50])
    assert RowsFile(tmp_path, SETUP).path.read_bytes() == HEADER


@pytest.mark.parametrize("line", [b"[1]\n", b"words\n", b'{"key":"aa"}\n'])
def test_a_file_of_somebody_else_is_left_alone(tmp_path, line):
    (tmp_path / "rows.jsonl").write_bytes(line)
    with pytest.raises(JobError, match="not written by cfcam evaluate"):
        RowsFile(tmp_path, SETUP)
    assert (tmp_path / "rows.jsonl").read_bytes() == line


def test_another_set_up_is_told_by_what_differs(tmp_path):
    RowsFile(tmp_path, SETUP)
    with pytest.raises(JobError, match=r"\(other: layer\)"):
        RowsFile(tmp_path, SETUP | {"layer": "layer3"})
    (tmp_path / "rows.jsonl").write_bytes(b'{"fingerprint":"f","setup":[1]}\n')
    with pytest.raises(JobError, match=r"\(other: cfcam, layer, classes\)"):
        RowsFile(tmp_path, SETUP)
    assert json.loads(RowsFile(tmp_path, {}, overwrite=True).path.read_bytes())["setup"] == {}
