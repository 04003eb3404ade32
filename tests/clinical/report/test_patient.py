"""The page for the patient: plain, separate, released by somebody."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from cfcam.clinical.report import write_report
from cfcam.clinical.report.patient import render_patient
from cfcam.clinical.report.patient_words import ENGLISH, GERMAN, LANGUAGES
from cfcam.errors import InputError
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
    """What a patient reads: the text without headings, which would count as short sentences."""
    body = re.sub(r"<(h1|h2|header|title)\b.*?</\1>", "", html.partition("<body")[2], flags=re.DOTALL)
    return re.sub(r"([.?:]) *\.", r"\1", Page("<body" + re.sub(r"</(li|p)>", ". ", body)).text)


def textstat_in(language: str):
    textstat = pytest.importorskip("textstat")
    textstat.set_lang(language)
    return textstat


def test_the_formula_knows_easy_from_hard():
    assert [syllables(word) for word in ("cat", "picture", "looked", "doctor", "computer", "program", "made")] == [
        1, 2, 1, 2, 3, 2, 1,
    ]  # fmt: skip
    assert reading_grade("The cat sat on the mat. It was a big cat.") < 1
    hard = "Quantitative characterisation of activation distributions necessitates appropriate interpretation."
    assert reading_grade(hard) > 15


@pytest.mark.parametrize("make", [picture_study, volume_study, empty_study])
def test_it_can_be_read_after_eight_years_of_school(make):
    text = read(render_patient(make()))
    assert reading_grade(text) <= HIGHEST_GRADE
    textstat = textstat_in("en")  # whose grades by syllables need a dictionary that it fetches; these count letters
    assert textstat.automated_readability_index(text) <= HIGHEST_GRADE
    assert textstat.coleman_liau_index(text) <= HIGHEST_GRADE


@pytest.mark.parametrize("make", [picture_study, volume_study, empty_study])
@pytest.mark.parametrize("variant", [1, 2, 3, 4])
def test_in_german_it_can_be_read_after_eight_years_of_school(make, variant):
    text = read(render_patient(make(), language="de"))
    assert textstat_in("de").wiener_sachtextformel(text, variant) <= HIGHEST_GRADE


def test_the_german_formula_knows_easy_from_hard():
    textstat = textstat_in("de")
    hard = (
        "Die quantitative Charakterisierung der Aktivierungsverteilungen erfordert eine angemessene Interpretation der"
        " Klassifikationswahrscheinlichkeiten unter Berücksichtigung der Untersuchungsbedingungen."
    )
    assert textstat.wiener_sachtextformel(hard, 1) > 12
    assert textstat.wiener_sachtextformel("Das ist ein Hund. Er ist nicht krank.", 1) < 4


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_sentence_is_long(language):
    sentences = re.split(r"[.?:]", read(render_patient(picture_study(), language=language)))
    assert max(len(sentence.split()) for sentence in sentences) <= 22


def test_in_german_it_says_the_same_and_browsers_are_told():
    page = Page(render_patient(picture_study(), language="de"))
    assert page.all("html")[0].get("lang") == "de"
    assert "Sieht das aus wie nodule ? Es gab diese Punkte: 81 von 100 ." in page.text
    assert "Die Punkte sagen nicht, ob Sie krank sind." in page.text
    assert "Helle Farben heißen nicht, dass Sie krank sind." in page.text
    assert "Nur für die Forschung. Kein Medizinprodukt." in page.text
    assert page.all("img")[0].get("alt") == GERMAN.alt
    for english in (ENGLISH.title, ENGLISH.least, ENGLISH.care_team, "record", "Research"):
        assert english not in page.text


def test_each_language_has_each_sentence_of_the_other():
    for field in fields(ENGLISH):
        for one in LANGUAGES.values():
            assert getattr(one, field.name), (one.language, field.name)
    assert len(ENGLISH.is_not[1]) == len(GERMAN.is_not[1])
    assert len(ENGLISH.questions) == len(GERMAN.questions)
    assert all("{}" in one.shares[0] for one in LANGUAGES.values())


def test_a_language_that_it_is_not_written_in_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="'fr': the patient's page is written in en, de"):
        write_report(picture_study(), tmp_path, patient_page=True, patient_language="fr")
    (_, page) = write_report(picture_study(), tmp_path, patient_page=True, patient_language="de")
    assert 'lang="de"' in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_is_said_by_colour_alone(language):
    page = Page(render_patient(picture_study(), language=language))
    assert len(page.all("g", class_="outline")) == 1  # the part has a line around it, and the text says so
    assert ("A line is drawn around" in page.text) or ("ist eine Linie gezogen" in page.text)
    t = LANGUAGES[language]
    assert t.least in page.text  # the ends of the bar have names
    assert t.most in page.text
    assert not re.search(r"\b(red|blue|yellow|green|rot|blau|gelb|grün)", page.text)


def test_numbers_at_the_ends_are_said_without_decimals():
    assert [ENGLISH.out_of_100(p) for p in (0.999, 0.002, 1.0, 0.0, 0.42)] == [
        "more than 99 out of 100", "less than 1 out of 100", "100 out of 100", "0 out of 100", "42 out of 100",
    ]  # fmt: skip
    assert GERMAN.out_of_100(None) == ENGLISH.out_of_100(float("nan")) == ""


def test_it_is_written_only_when_asked_for(tmp_path: Path):
    assert [path.name for path in write_report(picture_study(), tmp_path)] == ["case-7_report.html"]
    assert [path.name for path in write_report(picture_study(), tmp_path, formats=(), patient_page=True)] == [
        "case-7_patient.html"
    ]


def test_it_says_who_releases_it_what_it_does_not_mean_and_whom_to_ask():
    text = Page(render_patient(picture_study())).text
    assert "Your doctor must read this page first and sign it before it is given to you." in text
    assert "It is not what a doctor has seen in your picture." in text
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
