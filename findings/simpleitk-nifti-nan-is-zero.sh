#!/usr/bin/env bash
# SimpleITK 2.5.7 reads NaN and infinity of a NIfTI file as 0, without a word. (Seen 2026-11; nibabel 5.4.2 and numpy 2.4.6 beside it.)
#
# Guess: a float volume comes out of a reader as it was stored. NaN is the usual mark of "outside of the brain" or "not
# measured" in statistical maps, and NRRD and MetaImage files, which the same library writes and reads, keep it.
# Seen: [1.5, nan, inf, -2] comes back as [1.5, 0, 0, -2], from .nii and .nii.gz, float32 and float64, also when SimpleITK
# itself wrote the file (the bytes on disk hold the NaN: nibabel shows it). The mean of the stored finite values is -0.25,
# that of what was read -0.125.
# Why the guess was wrong: the NIfTI library inside of ITK looks through the numbers after reading, and sets those that
# are not finite to 0; the other formats have readers of their own. So a background of NaN becomes a measurement of 0, and
# what counts NaN voxels must read the file by another library, or the bytes.
set -euo pipefail
here="$(mktemp -d)"; trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 nibabel==5.4.2 numpy==2.4.6
cd "$here"
venv/bin/python - <<'PYTHON'
import nibabel as nib
import numpy as np
import SimpleITK as sitk

stored = np.array([[[1.5, np.nan], [np.inf, -2.0]]], np.float32)
for kind in (np.float32, np.float64):
    for name in ("a.nii", "a.nii.gz"):
        nib.save(nib.Nifti1Image(stored.astype(kind), np.eye(4)), name)
        kept = np.asarray(nib.load(name).dataobj).ravel()
        read = sitk.GetArrayFromImage(sitk.ReadImage(name)).ravel()
        print(f"{name} {kind.__name__}: nibabel {kept.tolist()}, SimpleITK {read.tolist()}")
        assert np.isnan(kept).sum() == 1 and np.isinf(kept).sum() == 1
        assert sorted(read.tolist()) == [-2.0, 0.0, 0.0, 1.5]
image = sitk.GetImageFromArray(stored)
for name in ("b.nii", "b.nrrd", "b.mha"):
    sitk.WriteImage(image, name)
    read = sitk.GetArrayFromImage(sitk.ReadImage(name)).ravel()
    print(f"{name}, written by SimpleITK, read by it: {read.tolist()}")
    assert np.isfinite(read).all() == name.endswith(".nii")
assert np.isnan(np.asarray(nib.load("b.nii").dataobj)).sum() == 1, "the file itself holds no NaN"
PYTHON
