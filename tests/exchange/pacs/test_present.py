"""What is there with the same content is not sent again; another object with its UID is never passed over silently."""

from __future__ import annotations

from copy import deepcopy
from io import BytesIO

import pytest
from pydicom import dcmread, uid

from cfcam.exchange.pacs import Access, Outcome, Place, send
from cfcam.exchange.pacs.present import is_same
from tests.exchange import sources
from tests.exchange.pacs import nodes
from tests.waiting import free_port

FAST = Access(timeout_s=60)
WAYS = ["dicom", "web"]
STORED, THERE, REFUSED, AGAIN = Outcome.STORED, Outcome.ALREADY_THERE, Outcome.REFUSED, Outcome.TRY_AGAIN


def outcomes(report):
    return [one.outcome for one in report.sent]


@pytest.mark.parametrize("how", WAYS)
def test_what_is_there_is_not_sent_again_and_what_is_not_is(orthanc, how):
    place, slices = Place.parse(getattr(orthanc, how)), sources.sources("CT")
    assert outcomes(send(place, slices[:2], FAST, look_first=True)) == [STORED] * 2
    before = orthanc.ask("GET", "/changes?last")["Last"]
    again = send(place, slices, FAST, look_first=True)
    assert outcomes(again) == [THERE, THERE, STORED, STORED]
    assert [one.size for one in again.sent[:2]] == [0, 0]
    assert again.done
    assert orthanc.ask("GET", "/changes?last")["Last"] > before
    assert outcomes(send(place, slices, FAST, look_first=True)) == [THERE] * 4


@pytest.mark.parametrize("how", WAYS)
def test_another_object_under_the_same_uid_is_told_where_the_archive_says_nothing(orthanc, how):
    """Without looking first Orthanc says success, and keeps the first: that is why one looks."""
    place, (first, *_) = Place.parse(getattr(orthanc, how)), sources.sources("CT")
    other = deepcopy(first)
    other.PixelData = bytes(len(first.PixelData))
    assert send(place, [first], FAST).done
    assert outcomes(send(place, [other], FAST)) == [STORED]
    assert dcmread(BytesIO(orthanc.file(first.SOPInstanceUID))).PixelData == first.PixelData
    (told,) = send(place, [other], FAST, look_first=True).sent
    assert told.outcome is REFUSED
    assert "another object under this UID" in told.reason


def test_a_place_that_answers_no_queries_is_sent_everything():
    with nodes.scp([(uid.CTImageStorage, [uid.ExplicitVRLittleEndian])], nodes.storing(lambda _: 0)) as place:
        assert outcomes(send(Place.parse(place), sources.sources("CT"), FAST, look_first=True)) == [STORED] * 4


def test_a_place_that_is_down_is_down_also_when_it_is_asked_first():
    place = Place.parse(f"dicom://A@127.0.0.1:{free_port()}")
    assert outcomes(send(place, sources.sources("CT"), FAST, look_first=True)) == [AGAIN] * 4


def written(dataset, **changes):
    changed = deepcopy(dataset)
    for keyword, value in changes.items():
        setattr(changed, keyword, value)
    stream = BytesIO()
    changed.save_as(stream, enforce_file_format=True)
    return dcmread(BytesIO(stream.getvalue()))


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"PatientName": "Doe^Jane", "PatientID": "1"}, True),  # set right by the archive
        ({"AccessionNumber": "A", "StudyDescription": "chest"}, True),
        ({"InstanceCreationDate": "20260101", "InstanceCreationTime": "101010"}, True),  # made again
        ({"SeriesDescription": "other"}, False),
        ({"RescaleIntercept": "0"}, False),
        ({"ImagePositionPatient": [0, 0, 1]}, False),
    ],
)
def test_what_archives_set_right_and_when_it_was_made_make_no_other_object(changes, same):
    (dataset, *_) = sources.sources("CT")
    assert is_same(written(dataset), written(dataset, **changes)) is same


def test_another_encoding_is_no_other_object_and_neither_is_a_compressed_one():
    (dataset, *_) = sources.sources("CT")
    packed = deepcopy(dataset)
    packed.compress(uid.RLELossless, generate_instance_uid=False)
    implicit = deepcopy(dataset)
    implicit.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian
    assert is_same(written(dataset), written(implicit))
    assert is_same(written(dataset), written(packed))
    packed.SeriesDescription = "other"
    assert not is_same(written(dataset), written(packed))


def test_an_object_that_was_sent_compressed_and_is_kept_so_is_there(orthanc):
    (dataset, *_) = sources.sources("CT")
    dataset.compress(uid.RLELossless, generate_instance_uid=False)
    for how in WAYS:
        assert send(Place.parse(getattr(orthanc, how)), [dataset], FAST, look_first=True).done
    assert outcomes(send(Place.parse(orthanc.dicom), [dataset], FAST, look_first=True)) == [THERE]
