"""Image processors of transformers against what cfcam makes of their files: the same picture, the same input."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image as PILImage

from cfcam.imaging import Image, Preprocess
from cfcam.models import hugging_face
from cfcam.models.stated_by_libraries import PROCESSORS, processor_settings, timm_settings

transformers = pytest.importorskip("transformers")

# as files of published networks have it, before transformers named its classes ImageProcessor
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
CROP = {"crop_size": {"height": 120, "width": 144}}
OLD = {
    "ConvNext": {**IMAGENET, "crop_pct": 0.875, "do_normalize": True, "do_resize": True, "resample": 3, "size": 224},
    "DeiT": {**IMAGENET, "crop_size": 224, "do_center_crop": True, "do_resize": True, "resample": 3, "size": 256},
    "Levit": {**IMAGENET, "do_center_crop": True, "do_resize": True, "resample": 3, "size": 224},
    "MobileViT": {
        "crop_size": 256, "do_center_crop": True, "do_flip_channel_order": True, "do_resize": True, "resample": 2,
        "size": 288,
    },
    "Perceiver": {**IMAGENET, "crop_size": 256, "do_center_crop": True, "do_resize": True, "resample": 3, "size": 224},
    "PoolFormer": {**IMAGENET, "crop_pct": 0.95, "do_resize_and_center_crop": True, "resample": 3, "size": 224},
    "CLIP": {**IMAGENET, "crop_size": 224, "do_center_crop": True, "do_resize": True, "resample": 3, "size": 224},
    "ViT": {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_resize": True, "resample": 2, "size": 224},
}  # fmt: skip


def kinds() -> list[str]:
    """The classes of image processors that classifiers of images come with; one more needs torchvision."""
    auto = transformers.models.auto
    models = auto.modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES
    named = [auto.image_processing_auto.IMAGE_PROCESSOR_MAPPING_NAMES.get(model, {}) for model in models]
    found = {one["pil"].removesuffix("ImageProcessorPil") for one in named if one.get("pil", "").endswith("Pil")}
    assert len(found) > 15
    return sorted(found - {"ImageGPT"})  # whose network takes words for colours, and no picture


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """A smooth picture, wider than high, of which no part looks like another."""
    y, x = np.mgrid[:300, :420] / 60
    waves = [np.sin(x + n) * np.cos(0.7 * y - n) + 0.6 * np.cos(0.5 * x * (n + 1)) for n in range(3)]
    return np.rint(127.5 + 70 * np.stack(waves, axis=-1)).clip(0, 255).astype(np.uint8)


def agree(processor, config, pixels) -> bool:
    """Whether a picture is prepared as the processor does it, to two grey levels; False where cfcam says it cannot."""
    known, lacking = processor_settings(config, "its file")
    if {"resize", "mean"} & set(lacking):
        return False
    prepared = Preprocess(**known)(Image(pixels, None, ""))
    expected = np.asarray(processor(images=PILImage.fromarray(pixels), return_tensors="np")["pixel_values"][0])
    assert prepared.shape == expected.shape, known
    off = np.abs(prepared.numpy() - expected) * np.array(known["std"])[:, None, None]
    # Pillow rounds to whole grey levels, and a crop begins at most one pixel, of 9 grey levels, beside cfcam's
    assert off.max() < 9 / 255, (off.max() * 255, known)
    assert off.mean() < 2 / 255, (off.mean() * 255, known)
    return True


@pytest.mark.parametrize("kind", kinds())
def test_a_picture_is_prepared_as_the_processor_does_it_or_said_not_to_be(kind, pixels, tmp_path):
    processor = getattr(transformers, f"{kind}ImageProcessorPil")()
    processor.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "preprocessor_config.json").read_text())
    unlike = {"Donut", "MobileViT", "Siglip2", "TextNet"}  # MobileViT: only by its default sizes
    assert agree(processor, config, pixels) == (kind not in unlike)


@pytest.mark.parametrize("kind", OLD)
def test_older_files_leave_to_the_class_what_they_do_not_say(kind, pixels, tmp_path):
    config = OLD[kind] | {"feature_extractor_type": f"{kind}FeatureExtractor"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    processor = getattr(transformers, f"{kind}ImageProcessorPil").from_pretrained(tmp_path)
    assert agree(processor, config, pixels)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("EfficientNet", {"include_top": False, "rescale_factor": 1 / 127.5, "rescale_offset": True}),
        ("EfficientNet", {"do_normalize": False, "size": {"height": 96, "width": 128}}),
        ("Beit", {"do_center_crop": True, "size": {"height": 160, "width": 192}} | CROP),
        ("PoolFormer", {"size": {"shortest_edge": 384}, "crop_size": {"height": 384, "width": 384}}),
        ("ConvNext", {"size": {"shortest_edge": 384}}),
        ("MobileViT", {"size": {"shortest_edge": 288}, "do_normalize": True, "do_flip_channel_order": False}),
        ("ViT", {"do_center_crop": True, "crop_size": {"height": 192, "width": 192}}),
    ],
)  # fmt: skip
def test_settings_of_ones_own(kind, given, pixels):
    processor = getattr(transformers, f"{kind}ImageProcessorPil")(**given)
    assert agree(processor, processor.to_dict(), pixels)


@pytest.mark.parametrize("kind", sorted(PROCESSORS.keys() - {"PPLCNet"}))
def test_what_is_known_of_a_class_is_what_the_library_has(kind):
    found = getattr(transformers, f"{kind}ImageProcessorPil")
    assert {name: getattr(found, name, None) for name in PROCESSORS[kind]} == PROCESSORS[kind]


def test_what_is_known_of_a_class_that_needs_torchvision_is_what_the_library_says():
    """Its module imports torchvision, which is not here: its attributes are read where they are written."""
    folder = Path(transformers.__file__).parent / "models/pp_lcnet"
    tree = ast.parse((folder / "image_processing_pp_lcnet.py").read_text(encoding="utf-8"))
    (found,) = (one for one in tree.body if isinstance(one, ast.ClassDef) and one.name == "PPLCNetImageProcessor")
    said = {one.targets[0].id: one.value for one in found.body if isinstance(one, ast.Assign)}
    assert {name: ast.literal_eval(said[name]) for name in PROCESSORS["PPLCNet"]} == PROCESSORS["PPLCNet"]


def test_colours_that_are_turned_round_at_the_end():
    config = {
        "image_processor_type": "PPLCNetImageProcessor",
        "image_mean": [0.1, 0.2, 0.3],
        "image_std": [0.4, 0.5, 0.6],
    }
    known, lacking = processor_settings(config | {"size": {"height": 256, "width": 256}}, "its file")
    assert not lacking
    assert (known["size"], known["resize"], known["crop_ratio"]) == (224, "shorter-side+crop", 0.875)
    assert (known["order"], known["mean"], known["std"]) == ("bgr", (0.3, 0.2, 0.1), (0.6, 0.5, 0.4))


@pytest.mark.parametrize(
    "config",
    [
        {"size": {"shortest_edge": 224}, "do_center_crop": True, "crop_size": 256},  # filled up with black
        {"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": {"height": 224, "width": 192}},
        {"do_resize": False, "do_center_crop": True, "crop_size": 256},
        {"size": {"shortest_edge": 640}, "size_divisor": 32},
        {"size": 800, "max_size": 1333, "feature_extractor_type": "DetrFeatureExtractor"},
    ],
)
def test_what_cfcam_does_not_have_is_not_taken_for_something_else(config):
    known, lacking = processor_settings(config, "its file")
    assert "resize" not in known
    assert lacking["resize"].startswith("its file")


def test_timm_rounds_down_and_stretches_before_a_cut():
    config = {"input_size": (3, 224, 224), "crop_pct": 0.9}
    assert Preprocess(**timm_settings(config)[0])._axes((500, 700))[0].resized == 248  # floor(224 / 0.9)
    squashed, _ = timm_settings(config | {"crop_mode": "squash"})
    assert squashed["resize"] == "stretch+crop"
    assert [axis.resized for axis in Preprocess(**squashed)._axes((500, 700))] == [248, 248]
    whole, _ = timm_settings(config | {"crop_mode": "squash", "crop_pct": 1.0})
    assert whole == {"size": 224, "resize": "stretch", "interpolation": "bicubic"}  # timm's, if none is stated
    oblong = Preprocess(**timm_settings({"input_size": (3, 96, 64), "crop_pct": 1.0})[0])
    assert [axis.resized for axis in oblong._axes((101, 150))] == [96, 143]  # 150 / (101 / 96) is 142.6
    assert [axis.resized for axis in oblong._axes((400, 100))] == [256, 64]
    for size, part, resized in (((64, 96), 0.875, [73, 109]), ((96, 64), 0.9, [106, 71]), ((64, 96), 0.95, [67, 101])):
        known, _ = timm_settings({"input_size": (3, *size), "crop_pct": part, "crop_mode": "squash"})
        assert [axis.resized for axis in Preprocess(**known)._axes((50, 70))] == resized  # each side rounded down


def test_a_wrapped_network_of_timms_says_in_its_config_what_timm_does():
    timms = {
        "input_size": [3, 240, 240],
        "crop_pct": 0.95,
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
        "interpolation": "bicubic",
    }
    found = hugging_face._stated(SimpleNamespace(pretrained_cfg=timms), {}, "preprocessor_config.json")
    assert found.values == {
        "size": 240, "resize": "shorter-side+crop", "crop_ratio": 240 / 252, "mean": (0.5,) * 3, "std": (0.25,) * 3,
        "interpolation": "bicubic",
    }  # fmt: skip
    assert set(found.sources.values()) == {"stated by the network (its config.json)"}
