"""A line is held open from object to object, asks for what it needs, and is opened anew after it broke."""

from __future__ import annotations

from pydicom import uid
from pynetdicom import evt

from cfcam.exchange.pacs import Access, Outcome, Place
from cfcam.exchange.pacs.line import Line
from tests.exchange import sources
from tests.exchange.pacs import nodes
from tests.waiting import free_port

EXPLICIT = uid.ExplicitVRLittleEndian
CT, ECT = uid.CTImageStorage, uid.LegacyConvertedEnhancedCTImageStorage
FAST = Access(timeout_s=60)


def files_in(folder, kind, count=2):
    made = []
    for number, dataset in enumerate(sources.sources(kind)[:count]):
        made.append(folder / f"{kind}{number}.dcm")
        dataset.save_as(made[-1], enforce_file_format=True)
    return made


def test_objects_of_known_kinds_go_through_one_association(tmp_path):
    """A kind that is new to it needs another; the association after that is of all kinds so far."""
    scans, (enhanced,) = files_in(tmp_path, "CT", 2), files_in(tmp_path, "ECT", 1)
    opened, kinds = [], []

    def accepted(event):
        opened.append({str(one.abstract_syntax) for one in event.assoc.accepted_contexts})

    def stored(event):
        kinds.append(str(event.request.AffectedSOPClassUID))
        return 0

    handlers = (evt.EVT_C_STORE, stored), (evt.EVT_ACCEPTED, accepted)
    with nodes.scp([(CT, [EXPLICIT]), (ECT, [EXPLICIT])], *handlers) as place:
        line = Line(Place.parse(place), FAST)
        told = [line.send(file) for file in (*scans, enhanced, scans[0])]
        line.close(idle_s=3600)  # it was used a moment ago
        told.append(line.send(enhanced))
        line.close()
        line.close()
        told.append(line.send(scans[1]))
        line.close()
    assert [(one.outcome, one.reason) for one in told] == [(Outcome.STORED, "")] * 6
    assert kinds == [CT, CT, ECT, CT, ECT, CT]
    assert opened == [{CT}, {CT, ECT}, {CT, ECT}]


def test_after_it_broke_it_is_opened_anew(tmp_path):
    scans, breaks = files_in(tmp_path, "CT", 2), [True, False]

    def stored(event):
        if breaks.pop(0):
            event.assoc.abort()
        return 0

    with nodes.scp([(CT, [EXPLICIT])], (evt.EVT_C_STORE, stored)) as place:
        line = Line(Place.parse(place), FAST)
        told = [line.send(file) for file in scans]
        line.close()
    assert [one.outcome for one in told] == [Outcome.TRY_AGAIN, Outcome.STORED]


def test_objects_go_through_one_connection_of_http(tmp_path):
    scans = files_in(tmp_path, "CT", 2)
    names = [str(one.SOPInstanceUID) for one in sources.sources("CT")[:2]]
    with nodes.server((200, {}, nodes.stow_answer(names))) as (place, told):
        line = Line(Place.parse(place), FAST)
        sent = [line.send(file) for file in scans]
        line.close()
    assert [one.outcome for one in sent] == [Outcome.STORED] * 2
    assert (len(told.requests), len(told.peers)) == (2, 1)


def test_what_a_place_says_is_an_outcome_here_too(tmp_path):
    (scan,) = files_in(tmp_path, "CT", 1)
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(scan.read_bytes()[:-100])
    nobody = Line(Place.parse(f"dicom://NODE@127.0.0.1:{free_port()}"), FAST)
    assert nobody.send(scan).outcome is Outcome.TRY_AGAIN
    assert nobody.send(cut).outcome is Outcome.REFUSED
    with nodes.scp([(ECT, [EXPLICIT])]) as place:
        line = Line(Place.parse(place), FAST)
        assert line.send(scan).outcome is Outcome.REFUSED
    with nodes.server((503, {}, b"")) as (place, _):
        line = Line(Place.parse(place), FAST)
        assert line.send(scan).outcome is Outcome.TRY_AGAIN
