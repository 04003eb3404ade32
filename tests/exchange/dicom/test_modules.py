"""What derived objects say beside the map: as validators and other readers want it, for every usual kind of source."""

from __future__ import annotations

import dataclasses
import subprocess
from copy import deepcopy
from datetime import UTC, datetime

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

from pydicom.sr._concepts_dict import concepts  # noqa: E402

from cfcam.errors import ImageError, InputError  # noqa: E402
from cfcam.exchange import fitting_kinds, write_objects  # noqa: E402
from cfcam.exchange.dicom.anatomy import REGIONS, UNPAIRED  # noqa: E402
from tests.exchange import sources as made  # noqa: E402
from tests.exchange.phantoms import RESULT, errors_of  # noqa: E402
from tests.imaging import dicoms  # noqa: E402
from tests.machine import VALIDATORS, python_program  # noqa: E402

KINDS = (*made.SERIES, *made.ENHANCED, *made.PICTURES)
ALL = ("pm", "seg", "sr", "sc", "gsps")
TILTED = dicoms.rotated(dicoms.AXIAL, 25)
PLACED = ("pm", "seg", "sr")


def heat(sources):
    planes = int(sources[0].get("NumberOfFrames") or 1) if len(sources) == 1 else len(sources)
    values = np.random.default_rng(5).random((planes, sources[0].Rows, sources[0].Columns)).astype(np.float32) * 0.4
    values[planes // 2, 6:12, 4:9] = 0.8
    return values


def write(folder, sources, kinds=None, result=RESULT, **options):
    """All objects that the sources allow, by kind; each file read back."""
    kinds = fitting_kinds(sources, ALL)[0] if kinds is None else kinds
    options = {"threshold": 0.5, "output": folder, "measurements": {"mean": 0.6}} | options
    paths = write_objects(sources, heat(sources), result, kinds=kinds, **options)
    return {path.name.partition("_")[0]: path for path in paths}


def read(paths):
    return {kind: pydicom.dcmread(path) for kind, path in paths.items()}


# --- validators


@pytest.mark.parametrize("program", VALIDATORS)
@pytest.mark.parametrize("kind", KINDS)
def test_validators_find_no_error(tmp_path, program, kind):
    sources = made.sources(kind, axes=TILTED)
    expected = {"seg-fractional", "seg-binary", "sr", "sc"} | ({"pm"} if kind not in made.PICTURES else set())
    refused: dict[str, str] = {}
    paths = write(tmp_path, sources, refused=refused)
    if kind == "NM":  # frames without functional groups: highdicom makes no Segmentation of them
        expected = {"sc"}
        assert {"seg-fractional", "seg-binary", "sr"} <= set(refused)
    assert expected <= set(paths) <= {*expected, "gsps"}
    checked = [path for key, path in paths.items() if program != "dcmpschk" or key == "gsps"]
    assert {path.name: errors_of(program, path) for path in checked} == {path.name: [] for path in checked}


@pytest.mark.parametrize("program", ["dciodvfy", "dciodvfy of PyPI"])
@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "examples_palette.dcm"])
def test_validators_find_no_error_in_what_real_files_become(tmp_path, program, name):
    source = pydicom.dcmread(pydicom.data.get_testdata_file(name, download=False))
    paths = write(tmp_path, [source], kinds={"seg", "sc", "sr"} if "small" not in name else ALL)
    assert {path.name: errors_of(program, path) for path in paths.values()} == {p.name: [] for p in paths.values()}


@pytest.mark.parametrize("program", ["dciodvfy", "dciodvfy of PyPI"])
@pytest.mark.parametrize("kind", [k for k in KINDS if k not in made.ENHANCED])
def test_sources_themselves_are_valid(tmp_path, program, kind):
    """Else what validators say of the objects would say nothing of cfcam."""
    for source in made.sources(kind):
        source.save_as(tmp_path / "a.dcm", enforce_file_format=True)
        assert errors_of(program, tmp_path / "a.dcm") == []


# --- what a presentation state shows


def frame_items(source):
    groups = (*source.get("SharedFunctionalGroupsSequence", ()), *source.get("PerFrameFunctionalGroupsSequence", ()))
    return [group.FrameVOILUTSequence[0] for group in groups if "FrameVOILUTSequence" in group] or [source]


@pytest.mark.parametrize("kind", ["CT", "CR", "DX", "ECT"])
@pytest.mark.parametrize(
    ("centre", "width", "shown"),
    [(40, -5, None), (40, 0, None), (None, 400, None), (40, None, None), ([40, 50], 400, (40, 400)),
     ([40, 50], [-3, 400], (50, 400)), (40, "0.5", (40, 0.5)), ([1, 2], [3, 4], (1, 3))],
)  # fmt: skip
def test_windows_that_are_none_cost_no_presentation_state(tmp_path, kind, centre, width, shown):
    sources = made.sources(kind)
    for item in (item for source in sources for item in frame_items(source)):
        item.WindowCenter, item.WindowWidth = centre, width
    paths = write(tmp_path, sources, {"gsps"})
    state = read(paths)["gsps"]
    items = state.get("SoftcopyVOILUTSequence") or ()
    assert [(item.WindowCenter, item.WindowWidth) for item in items] == ([] if shown is None else [shown])
    assert [error for program in VALIDATORS for error in errors_of(program, paths["gsps"])] == []


@pytest.mark.parametrize("kind", ["CT", "CR", "DX"])
@pytest.mark.parametrize("data", ["words", "bytes", "empty", "none", "cut off"])
def test_tables_of_a_source_are_shown_in_its_presentation_state_or_left_out(tmp_path, kind, data):
    sources = made.sources(kind)
    entries = np.linspace(0, 4095, 4096).astype(int)[::-1]
    for source in sources:
        table = pydicom.Dataset()
        if data in ("words", "cut off"):
            table.add_new("LUTDescriptor", "US", [4096, 0, 12])
            table.add_new("LUTData", "US", entries[: 4096 if data == "words" else 100].tolist())
        elif data == "bytes":
            table.add_new("LUTDescriptor", "US", [256, 0, 8])
            table.add_new("LUTData", "OW", bytes(range(255, -1, -1)))
        source.VOILUTSequence = [] if data == "none" else [table]
        source.WindowCenter, source.WindowWidth = 40, 400
    paths = write(tmp_path, sources, {"gsps"})
    item = read(paths)["gsps"].SoftcopyVOILUTSequence[-1]
    if data in ("words", "bytes"):
        assert "WindowCenter" not in item
        (table,) = item.VOILUTSequence
        values = np.frombuffer(table.LUTData, "<u2") / (2.0 ** table.LUTDescriptor[2] - 1)
        right = entries / 4095 if data == "words" else np.arange(255, -1, -1) / 255
        np.testing.assert_allclose(values, right, atol=1e-5)
    else:
        assert (item.WindowCenter, item.WindowWidth) == (40, 400)
    assert [error for program in VALIDATORS for error in errors_of(program, paths["gsps"])] == []
    assert all(source.VOILUTSequence == ([] if data == "none" else [source.VOILUTSequence[0]]) for source in sources)


@pytest.mark.parametrize(("given", "shown"), [({"RescaleSlope": 2}, (2, 0)), ({"RescaleIntercept": -5}, (1, -5))])
def test_half_a_rescaling_is_made_whole_in_a_presentation_state(tmp_path, given, shown):
    sources = made.sources("CR")
    for key, value in given.items():
        setattr(sources[0], key, value)
    state = read(write(tmp_path, sources, {"gsps"}))["gsps"]
    assert (state.RescaleSlope, state.RescaleIntercept) == shown


# --- body part and side


@pytest.mark.parametrize("program", ["dciodvfy", "dciodvfy of PyPI"])
@pytest.mark.parametrize("side", [None, "", "L"])
@pytest.mark.parametrize("part", ["CHEST", "ABDOMEN", "MAXILLA", "KNEE", "LUNG", "SVC", "MADEUP", "", None])
def test_a_side_is_said_of_paired_parts_only(tmp_path, program, side, part):
    sources = made.sources("CT", 2)
    for source in sources:
        del source.BodyPartExamined
        if part is not None:
            source.BodyPartExamined = part
        if side is not None:
            source.Laterality = side
    paths = write(tmp_path, sources)
    objects = read(paths)
    for kind in ("sc", "gsps"):
        keeps = part not in UNPAIRED or (part == "MAXILLA" and side == "L")
        assert objects[kind].get("Laterality") == ((side or "") if keeps else None)
    if part == "MAXILLA" and side == "L":  # paired by PS3.16 table L-5, unpaired for dciodvfy: the side is kept
        return
    errors = {path.name: errors_of(program, path) for path in paths.values()}
    assert errors == {path.name: [] for path in paths.values()}


def test_the_body_part_of_a_coded_region_is_said_in_its_term(tmp_path):
    (source,) = made.sources("DX")
    del source.BodyPartExamined
    objects = read(write(tmp_path, [source], {"sc", "seg"}))
    assert {dataset.BodyPartExamined for dataset in objects.values()} == {"CHEST"}
    assert "Laterality" not in objects["sc"]


def test_a_breast_keeps_its_side(tmp_path):
    overlay = read(write(tmp_path, made.sources("MG"), {"sc"}))["sc"]
    assert (overlay.BodyPartExamined, overlay.ImageLaterality) == ("BREAST", "L")


def test_codes_of_regions_are_those_of_the_standard():
    known = {value for by_value in concepts["SCT"].values() for value in by_value}
    assert {code for code, _ in REGIONS.values()} <= known
    assert REGIONS["CHEST"] == ("816094009", "Chest")


# --- anatomy of the frames of a Parametric Map


def anatomy(tmp_path, sources):
    (groups,) = read(write(tmp_path, sources, {"pm"}))["pm"].SharedFunctionalGroupsSequence
    (item,) = groups.FrameAnatomySequence
    (region,) = item.AnatomicRegionSequence
    return region.CodeValue, region.CodeMeaning, item.FrameLaterality


@pytest.mark.parametrize(
    ("part", "side", "expected"),
    [("CHEST", None, ("816094009", "Chest", "U")), ("chest", None, ("816094009", "Chest", "U")),
     ("KNEE", "L", ("72696002", "Knee", "L")), ("KNEE", None, ("123037004", "Anatomical Structure", "U")),
     ("", None, ("123037004", "Anatomical Structure", "U")),
     ("MADEUP", "R", ("123037004", "Anatomical Structure", "U"))],
)  # fmt: skip
def test_a_parametric_map_names_the_region_that_is_known_and_no_other(tmp_path, part, side, expected):
    sources = made.sources("CT", 2)
    for source in sources:
        source.BodyPartExamined = part
        if side is not None:
            source.Laterality = side
    assert anatomy(tmp_path, sources) == expected


def test_a_parametric_map_has_the_coded_region_of_its_source(tmp_path):
    sources = made.sources("MR", 2)
    for source in sources:
        del source.BodyPartExamined
        source.AnatomicRegionSequence, source.Laterality = [made.code("71341001", "Femur")], "R"
    assert anatomy(tmp_path, sources) == ("71341001", "Femur", "R")


def test_an_enhanced_source_hands_its_own_anatomy_on(tmp_path):
    (source,) = made.sources("EMR")
    item = pydicom.Dataset()
    item.AnatomicRegionSequence, item.FrameLaterality = [made.code("64033007", "Kidney")], "R"
    (shared,) = source.SharedFunctionalGroupsSequence
    shared.FrameAnatomySequence = [item]
    for frame in source.PerFrameFunctionalGroupsSequence:
        frame.pop("FrameAnatomySequence", None)
    assert anatomy(tmp_path, [source]) == ("64033007", "Kidney", "R")


def test_frames_of_different_anatomy_have_none_in_common(tmp_path):
    (source,) = made.sources("EMR")
    (shared,) = source.SharedFunctionalGroupsSequence
    shared.pop("FrameAnatomySequence", None)
    source.pop("BodyPartExamined", None)
    for number, frame in enumerate(source.PerFrameFunctionalGroupsSequence):
        item = pydicom.Dataset()
        item.AnatomicRegionSequence = [made.code("64033007", "Kidney")]
        item.FrameLaterality = "RL"[number % 2]
        frame.FrameAnatomySequence = [item]
    assert anatomy(tmp_path, [source])[1:] == ("Anatomical Structure", "U")


# --- another reader


@pytest.mark.parametrize("axes", [dicoms.AXIAL, TILTED, dicoms.SAGITTAL], ids=["axial", "tilted", "sagittal"])
@pytest.mark.parametrize("kind", ["CT", "EMR"])
@pytest.mark.parametrize("changed", ["", "thin", "turned round"])
def test_dcmqi_and_itk_find_every_value_at_its_place(tmp_path, kind, axes, changed):
    """The reader of 3D Slicer, and ITK's: they share no code with what writes. Neither looks at the order of frames."""
    sitk = pytest.importorskip("SimpleITK")
    sources = made.sources(kind, axes=axes)
    positions = dicoms.positions(4, axes)
    if kind in made.ENHANCED:
        frames = sources[0].PerFrameFunctionalGroupsSequence
        positions = [np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float) for frame in frames]
    elif changed == "thin":
        for source in sources:
            del source.SliceThickness
    elif changed:
        sources.reverse()
        positions.reverse()
    paths = write(tmp_path / "objects", sources, opacity=1.0, palette="gray", blend="uniform")
    for name, object_kind, file in (("paramap2itkimage", "pm", "pmap"), ("segimage2itkimage", "seg-binary", "1")):
        done = _dcmqi(name, "--inputDICOM", paths[object_kind], "--outputDirectory", tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        paths[object_kind] = tmp_path / f"{file}.nrrd"
    values = heat(sources)
    for object_kind, expected in (("pm", values), ("seg-binary", values >= 0.5), ("sc", values * 255)):
        image = sitk.ReadImage(str(paths[object_kind]))
        for plane, row, column in ((0, 0, 0), (2, 7, 5), (3, 23, 19)):
            place = positions[plane] + column * 0.7 * np.array(axes[0]) + row * 0.8 * np.array(axes[1])
            found = image[image.TransformPhysicalPointToIndex([float(v) for v in place])]
            found = found[0] if object_kind == "sc" else found
            assert abs(found - expected[plane, row, column]) <= 2 * (object_kind == "sc"), object_kind


def _dcmqi(name, *arguments):
    program = python_program(name, package="dcmqi")
    command = [program, *map(str, arguments), "--outputType", "nrrd"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


# --- series, times, status


def test_no_two_series_of_a_study_have_one_number(tmp_path):
    sources, numbers = made.sources("CT", 2), {}
    for method in ("grad-cam", "cf-cam"):
        for index in (0, 1):
            result = dataclasses.replace(RESULT, method=method, class_index=index)
            for dataset in read(write(tmp_path / f"{method}{index}", sources, result=result)).values():
                numbers.setdefault(dataset.SeriesNumber, set()).add(dataset.SeriesInstanceUID)
    assert len(numbers) == 4 * 6
    assert all(len(uids) == 1 for uids in numbers.values())
    again = {d.SeriesNumber for d in read(write(tmp_path / "again", sources, result=result)).values()}
    assert again <= set(numbers)


@pytest.mark.parametrize("kind", ["CT", "CR"])
def test_objects_say_when_they_were_made_and_not_when_their_source_was(tmp_path, kind):
    before = datetime.now().replace(microsecond=0)
    objects = read(write(tmp_path, made.sources(kind)))
    for dataset in objects.values():
        at = datetime.strptime(dataset.InstanceCreationDate + dataset.InstanceCreationTime, "%Y%m%d%H%M%S")
        assert before <= at <= datetime.now()
        assert dataset.StudyDate == "20240506"
    assert objects["sc"].DateOfSecondaryCapture == objects["sc"].InstanceCreationDate
    assert objects["gsps"].PresentationCreationDate == objects["gsps"].InstanceCreationDate


def test_the_same_object_made_later_is_the_same_file(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    sources = made.sources("CT", 2)
    first = {path: path.read_bytes() for path in write(tmp_path, sources).values()}
    assert {pydicom.dcmread(path).InstanceCreationDate for path in first} == {"20231114"}
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1800000000")
    assert {path: path.read_bytes() for path in write(tmp_path, sources).values()} == first
    other = write(tmp_path / "other", sources)
    assert {pydicom.dcmread(path).InstanceCreationDate for path in other.values()} == {"20270115"}


def test_a_wrong_moment_from_outside_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(InputError, match=r"SOURCE_DATE_EPOCH is 'yesterday'"):
        write(tmp_path, made.sources("CR"))


def test_a_moment_that_is_given_is_written_everywhere(tmp_path):
    result = dataclasses.replace(RESULT, created=datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC))
    for dataset in read(write(tmp_path, made.sources("CT", 2), result=result)).values():
        assert (dataset.InstanceCreationDate, dataset.get("ContentDate", "20250102")) == ("20250102", "20250102")


def test_a_report_is_as_preliminary_as_highdicom_makes_it(tmp_path):
    report = read(write(tmp_path, made.sources("CR")))["sr"]
    flags = (report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag)
    assert flags == ("PARTIAL", "UNVERIFIED", "PRELIMINARY")


# --- one overlay for a volume


@pytest.mark.parametrize("kind", [*made.SERIES, *made.ENHANCED])
def test_the_overlay_of_a_volume_is_one_object_with_a_place_for_each_plane(tmp_path, kind):
    sources = made.sources(kind, axes=TILTED)
    overlay = read(write(tmp_path, sources, {"sc"}, opacity=1.0, palette="gray", blend="uniform"))["sc"]
    assert overlay.SOPClassUID.name == "Multi-frame True Color Secondary Capture Image Storage"
    assert overlay.pixel_array.shape == (4, 24, 20, 3)
    order = slice(None, None, -1 if kind in made.ENHANCED else 1)  # highdicom converts from the head down
    assert np.abs(overlay.pixel_array[..., 0] - heat(sources)[order] * 255).max() < 2
    for frame, place in zip(overlay.PerFrameFunctionalGroupsSequence, dicoms.positions(4, TILTED), strict=True):
        assert np.allclose(frame.PlanePositionSequence[0].ImagePositionPatient, place, atol=1e-5)
    assert len(overlay.SourceImageSequence) == len(sources)


def test_planes_without_a_place_become_one_overlay_without_one(tmp_path):
    sources = made.sources("CT", 3)
    for source in sources:
        del source.FrameOfReferenceUID
    paths = write(tmp_path, sources, {"sc"})
    overlay = read(paths)["sc"]
    assert overlay.NumberOfFrames == 3
    for key in ("FrameOfReferenceUID", "PerFrameFunctionalGroupsSequence", "ImagePositionPatient"):
        assert key not in overlay
    for program in ("dciodvfy", "dciodvfy of PyPI"):
        assert errors_of(program, paths["sc"]) == []


# --- what a source lacks


@pytest.mark.parametrize("empty", [False, True], ids=["absent", "empty"])
@pytest.mark.parametrize(("planes", "even"), [(3, True), (3, False), (1, True)])
def test_a_thickness_that_is_missing_costs_what_needs_it_by_name(tmp_path, planes, even, empty):
    """A Segmentation says how thick its planes are, and takes their distance if they have one; nothing else does."""
    sources = made.sources("CT", planes)
    if not even:
        sources[0].ImagePositionPatient = [-100, -80, 47]
    for source in sources:
        source.SliceThickness = None
        if not empty:
            del source.SliceThickness
    fitting, notes = fitting_kinds(sources, ALL)
    refused: dict[str, str] = {}
    paths = write(tmp_path, sources, ALL, refused=refused)
    assert all("SliceThickness" in note for note in notes)
    if planes > 1 and even:
        assert (fitting, len(notes), refused) == (ALL, 1, {})
        region = read(paths)["seg-binary"]
        assert region.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness == 2.5
    else:
        assert (fitting, len(notes)) == (("pm", "sc", "gsps"), 2)
        assert "SliceThickness" in refused["seg-binary"]
        assert set(paths) == {"pm", "sc", "gsps"} == set(write(tmp_path, sources))
    for program in ("dciodvfy", "dciodvfy of PyPI"):
        assert {path.name: errors_of(program, path) for path in paths.values()} == {p.name: [] for p in paths.values()}


LACKS_NOTHING = ("StudyID", "AcquisitionNumber", "SeriesNumber", "InstanceNumber", "PatientPosition",
                 "PositionReferenceIndicator", "AccessionNumber", "ReferringPhysicianName", "PatientBirthDate",
                 "PatientSex", "StudyTime", "StudyDate", "Manufacturer", "ManufacturerModelName", "ImageType",
                 "WindowCenter", "RescaleSlope", "RescaleType", "BurnedInAnnotation", "ContentDate", "BodyPartExamined",
                 "SoftwareVersions", "KVP", "LossyImageCompression")  # fmt: skip


@pytest.mark.parametrize("empty", [False, True], ids=["absent", "empty"])
@pytest.mark.parametrize("key", LACKS_NOTHING)
def test_what_no_object_needs_costs_none(tmp_path, key, empty):
    sources = made.sources("CT", 2)
    for source in sources:
        if empty:
            setattr(source, key, None)
        else:
            delattr(source, key)
    if key in ("WindowCenter", "RescaleSlope"):  # half a transformation is none
        for source in sources:
            source.pop(key, None)
            source.pop({"WindowCenter": "WindowWidth", "RescaleSlope": "RescaleIntercept"}[key], None)
    refused: dict[str, str] = {}
    paths = write(tmp_path, sources, ALL, refused=refused)
    assert refused == {}
    assert len(paths) == 6
    for program in ("dciodvfy", "dciodvfy of PyPI"):
        assert {path.name: errors_of(program, path) for path in paths.values()} == {p.name: [] for p in paths.values()}


@pytest.mark.parametrize("how", ["absent", "empty", "one of them"])
@pytest.mark.parametrize(
    "key", ["FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"]
)
def test_a_place_that_is_missing_costs_what_needs_a_place_by_name(tmp_path, key, how):
    sources = made.sources("CT", 3)
    for source in sources[2 if how == "one of them" and key != "FrameOfReferenceUID" else 0 :]:
        if how == "empty":
            setattr(source, key, None)
        else:
            delattr(source, key)
    fitting, notes = fitting_kinds(sources, ALL)
    assert fitting == ("sc", "gsps")
    assert len(notes) == 3
    for kind, note in zip(PLACED, notes, strict=True):
        assert note.startswith(f"{kind}: ")
        assert key in note
    assert set(write(tmp_path, sources)) == {"sc", "gsps"}
    with pytest.raises((InputError, ImageError), match=key):
        write(tmp_path / "all", sources, {"pm", "sc"})
    assert not (tmp_path / "all").exists()
    refused: dict[str, str] = {}
    assert set(write(tmp_path / "some", sources, ALL, refused=refused)) == {"sc", "gsps"}
    assert set(refused) == {"pm", "seg-fractional", "seg-binary", "sr"}
    assert key in refused["pm"]
    assert key in refused["seg-binary"]


@pytest.mark.parametrize("key", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_one_slice_without_a_place_is_written_as_a_radiograph_is(tmp_path, key):
    (source,) = made.sources("CT", 1)
    delattr(source, key)
    fitting, notes = fitting_kinds(source, ALL)
    assert fitting == ("seg", "sr", "sc", "gsps")
    assert key in notes[0]
    paths = write(tmp_path, [source])
    for program in ("dciodvfy", "dciodvfy of PyPI"):
        assert {path.name: errors_of(program, path) for path in paths.values()} == {p.name: [] for p in paths.values()}


@pytest.mark.parametrize("kind", ["CR", "DX", "MG", "US"])
@pytest.mark.parametrize(
    "key", ["PatientOrientation", "Laterality", "ImageLaterality", "ImagerPixelSpacing", "StudyID"]
)
def test_radiographs_without_what_they_should_have_are_written(tmp_path, kind, key):
    (source,) = made.sources(kind)
    source.pop(key, None)
    refused: dict[str, str] = {}
    paths = write(tmp_path, [source], ("seg", "sr", "sc"), refused=refused)
    assert refused == {}
    assert set(paths) == {"seg-fractional", "seg-binary", "sr", "sc"}


def test_a_frame_of_reference_without_a_place_makes_a_radiograph_no_volume(tmp_path):
    """Mammograms often have one."""
    (source,) = made.sources("MG")
    source.FrameOfReferenceUID, source.PositionReferenceIndicator = "1.2.2", ""
    fitting, notes = fitting_kinds([source], ALL)
    assert "pm" not in fitting
    assert "ImagePositionPatient" in notes[0]
    assert set(write(tmp_path, [source])) == {"seg-fractional", "seg-binary", "sr", "sc", "gsps"}


def test_an_element_that_is_not_valid_costs_what_inherits_it_and_quotes_nothing(tmp_path):
    sources = made.sources("CT", 2)
    broken = deepcopy(sources)
    for source in broken:
        source.PositionReferenceIndicator = None
        source.PatientSex = "PLANTED"
    refused: dict[str, str] = {}
    write(tmp_path, broken, ALL, refused=refused)
    assert refused
    assert "PLANTED" not in str(refused)
