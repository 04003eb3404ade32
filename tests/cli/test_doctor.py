import json

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from cfcam.cli.app import app
from cfcam.models.demo import EXAMPLES, make_phantom
from tests import nnunet
from tests.jobs.world import NETWORKS, draw


def doctor(*arguments):
    return CliRunner(env={"COLUMNS": "140"}).invoke(app, ["doctor", *(str(a) for a in arguments)])


def found(*arguments):
    return json.loads(doctor(*arguments, "--json").stdout)


def by_check(told, check):
    (finding,) = [f for f in told["findings"] if f["check"] == check]
    return finding


@pytest.fixture
def chest(tmp_path):
    paths = []
    for name in ("nodule", "effusion"):
        paths.append(tmp_path / f"{name}.png")
        Image.fromarray(make_phantom(**EXAMPLES[name]).image).save(paths[-1])
    return paths


def test_the_demo_network_has_no_problem_with_and_without_pictures(chest):
    for pictures in ([], chest):
        result = doctor(*pictures)
        assert result.exit_code == 0, result.stdout + result.stderr
        assert "problem" not in result.stdout
        assert "layer4" in result.stdout
    assert found()["synthetic"] is True
    told = found(chest[0].parent)
    assert told["input_shape"] == [2, 3, 224, 224]
    assert by_check(told, "normalisation")["severity"] == "ok"


def test_the_wrong_normalisation_is_a_warning_that_names_the_right_one(chest):
    result = doctor(*chest, "--mean", "0", "--std", "1")
    assert result.exit_code == 0
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("warning")]
    assert "normalisation" in line
    assert "-> --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225" in result.stdout


def test_pixels_from_0_to_255_are_a_problem(chest):
    told = doctor(*chest, "--mean", "0", "--std", "0.00392")
    assert told.exit_code == 1
    assert "0 to 255" in told.stdout


@pytest.mark.parametrize(
    ("arguments", "check", "words"),
    [
        (["-m", f"{NETWORKS}:flat", "--size", "32"], "layer", "spatial extent"),
        (["-m", f"{NETWORKS}:flat", "--size", "48"], "run", "(1, 3, 48, 48)"),
        (["-m", f"{NETWORKS}:broken_weights", "--size", "32"], "weights", "features.weight"),
        (["-m", f"{NETWORKS}:brightness", "--size", "32", "--target", "2"], "target", "0 to 1"),
        (["-m", f"{NETWORKS}:brightness", "--size", "32", "--classes", "a,b,c"], "classes", "3 class names"),
        (["-m", f"{NETWORKS}:brightness", "--size", "32", "--layer", "tail"], "layer", "tail"),
    ],
)
def test_a_problem_is_told_and_is_the_exit_code(arguments, check, words):
    result = doctor(*arguments)
    assert result.exit_code == 1
    text = " ".join(result.stdout.split())
    assert f"problem {check}: " in text
    assert words in text
    assert result.stdout.index("problem") < result.stdout.index("ok ")


def test_the_size_that_it_advises_works():
    told = found("-m", f"{NETWORKS}:flat")
    option, size = by_check(told, "run")["advice"].split()
    assert (option, size) == ("--size", "32")
    after = found("-m", f"{NETWORKS}:flat", option, size)
    assert after["input_shape"] == [1, 3, 32, 32]
    assert not [f for f in after["findings"] if f["check"] == "run"]


def test_no_evidence_on_a_picture_is_explained(tmp_path):
    picture = draw(tmp_path / "a.png")
    arguments = ["-m", f"{NETWORKS}:brightness", "--size", "32", "--mean", "0", "--std", "1", "--target", "1"]
    told = found(picture, *arguments)
    evidence = by_check(told, "evidence")
    assert evidence["severity"] == "warning"
    assert "0 of 4 channels speak for the class" in evidence["means"]
    assert doctor(picture, *arguments).exit_code == 0


def test_a_volume_is_read_for_a_network_of_volumes(tmp_path):
    nib = pytest.importorskip("nibabel")
    network = tmp_path / "net.py"
    network.write_text(
        "from torch import nn\n"
        "def net():\n"
        "    return nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(),"
        " nn.Linear(4, 2))\n"
    )
    voxels = np.random.default_rng(0).normal(size=(12, 14, 16)).astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "scan.nii.gz")
    told = found(tmp_path / "scan.nii.gz", "-m", f"{network}:net")
    assert told["input_shape"] == [1, 1, 12, 14, 16]
    assert told["ok"]
    assert found("-m", f"{network}:net")["input_shape"] == [1, 1, 64, 64, 64]


def test_notes_on_the_network_are_shown(tmp_path):
    network = tmp_path / "net.py"
    network.write_text(
        "from torch import nn\n"
        "def net():\n"
        "    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),"
        " nn.Linear(4, 2))\n"
    )
    result = doctor("-m", f"{network}:net", "--num-classes", "5", "--size", "32")
    assert "randomly initialised" in result.stdout
    assert found("-m", f"{network}:net", "--num-classes", "5", "--size", "32")["notes"]


def test_a_file_that_is_no_network_is_wrong_usage(tmp_path):
    result = doctor("-m", f"{tmp_path}/none.py:net")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")


def test_nothing_is_left_behind_in_the_random_state(chest):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    doctor(*chest)
    assert torch.equal(torch.get_rng_state(), before)


def test_sizes_that_run_are_told_with_and_without_pictures(tmp_path):
    network = tmp_path / "net.py"
    network.write_text(
        "from torch import nn\n"
        "def flat():\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 8, stride=8), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 12 * 12, 2))\n"
        "def pooled():\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 8, stride=8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),"
        " nn.Linear(4, 2))\n"
    )
    picture = draw(tmp_path / "a.png")
    for pictures in ([], [picture]):
        run = by_check(found(*pictures, "-m", f"{network}:flat"), "run")
        assert "it runs on 96 x 96 only, of the usual sizes" in run["means"]
        assert run["advice"] == "--size 96"
        size = by_check(found(*pictures, "-m", f"{network}:pooled"), "size")
        assert "it runs at any size; at which it was trained nobody states, and 224 x 224 is assumed" in size["seen"]
        given = by_check(found(*pictures, "-m", f"{network}:pooled", "--size", "64"), "size")
        assert "64 x 64" in given["seen"]
        assert "assumed" not in given["seen"]
    resizing = by_check(found(picture, "-m", f"{network}:pooled"), "resizing")
    assert "that cannot be told from these pictures" in resizing["means"]
    checks = [f["check"] for f in found(picture, "-m", f"{network}:pooled", "--resize", "pad")["findings"]]
    assert "resizing" not in checks


def test_the_size_that_batch_norms_leave_out_is_told_of_a_folder(tmp_path):
    pictures = tmp_path / "in"
    pictures.mkdir()
    for n in range(10):
        grain = np.random.default_rng(n).integers(0, 255, (120, 160)).astype(np.uint8)
        Image.fromarray(grain).save(pictures / f"{n}.png")
    network = tmp_path / "net.py"
    network.write_text(
        "import torch\nfrom torch import nn\n"
        "from cfcam.imaging import Preprocess, read_image\n"
        "def net():\n"
        "    net = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8, momentum=None), nn.ReLU(),"
        " nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))\n"
        "    how = Preprocess(size=64)\n"
        f"    net(torch.stack([how(read_image(f'{pictures}/{{n}}.png')) for n in range(10)]))\n"
        "    return net.eval()\n"
    )
    told = found(pictures, "-m", f"{network}:net")
    size = by_check(told, "size")
    assert size["severity"] == "warning"
    assert size["values"]["fits"] == [[64, 64]]
    assert size["advice"] == "--size 64, if that is how it was trained"
    assert told["ok"]


def test_a_network_of_volumes_is_examined_on_noise_of_any_size_or_on_a_study(tmp_path):
    model = f"{NETWORKS.with_name('volume_networks.py')}:bright"
    assert found("-m", model)["input_shape"] == [1, 1, 64, 64, 64]
    assert found("-m", model, "--size", "6x9x12")["input_shape"] == [1, 1, 6, 9, 12]
    files = [tmp_path / f"scan_{n:04d}.nii.gz" for n in (0, 1)]
    for file in files:
        nib.save(nib.Nifti1Image(np.random.default_rng(0).normal(size=(9, 12, 6)).astype(np.float32), np.eye(4)), file)
    told = found(files[0], "-m", model, "--size", "6x6x9")
    assert told["input_shape"] == [1, 1, 6, 6, 9]
    assert "--intensity, --spacing, --orientation, --size" in by_check(told, "preparation")["advice"]
    two = found("-m", f"{model}(channels=2)", "--channels", ",".join(map(str, files)))
    assert two["input_shape"] == [1, 2, 9, 12, 6]
    several = doctor(*files, "-m", model)
    assert "note: of several volumes the first is looked at" in several.stderr
    assert "takes pictures: give one that takes volumes" in doctor(files[0]).stderr


def test_a_network_that_says_how_it_is_prepared_is_given_no_other_advice(tmp_path):
    pytest.importorskip("dynamic_network_architectures", reason="dynamic-network-architectures is not installed")
    told = found("-m", f"nnunet:{nnunet.folder(tmp_path / 'net')}")
    assert told["input_shape"] == [1, 2, 8, 8, 8]
    advice = " ".join(finding["advice"] for finding in told["findings"])
    assert "nothing can be given here: nnunet says how it is prepared" in advice
    assert not any(option in advice for option in ("--size", "--mean", "--std", "--num-classes"))
