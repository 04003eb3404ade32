#!/usr/bin/env bash
# nnU-Net 2.8.1 (nnunetv2): nnUNet_n_proc_DA=0, with which its trainer loads data without worker processes, ends its planning
# with an error of PyTorch about threads. (Seen 2026-11.)
#
# Guess: the variable is the number of processes for data augmentation (so says its docstring), and 0 is allowed, as the
# trainer takes it: it makes a loader in its own process then. Planning augments nothing, so that it should not matter there.
# Seen: with 0, the estimate of a network's memory, on which every plan rests, raises RuntimeError ("set_num_threads expects a
# positive integer"). With 1 and with 2 it gives the same number.
# Why the guess was wrong: for that estimate the number of PyTorch's threads is set to the number of those processes, 0 too.
# Whoever sets 0 for a whole pipeline, as where /dev/shm is small, gets no plan, and an error that names neither the variable
# nor augmentation: plan with another value than one trains with.
set -euo pipefail
here="$(mktemp -d)"; trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
install() { "$here/venv/bin/pip" install --quiet --disable-pip-version-check "$@"; }
install torch==2.13.0
install numpy==2.4.6 scipy==1.17.1 tqdm==4.70.1 scikit-image==0.26.0 SimpleITK==2.5.7 nibabel==5.4.2 tifffile==2026.3.3 \
    imagecodecs==2026.3.6 blosc2==4.14.1 pandas==3.1.1
# Without what they ask for besides, which planning does not need: a second torch among them.
install --no-deps nnunetv2==2.8.1 acvl_utils==0.2.6 batchgenerators==0.25.5 dynamic_network_architectures==0.4.4
cd "$here"
export nnUNet_raw="$here/raw" nnUNet_preprocessed="$here/preprocessed" nnUNet_results="$here/results"
venv/bin/python -W ignore - <<'PYTHON'
import os

from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner

NETWORK = {
    "n_stages": 2,
    "features_per_stage": [4, 8],
    "conv_op": "torch.nn.modules.conv.Conv3d",
    "kernel_sizes": [[3, 3, 3], [3, 3, 3]],
    "strides": [[1, 1, 1], [2, 2, 2]],
    "n_conv_per_stage": [2, 2],
    "n_conv_per_stage_decoder": [2],
    "conv_bias": True,
    "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
    "norm_op_kwargs": {"eps": 1e-5, "affine": True},
    "dropout_op": None,
    "dropout_op_kwargs": None,
    "nonlin": "torch.nn.LeakyReLU",
    "nonlin_kwargs": {"inplace": True},
}
CLASS = "dynamic_network_architectures.architectures.unet.PlainConvUNet"
IMPORTED = ("conv_op", "norm_op", "dropout_op", "nonlin")

seen = {}
for processes in (2, 1, 0):
    os.environ["nnUNet_n_proc_DA"] = str(processes)
    try:
        seen[processes] = ExperimentPlanner.static_estimate_VRAM_usage((16, 16, 16), 1, 2, CLASS, NETWORK, IMPORTED)
    except RuntimeError as error:
        seen[processes] = f"RuntimeError: {str(error).splitlines()[0]}"
    print(f"nnUNet_n_proc_DA={processes}: {seen[processes]}")

assert seen[2] == seen[1] > 0, "the estimate depends on the number of processes"
assert isinstance(seen[0], str) and "set_num_threads" in seen[0], "planning takes 0 processes now"
print("unchanged: without worker processes there is no plan")
PYTHON
