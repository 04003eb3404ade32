from __future__ import annotations

import json

import pytest

from cfcam.errors import ModelError
from cfcam.models import TextModel
from cfcam.models.text_loading import load_text_model
from tests import text_networks

pytest.importorskip("transformers")


def saved(folder, name="vit_gpt2", parts=("processor", "tokenizer")):
    model, processor, tokenizer = getattr(text_networks, name)()
    model.save_pretrained(folder)
    if "processor" in parts:
        processor.save_pretrained(folder)
    if "tokenizer" in parts:
        tokenizer.save_pretrained(folder)
    return model


def test_a_folder_with_an_image_processor_and_a_tokenizer_is_loaded(tmp_path):
    model = saved(tmp_path)
    found = load_text_model(f"hf:{tmp_path}")
    assert isinstance(found, TextModel)
    assert found.passage(text_networks.picture(), most_tokens=3).written[0].text.ids == (
        TextModel(model, text_networks.image_processor(), text_networks.tokenizer())
        .passage(text_networks.picture(), most_tokens=3)
        .written[0]
        .text.ids
    )


def test_a_folder_with_one_processor_for_both_is_loaded(tmp_path):
    model, processor, _ = text_networks.llava()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    assert load_text_model(f"hf:{tmp_path}").passage(text_networks.picture(), "what is there ?", "lung").written


def test_what_is_no_folder_of_a_network_that_writes_is_refused_in_one_line(tmp_path):
    with pytest.raises(ModelError, match="holds no config"):
        load_text_model(f"hf:{tmp_path}")
    saved(tmp_path, parts=())
    with pytest.raises(ModelError, match=r"holds no processor.*processor\.save_pretrained"):
        load_text_model(f"hf:{tmp_path}")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "architectures": ["NoSuchNetwork"]}))
    with pytest.raises(ModelError, match="names no network of transformers") as error:
        load_text_model(f"hf:{tmp_path}")
    assert "\n" not in str(error.value)
    (tmp_path / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "fp8"}}))
    with pytest.raises(ModelError, match=r"is quantised \(fp8\): give the network of before it was quantised"):
        load_text_model(f"hf:{tmp_path}")


def test_a_classifier_of_torchvision_is_not_asked_to_write():
    with pytest.raises(ModelError, match="is asked to write, which demo and hf:FOLDER networks can"):
        load_text_model("torchvision:resnet18")
