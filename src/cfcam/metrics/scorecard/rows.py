"""Rows by column: of a hundred thousand images they take a tenth of the memory of as many objects."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NoReturn, overload

import numpy as np
from numpy.typing import NDArray

from cfcam.errors import InputError
from cfcam.metrics.scorecard.samples import Row

_TEXTS = ("image", "method", "target_name", "status", "patient", "group")
_UNKNOWN = -1
_CORRECT = {None: _UNKNOWN, False: 0, True: 1}


def _closed(self: Any, *_given: Any, **_named: Any) -> NoReturn:
    raise InputError(
        "a row of a scorecard is made when it is asked for, and what is written into it would be lost: make a scorecard"
        " of rows of your own, dataclasses.replace(card, rows=[dataclasses.replace(row, values={...}), ...])"
    )


class _Values(dict[str, Any]):
    """What a row holds under names, to be read; a copy of it is a plain one."""

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _closed

    def __reduce__(self) -> Any:
        return dict, (dict(self),)


class _Lines(list[Any]):
    """What a row holds one after the other, likewise."""

    __setitem__ = __delitem__ = __iadd__ = __imul__ = append = clear = extend = insert = _closed
    pop = remove = reverse = sort = _closed

    def __reduce__(self) -> Any:
        return list, (list(self),)


class _Texts:
    """A column of texts, few of which differ; None is none of them."""

    def __init__(self) -> None:
        self.codes = array("i")
        self.words: list[str] = []
        self._codes: dict[str, int] = {}

    def append(self, text: str | None) -> None:
        if text is None:
            self.codes.append(_UNKNOWN)
            return
        code = self._codes.get(text)
        if code is None:
            code = self._codes[text] = len(self.words)
            self.words.append(text)
        self.codes.append(code)

    def __getitem__(self, number: int) -> str | None:
        code = self.codes[number]
        return None if code == _UNKNOWN else self.words[code]

    def taken(self, places: NDArray[np.int64]) -> _Texts:
        found = _Texts()
        found.words, found._codes = self.words, self._codes  # which only grow
        found.codes = array("i", np.array(self.codes, dtype=np.int32)[places].tobytes())
        return found


class Rows(Sequence[Row]):
    """Rows that are made when they are asked for, so that what they hold is there to be read.

    A value that is not a number counts as one that is missing.

    Args:
        rows: in their order.
    """

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._texts = {name: _Texts() for name in _TEXTS}
        self._targets, self._probabilities, self._correct = array("q"), array("d"), array("b")
        self._values: dict[str, array[float]] = {}
        self._extra: dict[int, dict[str, Any]] = {}
        self._notes: dict[int, list[str]] = {}
        self.extend(rows)

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Rows:
        """Returns rows as these, without a copy if they are."""
        return rows if isinstance(rows, Rows) else cls(rows)

    def extend(self, rows: Iterable[Row]) -> None:
        """Adds rows."""
        for row in rows:
            number = len(self)
            for name, column in self._texts.items():
                column.append(getattr(row, name))
            self._targets.append(row.target)
            self._probabilities.append(row.probability)
            for name, values in self._values.items():
                values.append(row.values.get(name, math.nan))
            for name in [name for name in row.values if name not in self._values]:  # in the row's order, not a set's
                self._values[name] = array("d", [math.nan]) * number + array("d", [row.values[name]])
            if row.extra:
                self._extra[number] = {key: _small(value) for key, value in row.extra.items()}
            if row.notes:
                self._notes[number] = list(row.notes)
            self._correct.append(_CORRECT[row.correct])

    def __len__(self) -> int:
        return len(self._correct)

    @overload
    def __getitem__(self, number: int) -> Row: ...

    @overload
    def __getitem__(self, number: slice) -> Rows: ...

    def __getitem__(self, number: int | slice) -> Row | Rows:
        if isinstance(number, slice):
            return self.take(np.arange(len(self))[number])
        number = range(len(self))[number]
        values = ((name, column[number]) for name, column in self._values.items())
        return Row(
            **{name: column[number] for name, column in self._texts.items()},  # type: ignore[arg-type]
            target=self._targets[number],
            probability=self._probabilities[number],
            values=_Values((name, value) for name, value in values if not math.isnan(value)),
            correct=None if self._correct[number] == _UNKNOWN else bool(self._correct[number]),
            extra=_Values((key, _large(value)) for key, value in self._extra.get(number, {}).items()),
            notes=_Lines(self._notes.get(number, ())),
        )

    def __iter__(self) -> Iterator[Row]:
        return map(self.__getitem__, range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (Rows, list, tuple)):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self)} rows>"

    def take(self, places: NDArray[np.int64]) -> Rows:
        """Returns some rows, (M,) int64, in another order."""
        found = Rows()
        found._texts = {name: column.taken(places) for name, column in self._texts.items()}
        found._targets = array("q", np.array(self._targets, dtype=np.int64)[places].tobytes())
        found._probabilities = array("d", np.array(self._probabilities)[places].tobytes())
        found._correct = array("b", np.array(self._correct, dtype=np.int8)[places].tobytes())
        found._values = {name: array("d", self.values(name)[places].tobytes()) for name in self._values}
        if self._extra or self._notes:
            for new, old in enumerate(places.tolist()):
                if old in self._extra:
                    found._extra[new] = self._extra[old]
                if old in self._notes:
                    found._notes[new] = self._notes[old]
        return found

    def texts(self, column: str) -> list[str]:
        """Returns which texts a column has, the first met first: "image", "method", "group" and so on."""
        codes, first = np.unique(self.codes(column), return_index=True)
        words = self._texts[column].words
        return [words[code] for _, code in sorted(zip(first, codes, strict=True)) if code != _UNKNOWN]

    def words(self, column: str) -> list[str]:
        """Returns the texts that the numbers of `codes` stand for."""
        return self._texts[column].words

    def codes(self, column: str) -> NDArray[np.int32]:
        """Returns (rows,) a number for each text of a column; -1: there is none."""
        return np.array(self._texts[column].codes, dtype=np.int32)

    def where(self, column: str, text: str) -> NDArray[np.int64]:
        """Returns the places of the rows that have a text."""
        code = self._texts[column]._codes.get(text)
        return np.flatnonzero(self.codes(column) == code) if code is not None else np.empty(0, dtype=np.int64)

    def values(self, metric: str) -> NDArray[np.float64]:
        """Returns (rows,) the numbers of a metric; NaN: it was not assessed."""
        return np.array(self._values[metric]) if metric in self._values else np.full(len(self), math.nan)

    @property
    def targets(self) -> NDArray[np.int64]:
        """(rows,) the explained classes."""
        return np.array(self._targets, dtype=np.int64)

    @property
    def correct(self) -> NDArray[np.int8]:
        """(rows,) 1: the prediction was the label, 0: it was not, -1: the label is unknown."""
        return np.array(self._correct, dtype=np.int8)

    @property
    def metrics(self) -> set[str]:
        """Which have a number in some row."""
        return {name for name in self._values if not np.isnan(self.values(name)).all()}

    @property
    def repeated(self) -> str | None:
        """The name of an image that has several rows of one method; None: there is none."""
        pairs = self.codes("image") * np.int64(len(self)) + self.codes("method")
        _, first, times = np.unique(pairs, return_index=True, return_counts=True)
        return self[int(first[times > 1][0])].image if (times > 1).any() else None

    @property
    def notes(self) -> Iterator[str]:
        """All lines that rows have."""
        return (line for lines in self._notes.values() for line in lines)

    def carried(self, key: str) -> Iterator[tuple[int, Any]]:
        """Yields what rows carry under a key beside their numbers, with their places; None is nothing."""
        for number, extra in self._extra.items():
            if (value := extra.get(key)) is not None:
                yield number, value

    @property
    def patients(self) -> NDArray[np.str_]:
        """(rows,) a name for each patient; an image without one is a patient of its own."""
        images, patients = self._texts["image"].words, self._texts["patient"].words
        names = [f"image {image}" for image in images] + [f"patient {patient}" for patient in patients]
        rank = np.empty(len(names), dtype=np.int64)
        rank[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
        image, patient = self.codes("image"), self.codes("patient")
        member = rank[np.where(patient == _UNKNOWN, image, patient + len(images))]
        return np.char.mod("%09d", member)  # numbers that sort as the names do: draws by patient hang on their order


def _small(value: Any) -> Any:
    """A list of numbers in a third of its memory; anything else as it is."""
    if isinstance(value, list) and value and all(type(one) is float for one in value):
        return array("d", value)
    return value


def _large(value: Any) -> Any:
    return _Lines(value) if isinstance(value, array) else value
