from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import cfcam
from cfcam.capture import Adapter, TextOutput
from cfcam.capture.targets.tokens import Text, Word
from cfcam.errors import TargetError

WORDS = ("no", "nodule", "left")
A = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[0.0, 1.0], [2.0, 0.0]]]])  # what the layer gives: two channels
WEIGHTS = torch.tensor([[[0.0, 0.0], [4.0, -4.0], [0.0, 0.0]], [[8.0, 0.0], [0.0, 4.0], [4.0, 0.0]]])  # (T, V, C)


def text(*ids):
    words = tuple(Word(WORDS[id_], n, n + 1) for n, id_ in enumerate(ids))
    return Text(ids, tuple(f" {WORDS[id_]}" for id_ in ids), words, " ".join(WORDS[id_] for id_ in ids))


class Writer(nn.Module):
    """The t-th token's logits are a linear layer's of the mean of each channel."""

    def __init__(self, weights, texts):
        super().__init__()
        self.layer = nn.Identity()
        self.weights, self.texts = weights, texts

    def forward(self, x):
        means = self.layer(x).mean((2, 3))
        logits = torch.einsum("tvc,nc->ntv", self.weights, means)
        return TextOutput([logits] * len(self.texts), self.texts)


ONE = ((text(1, 2),),)


def explained(*targets, weights=WEIGHTS, texts=ONE, x=A, method="grad-cam"):
    network = Adapter(Writer(weights, texts), lambda x, images: (x,))
    return cfcam.explain(network, x, method, targets=list(targets), layer="model.layer")


def test_the_map_of_a_logit_is_what_the_hand_works_out():
    found = explained(cfcam.Token("nodule", "logit"))
    # y = 4 mean(A0) - 4 mean(A1): the gradients are 1 and -1 in each of four places
    torch.testing.assert_close(found.maps["grad-cam"], (A[:, :1] - A[:, 1:]).relu())
    assert found.scores.item() == pytest.approx(4 * 2.5 - 4 * 0.75)
    assert found.target_names == ("nodule",)


def test_log_odds_are_against_all_other_tokens():
    found = explained(cfcam.Token(1))
    means = A.mean((2, 3))[0]
    logits = WEIGHTS[1] @ means  # 20, 3, 10
    others = torch.logsumexp(logits[:2], 0)
    assert found.scores.item() == pytest.approx(float(logits[2] - others), rel=1e-6)
    share = logits[:2].softmax(0)
    gradient = (WEIGHTS[1, 2] - share @ WEIGHTS[1, :2]) / 4  # of the two channels, in each place
    hires = explained(cfcam.Token(1), method="hires-cam").maps["hires-cam"]
    torch.testing.assert_close(hires, (gradient[:, None, None] * A[0]).sum(0)[None, None])


def test_a_word_of_several_tokens_has_the_sum_of_their_log_probabilities():
    both = Text((1, 2), (" nod", "ule"), (Word("nodule", 0, 2),), "nodule")
    found = explained(cfcam.Token("Nodule", "log-probability"), texts=((both,),))
    parts = explained(cfcam.Token(0, "log-probability"), cfcam.Token(1, "log-probability"))
    assert found.scores[0, 0] == pytest.approx(float(parts.scores.sum()))
    log_p = [float((WEIGHTS[t] @ A.mean((2, 3))[0]).log_softmax(0)[v]) for t, v in ((0, 1), (1, 2))]
    assert parts.scores[0].tolist() == pytest.approx(log_p)


def test_an_answer_against_another_is_the_difference_of_their_log_probabilities():
    yes, no = text(1, 2), text(0)
    found = explained(cfcam.Answer("nodule left", "no"), texts=((yes,), (no,)))
    step = WEIGHTS @ A.mean((2, 3))[0]
    by_hand = step[0].log_softmax(0)[1] + step[1].log_softmax(0)[2] - step[0].log_softmax(0)[0]
    assert found.scores.item() == pytest.approx(float(by_hand), rel=1e-6)
    assert (found.label(0, 0), found.margin(0, 0)) == ("nodule left against no", pytest.approx(float(by_hand)))
    with pytest.raises(TargetError, match=r"answer 'left' was not read in this pass, which read 'nodule left', 'no'"):
        explained(cfcam.Answer("nodule left", "left"), texts=((yes,), (no,)))


def test_each_word_of_texts_of_different_lengths_has_a_column_and_what_is_missing_is_empty():
    x = torch.cat([A, A.flip(3)])
    found = explained(cfcam.EachWord("logit"), texts=((text(1), text(1, 2)),), x=x)
    assert found.scores.shape == (2, 2)
    assert found.scores[0, 1] == 0
    assert found.maps["grad-cam"][0, 1].abs().max() == 0
    assert found.target_names == ("nodule", "word 1")
    alone = explained(cfcam.EachWord("logit"), texts=((text(1, 2),),), x=x[1:])
    torch.testing.assert_close(found.maps["grad-cam"][1:], alone.maps["grad-cam"])


def test_a_probability_is_that_of_the_tokens():
    network = Adapter(Writer(WEIGHTS, ((text(1, 2),),)), lambda x, images: (x,))
    with cfcam.Explainer(network, "grad-cam", layer="model.layer") as explainer:
        capture = explainer.capture(A, [cfcam.Token(0)])
    step = (WEIGHTS[0] @ A.mean((2, 3))[0]).softmax(0)
    assert capture.rescore(A, torch.tensor([0]), probability=True).item() == pytest.approx(float(step[1]))
    assert math.isclose(float(capture.probabilities), float(step[1]), rel_tol=1e-6)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (cfcam.Token("effusion"), "'effusion' was never generated: the text holds 'nodule', 'left'"),
        (cfcam.Token(2), "token 2 was never generated: the text has 2, 0 to 1: 'nodule left'"),
    ],
)
def test_a_token_that_was_never_generated_is_refused_in_one_line(target, message):
    with pytest.raises(TargetError, match=message) as error:
        explained(target)
    assert "\n" not in str(error.value)


def test_targets_that_mean_nothing_are_refused_when_they_are_made():
    for make in (
        lambda: cfcam.Token(True),
        lambda: cfcam.Token(""),
        lambda: cfcam.Token("a", "odds"),
        lambda: cfcam.EachWord("odds"),
        lambda: cfcam.Answer("yes", "yes "),
        lambda: cfcam.Answer("yes", ""),
    ):
        with pytest.raises(TargetError):
            make()


def test_a_classifier_writes_no_text():
    with pytest.raises(TargetError, match="needs a network that writes text"):
        cfcam.explain(
            nn.Sequential(nn.Conv2d(2, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()), A, targets=cfcam.Token(0)
        )
