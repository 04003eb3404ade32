"""``cfcam send``: what it says and how it ends; no password anywhere."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from cfcam.cli.app import app
from tests.exchange import sources
from tests.exchange.pacs import nodes
from tests.waiting import free_port

PLANTED = "planted-0451-secret"


def cfcam(*arguments, **environment):
    return CliRunner(env={"COLUMNS": "160", **environment}).invoke(app, [str(one) for one in arguments])


@pytest.fixture
def folder(tmp_path):
    """Four slices in a sub-folder, a text beside them, and one broken file."""
    (tmp_path / "study" / "slices").mkdir(parents=True)
    for number, dataset in enumerate(sources.sources("CT")):
        dataset.save_as(tmp_path / "study" / "slices" / f"{number}.dcm", enforce_file_format=True)
    (tmp_path / "study" / "notes.txt").write_text("no picture")
    (tmp_path / "study" / "Jane Doe.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"broken" * 9)
    return tmp_path / "study"


@pytest.mark.parametrize("how", ["dicom", "web"])
def test_a_folder_is_sent_the_broken_file_is_told_and_the_same_command_goes_on(orthanc, folder, how):
    place = getattr(orthanc, how)
    first = cfcam("send", folder, place)
    assert first.exit_code == 1
    assert "4 stored, 1 refused in" in first.stdout
    assert f"-> {place}" in first.stdout
    assert "failed: object 1 of 5: " in first.stderr
    assert "1 file is no DICOM" in first.stderr
    assert "Jane" not in first.output
    assert len(orthanc.instances()) == 4
    (folder / "Jane Doe.dcm").unlink()
    second = cfcam("send", folder, place)
    assert second.exit_code == 0, second.stderr
    assert "4 already there in" in second.stdout
    again = cfcam("send", folder, place, "--again", "--quiet")
    assert (again.exit_code, again.stdout) == (0, "")


def test_json_says_what_became_of_each(orthanc, folder):
    result = cfcam("send", folder, orthanc.web, "--json")
    told = json.loads(result.stdout)
    assert (told["stored"], told["refused"], told["others"], result.exit_code) == (4, 1, 1, 1)
    assert [one["outcome"] for one in told["objects"]] == ["refused", "stored", "stored", "stored", "stored"]


def test_a_place_that_is_down_says_to_give_the_command_again(folder):
    (folder / "Jane Doe.dcm").unlink()
    result = cfcam("send", folder, f"dicom://A@127.0.0.1:{free_port()}")
    assert result.exit_code == 1
    assert "4 to be tried again" in result.stdout
    assert "cannot be reached (Connection refused) (4 objects)" in result.stderr
    assert "give the same command again later" in result.stderr


@pytest.mark.parametrize("place", ["dicom://A@send.invalid:104", "http://send.invalid:80/x", "http://a..b:80/x"])
def test_a_name_that_no_machine_has_is_told_and_all_is_to_be_tried_again(folder, place):
    (folder / "Jane Doe.dcm").unlink()
    result = cfcam("send", folder, place)
    assert result.exit_code == 1
    assert "4 to be tried again" in result.stdout
    assert f"failed: {place}: no machine has this name: check it (4 objects)" in result.stderr


def test_a_folder_without_dicom_says_what_writes_some(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    result = cfcam("send", tmp_path, "dicom://A@127.0.0.1:9")
    assert result.exit_code == 1
    assert "error: there is no DICOM object" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["{folder}", "pacs:104"], "no place is called 'pacs:104': give dicom://CALLED@host:port"),
        (["{folder}", f"http://me:{PLANTED}@pacs/x"], "does not belong into an address"),
        (["{folder}/gone", "dicom://A@b"], "path 1 of 1 to send: no such file or folder"),
        (["{folder}", "dicom://A@b", "--password-env", "NOT_SET"], "the environment variable NOT_SET is not set"),
        (["{folder}", "dicom://A@b", "--password-env", "SECRET"], "a password is given without its user"),
        (["{folder}", "dicom://A@b", "--token-env", "SECRET", "--user", "me"], "not both"),
        (
            ["{folder}", "dicom://A@b", "--token-env", "SECRET", "--token-file", "{folder}/notes.txt"],
            "give one of them",
        ),
        (["{folder}", "https://b/x", "--user", "me"], "--user is given without a password: give it with"),
        (["{folder}", "dicom://A@b", "--ca", "{folder}/gone.pem"], "no such file"),
        (["{folder}", "dicom://A@b", "--aet", "SEVENTEENLETTERSX"], "the calling AE title is 'SEVENTEENLETTERSX'"),
    ],
)
def test_wrong_arguments_are_one_line_and_nobody_is_asked(folder, arguments, told):
    result = cfcam("send", *(one.format(folder=folder) for one in arguments), SECRET=PLANTED)
    assert result.exit_code == 2
    assert told in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert PLANTED not in result.output


def test_wrong_arguments_fail_before_anything_heavy_is_imported(folder):
    code = (
        "import sys\nfrom cfcam.cli import main\nsys.argv = ['cfcam', 'send', sys.argv[1], 'nowhere']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 2\n"
        "heavy = {'torch', 'numpy', 'pydicom', 'pynetdicom', 'requests'} & sys.modules.keys()\nassert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("status", [401, 500])
@pytest.mark.parametrize("how", ["password-env", "password-file", "token-env", "token-file"])
def test_a_password_reaches_the_server_and_nothing_else(folder, tmp_path, how, status, caplog):
    caplog.set_level("DEBUG")
    (tmp_path / "secret").write_text(f"{PLANTED}\n")
    source = "SECRET" if how.endswith("env") else tmp_path / "secret"
    user = ["--user", "me"] if how.startswith("password") else []
    with nodes.server((status, {}, b"")) as (place, told):
        result = cfcam("send", folder, place, f"--{how}", source, *user, "--debug", "--again", SECRET=PLANTED)
    assert result.exit_code == 1
    headers = {request[2]["Authorization"] for request in told.requests}
    expected = "Basic bWU6cGxhbnRlZC0wNDUxLXNlY3JldA==" if user else f"Bearer {PLANTED}"  # base64 of me:planted-…
    assert headers == {expected}
    everything = result.output + caplog.text + str(result.exception)
    assert PLANTED not in everything
    assert "bWU6" not in everything


def test_a_password_is_in_no_traceback_whatever_fails(folder, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("planned")

    monkeypatch.setattr("requests.Session.request", fail)
    result = cfcam(
        "send", folder, "http://127.0.0.1:9/x", "--user", "me", "--password-env", "SECRET", "--debug", SECRET=PLANTED
    )
    assert "Traceback" in result.stderr
    assert PLANTED not in result.output


def test_what_is_not_encrypted_is_said_of_another_machine_but_not_of_this_one(folder, monkeypatch):
    monkeypatch.setattr("cfcam.exchange.pacs.sending.c_store", lambda *_: iter(()))
    far = cfcam("send", folder, "dicom://A@pacs.invalid", "--again")
    assert "is not encrypted" in far.stderr
    assert "is not encrypted" not in cfcam("send", folder, "dicom://A@127.0.0.1:9", "--again").stderr
    assert "is not encrypted" not in cfcam("send", folder, "dicoms://A@pacs.invalid", "--again").stderr


def test_the_help_teaches_and_says_how_a_password_is_given():
    text = cfcam("send", "--help").stdout
    assert "cfcam send maps/ dicom://ARCHIVE@pacs.hospital:11112" in text
    assert "as an argument others could see it" in text
    assert "Exit codes" in text
