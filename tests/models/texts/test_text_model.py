"""Each family: small networks built from their configurations, without weights (tests/text_networks.py)."""

from __future__ import annotations

import re
from unittest.mock import patch

import numpy as np
import pytest
import torch
from PIL import Image

import cfcam
from cfcam.capture import recording
from cfcam.capture.columns import MANY
from cfcam.capture.targets.tokens import EachToken
from cfcam.errors import InputError, MethodError, ModelError, TargetError
from cfcam.methods import TAM
from cfcam.models import TextModel
from tests import text_networks
from tests.text_networks import FAMILIES, GRIDS, QUESTION, SIZES, pictures

pytest.importorskip("transformers")
LOOKS = re.compile(r"vision|visual|image_encoder|^encoder\.")
MIXES = re.compile(
    r"(out_proj|attention\.output\.dense|attn\.proj|self_attn\.projection|attention\.(o_proj|projection_layer))$"
)


@pytest.fixture(scope="module")
def models():
    made = {}

    def get(name):
        if name not in made:
            made[name] = TextModel(*getattr(text_networks, name)())
        return made[name]

    return get


@pytest.mark.parametrize("name", FAMILIES)
def test_one_pass_over_the_text_scores_its_tokens_as_generate_did(models, name):
    passage = models(name).passage(pictures(name), QUESTION, most_tokens=5)
    found = cfcam.explain(passage, passage.x, "hires-cam", targets=EachToken("log-probability"))
    for n, written in enumerate(passage.written):
        known = torch.tensor(written.log_probabilities)
        torch.testing.assert_close(found.scores[n, : len(known)], known, atol=2e-5, rtol=1e-4)
    assert tuple(found.maps["hires-cam"].shape[2:]) == GRIDS.get(name, (4, 4))
    assert found.maps["hires-cam"][:, 0].abs().amax((1, 2)).min() > 0


@pytest.mark.parametrize("name", FAMILIES)
def test_a_tokens_score_and_map_know_nothing_of_later_tokens(models, name):
    model, seen = models(name), pictures(name, 1)
    first, other = (model.passage(seen, QUESTION, text) for text in ("left nodule", "left zone lower lung"))
    maps = [cfcam.explain(one, one.x, "hires-cam", targets=cfcam.Token(0)) for one in (first, other)]
    torch.testing.assert_close(maps[0].scores, maps[1].scores, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(maps[0].maps["hires-cam"], maps[1].maps["hires-cam"], atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_cell_of_the_grid_is_the_token_of_its_place(name):
    network, processor, tokenizer = getattr(text_networks, name)()
    with torch.no_grad():
        for part, module in network.named_modules():
            if LOOKS.search(part) and MIXES.search(part):  # no token sees another's patch
                module.weight.zero_()
    model = TextModel(network, processor, tokenizer)
    side = SIZES.get(name, (32, 32))[0]
    rows, columns = GRIDS.get(name, (4, 4))
    cell = side // rows
    plain = np.full((side, side, 3), 90, np.uint8)

    def tokens(pixels):
        passage = model.passage(Image.fromarray(pixels), QUESTION, "no")
        assert passage.grid.size == (side, side)
        with torch.no_grad():
            x = passage.x
            found = model.family.encode(x, passage._visual(torch.zeros(1, dtype=torch.int64), 1))
        return passage.grid.tokens.maps(found)

    before = tokens(plain)
    for row, column in ((0, columns - 1), (rows - 1, 1), (1, columns // 2)):
        spotted = plain.copy()
        spotted[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell] = (250, 30, 160)
        changed = (tokens(spotted) - before).abs().amax((0, 1))
        assert changed.argmax() == row * columns + column
        rest = changed.clone()
        rest[row, column] = 0
        assert rest.max() < 1e-5 * changed.max() or name in {
            "idefics3",
            "smolvlm",
            "llava_next",
        }  # which filter when they resize
        assert rest.max() < 0.2 * changed.max()


@pytest.mark.parametrize("name", ["llava", "git", "paligemma", "qwen", "smolvlm"])
def test_token_activation_maps_read_the_logits_at_the_image_tokens(models, name):
    model = models(name)
    found = cfcam.explain_text(
        model, pictures(name), QUESTION, "left nodule .", [TAM(interference=False, smooth=False)]
    )
    alone = cfcam.explain_text(
        model, pictures(name)[1], QUESTION, "left nodule .", TAM(interference=False, smooth=False)
    )
    torch.testing.assert_close(found.maps["tam"][1:], alone.maps["tam"], atol=1e-4, rtol=1e-3)
    assert tuple(found.maps["tam"].shape) == (2, 2, *GRIDS.get(name, (4, 4)))
    assert found.maps["tam"].min() >= 0 < found.maps["tam"].max()
    passage = model.passage(pictures(name), QUESTION, "left nodule .")
    (one, _) = passage.everywhere(passage.x)
    assert [one.ids[one.start :], len(one.ids) - one.start] == [list(passage.written[0].text.ids), 3]
    capture = cfcam.Explainer(passage, "hires-cam").capture(passage.x, [EachToken()])
    predicted = capture.output.logits[0][0].detach()
    torch.testing.assert_close(one.logits[one.places[one.start :]], predicted, atol=1e-5, rtol=1e-4)
    less = cfcam.explain_text(model, pictures(name, 1), QUESTION, "left nodule .", TAM()).maps["tam"]
    assert torch.isfinite(less).all()


def test_token_activation_maps_need_one_sequence_of_picture_and_text(models):
    with pytest.raises(MethodError, match="looks at the picture apart from the text"):
        cfcam.explain_text(models("blip"), pictures("blip", 1), text="nodule", methods=TAM())
    with pytest.raises(MethodError, match="not one answer against another"):
        cfcam.explain_text(models("llava"), pictures("llava", 1), methods=TAM(), targets=cfcam.Answer("yes", "no"))


@pytest.mark.parametrize("name", ["llava", "blip"])
def test_many_tokens_have_the_gradients_of_one_pass_back_for_each(models, name):
    passage = models(name).passage(
        pictures(name, 1), QUESTION, "left nodule in the upper lung and an effusion is there"
    )
    explainer = cfcam.Explainer(passage, "hires-cam")
    capture = explainer.capture(passage.x, [EachToken()])
    assert capture.scores.shape[1] >= MANY
    with patch.object(recording, "all_gradients", wraps=recording.all_gradients) as together:
        gradients = capture.gradients
    assert together.call_count == 1
    for k in (0, 5):
        alone = explainer.capture(passage.x, [cfcam.Token(k)]).gradients[:, 0]
        torch.testing.assert_close(gradients[:, k], alone, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(
    ("kind", "grid", "words"),
    [
        ("Dinov2WithRegisters", (4, 4), "patches of 8 x 8 pixels; 5 other tokens before them dropped"),
        ("Swin", (4, 4), "patches of 8 x 8 pixels"),
    ],
)
def test_registers_are_dropped_and_merged_patches_are_larger(kind, grid, words):
    import transformers

    said = {
        "Dinov2WithRegisters": {**text_networks.VIT, "patch_size": 8, "image_size": 32, "num_register_tokens": 4},
        "Swin": {
            "embed_dim": 8,
            "depths": [1, 1],
            "num_heads": [1, 2],
            "patch_size": 4,
            "image_size": 32,
            "window_size": 4,
        },
    }[kind]
    encoder = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**said))
    network, processor, tokenizer = text_networks.vit_gpt2()
    other = transformers.VisionEncoderDecoderModel(encoder=encoder, decoder=network.decoder).eval()
    other.config.decoder_start_token_id = other.generation_config.decoder_start_token_id = 1
    passage = TextModel(other, processor, tokenizer).passage(text_networks.picture(), text="nodule")
    assert passage.grid.words == words
    found = cfcam.explain(passage, passage.x, "hires-cam", targets=cfcam.Token(0))
    assert tuple(found.maps["hires-cam"].shape[2:]) == grid


def test_what_a_processor_crops_is_not_under_the_maps():
    network, pixels, tokenizer = text_networks.vit_gpt2()
    pixels.do_center_crop, pixels.size = True, {"shortest_edge": 40}
    pixels.crop_size = {"height": 32, "width": 32}
    model = TextModel(network, pixels, tokenizer)
    assert model.family.seen(40, 80) == pytest.approx((0.1, 0.3, 0.9, 0.7))  # 32 of 40, and of 80
    assert model.family.seen(40, 40) == pytest.approx((0.1, 0.1, 0.9, 0.9))
    pixels.do_center_crop, pixels.do_pad, pixels.size = False, True, {"height": 32, "width": 32}
    assert model.family.seen(64, 64) == (0, 0, 1, 1)
    with pytest.raises(InputError, match="pads a picture of 40 x 80 to another shape"):
        model.passage(text_networks.picture(0, (40, 80)))


def test_pictures_of_one_batch_have_one_grid(models):
    wide, high = text_networks.picture(0, (32, 64)), text_networks.picture(0, (64, 32))
    with pytest.raises(InputError, match="of different grids: explain them one at a time"):
        models("smolvlm").passage([wide, high], text="nodule")


def test_the_network_is_afterwards_what_it_was(models):
    model = models("qwen")
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    attribute = model.model.model.rope_deltas
    model.model.train()
    cfcam.explain_text(model, pictures("qwen", 1), QUESTION, methods="grad-cam", most_tokens=2)
    assert all(module.training for module in model.model.modules())
    model.model.eval()
    assert model.model.model.rope_deltas is attribute
    assert all(value.equal(before[name]) for name, value in model.model.state_dict().items())


def test_methods_that_mask_the_picture_work_where_it_is_one_picture(models):
    passage = models("vit_gpt2").passage(pictures("vit_gpt2"), "", "left nodule")
    found = cfcam.explain(passage, passage.x, ["score-cam", "occlusion", "ablation-cam"], targets=cfcam.Token("nodule"))
    assert all(torch.isfinite(maps).all() for maps in found.maps.values())
    with pytest.raises(MethodError, match="gets it in tiles"):
        cfcam.explain_text(models("smolvlm"), pictures("smolvlm", 1), text="nodule", methods="score-cam")


def test_a_layer_of_the_part_that_looks_can_be_named(models):
    passage = models("llava").passage(pictures("llava"), QUESTION, "nodule")
    layer = "model.model.vision_tower.encoder.layers[0]"
    found = cfcam.explain(passage, passage.x, "grad-cam", targets=cfcam.Token(0), layer=layer)
    assert tuple(found.maps["grad-cam"].shape) == (2, 1, 4, 4)


@pytest.mark.parametrize("name", ["vit_gpt2", "llava", "blip_answers"])
def test_a_prompt_longer_than_the_context_is_refused_in_one_line(models, name):
    with pytest.raises(
        InputError, match=r"the prompt is \d+ tokens long.*context|network takes 24: shorten it"
    ) as error:
        models(name).passage(pictures(name, 1), "nodule " * 200)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="and the text 200"):
        models(name).passage(pictures(name, 1), QUESTION, "nodule " * 200)


def test_pictures_of_another_size_than_the_networks_are_refused_in_one_line():
    network, _, tokenizer = text_networks.blip()
    with pytest.raises(InputError, match="gives pictures of 48 x 48, and the network takes 32 x 32") as error:
        TextModel(network, text_networks.image_processor(48), tokenizer).passage(text_networks.picture())
    assert "\n" not in str(error.value)


def test_what_cannot_be_explained_is_said_in_one_line(models):
    model, seen = models("vit_gpt2"), pictures("vit_gpt2", 1)
    with pytest.raises(InputError, match="a picture is a tensor"):
        model.passage(torch.zeros(1, 3, 32, 32))
    with pytest.raises(InputError, match="no picture"):
        model.passage([])
    with pytest.raises(InputError, match="has no token"):
        model.passage(seen, text=" ")
    with pytest.raises(InputError, match="answers questions"):
        models("blip_answers").passage(seen)
    with pytest.raises(InputError, match="explain them one at a time"):
        models("qwen").passage([text_networks.picture(0, (64, 64)), text_networks.picture(0, (32, 64))], text="no")
    passage = model.passage(seen, text="left nodule")
    with pytest.raises(TargetError, match="'lung' was never generated"):
        cfcam.explain(passage, passage.x, "grad-cam", targets=cfcam.Token("lung"))
    with pytest.raises(InputError, match="cannot prepare"):
        models("llava").passage(pictures("llava", 1), "<image><image>", "no")


def test_a_network_of_no_known_family_and_a_processor_without_a_tokenizer_are_refused():
    with pytest.raises(ModelError, match="Linear is no network that is known to write"):
        TextModel(torch.nn.Linear(1, 1), None)
    network, processor, _ = text_networks.vit_gpt2()
    with pytest.raises(ModelError, match="has no tokenizer"):
        TextModel(network, processor)


def test_queries_that_no_place_was_kept_for_would_leave_the_picture_out():
    model, processor, _ = text_networks.blip2()
    processor.num_query_tokens = None
    with pytest.raises(InputError, match="kept 0 places for a picture, and the network has 3 queries") as error:
        TextModel(model, processor).passage(text_networks.picture(), QUESTION, "nodule")
    assert "\n" not in str(error.value)


def test_what_earlier_layers_give_the_language_model_beside_is_part_of_the_map(models):
    """Of Qwen3-VL: without the tokens of its DeepStack the score is another, and their channels have gradients."""
    model = models("qwen3")
    passage = model.passage(pictures("qwen3", 1), QUESTION, "nodule")
    capture = cfcam.Explainer(passage, "hires-cam").capture(passage.x, [cfcam.Token(0)])
    assert capture.activations.shape[1] == 32  # 16 channels, and 16 of an earlier layer
    assert capture.gradients[0, 0, 16:].abs().max() > 0


def test_a_wide_picture_in_tiles_lies_as_it_is_cut(models):
    passage = models("internvl").passage(text_networks.picture(0, (32, 96)), QUESTION, "nodule")
    assert passage.grid.words == "1 x 3 tiles of 2 x 2 pooled patches; the small whole picture behind them left out"
    assert passage.grid.size == (32, 96)
    found = cfcam.explain(passage, passage.x, "hires-cam", targets=cfcam.Token(0))
    assert tuple(found.maps["hires-cam"].shape[2:]) == (2, 6)
    one = models("internvl").passage(text_networks.picture(0, (32, 32)), QUESTION, "nodule")
    assert one.grid.words == "2 x 2 pooled patches"


def test_pictures_of_their_own_size_have_their_own_grid(models):
    for name, cells in (("pixtral", (4, 8)), ("mistral3", (2, 4)), ("qwen3", (2, 4))):
        passage = models(name).passage(text_networks.picture(0, (32, 64)), QUESTION, "nodule")
        assert passage.grid.size == (32, 64)
        found = cfcam.explain(passage, passage.x, "hires-cam", targets=cfcam.Token(0))
        assert tuple(found.maps["hires-cam"].shape[2:]) == cells


def test_a_processor_in_the_tokenizers_place_is_told_of():
    model, processor, tokenizer = text_networks.vit_gpt2()
    with pytest.raises(
        ModelError, match=r"the tokenizer is a ViTImageProcessor.*, which knows no tokens: TextModel"
    ) as error:
        TextModel(model, tokenizer, processor)
    assert "\n" not in str(error.value)
