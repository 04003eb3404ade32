"""Changed files reach every reader: each is read or refused in one line, and nothing else happens.

In short here, with the changes chosen by hypothesis; ``make soak`` feeds each reader with a thousand files and more, in
a process that may take 1 GiB and 5 s. What a decoder written in C dies of would end the tests: such seeds are left to
it.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cfcam.errors import InputError
from tests.fuzz import child, seeds, soak
from tests.fuzz.mutations import KINDS, SPREAD, changed
from tests.fuzz.readers import READERS

CHANGES = st.lists(
    st.tuples(st.integers(0, KINDS - 1), st.integers(0, SPREAD - 1), st.integers(0, 2**32 - 1)), min_size=1, max_size=3
)
NEEDED = {"store": "zarr", "dicom": "pydicom", "series": "pydicom", "nifti": "nibabel", "audit": "sqlalchemy"}
NATIVE = ("rle.dcm", "delimiter.dcm", "jpeg.dcm", "lossless.dcm", "Extended.dcm")
PER_READER = 1000


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The valid files of each kind, made when they are first asked for."""
    made: dict[str, seeds.Files] = {}

    def of(kind: str) -> seeds.Files:
        if kind not in made:
            pytest.importorskip(NEEDED.get(kind, "torch"))
            made[kind] = seeds.made(kind, tmp_path_factory.mktemp(kind))
        return made[kind]

    return of


@pytest.mark.parametrize("name", READERS)
def test_a_changed_file_is_read_or_refused_and_nothing_else(name, files, tmp_path):
    if name == "deidentify":
        pytest.importorskip("dicomanonymizer")
    reader = READERS[name]
    of_kind = files(reader.kind)
    mine = sorted(one for one in of_kind if one.endswith(reader.names) and not one.endswith(NATIVE))

    @settings(max_examples=8, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(mine), CHANGES)
    def fed(seed, changes):
        data = changed(of_kind[seed], changes, of_kind[mine[0]])
        path = child.laid(reader, of_kind, seed, data, tmp_path)
        try:
            assert child.verdict(reader.read, path) is None
        finally:
            path.write_bytes(of_kind[seed])

    fed()


@pytest.mark.parametrize("name", READERS)
def test_the_valid_files_are_read(name, files, tmp_path):
    """Else what is fed to the readers would be refused at its first byte."""
    if name == "deidentify":
        pytest.importorskip("dicomanonymizer")
    reader = READERS[name]
    for seed in files(reader.kind):
        if seed.endswith(reader.names) and not seed.endswith(NATIVE):
            reader.read(child.laid(reader, files(reader.kind), seed, files(reader.kind)[seed], tmp_path))


def _refuses(path: Path) -> None:
    raise InputError(f"{path.name}: is broken")


def _in_two_lines(path: Path) -> None:
    raise InputError("a\nb")


def _foreign(path: Path) -> None:
    raise KeyError(path)


def _asks_for_too_much(path: Path) -> None:
    try:
        raise MemoryError
    except MemoryError:
        raise InputError("broken") from None


def _does_not_end(path: Path) -> None:
    while True:
        try:
            sum(range(1000))
        except Exception:  # noqa: BLE001, S112 (no handler of errors takes the alarm for one)
            continue


@pytest.mark.parametrize(
    ("read", "told"),
    [
        (_refuses, None),
        (_in_two_lines, "message"),
        (_foreign, "foreign: KeyError"),
        (_asks_for_too_much, "memory"),
        (_does_not_end, "hang"),
    ],
)
def test_each_kind_of_fault_is_seen(read, told, monkeypatch):
    monkeypatch.setattr(child, "SECONDS", 0.1)
    found = child.verdict(read, Path("x"))
    assert found == told if told is None else str(found).startswith(told)
    assert signal.getitimer(signal.ITIMER_PROF) == (0, 0)


def test_a_number_names_the_same_file_always():
    files = {"a.json": b'{"a": 1}', "b.json": b"[1, 2]"}
    reader = READERS["limits"]._replace(names=(".json",))
    assert child.inputs(reader, files, 7) == child.inputs(reader, files, 7)
    assert len({child.inputs(reader, files, number)[2] for number in range(50)}) > 40


@pytest.mark.skipif(not os.environ.get("CFCAM_SOAK"), reason="takes ten minutes and more: make soak")
@pytest.mark.parametrize("name", READERS)
def test_a_thousand_files_and_more(name, tmp_path):
    assert soak.soak(name, PER_READER, tmp_path) == []
