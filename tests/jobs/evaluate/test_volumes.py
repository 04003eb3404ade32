"""Evaluation of volumes: NIfTI and DICOM series in, masks of any grid on their tissue, numbers and slices out."""

from __future__ import annotations

import gc
import io
import json
import weakref
from dataclasses import replace

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from PIL import Image

from cfcam.errors import CfcamError, InputError
from cfcam.imaging import Preprocess, Volume, VolumePreprocess, read_volume
from cfcam.imaging.drawing.planes import PLANES, VolumeView
from cfcam.jobs import JobError, VolumeSettings
from cfcam.jobs.cases.case import Case
from cfcam.jobs.cases.volumes import VolumeCase, are_volumes, find_picture_cases, find_volume_cases, holds_volumes
from cfcam.jobs.evaluate import examples
from cfcam.jobs.evaluate.page import write_report
from cfcam.jobs.evaluate.settings import EvaluationSettings
from cfcam.jobs.evaluate.volumes import VolumeEvaluationRun
from cfcam.jobs.inputs import reading
from cfcam.metrics.scorecard.catalogue import QUICK
from cfcam.models import load
from tests.exchange.phantoms import SHAPE as CT_SHAPE
from tests.exchange.phantoms import ct_sources
from tests.imaging import dicoms
from tests.imaging.grids import ORDERS, affine_of
from tests.jobs.world import NETWORKS as FLAT_NETWORKS
from tests.jobs.world import draw

NETWORKS = str(FLAT_NETWORKS).replace("user_networks", "volume_networks")
CLASSES = ("bright", "dark")
SHORT = ("hit-rate", "enrichment")
UNIT = VolumePreprocess(intensity="unit")
SHAPE, MIDDLE = (15, 18, 21), (4, 13, 16)  # the ball lies in a corner, so that no axis can be turned unnoticed
RADIUS = 4.0  # mm
PLACE = affine_of("RAS", tilt=20)
CENTRE = (PLACE @ [*MIDDLE, 1])[:3]


def ball(affine=PLACE, shape=SHAPE, centre=CENTRE, radius=RADIUS):
    """Which voxels of a grid lie in a ball, all in mm."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    places = index @ affine[:3, :3].T + affine[:3, 3]
    return np.linalg.norm(places - centre, axis=-1) <= radius


def write(path, values, affine=PLACE, code=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(np.asarray(values), affine)
    image.set_sform(affine, code)
    image.set_qform(affine, code)
    nib.save(image, path)
    return path


def scan(path, affine=PLACE, shape=SHAPE, seed=1, **how):
    """A ball in dim noise, that the network finds bright."""
    noise = np.random.default_rng(seed).integers(0, 60, shape).astype(np.int16)
    return write(path, np.where(ball(affine, shape), 900, noise).astype(np.int16), affine, **how)


def mask(path, affine=PLACE, shape=SHAPE, centre=CENTRE, **how):
    return write(path, ball(affine, shape, centre).astype(np.uint8), affine, **how)


def turned(path, codes):
    """Writes a NIfTI again with its axes in another order, every voxel at its place."""
    image = nib.load(path)
    change = nib.orientations.ornt_transform(
        nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(tuple(codes))
    )
    again = image.as_reoriented(change)
    return write(path, np.asarray(again.dataobj), again.affine)


def table(folder, *lines):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cases.csv").write_text("\n".join(["image,label,mask,boxes,patient,group", *lines]) + "\n")
    return folder / "cases.csv"


def phantoms(folder, count=4):
    lines = []
    for n in range(count):
        scan(folder / f"{n}.nii.gz", seed=n)
        mask(folder / f"{n}-truth.nii.gz")
        lines.append(f"{n}.nii.gz,bright,{n}-truth.nii.gz,,P{n // 2},{'Basel' if n % 2 else 'Lyon'}")
    return table(folder, *lines)


def run(data, output, *, how=None, network="bright", **settings):
    settings = {"methods": ("grad-cam",), "metrics": SHORT, "preprocess": UNIT} | settings
    model = load(f"{NETWORKS}:{network}", classes=CLASSES)
    cases = find_volume_cases(data, model.classes, output=output, how=how)
    return VolumeEvaluationRun(model, cases, EvaluationSettings(**settings), output)


def value(card, metric, image="0.nii.gz", method="grad-cam"):
    (row,) = [row for row in card.rows if (row.image, row.method) == (image, method)]
    return row.values[metric]


def truth_of(image, masks, preprocess=UNIT):
    """The ground truth on the network's grid, and what was said of it."""
    notices = []
    case = VolumeCase(Case("x", image, masks=tuple(masks)))
    return case.load(preprocess, None, notices.append).ground_truth, notices


# the numbers


def test_a_network_that_looks_at_the_ball_hits_it_and_not_a_place_elsewhere(tmp_path):
    random = torch.get_rng_state()
    card = run(phantoms(tmp_path / "in", 1), tmp_path / "out")()
    assert torch.equal(torch.get_rng_state(), random)
    assert value(card, "hit-rate") == 1
    assert value(card, "enrichment") > 3
    mask(tmp_path / "in" / "0-truth.nii.gz", centre=(PLACE @ [10, 4, 4, 1])[:3])
    card = run(tmp_path / "in" / "cases.csv", tmp_path / "elsewhere")()
    assert value(card, "hit-rate") == 0
    assert value(card, "enrichment") < 1


def test_a_table_of_volumes_becomes_numbers_and_a_page_with_slices(tmp_path):
    evaluation = run(phantoms(tmp_path / "in"), tmp_path / "out", metrics=("quick",), explained="label")
    card = evaluation()
    assert card.failed == {}
    assert {row.patient for row in card.rows} == {"P0", "P1"}
    assert {row.group for row in card.rows} == {"Basel", "Lyon"}
    assert all(row.correct for row in card.rows)
    mine = [row for row in card.rows if row.method == "grad-cam"]
    without = {"class-sensitivity", "milliseconds", "forward-passes"}  # for the dark class there is no evidence
    assert all(set(QUICK) - set(row.values) == without for row in mine)
    write_report(card, tmp_path / "out", evaluation.examples(2))
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.count("data:image/jpeg") == 2
    assert "research use" in page
    told = json.loads((tmp_path / "out" / "scorecard.json").read_text())
    assert told["info"]["preprocess"]["intensity"] == "unit"
    assert told["info"]["volumes"] == {"time": None, "channel": None, "series": None, "irregular": "refuse"}
    assert told["info"]["batch_size"] == 1


# the mask on its tissue


@pytest.mark.parametrize("codes", ORDERS)
def test_a_mask_in_any_order_of_axes_lies_on_the_same_tissue(tmp_path, codes):
    image = scan(tmp_path / "a.nii.gz")
    plain, _ = truth_of(image, [mask(tmp_path / "m.nii.gz")])
    assert torch.equal(plain, torch.from_numpy(ball()))  # RAS is the order of the network's axes too
    assert torch.equal(truth_of(image, [turned(tmp_path / "m.nii.gz", codes)])[0], plain)
    seen = VolumeCase(Case("x", turned(image, codes), masks=(tmp_path / "m.nii.gz",))).load(UNIT, None, print)
    assert torch.equal(seen.ground_truth, plain)
    assert torch.equal(seen.image[0] == 1, plain)


def test_a_mask_on_a_finer_grid_that_lies_otherwise_is_brought_to_the_volume_with_a_notice(tmp_path):
    image = scan(tmp_path / "a.nii.gz")
    other = affine_of("LSP", spacing=(0.9, 1.1, 1.0), tilt=-35)
    other[:3, 3] = CENTRE - other[:3, :3] @ [14, 13, 15]  # the ball in its middle
    truth, notices = truth_of(image, [mask(tmp_path / "m.nii.gz", other, (30, 28, 32))])
    expected = torch.from_numpy(ball())
    assert (truth & expected).sum() / (truth | expected).sum() > 0.8
    assert notices == ["the mask m.nii.gz is on another grid: it was resampled by its place in the patient"]


def test_several_masks_are_united_and_what_lies_outside_is_told(tmp_path):
    image = scan(tmp_path / "a.nii.gz")
    single = np.zeros(SHAPE, np.uint8)
    single[1, 2, 3] = 2
    truth, notices = truth_of(image, [mask(tmp_path / "m.nii.gz"), write(tmp_path / "n.nii.gz", single)])
    expected = ball()
    expected[1, 2, 3] = True
    assert torch.equal(truth, torch.from_numpy(expected))
    assert notices == []
    moved = PLACE.copy()
    moved[:3, 3] += PLACE[:3, :3] @ [2, 0, 0]  # two voxels on, so that the last two slices lie outside
    full = np.zeros(SHAPE, np.uint8)
    full[-3:, 0, 0] = 1
    truth, notices = truth_of(image, [write(tmp_path / "n.nii.gz", full, moved)])
    assert truth.nonzero().tolist() == [[SHAPE[0] - 1, 0, 0]]
    assert notices == ["2 of the 3 voxels of the mask n.nii.gz lie outside of the volume and were cut"]


@pytest.mark.parametrize(
    "preprocess",
    [
        VolumePreprocess(),
        VolumePreprocess(size=(7, 9, 30)),
        VolumePreprocess(spacing=3.0),
        VolumePreprocess(orientation="SPL", spacing=(2.0, 2.5, 1.0), size=12),
        VolumePreprocess(orientation=None, size=(5, 6, 7)),
    ],
)
def test_a_mask_goes_to_the_network_by_the_nearest_voxel(preprocess):
    marked = torch.rand(SHAPE, generator=torch.Generator().manual_seed(3)) > 0.5
    volume = Volume(np.zeros(SHAPE, np.float32), affine_of("PIR", tilt=30))
    found = preprocess.mask(marked, volume)
    size, affine = preprocess.grid(volume)
    expected = np.zeros(size, dtype=bool)
    for index in np.ndindex(*size):
        source = np.linalg.solve(volume.affine, affine @ [*index, 1])[:3]
        nearest = [int(np.floor(round(at, 6) + 0.5)) for at in source]
        if all(0 <= at < length for at, length in zip(nearest, SHAPE, strict=True)):
            expected[index] = marked[tuple(nearest)]
    assert found.numpy().tolist() == expected.tolist()


def test_ground_truth_that_is_empty_everywhere_or_cut_away_is_not_assessed(tmp_path):
    image = scan(tmp_path / "a.nii.gz")
    empty = write(tmp_path / "m.nii.gz", np.zeros(SHAPE, np.uint8))
    assert truth_of(image, [empty]) == (None, ["the ground truth is empty: localisation is not assessed"])
    background = np.where(ball(), 1.0, np.nan).astype(np.float32)
    truth, notices = truth_of(image, [write(tmp_path / "m.nii.gz", background)])
    assert truth is None
    assert "the ground truth is the whole volume (is its background NaN?)" in notices[-1]
    cropped = VolumePreprocess(spacing=1.5, size=3)
    truth, (notice,) = truth_of(image, [mask(tmp_path / "m.nii.gz")], cropped)
    assert truth is None
    assert "nothing of the ground truth reaches the network" in notice
    zeros = np.where(ball(), 1.0, 0.0).astype(np.float32)
    zeros[0, 0, 0] = np.nan
    truth, (notice,) = truth_of(image, [write(tmp_path / "m.nii.gz", zeros)])
    assert torch.equal(truth, torch.from_numpy(ball()))
    assert notice.startswith("the mask m.nii.gz: 1 voxels are no finite numbers")


def test_without_a_place_in_the_patient_a_mask_has_to_have_the_grid_of_the_volume(tmp_path):
    image = scan(tmp_path / "a.nii.gz", code=0)
    as_stored = replace(UNIT, orientation=None)
    truth, _ = truth_of(image, [mask(tmp_path / "m.nii.gz", code=0)], as_stored)
    assert torch.equal(truth, torch.from_numpy(ball()))
    smaller = write(tmp_path / "m.nii.gz", np.ones((4, 5, 6), np.uint8), code=0)
    with pytest.raises(CfcamError, match=r"4 x 5 x 6 and the volume 15 x 18 x 21 voxels"):
        truth_of(image, [smaller])
    with pytest.raises(CfcamError, match="header of the volume does not say how it lies"):
        truth_of(image, [mask(tmp_path / "m.nii.gz")])
    with pytest.raises(CfcamError, match="header of the mask does not say how it lies"):
        truth_of(scan(image), [mask(tmp_path / "m.nii.gz", code=0)])


def test_a_dicom_series_with_a_nifti_and_a_dicom_segmentation_as_masks(tmp_path):
    from tests.clinical.checks.test_masks import full, marked, write_seg

    sources = [full(source) for source in ct_sources()]
    for number, source in enumerate(sources):
        dicoms.save(source, tmp_path / "in" / "ct" / f"{(number * 3) % 5}.dcm")
    volume = read_volume(tmp_path / "in" / "ct")
    drawn = marked()
    write(tmp_path / "in" / "m.nii.gz", drawn.astype(np.uint8), volume.affine)
    turned(tmp_path / "in" / "m.nii.gz", "LPS")
    seg = write_seg(tmp_path / "in" / "seg.dcm", sources, drawn.astype(np.uint8))
    source_grid = VolumePreprocess(orientation=None)
    for path in (tmp_path / "in" / "m.nii.gz", seg):
        truth, _ = truth_of(tmp_path / "in" / "ct", [path], source_grid)
        assert torch.equal(truth, torch.from_numpy(drawn)), path.name
    assert drawn.shape == CT_SHAPE
    card = run(table(tmp_path / "in", "ct,dark,m.nii.gz,,,"), tmp_path / "out")()
    assert card.failed == {}
    assert card.images == 1


# what does not fit


def test_what_does_not_fit_is_reported_one_by_one_and_the_others_are_measured(tmp_path):
    data = phantoms(tmp_path / "in", 2)
    folder = tmp_path / "in"
    (folder / "broken.nii.gz").write_bytes(b"\x1f\x8bno volume")
    draw(folder / "flat.png")
    write(folder / "series.nii.gz", np.zeros((*SHAPE, 5), np.int16))
    far = PLACE.copy()
    far[:3, 3] += 500
    mask(folder / "far.nii.gz", far, centre=CENTRE + 500)
    (folder / "cut.nii.gz").write_bytes((folder / "0-truth.nii.gz").read_bytes()[:60])
    with data.open("a") as file:
        file.write(
            "broken.nii.gz,bright,,,,\nmissing.nii.gz,bright,,,,\nflat.png,bright,,,,\nseries.nii.gz,bright,,,,\n"
        )
        for label, truth in (("brihgt", ""), ("7", ""), ("", "far.nii.gz"), ("", "flat.png"), ("", "cut.nii.gz")):
            file.write(f"0.nii.gz,{label},{truth},,,\n")
        file.write('0.nii.gz,,,"[[0, 0, 4, 4]]",,\n0.nii.gz,,nowhere.nii.gz,,,\n')
    card = run(data, tmp_path / "out")()
    assert {row.image for row in card.rows} == {"0.nii.gz #1", "1.nii.gz"}
    for name, words in {
        "broken.nii.gz": "the gzip archive is cut off or broken",
        "missing.nii.gz": "no such file",
        "flat.png": "is neither NIfTI",
        "series.nii.gz": "holds 5 volumes",
        "0.nii.gz #2": "bright",
        "0.nii.gz #3": "out of range",
        "0.nii.gz #4": "lies wholly outside",
        "0.nii.gz #5": "flat.png: give a NIfTI",
        "0.nii.gz #6": "cut.nii.gz",
        "0.nii.gz #7": "boxes are of pictures",
        "0.nii.gz #8": "nowhere.nii.gz is not there",
    }.items():
        assert words in card.failed.pop(name), name
    assert card.failed == {}


def test_of_a_time_series_the_volume_that_is_asked_for_is_measured(tmp_path):
    volumes = np.zeros((*SHAPE, 3), np.int16)
    volumes[..., 1] = ball() * 900
    write(tmp_path / "in" / "a.nii.gz", volumes)
    mask(tmp_path / "in" / "a_mask.nii.gz")
    card = run(tmp_path / "in", tmp_path / "out", how=VolumeSettings(time=1))()
    assert value(card, "hit-rate", "a.nii.gz") == 1
    with pytest.raises(JobError, match="--overwrite"):
        run(tmp_path / "in", tmp_path / "out", how=VolumeSettings(time=2))


def test_volumes_of_several_sizes_are_measured_in_batches_too(tmp_path):
    for n, shape in enumerate(((15, 18, 21), (12, 18, 21), (15, 18, 21))):
        scan(tmp_path / "in" / f"{n}.nii.gz", shape=shape)
        mask(tmp_path / "in" / f"{n}_mask.nii.gz", shape=shape)
    alone = run(tmp_path / "in", tmp_path / "alone")()
    together = run(tmp_path / "in", tmp_path / "together", batch_size=3)()
    assert together.failed == {}
    for n in range(3):
        image = f"{n}.nii.gz"
        assert value(together, "enrichment", image) == pytest.approx(value(alone, "enrichment", image), rel=1e-5)


def test_where_the_size_is_not_given_the_first_volume_that_can_be_read_gives_it(tmp_path):
    (tmp_path / "in").mkdir()
    for n in range(6):
        (tmp_path / "in" / f"broken{n}.nii.gz").write_bytes(b"")
    with pytest.raises(JobError, match="none of 6 volumes can be read; the first: "):
        run(tmp_path / "in", tmp_path / "out")
    card = run(tmp_path / "in", tmp_path / "sized", preprocess=replace(UNIT, size=12))()
    assert (card.rows, len(card.failed)) == ([], 6)
    scan(tmp_path / "in" / "good.nii.gz")
    evaluation = run(tmp_path / "in", tmp_path / "out")
    assert evaluation._input_shape() == (1, 1, *SHAPE)
    assert {row.image for row in evaluation().rows} == {"good.nii.gz"}


def test_black_is_left_out_where_it_is_not_known(tmp_path):
    data = phantoms(tmp_path / "in", 1)
    metrics = ("deletion-black", "deletion-blur")
    evaluation = run(data, tmp_path / "out", metrics=metrics, preprocess=VolumePreprocess())
    assert any(note.startswith("deletion-black: left out") for note in evaluation.notes)
    assert evaluation().metrics == ("deletion-blur",)
    with pytest.raises(InputError, match="--intensity unit"):
        run(data, tmp_path / "z", metrics=("deletion-black",), preprocess=VolumePreprocess())
    everything = run(data, tmp_path / "all", metrics=("all",), preprocess=VolumePreprocess())
    assert not [name for name in everything.evaluator.settings.metrics if name.endswith("-black")]
    known = run(data, tmp_path / "unit", metrics=metrics, preprocess=replace(UNIT, mean=(0.2,), std=(0.5,)))
    assert known.evaluator.settings.metrics == metrics
    assert known.evaluator.settings.black == (-0.4,)
    assert known.evaluator.settings.white == (1.6,)
    window = VolumePreprocess(intensity="none", window=(40.0, 400.0), mean=(10.0,), std=(100.0,))
    assert run(data, tmp_path / "hu", metrics=metrics, preprocess=window).evaluator.settings.black == (-1.7,)
    card = run(data, tmp_path / "peak", metrics=("peak-shift",), preprocess=VolumePreprocess())()
    assert any("without brightness" in said for said in card.left_out())
    assert not any("brightness" in said for said in run(data, tmp_path / "known", metrics=("peak-shift",))().left_out())


def test_a_volume_without_a_part_is_asked_on_the_same_grid(tmp_path):
    far = (PLACE @ [11, 4, 5, 1])[:3]
    inside = {"ball": ball(), "spot": ball(centre=far, radius=3.0)}
    bright = {"ball": 900, "spot": 500}

    def without(name=None):
        values = np.zeros(SHAPE, np.int16)
        for part, where in inside.items():
            values[where] = 0 if part == name else bright[part]
        return values

    write(tmp_path / "scan.nii.gz", without())
    for name, where in inside.items():
        write(tmp_path / f"{name}-mask.nii.gz", where.astype(np.uint8))
        write(tmp_path / f"without-{name}.nii.gz", without(name))
    parts = json.dumps({n: [f"{n}-mask.nii.gz", f"without-{n}.nii.gz"] for n in inside}).replace('"', '""')
    (tmp_path / "cases.csv").write_text(f'image,label,parts\nscan.nii.gz,bright,"{parts}"\n')
    fixed = VolumePreprocess(intensity="none", window=(450.0, 900.0), mean=(0.0,), std=(900.0,))
    row = run(tmp_path / "cases.csv", tmp_path / "out", metrics=("part-removal",), preprocess=fixed)().rows[0]
    falls = row.extra["falls"]
    assert falls["ball"] > falls["spot"] > 0
    assert row.values["part-removal"] == 1
    write(tmp_path / "without-spot.nii.gz", without("spot"), affine_of("RAS", tilt=5))
    card = run(tmp_path / "cases.csv", tmp_path / "moved", metrics=("part-removal",), preprocess=fixed)()
    assert "the volume without spot lies on another grid" in card.failed["scan.nii.gz"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"protocol": "cfcam-paper"}, "one of pictures"),
        ({"preprocess": Preprocess()}, "VolumePreprocess"),
        ({"batch_size": 0}, "batch size"),
    ],
)
def test_a_wrong_set_up_is_one_line(tmp_path, settings, words):
    with pytest.raises(CfcamError, match=words) as caught:
        run(phantoms(tmp_path / "in", 1), tmp_path / "out", **settings)
    assert "\n" not in str(caught.value)


# one at a time, and again


def test_one_volume_is_in_memory_at_a_time(tmp_path, monkeypatch):
    held, alive = [], []

    def counted(path, **how):
        gc.collect()
        alive.append(sum(one() is not None for one in held))
        volume = read_volume(path, **how)
        held.append(weakref.ref(volume))
        return volume

    monkeypatch.setattr(reading, "read_volume", counted)
    evaluation = run(phantoms(tmp_path / "in"), tmp_path / "out")
    evaluation()
    assert alive == [0] * 5  # the first is read once more, for the size


class KilledError(Exception):
    pass


def test_a_run_that_was_killed_goes_on_and_gives_the_same_rows(tmp_path, monkeypatch):
    data = phantoms(tmp_path / "in")
    settings = {"metrics": (*SHORT, "average-drop", "input-noise-soft-iou")}
    whole = run(data, tmp_path / "whole", **settings)()

    def killed(progress):
        if progress.done == 2:
            raise KilledError

    with pytest.raises(KilledError):
        run(data, tmp_path / "out", **settings)(killed)
    before = (tmp_path / "out" / "rows.jsonl").read_bytes()
    again = run(data, tmp_path / "out", **settings)
    seen = []
    card = again(seen.append)
    assert (seen[0].earlier, seen[-1].done) == (2, 4)
    assert card.rows == whole.rows
    assert (tmp_path / "out" / "rows.jsonl").read_bytes().startswith(before)


def test_a_slice_or_a_mask_that_changed_makes_another_case(tmp_path):
    dicoms.ct_series(tmp_path / "ct", dicoms.phantom())
    case = VolumeCase(Case("ct", tmp_path / "ct", masks=(mask(tmp_path / "m.nii.gz"),)))
    seen = [case.identity()]
    file = sorted((tmp_path / "ct").iterdir())[2]
    header = pydicom.dcmread(file)
    header.SeriesDescription = "changed"
    header.save_as(file)
    seen.append(case.identity())
    write(tmp_path / "m.nii.gz", np.ones(SHAPE, np.float64))
    seen.append(case.identity())
    seen.append(replace(case, how=VolumeSettings(series=2)).identity())
    assert len({json.dumps(one) for one in seen}) == 4
    assert json.dumps(case.identity()) == json.dumps(seen[2])


# a folder


def found(folder, **how):
    notices = []
    cases = find_volume_cases(folder, CLASSES, notice=notices.append, **how)
    return {
        one.name: (one.case.label, [path.relative_to(folder).as_posix() for path in one.case.masks]) for one in cases
    }, notices


@pytest.mark.parametrize(
    ("image", "truth"),
    [
        ("a.nii.gz", "masks/a.nii.gz"),
        ("a.nii", "masks/a.nii.gz"),
        ("a.b.nii.gz", "a.b_mask.nii.gz"),
        ("images/a.nii.gz", "labels/a.nii.gz"),
        ("imagesTr/a.nii.gz", "labelsTr/a.nii.gz"),
        ("imagesTs/a_0000.nii.gz", "labelsTs/a.nii.gz"),  # nnU-Net's: an image is called by its channel
        ("imagesTr/amos_0000.nii.gz", "labelsTr/amos_0000.nii.gz"),  # a number, and no channel
        ("bright/a.nii.gz", "masks/bright/a.nii.gz"),
        ("bright/a.nii.gz", "bright/a_mask.nii"),
    ],
)
def test_masks_are_found_where_people_put_them(tmp_path, image, truth):
    scan(tmp_path / image)
    mask(tmp_path / truth)
    label = "bright" if image.startswith("bright") else None
    assert found(tmp_path) == ({image: (label, [truth])}, [])


def test_a_folder_of_series_files_and_pictures(tmp_path):
    dicoms.ct_series(tmp_path / "dark" / "1.2.3", dicoms.phantom())
    mask(tmp_path / "dark" / "1.2.3_mask.nii.gz")
    scan(tmp_path / "bright" / "a.nii")
    draw(tmp_path / "bright" / "thumbnail.png")
    mask(tmp_path / "masks" / "nobody.nii.gz")
    scan(tmp_path / "out" / "old.nii.gz")
    cases, notices = found(tmp_path, output=tmp_path / "out")
    assert cases == {"bright/a.nii": ("bright", []), "dark/1.2.3": ("dark", ["dark/1.2.3_mask.nii.gz"])}
    assert sorted(notices) == [
        "masks that belong to no volume: 1, such as masks/nobody.nii.gz",
        "pictures, which the network does not take: 1, such as bright/thumbnail.png",
    ]


def test_a_single_volume_a_series_by_its_folder_and_nothing_at_all(tmp_path):
    assert [one.name for one in find_volume_cases(scan(tmp_path / "a.nii.gz"))] == ["a.nii.gz"]
    dicoms.ct_series(tmp_path / "ct", dicoms.phantom())
    (one,) = find_volume_cases(tmp_path / "ct")
    assert (one.name, one.case.image) == ("ct", tmp_path / "ct")
    (tmp_path / "empty").mkdir()
    for place, words in (("nowhere", "no such file or folder"), ("empty", "no volume in it")):
        with pytest.raises(CfcamError, match=words):
            find_volume_cases(tmp_path / place)
    draw(tmp_path / "flat" / "a.png")
    with pytest.raises(CfcamError, match="no volume in it"):
        find_volume_cases(tmp_path / "flat")


def test_volumes_for_a_network_that_takes_pictures_are_refused_as_what_they_are(tmp_path):
    draw(tmp_path / "flat" / "a.png")
    assert [case.name for case in find_picture_cases(tmp_path / "flat")] == ["a.png"]
    for place in (scan(tmp_path / "in" / "a.nii.gz"), tmp_path / "in"):
        with pytest.raises(CfcamError, match="these are volumes, and the network takes pictures"):
            find_picture_cases(place)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CfcamError, match="holds no picture"):
        find_picture_cases(tmp_path / "empty")


def test_whether_volumes_are_meant_says_the_network_else_the_data(tmp_path):
    scan(tmp_path / "in" / "a.nii.gz")
    draw(tmp_path / "flat" / "a.png")
    dicoms.ct_series(tmp_path / "dicom" / "ct", dicoms.phantom())
    assert holds_volumes(tmp_path / "in")
    assert holds_volumes(tmp_path / "in" / "a.nii.gz")
    assert holds_volumes(table(tmp_path / "in", "a.nii.gz,,,,,"))
    assert holds_volumes(tmp_path / "dicom")
    assert holds_volumes(table(tmp_path / "dicom", "ct,,,,,"))
    assert not holds_volumes(tmp_path / "flat")
    assert not holds_volumes(table(tmp_path / "flat", "a.png,,,,,"))
    assert not holds_volumes(tmp_path / "nowhere")
    assert are_volumes(torch.nn.Conv3d(1, 1, 1), tmp_path / "flat")
    assert not are_volumes(torch.nn.Conv2d(1, 1, 1), tmp_path / "in")
    assert are_volumes(torch.nn.Linear(1, 1), tmp_path / "in")


# the sheets


def magenta(jpeg):
    """Rows and columns of the sheet on which the ground truth is outlined."""
    pixels = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")).astype(int)
    return np.argwhere((pixels[..., 0] > 160) & (pixels[..., 1] < 150) & (pixels[..., 2] > 160))


def test_a_sheet_shows_the_ground_truth_in_slices_through_it(tmp_path):
    data = phantoms(tmp_path / "in", 1)
    (sheet,) = run(data, tmp_path / "out").examples()
    assert sheet.name == "0.nii.gz"
    outlined = magenta(sheet.jpeg)
    rows = np.flatnonzero(np.diff(np.unique(outlined[:, 0])) > 10)
    assert len(rows) >= 2  # in three slices, one under the other
    elsewhere = (PLACE @ [11, 3, 3, 1])[:3]
    mask(tmp_path / "in" / "0-truth.nii.gz", centre=elsewhere)
    (moved,) = run(data, tmp_path / "elsewhere").examples()
    assert len(magenta(moved.jpeg)) > 20  # the slices go through the ground truth, not through the map
    data.write_text(data.read_text().replace("0-truth.nii.gz", ""))
    (plain,) = run(data, tmp_path / "plain").examples()
    assert len(magenta(plain.jpeg)) == 0


def test_the_slices_of_an_example_say_where_left_is():
    view = VolumeView.of(Volume(np.zeros((20, 24, 16), np.float32), np.eye(4)), None)
    column, top = examples._slices(view, None, (10, 12, 8)), 0
    for plane in PLANES:
        width, height = view.size(plane, view.scale(examples._SIDE))
        left = (column.shape[1] - width) // 2
        beside = column[top + height // 2 - 8 : top + height // 2 + 8, left : left + 20]
        assert (beside.min(-1) > 200).sum() > 5, plane  # R, R, A
        top += height


def test_an_example_that_cannot_be_read_is_passed_over(tmp_path):
    phantoms(tmp_path / "in", 2)
    (tmp_path / "in" / "cases.csv").unlink()
    for name in ("0-truth.nii.gz", "1-truth.nii.gz"):
        (tmp_path / "in" / name).unlink()
    (tmp_path / "in" / "broken.nii.gz").write_bytes(b"")
    assert {one.name for one in run(tmp_path / "in", tmp_path / "out").examples(5)} == {"0.nii.gz", "1.nii.gz"}
