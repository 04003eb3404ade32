"""The whole way through a hospital: Orthanc, gateway, network, Orthanc, a reader's page, her verdict, Orthanc, FHIR."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest

pytest.importorskip("pynetdicom")
pytest.importorskip("fastapi")
pytest.importorskip("playwright")

from cfcam.clinical.audit import Audit
from cfcam.clinical.review import Review, Verdict
from cfcam.exchange.pacs import Place, send
from cfcam.jobs.gateway.settings import read_settings
from cfcam.jobs.gateway.work import loaded
from tests.imaging import dicoms
from tests.jobs.gateway.senders import radiographs
from tests.jobs.gateway.whole import Running, config, running
from tests.jobs.studies import cfcam, ct_study
from tests.machine import pdf_writer
from tests.orthanc import Orthanc, missing
from tests.orthanc import running as orthanc_with
from tests.waiting import PATIENCE, free_port, until
from tests.web.browser.hands import shown
from tests.web.browser.page import launched, opened
from tests.web.server import served, settings_of

ROUTE = 'function OnStoredInstance(id, tags, metadata, origin)\n  SendToModality(id, "CFCAM")\nend\n'
READER = "A. Reader"


@dataclass(frozen=True)
class Hospital:
    """An archive that sends on all it stores, and a gateway that answers; both hold a radiograph and a scan."""

    folder: Path
    archive: Orthanc
    gateway: Running
    sent: dict[str, list[Path]]

    @property
    def audit(self) -> Path:
        return self.folder / "audit.sqlite"

    def numbers(self, what: str) -> Path:
        """The numbers of a study, in the folder of its results."""
        files = self.results.rglob("*_regions.json")
        found = {len(json.loads(path.read_text())["source"]["spacing_mm"]): path for path in files}
        return found[2 if what == "radiograph" else 3]

    @property
    def results(self) -> Path:
        return self.folder / "spool" / "results"


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    pdf_writer()
    if why := missing():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("hospital")
    (folder / "route.lua").write_text(ROUTE)
    sent = {"radiograph": radiographs(folder / "film", 1), "scan": ct_study(folder / "scan", counted=True)}
    port = free_port()
    with orthanc_with(LuaScripts=[str(folder / "route.lua")]) as archive:
        how = 'objects = ["pm", "seg", "sr"]\nreport = true\nrecord = "audit.sqlite"\nfhir = true'
        send_to = f'[send]\nplace = "{archive.web}"\n'
        path = config(folder, None, port=port, results=how, more=send_to, quiet_s=PATIENCE)
        path.write_text(path.read_text().replace('"SENDER"', '"ORTHANC"'))
        archive.knows("CFCAM", port)
        with running(path, port) as gateway:
            for file in (*sent["radiograph"], *sent["scan"]):
                archive.ask("POST", "/instances", file.read_bytes())
            until(lambda: gateway.status()["tasks"] == {"delivered": 2})
            sent_back = gateway.status()["results"]["delivered"]  # by the archive, which sends on all that it stores
            until(lambda: gateway.status()["objects"].get("ignored") == sent_back)
            yield Hospital(folder, archive, gateway, sent)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as found:
        yield found


@pytest.mark.parametrize("what", ["radiograph", "scan"])
def test_from_orthanc_to_a_readers_click_and_back_to_orthanc_and_into_a_bundle(
    hospital: Hospital, browser: Any, what: str
) -> None:
    numbers = hospital.numbers(what)
    study = json.loads(numbers.read_text())
    (source,) = numbers.parent.glob("*_source")
    document = _accepted_in_the_page(hospital, browser, what, source)

    # what she accepted is what the gateway sent: the map of these numbers, of which the archive holds the objects
    (review,) = _reviews(hospital, study)
    (one,) = study["maps"]
    assert (review.verdict, review.reviewer) == (Verdict.ACCEPT, READER)
    assert review.shown.map_sha256 == one["map_sha256"]
    texts = {item.ConceptNameCodeSequence[0].get("CodeValue"): item.TextValue for item in _texts(document)}
    assert texts["map-sha256"] == one["map_sha256"]
    held = _of_study(hospital.archive, document.StudyInstanceUID)
    assert {"SEG", "SR", "DOC", "KO"} <= {ds.Modality for ds in held}
    originals = {pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in hospital.sent[what]}
    assert _named(document) == originals <= {ds.SOPInstanceUID for ds in held}
    tracked = {s.TrackingUID for ds in held for s in ds.get("SegmentSequence") or () if s.get("TrackingUID")}
    assert {item.UID for item in _walk(document) if item.get("UID")} & tracked

    # her verdict goes to the archive, which sends it on to the gateway too, and that leaves it alone
    before = hospital.gateway.status()
    assert send(Place.parse(hospital.archive.web), [document]).done
    assert document.SOPInstanceUID in hospital.archive.instances()
    until(lambda: hospital.gateway.status()["objects"]["ignored"] == before["objects"]["ignored"] + 1)
    assert hospital.gateway.status()["tasks"] == {"delivered": 2}

    bundle = cfcam("fhir", numbers, "-a", hospital.audit)
    assert bundle.exit_code == 0, bundle.stderr
    entries = [entry["resource"] for entry in json.loads(bundle.stdout)["entry"]]
    kinds = Counter(entry["resourceType"] for entry in entries)
    assert kinds["DiagnosticReport"] == kinds["ImagingStudy"] == 1
    (verdict,) = [entry for entry in entries if "reader-verdict" in json.dumps(entry.get("code", {}))]
    assert "accept" in json.dumps(verdict["valueCodeableConcept"])
    assert not [word for word in dicoms.PLANTED if word in bundle.stdout]


def test_the_command_writes_the_record_that_the_page_writes(hospital: Hospital, browser: Any) -> None:
    numbers = hospital.numbers("radiograph")
    (source,) = numbers.parent.glob("*_source")
    study = json.loads(numbers.read_text())
    if not _reviews(hospital, study):
        _accepted_in_the_page(hospital, browser, "radiograph", source)
    said = cfcam("assess", numbers, "accept", "--reviewer", READER, "-a", hospital.audit, "--source", source, "--json")
    assert said.exit_code == 0, said.stderr
    page, command = _reviews(hospital, study)
    assert (page.verdict, page.reviewer) == (command.verdict, command.reviewer)
    ids = {"study": "", "map": ""}  # of the page's own map, and of a file's
    assert replace(page.shown, **ids) == replace(command.shown, **ids)


def _accepted_in_the_page(hospital: Hospital, browser: Any, what: str, source: Path) -> Any:
    """Opens what was explained as a reader does, with the gateway's network; accepts the map; returns her document."""
    network = read_settings(hospital.gateway.path).network["flat" if what == "radiograph" else "whole"]
    known = loaded(network)
    viewing = settings_of(
        source, load=lambda: known.model, model="of the gateway", prepare=lambda *_: known.preprocess,
        methods=network.methods, audit=str(hospital.audit),
    )  # fmt: skip
    with served(viewing) as viewer, opened(browser, viewer.address, accept_downloads=True) as page:
        shown(page)
        page.get_by_test_id("panel-review").click()
        page.get_by_test_id("verdict-accept").check()
        page.get_by_test_id("reviewer").fill(READER)
        page.get_by_test_id("review-save").click()
        page.get_by_test_id("review-status").get_by_text("Recorded: accept").wait_for()
        with page.expect_download() as download:
            page.get_by_test_id("reviews-sr").click()
        return pydicom.dcmread(BytesIO(Path(download.value.path()).read_bytes()))


def _reviews(hospital: Hospital, study: dict[str, Any]) -> list[Review]:
    """What was said of a study, oldest first."""
    found = map(Review.of, Audit(str(hospital.audit)).records(action="review"))
    return [one for one in found if one is not None and one.shown.source_sha256 == study["source"]["sha256"]]


def _of_study(archive: Orthanc, uid: str) -> list[Any]:
    found = [pydicom.dcmread(BytesIO(archive.file(one)), stop_before_pixels=True) for one in archive.instances()]
    return [ds for ds in found if uid == ds.StudyInstanceUID]


def _walk(dataset: Any) -> Iterator[Any]:
    for item in dataset.get("ContentSequence") or ():
        yield item
        yield from _walk(item)


def _texts(dataset: Any) -> Iterator[Any]:
    return (item for item in _walk(dataset) if item.get("TextValue"))


def _named(document: Any) -> set[str]:
    """The objects that a document gives as evidence."""
    return {
        item.ReferencedSOPInstanceUID
        for study in document.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
