import numpy as np

from cfcam.jobs.inputs.patients import patient_and_date
from tests.imaging import dicoms


def radiograph(path, patient, date):
    dataset = dicoms.radiograph(np.arange(64, dtype=np.uint16).reshape(8, 8))
    dataset.PatientID, dataset.StudyDate = patient, date
    return dicoms.save(dataset, path)


def test_of_a_file_and_of_the_first_in_a_folder(tmp_path):
    file = radiograph(tmp_path / "b.dcm", " P-1 ", "20200102")
    (tmp_path / "a.txt").write_text("no DICOM")
    assert patient_and_date(file) == patient_and_date(tmp_path) == ("P-1", "20200102")


def test_empty_where_nothing_says_so(tmp_path):
    assert patient_and_date(radiograph(tmp_path / "a.dcm", "", "")) == ("", "")
    (tmp_path / "b.png").write_bytes(b"no DICOM")
    assert patient_and_date(tmp_path / "b.png") == ("", "")
