"""Volumes from file to map: NIfTI and DICOM series in, maps on the source grid, figures and a manifest out."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch.nn.functional as F
from typer.testing import CliRunner

from cfcam.cli.app import app
from cfcam.cli.options import volumes as volume_options
from cfcam.errors import CfcamError, ImageError, InputError
from cfcam.explanation import Explanation
from cfcam.imaging import WINDOWS, Preprocess, VolumePreprocess, read_volume
from cfcam.jobs import (
    JobError,
    Kind,
    Save,
    Settings,
    VolumeRun,
    VolumeSettings,
    Windows,
    find_inputs,
    is_volume_run,
    volume_preprocess_of,
)
from cfcam.models import load
from tests.imaging.dicoms import AXIAL, PLANTED, ct, ct_series, enhanced, phantom, positions, radiograph, save
from tests.imaging.grids import affine_of
from tests.jobs.volume_networks import bright
from tests.jobs.world import NETWORKS as FLAT_NETWORKS
from tests.jobs.world import draw, lines, pixels, written

NETWORKS = str(FLAT_NETWORKS).replace("user_networks", "volume_networks")
SHAPE = (12, 15, 18)
MARKER = (4, 10, 13)  # the middle of a block of the network
UNIT = VolumePreprocess(intensity="unit")


def marked(marker=MARKER, shape=SHAPE):
    """Dim noise with a bright block of 3 x 3 x 3 around a voxel."""
    voxels = np.random.default_rng(1).integers(0, 60, shape).astype(np.int16)
    voxels[tuple(slice(at - 1, at + 2) for at in marker)] = 900
    return voxels


def scan(path, codes="RAS", voxels=None, **affine):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(marked() if voxels is None else voxels, affine_of(codes, **affine)), path)
    return path


def run(paths, output, network="bright", *, volumes=None, recursive=False, **settings):
    settings = {"methods": ("grad-cam",), "preprocess": UNIT} | settings
    model = load(f"{NETWORKS}:{network}", classes=("bright", "dark"))
    inputs = find_inputs(paths if isinstance(paths, list) else [paths], output=output, recursive=recursive)
    return VolumeRun(model, inputs, Settings(output=output, **settings), volumes)


def cfcam(*arguments):
    return CliRunner(env={"COLUMNS": "140"}).invoke(app, [str(a) for a in arguments])


def explain(paths, output, *arguments, network=f"{NETWORKS}:bright"):
    paths = paths if isinstance(paths, list) else [paths]
    common = ["--model", network, "--classes", "bright,dark", "--method", "grad-cam"]
    return cfcam("explain", *paths, "-o", output, *common, *arguments)


def peak_of(path):
    """Where the greatest value of a NIfTI lies, in mm."""
    image = nib.load(path)
    values = image.get_fdata()
    index = np.argwhere(values == values.max()).mean(0)
    return (image.affine @ [*index, 1])[:3]


# --- which inputs are volumes


def kinds(paths, output, **options):
    paths = paths if isinstance(paths, list) else [paths]
    return {str(i.path.name): i.kind for i in find_inputs(paths, output=output, **options)}


def test_what_is_a_volume(tmp_path):
    scan(tmp_path / "in" / "a.nii.gz")
    scan(tmp_path / "in" / "b.nii")
    save(enhanced(phantom()), tmp_path / "in" / "frames.dcm")
    save(radiograph(phantom()[0]), tmp_path / "in" / "cr.dcm")
    save(ct(phantom()[0], (0, 0, 0)), tmp_path / "in" / "slice.dcm")
    draw(tmp_path / "in" / "c.png")
    found = kinds(tmp_path / "in", tmp_path / "out")
    assert found == {
        "a.nii.gz": Kind.VOLUME,
        "b.nii": Kind.VOLUME,
        "frames.dcm": Kind.VOLUME,
        "cr.dcm": Kind.PICTURE,
        "slice.dcm": Kind.PICTURE,
        "c.png": Kind.PICTURE,
    }
    assert kinds(tmp_path / "in" / "a.nii.gz", tmp_path / "out") == {"a.nii.gz": Kind.VOLUME}
    assert kinds(tmp_path / "in" / "frames.dcm", tmp_path / "out") == {"frames.dcm": Kind.VOLUME}


def test_a_folder_of_slices_is_one_volume_and_its_pictures_stay_pictures(tmp_path):
    files = ct_series(tmp_path / "study" / "ct", phantom())
    save(radiograph(phantom()[0]), tmp_path / "study" / "ct" / "cr.dcm")
    assert kinds(tmp_path / "study" / "ct", tmp_path / "out") == {"ct": Kind.VOLUME, "cr.dcm": Kind.PICTURE}
    # named one by one, or by a glob of files, slices are pictures
    assert set(kinds(files[:2], tmp_path / "out").values()) == {Kind.PICTURE}
    assert set(kinds(tmp_path / "study" / "ct" / "IM*.dcm", tmp_path / "out").values()) == {Kind.PICTURE}
    with pytest.raises(ImageError, match="holds no picture"):
        find_inputs([tmp_path / "study"], output=tmp_path / "out")
    assert kinds(tmp_path / "study", tmp_path / "out", recursive=True)["ct"] is Kind.VOLUME
    assert kinds(tmp_path / "stud*" / "*", tmp_path / "out")["ct"] is Kind.VOLUME


def test_slices_without_an_extension_are_found(tmp_path):
    for n, file in enumerate(ct_series(tmp_path / "a", phantom())):
        file.rename(tmp_path / "a" / f"IM{n}")
    assert kinds(tmp_path / "a", tmp_path / "out") == {"a": Kind.VOLUME}


def test_globs_of_volumes_and_the_output_folder(tmp_path):
    scan(tmp_path / "a.nii.gz")
    scan(tmp_path / "out" / "a_grad-cam.nii.gz")
    assert kinds(tmp_path / "*.nii.gz", tmp_path / "out") == {"a.nii.gz": Kind.VOLUME}
    assert kinds(tmp_path, tmp_path / "out", recursive=True) == {"a.nii.gz": Kind.VOLUME}
    with pytest.raises(ImageError, match="no file"):
        find_inputs([tmp_path / "*.nii"], output=tmp_path / "out")


# --- the run


@pytest.mark.parametrize("codes", ["RAS", "LAS", "LPS", "PSR", "IRA"])
def test_the_map_lies_on_the_source_grid_at_the_place_of_the_evidence(tmp_path, codes):
    path = scan(tmp_path / "scan.nii.gz", codes, tilt=10)
    (outcome,) = run(path, tmp_path / "out")
    assert (outcome.status, outcome.error) == ("done", None)
    assert written(tmp_path / "out") == [
        "manifest.jsonl", "run.json", "scan_grad-cam.nii.gz", "scan_grad-cam.png", "scan_sheet.png",
    ]  # fmt: skip
    source, saved = nib.load(path), nib.load(tmp_path / "out" / "scan_grad-cam.nii.gz")
    assert saved.shape == source.shape
    np.testing.assert_allclose(saved.affine, source.affine, atol=1e-4)
    expected = (source.affine @ [*MARKER, 1])[:3]
    assert np.linalg.norm(peak_of(tmp_path / "out" / "scan_grad-cam.nii.gz") - expected) < 0.1


def test_the_nifti_holds_the_raw_map(tmp_path):
    path = scan(tmp_path / "scan.nii.gz", "LPI")
    list(run(path, tmp_path / "out", methods=("cam",), targets=("bright", "dark"), save=frozenset(Save)))
    e = Explanation.load(tmp_path / "out" / "scan_maps")
    volume = read_volume(path)
    for k, name in enumerate(("bright", "dark")):
        up = F.interpolate(e.maps["cam"][:1, k : k + 1], e.input_size, mode="trilinear", align_corners=False)[0, 0]
        saved = nib.load(tmp_path / "out" / f"scan_cam_{name}.nii.gz")
        np.testing.assert_allclose(saved.get_fdata(), UNIT.to_original(up, volume).numpy(), atol=1e-6)
        assert saved.header["descrip"].item().startswith(b"cam, raw map, ")
    assert saved.get_fdata().max() <= 0  # negative evidence is kept, and said to be none
    assert lines(tmp_path / "out")[0]["targets"][1]["maps"] == {"cam": "no positive evidence"}


def test_a_series_is_explained_once_and_again_when_a_slice_changes(tmp_path):
    stored = marked().astype(np.int32) + 1024
    files = ct_series(tmp_path / "study", stored)
    (outcome,) = run(tmp_path / "study", tmp_path / "out")
    assert outcome.status == "done"
    volume = read_volume(tmp_path / "study")
    at = peak_of(tmp_path / "out" / "study_grad-cam.nii.gz")
    assert np.linalg.norm(at - volume.place(MARKER)) < 0.1
    record = lines(tmp_path / "out")[0]
    assert record["sha256"] == volume.sha256
    assert set(record["files"]) == {"study_grad-cam.nii.gz", "study_grad-cam.png", "study_sheet.png"}
    (again,) = run(tmp_path / "study", tmp_path / "out")
    assert again.status == "skipped"
    ds = pydicom.dcmread(files[0])
    ds.PixelData = ds.PixelData[:-2] + b"\x05\x05"
    save(ds, files[0])
    (changed,) = run(tmp_path / "study", tmp_path / "out")
    assert changed.status == "done"


def test_a_map_without_evidence_is_no_silent_black_picture(tmp_path):
    path = scan(tmp_path / "scan.nii.gz")
    (outcome,) = run(path, tmp_path / "out", targets=("dark",))
    assert outcome.targets[0].maps == {"grad-cam": "no positive evidence"}
    assert (tmp_path / "out" / "scan_grad-cam.png").exists()
    assert b"no positive evidence" in nib.load(tmp_path / "out" / "scan_grad-cam.nii.gz").header["descrip"].item()


def test_windows_find_the_same_place(tmp_path):
    path = scan(tmp_path / "scan.nii.gz")
    windows = VolumeSettings(windows=Windows(9, 0.5))
    (outcome,) = run(path, tmp_path / "out", volumes=windows)
    assert outcome.status == "done"
    expected = read_volume(path).place(MARKER)
    assert np.linalg.norm(peak_of(tmp_path / "out" / "scan_grad-cam.nii.gz") - expected) < 0.1
    meaning = next(iter(json.loads((tmp_path / "out" / "run.json").read_text())["runs"].values()))["settings"]
    assert meaning["volumes"]["windows"] == {"size": 9, "overlap": 0.5, "aggregate": "mean"}
    (again,) = run(path, tmp_path / "out", volumes=VolumeSettings(windows=Windows(9, 0.25)))
    assert again.status == "done"  # another setting makes other maps


def test_a_volume_that_does_not_fit_is_told_of_windows_and_windows_do(tmp_path):
    path = scan(tmp_path / "scan.nii.gz")
    with pytest.raises(CfcamError, match=r"explain it in windows \(--sliding 96\)"):
        run(path, tmp_path / "out", network="unlucky")
    (outcome,) = run(path, tmp_path / "out", network="unlucky", volumes=VolumeSettings(windows=Windows(12)))
    assert outcome.status == "done"


def test_resampling_and_several_volumes_of_different_sizes(tmp_path):
    scan(tmp_path / "in" / "a.nii.gz")
    scan(tmp_path / "in" / "b.nii.gz", "LAS", voxels=marked((7, 7, 7), (15, 21, 12)), spacing=(1.0, 1.0, 2.0))
    preprocess = VolumePreprocess(intensity="unit", spacing=1.5, size=(18, 24, 30))
    outcomes = list(run(tmp_path / "in", tmp_path / "out", preprocess=preprocess))
    assert [o.status for o in outcomes] == ["done", "done"]
    for name, marker in (("a", MARKER), ("b", (7, 7, 7))):
        volume = read_volume(tmp_path / "in" / f"{name}.nii.gz")
        saved = nib.load(tmp_path / "out" / f"{name}_grad-cam.nii.gz")
        assert saved.shape == volume.size
        assert np.linalg.norm(peak_of(tmp_path / "out" / f"{name}_grad-cam.nii.gz") - volume.place(marker)) < 4


@pytest.mark.parametrize(
    ("key", "told"),
    [("PixelSpacing", "has no pixel spacing"), ("ImageOrientationPatient", "says no position and orientation")],
)
def test_slices_that_make_no_volume_say_what_they_lack(tmp_path, key, told):
    for file in ct_series(tmp_path / "in", phantom()):
        ds = pydicom.dcmread(file)
        del ds[key]
        ds.save_as(file)
    outcomes = list(run(tmp_path / "in", tmp_path / "out"))
    assert len(outcomes) == len(phantom())
    assert all(told in outcome.error for outcome in outcomes)


def test_what_cannot_be_read_is_one_line_and_the_rest_is_done(tmp_path):
    scan(tmp_path / "in" / "good.nii.gz")
    (tmp_path / "in" / "bad.nii.gz").write_bytes(b"rubbish")
    scan(tmp_path / "in" / "four.nii.gz", voxels=np.stack([marked()] * 3, axis=3))
    draw(tmp_path / "in" / "flat.png")
    outcomes = {o.path.name: o for o in run(tmp_path / "in", tmp_path / "out")}
    assert outcomes["good.nii.gz"].status == "done"
    assert "no NIfTI file" in outcomes["bad.nii.gz"].error
    assert "holds 3 volumes" in outcomes["four.nii.gz"].error
    assert "is a picture, and the network takes volumes" in outcomes["flat.png"].error
    (tmp_path / "a.nrrd").write_bytes(b"NRRD0004\n")
    (outcome,) = run(tmp_path / "a.nrrd", tmp_path / "out")
    assert "is an NRRD volume, and the network takes volumes: give NIfTI or DICOM series" in outcome.error
    (outcome,) = run(tmp_path / "in" / "four.nii.gz", tmp_path / "out", volumes=VolumeSettings(time=1))
    assert outcome.status == "done"


def test_a_run_in_which_nothing_can_be_read_says_so(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.nii.gz").write_bytes(b"rubbish")
    (outcome,) = run(tmp_path / "in", tmp_path / "out")
    assert outcome.status == "failed"


def test_a_picture_run_refuses_volumes(tmp_path):
    scan(tmp_path / "in" / "a.nii.gz")
    draw(tmp_path / "in" / "b.png")
    result = explain(
        tmp_path / "in",
        tmp_path / "out",
        "--size",
        "32",
        "--mean",
        "0",
        "--std",
        "1",
        "--resize",
        "stretch",
        network=f"{FLAT_NETWORKS}:brightness",
    )
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "a.nii.gz: is a volume, and the network takes pictures" in line
    assert (tmp_path / "out" / "b_grad-cam.png").exists()


def test_notices_of_reading_become_notes_of_the_run(tmp_path):
    path = scan(tmp_path / "scan.nii.gz")
    image = nib.load(path)
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nib.save(image, path)
    started = run(path, tmp_path / "out")
    list(started)
    assert started.notes == [
        "scan.nii.gz: its header does not say how it lies in the patient: left and right are unknown"
    ]


def test_the_output_may_not_be_the_folder_of_slices(tmp_path):
    ct_series(tmp_path / "study", phantom((12, 15, 18)))
    with pytest.raises(JobError, match="holds input pictures"):
        run(tmp_path / "study", tmp_path / "study")


def test_a_preprocess_of_pictures_is_refused(tmp_path):
    with pytest.raises(InputError, match="give a VolumePreprocess"):
        run(scan(tmp_path / "scan.nii.gz"), tmp_path / "out", preprocess=Preprocess())


def test_the_network_says_what_a_run_is_over(tmp_path):
    three, two = load(f"{NETWORKS}:bright"), load(f"{FLAT_NETWORKS}:brightness")
    volumes = find_inputs([scan(tmp_path / "a.nii.gz")], output=tmp_path / "out")
    assert is_volume_run(three.module, [])
    assert not is_volume_run(two.module, volumes)
    assert volume_preprocess_of(load(f"{NETWORKS}:bright(channels=2)")).channels == 2
    assert volume_preprocess_of(three, mean=(0.5,), size=None, spacing=2.0) == VolumePreprocess(
        mean=(0.5,), spacing=2.0
    )


# --- identity


def test_nothing_of_the_patient_is_in_any_file_or_on_the_terminal(tmp_path):
    stored = marked().astype(np.int32) + 1024
    ct_series(tmp_path / "study", stored)
    result = explain(tmp_path / "study", tmp_path / "out", "--save", "overlay,sheet,maps", "--intensity", "unit")
    assert result.exit_code == 0, result.stderr
    uids = [i.sop_instance_uid for i in read_volume(tmp_path / "study").source.instances]
    for name in written(tmp_path / "out"):
        data = (tmp_path / "out" / name).read_bytes()
        data = gzip.decompress(data) if name.endswith(".gz") else data
        for secret in (*PLANTED, *uids):
            assert secret.encode() not in data, name
            assert secret not in name
    for secret in (*PLANTED, *uids):
        assert secret not in result.output


# --- the command line


def test_the_command_line_explains_a_scan(tmp_path):
    path = scan(tmp_path / "scan.nii.gz", "LAS")
    result = explain(path, tmp_path / "out", "--intensity", "unit", "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["explained"] == 1
    assert [f.rpartition("/")[2] for f in told["images"][0]["files"]] == [
        "scan_grad-cam.nii.gz", "scan_grad-cam.png", "scan_sheet.png",
    ]  # fmt: skip
    assert told["images"][0]["targets"][0]["label"] == "bright"
    expected = (nib.load(path).affine @ [*MARKER, 1])[:3]
    assert np.linalg.norm(peak_of(tmp_path / "out" / "scan_grad-cam.nii.gz") - expected) < 0.1


def test_every_option_for_volumes_reaches_the_run(tmp_path):
    path = scan(tmp_path / "scan.nii.gz", voxels=np.stack([marked(), marked()], axis=3))
    result = explain(
        path, tmp_path / "out", "--time", "1", "--window", "450,900", "--intensity", "unit", "--spacing", "1.5x2x3",
        "--size", "12x15x18", "--orientation", "LPS", "--sliding", "9", "--overlap", "0.25", "--aggregate", "max",
        "--mean", "0.5", "--std", "0.5",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    settings = next(iter(json.loads((tmp_path / "out" / "run.json").read_text())["runs"].values()))["settings"]
    sources = settings["preprocess"].pop("sources")
    assert sources["window"] == "given"
    assert settings["preprocess"] == {
        "orientation": "LPS", "spacing": [1.5, 2.0, 3.0], "size": [12, 15, 18], "window": [450.0, 900.0],
        "intensity": "unit", "mean": [0.5], "std": [0.5],
    }  # fmt: skip
    assert settings["volumes"] == {
        "time": 1, "channel": None, "series": None, "irregular": "refuse",
        "windows": {"size": 9, "overlap": 0.25, "aggregate": "max"},
    }  # fmt: skip
    assert settings["window"] == [450.0, 900.0]


def test_orientation_may_be_left_as_it_is(tmp_path):
    path = scan(tmp_path / "scan.nii.gz", "PSR")
    assert explain(path, tmp_path / "out", "--orientation", "source").exit_code == 0
    settings = next(iter(json.loads((tmp_path / "out" / "run.json").read_text())["runs"].values()))["settings"]
    assert settings["preprocess"]["orientation"] is None


def test_a_folder_of_slices_with_a_choice_of_series(tmp_path):
    ct_series(tmp_path / "study", marked().astype(np.int32) + 1024)
    for n, place in enumerate(positions(12, AXIAL)):
        save(ct(phantom((12, 15, 18))[n], place, series="1.9", number=9), tmp_path / "study" / f"other{n}.dcm")
    result = explain(tmp_path / "study", tmp_path / "out")
    assert result.exit_code == 1
    assert "holds 2 series (1: CT, 12 slices of 18 x 15; 2: CT, 12 slices of 18 x 15)" in result.stderr
    result = explain(tmp_path / "study", tmp_path / "out", "--series", "1", "--intensity", "unit")
    assert result.exit_code == 0, result.stderr
    volume = read_volume(tmp_path / "study", series=1)
    assert np.linalg.norm(peak_of(tmp_path / "out" / "study_grad-cam.nii.gz") - volume.place(MARKER)) < 0.1


def test_missing_slices_may_be_resampled(tmp_path):
    files = ct_series(tmp_path / "study", marked().astype(np.int32) + 1024, shuffled=False)
    files[8].unlink()
    result = explain(tmp_path / "study", tmp_path / "out")
    assert result.exit_code == 1
    assert "1 slice is missing" in result.stderr
    result = explain(tmp_path / "study", tmp_path / "out", "--irregular", "resample")
    assert result.exit_code == 0, result.stderr
    assert "resampled to 12 slices" in result.stderr


def test_windows_of_dicom_pictures(tmp_path):
    ramp = np.arange(1024).reshape(32, 32)
    path = save(ct(ramp, (0, 0, 0)), tmp_path / "a.dcm")
    common = ["--size", "32", "--mean", "0", "--std", "1", "--save", "overlay", "--opacity", "0", "--blend", "uniform"]
    flat = f"{FLAT_NETWORKS}:brightness"
    for name, window in (("own", []), ("lung", ["--window", "lung"])):
        result = explain(path, tmp_path / name, *common, *window, network=flat)
        assert result.exit_code == 0, result.output
    own, lung = (pixels(tmp_path / name / "a_grad-cam.png") for name in ("own", "lung"))
    assert own.max() < lung.max()  # values from -1024 to -1 are almost black in the window 40, 400


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--window", "lungs"], "--window 'lungs': give one of brain"),
        (["--window", "40,-3"], "--window"),
        (["--spacing", "0"], "--spacing '0'"),
        (["--spacing", "1x1"], "--spacing"),
        (["--sliding", "9x9"], "--sliding"),
        (["--sliding", "1.5"], "--sliding"),
        (["--overlap", "1"], "--overlap 1"),
        (["--aggregate", "median"], "--aggregate"),
        (["--irregular", "ignore"], "--irregular"),
        (["--channel", "x"], "--channel"),
        (["--size", "9x9xq"], "--size"),
        (["--orientation", "RAX"], "three letters"),
        (["--intensity", "minmax"], "intensity"),
        (["--resize", "pad"], "--resize is for pictures"),
        (["--size", "9x9"], "size"),
    ],
)
def test_wrong_options_are_one_line(tmp_path, options, complaint):
    result = explain(scan(tmp_path / "scan.nii.gz"), tmp_path / "out", *options)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert complaint in line


def test_where_all_fail_no_layer_is_named_that_nobody_knows(tmp_path):
    (tmp_path / "scan.nii.gz").write_bytes(b"no scan")
    result = explain(tmp_path / "scan.nii.gz", tmp_path / "out", "--intensity", "unit")
    assert result.exit_code == 1
    assert f"failed: {tmp_path / 'scan.nii.gz'}: is no NIfTI file" in result.stderr
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("0 explained, 1 failed in ")]
    assert line.endswith(f" s -> {tmp_path / 'out'}/")


def test_the_names_known_without_imports_are_the_real_ones():
    assert tuple(WINDOWS) == volume_options.WINDOWS
    for name in volume_options.INTENSITIES:
        VolumePreprocess(intensity=name)


@pytest.mark.data
@pytest.mark.slow
def test_the_real_example_learns_and_holds_its_maps_against_the_labels(data, tmp_path):
    script = Path(__file__).parents[3] / "docs" / "hippocampus.py"
    command = [sys.executable, str(script), "--epochs", "12", "--out", str(tmp_path)]
    environment = os.environ | {"CFCAM_DATA": str(data), "OMP_NUM_THREADS": "1"}
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    right, of = map(int, re.search(r"held out: (\d+) of (\d+) halves", told).groups())
    assert (right >= 10, of) == (True, 12)
    enrichment = [float(line.split(" times")[0].split()[-1]) for line in told.splitlines() if " times, n = " in line]
    assert len(enrichment) == 8  # three methods and a control, for two classes
    assert min(enrichment) > 0
    name = next(tmp_path.glob("*_anterior_grad-cam.nii.gz")).name
    label = nib.load(data / "hippocampus-mri3d" / "labels" / f"{name.removesuffix('_anterior_grad-cam.nii.gz')}.nii.gz")
    saved = nib.load(tmp_path / name)
    front = (label.affine @ [*np.argwhere(np.asarray(label.dataobj) == 1).mean(0), 1])[1]
    assert abs((saved.affine @ [0, saved.shape[1] / 2, 0, 1])[1] - front) < 3  # the crop knows where it lies


@pytest.mark.parametrize(("channels", "due"), [(2, "2 files"), (1, "1 file, as a path")])
def test_files_of_channels_are_as_many_as_the_network_takes(tmp_path, channels, due):
    paths = tuple(scan(tmp_path / f"{name}.nii.gz") for name in ("t1", "t2", "flair"))
    model = replace(load(f"{NETWORKS}:bright"), module=bright(channels))
    with pytest.raises(InputError, match=f"--channels names 3 files, and the network takes .*: give {due}$"):
        VolumeRun(model, find_inputs(paths[:1], output=tmp_path / "o"), Settings(tmp_path / "o"),
                  VolumeSettings(channels=paths))  # fmt: skip


def test_one_file_for_a_network_of_two_channels_names_the_option_for_two_files(tmp_path):
    volume = read_volume(scan(tmp_path / "t1.nii.gz"))
    with pytest.raises(InputError, match=r"give 2 files in the order of its training \(--channels\), or one file with"):
        VolumePreprocess(mean=(0.0, 0.0), std=(1.0, 1.0))(volume)
