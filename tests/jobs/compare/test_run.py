import csv
import gzip
import json
import re
from dataclasses import replace

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image
from scipy import ndimage

from cfcam.clinical.comparison import Gate
from cfcam.clinical.comparison.comparable import ComparisonError
from cfcam.clinical.comparison.result import SENTENCE
from cfcam.errors import InputError
from cfcam.imaging import Preprocess, VolumePreprocess
from cfcam.imaging.drawing import difference
from cfcam.jobs.compare.pairs import Pair, make_pair, read_pairs
from cfcam.jobs.compare.run import ComparePairs
from cfcam.jobs.compare.settings import CompareSettings
from cfcam.jobs.compare.tables import registration_line, table_of
from cfcam.models import load
from cfcam.models.demo import make_phantom
from tests.imaging import dicoms

NETWORKS = """
import torch
from torch import nn

class Exact(nn.Module):
    def __init__(self, conv):
        super().__init__()
        self.features = conv(1, 1, 1, bias=False)
        self.classifier = nn.Linear(1, 2, bias=False)
        with torch.no_grad():
            self.features.weight.fill_(1)
            self.classifier.weight.copy_(torch.tensor([[1.0], [-1.0]]))

    def forward(self, x):
        return self.classifier(self.features(x).flatten(2).mean(2))

def flat():
    return Exact(nn.Conv2d)

def deep():
    return Exact(nn.Conv3d)

class Failing(Exact):
    def forward(self, x):
        if x.max() > 0.999:
            raise RuntimeError("too bright\\nfor this network")
        return super().forward(x)

def failing():
    return Failing(nn.Conv2d)
"""


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    path = tmp_path_factory.mktemp("networks") / "networks.py"
    path.write_text(NETWORKS)
    return path


def exact(networks, which="flat"):
    return load(f"{networks}:{which}", classes=["finding", "nothing"])


def plain(size):
    return Preprocess(size=size, mean=(0.0,), std=(1.0,))


def picture(radius, size=96, centre=(44, 52), scale=1.0):
    """Grey values 0 to 250 of a disc over weak structure; ``scale`` pixels in a unit of length."""
    coarse = np.random.default_rng(1).random((6, 6))
    side = round(size * scale)
    structure = 0.3 * ndimage.zoom(coarse, side / 6, order=1, grid_mode=True, mode="nearest")
    rows, columns = (np.indices((side, side)) + 0.5) / scale - 0.5
    disc = np.clip((radius - np.hypot(rows - centre[0], columns - centre[1])) * scale + 0.5, 0, 1)
    return np.rint(250 * np.maximum(structure, disc)).astype(np.uint8)


def save(path, pixels):
    Image.fromarray(pixels).save(path)
    return path


def settings(folder, **changed):
    values = {"output": folder / "out", "method": "cam", "target": "finding", "retests": 2, "preprocess": plain(96)}
    return CompareSettings(**(values | changed))


def radiograph(folder, name, stored, *, spacing, patient="P-1", date="20200101"):
    dataset = dicoms.radiograph(stored.astype(np.uint16) * 16, spacing=spacing)
    dataset.PatientID, dataset.StudyDate = patient, date
    return dicoms.save(dataset, folder / name)


@pytest.fixture(scope="module")
def chest(tmp_path_factory):
    """A phantom, and the same patient shifted and turned."""
    folder = tmp_path_factory.mktemp("chest")
    pixels = make_phantom(7, findings=["nodule"], size=256).image
    moved = ndimage.shift(
        ndimage.rotate(pixels, 3, reshape=False, order=1, mode="nearest"), (7, -5), order=1, mode="nearest"
    )
    return save(folder / "prior.png", pixels), save(folder / "current.png", moved), folder


def test_a_patient_who_only_moved_shows_no_change_with_the_demo_network(chest):
    prior, current, folder = chest
    run = ComparePairs(load("demo"), CompareSettings(output=folder / "moved"))
    found = run.compare(prior, current)
    assert found.class_name == "nodule"
    assert found.verdict == "no change beyond repeatability"
    assert found.registration.quality.rotation == pytest.approx(3, abs=0.3)
    assert found.retests == 8


def test_a_finding_that_came_is_a_change_with_the_demo_network(chest):
    _, current, folder = chest
    before = save(folder / "before.png", make_phantom(7, size=256).image)
    found = ComparePairs(load("demo"), CompareSettings(output=folder / "new", retests=4)).compare(before, current)
    assert found.class_name == "nodule"
    for name in ("probability", "hot area", "mean in hot region"):
        assert found[name].verdict == "beyond repeatability"
        assert found[name].change > 0
    mask = make_phantom(7, findings=["nodule"], size=256).masks["nodule"]
    assert (
        found.difference[mask].mean()
        > 0.3
        > np.abs(found.difference[~ndimage.binary_dilation(mask, iterations=45)]).max()
    )


def test_files_of_a_pair_and_a_second_run_that_leaves_them(tmp_path, networks):
    pair = Pair(save(tmp_path / "a.png", picture(10)), save(tmp_path / "b.png", picture(15)), "case")
    (first,) = ComparePairs(exact(networks), settings(tmp_path)).run([pair])
    assert first.state == "compared"
    out = tmp_path / "out"
    assert sorted(file.name for file in out.iterdir()) == ["case.json", "case.png", "comparisons.csv"]
    document = json.loads((out / "case.json").read_text())
    assert document == json.loads(json.dumps(first.document))
    assert document["statement"] == SENTENCE
    (row,) = csv.DictReader((out / "comparisons.csv").open())
    assert (row["name"], row["state"], row["statement"]) == ("case", "compared", SENTENCE)
    assert float(row["hot area [pixels]"]) == pytest.approx(np.pi * (15**2 - 10**2), rel=0.1)
    stamp, table = (out / "case.png").stat().st_mtime_ns, (out / "comparisons.csv").read_bytes()

    (again,) = ComparePairs(exact(networks), settings(tmp_path)).run([pair])
    assert again.state == "resumed"
    assert again.document == document
    assert (out / "case.png").stat().st_mtime_ns == stamp
    assert (out / "comparisons.csv").read_bytes() == table

    (other,) = ComparePairs(exact(networks), settings(tmp_path, threshold=0.6)).run([pair])
    assert other.state == "compared"
    ComparePairs(exact(networks), settings(tmp_path)).run([replace(pair, name="second")])
    assert [row["name"] for row in csv.DictReader((out / "comparisons.csv").open())] == ["case", "second"]
    (out / "case.png").write_bytes(b"damaged")
    (mended,) = ComparePairs(exact(networks), settings(tmp_path, threshold=0.6)).run([pair])
    assert mended.state == "compared"
    save(tmp_path / "b.png", picture(12))
    (changed,) = ComparePairs(exact(networks), settings(tmp_path, threshold=0.6)).run([pair])
    assert changed.state == "compared"


def test_pairs_that_fail_are_reported_and_the_rest_is_done(tmp_path, networks):
    a, b = save(tmp_path / "a.png", picture(10)), save(tmp_path / "b.png", picture(11))
    bright = save(tmp_path / "bright.png", np.maximum(picture(10), np.eye(96, dtype=np.uint8) * 255))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    noise = save(tmp_path / "noise.png", np.random.default_rng(0).integers(0, 250, (96, 96), dtype=np.uint8))
    (tmp_path / "pairs.csv").write_text(
        "prior,current,name\nbroken.png,b.png,one\nnone.png,b.png,two\na.png,noise.png,three\n"
        "a.png,bright.png,four\na.png,b.png,five\n"
    )
    seen = []
    run = ComparePairs(exact(networks, "failing"), settings(tmp_path))
    results = run.run(read_pairs(tmp_path / "pairs.csv"), seen.append)
    assert seen == results
    assert [result.state for result in results] == ["not compared"] * 4 + ["compared"]
    reasons = [result.reason for result in results[:4]]
    assert "broken" in reasons[0]
    assert "no such file" in reasons[1]
    assert "registration not good enough: not compared" in reasons[2]
    assert reasons[3] == "the network failed on this pair (RuntimeError: too bright)"
    assert all("\n" not in reason for reason in reasons)
    rows = list(csv.DictReader((tmp_path / "out" / "comparisons.csv").open()))
    assert [row["state"] for row in rows] == ["not compared"] * 4 + ["compared"]
    third = json.loads((tmp_path / "out" / "three.json").read_text())
    assert third["registration"]["correlation"] < 0.5
    assert third["statement"] == SENTENCE
    forced = ComparePairs(exact(networks), settings(tmp_path, registration="none")).compare(a, noise)
    assert forced.registration.kind == "none"
    assert b.exists()
    assert bright.exists()


def test_another_spacing_and_size_is_compared_in_mm(tmp_path, networks):
    prior = radiograph(tmp_path, "prior.dcm", picture(10), spacing=(0.8, 0.8))
    current = radiograph(
        tmp_path, "current.dcm", picture(14, scale=1.5), spacing=(0.8 / 1.5, 0.8 / 1.5), date="20210101"
    )
    found = ComparePairs(exact(networks), settings(tmp_path, retests=0)).compare(prior, current)
    assert found["hot area"].unit == "mm² at the detector"
    assert found["centroid shift"].unit == found.unit == "mm at the detector"
    assert found["hot area"].change == pytest.approx(np.pi * (14**2 - 10**2) * 0.8**2, rel=0.1)
    assert found["centroid shift"].change < 0.8
    assert not any("patient" in note and "checked" in note for note in found.notes)


def test_of_radiographs_text_table_json_and_figure_say_where_millimetres_are(tmp_path, networks, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "cfcam.jobs.compare.run.picture_scene", lambda *a, **b: drawn.append(b["scale"]) or scene(*a, **b)
    )
    scene = difference.picture_scene
    paths = [radiograph(tmp_path, f"{name}.dcm", picture(10), spacing=(0.8, 0.8)) for name in ("prior", "current")]
    run = ComparePairs(exact(networks), settings(tmp_path, retests=0))
    (done,) = run.run([make_pair(*paths)])
    assert "millimetres are those at the detector: in the patient distances are smaller" in done.document["notes"]
    assert done.document["changes"][1]["unit"] == "mm² at the detector"
    assert done.document["registration"]["unit"] == "mm at the detector"
    assert "hot area [mm² at the detector]" in (tmp_path / "out" / "comparisons.csv").read_text()
    assert "shift 0.0 mm at the detector" in registration_line(done.comparison)
    assert table_of(done.comparison.changes).rows[1][0] == "hot area [mm² at the detector]"
    assert drawn == [(pytest.approx(0.8 * picture(10).shape[1]), "at the detector")]


def test_radiographs_whose_millimetres_are_measured_in_two_places_say_so(tmp_path, networks):
    prior = radiograph(tmp_path, "prior.dcm", picture(10), spacing=(0.8, 0.8))
    current = radiograph(tmp_path, "current.dcm", picture(10), spacing=(0.8, 0.8))
    calibrated = pydicom.dcmread(current)
    calibrated.PixelSpacing = [0.7, 0.7]
    calibrated.save_as(current)
    found = ComparePairs(exact(networks), settings(tmp_path, retests=0, registration="none")).compare(prior, current)
    assert (
        "mm of the prior study are at the detector, those of the current one calibrated: they are not one measure, and"
        " sizes are in those of the prior"
    ) in found.notes
    assert found["hot area"].unit == "mm² at the detector"


def test_another_patient_is_refused_and_no_output_says_who(tmp_path, networks, capsys):
    prior = radiograph(tmp_path, "prior.dcm", picture(10), spacing=(1, 1), patient="PLANTED-ONE")
    current = radiograph(tmp_path, "current.dcm", picture(10), spacing=(1, 1), patient="PLANTED-TWO")
    run = ComparePairs(exact(networks), settings(tmp_path))
    with pytest.raises(ComparisonError, match="two patients"):
        run.compare(prior, current)
    (refused,) = run.run([make_pair(prior, current)])
    assert refused.state == "not compared"
    radiograph(tmp_path, "current.dcm", picture(12), spacing=(1, 1), patient="PLANTED-ONE", date="19200101")
    (done,) = run.run([make_pair(prior, current)])
    assert done.state == "compared"
    assert "dated later" in " ".join(done.document["notes"])
    written = b"".join(file.read_bytes() for file in (tmp_path / "out").iterdir())
    said = capsys.readouterr()
    for planted in ("PLANTED", "19010203", "20200101"):
        assert planted.encode() not in written
        assert planted not in said.out + said.err + str(refused.reason)


def test_a_dicom_file_called_after_its_patient_is_named_nowhere(tmp_path, networks, capsys):
    prior = radiograph(tmp_path, "PLANTED_Jane_2019.dcm", picture(10), spacing=(1, 1))
    current = radiograph(tmp_path, "PLANTED_Jane_2021.dcm", picture(12), spacing=(1, 1), date="20210101")
    broken = tmp_path / "PLANTED_Jane_2022.dcm"
    broken.write_bytes(current.read_bytes()[:400])
    run = ComparePairs(exact(networks), settings(tmp_path, retests=0))
    done, refused = run.run([make_pair(prior, current), make_pair(prior, broken)])
    assert (done.state, refused.state) == ("compared", "not compared")
    assert re.fullmatch(r"study-[0-9a-f]{8}_study-[0-9a-f]{8}", done.pair.name)
    assert [done.document["prior"], done.document["current"]] == done.pair.name.split("_")
    files = list((tmp_path / "out").iterdir())
    said = capsys.readouterr()
    for text in (*(file.name for file in files), said.out, said.err, refused.reason):
        assert "PLANTED" not in text
    assert not any(b"PLANTED" in file.read_bytes() for file in files)


def test_a_prior_without_spacing_is_compared_in_pixels(tmp_path, networks):
    prior = save(tmp_path / "prior.png", picture(10))
    current = radiograph(tmp_path, "current.dcm", picture(10), spacing=(0.5, 0.5))
    found = ComparePairs(exact(networks), settings(tmp_path, retests=0)).compare(prior, current)
    assert found["hot area"].unit == found.unit == "pixels"
    notes = " ".join(found.notes)
    assert "spacing of one image alone is known" in notes
    assert "could not be checked" in notes


def volume(path, radius, spacing, size, *, turned=False):
    """A ball in mm about (30, 33, 31) as NIfTI, RAS, or with the first axis running backwards."""
    affine = np.diag([*spacing, 1.0])
    if turned:
        affine[0, 0], affine[0, 3] = -spacing[0], (size[0] - 1) * spacing[0]
    index = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1)
    places = index @ affine[:3, :3].T + affine[:3, 3]
    values = np.clip((radius - np.linalg.norm(places - (30, 33, 31), axis=-1)) / np.mean(spacing) + 0.5, 0, 1)
    weak = 0.3 * np.prod([0.5 + 0.5 * np.sin(places[..., n] / (9 + 2 * n) + n) for n in range(3)], axis=0)
    nib.save(nib.Nifti1Image(np.maximum(values, weak).astype(np.float32), affine), path)
    return path


def test_volumes_are_compared_in_the_patient_and_the_difference_is_written(tmp_path, networks):
    prior = volume(tmp_path / "prior.nii.gz", 10, (2.0, 1.5, 1.5), (32, 44, 44))
    current = volume(tmp_path / "current.nii.gz", 14, (1.5, 1.5, 3.0), (42, 44, 22), turned=True)
    how = settings(tmp_path, retests=1, preprocess=VolumePreprocess(intensity="none"), registration="none")
    (done,) = ComparePairs(exact(networks, "deep"), how).run([make_pair(prior, current)])
    assert done.state == "compared", done.reason
    found = done.comparison
    assert found["hot volume"].change == pytest.approx(4 / 3 * np.pi * (14**3 - 10**3), rel=0.1)
    written = nib.load(tmp_path / "out" / "prior_current_difference.nii.gz")
    assert np.allclose(written.affine, nib.load(prior).affine)
    assert written.get_fdata() == pytest.approx(found.difference, abs=1e-6)
    assert (tmp_path / "out" / "prior_current.png").exists()


def test_a_mask_on_the_prior_is_followed(tmp_path, networks):
    mask = np.zeros((96, 96), np.uint8)
    mask[30:60, 40:66] = 255
    masks = {"lobe": save(tmp_path / "lobe.png", mask)}
    pair = save(tmp_path / "a.png", picture(10)), save(tmp_path / "b.png", picture(15))
    found = ComparePairs(exact(networks), settings(tmp_path, masks=masks, retests=0)).compare(*pair)
    assert found["mean in lobe"].change > 0.1


def test_a_gate_is_the_sites(tmp_path, networks):
    pair = save(tmp_path / "a.png", picture(10)), save(tmp_path / "b.png", np.roll(picture(10), 8, 0))
    strict = settings(tmp_path, gate=Gate(shift=0.02), retests=0)
    assert ComparePairs(exact(networks), strict).run([make_pair(*pair)])[0].reason.count("shift 8%") == 1
    found = ComparePairs(exact(networks), replace(strict, gate=Gate(shift=0.2))).compare(*pair)
    assert found.registration.quality.shift == pytest.approx(8, abs=0.5)


def test_pairs_are_read_and_named(tmp_path):
    table = tmp_path / "pairs.csv"
    table.write_text("prior,current,name\na/x.png,b/x.png,\na/x.png,c/x.png,\na.nii.gz,b.nii.gz,w/o contrast\n")
    pairs = read_pairs(table)
    assert [pair.name for pair in pairs] == ["x_x", "x_x-2", "w-o-contrast"]
    assert pairs[0].prior == tmp_path / "a" / "x.png"
    for text, named in (
        ("prior,currant\na,b\n", "currant"),
        ("prior,current\n", "no pair"),
        ("prior,current\na,\n", "line 2"),
        ("prior,current,name\na,b,X\nc,d,x\n", "one name"),
    ):
        table.write_text(text)
        with pytest.raises(InputError, match=named):
            read_pairs(table)
    with pytest.raises(InputError, match=r"none\.csv"):
        read_pairs(tmp_path / "none.csv")


def test_what_does_not_fit_the_network_is_said(tmp_path, networks):
    flat = save(tmp_path / "a.png", picture(10))
    with pytest.raises(InputError, match="takes volumes"):
        ComparePairs(exact(networks, "deep"), settings(tmp_path, preprocess=None)).compare(flat, flat)
    with pytest.raises(InputError, match="these are volumes: give a VolumePreprocess"):
        ComparePairs(exact(networks, "deep"), settings(tmp_path))
    with pytest.raises(InputError, match="threshold"):
        ComparePairs(exact(networks), settings(tmp_path, threshold=2))
    save(tmp_path / "b.png", picture(10))
    (tmp_path / "several").mkdir()
    for name in ("a.png", "b.png"):
        save(tmp_path / "several" / name, picture(10))
    with pytest.raises(InputError, match="holds 2 pictures"):
        ComparePairs(exact(networks), settings(tmp_path)).compare(flat, tmp_path / "several")


def test_two_dicom_series_of_one_patient_are_compared_and_their_identity_is_written_nowhere(tmp_path, networks):
    index = np.stack(np.meshgrid(*map(np.arange, (12, 32, 32)), indexing="ij"), -1) * (2.5, 0.8, 0.7)
    for name, radius in (("before", 5), ("after", 7)):
        ball = np.clip((radius - np.linalg.norm(index - (13, 12, 11), axis=-1)) + 0.5, 0, 1)
        weak = 0.3 * np.prod([0.5 + 0.5 * np.sin(index[..., n] / (4 + n) + n) for n in range(3)], axis=0)
        dicoms.ct_series(tmp_path / name, np.rint(1000 * np.maximum(ball, weak)), intercept=0, slope=1)
    how = settings(tmp_path, retests=1, preprocess=VolumePreprocess(intensity="none", orientation=None))
    (done,) = ComparePairs(exact(networks, "deep"), how).run([make_pair(tmp_path / "before", tmp_path / "after")])
    assert done.state == "compared", done.reason
    assert done.comparison["hot volume"].change == pytest.approx(4 / 3 * np.pi * (7**3 - 5**3), rel=0.1)
    assert done.comparison.registration.kind == "rigid"
    assert not any("could not be checked" in note for note in done.document["notes"])
    for file in (tmp_path / "out").iterdir():
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        assert not any(planted.encode() in data for planted in dicoms.PLANTED), file.name


def test_pictures_of_two_sides_of_the_patient_are_refused(tmp_path, networks):
    paths = []
    for name, axes in (("axial", dicoms.AXIAL), ("coronal", dicoms.CORONAL)):
        slice_ = dicoms.ct(picture(10).astype(np.uint16), (0.0, 0.0, 0.0), axes, spacing=(1.0, 1.0))
        paths.append(dicoms.save(slice_, tmp_path / f"{name}.dcm"))
    with pytest.raises(ComparisonError, match="two sides"):
        ComparePairs(exact(networks), settings(tmp_path)).compare(*paths)
