"""Studies entered in a real PostgreSQL."""

from __future__ import annotations

import pytest

pytest.importorskip("psycopg", reason="an audit in PostgreSQL needs psycopg: pip install 'cfcam[audit]'")

from cfcam.clinical.audit.audit import Audit
from tests.clinical.audit.test_postgresql import server, where  # noqa: F401 (fixtures)
from tests.jobs.studies import explain, study_json
from tests.jobs.study.test_run import FLAT
from tests.jobs.world import draw


def test_a_study_is_entered_in_postgresql_and_its_record_is_named_in_the_json(tmp_path, where):  # noqa: F811
    draw(tmp_path / "a.png")
    result = explain(tmp_path / "a.png", tmp_path / "out", *FLAT, "--record", where)
    assert result.exit_code == 0, result.output
    audit = Audit(where, create=False)
    (record,) = audit.records()
    assert audit.verify().ok
    assert study_json(tmp_path / "out")["record_id"] == record.id
    assert where not in (tmp_path / "out" / "run.json").read_text()
