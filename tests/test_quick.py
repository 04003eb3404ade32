"""What the fast tier runs first."""

from __future__ import annotations

import subprocess

import pytest

from tests import quick


@pytest.mark.parametrize(
    ("test", "text", "changed", "far"),
    [
        ("tests/imaging/test_nifti.py", "", ["tests/imaging/test_nifti.py"], 0),
        ("tests/imaging/test_nifti.py", "", ["src/cfcam/imaging/nifti.py"], 1),
        ("tests/jobs/test_volumes.py", "from cfcam.imaging.nifti import save", ["src/cfcam/imaging/nifti.py"], 1),
        ("tests/jobs/test_volumes.py", "from cfcam.imaging import files, nifti", ["src/cfcam/imaging/nifti.py"], 1),
        ("tests/jobs/test_volumes.py", "from cfcam.imaging.nifti_new import a", ["src/cfcam/imaging/nifti.py"], 3),
        ("tests/imaging/test_read.py", "", ["src/cfcam/imaging/nifti.py"], 2),
        ("tests/jobs/test_run.py", "", ["src/cfcam/imaging/nifti.py", "README.md"], 3),
        ("tests/methods/test_cam.py", "import cfcam.methods", ["src/cfcam/methods/__init__.py"], 1),
    ],
)
def test_a_test_is_near_to_what_it_names(test, text, changed, far):
    assert quick.distance(test, text, changed) == far


def test_the_change_is_what_is_not_committed_or_else_the_last_commit(tmp_path):
    def git(*arguments):
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True, capture_output=True)

    git("init", "-q")
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text("1")
        git("add", name)
        git("commit", "-q", "-m", name)
    assert quick.changed_files(tmp_path) == ["b.py"]
    (tmp_path / "a.py").write_text("2")
    (tmp_path / "new.py").write_text("3")
    assert quick.changed_files(tmp_path) == ["a.py", "new.py"]


def test_a_test_that_would_begin_too_late_is_left_out(monkeypatch):
    monkeypatch.setattr(quick, "_STARTED", 100.0)
    monkeypatch.setattr(quick.time, "monotonic", lambda: 150.0)
    quick.leave_out_when_over(60)
    with pytest.raises(pytest.skip.Exception, match="make test runs the rest"):
        quick.leave_out_when_over(40)
