"""Rows by column are the rows that were given, in a tenth of the memory."""

from __future__ import annotations

import copy
import json
import math
import pickle
import tracemalloc
from dataclasses import asdict, replace

import numpy as np
import pytest

from cfcam.errors import InputError
from cfcam.metrics.scorecard.card import Scorecard
from cfcam.metrics.scorecard.rows import Rows
from cfcam.metrics.scorecard.samples import Row
from cfcam.metrics.scorecard.statistics import bootstrap_interval

THREE = [
    Row("b", "cam", 1, "cat", 0.5, "ok", {"adcc": 0.25}, correct=True, patient="P1", group="Basel"),
    Row("a", "cam", 0, "dog", 0.75, "ok", {"adcc": 1.0, "road": -0.5}, correct=False, extra={"curve-road": [0.1, 0.2]}),
    Row("b", "grad-cam", 1, "cat", 0.5, "not finite", {}, patient="P1", notes=["a view is left out"]),
]


def test_rows_come_back_as_they_were_given() -> None:
    rows = Rows(THREE)
    assert list(rows) == THREE
    assert rows == THREE
    assert pickle.loads(pickle.dumps(rows)) == THREE  # noqa: S301 (our own)
    assert rows[-1] == THREE[2]
    assert rows[:2] == THREE[:2]
    assert rows != THREE[:2]
    assert rows != "rows"
    assert Rows() != ""
    assert Rows.of(rows) is rows
    with pytest.raises(IndexError):
        rows[3]


def test_what_is_written_into_a_row_is_refused_and_a_copy_takes_it() -> None:
    """It would be lost: the next time the row is asked for it is made anew."""
    rows = Rows([replace(THREE[1], notes=["a note"])])
    attempts = [
        lambda: rows[0].values.__setitem__("adcc", 0.0),
        lambda: rows[0].values.update(adcc=0.0),
        lambda: rows[0].values.pop("adcc"),
        lambda: rows[0].extra.clear(),
        lambda: rows[0].extra["curve-road"].append(0.3),
        lambda: rows[0].notes.append("another"),
    ]
    for attempt in attempts:
        with pytest.raises(InputError, match=r"would be lost: make a scorecard of rows of your own, dataclasses\.repl"):
            attempt()
    card = Scorecard(rows, ("adcc",))
    changed = replace(card, rows=[replace(row, values=row.values | {"adcc": 0.0}) for row in card.rows])
    assert (changed.rows[0].values, card.rows[0].values["adcc"]) == ({"adcc": 0.0, "road": -0.5}, 1.0)
    for copied in (copy.deepcopy(rows[0]), pickle.loads(pickle.dumps(rows[0]))):  # noqa: S301 (our own)
        assert copied == rows[0]
        copied.values["adcc"] = 0.0
        copied.extra["curve-road"].append(0.3)
    assert json.loads(json.dumps(asdict(rows[0])))["extra"] == {"curve-road": [0.1, 0.2]}


def test_values_are_in_the_order_in_which_they_came() -> None:
    names = [f"metric {n}" for n in range(20)]  # of a set, they would be in another order in each process
    rows = Rows([Row("a", "cam", 0, "dog", 0.5, "ok", dict.fromkeys(names, 1.0))])
    assert list(rows[0].values) == names


def test_columns_are_those_of_the_rows() -> None:
    rows = Rows(THREE)
    assert (rows.texts("method"), rows.texts("image"), rows.texts("group")) == (
        ["cam", "grad-cam"],
        ["b", "a"],
        ["Basel"],
    )
    assert rows.where("image", "b").tolist() == [0, 2]
    assert rows.where("image", "c").tolist() == []
    assert np.array_equal(rows.values("road"), [math.nan, -0.5, math.nan], equal_nan=True)
    assert np.isnan(rows.values("energy")).all()
    assert (rows.correct.tolist(), rows.targets.tolist()) == ([1, 0, -1], [1, 0, 1])
    assert {number: list(curve) for number, curve in rows.carried("curve-road")} == {1: [0.1, 0.2]}
    assert (rows.metrics, list(rows.notes)) == ({"adcc", "road"}, ["a view is left out"])


def test_taken_rows_leave_those_that_they_are_of_as_they_were() -> None:
    rows = Rows(THREE)
    taken = rows.take(np.array([2, 1]))
    assert taken == [THREE[2], THREE[1]]
    assert taken.texts("image") == ["b", "a"]
    assert taken.texts("group") == []  # it is that of none of them
    taken.extend([THREE[0], Row("new", "score-cam", 0, "dog", 0.5, "ok", {"energy": 1.0})])
    assert (len(taken), rows) == (4, THREE)
    assert rows.texts("method") == ["cam", "grad-cam"]


def test_what_is_no_number_was_not_assessed() -> None:
    rows = Rows([Row("a", "cam", 0, "dog", 0.5, "ok", {"adcc": math.nan, "road": 1.0})])
    assert rows[0].values == {"road": 1.0}
    assert rows.metrics == {"road"}


def test_patients_are_drawn_in_the_order_of_their_names() -> None:
    """The draws of a seed hang on it; an image without a patient is one, and none that is called like it."""
    rows = Rows(
        [Row(f"{n}.png", "cam", 0, "", 0.5, "ok", {}, patient=p) for n, p in enumerate(["9", "10", None, "2.png", "9"])]
    )
    names = ["patient 9", "patient 10", "image 2.png", "patient 2.png", "patient 9"]
    assert (
        np.unique(rows.patients, return_inverse=True)[1].tolist() == np.unique(names, return_inverse=True)[1].tolist()
    )
    values = np.random.default_rng(0).random(5)
    assert bootstrap_interval(values, rows.patients) == bootstrap_interval(values, names)


def test_they_take_a_fifth_of_the_memory_of_objects_at_most() -> None:
    def made(count: int) -> list[Row]:
        return [
            Row(
                f"{n // 5:06d}.png",
                ("cam", "grad-cam", "random", "center", "edges")[n % 5],
                0,
                "dog",
                n / count,
                "ok",
                {"adcc": n / count, "road": 0.5},
            )
            for n in range(count)
        ]

    sizes = []
    for kept in (
        lambda: made(5000),
        lambda: Rows(row for one in range(10) for row in made(5000)[one * 500 : one * 500 + 500]),
    ):
        tracemalloc.start()
        found = kept()
        sizes.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        assert len(found) == 5000
    assert sizes[1] < sizes[0] / 5
