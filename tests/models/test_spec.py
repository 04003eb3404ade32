"""What a network is called where people read it: no folder of somebody's machine."""

import pytest

from cfcam.errors import ModelError
from cfcam.models import model_name
from cfcam.models.spec import parse_spec


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("demo", "demo"),
        ("torchvision:resnet50@DEFAULT", "torchvision:resnet50@DEFAULT"),
        ("timm:resnet18.a1_in1k", "timm:resnet18.a1_in1k"),
        ("/home/jane/nets/models.py:make(3)", "models.py:make(3)"),
        ("nets/models.py:make", "models.py:make"),
        ("C:\\nets\\models.py:make", "models.py:make"),
        ("/home/jane doe/n.py:make('/home/jane doe/best.pt', classes=3)", "n.py:make('best.pt', classes=3)"),
        ("m.py:make(folder='/data/nets/')", "m.py:make(folder='nets')"),
        ("hf:/data/models/vit", "hf:vit"),
        ("hf:/data/models/vit/", "hf:vit"),
        ("hf:models/of/jane/vit-2.1", "hf:vit-2.1"),
        ("hf:./vit", "hf:vit"),
        ("hf:google/vit-base-patch16", "hf:google/vit-base-patch16"),
        ("hf:C:\\models\\vit", "hf:vit"),
        ("monai:DenseNet121(spatial_dims=2)", "monai:DenseNet121(spatial_dims=2)"),
        ("monai:Net(weights='/data/w.pt')", "monai:Net(weights='w.pt')"),
    ],
)
def test_a_networks_name_holds_no_folder(spec, name):
    assert model_name(spec) == name


def test_a_folder_that_is_only_pointed_to_is_named(tmp_path, monkeypatch):
    (tmp_path / "vit").mkdir()
    monkeypatch.chdir(tmp_path / "vit")
    assert model_name("hf:.") == "hf:vit"
    assert model_name("hf:..") == f"hf:{tmp_path.name}"


@pytest.mark.parametrize(
    ("file", "given", "form"),
    [
        ("plans.json", "", "by nnU-Net's training give nnunet"),
        ("plans.json", "fold_0", "by nnU-Net's training give nnunet"),
        ("configs/inference.json", "", "of a MONAI bundle give monai-bundle"),
        ("config.json", "", "by transformers' save_pretrained give hf"),
    ],
)
def test_a_folder_without_its_scheme_is_told_which_one_is_meant(tmp_path, file, given, form):
    for place in (tmp_path / "fold_0", (tmp_path / file).parent):
        place.mkdir(exist_ok=True)
    (tmp_path / file).write_text("{}")
    with pytest.raises(ModelError, match=f"{form}:") as told:
        parse_spec(str(tmp_path / given))
    assert str(told.value).endswith(f":{tmp_path / given}")
