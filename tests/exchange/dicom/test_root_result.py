"""The document that ties a study's results together: what it names, in which order, and what validators say of it."""

from dataclasses import replace
from datetime import datetime
from io import BytesIO

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

from cfcam.errors import InputError  # noqa: E402
from cfcam.exchange.dicom.root_result import root_result  # noqa: E402
from cfcam.exchange.dicom.sources import frames_of  # noqa: E402
from cfcam.exchange.dicom.write import made_objects  # noqa: E402
from tests.exchange import sources as made  # noqa: E402
from tests.exchange.phantoms import RESULT, errors_of  # noqa: E402

ALL = ("pm", "seg", "sr", "sc", "gsps")


def objects(kind="CT", **more):
    sources = made.sources(kind)
    heat = np.zeros((frames_of(sources), sources[0].Rows, sources[0].Columns), np.float32)
    heat[..., 4:8, 4:8] = 0.9
    result = replace(RESULT, created=datetime(2026, 1, 2, 4, 4, 5), **more)
    return [one for _, one in made_objects(sources, heat, result, kinds=ALL, threshold=0.5, refused={})]


def named(document):
    """UIDs in the document's tree, in its order."""
    return [
        str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for item in document.ContentSequence
        if "ReferencedSOPSequence" in item
    ]


def test_every_object_is_named_once_the_report_of_numbers_first():
    given = objects()
    document = root_result([*given, given[0]])
    assert document.SOPClassUID == pydicom.uid.KeyObjectSelectionDocumentStorage
    assert sorted(named(document)) == sorted(str(one.SOPInstanceUID) for one in given)
    (report,) = [one for one in given if one.Modality == "SR"]
    assert named(document)[0] == report.SOPInstanceUID
    assert (document.StudyInstanceUID, document.PatientID) == (given[0].StudyInstanceUID, given[0].PatientID)
    evidence = {
        str(one.ReferencedSOPInstanceUID)
        for study in document.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    }
    assert evidence == set(named(document))


def test_it_says_what_the_reports_track():
    given = objects()
    (report,) = [one for one in given if one.Modality == "SR"]
    text = str(report)
    items = {str(item.ConceptNameCodeSequence[0].CodeValue): item for item in root_result(given).ContentSequence
             if "ConceptNameCodeSequence" in item}  # fmt: skip
    description = items["113012"].TextValue  # DCM, Key Object Description
    research, line = description.splitlines()
    assert "not a finding" in research
    name, uid = line.rsplit(": ", 1)
    assert name == f"cfcam class {RESULT.class_index} {RESULT.class_name}"
    assert uid in text
    assert uid.startswith("2.25.")


def test_the_same_objects_in_any_order_are_the_same_bytes_and_others_are_another_document():
    def data(document):
        stream = BytesIO()
        document.save_as(stream, enforce_file_format=True)
        return stream.getvalue()

    given = objects()
    first = root_result(given)
    assert data(root_result(given[::-1])) == data(first)
    fewer = root_result(given[:-1])
    assert fewer.SOPInstanceUID != first.SOPInstanceUID
    assert (fewer.SeriesInstanceUID, fewer.SeriesNumber) == (first.SeriesInstanceUID, first.SeriesNumber)
    assert first.InstanceCreationDate == "20260102"
    assert str(first.SeriesNumber).endswith("9")


@pytest.mark.parametrize("program", ["dciodvfy", "dciodvfy of PyPI"])
@pytest.mark.parametrize("kind", [*made.SERIES, *made.ENHANCED, *made.PICTURES])
def test_validators_find_no_error(tmp_path, program, kind):
    path = tmp_path / "root.dcm"
    root_result(objects(kind)).save_as(path, enforce_file_format=True)
    assert errors_of(program, path) == []


def test_what_belongs_to_several_studies_is_not_tied():
    other = objects()
    for one in other:
        one.StudyInstanceUID = "1.2.3"
    with pytest.raises(InputError, match="several values of StudyInstanceUID"):
        root_result([*objects(), *other])
    with pytest.raises(InputError, match="no object"):
        root_result([])
