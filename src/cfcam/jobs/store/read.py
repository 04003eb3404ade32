"""A store is read: its table at once, its maps when they are looked at."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cfcam import json_text
from cfcam.capture.layers.placement import Placement
from cfcam.errors import CfcamError, InputError, MissingExtraError, describe, one_line
from cfcam.files import stays_inside
from cfcam.jobs.store.layout import FORMAT, INDEX, SCORES, libraries, parts
from cfcam.maps import heatmaps_of

LARGEST: Final = 2**29
"""Values of a map, or of what it is enlarged to; as the most voxels of a volume that is read."""
_PACKED, _ROOM = 100, 2**28  # how much a table may grow when it is unpacked: so many times, and so many bytes


@contextmanager
def _readable(shown: str) -> Iterator[None]:
    """Turns what libraries say of what they cannot read into one line."""
    try:
        yield
    except CfcamError:
        raise
    except Exception as error:
        raise InputError(f"{shown} cannot be read ({describe(error, 90)}): write the store anew") from error


class MapStore:
    """Maps of many inputs, read one by one; see `open_store`.

    Attributes:
        path: the folder.
        about: what its maps are of: network, layer, methods, preparation, classes, and what the arrays hold.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        zarr, _, self._pq = libraries()
        if not (self.path / "zarr.json").is_file():
            raise InputError(f"{self.path}: no store of maps is here: give what cfcam explain --store has written")
        json_text.read(self.path / "zarr.json", finite=False)
        with _readable(f"{self.path}: it"):
            self._group = zarr.open_group(str(self.path), mode="r")
            self.about: dict[str, Any] = dict(self._group.attrs)
        if self.about.get("cfcam_store") != FORMAT:
            raise InputError(f"{self.path}: is no store of this cfcam (format {FORMAT}): upgrade, or name another")

    @cached_property
    def table(self) -> Any:
        """The index as a pandas DataFrame: a row for each map, as it was when it was first asked for."""
        return self._frame(INDEX)

    @cached_property
    def scores(self) -> Any:
        """Logits and probabilities of all classes as a pandas DataFrame: a row for each input."""
        return self._frame(SCORES)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, number: int) -> NDArray[np.float32]:
        """Returns the map of a row of `table`, by its number: (*cells), in [0, 1], 0 everywhere if it has none."""
        row = self._row(number)
        if not isinstance(row["map_array"], str):
            raise InputError(f"row {number} has no map: {row['status']}")
        array, place = self._array(row["map_array"]), int(row["map_row"])
        with _readable(f"{self.path.name}: the map of row {number}"):
            chunk = array.metadata.encode_chunk_key(
                (place % max(array.shape[0], 1) // array.chunks[0], *(0,) * (array.ndim - 1))
            )
            self._require_inside(self.path / row["map_array"] / chunk, f"{row['map_array']}/{chunk}")
            return np.asarray(array[place], dtype=np.float32)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return (self[number] for number in range(len(self)))

    def raw(self, number: int) -> NDArray[np.float32]:
        """Returns the positive part of the raw map of a row of `table`, in the map's own unit."""
        return self[number] * np.float32(self._row(number)["maximum"])

    def heatmap(self, number: int, size: Sequence[int] | None = None) -> NDArray[np.float32]:
        """Returns a map for the eye, in [0, 1], as `Explanation.heatmaps` would.

        Args:
            number: of a row of `table`.
            size: of the result; None: of the network's input.
        """
        maps = torch.from_numpy(self[number])[None, None]
        with _readable(f"{self.path.name}: what is said of the map of row {number}"):
            return self._enlarged(maps, dict(self._array(self._row(number)["map_array"]).attrs), size)

    def _enlarged(self, maps: Tensor, about: dict[str, Any], size: Sequence[int] | None) -> NDArray[np.float32]:
        size = tuple(size or about["input_size"])
        if math.prod(size) > LARGEST:
            raise InputError(f"{self.path.name}: a map is to be enlarged to {size}: more than {LARGEST} values")
        if about["frames"] and size[0] != maps.shape[2]:  # frames are repeated or left out, and never mixed
            maps = maps.index_select(2, ((torch.arange(size[0]) + 0.5) * (maps.shape[2] / size[0])).long())
        placement = about["placement"] and Placement.of_plain(about["input_size"], about["placement"])
        return heatmaps_of(maps, size, placement)[0, 0].numpy()

    def _row(self, number: int) -> Any:
        table = self.table
        if not -len(table) <= number < len(table):
            raise IndexError(f"{self.path.name}: there is no row {number} of {len(table)}")
        with _readable(f"{self.path.name}: row {number} of its table"):  # texts are decoded when they are looked at
            return table.iloc[number]

    def _array(self, name: str) -> Any:
        """An array, once it is one that can be a store's: what it claims is looked at before anything is unpacked."""
        with _readable(f"{self.path.name}: its array {one_line(name, 80)}"):
            place = self.path / name
            self._require_inside(place, name)
            json_text.read(place / "zarr.json", finite=False)
            array = self._group[name]
            claimed = max(math.prod(array.shape[1:]), math.prod(array.chunks))
            if array.dtype != np.float16 or array.ndim < 2 or claimed > LARGEST or array.shards is not None:
                raise InputError(
                    f"{self.path.name}: its array {one_line(name, 80)} is none of maps ({array.dtype},"
                    f" {one_line(array.shape, 60)} in chunks of {one_line(array.chunks, 60)}): write the store anew"
                )
        return array

    def _require_inside(self, place: Path, name: str) -> None:
        if not stays_inside(name) or not place.resolve().is_relative_to(self.path.resolve()):
            raise InputError(f"{self.path.name}: {one_line(name, 80)} lies elsewhere: it is not read")

    def _frame(self, name: str) -> Any:
        try:
            import pandas as pd
        except ModuleNotFoundError as error:
            raise MissingExtraError("pandas", "", "the table of a store") from error
        found = [self._read(path, pd) for path in parts(self.path / name)]
        if not found:
            return pd.DataFrame()
        return pd.concat(found, ignore_index=True) if len(found) > 1 else found[0]

    def _read(self, path: Path, pandas: Any) -> Any:
        with _readable(f"{self.path.name}: its table {path.parent.name}/{path.name}"):
            self._require_inside(path, f"{path.parent.name}/{path.name}")
            size, about = path.stat().st_size, self._pq.read_metadata(path)
            groups = [about.row_group(n) for n in range(about.num_row_groups)]
            claimed = sum(group.total_byte_size for group in groups)
            columns = [group.column(n) for group in groups for n in range(group.num_columns)]
            unpacked = sum(max(column.total_uncompressed_size, 0) for column in columns)
            if max(claimed, unpacked, about.num_rows) > size * _PACKED + _ROOM:
                raise InputError(
                    f"{self.path.name}: its table {path.parent.name}/{path.name} claims {max(claimed, unpacked)} bytes"
                    f" in {about.num_rows} lines, and has {size} bytes: write the store anew"
                )
            return pandas.read_parquet(path)

    def __repr__(self) -> str:
        return f"MapStore({str(self.path)!r}, {len(self)} maps)"


def open_store(path: str | os.PathLike[str]) -> MapStore:
    """Opens what ``cfcam explain --store`` has written, or is still writing.

    Nothing but attributes is read before it is asked for; a map is read when it is looked at.

    Args:
        path: the store.

    Raises:
        InputError: there is none.
        MissingExtraError: zarr, pyarrow or pandas is not installed.

    Example::

        store = cfcam.open_store("maps.zarr")
        confident = store.table.query("probability > 0.9 and status == 'ok'")
        store.heatmap(confident.index[0])  # (height, width), in [0, 1]
    """
    return MapStore(path)
