"""Identities planted in every place of the sources are in no output, name, log or error of a whole study."""

from __future__ import annotations

import base64
import gzip
import logging
import re
import shutil
import warnings
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

pytest.importorskip("highdicom")
pytest.importorskip("sqlalchemy")

from cfcam.errors import CfcamError
from cfcam.exchange import Deidentifier
from cfcam.exchange.deidentify.folder import deidentify_folder
from cfcam.exchange.deidentify.profile import basic_profile
from cfcam.jobs import find_inputs
from tests.imaging import dicoms
from tests.jobs.studies import AXES, BRIGHT_3D, SHAPE, ct_study, explain, marked_voxels, phantom_radiograph
from tests.machine import pdf_writer

KEY = b"a key of at least sixteen bytes"
SITE = "1.2.840.99999.4711"  # the root of a site's own UIDs
WORD = "PLANTED"
DATE, TIME = "19010203", "231759.471147"
SECRETS = (WORD, SITE, DATE, "1901-02-03", TIME, "471147")
TEXTS = {
    "PN": "PLANTED^IDENTITY^Ms", "LO": "PLANTED long", "SH": "PLANTED short", "ST": "PLANTED text",
    "LT": "PLANTED text", "UT": "PLANTED text", "UC": "PLANTED", "AE": "PLANTED", "CS": "PLANTED", "DA": DATE,
    "TM": TIME, "DT": f"{DATE}231759", "UI": f"{SITE}.1", "AS": "471Y", "UR": "https://PLANTED.example",
}  # fmt: skip
# Elements that say how a picture is read: a planted value would make another picture of it, or none.
KEPT = frozenset({
    "SOPClassUID", "Modality", "SpecificCharacterSet", "ImageType", "PatientSex", "Laterality", "PatientPosition",
    "ConversionType", "BurnedInAnnotation", "PresentationLUTShape", "RescaleType", "BodyPartExamined", "PatientAge",
    "ImageLaterality", "SOPInstanceUID", "SeriesNumber", "InstanceNumber", "AcquisitionNumber",
})  # fmt: skip


def identifying_tags():
    """Every element of the confidentiality profile's table (PS3.15 E.1-1) that holds text, a date or a UID."""
    profile = basic_profile()
    for tag in sorted(profile.removed | profile.emptied | profile.replaced):
        group_of_data = tag >> 16 > 4  # the lower ones are of messages, of the file's head and of directories
        if (
            group_of_data
            and dictionary_has_tag(tag)
            and keyword_for_tag(tag) not in KEPT
            and dictionary_VR(tag) in TEXTS
        ):
            yield tag, dictionary_VR(tag)


def planted(source):
    """A source with identity in every element that can have one, private ones and nested ones too."""
    for tag, vr in identifying_tags():
        source.add_new(tag, vr, TEXTS[vr])
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "InstanceCreatorUID", "DeviceUID"):
        if keyword != "FrameOfReferenceUID" or keyword in source:
            setattr(source, keyword, TEXTS["UI"])
    request = Dataset()
    request.RequestedProcedureDescription, request.AccessionNumber = TEXTS["LO"], TEXTS["SH"]
    request.ReferencedStudySequence = Sequence([Dataset()])
    request.ReferencedStudySequence[0].ReferencedSOPInstanceUID = f"{SITE}.7"
    source.RequestAttributesSequence = Sequence([request])
    block = source.private_block(0x0099, "PLANTED CREATOR", create=True)
    block.add_new(0x01, "LO", "PLANTED private")
    block.add_new(0x02, "OB", b"PLANTED bytes")
    source.SOPInstanceUID = f"{SITE}.{source.SOPInstanceUID.rpartition('.')[2]}"
    source.file_meta.MediaStorageSOPInstanceUID = source.SOPInstanceUID
    source.file_meta.SourceApplicationEntityTitle = "PLANTED"
    source.file_meta.ImplementationVersionName = "PLANTED"
    source.preamble = b"PLANTED preamble".ljust(128, b"\0")
    return source


def plant(path):
    planted(pydicom.dcmread(path)).save_as(path, enforce_file_format=True)
    return path


def pieces(data: bytes, depth: int = 0):
    """All that can be found in a file: itself, its compressed parts unpacked, what is encoded in base64."""
    yield data
    if depth > 3:
        return
    if data[:2] == b"\x1f\x8b":
        yield from pieces(gzip.decompress(data), depth + 1)
    if data.startswith(b"\x89PNG"):
        at = 8
        while at + 8 <= len(data):
            length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
            chunk = data[at + 8 : at + 8 + length]
            if kind in (b"zTXt", b"iTXt", b"iCCP"):
                for start in range(len(chunk)):
                    if chunk[start : start + 1] == b"x":
                        yield _inflated(chunk[start:])
            at += length + 12
    if data.startswith(b"%PDF"):
        for match in re.finditer(rb"stream\r?\n", data):
            yield from pieces(_inflated(data[match.end() :]), depth + 1)
    for match in re.finditer(rb"base64,([A-Za-z0-9+/=]+)", data):
        yield from pieces(base64.b64decode(match[1]), depth + 1)


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data)
    except zlib.error:
        return b""


def found_in(data: bytes, secrets=SECRETS):
    """Secrets in a file, in any of the ways in which text is written there."""
    hits = set()
    for piece in pieces(data):
        folded = piece.lower()
        for secret in secrets:
            for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
                word = secret.lower().encode(encoding)
                if word in folded or word.hex().encode() in folded:
                    hits.add(secret)
    return hits


def assert_clean(folder, *, but=(), secrets=SECRETS):
    """No file below a folder, and no name of one, holds a secret."""
    checked = 0
    for path in sorted(Path(folder).rglob("*")):
        inside = path.relative_to(folder).as_posix()
        assert not any(secret.lower() in inside.lower() for secret in SECRETS), inside
        if path.is_file() and path.suffix not in but:
            assert found_in(path.read_bytes(), secrets) == set(), inside
            checked += 1
    return checked


EVERYTHING = ["--report", "html,pdf", "--patient-page", "--save", "overlay,sheet,maps", "--uncertainty", "methods"]
DEMO = ["--method", "grad-cam", "--method", "cf-cam"]


@pytest.fixture
def heard(caplog, recwarn):
    """What went to logs and warnings."""
    caplog.set_level(logging.DEBUG)
    return lambda: " ".join([record.getMessage() for record in caplog.records] + [str(w.message) for w in recwarn])


def test_the_search_finds_what_is_hidden():
    from io import BytesIO

    from PIL import Image, PngImagePlugin

    stream, info = BytesIO(), PngImagePlugin.PngInfo()
    info.add_text("Comment", "by PLANTED " * 20, zip=True)
    Image.new("L", (4, 4)).save(stream, "PNG", pnginfo=info)
    assert b"PLANTED" not in stream.getvalue()
    assert found_in(stream.getvalue()) == {WORD}
    page = b'<img src="data:image/png;base64,' + base64.b64encode(stream.getvalue()) + b'">'
    assert found_in(page) == {WORD}
    assert found_in(gzip.compress(SITE.encode())) == {SITE}
    assert found_in(b"%PDF-1.7 stream\n" + zlib.compress("PLANTED".encode("utf-16-be"))) == {WORD}
    assert found_in(b"nothing of the kind") == set()


def test_body_part_and_view_are_shown_as_words_of_the_standard_only(tmp_path):
    path = phantom_radiograph(tmp_path / "a.dcm")
    source = pydicom.dcmread(path)
    source.BodyPartExamined = source.ViewPosition = source.ImageLaterality = WORD
    source.StudyDate, source.StudyInstanceUID = DATE, f"{SITE}.1"
    source.save_as(path)
    result = explain(path, tmp_path / "out", *DEMO, "--report", "html", "--no-peak-stability", "--json")
    assert result.exit_code == 0, result.output
    assert assert_clean(tmp_path / "out") > 6
    assert not any(secret in result.output for secret in SECRETS)
    kept = explain(path, tmp_path / "kept", *DEMO, "--report", "html", "--no-peak-stability", "--keep-dates")
    assert kept.exit_code == 0, kept.output
    (report,) = (tmp_path / "kept").glob("*_report.html")
    assert found_in(report.read_bytes()) == {"1901-02-03"}  # what was asked for, and nothing else


@pytest.mark.parametrize("kind", ["series", "radiograph", "frames"])
def test_a_whole_study_tells_nothing_of_the_patient(tmp_path, kind, heard, capfd):
    pdf_writer()
    home = tmp_path / "PLANTED^IDENTITY"
    network, dicom = BRIGHT_3D, "pm,seg,sr,sc,gsps"
    if kind == "series":
        for path in ct_study(home, prefix="PLANTED"):
            plant(path)
        given = home
        network = [*BRIGHT_3D, "--method", "cam"]
    elif kind == "radiograph":
        given = plant(phantom_radiograph(home / "PLANTED.dcm"))
        network = DEMO
    else:
        source = dicoms.enhanced(marked_voxels(), AXES, where=dicoms.positions(SHAPE[0], AXES))
        given = plant(dicoms.save(source, home / "PLANTED.dcm"))
        network = [*BRIGHT_3D, "--method", "cam"]
    result = explain(given, tmp_path / "out", *network, *EVERYTHING, "--dicom", dicom, "--record",
                     tmp_path / "out" / "audit.sqlite", "--json")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert assert_clean(tmp_path / "out", but=(".dcm",)) > 12
    for path in (tmp_path / "out").rglob("*.dcm"):
        derived = pydicom.dcmread(path)  # the patient's, as the standard wants, but of nothing else
        assert str(derived.PatientID) == TEXTS["LO"]
        assert not any(tag.is_private for tag in derived.keys())  # noqa: SIM118
    said = result.output + heard() + "".join(capfd.readouterr())
    assert not any(secret in said for secret in SECRETS)


def test_dicom_objects_of_a_deidentified_study_hold_nothing_either(tmp_path, heard):
    for path in ct_study(tmp_path / "PLANTED", prefix="PLANTED"):
        plant(path)
    plant(phantom_radiograph(tmp_path / "PLANTED CHEST" / "PLANTED.dcm"))
    slices = deidentify_folder(tmp_path / "PLANTED", tmp_path / "clean", Deidentifier(KEY))
    chest = deidentify_folder(tmp_path / "PLANTED CHEST", tmp_path / "clean chest", Deidentifier(KEY))
    assert (len(slices.written), len(chest.written), slices.refused, chest.refused) == (SHAPE[0], 1, [], [])
    for given, network in ((slices.written[0].parent, BRIGHT_3D), (chest.written[0], DEMO)):
        result = explain(given, tmp_path / "out", *network, "--dicom", "pm,seg,sr,sc,gsps", "--report", "html")
        assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "out").rglob("*.dcm"))) > 8
    assert_clean(tmp_path / "out", secrets=SECRETS[:4])  # times of day are kept, the profile's option says so
    pseudonym = Deidentifier(KEY).pseudonym(TEXTS["LO"])
    for path in (tmp_path / "out").rglob("*.dcm"):
        assert pydicom.dcmread(path).PatientID == pseudonym
    assert not any(secret in heard() for secret in SECRETS)


BROKEN = {
    "cut off": lambda data: data[: len(data) // 2],
    "no pixels": lambda data: data[: data.index(b"\xe0\x7f\x10\x00")],
    "rubbish": lambda data: data[:400] + b"PLANTED rubbish" * 9 + data[400:],
    "not DICOM": lambda data: b"PLANTED IDENTITY, not a picture at all",
    "empty": lambda data: b"",
}


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_broken_input_is_told_without_its_name(tmp_path, how, debug, heard, capfd):
    path = plant(phantom_radiograph(tmp_path / "in" / "PLANTED IDENTITY.dcm"))
    path.write_bytes(BROKEN[how](path.read_bytes()))
    good = dicoms.save(dicoms.radiograph(np.arange(600).reshape(20, 30)), tmp_path / "in" / "good.dcm")
    assert good.exists()
    result = explain(tmp_path / "in", tmp_path / "out", *DEMO, "--dicom", "seg,sr", "--report", "html", "--record",
                     tmp_path / "out" / "audit.sqlite", *debug)  # fmt: skip
    assert result.exit_code in (0, 1), result.output
    said = result.output + heard() + "".join(capfd.readouterr())
    assert not any(secret in said for secret in SECRETS), said
    assert_clean(tmp_path / "out", but=(".dcm",))
    if result.exit_code:
        assert re.search(r"failed: study-[0-9a-f]{8}(-\d)?: .*\(input \d of 2\)", result.stderr), result.stderr


@pytest.mark.parametrize(
    "spoil",
    [
        lambda ds: ds.__delattr__("PixelSpacing"),
        lambda ds: setattr(ds, "ImageOrientationPatient", [1, 0, 0, 1, 0, 0]),
        lambda ds: ds.__delattr__("PixelData"),
        lambda ds: setattr(ds, "Rows", 9999),
    ],
)
def test_a_broken_slice_is_told_by_its_number_and_not_by_its_name(tmp_path, spoil, heard):
    files = [plant(path) for path in ct_study(tmp_path / "PLANTED^IDENTITY", prefix="PLANTED")]
    ds = pydicom.dcmread(sorted(files)[4])
    spoil(ds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds.save_as(sorted(files)[4])
    result = explain(tmp_path / "PLANTED^IDENTITY", tmp_path / "out", *BRIGHT_3D, "--dicom", "pm", "--report", "html")
    assert result.exit_code == 1, result.output
    assert not any(secret in result.output + heard() for secret in SECRETS), result.output
    assert f"file 5 of {SHAPE[0]} in the folder" in result.stderr or "2 series" in result.stderr, result.stderr
    assert_clean(tmp_path / "out")


def test_a_source_that_breaks_the_standard_is_refused_without_a_word_of_it(tmp_path):
    path = plant(phantom_radiograph(tmp_path / "PLANTED.dcm"))
    ds = pydicom.dcmread(path)
    ds.PatientSex = "PLANTED"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds.save_as(path)
    result = explain(path, tmp_path / "out", *DEMO, "--dicom", "seg", "--report", "html")
    assert result.exit_code == 1
    assert "an element that the objects inherit is missing or not valid" in result.stderr.replace("\n", " ")
    assert not any(secret in result.output for secret in SECRETS)
    assert_clean(tmp_path / "out")


def test_the_password_of_the_audit_is_in_no_message_and_no_file(tmp_path, monkeypatch, capfd):
    phantom_radiograph(tmp_path / "a.dcm")
    url = "postgresql://cfcam:PLANTEDpassword@127.0.0.1:1/audit"
    for given, environment in ((["--record", url], {}), ([f"--record={url}"], {}), (["--report", "html"], url)):
        if environment:
            monkeypatch.setenv("CFCAM_AUDIT", environment)
        result = explain(tmp_path / "a.dcm", tmp_path / "out", *DEMO, *given, "--debug")
        assert result.exit_code != 0
        said = result.output + "".join(capfd.readouterr())
        assert "PLANTED" not in said, said
        if (tmp_path / "out").exists():
            assert_clean(tmp_path / "out")


def test_what_was_typed_is_kept_without_paths_and_without_the_audit(monkeypatch, tmp_path):
    from cfcam.cli.options.study import without_secrets
    from cfcam.jobs import StudySettings

    typed = [
        "cfcam",
        "explain",
        "PLANTED/",
        "b.dcm",
        "-o",
        "out/PLANTED",
        "--record=postgresql://u:p@h/d",
        "-m",
        "demo",
    ]
    typed += ["--organ", "PLANTED/{stem}.png"]
    study = StudySettings(record="postgresql://u:p@h/d", masks=(("organ", "PLANTED/{stem}.png"),))
    kept = without_secrets(typed, [Path("PLANTED"), Path("b.dcm")], Path("out/PLANTED"), study)
    assert kept == (
        "cfcam",
        "explain",
        "INPUT",
        "INPUT",
        "-o",
        "OUTPUT",
        "--record=AUDIT",
        "-m",
        "demo",
        "--organ",
        "MASKS",
    )
    assert without_secrets(["cfcam", "-oPLANTED", "--output=PLANTED"], [], Path("PLANTED"), StudySettings()) == (
        "cfcam", "-oOUTPUT", "--output=OUTPUT",
    )  # fmt: skip


def test_inputs_that_do_not_exist_are_named_as_they_were_typed(tmp_path):
    with pytest.raises(CfcamError, match=r"nowhere\.dcm: no such file"):
        find_inputs([tmp_path / "nowhere.dcm"], output=tmp_path / "out")


def test_the_copies_of_a_study_are_not_changed(tmp_path):
    path = plant(phantom_radiograph(tmp_path / "a.dcm"))
    shutil.copy(path, tmp_path / "before.dcm")
    explain(path, tmp_path / "out", *DEMO, "--dicom", "seg,sr,sc", "--report", "html")
    assert path.read_bytes() == (tmp_path / "before.dcm").read_bytes()
