"""Words by which a header names a patient are found in a text, and those that mean something else are not."""

import pytest

pytest.importorskip("pydicom")

from cfcam.exchange.deidentify.deidentifier import Deidentifier
from cfcam.jobs.assess.identity import Patient, folded, patient_of
from tests.exchange import sources as made


def patient(tmp_path, name, **more):
    (source,) = made.sources("CR")
    source.SpecificCharacterSet = "ISO_IR 192"
    source.PatientName = name
    for key, value in more.items():
        setattr(source, key, value)
    source.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    return patient_of(tmp_path / "a.dcm")


@pytest.mark.parametrize("text", ["Müller", "seen with mueller? no: MULLER", "anna's film", "muller_1", "müller,"])
def test_a_word_of_the_name_is_found_whatever_its_accents(tmp_path, text):
    assert patient(tmp_path, "Müller^Anna").named_in(text)


@pytest.mark.parametrize("text", ["", "the nodule", "Mullerian duct", "banana", "ann", "annas"])
def test_other_words_are_not(tmp_path, text):
    assert not patient(tmp_path, "Müller^Anna").named_in(text)


def test_names_in_ideographs_are_found_within_others_but_not_by_one_character(tmp_path):
    one = patient(tmp_path, "Gao^XiaoMing=高^小明")
    assert one.named_in("患者高小明的片子")
    assert one.named_in("小明的片子")
    assert one.named_in("film of xiaoming")
    assert not one.named_in("高密度影")
    assert one.is_called("高小明")
    assert not one.is_called("高医生")


def test_identifiers_and_the_date_of_birth_are_found_as_people_write_them(tmp_path):
    one = patient(tmp_path, "", PatientID="AB-123", AccessionNumber="99871", PatientBirthDate="19430217")
    for text in ("id ab-123!", "acc 99871", "19430217", "born 17.02.1943", "02/17/1943", "1943-02-17"):
        assert one.named_in(text)
        assert one.is_called(text)
    assert not one.named_in("17 of 43")


def test_a_whole_name_is_one_in_any_order():
    one = Patient((("muller", "anna"),))
    assert one.is_called("Anna Müller")
    assert one.is_called("MÜLLER, Anna B.")
    assert not one.is_called("Dr. Müller")


def test_of_a_file_that_was_de_identified_there_is_nothing_to_hide(tmp_path):
    (source,) = made.sources("CR")
    source.PatientName, source.PatientID = "Zyxwv^Planted", "4711-0815"
    anonymous = Deidentifier(b"k" * 32)(source)
    anonymous.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert patient_of(tmp_path / "a.dcm") == Patient()


def test_folding_takes_accents_and_capitals_away():
    assert folded("ÁNA Müller ß") == "ana muller ss"
