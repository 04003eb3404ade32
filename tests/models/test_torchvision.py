"""torchvision and timm, which need an installed torchvision.

``CFCAM_TORCHVISION`` names a folder made by
``pip install --no-deps --target FOLDER torchvision==0.28.0 timm``.
The wheel beside a CPU-only torch lacks its compiled operators, so a process of its own declares the ones that
the import asks for; no network of these tests calls them.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    not os.environ.get("CFCAM_TORCHVISION"),
    reason="CFCAM_TORCHVISION names no folder with torchvision and timm",
)

CODE = """
import json, sys, types
import torch

if not hasattr(torch.ops.torchvision, "nms"):
    library = torch.library.Library("torchvision", "FRAGMENT")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from cfcam.errors import ModelError
from cfcam.models import load

folder, out = sys.argv[1], {}

def show(loaded):
    classes = loaded.classes and len(loaded.classes)
    return {"classes": classes, "preprocess": loaded.preprocess, "notes": loaded.notes}

def message(*arguments, **keywords):
    try:
        load(*arguments, **keywords)
    except ModelError as error:
        return str(error)

def equal(a, b):
    one, two = a.state_dict(), b.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)

# A fine-tuned ResNet-50 as people make one: the fc replaced, trained under DataParallel.
import torchvision
tuned = torchvision.models.resnet50()
tuned.fc = torch.nn.Linear(2048, 2)
torch.save({"epoch": 1, "state_dict": torch.nn.DataParallel(tuned).state_dict()}, f"{folder}/w.pt")
loaded = load("torchvision:resnet50", num_classes=2, weights=f"{folder}/w.pt")
out["tuned"] = show(loaded)
out["same"] = equal(loaded.module, tuned)
out["shape"] = list(loaded.module(torch.zeros(1, 3, 64, 64)).shape)
squeeze = load("torchvision:squeezenet1_1", num_classes=2)
out["random"] = show(squeeze)
out["squeeze"] = list(squeeze.module(torch.zeros(1, 3, 64, 64)).shape)
out["unknown"] = message("torchvision:resnet5o")
out["variant"] = message("torchvision:resnet50@IMAGENET")

# Weights by name: the download is replaced, once by a failure and once by a state dict made here.
from torchvision.models._api import WeightsEnum
from urllib.error import URLError

def fails(*_, **__):
    raise URLError("no network")

WeightsEnum.get_state_dict = fails
out["offline"] = message("torchvision:mobilenet_v3_small@DEFAULT")
state = torchvision.models.mobilenet_v3_small().state_dict()
WeightsEnum.get_state_dict = lambda *_, **__: state
out["default"] = show(load("torchvision:mobilenet_v3_small@IMAGENET1K_V1"))
out["default_two"] = show(load("torchvision:mobilenet_v3_small@DEFAULT", num_classes=2))

loaded = load("timm:resnet18", num_classes=2)
out["timm"] = show(loaded)
out["timm_shape"] = list(loaded.module(torch.zeros(1, 3, 64, 64)).shape)
torch.save(loaded.module.state_dict(), f"{folder}/t.pt")
out["without"] = message("timm:resnet18", weights=f"{folder}/t.pt")
again = load("timm:resnet18", num_classes=2, weights=f"{folder}/t.pt")
out["timm_again"] = [equal(loaded.module, again.module), again.notes]
out["timm_unknown"] = message("timm:resnet_18")
out["timm_tag"] = message("timm:resnet18.nonsense")
out["timm_offline"] = message("timm:resnet18@pretrained")
print(json.dumps(out))
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("torchvision")
    path = os.pathsep.join(filter(None, [os.environ["CFCAM_TORCHVISION"], os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf")}
    done = subprocess.run(
        [sys.executable, "-c", CODE, folder],
        capture_output=True,
        text=True,
        env=environment,
        cwd=Path(folder),
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_fine_tuned_resnet50(seen):
    assert seen["tuned"] == {"classes": None, "preprocess": {}, "notes": []}
    assert seen["same"]
    assert seen["shape"] == [1, 2]


def test_a_fine_tuned_network_without_its_number_of_classes(seen):
    assert seen["without"].endswith("only the classifier differs, use --num-classes 2")
    assert "fc.weight is 2x512 in the file, 1000x512 here" in seen["without"]


def test_without_weights_it_is_random(seen):
    assert seen["random"]["notes"] == ["no weights given: the network is randomly initialised, its maps mean nothing"]
    assert seen["squeeze"] == [1, 2]


def test_unknown_names_show_the_nearest(seen):
    assert "torchvision has no network 'resnet5o': did you mean resnet" in seen["unknown"]
    assert "it has IMAGENET1K_V1, IMAGENET1K_V2" in seen["variant"]
    assert "timm has no network 'resnet_18': did you mean resnet18" in seen["timm_unknown"]
    assert "resnet18.nonsense" in seen["timm_tag"]


def test_named_weights_bring_classes_and_preprocessing(seen):
    assert seen["default"] == {
        "classes": 1000,
        "preprocess": {
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
            "size": 224,
            "resize": "shorter-side+crop",
            "crop_ratio": 0.875,
            "interpolation": "bilinear",
        },
        "notes": [],
    }
    assert seen["default_two"]["classes"] is None
    assert "classifier is randomly initialised" in seen["default_two"]["notes"][0]


def test_weights_that_cannot_be_fetched(seen):
    for key, spec in (("offline", "torchvision:mobilenet_v3_small"), ("timm_offline", "timm:resnet18")):
        assert f"the weights of {spec}@" in seen[key]
        assert f"give {spec} and a file of weights" in seen[key]
        assert "\n" not in seen[key]


def test_timm(seen):
    assert seen["timm"]["preprocess"] == {
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "size": 224,
        "resize": "shorter-side+crop",
        "crop_ratio": pytest.approx(224 / 235),  # of 0.95: whole pixels, rounded down
        "interpolation": "bicubic",
    }
    assert "randomly initialised" in seen["timm"]["notes"][0]
    assert seen["timm_shape"] == [1, 2]
    assert seen["timm_again"] == [True, []]
