"""What else a run takes and makes on a cluster: tars and object stores, a store of maps, volumes and their studies."""

import numpy as np
import pandas as pd
import zarr

from cfcam.jobs import PageSettings, Save, Settings, StudySettings, VolumeRun, find_inputs
from cfcam.jobs.cases.folder import find_cases
from cfcam.jobs.cluster.flow import on_cluster
from cfcam.jobs.cluster.pool import Cluster
from cfcam.models import load
from tests.jobs.cluster.test_evaluation import run as evaluated
from tests.jobs.cluster.test_flow import data, run, told
from tests.jobs.inputs.object_store import served
from tests.jobs.inputs.test_tars import drawn, packed
from tests.jobs.runs.test_volumes import NETWORKS, UNIT, scan


def _table(store):
    return pd.read_parquet(store / "index").sort_values(["input", "target", "method"], ignore_index=True)


def test_pictures_of_tars_and_of_an_object_store_go_into_a_store_as_on_one_machine(tmp_path, machines):
    pictures = drawn(tmp_path / "in", 5)
    tar = packed(tmp_path / "shard.tar", [(f"{n}.png", one) for n, one in enumerate([*pictures[:3], b"no picture"])])
    with served(machines.port) as store:
        store.mkdir("bucket")
        for n, one in enumerate(pictures[3:]):
            store.pipe_file(f"bucket/scans/{n}.png", one)
        sources, here, there = [tar, "s3://bucket/scans"], tmp_path / "here.zarr", tmp_path / "there.zarr"
        list(run(sources, here, store=True))
        outcomes = list(run(sources, there, machines, workers=1, store=True))
        assert [o.status for o in outcomes] == ["done", "done", "done", "failed", "done", "done"]
        assert told(there) == told(here)
        assert _table(there).equals(_table(here))
        ours, theirs = (zarr.open_group(str(place), mode="r") for place in (here, there))
        for name in _table(here).map_array.dropna().unique():
            assert np.array_equal(ours[name][:], theirs[name][:])
        again = [o.status for o in run(sources, there, store=True)]
        assert again.count("skipped") == 5


def test_an_evaluation_of_tars_and_of_an_object_store_has_the_numbers_of_one_machine(tmp_path, machines):
    pictures = drawn(tmp_path / "in", 6)
    members = [
        (f"{n}.{end}", what) for n, one in enumerate(pictures[:3]) for end, what in (("png", one), ("cls", b"1"))
    ]
    tar = packed(tmp_path / "shard.tar", [*members, ("9.png", b"no picture")])
    with served(machines.port) as store:
        store.mkdir("bucket")
        for n, one in enumerate(pictures[3:]):
            store.pipe_file(f"bucket/scans/{n}.png", one)
        cases = [case for data in (tar, "s3://bucket/scans") for case in find_cases(data, ["bright", "dark"])]
        here = evaluated(cases, tmp_path / "here")()
        there = evaluated(cases, tmp_path / "there", machines)()
        assert len({row.image for row in here.rows}) == 6
        assert there.rows == here.rows
        assert there.failed == here.failed
        assert len(here.failed) == 1


def test_the_page_of_all_pictures_is_that_of_one_machine(tmp_path, machines):
    drawn(tmp_path / "in", 5)
    here, there = tmp_path / "here", tmp_path / "there"
    list(run(tmp_path / "in", here, page=PageSettings()))
    list(run(tmp_path / "in", there, machines, workers=1, page=PageSettings()))
    assert (here / "index.html").is_file()
    assert data(there) == data(here)


def test_volumes_and_their_studies_are_those_of_one_machine(tmp_path, machines):
    for n in range(2):
        scan(tmp_path / "in" / f"{n}.nii.gz", origin=(n, 0, 0))
    model = load(f"{NETWORKS}:bright", classes=("bright", "dark"))

    def written(output, **how):
        settings = Settings(
            output=output,
            methods=("grad-cam",),
            preprocess=UNIT,
            save=frozenset({Save.MAPS, Save.SHEET}),
            study=StudySettings(report=("html",), peak_stability=False),
        )
        outcomes = list(VolumeRun(model, find_inputs([tmp_path / "in"], output=output), settings, **how))
        assert [o.status for o in outcomes] == ["done", "done"]
        return data(output)

    here = written(tmp_path / "here")
    assert {name for name in here if name.endswith(".html")}
    assert written(tmp_path / "there", flow=on_cluster(Cluster(machines.address, workers=1))) == here
    assert told(tmp_path / "there") == told(tmp_path / "here")
