from pathlib import Path, PurePosixPath

import pytest

from cfcam.jobs.inputs.names import folded, label_names, output_names, safe, without_folders

HERE, SUB = PurePosixPath(), PurePosixPath("sub")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("no finding", "no-finding"),
        ("../../etc/passwd", "etc-passwd"),
        ('a/b\\c:d*e?f"g<h>i|j', "a-b-c-d-e-f-g-h-i-j"),
        ("Große Übersicht", "Große-Übersicht"),
        ("結節", "結節"),
        ("line\nbreak\x00\x1b[31m", "line-break-[31m"),
        ("...", ""),
    ],
)
def test_safe_names_hold_no_separators_and_keep_letters(text, name):
    assert safe(text) == name


def test_long_names_are_cut_and_stay_different():
    one, other = safe("é" * 300 + "1"), safe("é" * 300 + "2")
    assert one != other
    assert len(one.encode()) <= 48


def test_labels_that_become_the_same_name_carry_their_index():
    assert label_names({0: "a/b", 1: "A:B", 2: "c", 3: "/"}) == {0: "a-b-0", 1: "A-B-1", 2: "c", 3: "class-3"}


def names(*paths, known=None, taken=()):
    return output_names([(Path(p), PurePosixPath(f)) for p, f in paths], known or {}, taken=taken)


def test_a_name_is_the_sub_folder_and_the_stem():
    assert names(("/in/a.png", ""), ("/in/sub/a.png", "sub")) == ["a", "sub/a"]


def test_same_stems_are_told_apart_by_extension_then_folder_then_number():
    assert names(("/in/a.png", ""), ("/in/a.JPG", ""), ("/in/b.png", "")) == ["a-png", "a-jpg", "b"]
    assert names(("/x/a.png", ""), ("/y/a.png", "")) == ["a-png-x", "a-png-y"]
    assert names(("/x/d/a.png", ""), ("/y/d/a.png", "")) == ["a-png-d-2", "a-png-d-3"]


def test_a_thousand_inputs_of_one_name_are_not_counted_from_the_start_each_time(monkeypatch):
    asked = 0

    def counted(name):
        nonlocal asked
        asked += 1
        return folded(name)

    monkeypatch.setattr("cfcam.jobs.inputs.names.folded", counted)
    found = names(*((f"/{n}/d/a.png", "") for n in range(1000)))
    assert found == [f"a-png-d-{n}" for n in range(2, 1002)]
    assert asked < 20_000  # each with each would be half a million


def test_names_that_differ_in_case_only_are_told_apart():
    assert names(("/in/Scan.png", ""), ("/in/scan.jpg", "")) == ["Scan-png", "scan-jpg"]


def test_an_input_keeps_the_name_of_an_earlier_run_and_others_stay_away_from_it():
    assert names(("/in/a.png", ""), ("/in/a.jpg", ""), known={"/in/a.jpg": "a"}) == ["a-png", "a"]
    assert names(("/in/a.png", ""), taken=["a"]) == ["a-png"]


@pytest.mark.parametrize(
    ("argument", "shown"),
    [
        ("/home/jane/scans", "scans"),
        ("/home/jane/scans/", "scans"),
        ("--output=/home/jane/out", "--output=out"),
        ("~/nets/models.py:make", "models.py:make"),
        ("hf:/home/jane/vit", "hf:vit"),
        ("C:\\Users\\jane\\scans", "scans"),
        ("scans/today", "scans/today"),
        ("--method", "--method"),
        ("0.5,0.5", "0.5,0.5"),
        ("/", "/"),
    ],
)
def test_a_word_of_a_command_is_shown_without_the_folders_of_a_machine(argument, shown):
    assert without_folders(argument) == shown
