"""Very many inputs in few bytes each: their names in one block, the rest by folder."""

from __future__ import annotations

import gc
import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, overload

from cfcam.jobs.inputs.find import Input, Kind, Place, absolute, find_places
from cfcam.memory import give_back

_MANY = 10_000  # inputs whose finding leaves much behind


class Inputs(Sequence[Input]):
    """Inputs of a run: each is made when it is asked for, and costs its name and eight bytes in between.

    Args:
        inputs: what they are.

    Attributes:
        labels: of those that have one, by number.
        problems: of those that cannot be read, by number.
    """

    def __init__(self, inputs: Iterable[Input] = ()) -> None:
        self._names, self._ends, self._of = bytearray(), array("Q", [0]), array("I")
        self.labels: dict[int, str] = {}
        self.problems: dict[int, str] = {}
        self._places: dict[tuple[Path, PurePosixPath, Kind], int] = {}
        for number, source in enumerate(inputs):
            self._add(Place(source.path.parent, source.path.name, source.folder, source.kind, source.problem))
            if source.label is not None:
                self.labels[number] = source.label

    @classmethod
    def found(
        cls, paths: Iterable[str | os.PathLike[str]], *, output: str | os.PathLike[str], recursive: bool = False
    ) -> Inputs:
        """Returns what `find_inputs` would, in less time and memory."""
        inputs = cls()
        for place in find_places(paths, output, recursive):
            inputs._add(place)
        if len(inputs) >= _MANY:
            gc.collect()  # what Python keeps of freed tuples would be twice what is held of the inputs
            give_back()
        return inputs

    def _add(self, place: Place) -> None:
        parent, name, folder, kind, problem = place
        if problem is not None:
            self.problems[len(self)] = problem
        self._of.append(self._places.setdefault((parent, folder, kind), len(self._places)))
        self._names += name.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._names))

    @classmethod
    def of(cls, inputs: Iterable[Input]) -> Inputs:
        """Returns inputs as such, if they are none yet."""
        return inputs if isinstance(inputs, cls) else cls(inputs)

    def __len__(self) -> int:
        return len(self._of)

    @overload
    def __getitem__(self, number: int) -> Input: ...

    @overload
    def __getitem__(self, number: slice) -> Inputs: ...

    def __getitem__(self, number: int | slice) -> Input | Inputs:
        if isinstance(number, slice):
            return Inputs(map(self._made, range(len(self))[number]))
        return self._made(range(len(self))[number])

    def __iter__(self) -> Iterator[Input]:
        return map(self._made, range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # as of any sequence that is compared by what it holds

    def __repr__(self) -> str:
        return f"Inputs({len(self)} in {len(self._places)} folders)"

    def _made(self, number: int) -> Input:
        parent, folder, kind = self._distinct[self._of[number]]
        return Input(parent / self._name(number), folder, kind, self.labels.get(number), self.problems.get(number))

    def _name(self, number: int) -> str:
        return self._names[self._ends[number] : self._ends[number + 1]].decode("utf-8", "surrogatepass")

    @property
    def folders(self) -> set[PurePosixPath]:
        """The sub-folders of the output folder that mirror their places."""
        return {folder for _, folder, _ in self._places}

    def holders(self) -> Iterator[Path]:
        """Yields the folders that they lie in, and those that are inputs themselves."""
        yield from dict.fromkeys(parent for parent, _, kind in self._places if kind is Kind.PICTURE)
        volumes = (source.path for source in self if source.kind is Kind.VOLUME) if self._has_volumes() else ()
        yield from (path if path.is_dir() else path.parent for path in volumes)

    def _has_volumes(self) -> bool:
        return any(kind is Kind.VOLUME for _, _, kind in self._places)

    def place(self, number: int) -> tuple[Path, str, PurePosixPath]:
        """Returns the absolute path of the folder that one lies in, its name there, and the sub-folder of its files."""
        of, name = self._of[number], self._name(number)
        if name in ("", ".."):
            path = self._made(number).absolute
            return path.parent, path.name, self._distinct[of][1]
        return self._folders[of], name, self._distinct[of][1]

    @property
    def placed(self) -> Sequence[tuple[Path, str, PurePosixPath]]:
        """Each `place`."""
        return _Placed(self)

    def keys(self) -> Iterator[str]:
        """Yields how the manifest knows each, see `Input.key`."""
        for number, of in enumerate(self._of):
            label = self.labels.get(number) if self.labels else None
            yield self._absolute(number, of) if label is None else label

    def _absolute(self, number: int, of: int) -> str:
        name = self._name(number)
        return self._above[of] + name if name not in ("", "..") else str(self._made(number).absolute)

    @cached_property
    def _distinct(self) -> list[tuple[Path, PurePosixPath, Kind]]:
        return list(self._places)

    @cached_property
    def _folders(self) -> list[Path]:
        return [Path(above) for above in self._above]

    @cached_property
    def _above(self) -> list[str]:
        return [os.path.join(absolute(parent), "") for parent, _, _ in self._places]  # noqa: PTH118  as there


class _Placed(Sequence[tuple[Path, str, PurePosixPath]]):
    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs

    def __len__(self) -> int:
        return len(self._inputs)

    @overload
    def __getitem__(self, number: int) -> tuple[Path, str, PurePosixPath]: ...

    @overload
    def __getitem__(self, number: slice) -> list[tuple[Path, str, PurePosixPath]]: ...

    def __getitem__(self, number: int | slice) -> Any:
        if isinstance(number, slice):
            return [self[n] for n in range(len(self))[number]]
        return self._inputs.place(number)
