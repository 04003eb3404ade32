"""One input's way in a process of its own: what it writes and records is what a run on one machine does."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import sqlite3
import threading
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from cfcam.errors import CfcamError, JobError, ModelError
from cfcam.imaging import VolumePreprocess
from cfcam.jobs import FolderRun, Save, Settings, State, StudySettings, VolumeRun, VolumeSettings, Windows, find_inputs
from cfcam.jobs.engine import lanes
from cfcam.jobs.runs.manifest import Manifest
from cfcam.jobs.runs.pictures import Pictures
from cfcam.jobs.runs.plan import Plan, named
from cfcam.jobs.runs.task import Task, tasks_of
from cfcam.jobs.runs.volumes import Volumes
from cfcam.jobs.runs.work import Work
from cfcam.models import LoadedModel, load
from tests.imaging import dicoms
from tests.jobs.runs.test_volumes import scan
from tests.jobs.studies import THREE_D, ct_study
from tests.jobs.world import NETWORKS, PLAIN, draw, folder_of, lines, written

UNIT = VolumePreprocess(intensity="unit")


@pytest.fixture(scope="module")
def elsewhere():
    """Another process, which was not forked from this one and so knows nothing of it."""
    context = multiprocessing.get_context("spawn")
    with pytest.MonkeyPatch.context() as patch, ProcessPoolExecutor(1, mp_context=context) as pool:
        patch.setenv("SOURCE_DATE_EPOCH", "1700000000")  # objects and reports say when they were made
        yield lambda work, task: pool.submit(work, task).result()


def work_of(model, settings, inputs, how=None):
    """Plan and work of a run, as an engine that has the work done elsewhere makes them."""
    inputs = named(inputs, settings.study)
    kind = Pictures.of(model, settings) if how is None else Volumes.of(model, settings, how)
    work = Work(model, kind, settings, inputs)
    plan = Plan(inputs, settings.output, work.sha256)
    plan.make_folder()
    work.open()
    return plan, work


def same_as_here(model, paths, settings, elsewhere, folder, how=None):
    """Has a run done here and one elsewhere; compares all files; returns the lines of the manifest."""
    here, there = (replace(settings, output=folder / name) for name in ("here", "there"))
    inputs = [find_inputs(paths, output=one.output, recursive=True) for one in (here, there)]
    list(FolderRun(model, inputs[0], here) if how is None else VolumeRun(model, inputs[0], here, how))
    plan, work = work_of(model, there, inputs[1], how)
    manifest = Manifest.open(there.output)
    for task in tasks_of(plan, plan.names(manifest)):
        manifest.append(elsewhere(work, task).record)
    manifest.close()
    names = [name for name in written(here.output) if name not in ("run.json", "manifest.jsonl", "reports.html")]
    assert names == [name for name in written(there.output) if name != "manifest.jsonl"]
    for name in names:
        assert (here.output / name).read_bytes() == (there.output / name).read_bytes(), name
    untimed = [[{**line, "seconds": 0, "stamps": {}} for line in lines(one.output)] for one in (here, there)]
    assert untimed[0] == untimed[1]
    return untimed[1]


def test_pictures_and_their_failures_in_another_process(tmp_path, elsewhere):
    folder_of(tmp_path / "in", 3)
    draw(tmp_path / "in" / "deep" / "white.png", grey=255)
    (tmp_path / "in" / "text.png").write_bytes(b"this is no picture")
    model = load(f"{NETWORKS}:delicate", classes=("bright", "dark"))
    settings = Settings(methods=("grad-cam", "cf-cam"), preprocess=PLAIN, save=frozenset(Save), batch_size=1)
    found = same_as_here(model, [tmp_path / "in"], settings, elsewhere, tmp_path)
    assert sorted(line["status"] for line in found) == ["done"] * 3 + ["failed"] * 2
    assert {line["name"] for line in found} == {"picture0", "picture1", "picture2", "deep/white", "text"}
    assert any("a white picture is too much for me" in str(line["error"]) for line in found)


def test_volumes_in_windows_in_another_process(tmp_path, elsewhere):
    scan(tmp_path / "in" / "a.nii.gz")
    scan(tmp_path / "in" / "b.nii", codes="LPI")
    ct_study(tmp_path / "in" / "series")
    (tmp_path / "in" / "c.nii.gz").write_bytes(b"nothing")
    model = load(f"{THREE_D}:bright", classes=("bright", "dark"))
    settings = Settings(methods=("grad-cam",), preprocess=UNIT, save=frozenset(Save))
    how = VolumeSettings(windows=Windows(9))
    found = same_as_here(model, [tmp_path / "in"], settings, elsewhere, tmp_path, how)
    assert sorted(line["status"] for line in found) == ["done"] * 3 + ["failed"]


def test_studies_in_another_process_keep_the_patient_out_and_enter_the_audit(tmp_path, elsewhere):
    for n in range(2):
        stored = np.random.default_rng(n).integers(0, 4000, (20, 30))
        dicoms.save(dicoms.radiograph(stored), tmp_path / "in" / f"DOE^JANE{n}.dcm")
    (tmp_path / "in" / "DOE^BAD.dcm").write_bytes((tmp_path / "in" / "DOE^JANE0.dcm").read_bytes()[:500])
    model = load(f"{NETWORKS}:brightness", classes=("bright", "dark"))
    settings = Settings(
        methods=("grad-cam",),
        preprocess=PLAIN,
        batch_size=1,
        study=StudySettings(
            dicom=("seg", "sr", "sc"),
            report=("html",),
            uncertainty=("ensemble",),
            ensemble=(load(f"{NETWORKS}:crowded"),),
        ),
    )
    found = same_as_here(model, [tmp_path / "in"], settings, elsewhere, tmp_path)
    assert [line["status"] for line in found].count("failed") == 1
    assert all("DOE" not in json.dumps(line) for line in found)
    recorded = replace(
        settings, output=tmp_path / "recorded", study=StudySettings(record=str(tmp_path / "audit.sqlite"))
    )
    plan, work = work_of(model, recorded, find_inputs([tmp_path / "in"], output=recorded.output))
    for task in tasks_of(plan, plan.names(Manifest.open(recorded.output))):
        elsewhere(work, task)
    with sqlite3.connect(tmp_path / "audit.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM audit_record").fetchone() == (3,)


def test_a_work_that_threads_are_busy_with_is_sent_without_them(monkeypatch, tmp_path):
    monkeypatch.setattr(lanes, "LIGHT", 0)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        folder_of(tmp_path / "in", 2)
        model = load(f"{NETWORKS}:brightness", classes=("bright", "dark"))
        settings = Settings(output=tmp_path / "out", methods=("grad-cam",), preprocess=PLAIN)
        run = FolderRun(model, find_inputs([tmp_path / "in"], output=tmp_path / "out"), settings)
        assert run._work.engine._lanes is not None
        running = threading.active_count()
        work = pickle.loads(pickle.dumps(run._work))  # noqa: S301 (our own)
        assert threading.active_count() == running
        assert (work.sha256, work.layer, work.engine._lanes) == (run._work.sha256, run.layer, None)
        assert not written(tmp_path / "out")
    finally:
        torch.set_num_threads(before)


def test_a_task_that_comes_back_holds_its_record_and_no_pixels(tmp_path):
    model = load(f"{NETWORKS}:brightness", classes=("bright", "dark"))
    inputs = find_inputs([draw(tmp_path / "a.png")], output=tmp_path / "out")
    _, work = work_of(model, Settings(output=tmp_path / "out", methods=("grad-cam",), preprocess=PLAIN), inputs)
    task = work(Task(inputs[0], "a"))
    assert (task.image, task.tensor, task.explained) == (None, None, None)
    assert task.outcome.status is task.record.status is State.DONE
    assert len(pickle.dumps(task)) < 5000


class Holding(nn.Module):
    """Cannot be pickled: it holds a lock."""

    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(3, 2, 8, stride=8)
        self.lock = threading.Lock()

    def forward(self, x):
        return self.features(x).mean((2, 3))


def test_a_network_that_cannot_be_pickled_is_used_here_and_not_sent(tmp_path):
    inputs = find_inputs([draw(tmp_path / "a.png")], output=tmp_path / "out")
    settings = Settings(output=tmp_path / "out", methods=("grad-cam",), preprocess=PLAIN)
    _, work = work_of(LoadedModel(Holding().eval(), "mine"), settings, inputs)
    assert work(Task(inputs[0], "a")).outcome.status is State.DONE
    with pytest.raises(ModelError, match=r"mine cannot be sent to another process .*lock") as caught:
        pickle.dumps(work)
    assert isinstance(caught.value, CfcamError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("setting", ["cfcam", "a setting of later versions"])
def test_a_work_that_would_make_other_files_there_is_refused_on_arrival(tmp_path, setting):
    inputs = find_inputs([draw(tmp_path / "a.png")], output=tmp_path / "out")
    settings = Settings(output=tmp_path / "out", methods=("grad-cam",), preprocess=PLAIN)
    _, work = work_of(load(f"{NETWORKS}:brightness"), settings, inputs)
    work.meaning[setting] = "0.0.1"  # as if another version had sent it
    sent = pickle.dumps(work)
    with pytest.raises(JobError, match=rf"\({setting} differ\): install the same version"):
        pickle.loads(sent)  # noqa: S301 (our own)
