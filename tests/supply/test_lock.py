"""The locks hold what the constraints pin, each release once with hashes, and pip refuses another file."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from supply.lock import HERE, LOCKS, ROOT, blocks, pins, shared_out, with_hashes

CONSTRAINTS = pins((ROOT / "constraints.txt").read_text())


def test_the_locks_share_out_what_the_constraints_pin() -> None:
    found = [pins((HERE / f"{lock}.txt").read_text()) for lock in LOCKS]
    names = [name for one in found for name in one]
    assert sorted(names) == sorted(set(names))
    assert {name: version for one in found for name, version in one.items()} == CONSTRAINTS
    assert "torch" in found[0]
    assert "pydicom" in found[1]
    assert "pytest" in found[2]
    assert (HERE / "all.txt").read_text().splitlines()[1] == "--requirement runtime.txt"
    assert (HERE / "dev.txt").read_text().splitlines()[1] == "--requirement all.txt"


@pytest.mark.parametrize("lock", LOCKS)
def test_every_release_has_hashes(lock: str) -> None:
    for name, lines in blocks((HERE / f"{lock}.txt").read_text()).items():
        first, *hashes = lines.strip().splitlines()
        assert hashes, name
        assert all(len(one.strip().removesuffix(" \\")) == len("--hash=sha256:") + 64 for one in hashes), first


def test_a_name_that_nothing_pins_is_told_and_the_last_lock_has_the_rest() -> None:
    sets = {"runtime": ["a", "nvidia-x"], "all": ["a", "b"], "dev": ["b"]}
    assert list(shared_out(sets, ["a", "b", "c"])) == [("runtime", ["a"]), ("all", ["b"]), ("dev", ["c"])]
    with pytest.raises(SystemExit, match=r"constraints.txt: c not pinned; pin what all needs"):
        list(shared_out({"runtime": ["a"], "all": ["c"], "dev": []}, ["a"]))


def test_hashes_are_added_once_in_order() -> None:
    block = "torch==1.0 \\\n    --hash=sha256:bb\n"
    assert with_hashes(block, ["sha256:aa", "sha256:bb"]) == (
        "torch==1.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
    )


def test_pip_takes_the_file_that_is_locked_and_no_other(tmp_path: Path) -> None:
    wheel = tmp_path / "shelf" / "cfcam_planted-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("cfcam_planted.py", "")
        archive.writestr(
            "cfcam_planted-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: cfcam-planted\nVersion: 1.0\n"
        )
        archive.writestr(
            "cfcam_planted-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("cfcam_planted-1.0.dist-info/RECORD", "")
    right = hashlib.sha256(wheel.read_bytes()).hexdigest()
    for digest, code in ((right, 0), ("0" * 64, 1)):
        lock = tmp_path / "lock.txt"
        lock.write_text(with_hashes("cfcam-planted==1.0", [f"sha256:{digest}"]))
        pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--require-hashes", "--no-index"]
        place = ["--find-links", str(wheel.parent), "--target", str(tmp_path / str(code)), "--requirement", str(lock)]
        done = subprocess.run([*pip, *place], capture_output=True, text=True)
        assert done.returncode == code, done.stderr
    assert "DO NOT MATCH THE HASHES" in done.stderr


def test_torch_alone_has_the_hashes_that_the_lock_has() -> None:
    alone = blocks((HERE / "torch.txt").read_text())
    assert alone == {"torch": blocks((HERE / "runtime.txt").read_text())["torch"]}
