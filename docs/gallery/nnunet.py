"""A network of nnU-Net

What nnU-Net v2 trained is explained by its folder: plans, names, preparation and weights are in it, and the maps lie on
the grid of the files.
"""

# %%
# Yours exists already. This one is made here, so that the example needs no data: two modalities, of which the second
# alone shows the lesion, and the small plans of a network for them.
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from torch import nn

from cfcam.imaging import Panel, read_volume, save_image, volume_sheet
from cfcam.jobs import explain_study
from cfcam.models import load

words = {
    "n_stages": 2, "features_per_stage": [8, 16], "conv_op": "torch.nn.Conv3d", "kernel_sizes": [[3, 3, 3]] * 2,
    "strides": [[1, 1, 1], [2, 2, 2]], "n_conv_per_stage": [1, 1], "n_conv_per_stage_decoder": [1], "conv_bias": True,
    "norm_op": "torch.nn.InstanceNorm3d", "norm_op_kwargs": {"eps": 1e-5, "affine": True}, "nonlin": "torch.nn.ReLU",
}  # fmt: skip
configuration = {
    "patch_size": [12, 16, 16], "spacing": [2.0, 1.0, 1.0], "normalization_schemes": ["ZScoreNormalization"] * 2,
    "use_mask_for_norm": [False, False], "architecture": {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet", "arch_kwargs": words,
        "_kw_requires_import": ["conv_op", "norm_op", "nonlin"],
    },
}  # fmt: skip
plans = {"transpose_forward": [0, 1, 2], "configurations": {"3d_fullres": configuration}}
dataset = {"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "organ": 1, "lesion": 2}}


def draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns two modalities (2, 16, 28, 28), slices first, and the labels."""
    rng = np.random.default_rng(seed)
    mm = np.stack(np.meshgrid(*map(np.arange, (16, 28, 28)), indexing="ij"), -1) * (2.0, 1, 1)
    middle = np.array([16, 14, 14]) + rng.uniform(-4, 4, 3)
    organ = ((mm - middle) ** 2).sum(-1) < 81
    lesion = ((mm - middle - rng.uniform(-4, 4, 3)) ** 2).sum(-1) < 16
    noise = rng.normal(100, 10, (2, 16, 28, 28))
    noise[0] += 60 * organ
    noise[1] += 60 * lesion
    return noise.astype(np.float32), np.where(lesion, 2, organ)


# %%
# A few steps of training in place of nnU-Net's thousand epochs, and the folder as its training leaves it.
torch.manual_seed(0)
own = words | {"conv_op": nn.Conv3d, "norm_op": nn.InstanceNorm3d, "nonlin": nn.ReLU}
network = PlainConvUNet(2, num_classes=3, deep_supervision=False, **own)
optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
for step in range(40):
    voxels, labels = draw(step)
    x = torch.from_numpy((voxels - voxels.mean((1, 2, 3), keepdims=True)) / voxels.std((1, 2, 3), keepdims=True))
    optimizer.zero_grad()
    nn.functional.cross_entropy(network(x[None]), torch.from_numpy(labels)[None], torch.tensor([1.0, 2, 4])).backward()
    optimizer.step()

fold = Path("nnUNetTrainer__nnUNetPlans__3d_fullres/fold_0")
fold.mkdir(parents=True)
(fold.parent / "plans.json").write_text(json.dumps(plans))
(fold.parent / "dataset.json").write_text(json.dumps(dataset))
trained = {"configuration": "3d_fullres"}
checkpoint = {"init_args": trained, "trainer_name": "nnUNetTrainer", "network_weights": network.state_dict()}
torch.save(checkpoint, fold / "checkpoint_final.pth")

affine = np.diag([1.0, 1, 2, 1])
voxels, labels = draw(99)
for n, channel in enumerate(voxels):
    image = nib.Nifti1Image(channel.T, affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, f"scan_{n:04d}.nii.gz")

# %%
# From here on it is what you write for your own. The file of the first channel is named; the others are found by their
# names, and the result says which became which. The volume is seen in the windows of the plans.
loaded = load("nnunet:nnUNetTrainer__nnUNetPlans__3d_fullres")
print(loaded.classes, loaded.preparation.channels, loaded.preparation.window)
study = explain_study(loaded, "scan_0000.nii.gz", ("grad-cam", "hires-cam"), "lesion")
print(study.provenance["channels"], study.maps[0].heatmap.shape)

# %%
# How much of each map lies in the lesion, which the first modality does not show at all; drawn over the second one.
lesion = labels.T == 2
for found in study.maps:
    inside = found.heatmap[lesion].sum() / found.heatmap.sum()
    print(f"{found.method}: {inside:.0%} of the map in {lesion.mean():.1%} of the volume")
panels = [Panel(found.heatmap, found.method, "lesion") for found in study.maps]
save_image(volume_sheet(read_volume("scan_0001.nii.gz"), panels, title="A lesion, of an nnU-Net"), "nnunet.png")

# %%
# On the command line it is `cfcam explain scan_0000.nii.gz -m nnunet:FOLDER --target lesion`. Folds, windows, several
# files and MONAI bundles: [nnU-Net, MONAI bundles and several modalities](../how-to/nnunet-and-monai-bundles.md).
