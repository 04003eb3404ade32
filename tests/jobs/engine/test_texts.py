from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import cfcam
from cfcam.errors import InputError, OutputError, TargetError
from cfcam.jobs.engine.texts import read_asked
from cfcam.maps import Status
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
    heat = found.heatmaps("hires-cam", (40, 40))[1, 2]
    assert (plain["height"], plain["width"], plain["input"]) == (40, 40, {"height": 32, "width": 32})
    if entry["status"] == "ok":  # a pixel of the input is 1.25 of the picture's
        assert heat[entry["peak_row"], entry["peak_column"]] > 0.9
    assert [token["text"] for token in plain["tokens"]][1:3] == [" nodule", "s"]


def test_an_answer_alone_is_read_with_the_one_that_it_is_compared_with(model):
    found = cfcam.explain_text(
        model, text_networks.picture(), "is there a nodule ?", methods="grad-cam", targets=cfcam.Answer("yes", "no")
    )
    other = cfcam.explain_text(
        model, text_networks.picture(), "is there a nodule ?", methods="grad-cam", targets=cfcam.Answer("no", "yes")
    )
    assert found.names == (("yes against no",),)
    assert found.log_probabilities.isnan().all()
    torch.testing.assert_close(found.margins, found.scores)
    (entry,) = found.to_dict()["explained"]
    assert (entry["log_probability"], entry["margin"]) == (None, pytest.approx(float(found.scores)))
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
    for target in (3, None, 2.5, [3], cfcam.Box([0, 0, 4, 4])):
        with pytest.raises(TargetError, match=r"of a text: give 'words', 'tokens', a word, 'yes vs no'") as error:
            cfcam.explain_text(model, text_networks.picture(), targets=target)
        assert "\n" not in str(error.value)
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


def test_targets_are_strings_as_on_the_command_line():
    assert read_asked("words") == cfcam.EachWord()
    assert read_asked("tokens", "logit") == cfcam.EachToken("logit")
    assert read_asked(" no nodule ") == cfcam.Token("no nodule")
    assert read_asked("yes vs. no") == cfcam.Answer("yes", "no")
    with pytest.raises(TargetError, match="give two texts"):
        read_asked("yes vs ")


def test_words_that_the_tokenizer_does_not_know_are_refused_and_of_a_prompt_said(model):
    picture = text_networks.picture()
    asked = [{"targets": "yes vs perhaps"}, {"text": "no, perhaps."}, {"text": "perhaps everywhere."}]
    for given in [*asked, {"text": "no nodule", "targets": cfcam.Token("perhaps")}, {"targets": ["words", "perhaps"]}]:
        with pytest.raises((InputError, TargetError), match=r"does not know 'perhaps'.*\(it becomes <unk>\)") as error:
            cfcam.explain_text(model, picture, methods="grad-cam", most_tokens=2, **given)
        assert "\n" not in str(error.value)
    found = cfcam.explain_text(model, picture, "is there perhaps a nodule ?", "no nodule", "grad-cam")
    assert found.notices == ("prompt: the tokenizer does not know 'perhaps' (it becomes <unk>)",)
    assert found.to_dict()["notices"] == list(found.notices)
    assert cfcam.explain_text(model, picture, "is there a nodule ?", "no", "grad-cam", targets="NO").notices == ()


def test_a_column_without_a_word_is_no_word():
    model = TextModel(*text_networks.vit_gpt2())
    given = model._given
    texts = iter(["no", "left nodule"])
    model._given = lambda text, prompt: given(next(texts), prompt)  # texts of two lengths, as two pictures may have
    found = cfcam.explain_text(model, [text_networks.picture(0), text_networks.picture(1)], text="each its own")
    assert found.names == (("no", ""), ("left", "nodule"))
    nothing = [[False, True], [False, False]]
    assert found.scores.isnan().tolist() == found.log_probabilities.isnan().tolist() == nothing
    assert (found.status["hires-cam"] == Status.NOTHING_TO_EXPLAIN).tolist() == nothing
    assert [len(found.to_dict(n)["explained"]) for n in (0, 1)] == [1, 2]


def test_peaks_are_pixels_of_the_picture_where_the_processor_crops_it():
    network, pixels, tokenizer = text_networks.vit_gpt2()
    pixels.do_center_crop, pixels.size = True, {"shortest_edge": 40}
    pixels.crop_size = {"height": 32, "width": 32}
    model = TextModel(network, pixels, tokenizer)
    found = cfcam.explain_text(model, text_networks.picture(0, (400, 800)), text="no nodule")
    # the middle 320 x 320 of 400 x 800, from row 40 and column 240 on; a pixel of the input is 10 of the picture
    heat = torch.zeros(32, 32)
    heat[3, 31] = 1
    assert found._peak(heat, 0) == {"peak_row": 40 + 35, "peak_column": 240 + 315}
    plain = found.to_dict()
    assert (plain["height"], plain["width"]) == (400, 800)
    for entry in plain["explained"]:
        peak = entry["maps"]["hires-cam"]
        assert peak["status"] != "ok" or (40 <= peak["peak_row"] < 360 and 240 <= peak["peak_column"] < 560)


def test_a_text_that_is_cut_says_so_and_where(model):
    cut = cfcam.explain_text(model, text_networks.picture(), targets="tokens", methods="grad-cam", most_tokens=3)
    assert cut.notices == ("the text is cut at 3 tokens: give more (most_tokens=, --most-tokens)",)
    assert cut.to_dict()["notices"] == list(cut.notices)
    one = cfcam.explain_text(model, text_networks.picture(), targets="tokens", methods="grad-cam", most_tokens=1)
    assert one.notices == ("the text is cut at 1 token: give more (most_tokens=, --most-tokens)",)
    given = cfcam.explain_text(model, text_networks.picture(), text="no nodules", methods="grad-cam", most_tokens=1)
    assert given.notices == ()
    long = cfcam.explain_text(model, text_networks.picture(), targets="tokens", methods="grad-cam", most_tokens=500)
    assert len(long.texts[0].ids) < 500
    ended = long.texts[0].ids[-1] == model.model.generation_config.eos_token_id
    assert ended or "where the network's context ends" in long.notices[0]


def test_a_text_that_ends_with_the_last_token_that_it_may_have_is_not_cut(model, monkeypatch):
    """Whichever token the network writes first is now the one that ends a text."""
    cut = cfcam.explain_text(model, text_networks.picture(), targets="tokens", methods="grad-cam", most_tokens=1)
    for ends in (cut.texts[0].ids[0], [99, cut.texts[0].ids[0]]):
        monkeypatch.setattr(model.model.generation_config, "eos_token_id", ends)
        whole = cfcam.explain_text(model, text_networks.picture(), targets="tokens", methods="grad-cam", most_tokens=1)
        assert whole.notices == ()


def test_of_a_word_that_recurs_the_first_is_explained_and_a_notice_says_so(model):
    asked = {"text": "left lung, left nodule, left lung.", "methods": "grad-cam"}
    found = cfcam.explain_text(model, text_networks.picture(), targets=["Left", "nodule", "left lung"], **asked)
    assert found.notices == (
        "'Left' stands 3 times in the text, and the first is explained: 'words' explains each",
        "'left lung' stands 2 times in the text, and the first is explained: 'words' explains each",
    )
    every = cfcam.explain_text(model, text_networks.picture(), **asked)
    assert every.notices == ()
    torch.testing.assert_close(every.scores[0, 0], found.scores[0, 0])
