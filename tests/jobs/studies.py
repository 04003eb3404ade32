"""Whole studies for tests: an asymmetric CT series and a phantom radiograph, with every identity planted."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import generate_uid
from typer.testing import CliRunner

from cfcam.cli.app import app
from tests.imaging import dicoms
from tests.jobs.world import NETWORKS

THREE_D = str(NETWORKS).replace("user_networks", "volume_networks")
SHAPE = (12, 15, 18)
MARKER = (4, 10, 13)  # slice, row, column: in the middle of a block of the network, near no centre of any axis
AXES = dicoms.rotated(dicoms.AXIAL, 20)
BRIGHT_3D = ["--model", f"{THREE_D}:bright", "--classes", "bright,dark", "--method", "grad-cam", "--intensity", "unit"]


def marked_voxels():
    """Stored values: dim noise with one bright block."""
    voxels = np.random.default_rng(1).integers(0, 60, SHAPE).astype(np.int32)
    voxels[tuple(slice(at - 1, at + 2) for at in MARKER)] = 900
    return voxels + 1024


def ct_study(folder, *, prefix="IM", axes=AXES, counted=False):
    """Files of the series; the names of the files begin with a prefix; counted: each says how many there are."""
    files = dicoms.ct_series(folder, marked_voxels(), axes)
    for file in files if counted else ():
        dataset = pydicom.dcmread(file)
        dataset.ImagesInAcquisition = SHAPE[0]
        dataset.save_as(file)
    return [file.rename(file.with_name(f"{prefix}{n:04d}.dcm")) for n, file in enumerate(files)]


def place_by_hand(slice_number, row, column, axes=AXES):
    """Centre of a voxel in LPS, mm, from how the series was made."""
    along, down = (np.array(axis) for axis in axes)
    return dicoms.positions(SHAPE[0], axes)[slice_number] + column * 0.7 * along + row * 0.8 * down


def nodule_phantom():
    from cfcam.models.demo.phantoms import make_phantom

    return make_phantom(seed=7, findings=("nodule",))


def phantom_radiograph(path):
    """A drawn chest with a nodule as CR, 12 bit, standing upright: columns to the patient's left, rows to the feet."""
    source = dicoms.radiograph(nodule_phantom().image.astype(int) * 16)
    source.PatientOrientation = ["L", "F"]
    source.pop("FrameOfReferenceUID", None)
    return dicoms.save(source, path)


def cfcam(*arguments):
    return CliRunner(env={"COLUMNS": "140"}).invoke(app, [str(a) for a in arguments])


def explain(paths, output, *arguments):
    paths = paths if isinstance(paths, list) else [paths]
    return cfcam("explain", *paths, "-o", output, *arguments)


def objects(output, kind):
    """The DICOM objects of a kind anywhere below a folder, read."""
    return [pydicom.dcmread(path) for path in sorted(Path(output).rglob(f"{kind}_*.dcm"))]


def study_json(output):
    (path,) = Path(output).rglob("*_regions.json")
    return json.loads(path.read_text())


def study_rows(output):
    (path,) = Path(output).rglob("*_regions.csv")
    return list(csv.DictReader(io.StringIO(path.read_text())))


def new_uids(folder):
    """Gives the objects of a folder other UIDs, so that they are another study."""
    study, series = generate_uid(), generate_uid()
    for path in Path(folder).iterdir():
        ds = pydicom.dcmread(path)
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID = study, series, generate_uid()
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.save_as(path)
