"""The tables of a store: a row of the index for each map, a row of scores for each input."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfcam.jobs.store.kept import OF_INDEX, Kept, KeptMap


def index_schema(pa: Any) -> Any:
    """Returns the columns of the index."""
    kinds = {
        "input": pa.string(),
        "sha256": pa.string(),
        "source_size": pa.list_(pa.int32()),
        "target": pa.int32(),
        "class_index": pa.int64(),
        "label": pa.string(),
        "method": pa.string(),
        "status": pa.string(),
        "score": pa.float64(),
        "probability": pa.float64(),
        "margin": pa.float64(),
        "maximum": pa.float64(),
        "max_abs_error": pa.float64(),
        "map_array": pa.string(),
        "map_row": pa.int64(),
        "box": pa.list_(pa.float64()),
    }
    return pa.schema(list(kinds.items()))


def scores_schema(pa: Any) -> Any:
    """Returns the columns of the scores."""
    numbers = pa.list_(pa.float32())
    return pa.schema([("input", pa.string()), ("logits", numbers), ("probabilities", numbers)])


def index_of(pa: Any, inputs: Sequence[Kept], places: Sequence[tuple[str, int] | None]) -> Any:
    """Returns the rows of inputs, whose maps lie in these arrays and rows."""
    maps = [(item, one) for item in inputs for one in item.maps]
    columns = {  # by column: Arrow takes four times as long for rows
        "input": [item.input for item, _ in maps],
        "sha256": [item.sha256 for item, _ in maps],
        "source_size": [item.size for item, _ in maps],
        **{name: [one[place] for _, one in maps] for place, name in enumerate(OF_INDEX)},
        "map_array": [None if place is None else place[0] for place in places],
        "map_row": [None if place is None else place[1] for place in places],
    }
    return pa.table(columns, index_schema(pa))


def scores_of(pa: Any, inputs: Sequence[Kept]) -> Any:
    """Returns the rows of inputs."""
    columns = {
        "input": [one.input for one in inputs],
        "logits": _vectors(pa, [one.logits for one in inputs]),
        "probabilities": _vectors(pa, [one.probabilities for one in inputs]),
    }
    return pa.table(columns, scores_schema(pa))


def _vectors(pa: Any, rows: Sequence[NDArray[np.float32] | None]) -> Any:
    """A column of vectors, some of which may be missing."""
    values = [row for row in rows if row is not None]
    flat = np.concatenate(values) if values else np.empty(0, np.float32)
    ends = np.cumsum([0, *(0 if row is None else len(row) for row in rows)], dtype=np.int32)
    ends, numbers = (  # pa.array imports pandas
        pa.Array.from_buffers(kind, len(some), [None, pa.py_buffer(some)])
        for kind, some in ((pa.int32(), ends), (pa.float32(), flat))
    )
    return pa.ListArray.from_arrays(ends, numbers, mask=pa.array([row is None for row in rows], pa.bool_()))


def rows_of(group: Any, pa: Any, index: Any, scores: Any, inputs: Sequence[str]) -> list[Kept]:
    """Returns inputs as they were kept, in this order, from tables that have them."""
    wanted = pa.array(inputs)
    index, scores = (table.filter(pa.compute.is_in(table["input"], wanted)) for table in (index, scores))
    rows = index.to_pylist()
    at: dict[str, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        if row["map_array"] is not None:
            at[row["map_array"]].append(number)
    values: dict[int, Any] = {}
    about: dict[int, dict[str, Any]] = {}
    for path, numbers in at.items():
        array = group[path]
        common = {key: array.attrs[key] for key in ("method", "layer", "grid", "input_size", "placement", "frames")}
        found = array.get_orthogonal_selection((np.array([rows[number]["map_row"] for number in numbers]),))
        values |= dict(zip(numbers, found, strict=True))
        about |= dict.fromkeys(numbers, common)
    of: dict[str, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        of[row["input"]].append(number)
    numbers_of = {row["input"]: row for row in scores.to_pylist()}
    return [
        Kept(
            source,
            rows[of[source][0]]["sha256"],
            tuple(rows[of[source][0]]["source_size"]),
            tuple(
                KeptMap(**{name: rows[n].get(name) for name in OF_INDEX}, values=values.get(n), about=about.get(n, {}))
                for n in of[source]
            ),
            *(_vector(numbers_of[source][key]) for key in ("logits", "probabilities")),
        )
        for source in inputs
    ]


def _vector(values: list[float] | None) -> Any:
    return None if values is None else np.array(values, dtype=np.float32)
