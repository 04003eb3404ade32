import json
import sqlite3

import pytest
from typer.testing import CliRunner

pytest.importorskip("sqlalchemy", reason="the audit needs SQLAlchemy: pip install 'cfcam[audit]'")
pytest.importorskip("alembic", reason="the audit needs Alembic: pip install 'cfcam[audit]'")

from cfcam.cli.app import app
from cfcam.clinical.audit.audit import Audit
from cfcam.clinical.audit.export import verify_export


@pytest.fixture
def where(tmp_path):
    return tmp_path / "audit.sqlite"


@pytest.fixture
def cfcam(where):
    def run(*arguments):
        return CliRunner(env={"COLUMNS": "160", "CFCAM_AUDIT": str(where)}).invoke(app, ["audit", *map(str, arguments)])

    return run


@pytest.fixture
def records(where):
    audit = Audit(where)
    return [
        audit.append("start"),
        audit.append("explain", {"method": ["grad-cam", "cf-cam"], "model_sha256": "ab" * 32}),
        audit.append("report", {"checks": {"artefact": "flag"}, "pseudonym": "P-9f86d081884c7d65"}),
    ]


def cut_off_the_last(where):
    connection = sqlite3.connect(where)
    connection.execute("DROP TRIGGER audit_record_no_delete")
    connection.execute("DELETE FROM audit_record WHERE sequence = 3")
    connection.commit()
    connection.close()


def test_init_makes_an_audit_and_keeps_one_that_is_there(cfcam, where):
    assert cfcam("verify").exit_code == 2
    for expected in (0, 1):
        result = cfcam("init")
        assert result.exit_code == 0, result.stderr
        assert str(where) in result.stdout
        assert Audit(where).verify().count == expected
        Audit(where).append("start")


def test_log_shows_records_chosen_by_time_action_and_number(cfcam, records):
    shown = cfcam("log").stdout.splitlines()
    assert len(shown) == 4
    assert "110100 Application Activity" in shown[1]
    assert "method=grad-cam,cf-cam" in shown[2]
    assert f"model_sha256={'ab' * 6}…" in shown[2]
    assert records[2].id in shown[3]
    assert "checks=artefact:flag" in shown[3]
    told = [json.loads(line) for line in cfcam("log", "--json").stdout.splitlines()]
    assert [record["hash"] for record in told] == [record.hash for record in records]
    assert told[0]["event"] == {"id": "110100", "meaning": "Application Activity", "action_code": "E", "type": "110120"}
    assert told[1]["details"] == dict(records[1].details)

    def numbers(*options):
        return [json.loads(line)["sequence"] for line in cfcam("log", "--json", *options).stdout.splitlines()]

    assert numbers("--action", "explain") == [2]
    assert numbers("--last", "2") == [2, 3]
    assert numbers("--since", records[1].time.isoformat()) == [2, 3]
    assert numbers("--since", "2999-01-01") == []


def test_verify_says_whether_the_chain_is_whole_and_what_it_cannot_see(cfcam, where, records, tmp_path):
    result = cfcam("verify")
    assert result.exit_code == 0
    assert result.stdout == f"whole: 3 records, head {records[2].hash}\n"
    assert "--against" in result.stderr
    export = tmp_path / "export.jsonl"
    result = cfcam("export", export)
    assert result.exit_code == 0, result.stderr
    assert f"Head (SHA-256): {records[2].hash}" in result.stdout
    assert verify_export(export).ok
    for against in (export, records[2].hash, records[1].hash.upper()):
        assert cfcam("verify", "--against", against).exit_code == 0
    cut_off_the_last(where)
    assert cfcam("verify").exit_code == 0
    result = cfcam("verify", "--against", export)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: record 3: ")
    told = json.loads(cfcam("verify", "--against", records[2].hash, "--json").stdout)
    assert (told["ok"], told["count"], told["first_bad"]) == (False, 2, 3)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["log", "--since", "yesterday"], "--since 'yesterday' is no time"),
        (["log", "--action", "expalin"], "'expalin' is unknown: one of start"),
        (["verify", "--against", "missing.jsonl"], "'missing.jsonl' cannot be read"),
        (["verify", "-a", "typo.sqlite"], "there is no audit 'typo.sqlite': make one with cfcam audit init"),
        (["log", "-a", "mysql://reader:secret@host/db"], "cannot be kept in 'mysql'"),
    ],
)
def test_wrong_use_is_one_line(cfcam, records, arguments, why):
    result = cfcam(*arguments)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert why in line
    assert "secret" not in line


def test_an_export_is_not_overwritten(cfcam, records, tmp_path):
    assert cfcam("export", tmp_path / "a.jsonl").exit_code == 0
    result = cfcam("export", tmp_path / "a.jsonl")
    assert result.exit_code == 2
    assert "never overwritten" in result.stderr
