"""500 broken DICOM files are read and explained or refused: no crash, no hang, nothing of the patient in any word."""

from __future__ import annotations

import logging
import shutil
import signal
import warnings
from collections import Counter

import pytest

pytest.importorskip("highdicom")

from cfcam.errors import CfcamError
from cfcam.imaging.reading.dicom_object import quiet
from cfcam.jobs import FolderRun, Save, Settings, VolumeRun, VolumeSettings, find_inputs
from cfcam.jobs.study.settings import StudySettings
from cfcam.models import load
from tests.bad_dicom.mutations import mutated, originals
from tests.imaging import dicoms
from tests.imaging.dicoms import PLANTED
from tests.jobs.studies import THREE_D, marked_voxels
from tests.jobs.world import NETWORKS, PLAIN

PICTURES, VOLUMES = 440, 60
LIMIT, DEADLOCK = 5.0, 300.0  # seconds of the processor for a file, and of the clock for one that waits for ever


class HungError(Exception):
    """A file took longer than the limit."""


@pytest.fixture
def watch():
    """Stops a file that takes too long: by the processor's time, since the machine may be busy with other things."""

    def stop(_signal, _frame):
        raise HungError

    signals = {signal.SIGPROF: signal.ITIMER_PROF, signal.SIGALRM: signal.ITIMER_REAL}
    before = {number: signal.signal(number, stop) for number in signals}

    def within(function, *arguments):
        signal.setitimer(signal.ITIMER_PROF, LIMIT)
        signal.setitimer(signal.ITIMER_REAL, DEADLOCK)
        try:
            return function(*arguments)
        finally:
            for timer in signals.values():
                signal.setitimer(timer, 0)

    yield within
    for number, handler in before.items():
        signal.signal(number, handler)


def made_quietly(files, seeds):
    """Broken files; what pydicom says while they are made is not what is tested."""
    with quiet():
        return [mutated(files, n) for n in seeds]


def settings(output, **changed):
    study = StudySettings(dicom=("seg", "sr"), threshold=0.5)
    return Settings(
        output=output, methods=("grad-cam",), save=frozenset({Save.OVERLAY}), study=study, overwrite=True, **changed
    )


def outcomes_of(make, path, output):
    """What became of what is there: done, or why not, in a line."""
    try:
        inputs = find_inputs([path], output=output)
        return [(str(outcome.status), outcome.error or "") for outcome in make(inputs, output)]
    except CfcamError as error:
        return [("refused", str(error))]


def check(n, said, output, allowed):
    for outcome, words in said:
        assert words.isprintable(), (n, words)
        assert not any(plant in words.replace(allowed, "") for plant in PLANTED), (n, words)
        assert outcome != "failed" or "(input " in words, (n, words)
    for name in ("manifest.jsonl", "run.json"):
        if (output / name).exists():
            text = (output / name).read_text()
            assert not any(plant in text for plant in PLANTED), (n, name)


@pytest.mark.slow
def test_mutated_files_are_explained_or_refused_in_time_and_without_a_word_of_the_patient(
    tmp_path, watch, caplog, capfd
):
    counts = Counter()
    broken = made_quietly(originals(), range(PICTURES))
    model = load(f"{NETWORKS}:brightness", classes=("bright", "dark"))
    path, output = tmp_path / "PLANTED IDENTITY.dcm", tmp_path / "out"
    with caplog.at_level(logging.DEBUG, "pydicom"), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for n, data in enumerate(broken):
            path.write_bytes(data)
            said = watch(outcomes_of, lambda i, o: FolderRun(model, i, settings(o, preprocess=PLAIN)), path, output)
            check(n, said, output, str(path))
            counts.update(outcome for outcome, _ in said)
            shutil.rmtree(output, ignore_errors=True)
    heard = " ".join([r.getMessage() for r in caplog.records] + [str(w.message) for w in warned])
    heard += "".join(capfd.readouterr())
    assert not any(plant in heard for plant in PLANTED)
    assert min(counts["done"], counts["failed"]) > PICTURES / 10, counts  # both ways were taken often


@pytest.mark.slow
def test_mutated_slices_and_frames_of_volumes(tmp_path, watch, caplog, capfd):
    model = load(f"{THREE_D}:bright", classes=("bright", "dark"))
    stored = marked_voxels()[3:8]
    frames = dicoms.save(dicoms.enhanced(stored), tmp_path / "frames.dcm").read_bytes()
    home = tmp_path / "PLANTED"
    slices = [file.read_bytes() for file in dicoms.ct_series(home, stored)]
    names = sorted(home.iterdir())
    counts = Counter()
    how = VolumeSettings(irregular="resample")
    broken = [made_quietly([frames if n % 3 == 0 else slices[n % len(names)]], [n])[0] for n in range(VOLUMES)]
    with caplog.at_level(logging.DEBUG, "pydicom"):
        for n in range(VOLUMES):
            output = tmp_path / f"out{n % 20}"
            shutil.rmtree(output, ignore_errors=True)
            if n % 3 == 0:
                given = tmp_path / "PLANTED frames.dcm"
                given.write_bytes(broken[n])
            else:
                given = home
                for name, data in zip(names, slices, strict=True):
                    name.write_bytes(data)
                names[n % len(names)].write_bytes(broken[n])
            said = watch(outcomes_of, lambda i, o: VolumeRun(model, i, settings(o), how), given, output)
            check(n, said, output, str(given))
            counts.update(outcome for outcome, _ in said)
    heard = " ".join(r.getMessage() for r in caplog.records) + "".join(capfd.readouterr())
    assert not any(plant in heard for plant in PLANTED)
    assert counts["done"] > 3, counts
    assert counts["failed"] + counts["refused"] > 3, counts


def test_the_mutations_are_the_same_every_time():
    with quiet():
        files = originals()
        assert len(files) > 20
        assert [mutated(files, n) for n in range(40)] == [mutated(files, n) for n in range(40)]
        assert len({mutated(files, n) for n in range(300)}) > 280
