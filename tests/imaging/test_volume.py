"""Volumes: left is left and head is head, whichever way the axes run; what is no regular grid is refused in a line."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import replace

import nibabel as nib
import numpy as np
import pydicom
import pytest

from cfcam.errors import CfcamError, InputError
from cfcam.imaging.geometry import axis_codes, is_sheared, obliqueness, turned
from cfcam.imaging.reading.stacking import digest_of_series
from cfcam.imaging.reading.volumes import read_volume
from cfcam.imaging.save_nifti import save_map_nifti
from cfcam.imaging.volume import Source, Volume
from tests.imaging.dicoms import (
    AXIAL,
    CORONAL,
    PLANTED,
    SAGITTAL,
    base,
    ct,
    ct_series,
    enhanced,
    phantom,
    positions,
    radiograph,
    rotated,
    save,
    with_pixels,
)
from tests.imaging.grids import ORDERS, affine_of


def nifti(path, array, affine, **header):
    image = nib.Nifti1Image(array, affine)
    image.set_sform(affine, header.pop("sform", 1))
    image.set_qform(affine, header.pop("qform", 1))
    image.header.set_xyzt_units(header.pop("units", "mm"))
    for key, value in header.items():
        image.header[key] = value
    nib.save(image, path)
    return path


def complaint(call, *args, **options):
    with pytest.raises(CfcamError) as caught:
        call(*args, **options)
    message = str(caught.value)
    assert message.isprintable()
    assert not any(word in message for word in PLANTED)
    return message


def place_of_peak_nibabel(path):
    image = nib.load(path)
    index = np.unravel_index(np.argmax(image.get_fdata()), image.shape)
    return (image.affine @ [*index, 1])[:3]


def place_of_peak_simpleitk(path):
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.ReadImage(str(path))
    index = np.unravel_index(np.argmax(sitk.GetArrayFromImage(image)), image.GetSize()[::-1])[::-1]
    x, y, z = image.TransformIndexToPhysicalPoint([int(i) for i in index])
    return np.array([-x, -y, z])  # ITK counts in LPS


# --- geometry


@pytest.mark.parametrize("codes", ORDERS)
@pytest.mark.parametrize("tilt", [0, 18])
def test_axis_codes_are_those_of_nibabel(codes, tilt):
    affine = affine_of(codes, tilt=tilt)
    assert axis_codes(affine) == codes == "".join(nib.aff2axcodes(affine))
    assert (obliqueness(affine) > 5) == bool(tilt)


@pytest.mark.parametrize("codes", ORDERS)
@pytest.mark.parametrize("into", ["RAS", "SPL", "PIR"])
def test_turning_is_that_of_nibabel(codes, into):
    array = phantom()
    axes, flips = turned(codes, into)
    ours = np.flip(array.transpose(axes), [n for n, flip in enumerate(flips) if flip])
    change = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt(codes), nib.orientations.axcodes2ornt(into))
    np.testing.assert_array_equal(ours, nib.orientations.apply_orientation(array, change))


@pytest.mark.parametrize("codes", ["RA", "RRS", "XYZ", "RALS", "ras"])
def test_codes_that_name_no_orientation(codes):
    with pytest.raises(InputError, match="three letters"):
        turned("RAS", codes)


# --- NIfTI in


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII.GZ"])
def test_voxels_affine_and_identity_of_a_nifti(tmp_path, name):
    array, affine = phantom().astype(np.int16), affine_of("LAS")
    path = nifti(tmp_path / "x.nii", array, affine)
    data = path.read_bytes()
    target = tmp_path / name
    target.write_bytes(gzip.compress(data) if name.lower().endswith("gz") else data)
    volume = read_volume(target)
    np.testing.assert_array_equal(volume.voxels, array)
    assert volume.voxels.dtype == np.float32
    assert not volume.voxels.flags.writeable
    np.testing.assert_allclose(volume.affine, affine)
    assert (volume.size, volume.spacing, volume.orientation) == ((6, 10, 12), (1.5, 2.0, 3.0), "LAS")
    assert volume.sha256 == hashlib.sha256(target.read_bytes()).hexdigest()
    assert volume.tensor().shape == (1, 6, 10, 12)
    assert volume.notices == ()
    assert repr(volume) == "Volume(6 x 10 x 12, 1.5 x 2 x 3 mm, LAS, nifti)"


def test_scaled_intensities_and_the_display_window(tmp_path):
    array = phantom().astype(np.int16)
    path = nifti(tmp_path / "a.nii", array, affine_of("RAS"), cal_min=100, cal_max=300)
    data = bytearray(path.read_bytes())
    data[112:120] = np.array([2.0, -5.0], np.float32).tobytes()  # scl_slope, scl_inter
    path.write_bytes(data)
    volume = read_volume(path)
    np.testing.assert_allclose(volume.voxels, array * 2.0 - 5)
    assert volume.window == (200, 200)


def test_the_sform_counts_and_a_qform_that_disagrees_is_told(tmp_path):
    path = nifti(tmp_path / "a.nii", phantom(), affine_of("RAS"))
    image = nib.load(path)
    image.set_qform(affine_of("RAS", origin=(12.0, -34.0, 66.0)), 1)
    nib.save(image, tmp_path / "b.nii")
    volume = read_volume(tmp_path / "b.nii")
    np.testing.assert_allclose(volume.affine, affine_of("RAS"))
    assert volume.notices == ("its sform and qform disagree by 10.0 mm: the sform is used",)


def test_the_qform_counts_where_there_is_no_sform(tmp_path):
    affine = affine_of("PSR", tilt=10)
    volume = read_volume(nifti(tmp_path / "a.nii", phantom(), affine, sform=0))
    np.testing.assert_allclose(volume.affine, affine, atol=1e-4)


def test_a_header_without_a_transform_is_told_and_left_so(tmp_path):
    path = nifti(tmp_path / "a.nii", phantom(), affine_of("LAS"), sform=0, qform=0)
    volume = read_volume(path)
    np.testing.assert_allclose(volume.affine, nib.load(path).affine)
    assert "left and right are unknown" in volume.notices[0]
    saved = nib.load(save_map_nifti(volume.voxels, volume, tmp_path / "map.nii"))
    assert (saved.header["sform_code"], saved.header["qform_code"]) == (0, 0)
    np.testing.assert_allclose(saved.affine, nib.load(path).affine)  # every reader lays it over the source


@pytest.mark.parametrize(("units", "factor"), [("micron", 1e-3), ("meter", 1e3), ("unknown", 1)])
def test_units_are_brought_to_millimetres(tmp_path, units, factor):
    volume = read_volume(nifti(tmp_path / "a.nii", phantom(), affine_of("RAS", spacing=(1, 2, 3)), units=units))
    np.testing.assert_allclose(volume.spacing, np.array([1, 2, 3]) * factor)


def test_voxels_that_are_no_numbers_become_the_smallest(tmp_path):
    array = phantom().astype(np.float32)
    array[0, 0, :3] = (np.nan, np.inf, -np.inf)
    volume = read_volume(nifti(tmp_path / "a.nii", array, affine_of("RAS")))
    assert volume.voxels[0, 0, :3].tolist() == [float(array[np.isfinite(array)].min())] * 3
    assert "3 voxels are no finite numbers" in volume.notices[0]
    array[:] = np.nan
    assert "no finite number" in complaint(read_volume, nifti(tmp_path / "b.nii", array, affine_of("RAS")))


def test_several_volumes_in_a_file_ask_for_a_choice(tmp_path):
    array = np.stack([phantom(seed=n) for n in range(4)], axis=3).astype(np.int16)
    path = nifti(tmp_path / "a.nii", array, affine_of("RAS"))
    message = complaint(read_volume, path)
    assert "holds 4 volumes of 6 x 10 x 12 along a fourth axis" in message
    assert "time=N" in message
    np.testing.assert_array_equal(read_volume(path, time=2).voxels, array[..., 2])
    np.testing.assert_array_equal(read_volume(path, channel=3).voxels, array[..., 3])
    every = read_volume(path, channel="all")
    assert every.channels == 4
    assert every.size == (6, 10, 12)
    np.testing.assert_array_equal(every.voxels, np.moveaxis(array, 3, 0))
    assert "give 0 to 3" in complaint(read_volume, path, time=4)
    assert "not both" in complaint(read_volume, path, time=1, channel=1)
    single = nifti(tmp_path / "b.nii", array[..., :1], affine_of("RAS"))
    np.testing.assert_array_equal(read_volume(single).voxels, array[..., 0])
    assert "one volume only" in complaint(read_volume, single, time=1)


def test_a_channel_alone_says_which_it_is_and_has_no_other_files_window(tmp_path):
    voxels = np.arange(24, dtype=np.float32).reshape(2, 2, 2, 3)
    of_one_file = Volume(voxels, np.eye(4), window=(5.0, 10.0), window_function="LINEAR")
    named = replace(of_one_file, source=Source(channels=(("T1", "a.nii"), ("1", "b.nii"))))
    assert [volume.alone(1).window for volume in (of_one_file, named)] == [(5.0, 10.0), None]
    assert (named.alone(0).window, named.alone(0).window_function) == ((5.0, 10.0), "LINEAR")
    np.testing.assert_array_equal(named.alone(1).voxels, voxels[1])
    notices = [named.alone(number).notices for number in (0, 1)]
    assert notices == [("of its 2 channels T1 is shown",), ("of its 2 channels channel 1 is shown",)]
    assert "give 0 to 1" in complaint(named.channel, 2)
    single = replace(of_one_file, voxels=voxels[0])
    assert single.alone(0) is single
    np.testing.assert_array_equal(single.channel(), voxels[0])


def test_times_and_channels_together(tmp_path):
    array = np.random.default_rng(0).integers(0, 99, (4, 5, 6, 3, 2)).astype(np.int16)
    path = nifti(tmp_path / "a.nii", array, affine_of("RAS"))
    assert "3 times and 2 channels" in complaint(read_volume, path, time=1)
    np.testing.assert_array_equal(read_volume(path, time=1, channel=0).voxels, array[..., 1, 0])
    np.testing.assert_array_equal(read_volume(path, time=2, channel="all").voxels, np.moveaxis(array[..., 2, :], 3, 0))


def test_a_singular_affine_is_refused(tmp_path):
    affine = affine_of("RAS")
    affine[:3, 2] = affine[:3, 1]
    path = nifti(tmp_path / "a.nii", phantom(), affine_of("RAS"), qform=0)
    data = bytearray(path.read_bytes())
    data[280:328] = affine[:3].astype(np.float32).tobytes()  # srow_x, srow_y, srow_z
    path.write_bytes(data)
    assert "its affine is singular" in complaint(read_volume, path)
    data[280:328] = np.zeros((3, 4), np.float32).tobytes()
    path.write_bytes(data)
    assert "voxels of 0 x 0 x 0 mm" in complaint(read_volume, path)
    data[280:328] = np.full((3, 4), np.nan, np.float32).tobytes()
    path.write_bytes(data)
    assert "no finite 4 x 4 matrix" in complaint(read_volume, path)


def test_broken_nifti_files(tmp_path):
    whole = nifti(tmp_path / "a.nii", phantom().astype(np.int16), affine_of("RAS")).read_bytes()
    cases = {
        "cut.nii": (whole[:-7], "cut off"),
        "cut.nii.gz": (gzip.compress(whole)[:-20], "gzip archive is cut off or broken"),
        "none.nii": (b"nothing", "no NIfTI file"),
        "empty.nii": (b"", "empty"),
        "type.nii": (whole[:70] + b"\x99\x99" + whole[72:], "header is broken"),
        "pair.nii": (whole[:344] + b"ni1\0" + whole[348:], "one half of a pair"),
        "flat.nii": (whole[:40] + np.array([2, 60, 12, 1], np.int16).tobytes() + whole[48:], "2 axes"),
    }
    for name, (data, expected) in cases.items():
        (tmp_path / name).write_bytes(data)
        assert expected in complaint(read_volume, tmp_path / name), name
    assert "no such file" in complaint(read_volume, tmp_path / "missing.nii")


def test_a_header_that_claims_terabytes_is_refused_before_it_is_believed(tmp_path):
    whole = nifti(tmp_path / "a.nii", phantom().astype(np.int16), affine_of("RAS")).read_bytes()
    lying = whole[:40] + np.array([3, 30000, 30000, 30000], np.int16).tobytes() + whole[48:]
    (tmp_path / "b.nii").write_bytes(lying)
    assert "more than the limit" in complaint(read_volume, tmp_path / "b.nii")
    assert "cut off" in complaint(read_volume, tmp_path / "b.nii", max_voxels=10**15)


def test_colours_and_complex_numbers_are_refused(tmp_path):
    rgb = np.zeros((3, 4, 5), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(rgb, np.eye(4)), tmp_path / "a.nii")
    assert "colours" in complaint(read_volume, tmp_path / "a.nii")
    nib.save(nib.Nifti1Image(np.ones((3, 4, 5), np.complex64), np.eye(4)), tmp_path / "b.nii")
    assert "complex" in complaint(read_volume, tmp_path / "b.nii")


def test_what_is_put_right_in_a_header_is_told(tmp_path, caplog):
    path = nifti(tmp_path / "a.nii", phantom(), affine_of("LAS"), qform=0)
    data = bytearray(path.read_bytes())
    data[254:256] = np.array([99], np.int16).tobytes()  # sform_code
    path.write_bytes(data)
    notices = read_volume(path).notices
    assert notices[0] == "its header was wrong: sform_code 99 not valid; setting to 0"
    assert "left and right are unknown" in notices[1]
    assert not caplog.records


def test_a_mutated_nifti_neither_crashes_nor_hangs(tmp_path):
    whole = nifti(tmp_path / "a.nii", phantom().astype(np.int16), affine_of("RAS")).read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(300):
        data = bytearray(whole)
        for at in rng.integers(0, 352, rng.integers(1, 5)):
            data[at] = rng.integers(256)
        (tmp_path / "m.nii").write_bytes(data)
        try:
            read_volume(tmp_path / "m.nii", max_voxels=10**6)
        except CfcamError as error:
            assert str(error).isprintable()  # noqa: PT017


# --- maps out


@pytest.mark.parametrize("codes", ORDERS)
@pytest.mark.parametrize("tilt", [0, 18])
def test_a_marker_stays_where_it_is_for_both_readers(tmp_path, codes, tilt):
    """An asymmetric phantom: the marker lies left, anterior and superior of the centre, and of its mirror images."""
    affine = affine_of(codes, tilt=tilt)
    path = nifti(tmp_path / "scan.nii.gz", phantom((7, 9, 11)).astype(np.int16), affine)
    volume = read_volume(path)
    places = np.array([volume.place(index) for index in np.ndindex(volume.size)])
    index = np.unravel_index(np.argmax(places @ np.array([-1, 1.1, 0.9])), volume.size)
    values = np.zeros(volume.size, np.float32)
    values[index] = 3
    values[3, 4, 5] = 1
    saved = save_map_nifti(values, volume, tmp_path / "map.nii.gz")
    expected = volume.place(index)
    np.testing.assert_allclose(place_of_peak_nibabel(saved), expected, atol=1e-3)
    np.testing.assert_allclose(place_of_peak_simpleitk(saved), expected, atol=1e-3)
    np.testing.assert_allclose(nib.load(saved).affine, affine, atol=1e-4)
    again = read_volume(saved)
    np.testing.assert_array_equal(again.voxels, values)
    assert again.orientation == codes
    assert again.notices == ()


@pytest.mark.parametrize("axes", [AXIAL, CORONAL, SAGITTAL, rotated(AXIAL, 25), rotated(SAGITTAL, -15)])
def test_a_dicom_series_and_its_map_lie_where_other_readers_have_them(tmp_path, axes):
    sitk = pytest.importorskip("SimpleITK")
    highdicom = pytest.importorskip("highdicom")
    stored = phantom()
    files = ct_series(tmp_path / "scan", stored, axes)
    volume = read_volume(tmp_path / "scan")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "scan")))
    theirs = reader.Execute()
    other = highdicom.get_volume_from_series([pydicom.dcmread(file) for file in files])
    values = np.zeros(volume.size, np.float32)
    index = (4, 2, 9)
    values[index] = 1
    saved = save_map_nifti(values, volume, tmp_path / "map.nii.gz")
    for at in [(0, 0, 0), (5, 9, 11), index]:
        x, y, z = volume.place(at)
        by_itk = theirs.TransformPhysicalPointToIndex((-x, -y, z))
        assert theirs[by_itk] == volume.voxels[at] == stored[at] - 1024
        by_highdicom = np.rint(np.linalg.inv(other.affine) @ [-x, -y, z, 1])[:3].astype(int)
        assert other.array[tuple(by_highdicom)] == stored[at] - 1024
    np.testing.assert_allclose(place_of_peak_nibabel(saved), volume.place(index), atol=1e-3)
    np.testing.assert_allclose(place_of_peak_simpleitk(saved), volume.place(index), atol=1e-3)
    read = sitk.ReadImage(str(saved))
    assert read.GetSize() == theirs.GetSize()
    np.testing.assert_allclose(read.GetDirection(), theirs.GetDirection(), atol=1e-5)
    np.testing.assert_allclose(read.GetOrigin(), theirs.GetOrigin(), atol=1e-3)


def test_values_of_any_sign_are_kept_and_the_bytes_repeat(tmp_path):
    volume = Volume(phantom().astype(np.float32), affine_of("RAS"))
    values = np.random.default_rng(0).standard_normal(volume.size).astype(np.float32)
    first = save_map_nifti(values, volume, tmp_path / "a.nii.gz", description="grad-cam, raw")
    np.testing.assert_array_equal(nib.load(first).get_fdata(dtype=np.float32), values)
    assert nib.load(first).header["descrip"] == b"grad-cam, raw"
    assert nib.load(first).header.get_xyzt_units()[0] == "mm"
    second = save_map_nifti(values, volume, tmp_path / "b.nii.gz", description="grad-cam, raw")
    assert first.read_bytes() == second.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nii.gz", "b.nii.gz"]


def test_maps_that_do_not_fit_are_refused(tmp_path):
    volume = Volume(phantom().astype(np.float32), np.eye(4))
    assert "VolumePreprocess.to_original" in complaint(save_map_nifti, np.zeros((3, 3, 3)), volume, tmp_path / "a.nii")
    assert "NIfTI" in complaint(save_map_nifti, np.zeros(volume.size), volume, tmp_path / "a.png")
    assert "cannot be written" in complaint(save_map_nifti, np.zeros(volume.size), volume, tmp_path / "no" / "a.nii")


def test_a_sheared_affine_survives_as_sform(tmp_path):
    affine = affine_of("RAS")
    affine[1, 2] = 1.0  # slices slide along y
    volume = Volume(phantom().astype(np.float32), affine)
    saved = nib.load(save_map_nifti(volume.voxels, volume, tmp_path / "a.nii"))
    np.testing.assert_allclose(saved.affine, affine, atol=1e-5)
    assert saved.header["qform_code"] == 0


def test_a_volume_holds_numbers_in_three_axes():
    assert "a volume is (D, H, W)" in complaint(Volume, np.zeros((3, 3)), np.eye(4))
    assert "holds numbers" in complaint(Volume, np.zeros((3, 3, 3), complex), np.eye(4))
    flat = np.eye(4)
    flat[:3, 2] = (1, 1, 0)
    assert "singular" in complaint(Volume, np.zeros((3, 3, 3)), flat)


# --- DICOM series


def test_slices_are_ordered_by_their_place_and_not_by_name(tmp_path):
    stored = phantom((9, 5, 4))
    ct_series(tmp_path, stored)
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.voxels, stored - 1024)
    np.testing.assert_allclose(volume.spacing, (2.5, 0.8, 0.7))
    assert volume.orientation == "SPL"
    assert volume.window == (40, 400)
    places = [pydicom.dcmread(i.path).ImagePositionPatient[2] for i in volume.source.instances]
    assert places == sorted(places)
    uids = [pydicom.dcmread(i.path).SOPInstanceUID for i in volume.source.instances]
    assert [i.sop_instance_uid for i in volume.source.instances] == uids


def test_the_digest_is_that_of_the_files_whatever_they_are_called(tmp_path):
    files = ct_series(tmp_path / "a", phantom())
    (tmp_path / "b").mkdir()
    for n, file in enumerate(reversed(files)):
        (tmp_path / "b" / f"{n}").write_bytes(file.read_bytes())  # without an extension, too
    first, second = read_volume(tmp_path / "a"), read_volume(tmp_path / "b")
    assert first.sha256 == second.sha256 == digest_of_series(tmp_path / "b")
    np.testing.assert_array_equal(first.voxels, second.voxels)


def test_every_slice_is_rescaled_by_its_own_slope(tmp_path):
    stored = phantom((3, 4, 5))
    for n, (slope, place) in enumerate(zip([1, 2, 0.5], positions(3, AXIAL), strict=True)):
        save(ct(stored[n], place, slope=slope, intercept=-10 * n), tmp_path / f"{n}.dcm")
    expected = np.stack([stored[0] * 1.0, stored[1] * 2.0 - 10, stored[2] * 0.5 - 20])
    np.testing.assert_allclose(read_volume(tmp_path).voxels, expected)


def test_an_enhanced_object_is_a_volume(tmp_path):
    stored = phantom((5, 6, 7))
    where = positions(5, CORONAL)
    order = [3, 0, 4, 1, 2]  # frames in no order
    ds = enhanced(stored[order], CORONAL, where=[where[n] for n in order], slopes=[n + 1 for n in order])
    volume = read_volume(save(ds, tmp_path / "a.dcm"))
    np.testing.assert_allclose(volume.voxels, stored * np.arange(1, 6)[:, None, None] - 1024.0)
    assert [instance.frame for instance in volume.source.instances] == [2, 4, 5, 1, 3]
    series = tmp_path / "series"
    ct_series(series, stored, CORONAL)
    np.testing.assert_allclose(volume.affine, read_volume(series).affine, atol=1e-6)
    assert volume.window == (40, 400)
    ds.NumberOfFrames = 4
    assert "declares 4 frames and describes 5" in complaint(read_volume, save(ds, tmp_path / "b.dcm"))


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.80"])
def test_compressed_slices_and_frames(tmp_path, syntax):
    stored = phantom((3, 32, 32))
    for n, place in enumerate(positions(3, AXIAL)):
        ds = ct(stored[n], place)
        ds.compress(pydicom.uid.UID(syntax))
        save(ds, tmp_path / "series" / f"{n}.dcm")
    np.testing.assert_array_equal(read_volume(tmp_path / "series").voxels, stored - 1024)
    ds = enhanced(stored)
    ds.compress(pydicom.uid.UID(syntax))
    np.testing.assert_array_equal(read_volume(save(ds, tmp_path / "a.dcm")).voxels, stored - 1024)


def test_monochrome_1_and_padding(tmp_path):
    stored = phantom((3, 4, 5))
    stored[:, 0, 0] = 7
    for n, place in enumerate(positions(3, AXIAL)):
        ds = ct(stored[n], place, intercept=0)
        ds.PhotometricInterpretation, ds.PixelPaddingValue = "MONOCHROME1", 7
        save(ds, tmp_path / f"{n}.dcm")
    volume = read_volume(tmp_path)
    kept = stored != 7
    low, high = stored[kept].min(), stored[kept].max()
    np.testing.assert_array_equal(volume.voxels[kept], (low + high - stored)[kept])
    assert (volume.voxels[~kept] == low).all()
    assert volume.window == (low + high - 40, 400)
    assert "MONOCHROME1" in volume.notices[0]


def test_a_tilted_gantry_shears_the_affine(tmp_path):
    tilt = np.radians(12)
    where = [np.array([0, 2.5 * n * np.tan(tilt), 2.5 * n]) for n in range(6)]
    ct_series(tmp_path, phantom(), where=where)
    volume = read_volume(tmp_path)
    assert "tilted by 12.0 degrees" in volume.notices[0]
    for n in range(6):
        np.testing.assert_allclose(volume.place((n, 0, 0)), where[n] * (-1, -1, 1), atol=1e-6)


def test_rounded_positions_do_not_shear_the_affine(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    where = [np.array([0.03 * n, 0, 2.5 * n]) for n in range(6)]
    ct_series(tmp_path / "scan", phantom(), where=where)
    volume = read_volume(tmp_path / "scan")
    assert volume.notices == ()
    assert not is_sheared(volume.affine)
    assert sitk.ReadImage(str(save_map_nifti(volume.voxels, volume, tmp_path / "a.nii"))).GetSize() == (12, 10, 6)
    sheared = np.array(volume.affine)
    sheared[0, 0] = 0.5
    other = save_map_nifti(volume.voxels, Volume(volume.voxels, sheared), tmp_path / "b.nii")
    with pytest.raises(RuntimeError, match="orthonormal"):  # as the documentation has it
        sitk.ReadImage(str(other))


def test_several_series_are_listed_by_number_and_one_can_be_taken(tmp_path):
    stored = phantom()
    ct_series(tmp_path, stored)
    for n, place in enumerate(positions(4, AXIAL)):
        save(ct(stored[n] + 1, place, series="1.9.9", number=1), tmp_path / f"other{n}.dcm")
    message = complaint(read_volume, tmp_path)
    assert "holds 2 series (1: CT, 4 slices of 12 x 10; 2: CT, 6 slices of 12 x 10)" in message
    assert "series=N" in message
    np.testing.assert_array_equal(read_volume(tmp_path, series=1).voxels, stored[:4] + 1 - 1024)
    np.testing.assert_array_equal(read_volume(tmp_path, series=2).voxels, stored - 1024)
    assert read_volume(tmp_path, series=1).sha256 == digest_of_series(tmp_path, 1) != digest_of_series(tmp_path, 2)
    assert "give 1 to 2" in complaint(read_volume, tmp_path, series=3)


def test_a_scout_in_the_series_is_not_mixed_in(tmp_path):
    ct_series(tmp_path, phantom())
    save(ct(phantom()[0], (0, 0, 0), CORONAL), tmp_path / "scout.dcm")
    message = complaint(read_volume, tmp_path)
    assert "6 slices of 12 x 10" in message
    assert "1 slice of 12 x 10" in message


def test_reports_and_radiographs_beside_the_slices_are_left_out_and_told(tmp_path):
    ct_series(tmp_path, phantom())
    save(radiograph(phantom()[0]), tmp_path / "cr.dcm")
    save(base("1.2.840.10008.5.1.4.1.1.88.33", "SR"), tmp_path / "sr.dcm")
    (tmp_path / "notes.txt").write_text("no DICOM")
    assert read_volume(tmp_path).notices == ("2 DICOM files in the folder have no place in space: they are left out",)


def test_a_missing_slice_is_told_with_figures_and_may_be_resampled(tmp_path):
    stored = np.broadcast_to(np.arange(8)[:, None, None] * 100, (8, 4, 5)) + 500
    files = ct_series(tmp_path, stored, shuffled=False)
    files[3].unlink()
    files[4].unlink()
    message = complaint(read_volume, tmp_path)
    assert "2 slices are missing: slices 3 and 4 of 6 lie 7.50 mm apart, most others 2.50 mm" in message
    assert "resample" in message
    volume = read_volume(tmp_path, irregular="resample")
    np.testing.assert_allclose(volume.voxels, stored - 1024.0, atol=1e-3)  # values that change evenly are found again
    np.testing.assert_allclose(volume.spacing[0], 2.5)
    assert "resampled to 8 slices" in volume.notices[0]
    assert volume.source.instances == ()  # these slices are no objects


def test_irregular_distances_are_told_with_figures(tmp_path):
    where = [np.array([0, 0, z]) for z in (0, 2.5, 5.0, 8.1, 10.6, 13.0)]
    ct_series(tmp_path, phantom(), where=where)
    assert "its 6 slices lie 2.40 to 3.10 mm apart (median 2.50), not evenly" in complaint(read_volume, tmp_path)
    volume = read_volume(tmp_path, irregular="resample")
    assert volume.size[0] == 6
    np.testing.assert_allclose(volume.spacing[0], 13 / 5)
    np.testing.assert_allclose(volume.voxels[0], phantom()[0] - 1024)
    np.testing.assert_allclose(volume.voxels[-1], phantom()[-1] - 1024)


def test_small_rounding_of_positions_is_no_irregularity(tmp_path):
    where = [np.array([0, 0, round(n * 0.6249, 2)]) for n in range(6)]
    ct_series(tmp_path, phantom(), where=where)
    np.testing.assert_allclose(read_volume(tmp_path).spacing[0], where[-1][2] / 5)


def test_slices_that_are_no_stack(tmp_path):
    where = positions(6, AXIAL)
    where[4] = where[4] + np.array([3.0, 0, 0])
    ct_series(tmp_path / "shifted", phantom(), where=where)
    for irregular in ("refuse", "resample"):
        message = complaint(read_volume, tmp_path / "shifted", irregular=irregular)
        assert "shifted against each other by up to 3.00 mm" in message
    ct_series(tmp_path / "twice", phantom(), where=positions(3, AXIAL) * 2)
    assert "6 slices lie at 3 places, up to 2 at one" in complaint(read_volume, tmp_path / "twice")
    assert "at 3 places" in complaint(read_volume, tmp_path / "twice", irregular="resample")


def test_a_far_away_slice_does_not_ask_for_all_the_memory(tmp_path):
    where = [np.array([0, 0, z]) for z in (0, 0.01, 0.02, 0.03, 0.04, 9000.0)]
    ct_series(tmp_path, phantom(), where=where)
    assert "more than the limit" in complaint(read_volume, tmp_path, irregular="resample", max_voxels=10**7)


def test_a_copied_file_counts_once(tmp_path):
    files = ct_series(tmp_path, phantom())
    (tmp_path / "copy.dcm").write_bytes(files[2].read_bytes())
    volume = read_volume(tmp_path)
    assert volume.size[0] == 6
    assert "1 slice is there twice" in volume.notices[0]


def test_slices_without_a_spacing_or_with_a_broken_place(tmp_path):
    for n, place in enumerate(positions(3, AXIAL)):
        ds = ct(phantom()[n], place)
        del ds.PixelSpacing
        save(ds, tmp_path / "a" / f"{n}.dcm")
        ds = ct(phantom()[n], place)
        ds.ImageOrientationPatient = [1, 0, 0, 1, 0, 0]
        save(ds, tmp_path / "b" / f"{n}.dcm")
        ds = ct(phantom()[n], place)
        del ds.ImagePositionPatient
        save(ds, tmp_path / "c" / f"{n}.dcm")
    assert "no pixel spacing" in complaint(read_volume, tmp_path / "a")
    assert "position or orientation is broken" in complaint(read_volume, tmp_path / "b")
    assert "3 have no place in space" in complaint(read_volume, tmp_path / "c")


def test_folders_and_files_that_are_no_volume(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds no DICOM slices" in complaint(read_volume, tmp_path / "empty")
    one = save(ct(phantom()[0], (0, 0, 0)), tmp_path / "one" / "a.dcm")
    assert "holds no frames with places" in complaint(read_volume, one)
    frames = with_pixels(base("1.2.840.10008.5.1.4.1.1.3.1", "US"), phantom((4, 6, 6)))
    assert "holds no frames with places" in complaint(read_volume, save(frames, tmp_path / "loop.dcm"))
    (tmp_path / "text.txt").write_text("nothing")
    assert "neither NIfTI" in complaint(read_volume, tmp_path / "text.txt")
    files = ct_series(tmp_path / "cut", phantom())
    files[1].write_bytes(files[1].read_bytes()[:-30])
    assert "cut off" in complaint(read_volume, tmp_path / "cut")
    files[1].write_bytes(b"rubbish")
    assert "is no DICOM file" in complaint(read_volume, tmp_path / "cut")
    assert "more than the limit" in complaint(
        read_volume, save(enhanced(phantom()), tmp_path / "e.dcm"), max_voxels=100
    )


def test_one_slice_of_known_thickness_is_a_thin_volume(tmp_path):
    save(ct(phantom()[0], (0, 0, 0)), tmp_path / "a" / "a.dcm")
    assert read_volume(tmp_path / "a").spacing == (2.5, 0.8, 0.7)
    ds = ct(phantom()[0], (0, 0, 0))
    del ds.SliceThickness
    save(ds, tmp_path / "b" / "a.dcm")
    assert "unknown thickness" in complaint(read_volume, tmp_path / "b")


def test_colour_slices_are_refused(tmp_path):
    for n, place in enumerate(positions(2, AXIAL)):
        ds = ct(phantom()[n], place)
        ds.PhotometricInterpretation = "PALETTE COLOR"
        save(ds, tmp_path / f"{n}.dcm")
    assert "in colour" in complaint(read_volume, tmp_path)


def test_nothing_of_the_patient_shows(tmp_path):
    ct_series(tmp_path, phantom())
    volume = read_volume(tmp_path)
    shown = repr(volume) + repr(volume.source) + str(volume.source) + repr(volume.source.instances[0])
    for secret in (*PLANTED, volume.source.series_uid, volume.source.instances[0].sop_instance_uid, "1.2.2"):
        assert secret not in shown
    saved = save_map_nifti(volume.voxels, volume, tmp_path / "map.nii")
    assert not any(word.encode() in saved.read_bytes() for word in PLANTED)


@pytest.mark.data
def test_real_volumes_and_their_labels_lie_on_one_grid(data):
    for name in ("hippocampus_001.nii.gz", "hippocampus_003.nii.gz"):
        image = read_volume(data / "hippocampus-mri3d" / "images" / name)
        labels = read_volume(data / "hippocampus-mri3d" / "labels" / name)
        np.testing.assert_array_equal(image.affine, labels.affine)
        assert image.size == labels.size
        assert image.orientation == "RAS"
        assert set(np.unique(labels.voxels)) == {0, 1, 2}
        anterior, posterior = (np.argwhere(labels.voxels == k).mean(0) for k in (1, 2))
        assert image.place(anterior)[1] > image.place(posterior)[1]
