"""An audit in a file: anybody can check it, and a change is found."""

import itertools
import json

import pytest

pytest.importorskip("sqlalchemy", reason="the audit needs SQLAlchemy: pip install 'cfcam[audit]'")
pytest.importorskip("alembic", reason="the audit needs Alembic: pip install 'cfcam[audit]'")
from cfcam.clinical.audit import GENESIS, Audit, AuditError
from cfcam.clinical.audit.export import exported_head, verify_export
from tests.clinical.audit.test_audit import filled, sha256, tamper


def test_an_export_can_be_checked_without_cfcam(where, tmp_path):
    audit = filled(where, 5)
    certificate = audit.export(tmp_path / "export.jsonl")
    *lines, last = (tmp_path / "export.jsonl").read_text().splitlines()
    assert len(lines) == 5
    for line, following in itertools.pairwise(lines):
        assert json.loads(following)["previous"] == sha256(line)
    assert json.loads(last)["certificate"]["head"] == sha256(lines[-1]) == certificate.head == audit.verify().head
    assert json.loads(last)["certificate"]["text"] == certificate.text
    assert "Records: 5," in certificate.text
    assert certificate.head in certificate.text
    assert exported_head(tmp_path / "export.jsonl") == certificate.head
    assert verify_export(tmp_path / "export.jsonl").ok
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audit.sqlite", "export.jsonl"]


def test_a_changed_export_is_found(where, tmp_path):
    export = tmp_path / "export.jsonl"
    filled(where, 5).export(export)
    text = export.read_text()
    export.write_text(text.replace('"count":2', '"count":9'))
    assert verify_export(export).first_bad == 3
    lines = text.splitlines(keepends=True)
    export.write_text("".join(lines[:4] + lines[5:]))
    assert verify_export(export).first_bad == 5
    export.write_text("".join(lines[:4]))
    with pytest.raises(AuditError, match="no certificate"):
        verify_export(export)


def test_an_export_overwrites_nothing_and_certifies_no_broken_chain(where, tmp_path):
    audit = filled(where, 5)
    audit.export(tmp_path / "export.jsonl")
    before = (tmp_path / "export.jsonl").read_bytes()
    with pytest.raises(AuditError, match="exists"):
        audit.export(tmp_path / "export.jsonl")
    assert (tmp_path / "export.jsonl").read_bytes() == before
    tamper(where, "DELETE FROM audit_record WHERE sequence = 2")
    with pytest.raises(AuditError, match="record 2 is missing"):
        audit.export(tmp_path / "second.jsonl")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audit.sqlite", "export.jsonl"]


def test_an_empty_audit_can_be_exported(where, tmp_path):
    certificate = Audit(where).export(tmp_path / "export.jsonl")
    assert (certificate.count, certificate.head, certificate.first) == (0, GENESIS, None)
    assert verify_export(tmp_path / "export.jsonl").ok
