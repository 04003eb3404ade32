"""``cases.jsonl`` as an earlier cfcam wrote it, byte by byte, so that its stopped runs go on."""

import pytest

from cfcam.jobs.evidence.measure import CasesFile

HEADER = b'{"protocol_sha256":"f1cb"}\n'
FIRST = b'{"key":"aa","record":{"case":"case-0001","group":"Kn\\u00f6chel","marked":[0.5,null]}}\n'
RECORD = {"case": "case-0001", "group": "Knöchel", "marked": [0.5, None]}


def test_a_file_is_written_as_ever(tmp_path):
    file = CasesFile(tmp_path, "f1cb")
    file.add("aa", RECORD | {"marked": [0.5, float("nan")]})
    assert (tmp_path / "cases.jsonl").read_bytes() == HEADER + FIRST


@pytest.mark.parametrize("torn", [b"", b'{"key":"bb","rec', b'{"key":"bb","record":{}}'])
def test_a_run_goes_on_from_the_whole_lines(tmp_path, torn):
    (tmp_path / "cases.jsonl").write_bytes(HEADER + FIRST + torn)
    file = CasesFile(tmp_path, "f1cb")
    assert file.get("aa") == RECORD
    assert file.get("bb") is None
    file.add("cc", {})
    assert (tmp_path / "cases.jsonl").read_bytes() == HEADER + FIRST + b'{"key":"cc","record":{}}\n'


def test_what_belongs_to_another_protocol_or_to_no_case_is_left_out(tmp_path):
    (tmp_path / "cases.jsonl").write_bytes(HEADER + FIRST)
    file = CasesFile(tmp_path, "0bad")
    assert file.get("aa") is None
    assert (tmp_path / "cases.jsonl").read_bytes() == b'{"protocol_sha256":"0bad"}\n'
    file.add("bb", {})
    file.add("aa", RECORD)
    assert file.keep(["aa"]) == [RECORD]
    assert (tmp_path / "cases.jsonl").read_bytes() == b'{"protocol_sha256":"0bad"}\n' + FIRST
