"""What else a run takes and makes on a cluster: tars and object stores, a store of maps, volumes and their studies."""

import numpy as np
import pandas as pd
import zarr

from cfcam.jobs import Save, Settings, StudySettings, VolumeRun, find_inputs
from cfcam.jobs.cluster.flow import on_cluster
from cfcam.jobs.cluster.pool import Cluster
from cfcam.models import load
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
