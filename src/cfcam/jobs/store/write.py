"""A store is written: arrays first, then what tells of them, so that what is told of is always there."""

from __future__ import annotations

import json
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from cfcam.errors import JobError
from cfcam.files import check_inside, output_of, whole
from cfcam.jobs.inputs.marks import Marks
from cfcam.jobs.inputs.shard import Shard
from cfcam.jobs.store.kept import Kept
from cfcam.jobs.store.layout import (
    FORMAT,
    INDEX,
    ROWS,
    SCORES,
    WORDS,
    array_of,
    libraries,
    parts,
    root_of,
    rows_in_chunk,
)
from cfcam.jobs.store.sheaf import Sheaf, Stack, sheaf_of
from cfcam.jobs.store.tables import index_schema, placed, rows_of, scores_schema
from cfcam.memory import give_back

_OURS = ("maps", INDEX, SCORES)
_GROUP = 2048  # rows of a group in a table


class StoreWriter:
    """Appends to a store, as one run or as one shard of it.

    What is in the index is complete, whatever stopped a run before; what was written of an input that the caller does
    not know as done is taken out when the store is opened.

    Args:
        folder: the store; made where it is missing.
        about: plain values for its attributes; ``"settings"`` among them tells two stores apart.
        shard: whose maps are written; None: those of a whole run, which joins what shards have written at its end.
        is_done: tells whether an input (as the index knows it) with a source of this SHA-256 is done.
        overwrite: begin anew, whatever is there.

    Raises:
        JobError: the store holds maps of other settings, or of a later format.
        MissingExtraError: zarr or pyarrow is not installed.
    """

    def __init__(
        self,
        folder: Path,
        about: Mapping[str, Any],
        *,
        is_done: Callable[[str, str], bool],
        shard: Shard | None = None,
        overwrite: bool = False,
    ) -> None:
        self._zarr, self._pa, self._pq = libraries()
        self._folder, self._shard, self._name = folder, shard, "all" if shard is None else shard.name
        self._check_links()
        if overwrite:
            self._begin_anew()
        self._group = self._opened(json.loads(json.dumps(about, default=str)))  # as it comes back from the store
        self._arrays: dict[str, Any] = {}
        self._attributes: dict[str, dict[str, Any]] = {}
        self._used: dict[str, int] = defaultdict(int)
        self._inputs = Marks()
        self._next, self._replaced = 0, False
        self._tidy(is_done)

    def __contains__(self, source: str) -> bool:
        """Tells whether the maps of an input are here, whoever wrote them."""
        return source in self._inputs

    def append(self, inputs: Sequence[Kept | Sheaf]) -> None:
        """Adds inputs, all of them or, if it is stopped in the middle, none."""
        if not inputs:
            return
        sheaves = _sheaves(inputs)
        places = self._write_maps(sheaves)
        name = _named(self._name, self._next)
        self._next += 1
        self._write(SCORES, name, self._together([one.scores for one in sheaves]))
        self._write(INDEX, name, placed(self._pa, self._together([one.index for one in sheaves]), places))
        for one in sheaves:
            self._replaced |= any(source in self._inputs for source in one.inputs)
            self._inputs.update(one.inputs)
        self._give_back()

    def _together(self, tables: Sequence[Any]) -> Any:
        return self._pa.concat_tables(tables).combine_chunks()

    def join(self, order: Iterable[str]) -> None:
        """Takes over what shards have written, in the order of the inputs."""
        shards = [path for path in self._parts(INDEX) if not path.name.startswith("all-")]
        if not shards:
            return
        index = self._pa.concat_tables([self._read(path) for path in shards], promote_options="default")
        scores = self._pa.concat_tables([self._read(self._folder / SCORES / path.name) for path in shards])
        place = {source: number for number, source in enumerate(order)}
        inputs = sorted(set(index["input"].to_pylist()), key=lambda one: (place.get(one, -1), one))
        for start in range(0, len(inputs), ROWS):
            self.append(rows_of(self._group, self._pa, index, scores, inputs[start : start + ROWS]))
        for path in shards:
            path.unlink()
            (self._folder / SCORES / path.name).unlink(missing_ok=True)
        for root in self._folder.glob("maps-*-of-*"):
            shutil.rmtree(root)

    def close(self) -> None:
        """Lets arrays end with their last map, and makes one table of many."""
        if self._replaced:  # sources have changed since: what is told of them first is told no longer
            self._inputs.clear()
            self._tidy(lambda source, sha256: True)
            self._replaced = False
        for path, array in self._arrays.items():
            array.resize((self._used[path], *array.shape[1:]))
        own = [path.name for path in self._parts(INDEX) if path.name.startswith(f"{self._name}-")]
        rows = sum(self._pq.read_metadata(self._folder / INDEX / part).num_rows for part in own)
        if not own or own == [_named(self._name, rows)]:
            return
        number = max(rows, self._next)  # it must come after the parts, should this be killed before they are removed
        self._next, name = number + 1, _named(self._name, number)
        for table, schema in ((SCORES, scores_schema(self._pa)), (INDEX, index_schema(self._pa))):
            with (
                whole(self._folder / table / name) as temporary,
                self._pq.ParquetWriter(temporary, schema, compression="zstd") as writer,
            ):
                for group in self._groups(table, own):
                    writer.write_table(group)
                    self._give_back()
        for part in own:  # until here both tell of the same maps, and the later one counts
            for table in (INDEX, SCORES):
                (self._folder / table / part).unlink(missing_ok=True)

    def _groups(self, table: str, names: Iterable[str]) -> Iterator[Any]:
        """Yields the rows of parts of a table, so many at a time; so the bytes do not say when each was written."""
        waiting = None
        for name in names:
            part = self._read(self._folder / table / name)
            waiting = part if waiting is None else self._pa.concat_tables([waiting, part], promote_options="default")
            while waiting.num_rows >= _GROUP:
                yield waiting.slice(0, _GROUP).combine_chunks()
                waiting = waiting.slice(_GROUP)
        if waiting is not None and waiting.num_rows:
            yield waiting.combine_chunks()

    def _read(self, path: Path, columns: Sequence[str] | None = None) -> Any:
        """Reads a part of a table; ``read_table`` imports pandas, and reads in threads, each with memory of its own."""
        with self._pq.ParquetFile(path) as part:
            return part.read(columns, use_threads=False)

    def _give_back(self) -> None:
        """Arrow and the C library keep what was freed; over a hundred thousand inputs that adds up."""
        self._pa.default_memory_pool().release_unused()
        give_back()

    def _ours(self) -> list[Path]:
        return [*(self._folder / name for name in _OURS), *self._folder.glob("maps-*-of-*")]

    def _check_links(self) -> None:
        """Who reads a store follows no link out of it; so nothing is written through one."""
        with output_of(self._folder):
            for path in self._ours():
                check_inside(path, JobError)
                for place, folders, names in os.walk(path):
                    for name in filter(os.path.islink, (os.path.join(place, one) for one in (*folders, *names))):  # noqa: PTH118
                        check_inside(name, JobError)

    def _begin_anew(self) -> None:
        for path in self._ours():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
        (self._folder / "zarr.json").unlink(missing_ok=True)

    def _opened(self, about: Mapping[str, Any]) -> Any:
        for table in (INDEX, SCORES):
            (self._folder / table).mkdir(parents=True, exist_ok=True)
        if not (self._folder / "zarr.json").exists():
            attributes = {"cfcam_store": FORMAT, **about, "maps": WORDS}
            return self._zarr.create_group(str(self._folder), attributes=attributes, overwrite=False)
        group = self._zarr.open_group(str(self._folder), mode="a")
        there = group.attrs.get("cfcam_store")
        if there != FORMAT:
            reason = "is no store of cfcam" if there is None else f"is written by another cfcam (format {there})"
            raise JobError(f"{self._folder}: {reason}: choose another --store")
        if group.attrs["settings"] != about["settings"]:
            differ = [key for key in about if key != "settings" and group.attrs.get(key) != about[key]]
            raise JobError(
                f"{self._folder}: holds maps of other settings (other: {', '.join(differ) or 'the version'}): choose"
                " another --store, or give --overwrite to begin anew"
            )
        return group

    def _parts(self, table: str) -> list[Path]:
        return parts(self._folder / table)

    def _tidy(self, is_done: Callable[[str, str], bool]) -> None:
        """Reads what is there, and takes out what is told of twice, or of inputs that are not done."""
        for path in reversed(self._parts(INDEX)):
            columns = self._read(path, ["input", "sha256", "map_array", "map_row"])
            own = self._shard is None or path.name.startswith(f"{self._name}-")
            if path.name.startswith(f"{self._name}-"):
                self._next = max(self._next, int(path.stem.rpartition("-")[2]) + 1)
            sources, hashes = columns["input"].to_pylist(), columns["sha256"].to_pylist()
            stays = [one not in self._inputs and is_done(one, sha) for one, sha in zip(sources, hashes, strict=True)]
            self._inputs.update(one for one, good in zip(sources, stays, strict=True) if good)
            for array, row, good in zip(
                columns["map_array"].to_pylist(), columns["map_row"].to_pylist(), stays, strict=True
            ):
                if good and array is not None:
                    self._used[array] = max(self._used[array], row + 1)
            if own and not all(stays):
                self._thin(path.name, {one for one, good in zip(sources, stays, strict=True) if good})
        for path in self._parts(SCORES):  # written before its index, which a kill kept from coming
            if not (self._folder / INDEX / path.name).exists() and path.name.startswith(f"{self._name}-"):
                path.unlink()

    def _thin(self, name: str, stay: set[str]) -> None:
        """Keeps some inputs in a part of the index, and of the scores."""
        for table in (INDEX, SCORES):
            path = self._folder / table / name
            if not path.exists():
                continue
            held = self._read(path)
            mask = self._pa.array([one in stay for one in held["input"].to_pylist()])
            if stay:
                self._write(table, name, held.filter(mask))
            else:
                path.unlink()

    def _write_maps(self, sheaves: Sequence[Sheaf]) -> list[tuple[str, int] | None]:
        """Appends maps to their arrays; returns array and row of each."""
        places: list[tuple[str, int] | None] = []
        waiting: dict[str, list[Stack]] = defaultdict(list)
        next_row: dict[str, Iterator[int]] = {}
        root = root_of(self._shard)
        for sheaf in sheaves:
            paths = [array_of(root, one.method, one.about["grid"], one.about["input_size"]) for one in sheaf.stacks]
            for path, stack in zip(paths, sheaf.stacks, strict=True):
                waiting[path].append(stack)
                next_row.setdefault(path, count(self._used[path]))
            places += [None if n < 0 else (paths[n], next(next_row[paths[n]])) for n in sheaf.of.tolist()]
        for path, stacks in waiting.items():
            begin, array = self._used[path], [self._array(path, one.about) for one in stacks][-1]
            values = np.concatenate([one.values for one in stacks])
            array.resize((begin + len(values), *array.shape[1:]))
            array[begin:] = values
            self._used[path] = begin + len(values)
        return places

    def _array(self, path: str, about: dict[str, Any]) -> Any:
        if path not in self._arrays:
            grid = tuple(about["grid"])
            if path in self._group:
                self._arrays[path] = self._group[path]
            else:
                self._arrays[path] = self._group.create_array(
                    path,
                    shape=(0, *grid),
                    chunks=(rows_in_chunk(int(np.prod(grid))), *grid),
                    dtype="float16",
                    fill_value=float("nan"),
                    dimension_names=("map", *("slice", "row", "column")[-len(grid) :]),
                    attributes={**about, **WORDS},
                )
        array = self._arrays[path]
        attributes = self._attributes.get(path) or self._attributes.setdefault(path, dict(array.attrs))
        if (there := {key: attributes[key] for key in about}) != about:
            raise JobError(f"{path}: holds maps that lie otherwise on their input: {there}; choose another --store")
        return array

    def _write(self, table: str, name: str, rows: Any) -> None:
        with whole(self._folder / table / name) as temporary:
            self._pq.write_table(rows, temporary, compression="zstd")


def _sheaves(inputs: Sequence[Kept | Sheaf]) -> list[Sheaf]:
    """Inputs in the form that a store takes; those that are not yet, together."""
    found: list[Sheaf] = []
    waiting: list[Kept] = []
    for one in inputs:
        if isinstance(one, Kept):
            waiting.append(one)
            continue
        found += [sheaf_of(waiting)] if waiting else []
        found.append(one)
        waiting = []
    return found + ([sheaf_of(waiting)] if waiting else [])


def _named(of: str, number: int) -> str:
    """What a part of a table is called; of the whole of it, which is written last, by the number of its rows."""
    return f"{of}-{number:06d}.parquet"
