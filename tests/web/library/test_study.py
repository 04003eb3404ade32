"""What a study keeps in memory of a volume, and for how long."""

from __future__ import annotations

import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cfcam.imaging import Volume
from cfcam.web.library import facts
from cfcam.web.library import study as studies
from cfcam.web.library.cache import Cache
from cfcam.web.library.facts import compact
from cfcam.web.library.maps import StudyMap
from cfcam.web.library.nifti import as_npy
from cfcam.web.library.study import Study

SHAPE = (80, 96, 96)
SIZE = 4 * 80 * 96 * 96
"""Bytes of the volume, or of a map of it, as float32."""


@pytest.fixture
def voxels():
    return np.random.default_rng(0).integers(-1000, 2000, SHAPE).astype(np.float32)


def study_of(voxels, **more):
    """A study that notes how often it was read."""
    times = []

    def read():
        times.append(1)
        return Volume(voxels, np.diag([-1.0, 1, 2, 1]))

    return Study("place", "scan", "volume", read, Cache(2**30), **more), times


def map_of(heat, number=0):
    return StudyMap(f"m-{number:012}", "grad-cam", 0, "finding", heat)


def peak(work):
    """The most bytes of Python and NumPy that were there while something was done, beside those before."""
    work()  # what is imported or set up late
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_volume_that_no_network_needs_is_read_once_also_when_maps_of_it_are_looked_at(voxels):
    study, times = study_of(voxels, keep=False)
    study.add(map_of(lambda: voxels / 4000))
    study.original()
    study.detail()
    study.levels("m-000000000000")
    assert study.grid().affine.tolist() == np.diag([-1.0, 1, 2, 1]).tolist()
    assert len(times) == 1
    assert study._cache.size < SIZE  # int16, and the map in uint8


def test_a_scan_is_brought_into_the_order_of_its_file_without_another_float_of_it(voxels, monkeypatch):
    monkeypatch.setattr(facts, "_BLOCK", 2**13)
    assert peak(lambda: compact(voxels.transpose(2, 1, 0))) < 0.6 * SIZE  # int16 is half of it


def test_steps_of_a_map_are_made_without_another_float_of_it(voxels, monkeypatch):
    monkeypatch.setattr(studies, "_BLOCK", 2**13)
    heat = (voxels + 1000) / 3000
    study, _ = study_of(voxels)
    study.facts()
    expected = np.rint(heat.transpose(2, 1, 0) * np.float32(255)).astype(np.uint8).tobytes()
    assert bytes(study.as_file(heat, levels=True).voxels) == expected
    assert peak(lambda: study.as_file(heat, levels=True)) < 0.35 * SIZE  # uint8 is a quarter of it


def test_a_map_is_sent_to_be_saved_from_where_it_lies(voxels):
    def save():
        return sum(map(len, as_npy(voxels).pieces()))

    assert save() == SIZE + 128
    assert peak(save) < 0.1 * SIZE


def test_of_maps_that_are_asked_for_together_one_is_made_at_a_time(voxels):
    study, _ = study_of(voxels)
    study.facts()
    alone, together = threading.Lock(), []

    def heat():
        together.append(not alone.acquire(blocking=False))
        threading.Event().wait(0.01)
        alone.release()
        return np.zeros(SHAPE, np.float32)

    for number in range(4):
        study.add(map_of(heat, number))
    with ThreadPoolExecutor(4) as page:
        list(page.map(study.levels, study.maps))
    assert together == [False] * 4
