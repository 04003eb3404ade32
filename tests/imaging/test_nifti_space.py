"""NIfTI headers that can be read in several ways: a map lies on its source in every reader; what differs is told."""

from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest

from cfcam.errors import ImageError
from cfcam.imaging import (
    Panel,
    VolumePreprocess,
    montage_figure,
    projection_figure,
    read_volume,
    save_map_nifti,
    slices_figure,
    volume_sheet,
)
from cfcam.imaging.volume import Volume
from tests.imaging.grids import affine_of

SIZE = (7, 9, 11)
S = affine_of("RAS", origin=(-20.0, -30.0, -40.0))


def moved(affine, x=6.0):
    other = affine.copy()
    other[0, 3] += x
    return other


def turned(affine, degrees=10):
    angle = np.radians(degrees)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn @ affine


def sheared(affine, share=0.3):
    other = affine.copy()
    other[:3, 2] += share * affine[:3, 1]
    return other


def flipped(affine):
    return affine @ np.array([[-1, 0, 0, SIZE[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])


TRANSFORMS = {
    "equal": (S, S),
    "moved": (S, moved(S)),
    "turned": (S, turned(S)),
    "flipped": (S, flipped(S)),
    "larger": (S, S @ np.diag([1.5, 1.5, 1.5, 1])),
    "sheared": (sheared(S), S),
}


def written(path, sform=None, qform=None, codes=(1, 1), *, units="mm", array=None, kind=nib.Nifti1Image, **fields):
    """A file whose header holds exactly these transforms, also where its codes say that they are not there."""
    array = np.random.default_rng(0).random(SIZE, np.float32) if array is None else array
    image = kind(array, None)
    header = image.header
    if qform is not None:
        header.set_qform(qform, 1)
    if sform is not None:
        header.set_sform(sform, 1)
    header["sform_code"], header["qform_code"] = codes
    header.set_xyzt_units(units)
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(image.to_bytes())
    return path


def by_nibabel(path):
    return nib.load(path).affine


def by_itk(path):
    image = pytest.importorskip("SimpleITK").ReadImage(str(path))
    direction = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    return np.block([[direction, np.array(image.GetOrigin())[:, None]], [np.zeros((1, 3)), 1]])


def by_niivue(path):
    """Its rule (nvimage, `calculateRAS`): the transform with the higher code, the sform of equal ones; no unit."""
    header = nib.load(path).header
    if not header["sform_code"] and not header["qform_code"]:
        return np.diag([*header["pixdim"][1:4], 1.0])
    by_qform = header["qform_code"] > header["sform_code"]
    return header.get_qform() if by_qform else header.get_sform()


READERS = (by_nibabel, by_itk, by_niivue)


def saved(source, folder, name="map.nii"):
    volume = read_volume(source)
    return save_map_nifti(np.zeros(volume.size, np.float32), volume, folder / name)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("units", ["mm", "micron", "meter", "unknown"])
@pytest.mark.parametrize("codes", [(1, 1), (2, 1), (1, 2), (4, 1), (0, 1), (1, 0), (2, 0), (0, 0)])
@pytest.mark.parametrize("which", TRANSFORMS)
def test_a_map_lies_on_its_source_in_every_reader(tmp_path, reader, units, codes, which):
    source = written(tmp_path / "source.nii", *TRANSFORMS[which], codes, units=units)
    copy = saved(source, tmp_path)
    try:
        expected = reader(source)
    except RuntimeError:  # ITK takes no sheared transform
        with pytest.raises(RuntimeError):
            reader(copy)
        return
    np.testing.assert_allclose(reader(copy), expected, atol=1e-4 * np.abs(expected).max())


def test_the_transforms_are_copied_and_nothing_else_is(tmp_path):
    source = written(
        tmp_path / "source.nii", S, moved(S), (3, 1), units="micron", descrip=b"DOE^JANE", aux_file=b"jane",
        db_name=b"Doe", intent_name=b"Doe", intent_code=1002,
    )  # fmt: skip
    header = nib.load(saved(source, tmp_path)).header
    original = nib.load(source).header
    for name in ("sform_code", "qform_code", "xyzt_units", "srow_x", "srow_y", "srow_z", "quatern_b", "qoffset_x"):
        np.testing.assert_array_equal(header[name], original[name])
    np.testing.assert_array_equal(header["pixdim"][:4], original["pixdim"][:4])
    assert [bytes(header[name]).strip(b"\0") for name in ("descrip", "aux_file", "db_name", "intent_name")] == [b""] * 4
    assert header["intent_code"] == 0
    assert not header.extensions


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("shape", [SIZE, (*SIZE, 1)])
def test_the_version_of_the_format_is_kept_and_the_map_has_three_axes(tmp_path, kind, shape):
    array = np.zeros(shape, np.float32)
    source = written(tmp_path / "source.nii", S, S, array=array, kind=kind)
    copy = nib.load(saved(source, tmp_path))
    assert type(copy) is kind
    assert copy.shape == SIZE
    assert read_volume(tmp_path / "map.nii").notices == ()


def test_a_source_of_the_other_byte_order(tmp_path):
    image = nib.Nifti1Image(np.random.default_rng(0).random(SIZE, np.float32), None)
    header = image.header.as_byteswapped(">")
    header.set_sform(S, 2)
    header.set_qform(moved(S), 1)
    nib.save(nib.Nifti1Image(image.get_fdata(), None, header), tmp_path / "source.nii")
    assert nib.load(tmp_path / "source.nii").header.endianness == ">"
    copy = saved(tmp_path / "source.nii", tmp_path)
    for reader in READERS:
        np.testing.assert_allclose(reader(copy), reader(tmp_path / "source.nii"), atol=1e-4)


@pytest.mark.parametrize("codes", list(itertools.product((1, 2, 3, 4, 5), repeat=2)))
def test_transforms_that_differ_are_told_whatever_their_codes(tmp_path, codes):
    for which in ("moved", "turned", "flipped", "larger", "sheared"):
        source = written(tmp_path / f"{which}.nii", *TRANSFORMS[which], codes)
        line = next(line for line in read_volume(source).notices if "sform and qform disagree by" in line)
        assert ("ITK" in line) == (codes[0] != 1)
    source = written(tmp_path / "equal.nii", S, S, codes)
    assert not any("disagree" in line for line in read_volume(source).notices)


def test_a_small_difference_between_small_voxels_is_told_and_rounding_is_not(tmp_path):
    tiny = affine_of("LPS", spacing=(0.05, 0.05, 0.05), tilt=18)  # half a turn: the quaternion is at its least exact
    assert read_volume(written(tmp_path / "a.nii", tiny, tiny, (2, 1))).notices == ()
    (line,) = read_volume(written(tmp_path / "b.nii", tiny, moved(tiny, 0.04), (1, 1))).notices
    assert "disagree by 0.04 mm" in line


def test_a_broken_qform_beside_a_good_sform_is_told(tmp_path):
    (line,) = read_volume(written(tmp_path / "a.nii", S, S, (1, 1), quatern_b=np.nan)).notices
    assert line == "its qform is broken: the sform is used"


def test_voxel_sizes_that_are_not_those_of_the_sform_are_told_for_itk_takes_them(tmp_path):
    pixdim = np.array([1, 1, 1, 1, 0, 0, 0, 0], np.float32)
    source = written(tmp_path / "a.nii", S, None, (1, 0), pixdim=pixdim)
    (line,) = read_volume(source).notices
    assert "voxels of 1 x 1 x 1 mm and its sform of 1.5 x 2 x 3 mm" in line
    assert np.allclose(np.linalg.norm(by_itk(source)[:3, :3], axis=0), 1)
    np.testing.assert_allclose(by_itk(saved(source, tmp_path)), by_itk(source))


@pytest.mark.parametrize(("code", "space"), [(3, "Talairach"), (4, "MNI"), (5, "a template's")])
def test_a_space_that_is_not_the_scanner_is_told(tmp_path, code, space):
    for codes in ((code, 0), (0, code), (code, code)):
        (line,) = read_volume(written(tmp_path / "a.nii", S, S, codes)).notices
        assert line.startswith(f"its transform leads to {space} space")


def test_micrometres_are_told_and_an_unnamed_unit_stands_under_the_pictures(tmp_path):
    (line,) = read_volume(written(tmp_path / "a.nii", S, S, units="micron")).notices
    assert "counts in micrometres" in line
    volume = read_volume(written(tmp_path / "b.nii", S, S, units="unknown"))
    assert volume.assumed == ("the header names no unit of length: lengths are taken as mm",)
    assert read_volume(written(tmp_path / "c.nii", S, S)).assumed == ()
    (line,) = read_volume(written(tmp_path / "d.nii", S, S, xyzt_units=5)).notices
    assert "unit of length by 5" in line


def test_a_sheared_grid_is_told_and_its_voxels_have_their_own_volume(tmp_path):
    affine = np.diag([2.0, 3, 4, 1])
    affine[1, 2] = 4  # by 45 degrees: the third axis is 4 * sqrt(2) long, the volume stays 2 * 3 * 4
    volume = read_volume(written(tmp_path / "a.nii", affine, None, (1, 0), pixdim=[1, 2, 3, 32**0.5, 0, 0, 0, 0]))
    (line,) = volume.notices
    assert "not at right angles" in line
    np.testing.assert_allclose(volume.voxel_volume, 24)
    np.testing.assert_allclose(volume.spacing, (2, 3, 32**0.5))


@pytest.mark.parametrize(("slope", "told"), [(0.0, True), (np.nan, True), (1.0, False), (-2.0, False)])
def test_an_intercept_without_a_slope_is_told(tmp_path, slope, told):
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    path = written(tmp_path / "a.nii", S, S, array=array)
    data = bytearray(path.read_bytes())
    data[112:120] = np.array([slope, 10.0], np.float32).tobytes()
    path.write_bytes(data)
    volume = read_volume(path)
    np.testing.assert_allclose(volume.voxels, array if told else array * slope + 10)
    assert any("with an intercept of 10" in line for line in volume.notices) == told


# --- a place that is not known


@pytest.fixture
def nowhere(tmp_path):
    return read_volume(written(tmp_path / "nowhere.nii", S, S, (0, 0)))


def test_without_a_transform_no_direction_is_claimed(nowhere):
    assert not nowhere.placed
    assert nowhere.orientation == "???"
    assert "???" in repr(nowhere)
    assert "left and right are unknown" in nowhere.notices[0]
    assert Volume(np.zeros(SIZE), np.eye(4)).placed


def test_every_picture_of_it_shows_question_marks_and_no_place(nowhere, monkeypatch):
    from cfcam.imaging.drawing import cells
    from cfcam.imaging.drawing import difference as difference_figure
    from cfcam.imaging.drawing import parts as figure_parts

    written_texts = []

    def spy(height, width, ink, boxes, texts):
        written_texts.extend(text.line for text in texts)
        return drawn(height, width, ink, boxes, texts)

    drawn = figure_parts.drawn_page
    monkeypatch.setattr(cells, "drawn_page", spy)
    monkeypatch.setattr(difference_figure, "drawn_page", spy)
    heat = np.zeros(SIZE, np.float32)
    heat[2, 3, 4] = 1
    scenes = difference_figure.volume_scenes(nowhere, np.array(nowhere.voxels), (heat, heat * 0.5))
    makers = {
        "slices": lambda: slices_figure(nowhere, heat),
        "sheet": lambda: volume_sheet(nowhere, [Panel(heat, "grad-cam", "a", 0.5)]),
        "montage": lambda: montage_figure(nowhere, heat),
        "projection": lambda: projection_figure(nowhere, heat),
        "difference": lambda: difference_figure.comparison_figure(
            scenes[0], difference_figure.Table(("a",), [("b",)], [False]), title="t", statement="s", notes=scenes[1]
        ),
    }
    for name, make in makers.items():
        written_texts.clear()
        make()
        assert written_texts.count("?") >= 4, name
        assert not {"R", "L", "A", "P", "S", "I"} & set(written_texts), name
        said = " ".join(written_texts)
        assert "directions are unknown" in said, name
        assert "radiological convention" not in said, name
        assert "axial" not in said, name


def test_it_is_shown_as_it_is_stored_and_the_network_gets_it_as_nibabel_has_it(nowhere):
    as_stored = VolumePreprocess(orientation=None, intensity="none")(nowhere)[0].numpy()
    np.testing.assert_array_equal(as_stored, nowhere.voxels)
    turned_round = VolumePreprocess(intensity="none")(nowhere)[0].numpy()
    np.testing.assert_array_equal(turned_round, nowhere.voxels[::-1])  # LAS into RAS


# --- numbers that are none


def test_not_finite_voxels_are_counted_in_every_kind_of_volume(tmp_path):
    array = np.ones((3, 4, 5), np.float32)
    array[0, 0] = np.nan
    array[1, 0, 0] = -np.inf
    array[2] = 7
    path = written(tmp_path / "a.nii", S, S, array=array)
    for volume in (read_volume(path), Volume(array, np.eye(4))):
        assert np.isfinite(volume.voxels).all()
        assert volume.voxels[0, 0, 0] == 1
        assert volume.missing.sum() == 6
        (line,) = volume.notices
        assert "6 voxels are no finite numbers (of 60): they are taken as 1" in line
        assert np.isfinite(VolumePreprocess()(volume).numpy()).all()
    assert Volume(np.ones((3, 4, 5)), np.eye(4)).missing is None


def test_each_channel_is_filled_with_its_own_smallest_value():
    array = np.stack([np.full((2, 3, 4), 5.0), np.full((2, 3, 4), -80.0)])
    array[:, 0, 0, 0] = np.nan
    volume = Volume(array, np.eye(4))
    assert volume.voxels[:, 0, 0, 0].tolist() == [5, -80]
    assert volume.missing.sum() == 1
    array[1] = np.nan
    with pytest.raises(ImageError, match="channel 1 of 2 holds no finite number"):
        Volume(array, np.eye(4))


# --- windows


@pytest.mark.parametrize(
    ("low", "high", "window"), [(0, 0.02, (0, 1)), (0, 0, (0, 1)), (0, 1, (0, 1)), (0, 5, (0, 5)), (-2, 1, (-2, 2))]
)
def test_a_map_says_from_where_to_where_it_is_shown(tmp_path, low, high, window):
    volume = Volume(np.ones(SIZE), S)
    values = np.full(SIZE, low, np.float32)
    values[0, 0, 0] = high
    header = nib.load(save_map_nifti(values, volume, tmp_path / "map.nii")).header
    assert (header["cal_min"], header["cal_max"]) == window
    header = nib.load(save_map_nifti(values, volume, tmp_path / "map.nii", window=(-3, 3))).header
    assert (header["cal_min"], header["cal_max"]) == (-3, 3)


@pytest.mark.parametrize("name", ["a.hdr", "a.img", "a.nrrd", "a.mha", "a.mgz"])
def test_other_formats_are_refused_by_their_name(tmp_path, name):
    (tmp_path / name).write_bytes(bytes(400))
    with pytest.raises(ImageError, match="no format of volumes that cfcam reads"):
        read_volume(tmp_path / name)
