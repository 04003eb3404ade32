"""What checkpoints claim is held against their size before PyTorch sees them; what PyTorch writes is read."""

from __future__ import annotations

import io
import pickle
import resource
import struct
import zipfile
from pathlib import Path

import pytest
import torch

from cfcam.errors import ModelError
from cfcam.models.claims import ClaimError, check_claims
from cfcam.models.weights import read_state_dict

NUMBER = b"K\x04"  # the 4 elements of `ones(4)`, as the pickle has them: of the storage, then of the tensor's shape
BILLION = b"J\x00\x00\x00\x40"


def _saved(content, new):
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=new)
    return stream.getvalue()


def _written(path, data, pickled=None):
    """Writes a checkpoint; of an archive with another pickle, and the right sums."""
    if pickled is None:
        path.write_bytes(data)
        return path
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, pickled if name.endswith("data.pkl") else old.read(name))
    return path


def _of_calls(name, given):
    """The pickle of ``{"w": NAME(*given)}``."""
    module, _, word = name.rpartition(".")
    arguments = b"(" + b"".join(pickle.dumps(one, 2)[2:-1] for one in given) + b"t"
    return b"\x80\x02}X\x01\x00\x00\x00w" + f"c{module}\n{word}\n".encode() + arguments + b"Rs."


ARCHIVE = _saved({"w": torch.ones(4)}, True)
OLD = _saved({"w": torch.ones(4)}, False)
with zipfile.ZipFile(io.BytesIO(ARCHIVE)) as _archive:
    PICKLED = _archive.read("archive/data.pkl")


def _refused(path, words):
    with pytest.raises(ClaimError, match=words):
        check_claims(path)
    with pytest.raises(ModelError, match=r"claims more than it can hold \(") as caught:
        read_state_dict(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_storage_that_the_file_cannot_hold_is_refused_in_either_form(tmp_path):
    storage = PICKLED.replace(NUMBER, BILLION, 1)
    _refused(_written(tmp_path / "new.pt", ARCHIVE, storage), r"claims 4096 MiB, its record has 16 bytes")
    assert OLD.count(NUMBER) >= 2
    at = OLD.index(NUMBER, OLD.index(b"FloatStorage"))
    old = OLD[:at] + BILLION + OLD[at + 2 :]
    _refused(_written(tmp_path / "old.pt", old), rf"claim 4096 MiB, the file has {len(old)} bytes")


def test_the_storages_of_a_file_are_taken_together(tmp_path):
    """Each could be in the file; all of them together could not."""
    state = {str(n): torch.ones(1) for n in range(8)}
    data = _saved(state, False)
    begin = data.index(b"FloatStorage")
    share = len(data) // 4 // 5  # each claims a fifth of the file
    old = data[:begin] + data[begin:].replace(b"K\x01N", b"J" + struct.pack("<i", share) + b"N")
    _refused(_written(tmp_path / "old.pt", old), r"its tensors claim \d+ bytes, the file has")


@pytest.mark.parametrize("new", [True, False])
def test_a_tensor_larger_than_its_storage_is_refused(new, tmp_path):
    shape = b"K\x00" + NUMBER + b"\x85"  # where it begins, its shape
    larger = b"K\x00" + BILLION + b"\x85"
    data = ARCHIVE if new else OLD.replace(shape, larger)
    path = _written(tmp_path / "w.pt", data, PICKLED.replace(shape, larger) if new else None)
    _refused(path, "claims 1073741824 values, its storage has 4")


def test_few_values_repeated_without_end_are_refused_and_a_few_are_not(tmp_path):
    spread = PICKLED.replace(b"K\x00" + NUMBER + b"\x85", b"K\x00" + BILLION + b"\x85")
    assert b"K\x01\x85" in spread  # its stride
    _refused(_written(tmp_path / "w.pt", ARCHIVE, spread.replace(b"K\x01\x85", b"K\x00\x85")), "4 repeated")
    torch.save({"w": torch.ones(1).expand(50, 40)}, tmp_path / "few.pt")
    assert read_state_dict(tmp_path / "few.pt")[0]["w"].shape == (50, 40)


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("torch.Tensor", (8,), "asks for a Tensor by a number"),
        ("torch.FloatTensor", (4, 2), "asks for a FloatTensor by a number"),
        ("torch.storage.UntypedStorage", (8,), "asks for a UntypedStorage by a number"),
        ("builtins.bytearray", (8,), "asks for bytes by a number"),
        ("__builtin__.bytearray", (8,), "asks for bytes by a number"),
        ("_codecs.encode", ("00", "hex"), "a codec"),
        ("torch._utils._rebuild_meta_tensor_no_storage", (1, (4,), (1,), False), "without values of its own"),
    ],
)
def test_room_that_is_asked_for_by_a_number_is_refused(name, given, words, tmp_path):
    pickled = _of_calls(name, given)
    _refused(_written(tmp_path / "new.pt", ARCHIVE, pickled), words)
    head = OLD.index(b"}q\x00X\x01\x00\x00\x00w") - 2
    _refused(_written(tmp_path / "old.pt", OLD[:head] + pickled), words)


def test_what_is_called_by_way_of_another_is_looked_at_too(tmp_path):
    inner = b"ctorch\nTensor\n" + b"ctorch\nTensor\n" + NUMBER + b"\x85N"
    pickled = b"\x80\x02}X\x01\x00\x00\x00wctorch._tensor\n_rebuild_from_type_v2\n(" + inner + b"tRs."
    _refused(_written(tmp_path / "w.pt", ARCHIVE, pickled), "asks for a Tensor by a number")


def test_tuples_of_the_same_tuple_are_not_written_out(tmp_path, monkeypatch):
    monkeypatch.setattr("cfcam.models.claims._WRITTEN_OUT", 8)
    pickled = b"\x80\x02}" + b"K\x01" + b"q\x01h\x01h\x01\x86" * 4 + b"K\x01s."
    _refused(_written(tmp_path / "w.pt", ARCHIVE, pickled), "when they are written out")


def test_an_archive_whose_records_grow_a_thousand_times_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("cfcam.models.claims._ROOM", 2**16)
    with zipfile.ZipFile(io.BytesIO(ARCHIVE)) as old, zipfile.ZipFile(tmp_path / "w.pt", "w", 8) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
        new.writestr("archive/data/1", bytes(2**20))
    _refused(tmp_path / "w.pt", "its records claim 1 MiB, the file has")


def test_a_text_that_claims_more_than_the_file_has_is_not_made_room_for(tmp_path):
    path = _written(tmp_path / "w.pt", OLD.replace(b"X\x01\x00\x00\x00w", b"X\x00\x00\x00\x7fw", 1))
    held, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, hard))
    try:
        with pytest.raises(ModelError, match="is damaged or cut short") as caught:
            read_state_dict(path)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (held, hard))
    assert not isinstance(caught.value.__cause__, MemoryError)


CALLED = b"\x80\x02))R."
CONTENT = {
    "state_dict": {"a": torch.ones(3, 4), "empty": torch.zeros(0, 4), "part": torch.arange(10)[3:7]},
    "half": torch.ones(3, dtype=torch.bfloat16),
    "complex": torch.ones(2, dtype=torch.complex64),
    "number": torch.tensor(3),
    "parameter": torch.nn.Parameter(torch.ones(2)),
    "sparse": torch.ones(3).to_sparse(),
    "others": [bytearray(b"abc"), b"xx", {1, 2}, torch.Size([3, 4]), -5, 2**70, None, True, {(1, 2): 0.5}],
    "random": torch.get_rng_state(),
}


@pytest.mark.parametrize("new", [True, False])
def test_what_pytorch_writes_passes(new, tmp_path):
    torch.save(CONTENT, tmp_path / "w.pt", _use_new_zipfile_serialization=new)
    check_claims(tmp_path / "w.pt")
    assert set(read_state_dict(tmp_path / "w.pt")[0]) == {"a", "empty", "part"}
    if new:  # kinds that files of before 1.6 cannot hold
        torch.save(
            {"w": torch.ones(3, dtype=torch.float8_e4m3fn), "u": torch.ones(5, dtype=torch.uint16)}, tmp_path / "8.pt"
        )
        check_claims(tmp_path / "8.pt")


def test_tensors_that_share_their_storage_are_counted_once(tmp_path):
    shared = torch.ones(1000)
    torch.save({str(n): shared[n:] for n in range(50)}, tmp_path / "w.pt", _use_new_zipfile_serialization=False)
    assert len(read_state_dict(tmp_path / "w.pt")[0]) == 50


@pytest.mark.parametrize(
    "pickled",
    [
        b"",
        b"\x80\x02",
        b"\x80\x02R.",
        b"\x80\x02h\x07.",
        b"\x80\x02t.",
        b"\x80\x02K\x01Q.",
        CALLED,
        b"\x80\x02c" + b"n" * 1001 + b"\nname\n.",
    ],
)
def test_a_broken_pickle_is_damaged_and_nothing_else(pickled, tmp_path):
    path = _written(tmp_path / "w.pt", ARCHIVE, pickled)
    with pytest.raises(ModelError, match="is damaged or cut short"):
        read_state_dict(path)
