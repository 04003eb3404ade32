"""Who may read what: records and keys their owner alone, and all that the command line makes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest

from cfcam.exchange.deidentify.key import kept_key
from cfcam.private import UMASK, exposed, make_private

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
    assert exposed(key) == ""
    for readable in (0o640, 0o604):
        key.chmod(readable)
        assert exposed(key).startswith("secret.key: others than you may read it")
        assert exposed(key).endswith("chmod 600 secret.key")
    assert exposed(tmp_path / "none") == ""


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
