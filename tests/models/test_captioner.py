"""The demo network that writes: its words can be right or wrong, and their maps lie on what they are about."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest
import torch

import cfcam
from cfcam.models.demo import FINDINGS, make_phantom

pytest.importorskip("transformers")
from cfcam.models.demo import captioner, train_captioner

SEEDS = range(7_000_000, 7_000_004)


@pytest.fixture(scope="module")
def model():
    return captioner.load_demo_captioner()


@pytest.fixture(scope="module")
def explained(model):
    """Phantoms that it has not seen, a finding each, with what it writes of them."""
    cases = {}
    for finding in FINDINGS:
        for seed in SEEDS:
            phantom = make_phantom(seed, size=224, findings=[finding])
            cases[finding, seed] = phantom, cfcam.explain_text(model, phantom.image, methods=["hires-cam", "grad-cam"])
    return cases


def enrichment(heatmap, mask):
    """The share of a map's energy that lies in a mask, over the mask's share of the picture."""
    heat = heatmap.numpy()
    return float(heat[mask].sum() / heat.sum() / mask.mean()) if heat.sum() else 0.0


def test_a_caption_names_what_was_drawn_and_where():
    phantom = make_phantom(11, size=224, findings=["nodule", "effusion"])
    rows, columns = np.nonzero(phantom.masks["nodule"])
    lungs = np.nonzero(phantom.masks["left lung"] | phantom.masks["right lung"])[0]
    third = ("upper", "middle", "lower")[int(3 * (rows.mean() - lungs.min()) / (lungs.max() - lungs.min()))]
    side = "left" if columns.mean() > 112 else "right"
    assert captioner.describe(phantom).startswith(f"nodule, {side} {third} zone. effusion, ")
    assert captioner.describe(make_phantom(11, size=224)) == "no finding."
    asked = dict(captioner.questions(phantom))
    assert asked["is there an effusion?"] == "yes"
    assert (asked["is there a consolidation?"], asked["where is the consolidation?"]) == ("no", "nowhere")


def test_it_is_small_and_knows_all_words_that_it_was_taught():
    assert len(files("cfcam.models.demo").joinpath(captioner.WEIGHTS).read_bytes()) < 300_000
    words = captioner.tokenizer()
    for seed in SEEDS:
        phantom = make_phantom(seed, size=224, findings=FINDINGS)
        for text in (captioner.describe(phantom), *sum(captioner.questions(phantom), ())):
            assert words.unk_token_id not in words(text)["input_ids"]
            assert words.decode(words(text)["input_ids"]) == text


def test_it_writes_what_is_there(model, explained):
    right = [found.texts[0].whole == captioner.describe(phantom) for phantom, found in explained.values()]
    assert sum(right) >= 9  # of 12
    healthy = make_phantom(SEEDS[0], size=224)
    assert model.passage(healthy.image).written[0].text.whole == "no finding."


def test_it_answers_what_it_is_asked(model):
    right = []
    for seed, finding in zip(SEEDS, ("nodule", "effusion", "consolidation", "effusion"), strict=True):
        phantom = make_phantom(seed, size=224, findings=[finding])
        for question, answer in captioner.questions(phantom):
            right.append(model.passage(phantom.image, question).written[0].text.whole == answer)
    assert sum(right) >= 21  # of 24


@pytest.mark.parametrize("finding", FINDINGS)
def test_the_map_of_a_findings_word_lies_on_the_finding(explained, finding):
    own, mirrored = [], []
    for (name, _), (phantom, found) in explained.items():
        if name == finding and finding in found.names[0]:
            heat, mask = found.heatmaps("hires-cam")[0, found.names[0].index(finding)], phantom.masks[finding]
            own.append(enrichment(heat, mask))
            mirrored.append(enrichment(heat, mask[:, ::-1]))
    assert len(own) >= 3
    assert np.median(own) >= 3
    assert np.median(mirrored) < 1


def test_the_map_of_an_answer_against_another_lies_on_what_was_asked_for(model):
    shares = []
    for seed in SEEDS:
        phantom = make_phantom(seed, size=224, findings=["effusion"])
        question = "is there an effusion?"
        found = cfcam.explain_text(
            model, phantom.image, question, methods="hires-cam", targets=cfcam.Answer("yes", "no")
        )
        shares.append(enrichment(found.heatmaps("hires-cam")[0, 0], phantom.masks["effusion"]))
    assert np.median(shares) >= 3


def test_in_half_precision_words_and_maps_are_the_same(explained):
    rough = captioner.load_demo_captioner()
    rough.model.bfloat16()
    for finding in FINDINGS:
        phantom, exact = explained[finding, SEEDS[0]]
        found = cfcam.explain_text(rough, phantom.image, methods=["hires-cam", "grad-cam"])
        assert found.texts == exact.texts
        for method, maps in found.maps.items():
            pair = torch.stack([maps[0, 0].flatten(), exact.maps[method][0, 0].flatten()])
            assert torch.corrcoef(pair)[0, 1] > 0.98


def test_training_teaches_what_writes_and_leaves_what_looks():
    before = captioner.captioning_network().state_dict()
    trained = train_captioner.train(range(5_000_000, 5_000_002), steps=2, batch=2).state_dict()
    changed = {name for name, value in trained.items() if not value.equal(before[name])}
    assert any(name.startswith("decoder.") for name in changed)
    assert not [name for name in changed if name.startswith("encoder.")]
    assert all(torch.isfinite(value).all() for value in trained.values())
