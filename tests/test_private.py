"""Who may read what: records and keys their owner alone, and all that the command line makes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from cfcam.exchange.deidentify.key import kept_key
from cfcam.private import DOORS, PSEUDONYMS, UMASK, exposed, make_private

pytestmark = pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
MAKES = """
import pathlib, sys
from cfcam.cli import main
import cfcam.cli.app
def made(*args, **kwargs):
    pathlib.Path("folder").mkdir()
    pathlib.Path("folder/file").write_text("x")
cfcam.cli.app.app = made
main()
"""


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(autouse=True)
def everybody_may_read():
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_a_record_and_its_export_are_their_owners_alone(tmp_path):
    pytest.importorskip("sqlalchemy")
    from cfcam.clinical.audit.audit import Audit

    book = Audit(tmp_path / "audit.sqlite")
    book.append("explain", {})
    book.export(tmp_path / "export.jsonl")
    assert mode(tmp_path / "audit.sqlite") == mode(tmp_path / "export.jsonl") == 0o600


def test_a_key_is_made_for_its_owner_and_one_that_others_may_read_is_told(tmp_path):
    key = tmp_path / "secret.key"
    kept_key(key)
    assert mode(key) == 0o600
    assert exposed(key, PSEUDONYMS) == ""
    for readable in (0o640, 0o604):
        key.chmod(readable)
        assert exposed(key, PSEUDONYMS).startswith("secret.key: others than you may read it")
        assert exposed(key, PSEUDONYMS).endswith("chmod 600 secret.key")
    assert exposed(tmp_path / "none", PSEUDONYMS) == ""


def test_commands_tell_of_passwords_and_tokens_that_others_may_read(tmp_path):
    """The one sentence, by its name alone, and of the one file that is readable."""
    pytest.importorskip("pynetdicom")
    from cfcam.cli.app import app

    files = {name: tmp_path / name for name in ("open", "closed")}
    for name, mode_ in (("open", 0o640), ("closed", 0o600)):
        files[name].write_text("secret-text")
        files[name].chmod(mode_)
    nowhere = "http://127.0.0.1:1/dicom-web"  # told before anything is sent, or fails
    commands = [
        ("send", str(tmp_path / "a.dcm"), nowhere, "--token-file"),
        ("send", str(tmp_path / "a.dcm"), nowhere, "--user", "u", "--password-file"),
        ("fetch", nowhere, "--study", "1.2.3", "--output", str(tmp_path / "out"), "--token-file"),
        ("fhir", str(tmp_path / "a.json"), "--post", "http://127.0.0.1:1", "--token-file"),
    ]
    for file in ("a.dcm", "a.json"):
        (tmp_path / file).write_bytes(b"{}")
    for command in commands:
        for name, told in (("open", True), ("closed", False)):
            said = CliRunner().invoke(app, [*command, str(files[name])])
            assert said.exit_code != 0
            assert (f"{name}: others than you may read it, and so {DOORS}" in " ".join(said.output.split())) is told
            assert "secret-text" not in said.output


def test_a_gateway_tells_of_each_secret_file_of_its_settings_that_others_may_read(tmp_path):
    pytest.importorskip("pynetdicom")
    from cfcam.jobs.gateway import places
    from cfcam.jobs.gateway.access import exposed_secrets
    from cfcam.jobs.gateway.settings import GatewaySettings, Network, Results, Rule

    def file(name, mode_=0o644):
        (tmp_path / name).write_text("secret-text")
        (tmp_path / name).chmod(mode_)
        return tmp_path / name

    settings = GatewaySettings(
        spool=places.Spool(tmp_path / "spool"),
        network={"net": Network("demo")},
        rule=(Rule("all", ("net",)),),
        receive=places.Receive(calling=("A",), certificate=file("cert.pem"), key=file("tls.key", 0o600)),
        poll=places.Poll("http://127.0.0.1:1/dicom-web", token_file=file("poll.token")),
        send=places.Send("dicoms://B@127.0.0.1:104", certificate=file("both.pem")),
        fhir=places.Fhir("http://127.0.0.1:1", token_file=file("fhir.token")),
        results=Results(fhir=True, deidentify_key=file("p.key")),
    )
    told = exposed_secrets(settings)
    assert [line.partition(":")[0] for line in told] == ["poll.token", "fhir.token", "both.pem", "p.key"]
    assert [so for line in told for so in (DOORS, PSEUDONYMS) if so in line] == [DOORS] * 3 + [PSEUDONYMS]


def test_what_is_there_is_left(tmp_path):
    (tmp_path / "a").write_text("x")
    make_private(tmp_path / "a")
    assert (tmp_path / "a").read_text() == "x"
    make_private(tmp_path / "no" / "folder")


@pytest.mark.parametrize(("umask", "file", "folder"), [("", 0o600, 0o700), ("027", 0o640, 0o750), ("x", 0o600, 0o700)])
def test_what_the_command_line_makes_is_its_owners_alone_or_as_the_variable_says(umask, file, folder, tmp_path):
    environment = os.environ | {UMASK: umask, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", MAKES], cwd=tmp_path, env=environment, check=True)
    assert (mode(tmp_path / "folder" / "file"), mode(tmp_path / "folder")) == (file, folder)
