"""A store is read: its table at once, its maps when they are looked at."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cfcam.capture.layers.placement import Placement
from cfcam.errors import InputError, MissingExtraError
from cfcam.jobs.store.layout import FORMAT, INDEX, SCORES, libraries, parts
from cfcam.maps import heatmaps_of


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
        row = self.table.iloc[number]
        if not isinstance(row["map_array"], str):
            raise InputError(f"row {number} has no map: {row['status']}")
        return np.asarray(self._group[row["map_array"]][int(row["map_row"])], dtype=np.float32)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return (self[number] for number in range(len(self)))

    def raw(self, number: int) -> NDArray[np.float32]:
        """Returns the positive part of the raw map of a row of `table`, in the map's own unit."""
        return self[number] * np.float32(self.table.iloc[number]["maximum"])

    def heatmap(self, number: int, size: Sequence[int] | None = None) -> NDArray[np.float32]:
        """Returns a map for the eye, in [0, 1], as `Explanation.heatmaps` would.

        Args:
            number: of a row of `table`.
            size: of the result; None: of the network's input.
        """
        array = self._group[self.table.iloc[number]["map_array"]]
        about = dict(array.attrs)
        size = tuple(size or about["input_size"])
        maps = torch.from_numpy(self[number])[None, None]
        if about["frames"] and size[0] != maps.shape[2]:  # frames are repeated or left out, and never mixed
            maps = maps.index_select(2, ((torch.arange(size[0]) + 0.5) * (maps.shape[2] / size[0])).long())
        placement = about["placement"] and Placement.of_plain(about["input_size"], about["placement"])
        return heatmaps_of(maps, size, placement)[0, 0].numpy()

    def _frame(self, name: str) -> Any:
        try:
            import pandas as pd
        except ModuleNotFoundError as error:
            raise MissingExtraError("pandas", "", "the table of a store") from error
        found = [pd.read_parquet(path) for path in parts(self.path / name)]
        if not found:
            return pd.DataFrame()
        return pd.concat(found, ignore_index=True) if len(found) > 1 else found[0]

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
