"""Masks from NIfTI files and DICOM Segmentations, laid over pictures and volumes by their place in the patient."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pydicom = pytest.importorskip("pydicom")
nib = pytest.importorskip("nibabel")
hd = pytest.importorskip("highdicom")

from highdicom.seg import Segmentation, SegmentDescription  # noqa: E402
from pydicom.sr.codedict import codes  # noqa: E402

from cfcam.clinical import checks  # noqa: E402
from cfcam.clinical.checks.masks import read_mask  # noqa: E402
from cfcam.clinical.checks.results import Outcome  # noqa: E402
from cfcam.errors import ImageError, InputError  # noqa: E402
from cfcam.exchange.dicom.read_segmentation import is_segmentation, read_segmentation  # noqa: E402
from cfcam.imaging import Image, Volume, read_image, read_volume  # noqa: E402
from tests.exchange.phantoms import SHAPE, ct_sources, place_by_hand, radiograph  # noqa: E402
from tests.imaging import dicoms  # noqa: E402


def marked(shape=SHAPE):
    """A block without any symmetry, away from the middle, in two slices only."""
    mask = np.zeros(shape, dtype=bool)
    mask[..., 3:9, 11:18] = True
    mask[..., 3, 11] = False
    if len(shape) == 3:
        mask[[0, 3, 4]] = False
    return mask


def segment(number, label="organ"):
    return SegmentDescription(
        segment_number=number, segment_label=label, segmented_property_category=codes.SCT.Organ,
        segmented_property_type=codes.SCT.Lung, algorithm_type="MANUAL",
    )  # fmt: skip


def write_seg(path, sources, pixels, count=1, *, omit=True, kind="BINARY"):
    dataset = Segmentation(
        sources, pixels, segmentation_type=kind, segment_descriptions=[segment(n + 1) for n in range(count)],
        series_instance_uid="1.2.8.1", series_number=8, sop_instance_uid="1.2.8.2", instance_number=1,
        manufacturer="test", manufacturer_model_name="test", software_versions="1", device_serial_number="1",
        omit_empty_frames=omit,
    )  # fmt: skip
    dataset.save_as(path)
    return path


def full(source):
    """What writing needs of a source beside what reading does."""
    for key in ("AccessionNumber", "StudyID", "StudyTime", "ReferringPhysicianName", "PatientSex"):
        if key not in source:
            setattr(source, key, "")
    return source


@pytest.fixture
def series(tmp_path):
    """The files of an oblique CT series under names of no order, their sources, and the volume as cfcam reads it."""
    sources = [full(source) for source in ct_sources()]
    for number, source in enumerate(sources):
        dicoms.save(source, tmp_path / "ct" / f"{(number * 3) % 5}.dcm")
    return tmp_path / "ct", sources, read_volume(tmp_path / "ct")


@pytest.mark.parametrize("omit", [True, False], ids=["empty frames left out", "all frames"])
def test_a_segmentation_of_a_series_lies_where_it_was_drawn(series, tmp_path, omit):
    _, sources, volume = series
    path = write_seg(tmp_path / "organ.dcm", sources, marked().astype(np.uint8), omit=omit)
    assert is_segmentation(path)
    mask, notices = read_segmentation(path, volume)
    expected = {tuple(np.round(place_by_hand(*index), 3)) for index in np.argwhere(marked())}
    found = {tuple(np.round(np.diag([-1, -1, 1]) @ volume.place(index), 3)) for index in mask.nonzero().tolist()}
    assert found == expected
    assert notices == ()


def test_each_slice_as_a_picture_gets_its_plane_of_the_segmentation(series, tmp_path):
    folder, sources, _ = series
    path = write_seg(tmp_path / "organ.dcm", sources, marked().astype(np.uint8))
    for number in range(SHAPE[0]):
        mask, notices = read_segmentation(path, read_image(folder / f"{(number * 3) % 5}.dcm"))
        assert np.array_equal(mask.numpy(), marked()[number])
        assert any("wholly outside" in notice for notice in notices) == (not marked()[number].any())


def test_segments_are_picked_by_number_and_joined_otherwise(series, tmp_path):
    _, sources, volume = series
    two = np.stack([marked(), np.roll(marked(), 2, axis=1)], axis=-1).astype(np.uint8)
    path = write_seg(tmp_path / "two.dcm", sources, two, 2)
    (both, notices), (second, quiet) = (read_segmentation(path, volume, segments=s) for s in (None, [2]))
    assert int(both.sum()) == int(two.any(-1).sum())
    assert int(second.sum()) == int(two[..., 1].sum())
    assert "2 segments" in notices[0]
    assert quiet == ()
    with pytest.raises(InputError, match="no segment 3: it has 1, 2"):
        read_segmentation(path, volume, segments=[3])


@pytest.mark.parametrize(("tilt", "kind"), [(0.0, "BINARY"), (1.5, "BINARY"), (1.5, "LABELMAP"), (12.0, "FRACTIONAL")])
def test_a_segmentation_of_a_tilted_gantry_lies_plane_by_plane_on_its_slices(tmp_path, tilt, kind):
    """Slices that walk obliquely; highdicom's own volume of it is 5 mm off at 1.5 degrees, and there is none at 12."""
    shape, (along, down) = (80, 6, 5), dicoms.AXIAL
    walk = np.cross(along, down) + np.tan(np.radians(tilt)) * np.array(down)
    where = [np.array([-90.0, -70.0, 40.0]) + 2.5 * n * walk for n in range(shape[0])]
    sources = [full(dicoms.ct(np.zeros(shape[1:]), place)) for place in where]
    for number, source in enumerate(sources):
        source.PatientSex, source.InstanceNumber = "", number + 1
        dicoms.save(source, tmp_path / "ct" / f"{number}.dcm")
    drawn = np.zeros(shape, np.uint8)
    drawn[3:9, 1:4, 2], drawn[70:, 2:5, 1:3] = 1, 1  # and none between
    path = write_seg(tmp_path / "organ.dcm", sources, drawn if kind != "FRACTIONAL" else drawn.astype(float), kind=kind)
    mask, notices = read_segmentation(path, read_volume(tmp_path / "ct"))
    assert np.array_equal(mask.numpy(), drawn == 1)
    assert notices == ()


def test_planes_that_are_on_no_grid_are_refused(series, tmp_path):
    _, sources, volume = series
    path = write_seg(tmp_path / "organ.dcm", sources, np.ones(SHAPE, np.uint8))
    dataset = pydicom.dcmread(path)
    place = dataset.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence[0]
    place.ImagePositionPatient = [float(place.ImagePositionPatient[0]) + 3, *place.ImagePositionPatient[1:]]
    dataset.save_as(path)
    with pytest.raises(ImageError, match=r"organ\.dcm: its planes lie up to \d\.\d\d mm beside a regular grid"):
        read_segmentation(path, volume)


def test_a_fractional_segmentation_is_cut_at_one_half(series, tmp_path):
    _, sources, volume = series
    fractions = np.where(marked(), 0.75, 0.25)
    path = write_seg(tmp_path / "f.dcm", sources, fractions, kind="FRACTIONAL")
    assert int(read_segmentation(path, volume)[0].sum()) == int(marked().sum())


def test_another_frame_of_reference_is_refused_in_one_line(series, tmp_path):
    _, sources, volume = series
    for source in sources:
        source.FrameOfReferenceUID = "1.2.77"
    path = write_seg(tmp_path / "organ.dcm", sources, marked().astype(np.uint8))
    with pytest.raises(InputError, match="another frame of reference") as caught:
        read_segmentation(path, volume)
    assert "1.2.77" not in str(caught.value)
    assert "PLANTED" not in str(caught.value)


def test_a_segmentation_of_coarser_slices_is_resampled_with_a_notice(series, tmp_path):
    _, sources, volume = series
    finer = Volume(np.repeat(volume.voxels, 2, axis=1), volume.affine @ np.diag([1, 0.5, 1, 1]), volume.source)
    mask, notices = read_segmentation(write_seg(tmp_path / "o.dcm", sources, marked().astype(np.uint8)), finer)
    assert any("resampled" in notice for notice in notices)
    assert float(mask.double().mean()) == pytest.approx(marked().mean(), rel=0.2)


def test_a_segmentation_of_a_radiograph_belongs_to_that_picture_alone(tmp_path):
    source = full(radiograph())
    picture = read_image(dicoms.save(source, tmp_path / "cr.dcm"))
    path = write_seg(tmp_path / "organ.dcm", [source], marked(SHAPE[1:]).astype(np.uint8))
    dataset = pydicom.dcmread(path)
    dataset.PatientOrientation = ["L", "F"]
    dataset.save_as(path)
    mask, notices = read_segmentation(path, picture)
    assert np.array_equal(mask.numpy(), marked(SHAPE[1:]))
    assert notices == ()

    other = full(radiograph())
    elsewhere = read_image(dicoms.save(other, tmp_path / "other.dcm"))
    with pytest.raises(InputError, match="made on another picture"):
        read_segmentation(path, elsewhere)

    source.PatientOrientation = ["R", "F"]
    turned = read_image(dicoms.save(source, tmp_path / "turned.dcm"))
    with pytest.raises(InputError, match=r"orientation L/F and the picture R/F"):
        read_segmentation(path, turned)


def test_an_empty_segmentation_leaves_the_check_not_assessed(series, tmp_path):
    _, sources, volume = series
    path = write_seg(tmp_path / "none.dcm", sources, np.zeros(SHAPE, np.uint8), omit=False)
    mask, notices = read_segmentation(path, volume)
    assert notices == ("the mask none.dcm is empty",)
    for result in checks.plausibility(torch.rand(SHAPE), mask):
        assert result.outcome is Outcome.NOT_ASSESSED
        assert "empty" in result.detail


def test_a_broken_segmentation_says_so_without_quoting_it(series, tmp_path):
    _, sources, volume = series
    path = write_seg(tmp_path / "organ.dcm", sources, marked().astype(np.uint8))
    dataset = pydicom.dcmread(path)
    del dataset.SharedFunctionalGroupsSequence
    dataset.save_as(path)
    with pytest.raises(ImageError, match=r"organ\.dcm") as caught:
        read_segmentation(path, volume)
    assert "PLANTED" not in str(caught.value)


# --- NIfTI ------------------------------------------------------------------------------------------------------


def nifti(path, values, affine):
    nib.save(nib.Nifti1Image(np.asarray(values, dtype=np.int16), affine), path)
    return path


def test_a_nifti_of_other_axes_is_laid_over_a_volume_by_place_alone(series, tmp_path):
    _, _, volume = series
    turned = marked().transpose(2, 1, 0)[::-1]
    affine = volume.affine @ np.array([[0, 0, 1, 0], [0, 1, 0, 0], [-1, 0, 0, SHAPE[2] - 1], [0, 0, 0, 1.0]])
    mask, notices = read_mask(nifti(tmp_path / "m.nii.gz", turned, affine), volume)
    assert np.array_equal(mask.numpy(), marked())
    assert notices == ()


def test_a_nifti_far_away_is_said_to_lie_outside(series, tmp_path):
    _, _, volume = series
    affine = volume.affine.copy()
    affine[0, 3] += 4000
    mask, notices = read_mask(nifti(tmp_path / "m.nii", marked(), affine), volume)
    assert not mask.any()
    assert "wholly outside" in notices[-1]


def test_labels_pick_values_of_a_nifti(series, tmp_path):
    _, _, volume = series
    values = marked() * 1 + np.roll(marked(), 10, axis=1) * 2
    path = nifti(tmp_path / "m.nii", values, volume.affine)
    assert int(read_mask(path, volume, labels=[2])[0].sum()) == int((values == 2).sum())
    assert int(read_mask(path, volume)[0].sum()) == int((values > 0).sum())


@pytest.mark.parametrize(
    ("affine", "arrange"),
    [
        (np.diag([-1.0, -1, 1, 1]), lambda flat: flat.T[:, :, None]),  # as ITK writes a PNG: axial, columns to the left
        (np.diag([-1.0, 1, -1, 1]), lambda flat: flat.T[:, None, :]),  # coronal, as cfcam's page has a radiograph
        (np.diag([1.0, 1, 1, 1]), lambda flat: flat.T[::-1, ::-1][:, :, None]),  # RAS+: both axes run backwards
    ],
    ids=["axial LP", "coronal LI", "axial RA"],
)
def test_a_nifti_of_one_slice_is_laid_over_a_picture_as_it_is_shown(tmp_path, affine, arrange):
    flat = marked(SHAPE[1:])
    picture = Image(np.zeros(flat.shape, np.uint8), None, "")
    mask, notices = read_mask(nifti(tmp_path / "m.nii", arrange(flat), affine), picture)
    assert np.array_equal(mask.numpy(), flat)
    assert any("view is shown" in notice for notice in notices)


def test_a_nifti_of_several_slices_over_a_picture_without_a_place_is_refused(tmp_path):
    picture = Image(np.zeros(SHAPE[1:], np.uint8), None, "")
    with pytest.raises(InputError, match="give one slice"):
        read_mask(nifti(tmp_path / "m.nii", marked(), np.eye(4)), picture)


def test_a_mask_lying_on_its_side_is_refused_as_such(tmp_path):
    picture = Image(np.zeros((24, 20), np.uint8), None, "")
    turned = marked((24, 20))
    affine = np.diag([-1.0, -1, 1, 1])
    with pytest.raises(InputError, match="turned by a right angle"):
        read_mask(nifti(tmp_path / "m.nii", turned[:, :, None], affine), picture)
