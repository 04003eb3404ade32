"""Tables of predictions, read without torch."""

from __future__ import annotations

import math

import pytest

from cfcam.clinical.predictions import read_predictions, to_tensors
from cfcam.errors import InputError


def write(path, text):
    path.write_text(text, encoding="utf-8-sig")
    return path


def test_labels_by_name_and_by_number_and_whose_the_cases_are(tmp_path):
    table = write(tmp_path / "p.csv", "patient,label,cat,dog\nP1,dog,-1,2\nP1,0,3.5,0\n")
    assert read_predictions(table) == ([[-1.0, 2.0], [3.5, 0.0]], [1, 0], ["P1", "P1"])


def test_a_label_for_each_class_may_be_unknown(tmp_path):
    logits, labels, patients = read_predictions(write(tmp_path / "p.csv", "cat,dog,label:cat,label:dog\n1,2,1,\n"))
    assert (logits, labels[0][0], patients) == ([[1.0, 2.0]], 1.0, None)
    assert math.isnan(labels[0][1])


def test_tensors_are_double_for_logits_and_whole_for_classes():
    logits, labels, patients = to_tensors([[0.1]], [1], None)
    assert (str(logits.dtype), str(labels.dtype), patients) == ("torch.float64", "torch.int64", None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "give a column of logits"),
        ("label\ncat\n", "give a column of logits"),
        ("label,label:cat,cat\n1,1,1\n", "give a column of logits"),
        ("label,cat,dog\nbird,1,2\n", "line 2: the label is neither"),
        ("label,cat,dog\ncat,1,2\ncat,,2\n", "line 3, column cat: a number is missing"),
        ('label,cat\n"a', "line 2 is no CSV"),
    ],
)
def test_a_table_that_does_not_fit_is_told_with_its_line(tmp_path, text, words):
    with pytest.raises(InputError, match=words):
        read_predictions(write(tmp_path / "p.csv", text))
