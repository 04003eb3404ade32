"""TLS by certificates of the test's own, both ways; users, passwords, tokens; the place's certificate is looked at."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import uid

from cfcam.exchange.pacs import Access, NetworkError, Outcome, Place, Secret, fetch, query, send
from tests import orthanc as orthancs
from tests.exchange import sources
from tests.exchange.pacs import nodes
from tests.exchange.pacs.certificates import Authority

PLANTED = "planted-0451-secret"
CT = [(uid.CTImageStorage, [uid.ExplicitVRLittleEndian])]
STORED, REFUSED, AGAIN = Outcome.STORED, Outcome.REFUSED, Outcome.TRY_AGAIN


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def locked(authority):
    """An Orthanc that wants TLS and a certificate of DICOM nodes, and a user of whoever comes by HTTP.

    HTTPS is spoken by what stands before it, as in most hospitals: Debian's Orthanc 1.10.1 ends at the first request
    that comes by its own.
    """
    if (lacking := orthancs.missing()) is not None:
        pytest.skip(lacking)
    certificate, key = authority.sign("orthanc")
    running = orthancs.running(
        DicomTlsEnabled=True,
        DicomTlsCertificate=str(certificate),
        DicomTlsPrivateKey=str(key),
        DicomTlsTrustedCertificates=str(authority.ca),
        AuthenticationEnabled=True,
        RegisteredUsers={"me": PLANTED},
    )
    with running as orthanc, nodes.tls_front(orthanc.http_port, authority.context("front")) as port:
        yield orthanc.dicom, f"https://127.0.0.1:{port}/dicom-web"


def one(place, access):
    (sent,) = send(Place.parse(place), sources.sources("CT")[:1], access).sent
    return sent


def test_orthanc_takes_and_gives_by_dicom_tls_with_certificates_of_both(locked, authority, tmp_path):
    certificate, key = authority.sign("mine")
    access = Access(ca=authority.ca, certificate=certificate, key=key, timeout_s=60)
    assert send(Place.parse(locked[0]), sources.sources("CT"), access).done
    assert fetch(Place.parse(locked[0]), "1.2.1", tmp_path, access).count(STORED) == 4


def test_orthanc_takes_and_gives_by_https_with_a_user(locked, authority, tmp_path):
    access = Access(ca=authority.ca, user="me", password=Secret(PLANTED), timeout_s=60)
    assert send(Place.parse(locked[1]), sources.sources("CT"), access).done
    assert len(query(Place.parse(locked[1]), "study", {}, access)) == 1
    assert fetch(Place.parse(locked[1]), "1.2.1", tmp_path, access).count(STORED) == 4


def test_a_wrong_password_is_refused_and_shown_nowhere(locked, authority):
    for access in (
        Access(ca=authority.ca, user="me", password=Secret(f"{PLANTED}-wrong")),
        Access(ca=authority.ca, token=Secret(f"{PLANTED}-wrong")),
        Access(ca=authority.ca),
    ):
        sent = one(locked[1], access)
        assert (sent.outcome, sent.code) == (REFUSED, None)
        assert "asks for a user with a password, or a token" in sent.reason
        with pytest.raises(NetworkError, match="HTTP 401") as caught:
            query(Place.parse(locked[1]), "study", {}, access)
        assert PLANTED not in f"{sent} {caught.value} {caught.value.__cause__} {caught.value.__context__!r}"


def test_a_place_that_nobody_vouches_for_is_not_spoken_to(locked, authority, tmp_path):
    certificate, key = authority.sign("mine")
    stranger = Authority(tmp_path / "other")
    for ca in (None, stranger.ca):
        sent = one(locked[0], Access(ca=ca, certificate=certificate, key=key, timeout_s=60))
        assert sent.outcome is REFUSED
        assert "its certificate is not trusted" in sent.reason
        sent = one(locked[1], Access(ca=ca, user="me", password=Secret(PLANTED), timeout_s=60))
        assert sent.outcome is REFUSED
        assert "its certificate is not trusted" in sent.reason


def test_a_certificate_of_another_machine_is_not_trusted(authority):
    context = authority.context("fine")
    context.load_cert_chain(*authority.sign("elsewhere", "10.9.8.7"))
    with nodes.scp(CT, nodes.storing(lambda _: 0), tls=context) as place:
        sent = one(place, Access(ca=authority.ca, timeout_s=60))
    assert sent.outcome is REFUSED
    assert "its certificate is not trusted (IP address mismatch" in sent.reason


def test_a_node_that_wants_a_certificate_gets_one_or_refuses(authority):
    certificate, key = authority.sign("mine")
    with nodes.scp(CT, nodes.storing(lambda _: 0), tls=authority.context("node", both=True)) as place:
        assert one(place, Access(ca=authority.ca, certificate=certificate, key=key, timeout_s=60)).outcome is STORED
        without = one(place, Access(ca=authority.ca, timeout_s=60))
    assert not without.done
    assert "certificate" in without.reason.lower() or "ended the connection" in without.reason


def test_a_server_that_wants_a_certificate_gets_one(authority):
    certificate, key = authority.sign("mine")
    answer = 200, {}, nodes.stow_answer([str(sources.sources("CT")[0].SOPInstanceUID)])
    with nodes.server(answer, tls=authority.context("server", both=True)) as (place, _):
        assert one(place, Access(ca=authority.ca, certificate=certificate, key=key, timeout_s=60)).outcome is STORED
        assert not one(place, Access(ca=authority.ca, timeout_s=60)).done


def test_a_door_of_the_wrong_kind_is_told(locked, authority):
    """TLS to a node without, and no TLS to one with."""
    plain = one(locked[0].replace("dicoms", "dicom"), Access(timeout_s=60))
    assert not plain.done
    assert "does it want TLS" in plain.reason
    with nodes.scp(CT, nodes.storing(lambda _: 0)) as place:
        wrapped = one(place.replace("dicom://", "dicoms://"), Access(ca=authority.ca, timeout_s=1))
    assert not wrapped.done


def test_files_that_hold_no_certificate_are_told(tmp_path):
    Path(tmp_path / "no.pem").write_text("no certificate")
    for access in (Access(ca=tmp_path / "no.pem"), Access(certificate=tmp_path / "no.pem")):
        for place in ("dicoms://A@127.0.0.1:9", "https://127.0.0.1:9/x"):
            with pytest.raises(NetworkError, match="the certificates cannot be used"):
                query(Place.parse(place), "study", {}, access)


def test_a_user_of_a_dicom_node_is_told_to_it():
    from pynetdicom import evt

    told = []

    def asked(event):
        told.append((event.user_id_type, event.primary_field, event.secondary_field))
        return event.secondary_field == PLANTED.encode(), None

    with nodes.scp(CT, nodes.storing(lambda _: 0), (evt.EVT_USER_ID, asked)) as place:
        assert one(place, Access(user="me", password=Secret(PLANTED))).outcome is STORED
        wrong = one(place, Access(user="me", password=Secret("other")))
    assert told[0] == (2, b"me", PLANTED.encode())
    assert not wrong.done
