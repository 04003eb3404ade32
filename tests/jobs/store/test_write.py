"""A store is read with zarr and pandas alone; a run that was stopped or shared out ends in the same store."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr

import cfcam
from cfcam.errors import InputError, JobError
from cfcam.jobs import Save, State
from cfcam.jobs.inputs.shard import Shard
from cfcam.jobs.runs.status import status
from cfcam.jobs.store import layout
from tests.jobs.world import draw, folder_of, lines, run, written

METHODS = ("grad-cam", "cam")


def stored(source, out, **settings):
    return run(source, out, store=True, **{"methods": METHODS, "batch_size": 1} | settings)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """Seven pictures and a broken one: the folder, its store, and the same maps as files of each."""
    place = tmp_path_factory.mktemp("store")
    folder_of(place / "in", 7)
    (place / "in" / "broken.png").write_bytes(b"no picture")
    list(stored(place / "in", place / "maps.zarr"))
    list(run(place / "in", place / "files", methods=METHODS, batch_size=1, save=frozenset({Save.MAPS})))
    return place


def table(store):
    """What a user reads with pandas alone, in an order of its own."""
    return pd.read_parquet(store / "index").sort_values(["input", "target", "method"], ignore_index=True)


def test_a_store_is_read_with_zarr_and_pandas_alone(one):
    index, group = table(one / "maps.zarr"), zarr.open_group(str(one / "maps.zarr"), mode="r")
    assert len(index) == 7 * len(METHODS)
    for row in index.itertuples():
        name = Path(row.input).stem
        exact = cfcam.Explanation.load(one / "files" / f"{name}_maps")
        raw = exact.maps[row.method][0, 0].clamp(min=0).numpy()
        kept = group[row.map_array][row.map_row].astype(np.float64)
        error = np.abs(kept - raw / np.float64(raw.max())).max()
        assert error <= group[row.map_array].attrs["max_abs_error"] == 2**-12
        assert row.max_abs_error == pytest.approx(error, abs=1e-6)
        assert (row.maximum, row.score) == (raw.max(), float(exact.scores[0, 0]))
        assert (row.label, row.status, list(row.source_size)) == ("bright", "ok", [48, 64])
        assert row.probability == float(exact.probabilities[0, 0])
    scores = pd.read_parquet(one / "maps.zarr" / "scores").set_index("input")
    assert np.stack(scores["probabilities"]).sum(1) == pytest.approx(1)
    assert scores.loc[index.input[0]]["logits"].tolist() == lines_of_logits(one, index.input[0])


def lines_of_logits(one, source):
    return cfcam.Explanation.load(one / "files" / f"{Path(source).stem}_maps").logits[0].tolist()


def test_an_array_says_what_it_holds(one):
    group = zarr.open_group(str(one / "maps.zarr"), mode="r")
    assert set(group["maps"].group_keys()) == set(METHODS)
    array = group["maps/grad-cam/4x4-of-32x32"]
    assert (array.shape, array.dtype, array.metadata.dimension_names) == (
        (7, 4, 4),
        "float16",
        ("map", "row", "column"),
    )
    about = dict(array.attrs)
    assert (about["method"], about["layer"]) == ("grad-cam", "features")
    assert (about["grid"], about["input_size"], about["placement"]) == ([4, 4], [32, 32], None)
    assert "linear" in about["resize"]
    assert "divided by its greatest value" in about["values"]
    assert group.attrs["methods"]["grad-cam"] == {"method": "GradCAM"}
    assert group.attrs["classes"] == ["bright", "dark"]


def test_open_store_draws_what_an_explanation_draws(one):
    store = cfcam.open_store(one / "maps.zarr")
    assert len(store) == 14
    for number, row in store.table.iterrows():
        exact = cfcam.Explanation.load(one / "files" / f"{Path(row.input).stem}_maps")
        assert store.heatmap(number).shape == (32, 32)
        assert np.abs(store.heatmap(number) - exact.heatmaps(row.method)[0, 0].numpy()).max() < 2**-10
        assert (
            np.abs(store.raw(number) - exact.maps[row.method][0, 0].clamp(min=0).numpy()).max() < 2**-11 * row.maximum
        )
    assert store.about["layer"] == "features"


def test_a_map_without_evidence_has_a_status_and_no_row(tmp_path):
    draw(tmp_path / "in" / "a.png")
    list(stored(tmp_path / "in", tmp_path / "maps.zarr", targets=("dark",)))
    index = table(tmp_path / "maps.zarr")
    assert set(index.status) == {"no positive evidence"}
    assert index.map_array.isna().all()
    assert index.maximum.isna().all()
    with pytest.raises(InputError, match="row 0 has no map: no positive evidence"):
        cfcam.open_store(tmp_path / "maps.zarr")[0]


def test_what_is_done_is_not_done_again_and_a_changed_picture_replaces_its_maps(one, tmp_path):
    folder_of(tmp_path / "in", 3)
    out = tmp_path / "maps.zarr"
    list(stored(tmp_path / "in", out))
    before = {name: (out / name).read_bytes() for name in written(out) if name != "run.json"}
    assert {o.status for o in stored(tmp_path / "in", out)} == {State.SKIPPED}
    assert before == {name: (out / name).read_bytes() for name in before}
    draw(tmp_path / "in" / "picture1.png", corner=3, grey=20)
    assert [o.status for o in stored(tmp_path / "in", out)] == [State.SKIPPED, State.DONE, State.SKIPPED]
    index = table(out)
    assert len(index) == 6
    assert index.groupby("input").sha256.nunique().tolist() == [1, 1, 1]
    assert {line["sha256"] for line in lines(out)} == set(index.sha256)


def test_a_store_of_other_settings_is_refused_and_replaced_if_that_is_asked_for(tmp_path):
    folder_of(tmp_path / "in", 2)
    out = tmp_path / "maps.zarr"
    list(stored(tmp_path / "in", out))
    with pytest.raises(JobError, match=r"other settings \(other: methods\).*--overwrite"):
        list(stored(tmp_path / "in", out, methods=("cam",)))
    list(stored(tmp_path / "in", out, methods=("cam",), overwrite=True))
    assert set(table(out).method) == {"cam"}
    assert list(zarr.open_group(str(out))["maps"].group_keys()) == ["cam"]


@pytest.mark.parametrize("apart", [False, True])
def test_shards_joined_hold_the_maps_of_one_run(one, tmp_path, apart):
    """In one store, or in stores of their own that are copied into one."""
    out = tmp_path / "maps.zarr"
    for n in (1, 2, 3):
        own = tmp_path / f"machine-{n}.zarr" if apart else out
        list(stored(one / "in", own, shard=Shard(n, 3)))
        if apart:
            shutil.copytree(own, out, dirs_exist_ok=True)
    assert len(table(out)) == 14
    assert {path.partition("/")[0] for path in table(out).map_array} <= {f"maps-{n}-of-3" for n in (1, 2, 3)}
    outcomes = [o.status for o in stored(one / "in", out)]
    assert outcomes.count(State.SKIPPED) == 7
    assert table(out).equals(table(one / "maps.zarr"))
    joined, single = (zarr.open_group(str(p), mode="r")["maps"] for p in (out, one / "maps.zarr"))
    for method in METHODS:
        assert np.array_equal(joined[f"{method}/4x4-of-32x32"][:], single[f"{method}/4x4-of-32x32"][:])
    assert not list(out.glob("*-of-*"))


@pytest.mark.parametrize("where", ["index", *(("scores", "manifest") if os.environ.get("CFCAM_SOAK") else ())])
def test_killed_at_any_step_a_store_opens_and_goes_on_to_the_same_end(one, tmp_path, where):
    """Killed when a part of the index is about to be written; in the long form also one of the scores, and a line."""
    out = tmp_path / "maps.zarr"
    script = f"""
import os, sys
from pathlib import Path
from cfcam.jobs.runs import book
from cfcam.jobs.runs.manifest import Manifest
from cfcam.jobs.store.write import StoreWriter
from tests.jobs.store.test_write import stored
book.ROWS, book._SECONDS = 2, 0
count = 0
def dying(of, name, wanted):
    before = getattr(of, name)
    def step(*args):
        global count
        count += wanted(args)
        if count == 3:
            os.kill(os.getpid(), 9)
        return before(*args)
    setattr(of, name, step)
if {where!r} == "manifest":
    dying(Manifest, "append", lambda args: True)
else:
    dying(StoreWriter, "_write", lambda args: args[1] == {where!r})
list(stored({str(one / "in")!r}, Path({str(out)!r})))
"""
    ended = subprocess.run([sys.executable, "-c", script], env=os.environ, capture_output=True, timeout=300)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    group = zarr.open_group(str(out), mode="r")
    for row in table(out).itertuples():
        assert float(group[row.map_array][row.map_row].max()) == 1  # complete: its greatest value is there
    list(stored(one / "in", out))
    assert table(out).drop(columns="map_row").equals(table(one / "maps.zarr").drop(columns="map_row"))
    sums = [group[row.map_array][row.map_row].astype(float).sum() for row in table(out).itertuples()]
    single = zarr.open_group(str(one / "maps.zarr"), mode="r")
    assert sums == [
        single[row.map_array][row.map_row].astype(float).sum() for row in table(one / "maps.zarr").itertuples()
    ]
    assert len(lines(out)) == 8


def test_a_later_cfcams_store_and_a_strangers_are_refused(one, tmp_path):
    with pytest.raises(InputError, match="no store of maps is here"):
        cfcam.open_store(tmp_path)
    zarr.create_group(str(tmp_path / "other.zarr"))
    with pytest.raises(InputError, match="no store of this cfcam"):
        cfcam.open_store(tmp_path / "other.zarr")
    with pytest.raises(JobError, match="no store of cfcam"):
        list(stored(one / "in", tmp_path / "other.zarr"))


def test_a_chunk_has_few_bytes_however_large_a_map_is():
    assert [layout.rows_in_chunk(cells) for cells in (49, 128**2, 512**2, 512**3)] == [256, 128, 8, 1]


def test_the_settings_in_a_store_are_those_of_its_run(one):
    (settings,) = json.loads((one / "maps.zarr" / "run.json").read_text())["runs"]
    assert zarr.open_group(str(one / "maps.zarr"), mode="r").attrs["settings"] == settings


@pytest.fixture
def copy(one, tmp_path):
    return Path(shutil.copytree(one / "maps.zarr", tmp_path / "copy.zarr"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"shape": [7, 60_000, 60_000]}, "is none of maps"),
        ({"data_type": "float64"}, "is none of maps|cannot be read"),
        ({"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2**40, 4, 4]}}}, "is none of maps"),
        ({"shape": "many"}, "cannot be read"),
    ],
)
def test_what_an_array_claims_is_looked_at_before_anything_is_unpacked(copy, change, told):
    about = copy / "maps" / "grad-cam" / "4x4-of-32x32" / "zarr.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | change))
    store = cfcam.open_store(copy)
    number = int(store.table.index[store.table.method == "grad-cam"][0])
    with pytest.raises(InputError, match=told):
        store[number]


def test_nothing_that_lies_outside_of_a_store_is_read(copy, one):
    (table,) = (copy / "index").glob("*.parquet")
    table.unlink()
    table.symlink_to(next((one / "maps.zarr" / "index").glob("*.parquet")))
    with pytest.raises(InputError, match=r"index/.+ lies elsewhere: it is not read"):
        cfcam.open_store(copy).table  # noqa: B018
    table.unlink()
    rows = pd.read_parquet(one / "maps.zarr" / "index").assign(map_array="../maps.zarr/maps")
    rows.to_parquet(table)
    with pytest.raises(InputError, match=r"copy\.zarr: \.\./maps\.zarr/maps lies elsewhere"):
        cfcam.open_store(copy)[0]


def test_a_chunk_that_is_a_link_is_not_read(copy, one):
    chunk = copy / "maps" / "grad-cam" / "4x4-of-32x32" / "c" / "0" / "0" / "0"
    chunk.unlink()
    chunk.symlink_to(one / "maps.zarr" / "maps" / "grad-cam" / "4x4-of-32x32" / "c" / "0" / "0" / "0")
    store = cfcam.open_store(copy)
    number = int(store.table.index[store.table.method == "grad-cam"][0])
    with pytest.raises(InputError, match=r"4x4-of-32x32/c/0/0/0 lies elsewhere: it is not read"):
        store[number]
    with pytest.raises(InputError, match="lies elsewhere"):
        store.heatmap(number)


@pytest.mark.parametrize("inside", ["index", "scores", "maps", "maps/grad-cam"])
def test_nothing_is_written_through_a_link_out_of_a_store(tmp_path, inside):
    folder_of(tmp_path / "in", 2)
    out, secret = tmp_path / "maps.zarr", tmp_path / "secret"
    (out / inside).parent.mkdir(parents=True)
    secret.mkdir()
    (out / inside).symlink_to(secret)
    for overwrite in (False, True):
        with pytest.raises(JobError, match=rf"^{inside} is a link that leads out of the output folder: nothing is w"):
            list(stored(tmp_path / "in", out, overwrite=overwrite))
        assert not list(secret.iterdir())
    (out / inside).unlink()
    assert [one.status for one in stored(tmp_path / "in", out)] == ["done", "done"]
    assert len(cfcam.open_store(out)) == 4


def test_a_broken_table_is_told_in_one_line(copy):
    (table,) = (copy / "scores").glob("*.parquet")
    table.write_bytes(table.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"its table scores/.+ cannot be read") as caught:
        cfcam.open_store(copy).scores  # noqa: B018
    assert "\n" not in str(caught.value)


def test_a_row_of_scores_may_have_no_vector():
    import pyarrow as pa

    from cfcam.jobs.store.kept import Kept
    from cfcam.jobs.store.tables import scores_of

    numbers = np.array([1.5, -2], dtype=np.float32)
    rows = [Kept("a", "", (), (), numbers, numbers[:1]), Kept("b", "", (), (), None, None)]
    assert scores_of(pa, rows).to_pylist() == [
        {"input": "a", "logits": [1.5, -2.0], "probabilities": [1.5]},
        {"input": "b", "logits": None, "probabilities": None},
    ]
    assert scores_of(pa, rows[1:]).to_pylist() == [{"input": "b", "logits": None, "probabilities": None}]


def maps(out):
    """The maps by input, class and method."""
    store = cfcam.open_store(out)
    return {(row.input, row.target, row.method): store[n].tolist() for n, row in enumerate(store.table.itertuples())}


def test_another_run_keeps_what_a_store_holds_of_other_inputs(tmp_path):
    folder_of(tmp_path / "a", 3)
    draw(tmp_path / "b" / "other.png", grey=33)
    out = tmp_path / "maps.zarr"
    list(stored(tmp_path / "a", out))
    before = maps(out)
    list(stored(tmp_path / "b", out))
    assert [o.status for o in stored([tmp_path / "a" / "picture1.png"], out)] == [State.SKIPPED]
    draw(tmp_path / "b" / "other.png", grey=99)
    list(stored(tmp_path / "b", out))
    index = table(out)
    assert index.input.nunique() == 4
    assert len(index) == 4 * len(METHODS)
    assert maps(out).items() > before.items()
    found = status(out)
    assert (found.inputs, found.done, found.state) == (4, 4, "finished")
    assert {o.status for o in stored([tmp_path / "a", tmp_path / "b"], out)} == {State.SKIPPED}


def test_files_and_a_store_do_not_lie_in_one_folder(tmp_path):
    folder_of(tmp_path / "in", 2)
    list(stored(tmp_path / "in", tmp_path / "maps.zarr"))
    list(run(tmp_path / "in", tmp_path / "files"))
    with pytest.raises(JobError, match="is a store of maps: choose another --output folder"):
        run(tmp_path / "in", tmp_path / "maps.zarr")
    with pytest.raises(JobError, match="holds the files of a run, and no store: choose another --store"):
        stored(tmp_path / "in", tmp_path / "files")


ROWS = """
import sys
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
from cfcam.jobs.store.kept import Kept, KeptMap
from cfcam.jobs.store.tables import index_of, placed, scores_of

none, box, vector = None, [1.0, 2, 3, 4.5], np.array([0.5, -1], dtype=np.float32)
good = KeptMap("grad-cam", 0, 3, "l\\u00e4ufer", "ok", -1.5, 0.25, none, 2.0, 1e-5, none, np.zeros((1, 1)), {})
bad = KeptMap("grad-cam", 1, none, "a vs b", "not finite", float("nan"), none, 0.5, none, none, box, none, {})
inputs = [Kept("a.png", "0" * 64, (5, 4), (good, bad), vector, none), Kept("b.png", "1" * 64, (), (bad,), none, vector)]
index, scores = placed(pa, index_of(pa, inputs), [("maps/one", 7), none, none]), scores_of(pa, inputs)
for table in (index, scores):
    table.validate(full=True)
    pq.write_table(table, sys.argv[1])
    assert pq.ParquetFile(sys.argv[1]).read() == table or table is index  # which holds a NaN
assert "pandas" not in sys.modules
expected = [
    ["a.png", "a.png", "b.png"], ["0" * 64, "0" * 64, "1" * 64], [[5, 4], [5, 4], []], [0, 1, 1], [3, none, none],
    ["l\\u00e4ufer", "a vs b", "a vs b"], ["grad-cam"] * 3, ["ok", "not finite", "not finite"], none,
    [0.25, none, none], [none, 0.5, 0.5], [2.0, none, none], [1e-5, none, none], ["maps/one", none, none],
    [7, none, none], [none, box, box],
]
for name, column in zip(index.column_names, expected, strict=True):
    assert column is none or index[name].to_pylist() == column, name
assert str(index["score"].to_pylist()) == "[-1.5, nan, nan]"
assert scores.to_pylist() == [
    {"input": "a.png", "logits": [0.5, -1.0], "probabilities": none},
    {"input": "b.png", "logits": none, "probabilities": [0.5, -1.0]},
]
"""


def test_tables_have_what_is_missing_as_such_and_are_made_without_pandas(tmp_path):
    subprocess.run([sys.executable, "-c", ROWS, str(tmp_path / "one.parquet")], check=True)
