import numpy as np

from cfcam.jobs.inputs.marks import Lookup, Marks, alone, hashes


def test_marks_hold_what_was_taken_in_and_nothing_else(monkeypatch):
    monkeypatch.setattr("cfcam.jobs.inputs.marks._MERGED", 4)  # so that some are sorted, and others wait
    marks = Marks(f"a{n}" for n in range(10))
    assert all(f"a{n}" in marks for n in range(10))
    assert "a10" not in marks
    marks.take(hashes(["b"]))
    assert marks.among(hashes(["a3", "c", "b"])).tolist() == [True, False, True]
    marks.clear()
    assert "a0" not in marks


def test_a_lookup_yields_the_places_of_a_text_in_their_order():
    lookup = Lookup(hashes(["x", "y", "x", "z", "x"]))
    assert list(lookup("x")) == [0, 2, 4]
    assert list(lookup("w")) == []
    assert lookup.last(hashes(["z", "x", "w"])).tolist() == [3, 4, -1]
    assert Lookup(hashes([])).last(hashes(["z"])).tolist() == [-1]


def test_what_occurs_once_is_alone():
    assert alone(hashes(["x", "y", "x"])).tolist() == [False, True, False]
    assert alone(np.array([], dtype=np.int64)).tolist() == []
