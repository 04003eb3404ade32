"""What lies where in a store, for those who read it with zarr and pandas alone.

```text
maps.zarr/
├ zarr.json                       attributes: network, layer, methods, preparation, classes, and what follows here
├ maps/METHOD/GRID-of-INPUT/      an array (maps, *cells) float16, appended to; see its attributes
├ index/*.parquet                 a row for each map: input, class, probability, status, array and row of its map
├ scores/*.parquet                a row for each input: logits and probabilities of all classes
├ manifest.jsonl, run.json        what became of each input, and the settings, as in a folder of pictures
└ maps-2-of-8/                    maps that a shard has written, until a whole run joins them
```

A map is kept on the grid of its layer, for what is between the cells is made up by whoever enlarges it. It is the
positive part of the raw map divided by its greatest value (`maximum` in the index), so that values lie in [0, 1]:
float16 then errs by 2⁻¹² at most, and by how much it does is in the index, map by map. A map that is empty or not
finite has no row.

Arrays are written before the index: whatever kills a run, what the index tells of is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfcam.errors import MissingExtraError

if TYPE_CHECKING:
    from cfcam.jobs.inputs.shard import Shard

FORMAT = 1
INDEX, SCORES = "index", "scores"
BOUND = 2.0**-12
"""Half of the step between two float16 numbers below 1, which is what rounding to the nearest errs by at most."""
ROWS = 256
"""Inputs that are written at a time, and maps in a chunk, at most: what a kill can cost."""
_CHUNK = 4 << 20  # bytes of a chunk before it is compressed

WORDS = {
    "values": "the positive part of the raw map in [0, 1]: divided by its greatest value, column maximum of the index",
    "resize": "to the input: linear without corner alignment (half-pixel centres), divided by the greatest value then",
    "max_abs_error": BOUND,
    "max_abs_error_of": "of float16, at most, beside the same values in float32; column max_abs_error: of each map",
    "axes": "map, and the cells of the grid along the axes of the network's input",
}


def root_of(shard: Shard | None) -> str:
    """Returns the group that a run's maps lie in."""
    return "maps" if shard is None else f"maps-{shard.name}"


def array_of(root: str, method: str, grid: Sequence[int], input_size: Sequence[int]) -> str:
    """Returns the path of an array: maps of one method, on one grid, of inputs of one size."""
    cells, pixels = ("x".join(map(str, size)) for size in (grid, input_size))
    return f"{root}/{method}/{cells}-of-{pixels}"


def rows_in_chunk(cells: int) -> int:
    """Returns how many maps of so many cells make a chunk."""
    return max(1, min(ROWS, _CHUNK // (2 * cells)))


def parts(folder: Path) -> list[Path]:
    """Returns the Parquet files of a table, the later ones last: those of shards before those of the whole."""
    if not folder.is_dir():
        return []
    return sorted(folder.glob("*.parquet"), key=lambda path: (path.name.startswith("all-"), path.name))


def libraries() -> tuple[Any, Any, Any]:
    """Returns the modules zarr, pyarrow and pyarrow.parquet.

    Raises:
        MissingExtraError: they are not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
        import zarr
    except ModuleNotFoundError as error:
        raise MissingExtraError("zarr and pyarrow", "store", "a store of maps") from error
    return zarr, pa, pq
