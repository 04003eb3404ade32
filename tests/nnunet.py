"""A folder as nnU-Net v2's training leaves it, written by hand: small plans, names, and a checkpoint."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

CT = {"mean": 90.0, "std": 40.0, "percentile_00_5": 20.0, "percentile_99_5": 180.0, "min": 0.0, "max": 300.0}
PLANS: dict[str, Any] = {
    "dataset_name": "Dataset998_Tiny",
    "plans_name": "nnUNetPlans",
    "image_reader_writer": "SimpleITKIO",
    "transpose_forward": [0, 1, 2],
    "transpose_backward": [0, 1, 2],
    "label_manager": "LabelManager",
    "foreground_intensity_properties_per_channel": {"0": CT, "1": CT},
    "configurations": {
        "3d_base": {
            "preprocessor_name": "DefaultPreprocessor",
            "patch_size": [8, 8, 8],
            "normalization_schemes": ["CTNormalization", "ZScoreNormalization"],
            "use_mask_for_norm": [False, True],
            "resampling_fn_data": "resample_data_or_seg_to_shape",
            "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None},
            "architecture": {
                "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
                "arch_kwargs": {
                    "n_stages": 2,
                    "features_per_stage": [4, 8],
                    "conv_op": "torch.nn.modules.conv.Conv3d",
                    "kernel_sizes": [[3, 3, 3]] * 2,
                    "strides": [[1, 1, 1], [2, 2, 2]],
                    "n_conv_per_stage": [1, 1],
                    "n_conv_per_stage_decoder": [1],
                    "conv_bias": True,
                    "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
                    "norm_op_kwargs": {"eps": 1e-05, "affine": True},
                    "dropout_op": None,
                    "dropout_op_kwargs": None,
                    "nonlin": "torch.nn.LeakyReLU",
                    "nonlin_kwargs": {"inplace": True},
                },
                "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
            },
        },
        "3d_fullres": {"inherits_from": "3d_base", "spacing": [2.0, 1.0, 1.0]},
    },
}
DATASET: dict[str, Any] = {
    "channel_names": {"0": "CT", "1": "T1"},
    "labels": {"background": 0, "liver": 1, "tumour": 2},
    "file_ending": ".nii.gz",
}


def network(plans: dict[str, Any] = PLANS, channels: int = 2, classes: int = 3) -> torch.nn.Module:
    """The network that these plans ask for, as its library builds it for training."""
    unets = pytest.importorskip("dynamic_network_architectures.architectures.unet")
    words = dict(plans["configurations"]["3d_base"]["architecture"]["arch_kwargs"])
    words |= {"conv_op": torch.nn.Conv3d, "norm_op": torch.nn.InstanceNorm3d, "nonlin": torch.nn.LeakyReLU}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return unets.PlainConvUNet(channels, num_classes=classes, deep_supervision=True, **words)


def folder(place: Path, *, plans: Any = None, dataset: Any = None, fold: str = "fold_0", **checkpoint: Any) -> Path:
    """Writes such a folder; keywords stand in for entries of the checkpoint."""
    plans, dataset = deepcopy(plans or PLANS), deepcopy(dataset or DATASET)
    (place / fold).mkdir(parents=True)
    (place / "plans.json").write_text(json.dumps(plans))
    (place / "dataset.json").write_text(json.dumps(dataset))
    content = {
        "optimizer_state": {},
        "logging": {"ema_fg_dice": [np.float32(0.5), np.float64(0.75)], "epoch": np.int64(3)},
        "_best_ema": np.float64(0.75),
        "init_args": {"configuration": "3d_fullres", "fold": 0, "device": torch.device("cpu"), "plans": plans},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }
    content |= checkpoint
    if "network_weights" not in content:
        content["network_weights"] = network().state_dict()
    torch.save(content, place / fold / "checkpoint_final.pth")
    return place


def changed(**of_configuration: Any) -> dict[str, Any]:
    """The plans with another configuration."""
    plans = deepcopy(PLANS)
    plans["configurations"]["3d_fullres"] |= of_configuration
    return plans
