"""Wrong arguments are told before torch is imported, in the words that would be used later."""

from __future__ import annotations

import ast
import inspect
import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import cfcam
from cfcam.cli import command as commands
from cfcam.cli.app import app
from cfcam.cli.arguments import words
from cfcam.cli.check import Check
from cfcam.cli.command import Command, checks
from cfcam.cli.compare import Compare
from cfcam.cli.evaluate import Evaluate
from cfcam.cli.explain import SAVES, Explain
from cfcam.cli.options.volumes import INTENSITIES
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
    ("explain {picture} --mean 1,two", "--mean '1,two'"),
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
    ("explain {picture} --method tam", "tam maps the words that a network writes: cfcam explain PICTURE --prompt"),
    ("doctor {picture} --method tam", "tam maps the words that a network writes"),
    ("explain {picture} --prompt x --method all", "--method all is for networks that classify"),
    ("explain {picture} --prompt x -m torchvision:resnet18", "torchvision:resnet18 is asked to write, which demo and"),
    ("explain {picture} --prompt x -m demo-shortcut", "demo-shortcut is asked to write, which demo and hf:FOLDER"),
    ("explain {picture} --prompt x --target vs", "--target 'vs': give two different answers, as 'yes vs no'"),
    ("explain {picture} --format jpeg", "--format 'jpeg': jpg is meant: give one of png, jpg, webp, svg, pdf"),
    ("explain {picture} --format tiff", "--format 'tiff': give one of png, jpg, webp, svg, pdf"),
    ("explain {picture} --size 99999999", "--size '99999999': is more than a picture may have: give 64 megapixels"),
    ("explain {picture} --size 64001x1000", "--size '64001x1000': is more than a picture may have"),
    (f"explain {{picture}} --size {'9' * 5000}", "is more than a picture may have"),
    ("explain {picture} --size 1024x1024x513", "is more than a volume may have: give 536870912 voxels at most"),
    ("explain {picture} --max-size 8", "--max-size 8: give pixels of the longer side, 16 or more"),
    ("explain {picture} --palette infernal", "no palette is called 'infernal'"),
    ("explain {picture} --opacity 2", "opacity is 2.0"),
    ("explain {picture} --blend mix", "--blend 'mix': give value, uniform or contour"),
    ("explain {picture} --preset jet", "--preset 'jet': give seeds"),
    ("explain {picture} --preset seeds --palette jet", "--preset seeds says how maps are drawn"),
    ("explain {picture} --save everything", "--save 'everything'"),
    ("explain {picture} --labels nowhere.csv", "--labels nowhere.csv: no such file"),
    ("explain {picture} --labels .", "--labels .: is a folder"),
    ("explain {picture} --no-index --self-contained", "leave --no-index out"),
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
    ("explain x/*.png", "x/*.png: the pattern matches no file"),
    ("explain {picture} -m nets.py.txt:make", "is not a model spec"),
    ("explain {picture} -m {nets}:mak", "nets_.py has no factory 'mak': did you mean make?"),
    ("explain {picture} --head=", "--head ''"),
    ("explain {picture} --layer=", "--layer ''"),
    ("explain {picture} --classes=", "--classes ''"),
    ("explain {picture} --classes cat,dog --target dgo", "no class is called so; nearest of 2: 'dog'"),
    ("explain {picture} --size 0", "--size '0'"),
    ("explain {picture} --mean nan", "--mean 'nan'"),
    ("explain {picture} --std inf", "--std 'inf'"),
    ("explain {picture} --mean 0.1,0.2,0.3 --std 0.1,0.2", "--mean has 3 and --std 2 values"),
    ("explain {picture} --target=", "--target ''"),
    ("explain {picture} --target top-0", "--target 'top-0'"),
    ("explain {picture} --target=-1", "there is no class -1, they are counted from 0"),
    ("explain {picture} --method=", "--method ''"),
    ("explain {picture} --overlap 0.3", "give their size with --sliding"),
    ("explain {picture} --max-megapixels inf", "--max-megapixels inf"),
    ("explain {picture} -o {picture}", "a.png is a file: choose another --output folder"),
    ("explain {picture} -o {picture}/x", "a.png is a file: choose another --output folder"),
    ("explain {picture} --record mysql://host/db", "an audit cannot be kept in 'mysql'"),
    ("explain {picture} --record nowhere/a.sqlite", "there is no folder 'nowhere'"),
    ("explain {picture} --record .", "is a folder; give a file in it"),
    ("explain {picture} --uncertainty methods --samples 5", "--samples is for mc-dropout and augmentation"),
    ("explain {picture} --regions --threshold high", "threshold 'high'"),
    ("explain {picture} --regions --threshold quantile:2", "threshold 'quantile:2'"),
    ("explain {picture} --organ=", "--organ ''"),
    ("explain {picture} --organ nowhere.png", "--organ nowhere.png: no such file"),
    ("explain {picture} --artefacts nowhere.png#2", "--artefacts nowhere.png#2: no such file"),
    ("explain {picture} --findings nowhere.csv", "--findings nowhere.csv: no such file"),
    ("explain {picture} --organ masks/{{stem}}.png", "the pattern matches no file, whatever the picture"),
    ("evaluate demo --threshold 2", "--threshold 2"),
    ("evaluate demo --protocol mine", "--protocol 'mine': give cfcam-paper"),
    ("evaluate demo --protocol cfcam-paper --explain label", "leave --explain label out"),
    ("evaluate demo --metrics iou-tuned", "iou-tuned needs a threshold"),
    ("evaluate demo --methods=,", "--methods ','"),
    ("evaluate demo -o {picture}", "a.png is a file"),
    ("check {picture} --target all", "one class is looked at here"),
    ("check {picture} --target top-2", "one class is looked at here"),
    ("check {picture} --method all", "no method is called 'all'"),
    ("check {picture} --zone upper", "--zone 'upper': give NAME=MASKS"),
    ("check {picture} --zone upper={picture}", "--zone and --reported belong together"),
    ("check {picture} --reported upper", "--zone and --reported belong together"),
    ("check {picture} --zone upper={picture} --reported upper", "two zones or more"),
    ("check {picture} --zone u={picture} --zone u={picture} --reported u", "each name once"),
    ("check {picture} --zone u={picture} --zone l={picture} --reported m", "not among the zones u, l"),
    ("check {picture} --zone u={picture} --zone l={picture} --reported m.csv", "--reported m.csv: no such file"),
    ("check {picture} --zone u=nowhere.png --zone l={picture} --reported u", "--zone u: nowhere.png: no such file"),
    ("check {picture} -o .", "is a folder; give a file"),
    ("compare {picture}", "two studies are needed"),
    ("compare {picture} {picture} --pairs {picture}", "leave PRIOR and CURRENT out"),
    ("compare {picture} {picture} --registration elastic", "--registration 'elastic'"),
    ("compare {picture} {picture} --no-registration --registration affine", "leave --registration and --gate out"),
    ("compare {picture} {picture} --gate overlap", "gate 'overlap'"),
    ("compare {picture} {picture} --threshold 0", "--threshold 0"),
    ("compare {picture} {picture} --mask liver", "--mask 'liver': give NAME=FILE"),
    ("compare {picture} {picture} --mask liver=nowhere.nii", "--mask liver: nowhere.nii: no such file"),
    ("compare {picture} {picture} --target all", "one class is looked at here"),
    ("doctor {picture} --target=", "--target ''"),
    ("doctor {picture} --size 1x2x3x4", "--size '1x2x3x4'"),
    ("layers --picture x.png", "--picture and --limit are for --measure"),
    ("layers --measure {picture} --picture x.jpg", "let the name end in .png"),
    ("layers --measure {picture} --picture nowhere/x.png", "there is no folder nowhere"),
    ("layers --measure {picture} --image {picture}", "--image is for the list of layers"),
    ("evidence -m demo --data demo --organ {picture}", "the phantoms bring their masks"),
    ("evidence -m demo --data demo --protocol nowhere.json", "--protocol nowhere.json: no such file"),
    ("evidence -m demo --data demo --card {picture}", "is no JSON"),
    ("evidence -m demo --data demo --junit nowhere.xml", "--junit nowhere.xml: no such file"),
    ("evidence -m demo --data demo --record mysql://host/db", "an audit cannot be kept in 'mysql'"),
    ("evidence -m demo --data demo --deviation=", "--deviation ''"),
    ("evidence verify nowhere", "nowhere: has no MANIFEST.sha256"),
    ("evidence verify . --against 12", "has no MANIFEST.sha256"),
    ("calibrate nowhere.csv", "nowhere.csv: no such file"),
    ("calibrate {picture}", "a.png: give a column of logits for each class"),
    ("deidentify nowhere out", "does not exist"),
    ("deidentify . out", "the output lies in the folder to de-identify"),
    ("deidentify {picture} out --key .", "--key .: is a folder"),
    ("deidentify {picture} out --key nowhere/key", "there is no folder nowhere"),
    ("demo -o {picture}", "a.png is a file"),
]


def every(of=Command):
    """All commands there are."""
    for one in of.__subclasses__():
        if not inspect.isabstract(one) and one.__module__.startswith("cfcam."):
            yield one
        yield from every(one)


COMMANDS = sorted(set(every()), key=lambda command: (command.__module__, command.__name__))
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
    (folder / "nets_.py").write_text("def make(): ...")
    lines = [line.format(picture="a.png", nets="nets_.py").split() for line, _ in WRONG]
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


# What typer itself reads: whole numbers in their range, switches; and free texts.
_FREE = {"reported", "where", "since", "action", "last", "path", "context", "mean"}
_READ_BY_TYPER = {
    "num_classes",
    "series",
    "time",
    "samples",
    "limit",
    "batch_size",
    "seed",
    "retests",
    "gallery",
    "bins",
    "resamples",
    "port",
    "max_upload",
}


_FREE_OF = {  # texts of which none is wrong by itself, numbers that typer bounds, and what the command looks at itself
    "Assess": {"amend", "comment", "method", "target"},
    "Fhir": {"timeout"},
    "Evaluate": {"workers"},
    "Explain": {"most_tokens", "prompt", "workers"},
    "Gateway": {"explain", "words"},
    "Fetch": {"accession", "aet", "most", "password_env", "patient_id", "timeout", "token_env", "user"},
    "Send": {"aet", "password_env", "timeout", "token_env", "user"},
}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_every_argument_has_a_check(command):
    switches = {field.name for field in fields(command) if isinstance(field.default, bool)} | {
        "peak_stability",
        "index",
    }
    free = _FREE | ({"against"} if command.__module__ == "cfcam.cli.audit" else set())
    free |= _READ_BY_TYPER | _FREE_OF.get(command.__name__, set())
    checked = checks(command).keys()
    assert {field.name for field in fields(command)} - switches - (free - checked) == checked


@pytest.mark.parametrize(
    ("of", "files", "given", "error"),
    [
        ("organ", ["masks/a_lung.png"], "masks/{stem}_lung.png", None),
        ("organ", ["lungs.nii.gz"], "lungs.nii.gz#1,3", None),
        ("organ", ["b#1"], "b#1", None),
        ("organ", ["boxes.csv"], "boxes.csv", None),
        ("organ", ["masks/a.png"], "masks", None),
        ("organ", ["masks/a.png"], "masks/{stem}_heart.png", "matches no file"),
        ("zone", ["u.png", "l.png"], ["upper=u.png", "lower=l.png"], None),
        ("mask", ["u.png"], ["upper = u.png"], None),
        ("output", [], "new/folder/checks.json", None),
    ],
)
def test_what_lies_where_it_is_said_to_is_let_through(monkeypatch, tmp_path, of, files, given, error):
    monkeypatch.chdir(tmp_path)
    for file in map(Path, files):
        file.parent.mkdir(exist_ok=True)
        file.touch()
    command = Compare if of == "mask" else Check
    value = Path(given) if of == "output" else given
    if error is None:
        checks(command)[of](value)
    else:
        with pytest.raises(CfcamError, match=error):
            checks(command)[of](value)


@pytest.mark.parametrize(
    "source",
    ["from .other import make", "from nets import *", "make = object", "globals()['ma' + 'ke'] = 1",
     "def __getattr__(name): ...", "def ("],
)  # fmt: skip
def test_a_factory_that_may_be_there_is_looked_for_by_importing_it(tmp_path, source):
    (tmp_path / "nets.py").write_text(source)
    words.model(f"{tmp_path / 'nets.py'}:make")


@pytest.mark.parametrize("target", ["predicted", "all", "top-3", "Dog", "0", "output-1", "cat vs dog", "cat vs rest"])
def test_targets_that_classes_may_have(target):
    Explain(classes="cat,dog", target=[target])


@pytest.mark.parametrize(
    "given",
    [
        {"orientation": "RAS"}, {"orientation": "lps"}, {"orientation": "source"}, {"device": "cuda:1"},
        {"device": "auto"}, {"palette": "twilight"}, {"method": ["all", "cam"]}, {"classes": "a,b"}, {"size": "8x9x10"},
        {"std": "0.5"}, {"model": "timm:a"}, {"paths": [Path(f"{Path(__file__).parent}/*.py")]},
        {"record": "made/a.sqlite", "output": Path("made")},
    ],
)  # fmt: skip
def test_what_may_be_right_is_let_through(given):
    Explain(**given)


@pytest.mark.parametrize(
    "given", [{"methods": "cam, grad-cam"}, {"metrics": "quick,faithfulness"}, {"data": "demo"}, {"explained": None}]
)
def test_what_may_be_right_of_an_evaluation_is_let_through(given):
    Evaluate(**({"data": "demo"} | given))


def test_a_command_whose_arguments_cannot_be_right_cannot_be_made():
    with pytest.raises(CfcamError, match="--size 'big'"):
        Explain(size="big")


def test_the_words_known_without_imports_are_the_real_ones():
    from cfcam.imaging.drawing import formats
    from cfcam.imaging.volume_preprocess import VolumePreprocess
    from cfcam.jobs import Save

    assert tuple(Save) == SAVES
    assert (formats.FORMATS, formats.SMALLEST) == (words.PICTURE_FORMATS, words.SMALLEST_PICTURE)
    for intensity in INTENSITIES:
        VolumePreprocess(intensity=intensity)
    for codes in ("RAS", "LPI", "SPL"):
        VolumePreprocess(orientation=codes)
    for codes in ("RLA", "RA", "XYZ", "RASS"):
        with pytest.raises(CfcamError):
            VolumePreprocess(orientation=codes)
        with pytest.raises(CfcamError):
            words.orientation(codes)


@pytest.mark.parametrize(("command", "goes_on"), [("explain", True), ("layers", False)])
def test_ctrl_c_is_no_error(monkeypatch, tmp_path, command, goes_on):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    (tmp_path / "testimgs").mkdir()
    monkeypatch.setattr(commands, "checks", interrupt)
    result = CliRunner().invoke(app, [command])
    assert result.exit_code == 130
    assert result.stderr.startswith("interrupted: ")
    assert "error" not in result.stderr
    assert ("goes on where it stopped" in result.stderr) == goes_on


def test_the_command_a_run_and_a_study_explain_with_the_same_methods_unless_told_otherwise():
    from inspect import signature

    from cfcam.cli.explain import DEFAULT_METHODS
    from cfcam.jobs import Settings, StudyExplainer, explain_study

    of_a_run = Settings.__dataclass_fields__["methods"].default
    of_studies = {signature(door).parameters["methods"].default for door in (explain_study, StudyExplainer)}
    assert {DEFAULT_METHODS, of_a_run} | of_studies == {DEFAULT_METHODS}


@pytest.mark.parametrize(
    "line", ["audit verify {}", "{}", "audit {}", "explain a.png --batch-size {}", "audit log --from {}"]
)
def test_what_is_said_of_an_argument_repeats_no_password(line):
    result = CliRunner().invoke(app, line.format("postgresql://u:geheim@host:5/x?password=geheim").split())
    assert result.exit_code == 2
    assert "geheim" not in result.output


_OF_OTHERS = {"--junit-xml", "--shortcut", "--help", "--version"}  # pytest's, that of cfcam.models.demo.train, typer's


def test_every_option_that_a_text_of_the_library_names_is_there():
    named = dict.fromkeys(_OF_OTHERS, "")
    for command in _all_commands():
        named |= dict.fromkeys(option for one in command.params for option in (*one.opts, *one.secondary_opts))
    for file in sorted(Path(cfcam.__file__).parent.rglob("*.py")):
        nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        for text in (node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)):
            for option in re.findall(r"(?<![\w-])--[a-z]+(?:-[a-z]+)*", text):
                assert option in named, f"{file}: {text[:80]!r} names {option}"


def _all_commands(group=None):
    group = group or typer.main.get_command(app)
    for command in group.commands.values():
        yield command
        if hasattr(command, "commands"):
            yield from _all_commands(command)
