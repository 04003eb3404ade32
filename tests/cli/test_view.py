"""``cfcam view`` up to where the server begins: what is refused, what it teaches, what it prints."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import httpx
import pytest
from typer.testing import CliRunner

from cfcam.cli import view
from cfcam.cli.app import app
from cfcam.jobs.engine.inference import DEFAULT_METHODS
from cfcam.web import settings


def call(*arguments: object):
    return CliRunner(env={"COLUMNS": "160"}).invoke(app, ["view", *map(str, arguments)])


def test_what_the_command_knows_without_the_server_is_what_the_server_knows():
    assert view.METHODS == settings.METHODS == DEFAULT_METHODS
    assert view._LOOPBACK == settings.LOOPBACK


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere"], "no such file or folder"),
        (["--method", "nope"], "no method is called 'nope'"),
        (["--target", "-1"], "they are counted from 0"),
        (["--host", "a b"], "give a name or an address"),
        (["--max-megapixels", "0"], "--max-megapixels"),
        (["--classes", "cat,dog", "--target", "cow"], "no class is called so"),
        (["--weights", "nowhere.pt"], "nowhere.pt"),
        (["--reviewer", "a^b"], "--reviewer"),
    ],
)
def test_wrong_arguments_are_told_in_one_line_before_torch_is_imported(arguments, told):
    code = (
        "import sys; from cfcam.cli.app import app\n"
        "try: app()\n"
        "finally: print('torch' in sys.modules or 'fastapi' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code, "view", *arguments], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout.strip()) == (2, "False")
    assert told in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1


def test_without_the_libraries_of_the_server_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(view, "_LIBRARIES", ("fastapi_that_is_not_there",))
    result = call(tmp_path)
    assert result.exit_code == 2
    assert "pip install 'cfcam[view]'" in result.stderr


def test_the_help_teaches():
    shown = call("--help").stdout
    for words in ("cfcam view scans/ -m networks.py:my_net", "--model", "--record", "--open", "Ctrl+C ends it"):
        assert words in shown


def test_it_prints_its_address_with_the_token_serves_and_ends_when_it_is_interrupted():
    command = [sys.executable, "-m", "cfcam.cli", "view", "testimgs"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"}
    ) as run:
        address = run.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:")
        with httpx.Client(follow_redirects=True) as client:
            assert client.get(address).status_code == 200
            base = address.split("/?")[0]
            listed = client.get(f"{base}/api/studies").json()
            assert listed["total"] == 6
            assert client.get(f"{base}/api/studies/{listed['studies'][0]['id']}/picture.png").status_code == 200
            assert httpx.get(f"{base}/api/studies").status_code == 401
        run.send_signal(signal.SIGINT)
        out, told = run.communicate(timeout=20)
        assert run.returncode == 0
        assert out == ""
        assert address.partition("token=")[2] not in told  # no log of addresses
