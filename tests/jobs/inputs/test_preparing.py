"""How pictures and volumes are prepared, and who says so: given, stated by the network, or assumed and told."""

from __future__ import annotations

import pytest
from torch import nn

from cfcam.errors import InputError
from cfcam.imaging import Preprocess, VolumePreprocess
from cfcam.jobs import preprocess_of, volume_preprocess_of
from cfcam.jobs.inputs.find import Input, Kind
from cfcam.jobs.inputs.preparing import VolumeSettings, assumption_notes, prepared_for, prepared_volumes_for
from cfcam.models import LoadedModel

IMAGENET = "normalised with ImageNet's mean and SD: not stated by the network"


def model(channels=3, axes=2, **known):
    kind = nn.Conv3d if axes == 3 else nn.Conv2d
    sources = dict.fromkeys(known, "stated by the network (its test)")
    return LoadedModel(nn.Sequential(kind(channels, 2, 1)), "net.py:make", preprocess=known, sources=sources)


def test_what_nobody_states_is_assumed_and_told():
    prepared = preprocess_of(model())
    assert prepared == Preprocess()
    assert prepared.assumptions == (IMAGENET, "stretched to 224 x 224, bilinear: not stated by the network")
    assert prepared.assumed == (
        "normalised with ImageNet's mean and SD, stretched to 224 x 224, bilinear: not stated by the network"
    )
    (note,) = assumption_notes(prepared)
    assert note.startswith(prepared.assumed)
    assert Preprocess(**prepared.as_dict()).assumptions == prepared.assumptions


def test_what_is_given_or_stated_is_not_assumed():
    stated = model(size=96, resize="pad", mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic")
    assert preprocess_of(stated).assumptions == ()
    assert preprocess_of(stated).told == (
        "normalised with mean 0.5 and SD 0.5, fitted into 96 x 96 and filled up with black, bicubic: stated by the"
        " network (its test); grey is repeated to 3 channels"
    )
    given = preprocess_of(model(), mean=(0.5,), std=(0.25,), size=64, resize="stretch")
    assert (given.mean, given.std, given.assumptions) == ((0.5,) * 3, (0.25,) * 3, ())
    assert "normalised with mean 0.5 and SD 0.25, stretched to 64 x 64: given" in given.told


def test_half_of_what_is_needed_leaves_the_other_half_assumed():
    assert preprocess_of(model(), mean=(0.5,)).assumptions[0] == (
        "normalised with mean 0.5 and SD 0.229, 0.224, 0.225: not stated by the network"
    )
    assert preprocess_of(model(), size=300).assumptions == (
        IMAGENET,
        "stretched, not cropped, bilinear: not stated by the network",
    )
    assert preprocess_of(model(), resize="pad").assumptions[1] == "224 x 224 pixels: not stated by the network"


@pytest.mark.parametrize("channels", [2, 4, 5, 12])
def test_nothing_is_usual_for_other_numbers_of_channels(channels):
    with pytest.raises(InputError, match=f"the network takes {channels} channels, and nobody says"):
        preprocess_of(model(channels))
    with pytest.raises(InputError, match=f"the network takes {channels} channels"):
        preprocess_of(model(channels), mean=(0.5,))
    assert preprocess_of(model(channels), mean=(0.5,), std=(0.5,)).mean == (0.5,) * channels


def test_nor_for_one():
    with pytest.raises(InputError, match="the network takes 1 channel, and nobody says how it is normalised"):
        preprocess_of(model(1))
    assert preprocess_of(model(1), mean=(0.5,), std=(0.5,)).mean == (0.5,)


def test_numbers_for_bytes_are_refused():
    with pytest.raises(InputError, match="these are for pixels from 0 to 255"):
        preprocess_of(model(), mean=(123.675, 116.28, 103.53), std=(58.4, 57.1, 57.4))
    with pytest.raises(InputError, match="divide them by 255"):
        Preprocess(std=(255.0,) * 3)


def test_volumes():
    prepared = volume_preprocess_of(model(1, 3))
    assert prepared == VolumePreprocess()
    assert prepared.assumed == (
        "z-score of each volume, axes turned to RAS, voxels of their own size, size as it comes: not stated by the"
        " network"
    )
    known = model(
        1, 3, orientation="LPS", spacing=2.0, size=32, intensity="unit", mean=(0.5,), std=(0.5,), resize="pad"
    )
    assert volume_preprocess_of(known).assumptions == ()
    assert volume_preprocess_of(known).spacing == 2.0
    given = volume_preprocess_of(model(1, 3), orientation="source", intensity="none", spacing=1.0, size=8)
    assert (given.orientation, given.assumptions) == (None, ())
    assert VolumePreprocess(**prepared.as_dict()).assumptions == prepared.assumptions


def test_one_kind_is_not_taken_for_the_other():
    with pytest.raises(InputError, match="these are volumes"):
        prepared_volumes_for(model(1, 3), Preprocess())
    with pytest.raises(InputError, match="these are pictures"):
        prepared_for(model(), VolumePreprocess())
    assert prepared_for(model(), None).assumptions[0] == IMAGENET
    assert prepared_for(model(), Preprocess()).assumptions == ()  # made by hand: given


def test_a_further_channel_is_left_out_where_its_first_is_among_the_inputs(tmp_path):
    paths = [tmp_path / f"scan_000{n}.nii.gz" for n in (0, 1)]
    for path in paths:
        path.touch()
    first, second = (Input(path, kind=Kind.VOLUME) for path in paths)
    how = VolumeSettings(endings=("_0000", "_0001"))
    assert how.studies([first, second]) == [first]
    assert how.studies([second]) == [second]  # named by itself: reading it says what to name
