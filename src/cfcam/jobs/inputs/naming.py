"""What the names of all files of an input begin with, of very many inputs: made when it is asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import overload

from cfcam.jobs.inputs.many import Inputs
from cfcam.jobs.inputs.names import odd_names, plain_name


class Names(Sequence[str]):
    """A name for each input; held are those alone that are not what the input's own name makes of it.

    Args:
        inputs: of the run.
        odd: the others, by the number of their input.
    """

    def __init__(self, inputs: Inputs, odd: Mapping[int, str]) -> None:
        self._inputs, self._odd = inputs, odd

    @classmethod
    def of(cls, inputs: Inputs, known: Mapping[int, str], taken: Collection[str]) -> Names:
        """Returns names of which no two are the same; an input with a label has that.

        Args:
            inputs: of the run.
            known: names of an earlier run, which stay, by the number of their input.
            taken: further names that belong to others.
        """
        if not inputs.labels:
            odd = odd_names(inputs.placed, known, taken=taken)
        else:
            plain = [n for n in range(len(inputs)) if n not in inputs.labels]
            known = {place: known[n] for place, n in enumerate(plain) if n in known}
            found = odd_names([inputs.placed[n] for n in plain], known, taken=[*taken, *inputs.labels.values()])
            odd = {plain[place]: name for place, name in found.items()} | dict(inputs.labels)
        return cls(inputs, odd)

    def __len__(self) -> int:
        return len(self._inputs)

    @overload
    def __getitem__(self, number: int) -> str: ...

    @overload
    def __getitem__(self, number: slice) -> list[str]: ...

    def __getitem__(self, number: int | slice) -> str | list[str]:
        if isinstance(number, slice):
            return [self[n] for n in range(len(self))[number]]
        number = range(len(self))[number]
        return self._odd.get(number) or plain_name(*self._inputs.place(number))

    def __iter__(self) -> Iterator[str]:
        odd, place = self._odd, self._inputs.place
        return (odd.get(number) or plain_name(*place(number)) for number in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # as of any sequence that is compared by what it holds
