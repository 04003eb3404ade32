"""What a gateway sends back lies where it belongs, on the right slice: read by DCMTK, dcmqi and SimpleITK."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest

pytest.importorskip("pynetdicom")

from tests.imaging import dicoms
from tests.jobs.gateway.senders import storescu, tool
from tests.jobs.gateway.whole import config, running
from tests.jobs.studies import MARKER, ct_study, place_by_hand
from tests.machine import python_program
from tests.waiting import PATIENCE, free_port, until


def results_of(tmp_path, files, objects):
    """Files of the objects that a gateway makes of what a sender sends."""
    port = free_port()
    path = config(tmp_path, None, port=port, results=f"objects = {objects}".replace("'", '"'))
    with running(path, port) as gateway:
        assert storescu(port, *files).returncode == 0
        until(lambda: gateway.status()["tasks"] == {"results": 1})
    return {file.name.partition("_")[0]: file for file in (tmp_path / "spool" / "results").rglob("*_2.25.*.dcm")}


def test_the_region_of_a_tilted_scan_lies_where_the_bright_block_lies_whatever_the_order_of_arrival(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    reader = python_program("segimage2itkimage", package="dcmqi")
    slices = ct_study(tmp_path / "scan")
    slices = [slices[n] for n in np.random.default_rng(0).permutation(len(slices))]
    made = results_of(tmp_path, slices, ["pm", "seg"])
    command = [reader, "--inputDICOM", made["seg-binary"], "--outputDirectory", tmp_path, "--outputType", "nrrd"]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
    region = sitk.ReadImage(str(tmp_path / "1.nrrd"))
    row = sitk.ImageSeriesReader()
    row.SetFileNames(row.GetGDCMSeriesFileNames(str(tmp_path / "scan")))
    scan = row.Execute()
    values = sitk.GetArrayFromImage(scan)
    bright = np.argwhere(values == values.max())
    places = [scan.TransformIndexToPhysicalPoint([int(n) for n in index[::-1]]) for index in bright]
    assert any(np.allclose(place, place_by_hand(*MARKER), atol=0.4) for place in places)

    def inside(place):
        index = region.TransformPhysicalPointToIndex([float(x) for x in place])
        return all(0 <= i < n for i, n in zip(index, region.GetSize(), strict=True)) and region[index] == 1

    assert all(inside(place) for place in places)
    held = np.argwhere(sitk.GetArrayFromImage(region) == 1)
    centre = region.TransformContinuousIndexToPhysicalPoint([float(n) for n in held.mean(0)[::-1]])
    assert np.linalg.norm(np.subtract(centre, np.mean(places, axis=0))) < 2.5  # mm: not even a slice away


def test_the_overlay_of_a_radiograph_is_coloured_where_it_is_bright_and_nowhere_else(tmp_path):
    picture = np.full((64, 64), 40)
    picture[0:16, 48:64] = 4000  # one cell of the network of 4 x 4
    source = dicoms.radiograph(picture)
    made = results_of(tmp_path, [dicoms.save(source, tmp_path / "film.dcm")], ["sc"])
    seen = tmp_path / "seen.ppm"
    subprocess.run(
        [tool("dcmj2pnm"), "--write-raw-pnm", made["sc"], seen], check=True, capture_output=True, timeout=PATIENCE
    )
    from PIL import Image

    pixels = np.asarray(Image.open(seen)).astype(int)
    colour = np.ptp(pixels, axis=2)
    assert pixels.shape == (64, 64, 3)
    assert colour[2:9, 54:62].min() > 60
    rows, columns = np.nonzero(colour > 60)
    assert (rows.max(), columns.min()) == (17, 46)  # it fades out beyond its cell
    assert max(colour[24:].max(), colour[:, :40].max()) < 5  # its dark is a hundredth as bright
