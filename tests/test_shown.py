"""Numbers as people read them: never a 0 or a 1 that is none, and what stands in the place of a probability."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import cfcam
from cfcam import Contrast, Explanation
from cfcam.shown import absence, answer_text, margin_text, probability_text
from tests.networks import GapNet


@pytest.mark.parametrize(
    ("value", "two", "three"),
    [
        (0.5, "0.50", "0.500"),
        (0.994, "0.99", "0.994"),
        (0.999, "0.999", "0.999"),
        (0.9996, "0.9996", "0.9996"),
        (0.99996, ">0.9999", ">0.9999"),
        (1.0, ">0.9999", ">0.9999"),
        (0.006, "0.01", "0.006"),
        (0.004, "0.004", "0.004"),
        (0.0004, "0.0004", "0.0004"),
        (0.00004, "<0.0001", "<0.0001"),
        (0.0, "<0.0001", "<0.0001"),
    ],
)
def test_a_probability_gets_more_decimals_until_it_is_neither_0_nor_1(value, two, three):
    assert (probability_text(value), probability_text(value, 3)) == (two, three)


@given(st.floats(0, 1), st.integers(1, 4))
def test_no_probability_is_shown_as_0_or_as_1_or_far_from_what_it_is(value, decimals):
    text = probability_text(value, decimals)
    if text[0] in "<>":
        assert (value < 0.0001) if text[0] == "<" else (value > 0.9999)
    else:
        assert 0 < float(text) < 1
        assert abs(float(text) - value) <= 0.51 * 10**-decimals


def test_of_a_contrast_the_margin_is_told_and_never_a_probability():
    assert answer_text(0.25, -1.5) == "margin -1.50"
    assert (answer_text(0.25), answer_text(None)) == ("0.25", "")
    assert margin_text(float("inf")) == "margin not finite"


def test_a_contrasts_margin_is_the_difference_of_the_two_logits_and_survives_saving(tmp_path):
    torch.manual_seed(0)
    explained = cfcam.explain(GapNet(), torch.randn(2, 3, 16, 16), "grad-cam", targets=[0, Contrast(2, 0), "1 vs 0"])
    for e in (explained, Explanation.load(explained.save(tmp_path))):
        for n in range(2):
            logits = e.logits[n].tolist()
            assert e.margin(n, 0) is None
            assert e.margin(n, 1) == pytest.approx(logits[2] - logits[0], abs=1e-6)
            assert e.margin(n, 2) == pytest.approx(logits[1] - logits[0], abs=1e-6)
            assert e.probability(n, 1) is None
    part = explained.select(targets=slice(1, 2))
    assert part.margin(0, 0) == explained.margin(0, 1)


def test_a_callable_has_neither_probability_nor_margin():
    e = cfcam.explain(GapNet(), torch.randn(1, 3, 16, 16), "grad-cam", targets=lambda logits: logits[:, 0])
    assert (e.probability(0, 0), e.margin(0, 0)) == (None, None)


def test_a_link_to_nothing_is_told_as_such(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "none")
    assert absence(tmp_path / "link") == "is a link to nothing"
    assert absence(tmp_path / "none", "file or folder") == "no such file or folder"
