from __future__ import annotations

import logging
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("dicomanonymizer")

from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag  # noqa: E402
from pydicom.dataset import Dataset  # noqa: E402
from pydicom.uid import JPEG2000Lossless, generate_uid  # noqa: E402

from cfcam.cli.app import app  # noqa: E402
from cfcam.errors import ImageError, InputError, MissingExtraError  # noqa: E402
from cfcam.exchange import Deidentifier, ResultInfo, write_objects  # noqa: E402
from cfcam.exchange.deidentify.folder import deidentify_folder  # noqa: E402
from cfcam.exchange.deidentify.profile import basic_profile  # noqa: E402
from tests.exchange.phantoms import ct_sources, errors_of, heatmap, radiograph  # noqa: E402

KEY = b"a key of the tests only"
IDENTITY = "PLANTEDSECRET"
PLANTED_UID = "1.2.826.0.1.47114711.5"
PLANTED_DATES = ("19010203", "20230405")
PLANTS = (IDENTITY.encode(), b"PLANTED", b"47114711", *(day.encode() for day in PLANTED_DATES))
TEXTS = {"AE": IDENTITY, "AS": "047Y", "LO": IDENTITY, "LT": IDENTITY, "PN": f"{IDENTITY}^{IDENTITY}", "SH": IDENTITY,
         "ST": IDENTITY, "UC": IDENTITY, "UR": f"http://{IDENTITY}", "UT": IDENTITY, "UI": PLANTED_UID,
         "DA": PLANTED_DATES[1], "DT": f"{PLANTED_DATES[1]}101112", "OB": IDENTITY.encode(), "UN": IDENTITY.encode(),
         "OW": IDENTITY.encode() + b" "}  # fmt: skip
STRUCTURE = {"SOPClassUID", "TransferSyntaxUID", "PixelData", "SpecificCharacterSet"}


def plant(dataset):
    """An identity in every element of the table that can hold one, at the top and two sequences deeper."""
    profile = basic_profile()
    for tag in sorted(profile.removed | profile.emptied | profile.replaced):
        if tag >> 16 > 2 and dictionary_has_tag(tag) and keyword_for_tag(tag) not in STRUCTURE:
            vr = dictionary_VR(tag)
            if vr in TEXTS:
                dataset.add_new(tag, vr, TEXTS[vr])
            elif vr == "SQ":
                item = Dataset()
                item.TextValue = item.PersonName = IDENTITY
                dataset.add_new(tag, "SQ", [item])
    return dataset


def full_of_identity(source):
    plant(source)
    block = source.private_block(0x0011, IDENTITY, create=True)
    block.add_new(1, "LO", IDENTITY)
    inner, outer, code = Dataset(), Dataset(), Dataset()
    inner.PatientName = inner.InstitutionName = inner.TextValue = IDENTITY
    inner.ReferencedSOPInstanceUID, inner.ReferencedSOPClassUID = PLANTED_UID, "1.2.840.10008.5.1.4.1.1.2"
    outer.SourceImageSequence, outer.StudyDate, outer.ContentDate = [inner], PLANTED_DATES[0], PLANTED_DATES[0]
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = IDENTITY, "99HERE", IDENTITY
    source.SourceImageSequence, source.ReferencedImageSequence = [outer], [inner]
    source.AnatomicRegionSequence = [code]
    source.add_new(0x60000010, "US", 4)
    source.add_new(0x60003000, "OB", IDENTITY.encode() + b" ")
    source.add_new(0x60004000, "LT", IDENTITY)
    source.add_new(0x00189999, "UN", IDENTITY.encode())
    source.add_new(0xFFFCFFFC, "OB", IDENTITY.encode())
    source.PatientID, source.PatientName = f"{IDENTITY}-4711", f"{IDENTITY}^{IDENTITY}"
    source.BodyPartExamined = IDENTITY
    source.StudyDate = source.SeriesDate = source.AcquisitionDate = source.ContentDate = PLANTED_DATES[0]
    source.AcquisitionDateTime = f"{PLANTED_DATES[0]}101112.5+0100"
    source.StudyInstanceUID = f"{PLANTED_UID}.1"
    source.SeriesInstanceUID = f"{PLANTED_UID}.2"
    source.FrameOfReferenceUID = f"{PLANTED_UID}.3"
    source.SOPInstanceUID = source.file_meta.MediaStorageSOPInstanceUID = generate_uid(prefix=f"{PLANTED_UID}.")
    source.file_meta.SourceApplicationEntityTitle = IDENTITY
    source.Manufacturer = "Maker"
    source.preamble = IDENTITY.encode().ljust(128, b"\0")
    return source


def hospital(folder: Path, sources) -> Path:
    """Files whose names, and the folder's, hold an identity."""
    place = folder / f"{IDENTITY}_47114711" / "study"
    place.mkdir(parents=True)
    for number, source in enumerate(sources):
        source.save_as(place / f"{IDENTITY}{number}.dcm", enforce_file_format=True)
    return folder / f"{IDENTITY}_47114711"


def everything_in(folder: Path) -> bytes:
    """Names and contents of all files."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return b"\n".join(str(path.relative_to(folder)).encode() + path.read_bytes() for path in files)


def assert_clean(data: bytes):
    assert [word for word in PLANTS if word.lower() in data.lower()] == []


def test_planted_identity_is_found_in_the_source(tmp_path):
    """Else the tests below would state nothing."""
    data = everything_in(hospital(tmp_path, [full_of_identity(ct_sources()[0])]))
    assert all(word in data for word in PLANTS)
    assert data.count(IDENTITY.encode()) > 200


def test_no_planted_identity_in_any_byte_name_or_log(tmp_path, caplog, recwarn):
    caplog.set_level(logging.DEBUG)
    sources = [full_of_identity(source) for source in (*ct_sources(), radiograph())]
    report = deidentify_folder(hospital(tmp_path / "in", sources), tmp_path / "out", Deidentifier(KEY))
    assert len(report.written) == len(sources)
    assert report.refused == []
    assert_clean(everything_in(tmp_path / "out"))
    assert_clean("\n".join([caplog.text, *(str(w.message) for w in recwarn)]).encode())


def test_no_planted_identity_in_what_is_derived(tmp_path, caplog):
    sources = [Deidentifier(KEY)(full_of_identity(source)) for source in ct_sources()]
    result = ResultInfo("net", "1", "ab" * 32, "cam", "layer4", 0, "nodule", 0.5)
    kinds = {"pm", "seg", "sr", "sc", "gsps"}
    write_objects(sources, heatmap(), result, kinds=kinds, threshold=0.5, output=tmp_path)
    assert_clean(everything_in(tmp_path))
    assert_clean(caplog.text.encode())


def test_pixels_and_geometry_stay(tmp_path):
    source = full_of_identity(ct_sources()[2])
    clean = Deidentifier(KEY)(source)
    assert np.array_equal(clean.pixel_array, source.pixel_array)
    for key in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleIntercept", "Modality"):
        assert clean[key].value == source[key].value
    assert clean.Manufacturer == "Maker"


def test_source_is_left_as_it_is():
    source = full_of_identity(ct_sources()[0])
    before = source.to_json()
    Deidentifier(KEY)(source)
    assert source.to_json() == before


def test_it_says_what_was_done():
    clean = Deidentifier(KEY)(ct_sources()[0])
    assert clean.PatientIdentityRemoved == "YES"
    assert "Basic profile" in clean.DeidentificationMethod
    assert [item.CodeValue for item in clean.DeidentificationMethodCodeSequence] == ["113100", "113107"]
    assert clean.LongitudinalTemporalInformationModified == "MODIFIED"


def test_pseudonym_depends_on_patient_and_key_alone():
    first, second = ct_sources()[:2]
    second.StudyInstanceUID, second.PatientName = "1.2.99", "Another^Spelling"
    stranger = ct_sources()[0]
    stranger.PatientID = "someone else"
    deidentifier = Deidentifier(KEY)
    assert deidentifier(first).PatientID == deidentifier(second).PatientID
    assert deidentifier(first).PatientID != deidentifier(stranger).PatientID
    assert deidentifier(first).PatientID != Deidentifier(KEY + b"!")(first).PatientID
    assert deidentifier(first).PatientName == deidentifier(first).PatientID


def test_patients_without_an_id_do_not_become_one():
    first, second = ct_sources()[:2]
    for number, source in enumerate((first, second)):
        source.PatientID, source.StudyInstanceUID = "", f"1.2.{number}"
    assert Deidentifier(KEY)(first).PatientID != Deidentifier(KEY)(second).PatientID


def test_intervals_stay_true_and_dates_do_not():
    first, second = ct_sources()[:2]
    first.StudyDate, second.StudyDate = "20230405", "20240229"
    stranger = ct_sources()[0]
    stranger.PatientID, stranger.StudyDate = "someone else", "20230405"
    days = [date.fromisoformat(Deidentifier(KEY)(source).StudyDate) for source in (first, second, stranger)]
    assert days[1] - days[0] == date(2024, 2, 29) - date(2023, 4, 5)
    assert days[0] < date(2023, 4, 5)
    assert days[0] != days[2]


def test_uids_are_replaced_everywhere_in_the_same_way():
    first, second = ct_sources()[:2]
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = second.SOPClassUID, second.SOPInstanceUID
    first.SourceImageSequence = [item]
    deidentifier = Deidentifier(KEY)
    clean, other = deidentifier(first), deidentifier(second)
    assert clean.SourceImageSequence[0].ReferencedSOPInstanceUID == other.SOPInstanceUID != second.SOPInstanceUID
    assert clean.SeriesInstanceUID == other.SeriesInstanceUID
    assert clean.SOPClassUID == first.SOPClassUID
    assert clean.file_meta.MediaStorageSOPInstanceUID == clean.SOPInstanceUID


@pytest.mark.parametrize(("key", "value", "message"), [
    ("BurnedInAnnotation", "YES", "BurnedInAnnotation"),
    *(("Modality", modality, "modality whose pixels") for modality in ("US", "SC", "OT", "XC")),
])  # fmt: skip
def test_names_in_pixels_are_refused_unless_allowed(key, value, message):
    source = radiograph()
    setattr(source, key, value)
    with pytest.raises(ImageError, match=message):
        Deidentifier(KEY)(source)
    assert Deidentifier(KEY, allow_burned_in=True)(source).PatientIdentityRemoved == "YES"


def test_bits_without_a_grey_value_are_cleared():
    source = radiograph()
    stored = source.pixel_array.copy()
    source.PixelData = (stored | 0x5000).astype("<u2").tobytes()
    clean = Deidentifier(KEY)(source)
    assert np.array_equal(np.frombuffer(clean.PixelData, "<u2").reshape(stored.shape), stored)


def test_signed_pixels_keep_their_sign():
    source = radiograph()
    values = np.arange(-300, -300 + source.Rows * source.Columns, dtype="<i2")
    source.PixelRepresentation, source.PixelData = 1, values.tobytes()
    assert np.array_equal(np.frombuffer(Deidentifier(KEY)(source).PixelData, "<i2"), values)


def test_comments_in_compressed_pixels_go(tmp_path):
    source = radiograph()
    expected = np.random.default_rng(4).integers(0, 4000, (64, 64)).astype("<u2")
    source.Rows, source.Columns, source.PixelData = 64, 64, expected.tobytes()
    source.compress(JPEG2000Lossless, generate_instance_uid=False)
    marker = b"\xff\x64" + (len(IDENTITY) + 4).to_bytes(2, "big") + b"\0\1" + IDENTITY.encode()
    start = source.PixelData.index(b"\xff\x52")  # COD, after which a comment may stand
    frame = source.PixelData[:start] + marker + source.PixelData[start:]
    frame = frame[frame.index(b"\xff\x4f\xff\x51") :]
    source.PixelData = pydicom.encaps.encapsulate([frame[: frame.index(b"\xff\xd9") + 2]])
    assert IDENTITY.encode() in source.PixelData
    clean = Deidentifier(KEY)(source)
    assert IDENTITY.encode() not in clean.PixelData
    assert np.array_equal(clean.pixel_array, expected)


def test_site_codes_go_and_public_ones_stay():
    source = ct_sources()[0]
    codes = []
    for scheme in ("99HERE", "SCT"):
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "51185008", scheme, "Chest"
        codes.append(code)
    source.AnatomicRegionSequence = codes
    clean = Deidentifier(KEY)(source)
    assert [item.CodingSchemeDesignator for item in clean.AnatomicRegionSequence] == ["SCT"]


def test_a_time_that_is_none_goes():
    source = ct_sources()[0]
    source.StudyTime, source.SeriesTime = IDENTITY[:9], "101112.5"
    clean = Deidentifier(KEY)(source)
    assert not clean.get("StudyTime")
    assert clean.SeriesTime == "101112.5"


def test_missing_library_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "dicomanonymizer.dicom_anonymization_databases.dicomfields_2026c", None)
    basic_profile.cache_clear()
    with pytest.raises(MissingExtraError, match=r"dicom-anonymizer.*pip install 'cfcam\[dicom\]'"):
        Deidentifier(KEY)
    basic_profile.cache_clear()


def test_short_keys_are_refused():
    with pytest.raises(InputError, match="at least 16"):
        Deidentifier(b"short")


def test_key_is_not_shown():
    assert KEY.decode() not in repr(Deidentifier(KEY))


def test_broken_elements_are_refused_without_their_content():
    source = ct_sources()[0]
    source.Rows = None
    source.ContentDate = "19010203"
    with pytest.raises(ImageError) as caught:
        Deidentifier(KEY)(source, "file 1 of 1")
    assert str(caught.value).startswith("file 1 of 1:")
    assert_clean(str(caught.value).encode())


def test_dciodvfy_finds_no_new_error(tmp_path):
    source = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm"))
    path = tmp_path / "clean.dcm"
    Deidentifier(KEY)(source).save_as(path, enforce_file_format=True)
    assert errors_of("dciodvfy", path) == errors_of("dciodvfy of PyPI", path) == []


def run(*arguments):
    return CliRunner().invoke(app, ["deidentify", *map(str, arguments)])


def test_command_writes_clean_files_and_says_nothing_of_the_source(tmp_path):
    ultrasound = full_of_identity(radiograph())
    ultrasound.Modality = "US"
    source = hospital(tmp_path / "in", [*(full_of_identity(s) for s in ct_sources()), ultrasound])
    (source / f"{IDENTITY}.txt").write_text(IDENTITY)
    cut = (source / "study" / f"{IDENTITY}0.dcm").read_bytes()
    (source / "study" / f"{IDENTITY}9.dcm").write_bytes(cut[: len(cut) // 3])
    done = run(source, tmp_path / "out", "--key", tmp_path / "key")
    assert done.exit_code == 1
    assert "5 pictures de-identified, 2 refused, 1 file is no DICOM" in done.stdout
    assert "file 7 of 8" in done.output
    assert_clean(done.output.encode())
    assert_clean(everything_in(tmp_path / "out"))
    assert oct((tmp_path / "key").stat().st_mode & 0o777) == "0o600"


def test_same_key_gives_the_same_files(tmp_path):
    source = hospital(tmp_path / "in", ct_sources())
    for name in ("a", "b"):
        assert run(source, tmp_path / name, "--key", tmp_path / "key").exit_code == 0
    assert sorted(everything_in(tmp_path / "a")) == sorted(everything_in(tmp_path / "b"))
    assert [p.relative_to(tmp_path / "a") for p in sorted((tmp_path / "a").rglob("*"))] == [
        p.relative_to(tmp_path / "b") for p in sorted((tmp_path / "b").rglob("*"))
    ]


def test_a_copy_is_no_further_picture_and_another_picture_of_one_uid_is_refused(tmp_path):
    first, *others = ct_sources()
    source = hospital(tmp_path / "in", [first, first])
    done = run(source, tmp_path / "out", "--key", tmp_path / "key")
    assert "1 picture de-identified, 0 refused, 1 file is a copy of these" in done.stdout
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 1
    others[0].SOPInstanceUID = others[0].file_meta.MediaStorageSOPInstanceUID = first.SOPInstanceUID
    source = hospital(tmp_path / "twice", [first, others[0]])
    done = run(source, tmp_path / "other", "--key", tmp_path / "key")
    assert "file 2 of 2: has the UID of an earlier file of this folder, and other content; keep one" in done.output
    assert "1 picture de-identified, 1 refused" in done.stdout


@pytest.mark.parametrize("depth", [1, 2])
def test_nothing_is_written_through_a_link_that_leads_out_of_the_output(tmp_path, depth):
    """Names below the output follow from the key: whoever knows them may have laid a link there."""
    source, key = hospital(tmp_path / "in", ct_sources()), tmp_path / "key"
    assert run(source, tmp_path / "first", "--key", key).exit_code == 0
    folder = next((tmp_path / "first").glob("/".join("*" * depth)))
    link, secret = tmp_path / "out" / folder.relative_to(tmp_path / "first"), tmp_path / "secret"
    link.parent.mkdir(parents=True)
    secret.mkdir()
    link.symlink_to(secret)
    done = run(source, tmp_path / "out", "--key", key)
    assert done.exit_code == 1
    assert "is a link that leads out of the output folder: nothing is written there" in done.output
    assert_clean(done.output.encode())
    assert list(secret.iterdir()) == []


def test_a_file_that_is_a_link_is_not_written_through(tmp_path):
    source, key, victim = hospital(tmp_path / "in", ct_sources()), tmp_path / "key", tmp_path / "victim"
    assert run(source, tmp_path / "out", "--key", key).exit_code == 0
    file = next((tmp_path / "out").rglob("*.dcm"))
    victim.write_bytes(b"theirs")
    file.unlink()
    file.symlink_to(victim)
    done = run(source, tmp_path / "out", "--key", key)
    assert done.exit_code == 1
    assert "is there already, with other content" in done.output
    assert victim.read_bytes() == b"theirs"


def test_output_within_the_source_is_refused(tmp_path):
    source = hospital(tmp_path, ct_sources())
    done = run(source, source / "clean")
    assert done.exit_code == 2
    assert_clean(done.output.encode())


def test_missing_source_is_named_by_no_path(tmp_path):
    done = run(tmp_path / IDENTITY, tmp_path / "out")
    assert done.exit_code == 2
    assert "does not exist" in done.output
    assert_clean(done.output.encode())
