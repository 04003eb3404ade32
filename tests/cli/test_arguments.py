"""Wrong arguments are told before torch is imported, in the words that would be used later."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cfcam.cli import arguments, options, volumes
from cfcam.cli.app import app
from cfcam.errors import CfcamError

WRONG = [
    ("explain nowhere.png", "nowhere.png: no such file or folder"),
    ("explain {picture} -m nets.py:make", "the model file nets.py does not exist"),
    ("explain {picture} -m resnet50", "'resnet50' is not a model spec"),
    ("explain {picture} -m hf:./nowhere", "nowhere does not exist"),
    ("explain {picture} --weights best.pt", "the weights file best.pt does not exist"),
    ("explain {picture} --classes names.txt", "class names names.txt does not exist"),
    ("explain {picture} --classes a,a", "each class a name of its own"),
    ("explain {picture} --size big", "--size 'big'"),
    ("explain {picture} --resize squash", "--resize 'squash'"),
    ("explain {picture} --mean 1,2", "--mean '1,2'"),
    ("explain {picture} --std 0", "--std '0'"),
    ("explain {picture} --device gpu", "--device 'gpu'"),
    ("explain {picture} --window wide", "--window 'wide'"),
    ("explain {picture} --spacing 1x2", "--spacing '1x2'"),
    ("explain {picture} --orientation RLA", "--orientation 'RLA'"),
    ("explain {picture} --intensity loud", "--intensity 'loud'"),
    ("explain {picture} --sliding 0", "--sliding '0'"),
    ("explain {picture} --overlap 1", "--overlap 1"),
    ("explain {picture} --aggregate median", "--aggregate 'median'"),
    ("explain {picture} --irregular guess", "--irregular 'guess'"),
    ("explain {picture} --channel red", "--channel 'red'"),
    ("explain {picture} --method gradcamm", "no method is called 'gradcamm'; nearest: grad-cam"),
    ("explain {picture} --palette infernal", "no palette is called 'infernal'"),
    ("explain {picture} --opacity 2", "opacity is 2.0"),
    ("explain {picture} --save everything", "--save 'everything'"),
    ("explain {picture} --max-megapixels 0", "--max-megapixels 0"),
    ("explain {picture} --dicom xyz", "--dicom 'xyz'"),
    ("explain {picture} --report docx", "--report 'docx'"),
    ("explain {picture} --uncertainty guess", "--uncertainty 'guess'"),
    ("explain {picture} --report html --organ {picture} --limits nowhere.json", "nowhere.json"),
    ("explain {picture} --samples 4", "--threshold, --samples"),
    ("evaluate nowhere -m demo", "nowhere: no such file or folder"),
    ("evaluate demo --metrics beauty", "no metric is called 'beauty'"),
    ("evaluate demo --methods cam,gradcamm", "no method is called 'gradcamm'"),
    ("evaluate demo --explain me", "--explain 'me'"),
    ("check nowhere.png", "nowhere.png: no such file or folder"),
    ("check {picture} --method gradcamm", "no method is called 'gradcamm'"),
    ("check {picture} --limits nowhere.json", "nowhere.json"),
    ("compare nowhere.png {picture}", "nowhere.png: no such file or folder"),
    ("compare --pairs nowhere.csv", "--pairs nowhere.csv: no such file"),
    ("doctor nowhere.png", "nowhere.png: no such file or folder"),
    ("doctor {picture} -m resnet50", "'resnet50' is not a model spec"),
    ("layers resnet50", "'resnet50' is not a model spec"),
    ("layers -m resnet50", "'resnet50' is not a model spec"),
    ("layers demo -m demo-shortcut", "two networks are named"),
    ("layers --method cam", "--method is for --measure"),
    ("layers --measure nowhere", "nowhere: no such file or folder"),
    ("evidence -m demo", "give the network with --model and the data with --data"),
    ("evidence -m demo --data nowhere", "nowhere: no such file or folder"),
]
SCRIPT = """
import json, sys
from typer.testing import CliRunner
from cfcam.cli.app import app
told = []
for line in json.load(sys.stdin):
    result = CliRunner().invoke(app, line)
    told.append([result.exit_code, result.stderr, "torch" in sys.modules or "numpy" in sys.modules])
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What each of the command lines says, in a process that has imported nothing."""
    folder = tmp_path_factory.mktemp("arguments")
    (folder / "a.png").write_bytes(b"no picture, which is not looked at")
    lines = [line.format(picture="a.png").split() for line, _ in WRONG]
    # matplotlib, asked for the nearest palette, brings numpy: that line comes last
    order = sorted(range(len(lines)), key=lambda n: "--palette" in lines[n])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=json.dumps([lines[n] for n in order]), cwd=folder, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    return dict(zip((WRONG[n][0] for n in order), json.loads(done.stdout), strict=True))


@pytest.mark.parametrize(("line", "words"), WRONG)
def test_a_wrong_argument_is_one_line_before_torch(told, line, words):
    code, said, heavy = told[line]
    (only,) = said.splitlines()
    assert only.startswith("error: ")
    assert words in only
    assert code == 2
    assert not heavy or "--palette" in line


def test_every_check_is_of_a_parameter_that_some_command_has():
    import typer

    parameters = set()
    for command in typer.main.get_command(app).commands.values():
        several = getattr(command, "commands", {})
        parameters |= {p.name for one in (command, *several.values()) for p in one.params}
    assert set(arguments._CHECKS) <= parameters


@pytest.mark.parametrize(
    "given",
    [
        {"orientation": "RAS"}, {"orientation": "lps"}, {"orientation": "source"}, {"device": "cuda:1"},
        {"device": "auto"}, {"palette": "twilight"}, {"method": ["all", "cam"]}, {"methods": "cam, grad-cam"},
        {"metrics": "quick,faithfulness"}, {"classes": "a,b"}, {"size": "8x9x10"}, {"std": "0.5"}, {"model": "timm:a"},
        {"paths": [Path("*.png")]}, {"data": "demo"}, {"explained": None}, {"unheard of": object()},
    ],
)  # fmt: skip
def test_what_may_be_right_is_let_through(given):
    arguments.check(given)


def test_the_words_known_without_imports_are_the_real_ones():
    from cfcam.imaging.volume_preprocess import VolumePreprocess
    from cfcam.jobs import Save

    assert tuple(Save) == options.SAVES
    for intensity in volumes.INTENSITIES:
        VolumePreprocess(intensity=intensity)
    for codes in ("RAS", "LPI", "SPL"):
        VolumePreprocess(orientation=codes)
    for codes in ("RLA", "RA", "XYZ", "RASS"):
        with pytest.raises(CfcamError):
            VolumePreprocess(orientation=codes)
        with pytest.raises(CfcamError):
            arguments.check({"orientation": codes})


@pytest.mark.parametrize(("command", "goes_on"), [("explain", True), ("layers", False)])
def test_ctrl_c_is_no_error(monkeypatch, tmp_path, command, goes_on):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    (tmp_path / "testimgs").mkdir()
    monkeypatch.setattr(arguments, "check", interrupt)
    result = CliRunner().invoke(app, [command])
    assert result.exit_code == 130
    assert result.stderr.startswith("interrupted: ")
    assert "error" not in result.stderr
    assert ("goes on where it stopped" in result.stderr) == goes_on
