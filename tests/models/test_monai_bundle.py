"""monai-bundle:FOLDER: network, weights and preprocessing as it says, and nothing of its code is run unasked."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest
import torch
import yaml
from monai.networks.nets import UNet

from cfcam.errors import ModelError
from cfcam.imaging.bundle_preprocess import prepared_by
from cfcam.jobs import volume_preprocess_of
from cfcam.models import load
from cfcam.models.spec import model_name

NET = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [4, 8], "strides": [2]}
CONFIG: dict[str, Any] = {
    "imports": ["$import math"],
    "device": "$torch.device('cuda:0')",
    "spacing": [1.5, 1.5, 2.0],
    "network_def": {"_target_": "UNet", **NET},
    "network": "$@network_def.to(@device)",
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
            {"_target_": "Spacingd", "keys": "image", "pixdim": "@spacing", "mode": "bilinear"},
            {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -57, "a_max": 164, "b_min": 0, "b_max": 1},
        ],
    },
    "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 8], "overlap": 0.25},
    "postprocessing": {"_target_": "Compose", "transforms": [{"_target_": "Activationsd", "softmax": True}]},
}
METADATA = {
    "network_data_format": {
        "inputs": {"image": {"channel_def": {"0": "CT"}}},
        "outputs": {"pred": {"channel_def": {"0": "background", "1": "spleen"}}},
    }
}


def network() -> UNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return UNet(**NET).eval()


def bundle(place, *, kind="json", state=None, **config):
    (place / "configs").mkdir(parents=True)
    (place / "models").mkdir()
    text = json.dumps(CONFIG | config) if kind == "json" else yaml.safe_dump(CONFIG | config)
    (place / "configs" / f"inference.{kind}").write_text(text)
    (place / "configs" / "metadata.json").write_text(json.dumps(METADATA))
    torch.save({"model": state or network().state_dict()}, place / "models" / "model.pt")
    return place


def steps(*more: dict[str, Any], **first: Any) -> dict[str, Any]:
    """A preprocessing with further transforms, or with other words of its Spacingd."""
    changed = deepcopy(CONFIG["preprocessing"])
    changed["transforms"][3] |= first
    changed["transforms"] += more
    return changed


def written(transforms: Any) -> dict[str, Any]:
    """A configuration whose preprocessing has these transforms."""
    return {"preprocessing": {"_target_": "Compose", "transforms": transforms}}


@pytest.mark.parametrize("kind", ["json", "yaml"])
def test_network_weights_names_and_windows_are_the_bundles(tmp_path, kind):
    loaded = load(f"monai-bundle:{bundle(tmp_path / 'spleen', kind=kind)}")
    x = torch.randn(1, 1, 16, 16, 8)
    torch.testing.assert_close(loaded.module(x), network()(x), rtol=0, atol=0)
    assert loaded.classes == ("background", "spleen")
    assert (loaded.probability, loaded.notes) == ("softmax", ())
    assert (loaded.preparation.window, loaded.preparation.overlap) == ((16, 16, 8), 0.25)
    assert loaded.preparation.channels == ("CT",)
    assert model_name(f"monai-bundle:{tmp_path / 'spleen'}") == "monai-bundle:spleen"


def test_the_preprocessing_is_used_with_its_references_and_takes_no_other_word(tmp_path):
    loaded = load(f"monai-bundle:{bundle(tmp_path / 'spleen')}")
    prepared = volume_preprocess_of(loaded)
    assert prepared.transforms[3]["pixdim"] == [1.5, 1.5, 2.0]
    assert prepared.told == (
        "by the bundle: LoadImaged, EnsureChannelFirstd, Orientationd, Spacingd, ScaleIntensityRanged: stated by the"
        " network (configs/inference.json)"
    )
    with pytest.raises(
        ValueError, match="monai-bundle says itself how its volumes are prepared: leave --intensity out"
    ):
        volume_preprocess_of(loaded, intensity="unit")


def test_what_is_not_needed_is_not_looked_at_and_a_literal_is_none_of_pythons_doing(tmp_path):
    """`device` and `network` are code, and have no part in it."""
    place = bundle(tmp_path / "a", preprocessing=steps(pixdim="$[1.0, 2.0, 3.0]"), nets="$1", chain="@spacing")
    assert volume_preprocess_of(load(f"monai-bundle:{place}")).transforms[3]["pixdim"] == [1.0, 2.0, 3.0]
    other = bundle(tmp_path / "b", preprocessing=steps(pixdim="$@chain"), chain="@spacing")
    assert volume_preprocess_of(load(f"monai-bundle:{other}")).transforms[3]["pixdim"] == [1.5, 1.5, 2.0]


def test_where_a_tensor_is_held_is_not_asked_and_lazy_is_handed_on(tmp_path):
    held = {"_target_": "EnsureTyped", "keys": "image", "device": "@device"}
    config = {**steps(held, {"_target_": "ToDeviced", "keys": "image", "device": "@device"}), "lazy": True}
    config["transforms"].append({"_target_": "Flipd", "keys": "image", "_disabled_": "true"})
    prepared = volume_preprocess_of(load(f"monai-bundle:{bundle(tmp_path / 'a', preprocessing=config)}"))
    assert {"_target_": "EnsureTyped", "keys": "image"} in prepared.transforms
    assert not {"ToDeviced", "Flipd"} & {one["_target_"] for one in prepared.transforms}
    assert prepared.compose == {"lazy": True}
    assert prepared_by(json.loads(json.dumps(prepared.as_dict()))).compose == {"lazy": True}


def test_an_expression_is_refused_and_run_where_the_bundle_is_trusted(tmp_path):
    place = bundle(tmp_path / "net", preprocessing=steps(pixdim="$[math.sqrt(2.25)] * 2 + [@depth]"), depth=4.0)
    with pytest.raises(ModelError) as told:
        load(f"monai-bundle:{place}")
    assert str(told.value) == (
        "net/configs/inference.json: preprocessing::transforms::3::pixdim is the Python expression '$[math.sqrt(2.25)]"
        " * 2 + [@depth]', which is not run: write its value there, or run the bundle's code with --trust-bundle if you"
        " trust who made it"
    )
    loaded = load(f"monai-bundle:{place}", trust_bundle=True)
    assert volume_preprocess_of(loaded).transforms[3]["pixdim"] == [1.5, 1.5, 4.0]
    assert loaded.notes == ("code of the bundle was run, as --trust-bundle says: $[math.sqrt(2.25)] * 2 + [@depth]",)


def test_code_of_the_bundles_own_is_imported_where_it_is_trusted_alone(tmp_path):
    place = bundle(tmp_path / "net", network_def={"_target_": "bundled_scripts.nets.Own"})
    scripts = place / "bundled_scripts"
    scripts.mkdir()
    (scripts / "nets.py").write_text(
        "from monai.networks.nets import UNet\n"
        "class Own(UNet):\n"
        f"    def __init__(self):\n        super().__init__(**{NET!r})\n"
    )
    with pytest.raises(
        ModelError, match=r"it builds bundled_scripts.nets.Own, which is no part of MONAI and is not run"
    ):
        load(f"monai-bundle:{place}")
    loaded = load(f"monai-bundle:{place}", trust_bundle=True)
    assert type(loaded.module).__name__ == "Own"
    assert loaded.notes == ("code of the bundle was run, as --trust-bundle says: bundled_scripts.nets.Own",)


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"network_def": {"_target_": "os.system", "command": "false"}}, "it builds os.system, which is no part"),
        ({"network_def": {"_target_": "NoNet"}}, "network_def is NoNet, which is no network of MONAI"),
        ({"network_def": {"_target_": "UNet", "channels": [4]}}, "UNet cannot be built .*: its arguments are"),
        ({"network_def": {"_target_": "UNet", **NET, "in_channels": "one"}}, "in_channels is 'one': give a whole"),
        ({"network_def": {"_target_": "UNet", "spatial_dims": {"_target_": "os.getpid"}}}, "has os.getpid inside of"),
        ({"network_def": "$make()"}, r"network_def is the Python expression '\$make\(\)', which is not run"),
        ({"network_def": None}, "it has no network_def with a _target_"),
        ({"network_def": CONFIG["network_def"] | {"spatial_dims": 2}}, "its network takes pictures, and bundles of"),
        ({"preprocessing": {"_target_": "Sequential"}}, "its preprocessing is no Compose of transforms"),
        ({"preprocessing": steps({"_target_": "RandFlipd", "keys": "image"})}, "its preprocessing has RandFlipd: wh"),
        ({"preprocessing": steps({"_target_": "SaveImaged", "keys": "image"})}, "its preprocessing has SaveImaged"),
        ({"preprocessing": steps({"_target_": "convert_data_type"})}, "it builds convert_data_type, which is no p"),
        ({"preprocessing": steps({"_target_": "builtins.exec"})}, "it builds builtins.exec, which is no part of MONAI"),
        (written(["LoadImaged"]), "net/configs/inference.json: preprocessing::transforms::0 is 'LoadImaged': write"),
        (written({"a": 1}), "preprocessing::transforms is {'a': 1}: write a list of transforms"),
        (written(None), "preprocessing::transforms is None: write a list of transforms"),
        (written([None]), "preprocessing::transforms::0 is None: write a transform there"),
        (written([{"_target_": ["Flipd"]}]), r"::0 is {'_target_': \['Flipd'\]}: write a transform there"),
        (written([{"_target_": "LoadImaged", "keys": 5}]), "its LoadImaged has keys that are no names"),
        (written([{"_target_": "Flipd", "keys": "image", "_mode_": "callable"}]), "has the _mode_ 'callable'"),
        (written([{"_target_": "GaussianSmoothd", "keys": "image"}]), "::0, GaussianSmoothd, cannot be built"),
        ({"inferer": {"_target_": "SlidingWindowInferer", "roi_size": 5.5}}, "its windows are 5.5 with overlap 0.25"),
        ({"inferer": {**CONFIG["inferer"], "overlap": -1}}, "configs/inference.json: inferer::overlap is -1: give"),
        ({"preprocessing": steps(pixdim="@nowhere")}, "there is no @nowhere: repair that reference"),
        ({"preprocessing": steps(pixdim="%other.json")}, "pixdim is the macro '%other.json'"),
        ({"spacing": "@spacing"}, "spacing refers to itself"),
        ({"inferer": {"_target_": "SlidingWindowInferer", "roi_size": [16, 16]}}, "its windows are"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_one_line(tmp_path, config, complaint):
    with pytest.raises(ModelError, match=complaint) as told:
        load(f"monai-bundle:{bundle(tmp_path / 'net', **config)}")
    assert "\n" not in str(told.value)


def test_a_place_that_is_none_is_told_before_anything_is_read(tmp_path):
    with pytest.raises(ModelError, match="does not exist: give the folder that holds configs and models"):
        load(f"monai-bundle:{tmp_path / 'none'}")
    with pytest.raises(ModelError, match=r"holds no configs/inference.json or .yaml"):
        load(f"monai-bundle:{tmp_path}")
    with pytest.raises(ModelError, match="names no network: give a folder that holds configs and models"):
        load("monai-bundle:")
    place = bundle(tmp_path / "net", state={"other": torch.zeros(1)})
    with pytest.raises(ModelError, match="does not fit the bundle's network_def"):
        load(f"monai-bundle:{place}")
    three = bundle(tmp_path / "three", network_def={"_target_": "UNet", **NET, "out_channels": 3})
    with pytest.raises(ModelError, match="does not fit the bundle's network_def") as told:
        load(f"monai-bundle:{three}")
    assert "--num-classes" not in str(told.value)
    (place / "models" / "model.pt").unlink()
    with pytest.raises(ModelError, match=r"models/model.pt does not exist"):
        load(f"monai-bundle:{place}")
    (place / "configs" / "inference.json").write_text("[1]")
    with pytest.raises(ModelError, match="holds no mapping"):
        load(f"monai-bundle:{place}")
    with pytest.raises(ModelError, match="brings its own weights and classes"):
        load(f"monai-bundle:{place}", num_classes=3)


def test_a_bundle_on_the_command_line_gives_maps_on_the_grid_of_the_file(tmp_path):
    import nibabel as nib
    import numpy as np
    from typer.testing import CliRunner

    from cfcam.cli.app import app

    affine = np.array([[0.0, 0.9, 0, -20], [-1.2, 0, 0, 30], [0, 0, 3, 7], [0, 0, 0, 1]])
    voxels = np.random.default_rng(0).normal(50, 60, (20, 24, 9)).astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, affine), tmp_path / "ct.nii.gz")
    net = ("--model", f"monai-bundle:{bundle(tmp_path / 'net', preprocessing=steps(pixdim='$[math.sqrt(4.0)] * 3'))}")
    words = [
        "explain",
        tmp_path / "ct.nii.gz",
        *net,
        "--method",
        "hires-cam",
        "--save",
        "overlay",
        "-o",
        tmp_path / "o",
    ]
    words += ["-o", tmp_path / "o"]
    refused = CliRunner().invoke(app, list(map(str, words)))
    assert refused.exit_code == 2
    assert "or run the bundle's code with --trust-bundle if you trust who made it" in refused.output
    done = CliRunner().invoke(app, [*map(str, words), "--trust-bundle"])
    assert done.exit_code == 0, done.output
    assert "code of the bundle was run, as --trust-bundle says: $[math.sqrt(4.0)] * 3" in " ".join(done.output.split())
    heat = nib.load(tmp_path / "o" / "ct_hires-cam.nii.gz")
    assert heat.shape == voxels.shape
    np.testing.assert_allclose(heat.affine, affine, atol=1e-5)
    assert np.count_nonzero(heat.get_fdata())
    labels = np.zeros(voxels.shape, np.uint8)
    labels[4:9, 5:12, 2:6] = 3
    nib.save(nib.Nifti1Image(labels, affine), tmp_path / "organs.nii.gz")
    windows = ["--by-region", tmp_path / "organs.nii.gz", "--sliding", "16x16x8", "--trust-bundle", "--json"]
    regions = CliRunner().invoke(app, [*map(str, words), *map(str, windows)])
    assert regions.exit_code == 0, regions.output
    ((row,),) = (one["regions"]["hires-cam"] for one in json.loads(regions.stdout)["images"][0]["targets"])
    assert (row["name"], row["removal"] != 0) == ("region 3", True)
    assert json.loads(regions.stdout)["images"][0]["notices"] == []
