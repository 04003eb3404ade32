"""The tables of a store: a row of the index for each map, a row of scores for each input."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cfcam.jobs.store.kept import OF_INDEX, Kept, KeptMap

_NUMBERS = {"int32": np.int32, "int64": np.int64, "float": np.float32, "double": np.float64}


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


def index_of(pa: Any, inputs: Sequence[Kept]) -> Any:
    """Returns the rows of inputs, but for where their maps lie."""
    maps = [(item, one) for item in inputs for one in item.maps]
    sizes = {size: np.array(size, dtype=np.int32) for size in {item.size for item in inputs}}
    columns: dict[str, Sequence[Any]] = {  # by column: Arrow takes four times as long for rows
        "input": [item.input for item, _ in maps],
        "sha256": [item.sha256 for item, _ in maps],
        "source_size": [sizes[item.size] for item, _ in maps],
        **{name: [one[place] for _, one in maps] for place, name in enumerate(OF_INDEX)},
    }
    return _table(pa, columns, pa.schema([field for field in index_schema(pa) if field.name in columns]))


def placed(pa: Any, index: Any, places: Sequence[tuple[str, int] | None]) -> Any:
    """Returns rows of `index_of` with the array and the row of each map."""
    schema = index_schema(pa)
    where: dict[str, Sequence[Any]] = {
        "map_array": [None if place is None else place[0] for place in places],
        "map_row": [None if place is None else place[1] for place in places],
    }
    columns = [
        _column(pa, field.type, where[field.name]) if field.name in where else index[field.name] for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def scores_of(pa: Any, inputs: Sequence[Kept]) -> Any:
    """Returns the rows of inputs."""
    columns: dict[str, Sequence[Any]] = {
        "input": [one.input for one in inputs],
        "logits": [one.logits for one in inputs],
        "probabilities": [one.probabilities for one in inputs],
    }
    return _table(pa, columns, scores_schema(pa))


def _table(pa: Any, columns: Mapping[str, Sequence[Any]], schema: Any) -> Any:
    return pa.Table.from_arrays([_column(pa, field.type, columns[field.name]) for field in schema], schema=schema)


def _column(pa: Any, kind: Any, values: Sequence[Any]) -> Any:
    """A column of texts, numbers or vectors, some of which may be missing; ``pa.array`` imports pandas: 50 MB."""
    there = np.array([value is not None for value in values], dtype=bool)
    valid = None if there.all() else pa.py_buffer(np.packbits(there, bitorder="little"))
    if pa.types.is_string(kind):
        texts = [b"" if value is None else value.encode() for value in values]
        return pa.Array.from_buffers(kind, len(texts), [valid, _ends(pa, texts), pa.py_buffer(b"".join(texts))])
    if pa.types.is_list(kind):
        none = np.empty(0, _NUMBERS[str(kind.value_type)])
        rows = [none if value is None else value for value in values]
        flat = np.concatenate([none, *rows])
        items = pa.Array.from_buffers(kind.value_type, len(flat), [None, pa.py_buffer(flat)])
        return pa.Array.from_buffers(kind, len(rows), [valid, _ends(pa, rows)], children=[items])
    flat = np.array([0 if value is None else value for value in values], _NUMBERS[str(kind)])
    return pa.Array.from_buffers(kind, len(flat), [valid, pa.py_buffer(flat)])


def _ends(pa: Any, rows: Sequence[Any]) -> Any:
    return pa.py_buffer(np.cumsum([0, *map(len, rows)], dtype=np.int32))


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
