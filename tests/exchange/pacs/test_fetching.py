"""Whole objects come back as they were sent, and a fetch that stopped goes on. Real servers first."""

from __future__ import annotations

from contextlib import contextmanager
from io import BytesIO

import pytest
from pydicom import dcmread, uid
from pynetdicom import evt

from cfcam.errors import InputError, JobError
from cfcam.exchange.pacs import Access, NetworkError, Outcome, Place, Wanted, fetch, listing, send
from tests.exchange import sources
from tests.exchange.pacs import nodes
from tests.exchange.pacs.test_sending import after_meta

FAST = Access(timeout_s=60)
STUDY = "1.2.1"
WAYS = ["dicom", "web"]
CT, FIND, GET = uid.CTImageStorage, "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.3"


@pytest.fixture
def archive(orthanc, tmp_path):
    """A study of four slices, one of them compressed, an enhanced CT, and a radiograph; and the files of each."""
    made = {}
    for kind in ("CT", "ECT", "CR"):
        for number, dataset in enumerate(sources.sources(kind)):
            if (kind, number) == ("CT", 2):
                dataset.compress(uid.RLELossless, generate_instance_uid=False)
            dataset.StudyInstanceUID = STUDY
            path = tmp_path / "sent" / f"{kind}{number}.dcm"
            path.parent.mkdir(exist_ok=True)
            dataset.save_as(path, enforce_file_format=True)
            made[str(dataset.SOPInstanceUID)] = path.read_bytes()
    assert send(Place.parse(orthanc.web), sorted((tmp_path / "sent").iterdir()), FAST).done
    orthanc.sent = made
    return orthanc


@pytest.mark.parametrize("how", WAYS)
def test_every_byte_of_every_object_comes_back_compressed_ones_too(archive, how, tmp_path):
    heard = []
    report = fetch(Place.parse(getattr(archive, how)), STUDY, tmp_path / "in", FAST, on=heard.append)
    assert report.done
    assert report.count(Outcome.STORED) == len(heard) == 6
    got = {one.uid: one.path.read_bytes() for one in report.sent}
    assert {name: after_meta(data) for name, data in got.items()} == {
        name: after_meta(data) for name, data in archive.sent.items()
    }
    if how == "web":
        assert got == archive.sent
    assert sorted(path for path in (tmp_path / "in").rglob("*") if path.is_file()) == sorted(
        one.path for one in report.sent
    )


def test_names_of_files_tell_nothing_and_are_the_same_again(archive, tmp_path):
    """Hashes by hand: sha256 of the UIDs."""
    from hashlib import sha256

    report = fetch(Place.parse(archive.web), STUDY, tmp_path / "in", FAST)
    for one in report.sent:
        parts = one.path.relative_to(tmp_path / "in").parts
        assert parts[0] == f"study-{sha256(STUDY.encode()).hexdigest()[:8]}"
        assert parts[2] == f"{sha256(one.uid.encode()).hexdigest()[:16]}.dcm"
        assert parts[1].startswith("series-")


@pytest.mark.parametrize("how", WAYS)
def test_a_fetch_that_stopped_goes_on_and_fetches_again_what_is_not_whole(archive, how, tmp_path):
    place, folder = Place.parse(getattr(archive, how)), tmp_path / "in"
    first = fetch(place, STUDY, folder, FAST)
    gone, cut, *_ = (one.path for one in first.sent)
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:-10])
    times = {one.path: one.path.stat().st_mtime_ns for one in first.sent[2:]}
    second = fetch(place, STUDY, folder, FAST)
    assert [one.outcome for one in second.sent] == [Outcome.STORED] * 2 + [Outcome.ALREADY_THERE] * 4
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert after_meta(cut.read_bytes()) == after_meta(archive.sent[first.sent[1].uid])
    assert fetch(place, STUDY, folder, FAST, resume=False).count(Outcome.STORED) == 6


@pytest.mark.parametrize("how", WAYS)
def test_a_series_alone_is_fetched_and_what_is_not_there_is_told(archive, how, tmp_path):
    place = Place.parse(getattr(archive, how))
    wanted = listing(place, [STUDY], FAST, series=["1.2.5.0"])
    assert fetch(place, wanted, tmp_path / "in", FAST).count(Outcome.STORED) == 4
    with pytest.raises(NetworkError, match="has no such series of this study"):
        listing(place, [STUDY], FAST, series=["1.2.5.99"])
    with pytest.raises(NetworkError, match="has no such study"):
        listing(place, ["1.2.99"], FAST)
    lost = [wanted[0], Wanted(1, STUDY, "1.2.5.0", "1.2.3.404", CT)]
    report = fetch(place, lost, tmp_path / "in2", FAST)
    assert [one.outcome for one in report.sent] == [Outcome.STORED, Outcome.REFUSED]


@pytest.mark.parametrize("how", WAYS)
def test_a_place_that_goes_down_says_try_again(archive, how, tmp_path):
    place = Place.parse(getattr(archive, how))
    wanted = listing(place, [STUDY], FAST)
    archive.stop()
    report = fetch(place, wanted, tmp_path / "in", FAST)
    assert {one.outcome for one in report.sent} == {Outcome.TRY_AGAIN}
    archive.start()
    assert fetch(place, wanted, tmp_path / "in", FAST).done


@pytest.mark.parametrize("how", WAYS)
def test_a_folder_that_cannot_be_written_into_is_one_line(archive, how, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(JobError, match="cannot be written into"):
        fetch(Place.parse(getattr(archive, how)), STUDY, tmp_path / "file" / "in", FAST)


@pytest.mark.parametrize("how", WAYS)
def test_a_disk_that_is_full_ends_the_fetch_and_leaves_no_half_file(archive, how, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    target = "cfcam.exchange.pacs.wado._write" if how == "web" else "pathlib.Path.write_bytes"
    place = Place.parse(getattr(archive, how))
    wanted = listing(place, [STUDY], FAST)
    monkeypatch.setattr(target, full)
    with pytest.raises(JobError, match="No space left on device"):
        fetch(place, wanted, tmp_path / "in", FAST)
    assert [path for path in (tmp_path / "in").rglob("*") if path.is_file()] == []


def part(data: bytes, head: bytes = b"Content-Type: application/dicom") -> bytes:
    return b"--edge\r\n" + head + b"\r\n\r\n" + data + b"\r\n--edge--\r\n"


MULTIPART = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=edge'}


@pytest.fixture
def one():
    stream = BytesIO()
    dataset = sources.sources("CT")[0]
    dataset.save_as(stream, enforce_file_format=True)
    return Wanted(0, STUDY, "1.2.5.0", str(dataset.SOPInstanceUID), CT), stream.getvalue()


@contextmanager
def giving(how: str, data: bytes):
    """A place that has one object."""
    if how == "web":
        with nodes.server((200, MULTIPART, part(data))) as (place, _):
            yield place
        return

    def give(event):
        yield 1
        yield 0xFF00, dcmread(BytesIO(data))

    contexts = [(GET, [uid.ImplicitVRLittleEndian]), (CT, [uid.ExplicitVRLittleEndian])]
    with nodes.scp(contexts, (evt.EVT_C_GET, give), storing=[CT]) as place:
        yield place


def test_a_server_that_knows_no_such_parameter_is_asked_without_it(one, tmp_path):
    wanted, data = one
    with nodes.server((406, {}, b""), (200, MULTIPART, part(data))) as (place, told):
        assert fetch(Place.parse(place), [wanted], tmp_path, FAST).done
    assert (tmp_path / wanted.name).read_bytes() == data
    assert ["transfer-syntax=*" in request[2]["Accept"] for request in told.requests] == [True, False]
    with nodes.server((200, {"Content-Type": "application/dicom"}, data)) as (place, _):
        assert fetch(Place.parse(place), [wanted], tmp_path / "single", FAST).done
    assert (tmp_path / "single" / wanted.name).read_bytes() == data


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("how", WAYS)
def test_nothing_is_written_through_a_link_that_leads_out_of_the_folder(one, tmp_path, how, depth):
    wanted, data = one
    link, secret = tmp_path.joinpath("in", *wanted.name.split("/")[:depth]), tmp_path / "secret"
    link.parent.mkdir(parents=True)
    secret.mkdir()
    link.symlink_to(secret)
    with giving(how, data) as place, pytest.raises(JobError, match=r"is a link that leads out of the output folder"):
        fetch(Place.parse(place), [wanted], tmp_path / "in", FAST)
    assert list(secret.rglob("*")) == []


@pytest.mark.parametrize("how", WAYS)
def test_a_file_that_is_a_link_is_replaced_and_not_written_through(one, tmp_path, how):
    wanted, data = one
    file, victim = tmp_path / "in" / wanted.name, tmp_path / "victim"
    file.parent.mkdir(parents=True)
    victim.write_bytes(b"theirs")
    file.symlink_to(victim)
    with giving(how, data) as place:
        assert fetch(Place.parse(place), [wanted], tmp_path / "in", FAST).done
    assert victim.read_bytes() == b"theirs"
    assert not file.is_symlink()
    assert after_meta(file.read_bytes()) == after_meta(data)


def test_what_a_server_gives_that_is_not_the_object_is_not_kept(one, tmp_path):
    wanted, data = one
    other = BytesIO()
    sources.sources("CT")[1].save_as(other, enforce_file_format=True)
    wrong = {
        b"another object": part(other.getvalue()),
        b"a torn object": part(data[:-4]),
        b"no object": part(b"<html>"),
        b"no part": b"--edge--",
        b"no end": part(data)[:-12],
    }
    for what, body in wrong.items():
        with nodes.server((200, MULTIPART, body)) as (place, _):
            (sent,) = fetch(Place.parse(place), [wanted], tmp_path, FAST).sent
        assert not sent.done, what
        assert sent.path is None
    with nodes.server((200, {"Content-Type": "text/html"}, b"<html>")) as (place, _):
        (sent,) = fetch(Place.parse(place), [wanted], tmp_path, FAST).sent
    assert sent.reason.endswith("gives text/html in place of an object")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(("status", "requests"), [(401, 1), (503, 3), (404, 5)])
def test_a_server_that_gives_nothing_is_not_asked_for_ever(status, requests, tmp_path):
    wanted = [Wanted(n, STUDY, "1.2.5", f"1.2.3.{n}", CT) for n in range(5)]
    with nodes.server((status, {}, b"")) as (place, told):
        report = fetch(Place.parse(place), wanted, tmp_path, FAST)
    assert {one.outcome for one in report.sent} == {Outcome.TRY_AGAIN if status == 503 else Outcome.REFUSED}
    assert len(report.sent) == 5
    assert len(told.requests) == requests


def test_a_node_that_sends_what_nobody_asked_for_and_not_all_that_was(tmp_path):
    """Of two objects the node sends one, and another that is not wanted; its answer is a warning."""
    first, second, third = sources.sources("CT")[:3]

    def give(event):
        yield 2
        yield 0xFF00, first
        yield 0xFF00, third

    contexts = [
        (FIND, [uid.ImplicitVRLittleEndian]),
        (GET, [uid.ImplicitVRLittleEndian]),
        (CT, [uid.ExplicitVRLittleEndian]),
    ]
    with nodes.scp(contexts, (evt.EVT_C_GET, give), storing=[CT]) as place:
        wanted = [Wanted(n, STUDY, "1.2.5.0", str(one.SOPInstanceUID), CT) for n, one in enumerate((first, second))]
        report = fetch(Place.parse(place), wanted, tmp_path, FAST)
    assert [one.done for one in report.sent] == [True, False]
    assert "did not send it (0x" in report.sent[1].reason
    assert dcmread(report.sent[0].path) == first
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


def test_an_answer_that_breaks_off_is_to_be_tried_again_and_no_fault_of_the_disk(one, tmp_path):
    wanted, data = one
    body = part(data)
    with nodes.server((200, {**MULTIPART, "X-Cut": "1"}, body)) as (place, _):
        (sent,) = fetch(Place.parse(place), [wanted], tmp_path, FAST).sent
    assert sent.outcome is Outcome.TRY_AGAIN
    assert "broke" in sent.reason


def test_a_node_without_c_get_is_told(tmp_path):
    with nodes.scp([(CT, [uid.ExplicitVRLittleEndian])]) as place:
        (sent,) = fetch(Place.parse(place), [Wanted(0, STUDY, "1.2.5", "1.2.3", CT)], tmp_path, FAST).sent
    assert sent.outcome is Outcome.REFUSED
    assert "gives nothing back by C-GET" in sent.reason


def test_two_objects_of_one_uid_are_not_written_over_each_other(tmp_path):
    twice = [Wanted(n, STUDY, "1.2.5", "1.2.3", CT) for n in range(2)]
    with pytest.raises(InputError, match="have the same UIDs"):
        fetch(Place.parse("http://127.0.0.1:9/x"), twice, tmp_path, FAST)
