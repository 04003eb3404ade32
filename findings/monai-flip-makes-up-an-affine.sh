#!/usr/bin/env bash
# MONAI 1.6.1: a flip (a crop, a pad, a resize) of a plain tensor gives back a MetaTensor with an affine that nobody gave it, and
# the next Spacing believes it: a scan of 2 mm is halved on its way to 2 mm, without a word. (Seen 2026-11.)
#
# Guess: EnsureTyped(track_meta=False) ends the metadata: what follows is a plain tensor, as its documentation says, and a
# transform that needs an affine warns that there is none, as Spacing does.
# Seen: Spacing behind EnsureTyped(track_meta=False) does warn ("assuming affine to be identity"). With a Flip between the two
# there is no warning: the flip returns a MetaTensor whose affine says voxels of 1 mm, flipped about a corner that no file named,
# and Spacing to 2 mm makes 6 x 6 x 6 of the 12 x 12 x 12 voxels that were 2 mm all along. A crop does the same. With the
# metadata kept nothing is resampled.
# Why the guess was wrong: such transforms begin by converting their input to a MetaTensor (track_meta=get_track_meta(), a
# global switch, on by default), whose affine for want of one is the identity; they then update it as if it were the file's.
# What has an affine is therefore no sign that somebody knows where it lies. Drop the metadata last, or by set_track_meta(False).
set -euo pipefail
here="$(mktemp -d)"; trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0
"$here/venv/bin/pip" install --quiet --disable-pip-version-check monai==1.6.1 numpy==2.4.6
cd "$here"
venv/bin/python - <<'PYTHON'
import warnings

import torch
from monai.data import MetaTensor
from monai.transforms import Compose, EnsureTyped, Flipd, Spacingd, SpatialCropd

affine = torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0], dtype=torch.float64))
affine[:3, 3] = torch.tensor([-100.0, 50.0, 7.0])
drop, to_2_mm = EnsureTyped("image", track_meta=False), Spacingd("image", (2.0, 2.0, 2.0))
flip, crop = Flipd("image", spatial_axis=0), SpatialCropd("image", roi_start=(0, 0, 0), roi_end=(12, 12, 12))


def run(*transforms):
    """What becomes of a scan with voxels of 2 mm, and whether anybody warned of its affine."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = Compose(transforms)({"image": MetaTensor(torch.rand(1, 12, 12, 12), affine=affine)})["image"]
    return found, any("affine" in str(one.message) for one in told)


assert type(run(drop)[0]) is torch.Tensor
for label, transforms in {
    "metadata kept, flip": (flip, to_2_mm),
    "dropped": (drop, to_2_mm),
    "dropped, flip": (drop, flip, to_2_mm),
    "dropped, crop of nothing": (drop, crop, to_2_mm),
}.items():
    found, warned = run(*transforms)
    print(f"{label:26} {'warned' if warned else 'silent':7} {tuple(found.shape[1:])}")
    silent_and_halved = not warned and tuple(found.shape) == (1, 6, 6, 6)
    assert silent_and_halved == (transforms[0] is drop and len(transforms) == 3), "MONAI does otherwise now"
between = run(drop, flip)[0]
print("affine behind the flip alone:", between.affine.diagonal().tolist(), between.affine[:3, 3].tolist())
assert isinstance(between, MetaTensor) and between.affine.diagonal().tolist() == [-1, 1, 1, 1]
assert between.affine[:3, 3].tolist() == [11, 0, 0]

print("unchanged: behind a flip of a plain tensor there is an affine that nobody gave")
PYTHON
