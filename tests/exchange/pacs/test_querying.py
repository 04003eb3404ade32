"""A query finds what is there, says so where there is nothing, and never takes a refusal for nothing."""

from __future__ import annotations

import json

import pytest
from pydicom import Dataset
from pynetdicom import evt

from cfcam.errors import InputError
from cfcam.exchange.pacs import Access, NetworkError, Place, query, send
from cfcam.exchange.pacs.matching import matches
from tests import orthanc as orthancs
from tests.exchange import sources
from tests.exchange.pacs import nodes
from tests.waiting import free_port

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
FAST = Access(timeout_s=60)
WAYS = ["dicom", "web"]


@pytest.fixture
def archive(orthanc):
    """A CT of four slices (study 1.2.1) and a radiograph of somebody with an umlaut (study 1.2.7)."""
    film = sources.sources("CR")[0]
    film.StudyInstanceUID, film.PatientID, film.AccessionNumber = "1.2.7", "P 2", "A-1"
    film.SpecificCharacterSet, film.PatientName, film.StudyDate = "ISO_IR 192", "Müller^Jürgen=山田^太郎", "20230111"
    assert send(Place.parse(orthanc.web), [*sources.sources("CT"), film], FAST).done
    return orthanc


SLICES = {f"1.2.3.2{n}.0" for n in (1, 2, 3, 4)}
FOUND = {
    ("study", ()): {"1.2.1", "1.2.7"},
    ("study", (("StudyInstanceUID", "1.2.7"),)): {"1.2.7"},
    ("study", (("StudyInstanceUID", ("1.2.1", "1.2.7", "1.2.8")),)): {"1.2.1", "1.2.7"},
    ("study", (("StudyInstanceUID", "1.2.8"),)): set(),
    ("study", (("PatientName", "Nobody^Drawn"),)): {"1.2.1"},
    ("study", (("PatientName", "nobody*"),)): {"1.2.1"},
    ("study", (("PatientName", "Müller^Jürgen*"),)): {"1.2.7"},
    ("study", (("PatientName", "Muller*"),)): set(),
    ("study", (("PatientName", "Nobody"),)): set(),
    ("study", (("PatientID", "P 2"),)): {"1.2.7"},
    ("study", (("PatientID", "P*2"),)): {"1.2.7"},
    ("study", (("AccessionNumber", "A-?"),)): {"1.2.7"},
    ("study", (("ModalitiesInStudy", "CR"),)): {"1.2.7"},
    ("study", (("ModalitiesInStudy", "MR"),)): set(),
    ("study", (("StudyDate", "20240101-20241231"),)): {"1.2.1"},
    ("study", (("StudyDate", "-20230111"),)): {"1.2.7"},
    ("study", (("StudyDate", "20230112-"),)): {"1.2.1"},
    ("series", (("StudyInstanceUID", "1.2.1"), ("Modality", "CT"))): {"1.2.5.0"},
    ("series", (("StudyInstanceUID", "1.2.1"), ("Modality", "MR"))): set(),
    ("series", (("StudyInstanceUID", "1.2.1"), ("BodyPartExamined", "CHEST"))): {"1.2.5.0"},
    ("image", (("StudyInstanceUID", "1.2.1"), ("SeriesInstanceUID", "1.2.5.0"))): SLICES
}  # fmt: skip
OF = {"study": "StudyInstanceUID", "series": "SeriesInstanceUID", "image": "SOPInstanceUID"}


@pytest.mark.parametrize("how", WAYS)
def test_orthanc_is_asked_by_every_kind_of_key(archive, how):
    place = Place.parse(getattr(archive, how))
    found = {
        (level, keys): {str(one[OF[level]].value) for one in query(place, level, dict(keys), FAST)}
        for level, keys in FOUND
    }
    assert found == FOUND


@pytest.mark.parametrize("how", WAYS)
def test_an_answer_says_what_a_list_of_studies_shows(archive, how):
    (study,) = query(Place.parse(getattr(archive, how)), "study", {"StudyInstanceUID": "1.2.1"}, FAST)
    assert (study.StudyDate, study.ModalitiesInStudy, int(study.NumberOfStudyRelatedInstances)) == ("20240506", "CT", 4)


@pytest.mark.parametrize("how", WAYS)
def test_who_is_searched_for_stands_in_no_log(archive, how, caplog):
    caplog.set_level("DEBUG")
    place = Place.parse(getattr(archive, how))
    keys = {"PatientName": "Planted^Somebody*", "PatientID": "planted-id"}
    assert query(place, "study", keys, FAST) == []
    assert query(place, "study", {"PatientName": "Nobody*"}, FAST) != []
    archive.stop()
    with pytest.raises(NetworkError) as caught:
        query(place, "study", keys, FAST)
    told = f"{caplog.text} {caught.value}".lower()
    assert [word for word in ("planted", "somebody", "nobody", "drawn") if word in told] == []


def test_a_title_that_may_not_ask_is_an_error_and_not_nothing_found():
    if (lacking := orthancs.missing()) is not None:
        pytest.skip(lacking)
    stranger = Access(calling_ae="STRANGER", timeout_s=60)
    with orthancs.running(DicomAlwaysAllowStore=True) as orthanc:  # lets everybody in, and nobody find
        assert query(Place.parse(orthanc.dicom), "study", {}, FAST) == []
        with pytest.raises(NetworkError, match="not even that it has nothing: may STRANGER ask it") as caught:
            query(Place.parse(orthanc.dicom), "study", {}, stranger)
        assert caught.value.again is False


def test_a_place_that_is_down_is_an_error_that_may_pass(orthanc):
    orthanc.stop()
    for how in WAYS:
        with pytest.raises(NetworkError) as caught:
            query(Place.parse(getattr(orthanc, how)), "study", {}, FAST)
        assert caught.value.again


@pytest.mark.parametrize(("status", "again"), [(0xA700, True), (0xA900, False), (0xC000, False)])
def test_a_node_that_fails_is_an_error(status, again):
    find = (evt.EVT_C_FIND, lambda _event: iter([(status, None)]))
    with (
        nodes.scp([(FIND, ["1.2.840.10008.1.2"])], find) as place,
        pytest.raises(NetworkError, match=f"0x{status:04X}") as caught,
    ):
        query(Place.parse(place), "study", {}, FAST)
    assert caught.value.again is again


def test_a_node_that_answers_no_queries_is_told():
    with (
        nodes.scp([("1.2.840.10008.1.1", ["1.2.840.10008.1.2"])]) as place,
        pytest.raises(NetworkError, match="takes none of what it was asked for: Study Root"),
    ):
        query(Place.parse(place), "study", {}, FAST)


def answers(*studies: tuple[str, str]) -> bytes:
    made = []
    for uid, patient in studies:
        study = Dataset()
        study.StudyInstanceUID, study.PatientID = uid, patient
        made.append(study.to_json_dict())
    return json.dumps(made).encode()


def test_answers_of_a_server_that_ignores_a_key_are_left_out():
    ignoring = 200, {}, answers(("1.2", "A"), ("1.3", "B"))
    with nodes.server(ignoring, (204, {}, b"")) as (place, told):
        (found,) = query(Place.parse(place), "study", {"PatientID": "B"}, FAST)
    assert found.StudyInstanceUID == "1.3"
    assert told.requests[0][1].startswith("/dicom-web/studies?PatientID=B&includefield=")


def test_answers_that_do_not_say_what_was_asked_for_are_an_error():
    with (
        nodes.server((200, {}, answers(("1.2", "A")))) as (place, _),
        pytest.raises(NetworkError, match="cannot be searched by InstitutionName, of which its answers are silent"),
    ):
        query(Place.parse(place), "study", {"InstitutionName": "X"}, FAST)


def test_all_pages_are_fetched_also_of_a_server_that_repeats_itself():
    pages = [(200, {}, answers(("1.1", "A"), ("1.2", "A"))), (200, {}, answers(("1.3", "A")))]
    for last in ((200, {}, b"[]"), (204, {}, b""), (200, {}, answers(("1.1", "A")))):
        with nodes.server(*pages, last) as (place, told):
            found = query(Place.parse(place), "study", {}, FAST)
        assert [one.StudyInstanceUID for one in found] == ["1.1", "1.2", "1.3"]
        assert [request[1].rpartition("offset=")[2] for request in told.requests] == ["0", "2", "3"]


def test_more_answers_than_anybody_wants_are_an_error(monkeypatch):
    monkeypatch.setattr("cfcam.exchange.pacs.querying.MOST", 2)
    with (
        nodes.server((200, {}, answers(("1.1", "A"), ("1.2", "A"), ("1.3", "A")))) as (place, _),
        pytest.raises(NetworkError, match="more than 2 answers: say more of what is wanted"),
    ):
        query(Place.parse(place), "study", {}, FAST)


@pytest.mark.parametrize("said", [b"<html>", b"{}", b"[1]", b"[" * 100000, b"\xff"])
def test_an_answer_that_is_no_dicom_json_is_told(said):
    with (
        nodes.server((200, {}, said)) as (place, _),
        pytest.raises(NetworkError, match="is it the address of a DICOMweb service"),
    ):
        query(Place.parse(place), "study", {}, FAST)


@pytest.mark.parametrize(
    ("level", "keys", "told"),
    [
        ("patient", {}, "give one of study, series, image"),
        ("study", {"PatientsName": "x"}, "no keyword of a DICOM element; nearest: PatientName"),
        ("study", {"PatientID": "a\\b"}, "holds a backslash or a control character"),
        ("study", {"PatientID": "a\nb"}, "holds a backslash or a control character"),
    ],
)
def test_what_cannot_be_searched_for_is_refused_before_anybody_is_asked(level, keys, told):
    with pytest.raises(InputError, match=told):
        query(Place.parse(f"http://127.0.0.1:{free_port()}"), level, keys, FAST)


@pytest.mark.parametrize(
    ("keyword", "value", "asked", "fits"),
    [
        ("PatientName", "Doe^Jane^^", "doe^jane", True),
        ("PatientName", "Doe^Jane", "Doe", False),
        ("PatientName", "Yamada^Tarou=山田^太郎", "山田*", True),
        ("PatientID", "1.2", "1?2", True),
        ("PatientID", "1x2", "1.2", False),
        ("PatientID", "ab", "AB", False),
        ("StudyDate", "20240506", "20240506", True),
        ("StudyDate", "20240506", "20240507-", False),
        ("StudyTime", "070809.5", "07-0708", True),
        ("SeriesNumber", "3", "03", True),
        ("ModalitiesInStudy", ["CT", "SR"], "SR", True),
        ("ModalitiesInStudy", ["CT", "SR"], "S", False),
        ("AccessionNumber", "", "A", False),
    ],
)
def test_one_element_has_what_was_asked_for_or_not(keyword, value, asked, fits):
    answer = Dataset()
    setattr(answer, keyword, value)
    assert matches(answer, keyword, asked) is fits
