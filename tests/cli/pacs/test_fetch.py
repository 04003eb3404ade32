"""``cfcam fetch``: what it says and how it ends."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from cfcam.cli.app import app
from cfcam.exchange.pacs import Access, Place, send
from tests.exchange import sources
from tests.waiting import free_port


def cfcam(*arguments, **environment):
    return CliRunner(env={"COLUMNS": "160", **environment}).invoke(app, [str(one) for one in arguments])


@pytest.fixture
def archive(orthanc):
    """A study with four CT slices and a radiograph (2024-05-06), and one with a radiograph alone (2023-01-11)."""
    late = sources.sources("CR")[0]
    late.StudyInstanceUID, late.SOPInstanceUID, late.StudyDate = "1.2.7", "1.2.3.7", "20230111"
    late.SeriesInstanceUID, late.AccessionNumber, late.PatientName, late.PatientID = "1.2.5.7", "A-1", "Doe^Jane", "P7"
    late.file_meta.MediaStorageSOPInstanceUID = "1.2.3.7"
    both = [*sources.sources("CT"), *sources.sources("CR"), late]
    assert send(Place.parse(orthanc.web), both, Access(timeout_s=60)).done
    return orthanc


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("how", ["dicom", "web"])
def test_a_listing_shows_studies_and_nothing_of_the_patient(archive, how):
    result = cfcam("fetch", getattr(archive, how), "--list")
    assert result.exit_code == 0, result.stderr
    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows[0] == ["date", "modalities", "description", "series", "objects", "study"]
    assert rows[1] == ["20230111", "CR", "1", "1", "1.2.7"]
    assert (rows[2][0], rows[2][-1]) == ("20240506", "1.2.1")
    assert not {"Jane", "Doe", "P7", "Nobody"} & set(result.output.replace("^", " ").split())
    told = json.loads(cfcam("fetch", getattr(archive, how), "--list", "--date", "20230111", "--json").stdout)
    assert [study["study"] for study in told["studies"]] == ["1.2.7"]


@pytest.mark.parametrize("how", ["dicom", "web"])
@pytest.mark.parametrize(
    ("asked", "count"),
    [
        (["--study", "1.2.1"], 5),
        (["--study", "1.2.1", "--study", "1.2.7"], 6),
        (["--study", "1.2.1", "--series", "1.2.5.0"], 4),
        (["--accession", "A-1"], 1),
        (["--patient-id", "P7"], 1),
        (["--modality", "CR"], 2),
        (["--modality", "CT"], 4),
        (["--date", "20230101-20231231"], 1),
        (["--date", "20230101-"], 6),
    ],
)
def test_what_is_asked_for_is_fetched(archive, tmp_path, how, asked, count):
    result = cfcam("fetch", getattr(archive, how), *asked, "-o", tmp_path / "in")
    assert result.exit_code == 0, result.stderr
    assert f"{count} fetched in" in result.stdout
    assert len(files(tmp_path / "in")) == count


def test_the_same_command_goes_on_and_json_names_the_files(archive, tmp_path):
    command = ["fetch", archive.web, "--study", "1.2.1", "-o", tmp_path / "in"]
    assert cfcam(*command, "--quiet").stdout == ""
    files(tmp_path / "in")[0].unlink()
    told = json.loads(cfcam(*command, "--json").stdout)
    assert (told["stored"], told["already_there"], told["studies"]) == (1, 4, 1)
    assert sorted(told["files"]) == sorted(map(str, files(tmp_path / "in")))


def test_what_was_fetched_can_be_sent_and_read_as_it_is(archive, tmp_path):
    from cfcam.imaging import read_volume

    cfcam("fetch", archive.web, "--modality", "CT", "-o", tmp_path / "in")
    (series,) = {path.parent for path in files(tmp_path / "in")}
    assert np.prod(read_volume(series).voxels.shape) == 4 * np.prod(sources.SIZE)
    assert cfcam("send", tmp_path / "in", archive.dicom).exit_code == 0


def test_nothing_found_and_too_much_found_fetch_nothing(archive, tmp_path):
    nothing = cfcam("fetch", archive.dicom, "--accession", "B", "-o", tmp_path / "in")
    assert (nothing.exit_code, nothing.stdout) == (1, "")
    assert "has no such study" in nothing.stderr
    much = cfcam("fetch", archive.dicom, "--date", "20200101-", "--most", "1", "-o", tmp_path / "in")
    assert much.exit_code == 2
    assert "2 studies are found, more than --most 1" in much.stderr
    assert not (tmp_path / "in").exists()


def test_a_place_that_cannot_be_asked_is_one_line_and_no_wrong_usage(orthanc, tmp_path):
    for place, title, told in (
        (f"dicom://A@127.0.0.1:{free_port()}", "CFCAM", "cannot be reached (Connection refused)"),
        (orthanc.dicom, "STRANGER", "does not know the calling AE title STRANGER"),
    ):
        result = cfcam("fetch", place, "--study", "1.2.1", "--aet", title, "-o", tmp_path / "in")
        assert result.exit_code == 1
        (line,) = result.stderr.splitlines()
        assert told in line


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "say which studies"),
        (["--study", "none"], "--study 'none': a UID is numbers"),
        (["--study", "1.2*"], "a UID is numbers"),
        (["--series", "1.2.3", "--modality", "CT"], "name the study that they are of"),
        (["--date", "2024"], "--date '2024': give a day as 20260131"),
        (["--date", "-"], "give a day"),
        (["--modality", "ct*"], "give one as DICOM writes it"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, told):
    result = cfcam("fetch", "dicom://A@127.0.0.1:9", *arguments)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert told in line


@pytest.mark.parametrize("host", ["list.invalid", "a..b"])
def test_a_name_that_no_machine_has_is_one_line(host):
    result = cfcam("fetch", f"dicom://A@{host}:104", "--list", "--quiet")
    assert result.exit_code == 1
    assert result.stderr == f"error: dicom://A@{host}:104: no machine has this name: check it\n"
