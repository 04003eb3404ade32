"""Objects by C-STORE from senders that are not ours: DCMTK and pynetdicom."""

from __future__ import annotations

import errno
import os
import socket
import struct
import subprocess
import threading
from pathlib import Path

import numpy as np
import pydicom
import pytest

pytest.importorskip("pynetdicom")

from pynetdicom import AE, build_context
from pynetdicom.sop_class import Verification

from cfcam.jobs.gateway import spool as spool_module
from cfcam.jobs.gateway.arrivals import receive as receive_module
from cfcam.jobs.gateway.header import key_of
from tests.imaging import dicoms
from tests.jobs.gateway.senders import dcmsend, radiographs, receiving, storescu, tool
from tests.waiting import PATIENCE, until

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
CR = "1.2.840.10008.5.1.4.1.1.1"


def associate(port, *, calling="SENDER", called="CFCAM", contexts=((CR, EXPLICIT),)):
    ae = AE(ae_title=calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = PATIENCE
    asked = [build_context(abstract, [syntax]) for abstract, syntax in contexts]
    return ae.associate("127.0.0.1", port, contexts=asked, ae_title=called)


def kept(half):
    half.intake.settle()
    return {pydicom.dcmread(half.spool.path(key)).SOPInstanceUID for key in half.spool.names()}


def uids(paths):
    return {pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in paths}


@pytest.mark.parametrize("send", [storescu, dcmsend])
def test_what_dcmtk_sends_lies_in_the_spool_element_by_element_and_is_entered(tmp_path, send):
    files = radiographs(tmp_path / "in", 3)
    with receiving(tmp_path) as half:
        told = send(half.port, *files) if send is storescu else send(half.port, tmp_path / "in")
        assert told.returncode == 0, told.stdout + told.stderr
        assert kept(half) == uids(files)
        for path in files:
            sent = pydicom.dcmread(path)
            stored = pydicom.dcmread(half.spool.path(key_of(sent.SOPInstanceUID)))
            assert stored == sent
            assert stored.file_meta.SourceApplicationEntityTitle == "SENDER"
        assert half.index.counts()["tasks"] == {"complete": 3}
        assert half.ready
    assert not [word for word in dicoms.PLANTED if word in half.told.getvalue()]


def test_the_same_again_is_fine_in_any_transfer_syntax_and_other_content_is_refused_and_never_kept(tmp_path):
    (path,) = radiographs(tmp_path / "in", 1)
    with receiving(tmp_path) as half:
        assert storescu(half.port, path).returncode == 0
        assert storescu(half.port, path).returncode == 0
        assert storescu(half.port, path, more=["-xi"]).returncode == 0
        file = half.spool.path(key_of(pydicom.dcmread(path).SOPInstanceUID))
        before = file.read_bytes()
        ds = pydicom.dcmread(path)
        ds.PixelData = bytes(len(ds.PixelData))
        ds.save_as(tmp_path / "other.dcm")
        told = storescu(half.port, tmp_path / "other.dcm")
        assert "CannotUnderstand" in told.stdout + told.stderr
        assert file.read_bytes() == before
        half.intake.settle()
        assert half.intake.counts == {"new": 1, "there already": 2, "another object with its UID is there": 1}
        assert half.index.counts()["tasks"] == {"complete": 1}
    assert "UID of another" in half.told.getvalue()


def test_who_is_not_known_or_calls_another_is_refused_and_told_of_without_its_name(tmp_path):
    (path,) = radiographs(tmp_path / "in", 1)
    with receiving(tmp_path) as half:
        stranger, other = storescu(half.port, path, calling="STRANGER"), storescu(half.port, path, called="OTHER")
        assert "Calling AE Title Not Recognized" in stranger.stdout + stranger.stderr
        assert "Called AE Title Not Recognized" in other.stdout + other.stderr
        assert kept(half) == set()
        assert half.receiver.counts["refused"] == 2
    assert "STRANGER" not in half.told.getvalue()


def test_an_echo_is_answered_and_what_is_no_object_is_not_offered(tmp_path):
    find = "1.2.840.10008.5.1.4.1.2.2.1"
    contexts = (
        (Verification, IMPLICIT),
        (find, IMPLICIT),
        ("1.3.6.1.4.1.5962.99", EXPLICIT),
        (CR, "1.2.840.10008.1.2.4.103"),
    )
    with receiving(tmp_path) as half:
        assoc = associate(half.port, contexts=contexts)
        assert assoc.is_established
        assert assoc.send_c_echo().Status == 0
        assert [str(one.abstract_syntax) for one in assoc.accepted_contexts] == [Verification]
        assert {(str(one.abstract_syntax), one.result) for one in assoc.rejected_contexts} == {
            (find, 3), ("1.3.6.1.4.1.5962.99", 3), (CR, 4)
        }  # fmt: skip
        assoc.release()
        assert assoc.is_released


def test_an_object_without_its_uids_or_of_another_name_is_refused_for_good(tmp_path):
    ds = dicoms.radiograph(np.zeros((8, 8), int))
    with receiving(tmp_path) as half:
        assoc = associate(half.port)
        bare = pydicom.dcmread(dicoms.save(ds, tmp_path / "a.dcm"))
        del bare.StudyInstanceUID
        assert assoc.send_c_store(bare).Status == 0xC000
        assert assoc.send_c_store(ds).Status == 0
        assoc.release()
        assert len(kept(half)) == 1


def test_a_full_queue_and_a_full_disk_are_told_as_a700_and_later_it_goes_on(tmp_path, monkeypatch):
    files = radiographs(tmp_path / "in", 3)
    with receiving(tmp_path, spool={"most_waiting": 1}) as half:
        assoc = associate(half.port)
        states = [assoc.send_c_store(pydicom.dcmread(path)).Status for path in files]
        assert states == [0, 0xA700, 0xA700]
        half.index.dead(half.index.take(), "tried")
        half.intake.recount()
        write = os.write

        def full(file, data):
            if len(data) > 1000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(file, data)

        monkeypatch.setattr(spool_module.os, "write", full)
        assert assoc.send_c_store(pydicom.dcmread(files[1])).Status == 0xA700
        monkeypatch.undo()
        assert assoc.send_c_store(pydicom.dcmread(files[1])).Status == 0
        assoc.release()
        assert list((half.spool.folder / "new").iterdir()) == []


def test_success_is_said_only_after_the_object_and_its_name_are_flushed(tmp_path, monkeypatch):
    (path,) = radiographs(tmp_path / "in", 1)
    done = []
    fsync = os.fsync
    monkeypatch.setattr(
        spool_module.os, "fsync", lambda file: done.append(str(Path(f"/proc/self/fd/{file}").readlink())) or fsync(file)
    )
    with receiving(tmp_path) as half:
        assoc = associate(half.port)
        done.clear()  # the spool's own folders
        assert assoc.send_c_store(pydicom.dcmread(path)).Status == 0
        key = key_of(pydicom.dcmread(path).SOPInstanceUID)
        assert done[0].startswith(str(half.spool.folder / "new"))
        assert done[-1] == str(half.spool.path(key).parent)
        assoc.release()


def test_two_hundred_idle_associations_do_not_keep_others_waiting(tmp_path):
    files = radiographs(tmp_path / "in", 20)
    with receiving(tmp_path, receive={"most_associations": 201}) as half:
        asked = request()
        idle = []
        for _ in range(200):
            sock = socket.create_connection(("127.0.0.1", half.port), timeout=PATIENCE)
            sock.sendall(asked)
            assert sock.recv(6)[0] == 2  # accepted
            idle.append(sock)
        assert half.receiver.associations == 200
        assert dcmsend(half.port, tmp_path / "in").returncode == 0
        assert kept(half) == uids(files)
        until(lambda: half.receiver.associations == 200)  # none had to go for it
        for sock in idle:
            sock.close()


def test_where_there_is_no_room_who_was_silent_longest_has_to_go(tmp_path, monkeypatch):
    monkeypatch.setattr(receive_module, "_ROOM_MAKERS", 0.0)
    with receiving(tmp_path, receive={"most_associations": 2}) as half:
        first, second, third = (associate(half.port) for _ in range(3))
        assert third.is_established
        first.join(PATIENCE)
        assert [first.is_alive(), second.is_established] == [False, True]
        monkeypatch.setattr(receive_module, "_ROOM_MAKERS", 60.0)
        fourth = associate(half.port)
        assert fourth.is_rejected
        second.release()
        third.release()


def test_connections_that_say_nothing_are_bounded_too(tmp_path, monkeypatch):
    monkeypatch.setattr(receive_module, "_STRANGERS", 3)
    with receiving(tmp_path, receive={"most_associations": 1}) as half:
        silent = [socket.create_connection(("127.0.0.1", half.port), timeout=PATIENCE) for _ in range(4)]
        with socket.create_connection(("127.0.0.1", half.port), timeout=PATIENCE) as fifth:
            assert fifth.recv(1) == b""
        for sock in silent:
            sock.close()


def request():
    """The bytes of a request for an association, as pynetdicom makes them."""
    from pynetdicom.pdu import A_ASSOCIATE_RQ
    from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification

    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received, implementation.implementation_class_uid = 16382, "1.2.3.4"
    asked = A_ASSOCIATE()
    asked.application_context_name = "1.2.840.10008.3.1.1.1"
    asked.calling_ae_title, asked.called_ae_title = "SENDER", "CFCAM"
    context = build_context(CR, [EXPLICIT])
    context.context_id = 1
    asked.presentation_context_definition_list = [context]
    asked.user_information = [length, implementation]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(asked)
    return pdu.encode()


def talk(port, *parts):
    """Sends bytes, and returns the type of the last PDU that comes before the connection ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock:
        last = None
        for part in parts:
            try:
                sock.sendall(part)
            except OSError:
                break
        while head := sock.recv(6, socket.MSG_WAITALL):
            last = head[0]
            sock.recv(int.from_bytes(head[2:6], "big"), socket.MSG_WAITALL)
        return last


@pytest.mark.parametrize(
    "parts",
    [
        [b"GET / HTTP/1.0\r\n\r\n" + bytes(64)],
        [b"\x01\0\xff\xff\xff\xff"],  # a request of 4 GiB
        [b"\x01\0\0\0\0\x44" + b"\xff" * 0x44],
        ["request", b"\x04\0\x7f\xff\xff\xff"],  # a PDU of 2 GiB
        ["request", b"\x04\0\0\0\0\x06" + struct.pack(">LBB", 900, 1, 3)],  # a piece that runs beyond its PDU
        ["request", b"\x04\0\0\0\0\x06" + struct.pack(">LBB", 2, 99, 3)],  # a context that nobody asked for
        ["request", b"\x04\0\0\0\0\x06" + struct.pack(">LBB", 2, 1, 2)],  # a data set without a command
        ["request", b"\x02\0\0\0\0\x00"],  # an answer that was not asked for
    ],
)
def test_what_breaks_the_protocol_is_aborted_and_others_are_served(tmp_path, parts):
    (path,) = radiographs(tmp_path / "in", 1)
    with receiving(tmp_path) as half:
        assert talk(half.port, *[request() if part == "request" else part for part in parts]) == 7
        assert storescu(half.port, path).returncode == 0
        assert kept(half) == uids([path])


def test_an_object_that_is_larger_than_may_be_is_stopped_on_its_way_and_leaves_nothing(tmp_path):
    ds = dicoms.radiograph(np.zeros((8, 8), int))
    ds.add_new(0x00091010, "OB", bytes(3 << 20))
    path = dicoms.save(ds, tmp_path / "in" / "large.dcm")
    with receiving(tmp_path, receive={"most_object_mb": 1}) as half:
        assert storescu(half.port, path).returncode != 0
        assert kept(half) == set()
        assert list((half.spool.folder / "new").iterdir()) == []
    assert "larger than may be" in half.told.getvalue()


def test_four_senders_at_once_lose_nothing(tmp_path):
    files = radiographs(tmp_path / "in", 40)
    with receiving(tmp_path) as half:
        parts = [files[n::4] for n in range(4)]
        threads = [threading.Thread(target=storescu, args=(half.port, *part)) for part in parts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert kept(half) == uids(files)
        assert half.index.counts()["objects"] == {"taken": 40}


def test_over_tls_senders_show_a_certificate_that_is_vouched_for(tmp_path):
    openssl = tool("openssl")
    make = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    for name in ("server", "sender", "stranger"):
        out = ["-keyout", tmp_path / f"{name}.key", "-out", tmp_path / f"{name}.pem"]
        subprocess.run([openssl, *make, *out], check=True, capture_output=True)
    (path,) = radiographs(tmp_path / "in", 1)
    tls = {"certificate": tmp_path / "server.pem", "key": tmp_path / "server.key", "ca": tmp_path / "sender.pem"}
    with receiving(tmp_path, receive=tls) as half:

        def over_tls(who):
            own = ["+tls", tmp_path / f"{who}.key", tmp_path / f"{who}.pem", "+cf", tmp_path / "server.pem"]
            return storescu(half.port, path, more=list(map(str, own)))

        assert over_tls("stranger").returncode != 0
        assert storescu(half.port, path).returncode != 0
        assert kept(half) == set()
        told = over_tls("sender")
        assert told.returncode == 0, told.stderr
        assert kept(half) == uids([path])
