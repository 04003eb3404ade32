"""nnunet:FOLDER: plans, names and checkpoint make the network that nnU-Net trained, and what cannot be is one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from copy import deepcopy
from fractions import Fraction

import pytest
import torch

from cfcam.errors import MissingExtraError, ModelError
from cfcam.jobs import volume_preprocess_of
from cfcam.models import load
from cfcam.models.spec import model_name
from tests import nnunet

pytest.importorskip("dynamic_network_architectures", reason="dynamic-network-architectures is not installed")


def test_the_network_is_the_plans_with_the_weights_and_without_the_heads_of_training(tmp_path):
    loaded = load(f"nnunet:{nnunet.folder(tmp_path / 'net')}")
    trained, x = nnunet.network(), torch.randn(1, 2, 8, 8, 8)
    trained.decoder.deep_supervision = False
    torch.testing.assert_close(loaded.module(x), trained.eval()(x), rtol=0, atol=0)
    assert loaded.classes == ("background", "liver", "tumour")
    assert (loaded.probability, loaded.notes) == ("softmax", ())
    assert loaded.preparation.window == (8, 8, 8)
    assert loaded.preparation.channels == ("CT", "T1")
    assert loaded.preparation.endings == ("_0000", "_0001")


def test_the_preparation_is_the_plans_and_takes_no_other_word(tmp_path):
    loaded = load(f"nnunet:{nnunet.folder(tmp_path / 'net')}")
    prepared = volume_preprocess_of(loaded)
    assert (prepared.by, prepared.spacing, prepared.patch) == ("nnunet", (2.0, 1.0, 1.0), (8, 8, 8))
    assert prepared.schemes == ("CTNormalization", "ZScoreNormalization")
    assert prepared.properties[0] == {name: nnunet.CT[name] for name in prepared.properties[0]}
    assert prepared.assumptions == ()
    with pytest.raises(ValueError, match="nnunet says itself how its volumes are prepared: leave --spacing out"):
        volume_preprocess_of(loaded, spacing=2.0)
    assert volume_preprocess_of(loaded, window=(40.0, 400.0)) == prepared


def test_regions_are_outputs_of_their_own_that_may_overlap(tmp_path):
    labels = {"background": 0, "whole tumour": [1, 2], "core": 2, "ignore": 3}
    dataset = nnunet.DATASET | {"labels": labels, "regions_class_order": [1, 2]}
    state = nnunet.network(classes=2).state_dict()
    loaded = load(f"nnunet:{nnunet.folder(tmp_path / 'net', dataset=dataset, network_weights=state)}")
    assert (loaded.classes, loaded.probability) == (("whole tumour", "core"), "sigmoid")


def test_plans_of_before_24_say_the_same_in_other_words(tmp_path):
    plans = deepcopy(nnunet.PLANS)
    base = plans["configurations"]["3d_base"]
    own = base.pop("architecture")["arch_kwargs"]
    base |= {
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": 4,
        "unet_max_num_features": 320,
        "n_conv_per_stage_encoder": own["n_conv_per_stage"],
        "n_conv_per_stage_decoder": own["n_conv_per_stage_decoder"],
        "pool_op_kernel_sizes": own["strides"],
        "conv_kernel_sizes": own["kernel_sizes"],
    }
    x = torch.randn(1, 2, 8, 8, 8)
    old = load(f"nnunet:{nnunet.folder(tmp_path / 'old', plans=plans)}").module
    torch.testing.assert_close(old(x), load(f"nnunet:{nnunet.folder(tmp_path / 'new')}").module(x), rtol=0, atol=0)


def test_a_fold_or_a_checkpoint_can_be_named_and_of_several_the_first_is_taken(tmp_path):
    place = nnunet.folder(tmp_path / "net")
    other = {name: value + 1 for name, value in nnunet.network().state_dict().items()}
    nnunet.folder(tmp_path / "second", fold="fold_1", network_weights=other)
    (tmp_path / "second" / "fold_1").rename(place / "fold_1")
    first, second = load(f"nnunet:{place}"), load(f"nnunet:{place / 'fold_1'}")
    assert first.notes == ("of the folds fold_0, fold_1 fold_0 is explained; nnU-Net averages all of them",)
    assert second.notes == ()
    one, two = (loaded.module.state_dict()["decoder.seg_layers.0.bias"] for loaded in (first, second))
    torch.testing.assert_close(two, one + 1)
    named = load(f"nnunet:{place / 'fold_1' / 'checkpoint_final.pth'}")
    torch.testing.assert_close(named.module.state_dict()["decoder.seg_layers.0.bias"], two)
    assert model_name(f"nnunet:{place}") == "nnunet:net"


def test_another_trainer_is_told_and_one_with_another_network_refused(tmp_path):
    loaded = load(f"nnunet:{nnunet.folder(tmp_path / 'a', trainer_name='nnUNetTrainerDA5')}")
    assert len(loaded.notes) == 1
    assert loaded.notes[0].startswith("the checkpoint is of the trainer nnUNetTrainerDA5, not nnUNetTrainer: its weigh")
    state = nnunet.network().state_dict() | {"encoder.stages.0.0.convs.0.norm.running_mean": torch.zeros(4)}
    place = nnunet.folder(tmp_path / "b", trainer_name="nnUNetTrainerBN", network_weights=state)
    with pytest.raises(ModelError, match=r"does not fit the network of its plans .*of the trainer nnUNetTrainerBN"):
        load(f"nnunet:{place}")


def test_a_checkpoint_is_read_without_running_what_it_holds(tmp_path):
    place = nnunet.folder(tmp_path / "net", logging=Fraction(1, 2))
    with pytest.raises(ModelError, match=r"checkpoint_final.pth holds arbitrary Python objects \(fractions.Fraction\)"):
        load(f"nnunet:{place}")


def _without(key):
    return {name: value for name, value in nnunet.PLANS.items() if name != key}


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        ({"init_args": {"configuration": "3d_lowres"}}, r"no configuration '3d_lowres', .*: they have 3d_base, 3d_ful"),
        ({"plans": nnunet.changed(patch_size=[8, 8])}, "the configuration 3d_fullres takes slices, and volumes are"),
        ({"plans": nnunet.changed(previous_stage="3d_lowres")}, "is the second stage of a cascade"),
        ({"plans": nnunet.changed(preprocessor_name="Mine")}, "its preprocessor_name is Mine, whose code cfcam does"),
        ({"plans": nnunet.changed(resampling_fn_data="mine")}, "its resampling_fn_data is mine"),
        ({"plans": nnunet.changed(inherits_from="3d_fullres")}, "have no configuration '3d_fullres'"),
        ({"plans": nnunet.PLANS | {"image_reader_writer": "NaturalImage2DIO"}}, "were read by NaturalImage2DIO"),
        ({"plans": nnunet.changed(normalization_schemes=["Mine", "Mine"])},
         r"net/plans\.json: the normalisation of channel 0 \(CT\) is 'Mine': nnU-Net has CTN"),
        ({"plans": nnunet.PLANS | {"foreground_intensity_properties_per_channel": {"0": {"mean": 1}}}},
         r"net/plans\.json: CTNormalization of channel 0 \(CT\) lacks std, percentile_00_5"),
        ({"dataset": nnunet.DATASET | {"labels": {"background": 0, "liver": 1}}},
         r"only the classifier differs, it has 3 classes: give the dataset\.json of its training"),
        ({"plans": _without("transpose_forward")}, r"are not as nnU-Net v2 writes them \(lacks 'transpose_forward'\)"),
        ({"dataset": {"labels": {"background": 0}}}, "dataset.json names no channels"),
        ({"dataset": nnunet.DATASET | {"labels": {"background": 0, "liver": 3}}}, "its labels are 0, 3, not 0, 1"),
        ({"trainer_name": "x", "init_args": {}}, "final.pth lacks 'configuration': it is no checkpoint of nnU-Net v2"),
        ({"init_args": None}, "final.pth TypeError: .*: it is no checkpoint of nnU-Net v2"),
        ({"plans": nnunet.changed(architecture={"network_class_name": "os.system", "arch_kwargs": {}})},
         "the plans' network is os.system: of dynamic_network_architectures cfcam builds PlainConvUNet"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line(tmp_path, how, complaint):
    place = nnunet.folder(tmp_path / "net", **how)
    with pytest.raises(ValueError, match=complaint) as told:
        volume_preprocess_of(load(f"nnunet:{place}"))
    assert "\n" not in str(told.value)


def test_plans_import_classes_of_torch_alone(tmp_path):
    plans = deepcopy(nnunet.PLANS)
    plans["configurations"]["3d_base"]["architecture"]["arch_kwargs"]["nonlin"] = "os.system"
    with pytest.raises(ModelError, match=r"the plans' nonlin is 'os.system', which is no class of torch.nn"):
        load(f"nnunet:{nnunet.folder(tmp_path / 'net', plans=plans)}")


def test_a_place_that_is_none_is_told_before_anything_is_read(tmp_path):
    with pytest.raises(ModelError, match=r"does not exist: give the folder that holds plans.json"):
        load(f"nnunet:{tmp_path / 'none'}")
    with pytest.raises(ModelError, match="names no network: give a folder"):
        load("nnunet:")
    nnunet.folder(tmp_path / "all" / "nnUNetTrainer__nnUNetPlans__3d_fullres")
    with pytest.raises(ModelError, match=r"holds no plans.json: give one of nnUNetTrainer__nnUNetPlans__3d_fullres in"):
        load(f"nnunet:{tmp_path / 'all'}")
    place = nnunet.folder(tmp_path / "net")
    (place / "fold_0" / "checkpoint_final.pth").rename(place / "fold_0" / "checkpoint_best.pth")
    assert load(f"nnunet:{place}").notes == ("fold_0 holds no checkpoint_final.pth: checkpoint_best.pth is taken",)
    (place / "fold_0" / "checkpoint_best.pth").unlink()
    with pytest.raises(ModelError, match=r"the folds of .* hold no checkpoint_final.pth"):
        load(f"nnunet:{place}")
    with pytest.raises(ModelError, match="brings its own weights and classes: give no others"):
        load(f"nnunet:{place}", num_classes=3)


def test_the_library_that_builds_it_is_named_where_it_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "dynamic_network_architectures", None)
    monkeypatch.setitem(sys.modules, "dynamic_network_architectures.architectures.unet", None)
    with pytest.raises(
        MissingExtraError, match=r"needs dynamic_network_architectures, .*pip install 'cfcam\[nnunet\]'"
    ):
        load(f"nnunet:{nnunet.folder(tmp_path / 'net', network_weights={})}")


OWN = """
import json, sys
from pathlib import Path
import numpy as np
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

place = Path(sys.argv[1])
net = place / "results" / "net"
files = [str(place / f"scan_000{n}.nii.gz") for n in (0, 1)]
plans, dataset = json.loads((net / "plans.json").read_text()), json.loads((net / "dataset.json").read_text())
manager = PlansManager(plans)
configuration = manager.get_configuration("3d_fullres")
case = place / "preprocessed" / plans["dataset_name"] / "tiny"
case.mkdir(parents=True)
seg = str(place / "seg.nii.gz")
DefaultPreprocessor(verbose=False).run_case_save(str(case / "scan"), files, seg, manager, configuration, dataset)
trainer = nnUNetTrainer(plans | {"continue_training": False}, "3d_fullres", 0, dataset, device=torch.device("cpu"))
trainer.initialize()
trainer.save_checkpoint(str(net / "fold_0" / "checkpoint_final.pth"))
predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), perform_everything_on_device=False)
predictor.initialize_from_trained_model_folder(str(net), use_folds=(0,))
data, _, _ = DefaultPreprocessor(verbose=False).run_case(files, None, manager, predictor.configuration_manager, dataset)
with torch.no_grad():
    logits = predictor.network.eval()(torch.from_numpy(data)[None][..., :8, :8, :8])
np.savez(place / "own.npz", data=data, logits=logits.numpy())
"""


@pytest.mark.skipif(not os.environ.get("CFCAM_NNUNET"), reason="CFCAM_NNUNET names no folder with nnunetv2")
def test_a_folder_of_nnunets_own_code_gives_the_array_and_the_logits_that_its_code_gives(tmp_path):
    import nibabel as nib
    import numpy as np

    from cfcam.imaging import read_channels

    plans = deepcopy(nnunet.PLANS)  # its manager keeps what configurations inherit; its trainer wants more of them
    base = plans["configurations"].pop("3d_base")
    plans |= {"original_median_spacing_after_transp": [2.0, 1.0, 1.0], "experiment_planner_used": "ExperimentPlanner"}
    plans["transpose_forward"], plans["transpose_backward"] = [1, 0, 2], [1, 0, 2]
    resampling = {f"resampling_fn_{what}": base["resampling_fn_data"] for what in ("seg", "probabilities")}
    words = {f"{name}_kwargs": {"is_seg": "seg" in name, "order": 1, "order_z": 0} for name in resampling}
    full = {"data_identifier": "tiny", "batch_size": 2, "batch_dice": True, **resampling, **words}
    plans["configurations"]["3d_fullres"] = base | full | {"spacing": [2.0, 1.0, 1.0]}
    (tmp_path / "results" / "net" / "fold_0").mkdir(parents=True)
    (tmp_path / "results" / "net" / "plans.json").write_text(json.dumps(plans))
    (tmp_path / "results" / "net" / "dataset.json").write_text(json.dumps(nnunet.DATASET))
    rng = np.random.default_rng(0)
    affine = np.diag([1.2, 0.9, 4.0, 1.0])
    for n in (0, 1):
        voxels = rng.normal(100, 40, (20, 22, 6)).astype(np.float32)
        voxels[:3] = voxels[:, 20:] = 0
        nib.save(nib.Nifti1Image(voxels, affine), tmp_path / f"scan_000{n}.nii.gz")
    nib.save(nib.Nifti1Image(rng.integers(0, 3, (20, 22, 6)).astype(np.uint8), affine), tmp_path / "seg.nii.gz")
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), os.environ["CFCAM_NNUNET"]]))
    places = {f"nnUNet_{name}": str(tmp_path / name) for name in ("raw", "preprocessed", "results")}
    environment = os.environ | {"PYTHONPATH": path, "nnUNet_n_proc_DA": "0", "nnUNet_compile": "f"} | places
    done = subprocess.run([sys.executable, "-c", OWN, tmp_path], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    own = np.load(tmp_path / "own.npz")
    loaded = load(f"nnunet:{tmp_path / 'results' / 'net'}")
    volume = read_channels([tmp_path / f"scan_000{n}.nii.gz" for n in (0, 1)])
    array = volume_preprocess_of(loaded).unpadded(volume)
    np.testing.assert_allclose(array, own["data"], rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        logits = loaded.module(torch.from_numpy(array)[None][..., :8, :8, :8])
    np.testing.assert_allclose(logits.numpy(), own["logits"], rtol=1e-4, atol=1e-5)
