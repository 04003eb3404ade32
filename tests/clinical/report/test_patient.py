"""The page for the patient: plain, separate, released by somebody."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from cfcam.clinical.report import write_report
from cfcam.clinical.report.patient import render_patient
from tests.clinical.report.test_page import Page, empty_study, picture_study, volume_study

HIGHEST_GRADE = 8.0


def syllables(word: str) -> int:
    """Groups of vowels; a silent e at the end and in -ed is not counted."""
    word = re.sub(r"[^a-z]", "", word.lower())
    word = re.sub(r"(?<=[^aeiouyl])e$|(?<=[^aeiouytd])e(?=d$|s$)", "", word)
    return max(1, len(re.findall(r"[aeiouy]+", word)))


def reading_grade(text: str) -> float:
    """The grade of Flesch and Kincaid (1975): 0.39 words/sentences + 11.8 syllables/words - 15.59."""
    sentences = [part for part in re.split(r"[.!?:]+", text) if re.search(r"[A-Za-z]", part)]
    found = re.findall(r"[A-Za-z][A-Za-z'-]*", text)
    return 0.39 * len(found) / len(sentences) + 11.8 * sum(map(syllables, found)) / len(found) - 15.59


def read(html: str) -> str:
    """What a patient reads: the text between the headings."""
    return Page(re.sub(r"</(h1|h2|li|p)>", ". ", html)).text


def test_the_formula_knows_easy_from_hard():
    assert [syllables(word) for word in ("cat", "picture", "looked", "doctor", "computer", "program", "made")] == [
        1, 2, 1, 2, 3, 2, 1,
    ]  # fmt: skip
    assert reading_grade("The cat sat on the mat. It was a big cat.") < 1
    hard = "Quantitative characterisation of activation distributions necessitates appropriate interpretation."
    assert reading_grade(hard) > 15


@pytest.mark.parametrize("make", [picture_study, volume_study, empty_study])
def test_it_can_be_read_after_eight_years_of_school(make):
    assert reading_grade(read(render_patient(make()))) <= HIGHEST_GRADE


def test_it_is_written_only_when_asked_for(tmp_path: Path):
    assert [path.name for path in write_report(picture_study(), tmp_path)] == ["case-7_report.html"]
    assert [path.name for path in write_report(picture_study(), tmp_path, formats=(), patient_page=True)] == [
        "case-7_patient.html"
    ]


def test_it_says_who_releases_it_what_it_does_not_mean_and_whom_to_ask():
    text = Page(render_patient(picture_study())).text
    assert "Your doctor must read this page first and sign it before it is given to you." in text
    assert "Bright colours do not mean that you are ill." in text
    assert "This score is not your chance of being ill." in text
    assert "Only your doctor can tell you what the picture means for you." in text
    assert "Research use only. Not a medical device." in text


def test_it_shows_one_picture_and_no_more_than_it_explains():
    page = Page(render_patient(picture_study()))
    assert len(page.all("img")) == 1
    assert "does this look like nodule ? Its score was 81 out of 100 ." in page.text
    for jargon in ("grad-cam", "threshold", "layer", "SHA", "organ", "mm"):
        assert jargon not in page.text
    assert not page.all("path", class_="cross")
    assert len(page.all("g", class_="outline")) == 1


def test_it_holds_no_pseudonym():
    assert "P-17" not in render_patient(picture_study())


def test_it_shows_the_first_map_that_can_be_read():
    study = volume_study()
    turned = replace(study, maps=study.maps[::-1])
    page = Page(render_patient(turned))
    assert len(page.all("img", class_="heat")) == 1
    assert "The letter R is on your right side." in page.text


def test_without_a_map_it_says_so():
    page = Page(render_patient(empty_study()))
    assert not page.all("img")
    assert "There is no picture to show." in page.text


def test_an_unknown_score_is_said_to_be_unknown():
    study = picture_study()
    maps = (replace(study.maps[0], probability=None),)
    assert "Its score is not known." in Page(render_patient(replace(study, maps=maps))).text
