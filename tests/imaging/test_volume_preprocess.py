"""The way of a volume to the network and of a map back: the place in the patient is what stays."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image as PILImage

from cfcam.errors import InputError
from cfcam.imaging import volume_preprocess
from cfcam.imaging.volume import Volume
from cfcam.imaging.volume_preprocess import VolumePreprocess
from tests.allocations import Large
from tests.imaging.dicoms import phantom
from tests.imaging.grids import ORDERS, affine_of, stored_as

PLAIN = VolumePreprocess(intensity="none")


def volume_of(codes="RAS", shape=(6, 10, 12), tilt=0.0, spacing=(1.5, 2.0, 3.0)):
    return Volume(phantom(shape).astype(np.float32), affine_of(codes, spacing=spacing, tilt=tilt))


def places(size, affine):
    """The x, y, z of every voxel: (3, D, H, W)."""
    index = np.stack([*np.indices(size), np.ones(size)])
    return np.einsum("ab,bdhw->adhw", affine, index)[:3]


@pytest.mark.parametrize("codes", ORDERS)
@pytest.mark.parametrize(
    "preprocess",
    [
        VolumePreprocess(),
        VolumePreprocess(spacing=(2.5, 1.0, 2.0)),
        VolumePreprocess(size=(5, 7, 16), intensity="unit"),
        VolumePreprocess(orientation="SPL", spacing=2.0, size=(9, 8, 4)),
    ],
)
def test_the_network_sees_the_same_however_the_file_is_stored(codes, preprocess):
    volume = volume_of(tilt=7)
    other = stored_as(volume, codes)
    assert other.orientation == codes
    x = preprocess(volume)
    torch.testing.assert_close(preprocess(other), x)
    maps = torch.rand(2, *x.shape[1:])
    back, other_back = preprocess.to_original(maps, volume), preprocess.to_original(maps, other)
    assert other_back.shape[1:] == other.size
    for one, two in zip(back, other_back, strict=True):
        expected = stored_as(Volume(one.numpy(), volume.affine), codes).voxels
        np.testing.assert_allclose(two.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("codes", ["LAS", "PSR", "IRA"])
def test_orientation_is_the_closest_canonical_one_of_nibabel(codes):
    volume = volume_of(codes, tilt=15)
    theirs = nib.as_closest_canonical(nib.Nifti1Image(np.asarray(volume.voxels), volume.affine))
    np.testing.assert_array_equal(PLAIN(volume)[0].numpy(), theirs.get_fdata(dtype=np.float32))
    np.testing.assert_allclose(PLAIN.grid(volume)[1], theirs.affine)


def test_turning_alone_loses_nothing_on_the_way_and_back():
    volume = volume_of("PIR")
    x = PLAIN(volume)
    assert x.shape == (1, 12, 6, 10)
    np.testing.assert_array_equal(PLAIN.to_original(x, volume)[0].numpy(), volume.voxels)
    same = VolumePreprocess(orientation=None, intensity="none")(volume)
    np.testing.assert_array_equal(same[0].numpy(), volume.voxels)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PSR", "SPL"])
@pytest.mark.parametrize("tilt", [0, 20])
@pytest.mark.parametrize(
    "options", [{"size": (12, 15, 8)}, {"spacing": (1.0, 4.0, 2.0)}, {"spacing": 2.0, "size": (4, 20, 9)}]
)
def test_a_map_comes_back_to_its_place(codes, tilt, options):
    """A map whose values are the x, y and z of its own voxels has, on the source grid, those of the source's voxels."""
    volume = volume_of(codes, shape=(16, 18, 14), tilt=tilt)
    preprocess = VolumePreprocess(**options)
    size, affine = preprocess.grid(volume)
    assert preprocess(volume).shape[1:] == size
    back = preprocess.to_original(torch.tensor(places(size, affine)), volume)
    assert back.dtype == torch.float64
    expected = places(volume.size, volume.affine)
    inside = np.linalg.inv(affine) @ np.concatenate([expected.reshape(3, -1), np.ones((1, expected[0].size))])
    inside = inside[:3].reshape(expected.shape)
    limits = np.array(size)[:, None, None, None]
    interior = ((inside >= -1e-9) & (inside <= limits - 1 + 1e-9)).all(0)
    assert interior.sum() > 100
    np.testing.assert_allclose(back.numpy()[:, interior], expected[:, interior], atol=1e-9)
    unseen = ((inside < -0.5 - 1e-9) | (inside > limits - 0.5 + 1e-9)).any(0)
    assert (back.numpy()[:, unseen] == 0).all()


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PSR"])
@pytest.mark.parametrize("options", [{"size": (9, 9, 9)}, {"spacing": 1.3}, {"spacing": (3.0, 3.0, 3.0), "size": 8}])
def test_the_network_sees_a_marker_where_it_is(codes, options):
    volume = volume_of(codes, shape=(14, 16, 12))
    voxels = np.zeros(volume.size, np.float32)
    voxels[9:11, 5:7, 6:8] = 1
    marked = Volume(voxels, volume.affine)
    preprocess = VolumePreprocess(intensity="none", **options)
    x = preprocess(marked)[0].numpy().astype(np.float64)
    _, affine = preprocess.grid(marked)
    seen = (x * places(x.shape, affine)).sum((1, 2, 3)) / x.sum()
    step = max(np.linalg.norm(affine[:3, :3], axis=0))
    assert np.abs(seen - marked.place((9.5, 5.5, 6.5))).max() < 0.25 * step


@pytest.mark.parametrize("size", [(24, 10), (31, 50), (13, 64), (7, 8)])
def test_resampling_is_that_of_pillow(size):
    plane = phantom((1, 24, 40)).astype(np.float32)
    volume = Volume(plane, np.eye(4))
    ours = VolumePreprocess(orientation=None, intensity="none", size=(1, *size))(volume)[0, 0]
    theirs = PILImage.fromarray(plane[0]).resize(size[::-1], PILImage.Resampling.BILINEAR)
    np.testing.assert_allclose(ours.numpy(), np.asarray(theirs), rtol=1e-4)


def test_a_size_with_a_spacing_cuts_and_fills_up_around_the_centre():
    volume = volume_of(spacing=(1.0, 1.0, 1.0), shape=(6, 10, 12))
    x = VolumePreprocess(intensity="none", spacing=1.0, size=(10, 4, 12))(volume)[0].numpy()
    np.testing.assert_array_equal(x[2:8], volume.voxels[:, 3:7])
    assert (x[:2] == volume.voxels.min()).all()
    assert (x[8:] == volume.voxels.min()).all()
    size, _ = VolumePreprocess(spacing=(0.5, 2.5, 4.0)).grid(volume)
    assert size == (12, 4, 3)


def test_intensities():
    volume = Volume(phantom().astype(np.float32), np.eye(4))
    voxels = volume.voxels.astype(np.float64)
    scored = VolumePreprocess()(volume)[0].numpy()
    np.testing.assert_allclose(scored, (voxels - voxels.mean()) / voxels.std(), atol=1e-5)
    unit = VolumePreprocess(intensity="unit")(volume)[0].numpy()
    np.testing.assert_allclose(unit, (voxels - voxels.min()) / np.ptp(voxels), atol=1e-6)
    window = VolumePreprocess(intensity="unit", window=(400, 200))(volume)[0].numpy()
    np.testing.assert_allclose(window, np.clip((voxels - 300) / 200, 0, 1), atol=1e-6)
    clipped = np.clip(voxels, 300, 500)
    both = VolumePreprocess(window=(400, 200))(volume)[0].numpy()
    np.testing.assert_allclose(both, (clipped - clipped.mean()) / clipped.std(), atol=1e-5)
    raw = VolumePreprocess(intensity="none", window=(400, 200))(volume)[0].numpy()
    np.testing.assert_array_equal(raw, clipped)


@pytest.mark.parametrize("intensity", ["z-score", "unit", "none"])
def test_a_volume_of_one_value_stays_finite(intensity):
    x = VolumePreprocess(intensity=intensity, size=5)(Volume(np.full((4, 4, 4), 7.0), np.eye(4)))
    assert x.isfinite().all()
    assert float(x.max() - x.min()) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_one_channel_is_not_made_up_for_a_network_of_several(channels):
    prepare = VolumePreprocess(mean=(0.0,) * channels, std=(1.0,) * channels)
    with pytest.raises(InputError, match=f"one channel for a network with {channels}: give {channels} files in"):
        prepare(Volume(phantom(), np.eye(4)))


def test_channels_are_scaled_one_by_one_and_a_grey_volume_is_repeated():
    voxels = np.stack([phantom(), 1000 * phantom(seed=1)]).astype(np.float32)
    two = VolumePreprocess(mean=(0.0, 0.0), std=(1.0, 1.0))
    x = two(Volume(voxels, np.eye(4)))
    torch.testing.assert_close(x.mean((1, 2, 3)), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(x.std((1, 2, 3), correction=0), torch.ones(2))
    three = VolumePreprocess(intensity="unit", mean=(0.5, 0.25, 0.0), std=(0.5, 0.1, 1.0))
    grey = three(Volume(voxels[0], np.eye(4)))
    unit = VolumePreprocess(intensity="unit")(Volume(voxels[0], np.eye(4)))[0]
    torch.testing.assert_close(grey, torch.stack([(unit - 0.5) / 0.5, (unit - 0.25) / 0.1, unit]))
    assert three.notices(Volume(voxels[0], np.eye(4))) == ("it has one channel: repeated to 3",)
    with pytest.raises(InputError, match="2 channels for a network with 1"):
        VolumePreprocess()(Volume(voxels, np.eye(4)))


def test_the_mean_of_many_large_values_is_exact_enough():
    voxels = np.full((128, 128, 128), 40000.0, np.float32)
    voxels[0] += 1
    x = VolumePreprocess()(Volume(voxels, np.eye(4)))
    assert float(x[0, 1:].mean()) == pytest.approx(-np.sqrt(1 / 127), rel=1e-3)


def test_a_constant_map_stays_constant_and_nothing_leaves_its_range():
    volume = volume_of("LPI", shape=(9, 11, 13))
    for preprocess in (VolumePreprocess(size=4), VolumePreprocess(size=(20, 3, 13)), VolumePreprocess(spacing=1.1)):
        size, _ = preprocess.grid(volume)
        assert preprocess.to_original(torch.full(size, 0.3), volume).eq(0.3).all()
        maps = torch.rand(size)
        back = preprocess.to_original(maps, volume)
        assert maps.min() <= back.min()
        assert back.max() <= maps.max()


def test_a_map_of_another_size_is_refused():
    with pytest.raises(InputError, match=r"its last three must be the input size \(6, 10, 12\)"):
        PLAIN.to_original(torch.zeros(6, 10, 11), volume_of())


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"orientation": "RAX"}, "three letters"),
        ({"spacing": 0}, "spacing is 0"),
        ({"spacing": (1.0, 1.0)}, "spacing"),
        ({"size": 2.5}, "size is 2.5"),
        ({"size": (3, 3)}, "size"),
        ({"window": (40, 0)}, "window"),
        ({"intensity": "minmax"}, "z-score, unit, none"),
        ({"mean": (0.0,), "std": (1.0, 1.0)}, "mean has 1 and std 2"),
        ({"mean": (0.0,), "std": (0.0,)}, "std above 0"),
        ({"mean": 0.5, "std": 0.5}, "tuples"),
    ],
)
def test_wrong_settings_are_one_line(options, complaint):
    with pytest.raises(InputError, match=complaint) as caught:
        VolumePreprocess(**options)
    assert "\n" not in str(caught.value)


def test_an_absurd_spacing_is_refused_before_the_memory_is_asked_for():
    with pytest.raises(InputError, match="too large"):
        VolumePreprocess(spacing=1e-3)(volume_of())


def test_the_settings_go_through_json():
    preprocess = VolumePreprocess(
        orientation="LPS", spacing=(1.0, 1.0, 2.5), size=(8, 8, 4), window=(40, 400), intensity="unit"
    )
    again = VolumePreprocess(**json.loads(json.dumps(preprocess.as_dict())))
    assert again == preprocess
    assert (again.input_size, again.channels) == ((8, 8, 4), 1)
    assert VolumePreprocess().input_size is None
    assert VolumePreprocess(size=7).input_size == (7, 7, 7)


@pytest.mark.parametrize("codes", ["RAS", "LAS", "IPR", "SLA"])
@pytest.mark.parametrize(
    "preprocess",
    [
        VolumePreprocess(),
        VolumePreprocess(size=(5, 7, 16)),
        VolumePreprocess(orientation="SPL", spacing=2.0, size=(9, 8, 4)),
        VolumePreprocess(orientation=None, spacing=(1.5, 1.0, 6.0)),
    ],
)
def test_a_map_brought_back_slab_by_slab_has_the_bytes_of_one_brought_back_whole(codes, preprocess, monkeypatch):
    volume = volume_of(codes, shape=(20, 18, 40))
    maps = torch.rand(2, *preprocess(volume).shape[1:])
    whole = preprocess.to_original(maps, volume)
    for voxels in (1, 2000, 20000):
        monkeypatch.setattr(volume_preprocess, "_AT_ONCE", voxels)
        assert torch.equal(preprocess.to_original(maps, volume), whole)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "ASR"])
def test_of_a_map_on_the_grid_of_its_volume_there_is_one_and_no_second_in_memory(codes, monkeypatch):
    monkeypatch.setattr(volume_preprocess, "_AT_ONCE", 500)
    volume, preprocess = volume_of(codes, shape=(24, 20, 28)), VolumePreprocess(size=(6, 5, 7))
    with Large(volume.voxels.nbytes * 3 // 4) as large:
        preprocess.to_original(torch.rand(1, 6, 5, 7), volume)
    assert len(large.made) == 1


def test_a_map_brought_back_shares_no_memory_with_what_was_given():
    volume = volume_of()
    maps = torch.zeros(1, *volume.size)
    PLAIN.to_original(maps, volume).fill_(1)
    assert not maps.any()


def test_intensities_are_standardised_part_by_part_and_never_all_in_double_precision(monkeypatch):
    monkeypatch.setattr(volume_preprocess, "_AT_ONCE", 500)
    volume = Volume(np.random.default_rng(0).normal(1000, 3, (2, 24, 20, 28)).astype(np.float32), np.eye(4))
    preprocess = VolumePreprocess(window=(1000, 8), mean=(0.0, 0.0), std=(1.0, 1.0))
    with Large(volume.voxels.nbytes * 3 // 2) as large:
        found = preprocess(volume)
    assert large.made == []
    clipped = volume.voxels.astype(np.float64).clip(996, 1004)
    mean, sd = (at((1, 2, 3), keepdims=True) for at in (clipped.mean, clipped.std))
    np.testing.assert_allclose(found.numpy(), (clipped - mean) / sd, rtol=1e-6, atol=1e-6)


def test_a_constant_volume_becomes_zero():
    assert not VolumePreprocess()(Volume(np.full((3, 4, 5), 7, np.float32), np.eye(4))).any()


@pytest.mark.parametrize("codes", ["RAS", "PSR", "IRA"])
@pytest.mark.parametrize(
    "preprocess",
    [
        VolumePreprocess(),
        VolumePreprocess(spacing=(2.5, 1.0, 2.0)),
        VolumePreprocess(size=(5, 7, 16)),
        VolumePreprocess(orientation="SPL", spacing=2.0, size=(9, 8, 4)),
        VolumePreprocess(orientation="LPS", spacing=0.7, size=(40, 9, 31)),
    ],
)
def test_a_place_comes_back_to_the_top_of_a_hill_on_it(codes, preprocess):
    volume = volume_of(codes, shape=(7, 10, 13), tilt=5)
    size = preprocess(volume).shape[1:]
    for place in [(0, 0, 0), tuple(n - 1 for n in size), tuple(n // 2 for n in size), (1, size[1] - 2, 2)]:
        axes = [(torch.arange(n).double() - at).abs() / n for at, n in zip(place, size, strict=True)]
        hill = 1 - torch.stack(torch.meshgrid(*axes, indexing="ij")).mean(0)
        back = preprocess.to_original(hill, volume)
        found = preprocess.place(place, volume)
        assert float(back[found]) == pytest.approx(float(back.max()), abs=1e-12)
