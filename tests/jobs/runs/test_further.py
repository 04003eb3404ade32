"""A further file of each input: written beside the others, entered with them, and part of what settings mean."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cfcam.jobs.runs.further import Seen, Written
from cfcam.jobs.runs.task import Task
from cfcam.jobs.runs.work import Work
from tests.imaging.dicoms import radiograph, save
from tests.jobs.world import draw, lines, run


@dataclass(frozen=True)
class Sizes:
    """Writes the size of each picture, and of small ones nothing."""

    word: str = "size"

    def __call__(self, seen: Seen) -> Written:
        height, width = seen.image.size
        if height < 20:
            return Written(left_out=(f"{seen.name}: too small",))
        file = seen.stem.with_name(f"{seen.stem.name}_{self.word}.txt")
        file.write_text(f"{seen.name} {height}x{width} {', '.join(seen.explanation.methods)}")
        return Written((file,))

    def described(self) -> dict[str, Any]:
        return {"word": self.word}


def test_the_file_is_written_and_entered_with_the_others(tmp_path: Path) -> None:
    draw(tmp_path / "in" / "a.png")
    (outcome,) = run(tmp_path / "in", tmp_path / "out", further=Sizes())
    assert (tmp_path / "out" / "a_size.txt").read_text() == "a.png 48x64 grad-cam"
    assert tmp_path / "out" / "a_size.txt" in outcome.files
    assert "a_size.txt" in lines(tmp_path / "out")[0]["files"]


def test_what_is_left_out_is_told_by_the_run_and_entered(tmp_path: Path) -> None:
    draw(tmp_path / "in" / "a.png", size=(16, 16))
    work = run(tmp_path / "in", tmp_path / "out", further=Sizes())
    assert [outcome.status for outcome in work] == ["done"]
    assert "a.png: too small" in work.notes
    assert lines(tmp_path / "out")[0]["left_out"] == ["a.png: too small"]


def test_a_dicom_file_is_called_by_a_neutral_name(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    save(radiograph(np.full((32, 32), 2000, np.uint16)), tmp_path / "in" / "DOE-JANE.dcm")
    list(run(tmp_path / "in", tmp_path / "out", further=Sizes()))
    (file,) = (tmp_path / "out").glob("*_size.txt")
    assert file.read_text().startswith("study-")
    assert "DOE" not in file.read_text()


def test_another_further_file_is_another_run(tmp_path: Path) -> None:
    draw(tmp_path / "in" / "a.png")
    for further, status in ((Sizes(), "done"), (Sizes(), "skipped"), (Sizes("extent"), "done"), (None, "done")):
        (outcome,) = run(tmp_path / "in", tmp_path / "out", further=further)
        assert outcome.status == status


def test_it_goes_along_to_another_process(tmp_path: Path) -> None:
    draw(tmp_path / "in" / "a.png")
    work: Work = pickle.loads(pickle.dumps(run(tmp_path / "in", tmp_path / "out", further=Sizes())._work))  # noqa: S301
    source = run(tmp_path / "in", tmp_path / "out").inputs[0]
    task = work(Task(source, "a"))
    assert task.record is not None
    assert "a_size.txt" in task.record.files
