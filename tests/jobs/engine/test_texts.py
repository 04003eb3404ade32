from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import cfcam
from cfcam.errors import InputError, OutputError, TargetError
from cfcam.models import TextModel
from cfcam.models.texts.passage import Passage
from tests import text_networks

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def model():
    return TextModel(*text_networks.vit_gpt2())


@pytest.fixture(scope="module")
def found(model):
    pictures = [text_networks.picture(0), text_networks.picture(1)]
    return cfcam.explain_text(model, pictures, text="no nodules, left lung.", methods=["hires-cam", "cf-cam"])


def test_each_word_has_a_map_and_signs_have_none(found):
    assert found.names == (("no", "nodules", "left", "lung"),) * 2
    assert tuple(found.maps["hires-cam"].shape) == (2, 4, 4, 4)
    assert found.grid == "patches of 8 x 8 pixels; 1 other token before them dropped"
    assert not found.generated
    assert found.texts[0].whole == "no nodules, left lung."
    assert [word.text for word in found.texts[0].words] == ["no", "nodules", ",", "left", "lung", "."]


def test_the_log_probability_of_a_word_is_the_sum_over_its_tokens(model, found):
    tokens = cfcam.explain_text(
        model,
        text_networks.picture(),
        text="no nodules, left lung.",
        methods="hires-cam",
        targets="tokens",
        score="logit",
    )
    word = found.texts[0].words[1]
    assert word.end - word.first == 2  # nodule ##s
    parts = tokens.log_probabilities[0, word.first : word.end].sum()
    torch.testing.assert_close(found.log_probabilities[0, 1], parts, atol=1e-5, rtol=1e-5)
    assert len(tokens.names[0]) == len(tokens.texts[0].ids) == 7


def test_what_is_written_as_json_says_where_each_map_lies(found):
    plain = json.loads(json.dumps(found.to_dict(1)))
    assert plain["grid"] == {"rows": 4, "columns": 4, "from": found.grid}
    assert [entry["text"] for entry in plain["explained"]] == ["no", "nodules", "left", "lung"]
    assert plain["layer"] == "image_tokens"
    assert plain["seen"] == {"top": 0, "left": 0, "bottom": 1, "right": 1}
    entry = plain["explained"][2]["maps"]["hires-cam"]
    heat = found.heatmaps("hires-cam")[1, 2]
    if entry["status"] == "ok":
        assert heat[entry["peak_row"], entry["peak_column"]] == 1
    assert [token["text"] for token in plain["tokens"]][1:3] == [" nodule", "s"]


def test_an_answer_alone_is_read_with_the_one_that_it_is_compared_with(model):
    found = cfcam.explain_text(
        model, text_networks.picture(), "is there a nodule ?", methods="grad-cam", targets=cfcam.Answer("yes", "no")
    )
    other = cfcam.explain_text(
        model, text_networks.picture(), "is there a nodule ?", methods="grad-cam", targets=cfcam.Answer("no", "yes")
    )
    assert found.names == (("yes against no",),)
    torch.testing.assert_close(found.explanation.scores, -other.explanation.scores)
    mixed = cfcam.explain_text(
        model,
        text_networks.picture(),
        "is there a nodule ?",
        methods="grad-cam",
        targets=["tokens", cfcam.Answer("yes", "no")],
        most_tokens=3,
    )
    assert mixed.generated
    assert mixed.names[0][-1] == "yes against no"
    torch.testing.assert_close(mixed.explanation.scores[:, -1:], found.explanation.scores)


def test_a_strip_shows_the_words_over_the_picture(found):
    drawn = found.strip(text_networks.picture(), "hires-cam", panel_size=96)
    assert drawn.dtype == np.uint8
    assert drawn.shape[1] > 5 * 96


def test_a_pass_that_does_not_score_the_text_as_it_was_written_is_refused(model, monkeypatch):
    decode = type(model.family).decode
    monkeypatch.setattr(type(model.family), "decode", lambda self, tokens, rows: decode(self, tokens, rows) * 0.5)
    with pytest.raises(OutputError, match="in one pass over the text, and gave it") as error:
        cfcam.explain_text(model, text_networks.picture(), methods="grad-cam", targets="tokens", most_tokens=3)
    assert "\n" not in str(error.value)


def test_what_is_no_target_of_a_text_and_no_model_of_texts_is_refused(model):
    with pytest.raises(TargetError, match=r"give 'words', 'tokens', Token\('lung'\)"):
        cfcam.explain_text(model, text_networks.picture(), targets="lung")
    with pytest.raises(TargetError, match="targets is empty"):
        cfcam.explain_text(model, text_networks.picture(), targets=[])
    with pytest.raises(InputError, match=r"give cfcam\.models\.TextModel"):
        cfcam.explain_text(model.model, text_networks.picture())


def test_a_passage_is_a_network_like_any_other(model):
    passage = model.passage(text_networks.picture(), text="no nodules")
    assert isinstance(passage, Passage)
    explanation = cfcam.explain(passage, passage.x, "grad-cam", targets=[cfcam.Token("no"), cfcam.Token("nodules")])
    assert [explanation.label(0, k) for k in range(2)] == ["no", "nodules"]
    assert explanation.probability(0, 0) is None
