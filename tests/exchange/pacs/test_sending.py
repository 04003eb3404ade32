"""Objects go as they are; what becomes of each is told, and says whether to try again. Real servers first."""

from __future__ import annotations

import socket
from io import BytesIO

import pytest
from pydicom import dcmread, uid
from pynetdicom import evt

from cfcam.exchange.pacs import Access, NetworkError, Outcome, Place, send
from cfcam.exchange.pacs.association import Context, associated
from tests.exchange import sources
from tests.exchange.pacs import nodes
from tests.waiting import free_port

EXPLICIT, IMPLICIT, DEFLATED = (
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
)
CT = uid.CTImageStorage
FAST = Access(timeout_s=60)
STORED, THERE, REFUSED, AGAIN = Outcome.STORED, Outcome.ALREADY_THERE, Outcome.REFUSED, Outcome.TRY_AGAIN


@pytest.fixture
def files(tmp_path):
    """Four slices of a CT, a radiograph and an enhanced CT: three kinds of objects."""
    made = []
    for kind in ("CT", "CR", "ECT"):
        for number, dataset in enumerate(sources.sources(kind)):
            made.append(tmp_path / f"{kind}{number}.dcm")
            dataset.save_as(made[-1], enforce_file_format=True)
    return made


def outcomes(report):
    return [one.outcome for one in report.sent]


def after_meta(data: bytes) -> bytes:
    """The data set of a PS3.10 file: what follows preamble, prefix, the group's length element and the group."""
    meta = dcmread(BytesIO(data), stop_before_pixels=True).file_meta
    return data[144 + meta.FileMetaInformationGroupLength :]


def uid_of(path):
    return str(dcmread(path, stop_before_pixels=True).SOPInstanceUID)


@pytest.mark.parametrize("how", ["dicom", "web"])
def test_orthanc_holds_each_byte_of_each_object(orthanc, files, how):
    heard = []
    report = send(Place.parse(getattr(orthanc, how)), files, FAST, on=heard.append)
    assert outcomes(report) == [STORED] * 6
    assert report.done
    assert sorted(heard, key=lambda one: one.number) == list(report.sent)
    assert [one.uid for one in report.sent] == [uid_of(path) for path in files]
    assert orthanc.instances().keys() == {one.uid for one in report.sent}
    for one in report.sent:
        assert after_meta(orthanc.file(one.uid)) == after_meta(one.path.read_bytes())
        assert one.size == one.path.stat().st_size


def test_what_dcmtk_writes_is_byte_for_byte_what_was_sent(files, tmp_path):
    (tmp_path / "in").mkdir()
    with nodes.storescp(tmp_path / "in") as place:  # +B: data sets are written as they were received
        assert send(Place.parse(place), files, FAST).done
    got = {uid_of(path): after_meta(path.read_bytes()) for path in (tmp_path / "in").iterdir()}
    assert got == {uid_of(path): after_meta(path.read_bytes()) for path in files}


@pytest.mark.parametrize("how", ["dicom", "web"])
def test_datasets_and_old_files_without_a_preamble_are_sent_too(orthanc, tmp_path, how):
    first, second = sources.sources("CT")[:2]
    bare = BytesIO()
    second.save_as(bare, implicit_vr=False, little_endian=True, enforce_file_format=False)
    (tmp_path / "old").write_bytes(bare.getvalue()[132:] if bare.getvalue()[128:132] == b"DICM" else bare.getvalue())
    assert send(Place.parse(getattr(orthanc, how)), [first, tmp_path / "old"], FAST).done
    for source in (first, second):
        assert dcmread(BytesIO(orthanc.file(source.SOPInstanceUID))) == source


@pytest.mark.parametrize("how", ["dicom", "web"])
def test_one_broken_object_is_told_by_its_number_and_the_others_are_sent(orthanc, files, tmp_path, how):
    (tmp_path / "Jane Doe.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"broken" * 9)
    (tmp_path / "notes.txt").write_bytes(b"no picture")
    nameless = sources.sources("CT")[0]
    del nameless.StudyInstanceUID
    given = [
        files[0],
        tmp_path / "Jane Doe.dcm",
        files[1],
        tmp_path / "notes.txt",
        nameless,
        tmp_path / "gone.dcm",
        files[2],
    ]
    report = send(Place.parse(getattr(orthanc, how)), given, FAST)
    assert outcomes(report) == [STORED, REFUSED, STORED, REFUSED, REFUSED, REFUSED, STORED]
    assert not report.done
    assert report.sent[1].reason.startswith("object 2 of 7: ")
    assert report.sent[3].reason == "object 4 of 7: is no DICOM file; leave it out"
    assert "has no StudyInstanceUID" in report.sent[4].reason
    assert "cannot be read (No such file or directory)" in report.sent[5].reason
    assert "Jane" not in str(report) + str(report.as_dict())


@pytest.mark.parametrize("kind", ["CT", "ECT"])
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, uid.RLELossless])
def test_a_file_that_is_cut_off_anywhere_is_not_sent(kind, syntax, tmp_path):
    dataset = sources.sources(kind)[0]
    if syntax == uid.RLELossless:
        dataset.compress(syntax, generate_instance_uid=False)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(tmp_path / "whole", enforce_file_format=True)
    data = (tmp_path / "whole").read_bytes()
    cuts = [tmp_path / f"cut{n}" for n in range(1, 1000, 100)]
    for lost, path in enumerate(cuts):
        path.write_bytes(data[: -(1 + 100 * lost)])
    with nodes.scp([(CT, [EXPLICIT])], nodes.storing(lambda _: 0)) as place:
        report = send(Place.parse(place), cuts, FAST)
    assert outcomes(report) == [REFUSED] * len(cuts)
    assert "is cut off" in report.sent[0].reason


@pytest.mark.parametrize("how", ["dicom", "web"])
def test_a_place_that_is_down_says_try_again_and_takes_all_when_it_is_up(orthanc, files, how):
    place = Place.parse(getattr(orthanc, how))
    orthanc.stop()
    assert outcomes(send(place, files, FAST)) == [AGAIN] * 6
    orthanc.start()
    assert outcomes(send(place, files, FAST)) == [STORED] * 6


def test_a_place_that_does_not_know_one_refuses_for_good_and_says_which_title_is_wrong(orthanc, files):
    place = Place.parse(orthanc.dicom)
    stranger = send(place, files, Access(calling_ae="STRANGER"))
    assert outcomes(stranger) == [REFUSED] * 6
    assert "does not know the calling AE title STRANGER" in stranger.sent[0].reason
    misnamed = send(Place.parse(orthanc.dicom.replace("ORTHANC", "OTHER")), files, FAST)
    assert outcomes(misnamed) == [REFUSED] * 6
    assert "is not called OTHER" in misnamed.sent[0].reason


def test_nobody_at_the_port_is_told_in_a_line(files):
    for place in (f"dicom://A@127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}/dicom-web"):
        report = send(Place.parse(place), files, FAST)
        assert set(report.reasons) == {(AGAIN, f"{place}: cannot be reached (Connection refused)")}


STATUSES = {
    0x0000: STORED, 0xB000: STORED, 0xB007: STORED, 0x0111: THERE,
    0xA700: AGAIN, 0xA7FF: AGAIN, 0x0110: AGAIN, 0x0213: AGAIN,
    0xA900: REFUSED, 0xC000: REFUSED, 0xC211: REFUSED, 0x0122: REFUSED, 0x0124: REFUSED,
}  # fmt: skip


@pytest.mark.parametrize("status", STATUSES)
def test_the_status_of_a_node_is_what_its_number_says(status, files):
    with nodes.scp([(CT, [EXPLICIT])], nodes.storing(lambda _: status)) as place:
        (sent,) = send(Place.parse(place), files[:1], FAST).sent
    assert (sent.outcome, sent.code) == (STATUSES[status], status)
    assert sent.reason == "" if status == 0 else f"0x{status:04X}" in sent.reason


@pytest.mark.parametrize("reason", [status for status in STATUSES if status >= 0x0110 and status >> 12 != 0xB])
def test_the_failure_reason_of_a_server_is_what_its_number_says(reason, files):
    one = uid_of(files[0])
    answer = 409, {"Content-Type": "application/dicom+json"}, nodes.stow_answer(failed={one: reason})
    with nodes.server(answer) as (place, _):
        (sent,) = send(Place.parse(place), files[:1], FAST).sent
    assert (sent.outcome, sent.code) == (STATUSES[reason], reason)


def test_a_node_of_one_uncompressed_syntax_gets_the_same_values_in_it(files):
    got = []
    keep = (evt.EVT_C_STORE, lambda event: got.append((event.context.transfer_syntax, event.dataset)) or 0)
    with nodes.scp([(CT, [IMPLICIT])], keep) as place:
        assert outcomes(send(Place.parse(place), files[:2], FAST)) == [STORED] * 2
    for (syntax, dataset), path in zip(got, files, strict=False):
        assert syntax == IMPLICIT
        assert dataset == dcmread(path)


def test_what_a_node_does_not_take_is_refused_in_words_and_the_others_are_stored(files):
    with nodes.scp([(CT, [EXPLICIT])], nodes.storing(lambda _: 0)) as place:
        report = send(Place.parse(place), files, FAST)
    assert outcomes(report) == [STORED] * 4 + [REFUSED] * 2
    assert report.sent[4].reason == "the place does not take Computed Radiography Image Storage"


def test_a_compressed_object_is_never_decoded_for_a_node_that_does_not_take_it(files, tmp_path):
    dataset = dcmread(files[0])
    dataset.compress(uid.RLELossless)
    dataset.save_as(tmp_path / "rle.dcm", enforce_file_format=True)
    with nodes.scp([(CT, [EXPLICIT, IMPLICIT])], nodes.storing(lambda _: 0)) as place:
        (sent,) = send(Place.parse(place), [tmp_path / "rle.dcm"], FAST).sent
    assert sent.outcome is REFUSED
    assert sent.reason.endswith("takes none of what it was asked for: CT Image Storage (RLE Lossless)")
    with nodes.scp([(CT, [EXPLICIT, IMPLICIT])], nodes.storing(lambda _: 0)) as place:
        report = send(Place.parse(place), [files[0], tmp_path / "rle.dcm"], FAST)
    assert outcomes(report) == [STORED, REFUSED]
    assert report.sent[1].reason == "the place does not take CT Image Storage in the transfer syntax RLE Lossless"


def test_a_transfer_syntax_and_a_class_that_nobody_knows_go_as_they_are(files, tmp_path, monkeypatch):
    monkeypatch.setattr("pynetdicom._config.UNRESTRICTED_STORAGE_SERVICE", True)
    private, kind = "1.2.826.0.1.3680043.9.1.1", "1.2.826.0.1.3680043.9.1.2"
    data = files[0].read_bytes()
    for name, known, unknown in (("syntax", EXPLICIT, private), ("class", CT, kind)):
        padded = known + "\0" * (len(known) % 2)
        longer = unknown + "\0" * (len(unknown) % 2)
        changed = data.replace(
            len(padded).to_bytes(2, "little") + padded.encode(), len(longer).to_bytes(2, "little") + longer.encode()
        )
        dataset = dcmread(BytesIO(changed), stop_before_pixels=True)
        grown = (144 + dataset.file_meta.FileMetaInformationGroupLength + len(longer) - len(padded) - 144).to_bytes(
            4, "little"
        )
        (tmp_path / name).write_bytes(changed[:140] + grown + changed[144:])
    got = []
    keep = (evt.EVT_C_STORE, lambda event: got.append(event.request.DataSet.getvalue()) or 0)
    with nodes.scp([(CT, [private]), (kind, [EXPLICIT])], keep) as place:
        report = send(Place.parse(place), [tmp_path / "syntax", tmp_path / "class"], FAST)
    assert outcomes(report) == [STORED] * 2, report.reasons
    assert got[0] == after_meta(data)


def test_more_kinds_of_objects_than_an_association_has_contexts_go_in_several(tmp_path, monkeypatch):
    """100 made-up classes, each asked for in two contexts: 200, of which 128 fit."""
    monkeypatch.setattr("pynetdicom._config.UNRESTRICTED_STORAGE_SERVICE", True)
    classes = [f"1.2.3.4.{number}" for number in range(100)]
    for number, sop_class in enumerate(classes):
        dataset = sources.sources("CT")[0]
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.5.{number}"
        dataset.save_as(tmp_path / f"{number:03}.dcm", enforce_file_format=True)
    opened = []
    count = (evt.EVT_ACCEPTED, lambda event: opened.append(len(event.assoc.requestor.requested_contexts)))
    contexts = [(sop_class, [EXPLICIT]) for sop_class in classes]
    with nodes.scp(contexts, nodes.storing(lambda _: 0), count) as place:
        assert send(Place.parse(place), sorted(tmp_path.iterdir()), FAST).done
    assert opened == [128, 72]


def test_no_message_waits_for_the_answer_to_its_beginning(files):
    """Without this option the end of each object waits 40 ms: 20 files a second, whatever the machine."""
    asked = [Context(CT, (EXPLICIT,))]
    with nodes.scp([(CT, [EXPLICIT])]) as place, associated(Place.parse(place), FAST, asked) as opened:
        assert opened.dul.socket.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_an_association_that_breaks_costs_one_object_and_not_the_others(files):
    def break_at_third(event):
        if str(event.request.AffectedSOPInstanceUID) == uid_of(files[2]):
            event.assoc.dul.socket.socket.close()
        return 0

    with nodes.scp([(CT, [EXPLICIT])], (evt.EVT_C_STORE, break_at_third)) as place:
        report = send(Place.parse(place), files[:4], FAST)
    assert outcomes(report) == [STORED, STORED, AGAIN, STORED]
    assert "connection broke" in report.sent[2].reason


def test_a_node_without_room_is_not_sent_object_after_object(files):
    asked = []
    with nodes.scp([(CT, [EXPLICIT])], nodes.storing(lambda name: asked.append(name) or 0xA700)) as place:
        report = send(Place.parse(place), [*files[:4], *files[:4]], FAST)
    assert outcomes(report) == [AGAIN] * 8
    assert len(asked) == 3
    assert report.sent[-1].reason == "not sent, since it was so of others: the place has no room at the moment (0xA700)"


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(503, AGAIN), (429, AGAIN), (502, AGAIN), (401, REFUSED), (403, REFUSED), (404, REFUSED), (302, REFUSED)],
)
def test_a_server_that_takes_nothing_says_whether_to_try_again(status, outcome, files):
    with nodes.server((status, {"Location": "http://127.0.0.1:9/login"}, b"Jane Doe is not yours")) as (place, told):
        report = send(Place.parse(place), files, FAST)
    assert outcomes(report) == [outcome] * 6
    assert f"(HTTP {status})" in report.sent[0].reason
    assert "Jane" not in str(report)
    assert {request[1] for request in told.requests} == {"/dicom-web/studies"}  # no redirect was followed


def test_a_message_that_is_refused_whole_is_sent_object_by_object(files):
    first, second, third = (uid_of(path) for path in files[:3])
    answers = [
        (400, {}, b"<html>bad</html>"),
        (200, {}, nodes.stow_answer([first])),
        (400, {}, b"<html>bad</html>"),
        (200, {}, nodes.stow_answer([third])),
    ]
    with nodes.server(*answers) as (place, told):
        report = send(Place.parse(place), files[:3], FAST)
    assert outcomes(report) == [STORED, REFUSED, STORED]
    assert [one.uid for one in report.sent] == [first, second, third]
    assert [request[3].count(b"Content-Type: application/dicom") for request in told.requests] == [3, 1, 1, 1]


def test_an_object_of_which_a_server_says_nothing_is_not_taken_for_stored(files):
    with nodes.server((200, {}, nodes.stow_answer([uid_of(files[0])]))) as (place, _):
        report = send(Place.parse(place), files[:2], FAST)
    assert outcomes(report) == [STORED, AGAIN]
    assert "does not say what became of it" in report.sent[1].reason


def test_messages_have_a_bounded_size_and_one_object_of_each_uid(files, monkeypatch):
    monkeypatch.setattr("cfcam.exchange.pacs.stow._MOST_BYTES", 5000)
    names = [uid_of(path) for path in files[:4]]
    with nodes.server((200, {}, nodes.stow_answer(names))) as (place, told):
        assert send(Place.parse(place), [*files[:4], files[3]], FAST).done
    counts = [request[3].count(b"Content-Type: application/dicom") for request in told.requests]
    assert counts == [2, 2, 1]
    assert all(len(request[3]) < 6000 for request in told.requests)


def test_the_report_is_plain_values_without_uids_and_paths(files):
    with nodes.scp([(CT, [EXPLICIT])], nodes.storing(lambda _: 0)) as place:
        values = send(Place.parse(place), files[3:5], FAST).as_dict()
    assert (values["stored"], values["refused"], values["try_again"], values["already_there"]) == (1, 1, 0, 0)
    assert values["objects"][0] == {"number": 1, "outcome": "stored", "reason": "", "code": 0}
    assert values["bytes"] == files[3].stat().st_size


def test_a_dataset_that_cannot_be_encoded_is_refused_and_quoted_nowhere(orthanc):
    dataset = sources.sources("CT")[0]
    dataset["Rows"].VR = "XX"
    for place in (orthanc.dicom, orthanc.web):
        (sent,) = send(Place.parse(place), [dataset], FAST).sent
        assert sent.outcome is REFUSED, sent
        assert "cannot be encoded" in sent.reason


def test_an_association_that_has_ended_is_an_error_of_the_place_and_not_of_the_library():
    def lost(place):
        with associated(Place.parse(place), FAST, [Context(CT, (EXPLICIT,))]) as opened:
            opened.abort()
            opened.send_c_store(sources.sources("CT")[0])

    with nodes.scp([(CT, [EXPLICIT])]) as place, pytest.raises(NetworkError, match="broke the connection") as found:
        lost(place)
    assert found.value.again
