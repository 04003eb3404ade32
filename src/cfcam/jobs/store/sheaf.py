"""What a store takes of several inputs at once, as it is written there: made by whoever explained them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfcam.jobs.store.kept import Kept
from cfcam.jobs.store.tables import index_of, scores_of


@dataclass(frozen=True, eq=False)
class Stack:
    """Maps that go into one array, in their order.

    Attributes:
        method: that made them.
        about: what they have in common.
        values: (maps, *cells) float16 in [0, 1].
    """

    method: str
    about: dict[str, Any]
    values: NDArray[np.float16]


@dataclass(frozen=True, eq=False)
class Sheaf:
    """Several inputs.

    Attributes:
        inputs: how the manifest knows each.
        index: their rows of the index, without where their maps lie.
        scores: their rows of the scores.
        stacks: their maps.
        of: (rows of the index,) the number of the stack that the next of its maps is of; -1 where there is no map.
    """

    inputs: tuple[str, ...]
    index: Any
    scores: Any
    stacks: tuple[Stack, ...]
    of: NDArray[np.int32]


def sheaf_of(inputs: Sequence[Kept]) -> Sheaf:
    """Returns inputs in the form that a store takes."""
    import pyarrow as pa

    maps = [one for item in inputs for one in item.maps]
    numbers: dict[int, int] = {}  # by what maps have in common, which a batch shares
    found: list[tuple[str, dict[str, Any], list[NDArray[np.float16]]]] = []
    of = np.full(len(maps), -1, dtype=np.int32)
    for place, one in enumerate(maps):
        if one.values is None:
            continue
        if (number := numbers.get(id(one.about))) is None:
            same = (n for n, (method, about, _) in enumerate(found) if method == one.method and about == one.about)
            number = numbers[id(one.about)] = next(same, len(found))
            if number == len(found):
                found.append((one.method, one.about, []))
        found[number][2].append(one.values)
        of[place] = number
    stacks = tuple(Stack(method, about, np.stack(values)) for method, about, values in found)
    return Sheaf(tuple(item.input for item in inputs), index_of(pa, inputs), scores_of(pa, inputs), stacks, of)
