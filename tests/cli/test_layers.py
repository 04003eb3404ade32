"""``cfcam layers`` of networks of volumes: noise of their size, a study's window, and maps of it."""

import json

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cfcam.cli.app import app
from tests import nnunet
from tests.jobs.world import NETWORKS

BRIGHT = f"{NETWORKS.with_name('volume_networks.py')}:bright"


def layers(*words):
    return CliRunner(env={"COLUMNS": "140"}).invoke(app, ["layers", *map(str, words)])


def shape(*words):
    found = layers(*words, "--json")
    assert found.exit_code == 0, found.output
    told = json.loads(found.stdout)
    return told["input_shape"], told["chosen"]


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("scans"), np.random.default_rng(0)
    for n in (0, 1):
        image = nib.Nifti1Image(rng.normal(100, 30, (15, 14, 9)).astype(np.float32), np.eye(4))
        nib.save(image, folder / f"scan_{n:04d}.nii.gz")
    return folder


def test_a_network_of_volumes_is_run_on_a_volume_of_noise(scans):
    assert shape(BRIGHT) == ([1, 1, 64, 64, 64], "features")
    assert shape(BRIGHT, "--size", "12x15x9") == ([1, 1, 12, 15, 9], "features")
    assert shape(BRIGHT, "--size", "9") == ([1, 1, 9, 9, 9], "features")
    assert shape(BRIGHT, "--image", scans / "scan_0000.nii.gz") == ([1, 1, 15, 14, 9], "features")
    assert "each part of the volume (3 x 3 x 3)" in layers(BRIGHT, "--size", "9").stdout
    two = ("--channels", ",".join(str(scans / f"scan_{n:04d}.nii.gz") for n in (0, 1)))
    assert shape(f"{BRIGHT}(channels=2)", *two)[0] == [1, 2, 15, 14, 9]


def test_a_network_of_nnunet_on_its_own_window(tmp_path, scans):
    pytest.importorskip("dynamic_network_architectures", reason="dynamic-network-architectures is not installed")
    spec = f"nnunet:{nnunet.folder(tmp_path / 'net')}"
    assert shape(spec) == ([1, 2, 8, 8, 8], "decoder.stages.0")
    assert shape(spec, "--size", "8x16x4")[0] == [1, 2, 8, 16, 4]
    assert shape(spec, "--image", scans / "scan_0000.nii.gz")[0] == [1, 2, 8, 8, 8]
    measured = layers(spec, "--measure", scans, "--picture", tmp_path / "layers.png")
    assert measured.exit_code == 0, measured.output
    assert "grad-cam ranked on 1 volume by" in measured.stdout  # its two files are one study
    assert Image.open(tmp_path / "layers.png").size[0] > 500
    one = layers(spec, "--image", scans / "scan_0001.nii.gz")
    assert "scan_0001 is channel 1 of a study: name scan_0000.nii.gz" in one.stderr
    refused = layers(spec, "--image", scans / "scan_0000.nii.gz", "--size", "8")
    assert "nnunet says itself how its volumes are prepared: leave --size out" in refused.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((BRIGHT, "--size", "8x8"), "size is (8, 8): it must be a positive whole number or three"),
        (("demo", "--size", "8x8x8"), "--size: the network takes pictures: give a number of pixels, or height and"),
        (("demo", "--image", "{scan}"), "is a volume, and the network takes pictures"),
        (("demo", "--channels", "{scan},{scan}"), "--channels: the network takes pictures, each of which is one file"),
        ((BRIGHT, "--channels", "{scan},{scan}", "--image", "{scan}"), "leave --image and --measure out"),
        (
            (BRIGHT, "--channels", "{scan},,{scan}"),
            "channel 1 has no name: give the file of each modality, with commas",
        ),
        ((BRIGHT, "--channels", "{scan},"), "channel 1 has no name: give the file of each modality"),
        ((BRIGHT, "--image", "{picture}"), "is a picture, and the network takes volumes"),
    ],
)
def test_what_does_not_fit_is_one_line(scans, tmp_path, words, told):
    Image.new("L", (9, 9)).save(tmp_path / "a.png")
    given = [str(word).format(scan=scans / "scan_0000.nii.gz", picture=tmp_path / "a.png") for word in words]
    found = layers(*given)
    assert found.exit_code != 0
    assert told in found.stderr.splitlines()[-1]
    assert found.stderr.count("error: ") == 1
