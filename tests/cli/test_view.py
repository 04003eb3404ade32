"""``cfcam view`` up to where the server begins: what is refused, what it teaches, what it prints."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys

import httpx
import pytest
from typer.testing import CliRunner

from cfcam.cli import view
from cfcam.cli.app import app
from cfcam.cli.arguments.words import DEMO_CLASSES
from cfcam.errors import ImageError
from cfcam.imaging import list_images
from cfcam.jobs import find_inputs
from cfcam.jobs.engine.inference import DEFAULT_METHODS
from cfcam.models.demo import CLASSES
from cfcam.web import settings
from tests.jobs.world import draw
from tests.waiting import PATIENCE


def call(*arguments: object):
    return CliRunner(env={"COLUMNS": "160"}).invoke(app, ["view", *map(str, arguments)])


def test_what_the_command_knows_without_the_server_is_what_the_server_knows():
    assert view.METHODS == settings.METHODS == DEFAULT_METHODS
    assert view._LOOPBACK == settings.LOOPBACK
    assert DEMO_CLASSES == CLASSES


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
        (["--target", "nosuch"], "no class is called so; nearest of 4"),
        (["testimgs", "--model", "demo", "--target", "nosuch"], "no class is called so; nearest of 4"),
        (["--channels", "nowhere.nii"], "channel 0 is missing: there is no nowhere.nii"),
        (["testimgs", "--channels", "testimgs/nodule.png"], "leave --channel and further paths out"),
        (["--record", "testimgs/nodule.png"], "--record testimgs/nodule.png: is no audit; give one, or"),
        (["--record", "nowhere/answers.sqlite"], "there is no folder 'nowhere'; make it first"),
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


def test_what_is_no_audit_behind_its_first_bytes_is_refused_before_anything_is_served(tmp_path):
    with sqlite3.connect(tmp_path / "other.sqlite") as other:
        other.execute("CREATE TABLE audit_migration (version_num TEXT)")
        other.execute("INSERT INTO audit_migration VALUES ('9999')")
    other.close()
    result = call("testimgs", "--record", tmp_path / "other.sqlite")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "other.sqlite" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "net3.py",
            "net3.py: is a text file; cfcam reads PNG, JPEG, TIFF, BMP, WebP and GIF, DICOM, NIfTI and what cfcam",
        ),
        ("empty", "empty: the folder holds no picture; name one with"),
    ],
)
def test_what_is_nothing_to_look_at_is_refused_in_one_line(tmp_path, monkeypatch, name, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net3.py").write_text("import torch\n")
    (tmp_path / "empty").mkdir()
    result = call(name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert told in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert "recursive=True" not in result.stderr


def test_a_command_names_its_own_option_for_subfolders(tmp_path):
    assert "or take its subfolders too (--recursive)" in call(tmp_path).stderr
    with pytest.raises(ImageError, match=r"take its subfolders too \(recursive=True\)"):
        list_images(tmp_path)
    with pytest.raises(ImageError, match=r"take its subfolders too \(recursive=True\)"):
        find_inputs([tmp_path], output="")


@pytest.mark.parametrize("words", [("layers", "demo", "--measure"), ("doctor", "--model", "demo")])
def test_a_command_without_such_an_option_says_how_subfolders_are_named(tmp_path, words):
    (tmp_path / "ward").mkdir()
    said = CliRunner().invoke(app, [*words, str(tmp_path)]).stderr
    assert "or take its subfolders too (name them: FOLDER/*)" in said
    draw(tmp_path / "ward" / "a.png")
    found = CliRunner().invoke(app, [*words, str(tmp_path / "*")])
    assert found.exit_code != 2, found.stderr


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
        with httpx.Client(follow_redirects=True, timeout=PATIENCE) as client:
            assert client.get(address).status_code == 200
            base = address.split("/?")[0]
            listed = client.get(f"{base}/api/studies").json()
            assert listed["total"] == 6
            assert client.get(f"{base}/api/studies/{listed['studies'][0]['id']}/picture.png").status_code == 200
            assert httpx.get(f"{base}/api/studies", timeout=PATIENCE).status_code == 401
        run.send_signal(signal.SIGINT)
        out, told = run.communicate(timeout=PATIENCE)
        assert run.returncode == 0
        assert out == ""
        assert address.partition("token=")[2] not in told  # no log of addresses
