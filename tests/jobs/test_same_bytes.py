"""The same inputs give the same bytes: in two runs, in batches of any size, in one run or in shards that are joined.

What may differ, and nothing else: the moments and seconds in ``manifest.jsonl`` and ``run.json``, and in batches of
another size, where a network adds in another order, the last digits of its numbers and of the values of maps.
"""

from __future__ import annotations

import io
import json
import os
import re

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
import zarr
from PIL import Image

from cfcam.jobs import Save
from cfcam.jobs.index.settings import PageSettings
from cfcam.jobs.inputs.shard import Shard
from tests.jobs.runs.test_shards import timeless
from tests.jobs.studies import explain, phantom_radiograph
from tests.jobs.world import NETWORKS, run

PICTURES = 5
BATCHES = (1, 3, 8)  # 8 is all of them
SOAK = bool(os.environ.get("CFCAM_SOAK"))
LAST_DIGITS = 1e-5
"""Of a number in float32, by which a batch of another size may change it: some 100 times its resolution."""
PAGES = "html,pdf" if SOAK else "html"  # a PDF takes seconds; tests/clinical/report/test_pdf.py has its bytes
FILES = {"save": frozenset({Save.OVERLAY, Save.SHEET, Save.MAPS}), "page": PageSettings()}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Pictures of three sizes, with something in all of their pixels."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(3)
    for n in range(PICTURES):
        size = (48, 64 + 8 * (n % 3), 3)
        Image.fromarray(generator.integers(0, 256, size, dtype=np.uint8)).save(folder / f"{n}.png")
    return folder


def _run(pictures, out, **settings):
    methods = ("grad-cam", "layer-cam")
    list(run(pictures, out, "mixing", methods=methods, **{"batch_size": 3} | settings))
    return timeless(out) if settings.get("shard") is None else {}


@pytest.fixture(scope="module")
def once(pictures, tmp_path_factory):
    return _run(pictures, tmp_path_factory.mktemp("once") / "out", **FILES)


def test_two_runs_write_the_same_bytes(pictures, once, tmp_path):
    assert len(once) == PICTURES * 6 + 3  # two overlays, a sheet, maps in 2 files, one for the page; and 3 of all
    assert _run(pictures, tmp_path / "again", **FILES) == once


def _without_numbers(value, numbers):
    """A document without its fractions, which are added to a list; without hashes too, which follow from them."""
    if isinstance(value, float):
        numbers.append(value)
        return "number"
    if isinstance(value, dict):
        return {key: _without_numbers(one, numbers) for key, one in value.items() if key not in ("sha256", "files")}
    return [_without_numbers(one, numbers) for one in value] if isinstance(value, list) else value


def _as_near(other, once):
    """Two documents are the same but for the last digits of their numbers."""
    found, expected = [], []
    assert _without_numbers(other, found) == _without_numbers(once, expected)
    assert found == pytest.approx(expected, rel=LAST_DIGITS, abs=LAST_DIGITS)


@pytest.mark.parametrize("size", [size for size in BATCHES if size != 3])
def test_batches_of_any_size_write_the_same_but_for_last_digits(pictures, once, tmp_path, size):
    other = _run(pictures, tmp_path / "out", **FILES, batch_size=size)
    assert other.keys() == once.keys()
    assert other["run.json"] == once["run.json"]
    _as_near(other["manifest.jsonl"], once["manifest.jsonl"])
    digits = re.compile(rb"\d+\.\d+")
    assert digits.sub(b"", other["index.html"]) == digits.sub(b"", once["index.html"])
    for name in once:
        if name.endswith("cam.png"):
            one, two = (np.asarray(Image.open(io.BytesIO(run[name])), dtype=int) for run in (once, other))
            assert abs(one - two).max() <= 1, name  # of 255: where a value lies at the edge of a level
        elif name.endswith("explanation.json"):
            _as_near(json.loads(other[name]), json.loads(once[name]))
        elif name.endswith("safetensors"):
            one, two = (safetensors.numpy.load(run[name]) for run in (once, other))
            for key, values in one.items():
                assert np.allclose(two[key], values, rtol=LAST_DIGITS, atol=LAST_DIGITS * abs(values).max()), name


def _joined(explained, shards=2):
    """Runs the shards, then the whole, which joins them."""
    for n in range(1, shards + 1):
        explained(Shard(n, shards))
    return explained(None)


def test_shards_that_are_joined_write_the_same_bytes_one_picture_at_a_time(pictures, tmp_path):
    alone = _run(pictures, tmp_path / "alone", **FILES, batch_size=1)
    many = _joined(lambda shard: _run(pictures, tmp_path / "many", **FILES, batch_size=1, shard=shard))
    assert many == alone


# --- stores


def _stored(pictures, out, **settings):
    """A store as people read it, in the order of its inputs."""
    list(run(pictures, out, "mixing", store=True, **{"methods": ("grad-cam", "layer-cam")} | settings))
    index = pd.read_parquet(out / "index").sort_values(["input", "method"], ignore_index=True)
    scores = pd.read_parquet(out / "scores").sort_values("input", ignore_index=True)
    group = zarr.open_group(str(out), mode="r")
    return index, scores, np.stack([group[row.map_array][row.map_row] for row in index.itertuples()])


def test_two_stores_have_the_same_bytes(pictures, tmp_path):
    found = []
    for name in ("a.zarr", "b.zarr"):
        _stored(pictures, tmp_path / name, batch_size=3)
        found.append(timeless(tmp_path / name))
    assert found[0] == found[1]


@pytest.mark.parametrize("how", [{"batch_size": 1}, {"batch_size": 8}, {"batch_size": 1, "shards": 2}])
def test_stores_hold_the_same_maps_in_batches_of_any_size_and_of_shards(pictures, tmp_path, how):
    index, scores, maps = _stored(pictures, tmp_path / "a.zarr", batch_size=3)
    size, shards = how["batch_size"], how.get("shards", 0)
    other = (
        _joined(lambda shard: _stored(pictures, tmp_path / "b.zarr", batch_size=size, shard=shard))
        if shards
        else _stored(pictures, tmp_path / "b.zarr", batch_size=size)
    )
    np.testing.assert_allclose(other[2], maps, rtol=0, atol=2.0**-11)  # the neighbour in float16, at most
    numbers = ["probability", "score"]
    places = ["map_array", "map_row"] if shards else []  # each shard fills rows of its own
    pd.testing.assert_frame_equal(
        other[0].drop(columns=places), index.drop(columns=places), rtol=LAST_DIGITS, atol=LAST_DIGITS
    )
    assert np.allclose(other[0][numbers], index[numbers], rtol=LAST_DIGITS, atol=LAST_DIGITS)
    pd.testing.assert_frame_equal(other[1], scores, rtol=LAST_DIGITS, atol=LAST_DIGITS)


# --- studies: pages, PDFs, DICOM objects


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """Two radiographs."""
    pytest.importorskip("highdicom")
    folder = tmp_path_factory.mktemp("studies")
    for n in range(2):
        phantom_radiograph(folder / "in" / f"{n}.dcm")
    return folder / "in"


def _explained(studies, out, *more):
    words = ["--model", f"{NETWORKS}:mixing", "--size", "64", "--mean", "0", "--std", "1", "--classes", "a,b"]
    made = explain(studies, out, *words, "--method", "grad-cam", "--report", PAGES, "--dicom", "seg,sr,sc", *more)
    assert made.exit_code == 0, made.output
    return {} if "--shard" in more else timeless(out)


def test_pages_pdfs_and_objects_of_shards_that_are_joined_have_the_bytes_of_one_run(studies, tmp_path, monkeypatch):
    """Objects say when they were made: for the same bytes that is said from outside."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    once = _explained(studies, tmp_path / "once", "--batch-size", "1")
    assert {name.rpartition(".")[2] for name in once} >= {*PAGES.split(","), "dcm", "csv", "json"}
    for n in (1, 2):
        _explained(studies, tmp_path / "shards", "--batch-size", "1", "--shard", f"{n}/2")
    assert _explained(studies, tmp_path / "shards", "--batch-size", "1") == once
