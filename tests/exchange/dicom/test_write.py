from __future__ import annotations

import dataclasses
from copy import deepcopy
from datetime import datetime

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

from cfcam.clinical.regions import measure  # noqa: E402
from cfcam.errors import ImageError, InputError  # noqa: E402
from cfcam.exchange import measurements_of, sources_of, write_objects  # noqa: E402
from cfcam.exchange.dicom import structured_report  # noqa: E402
from cfcam.exchange.dicom.presentation_state import contours  # noqa: E402
from cfcam.exchange.dicom.write import made_objects  # noqa: E402
from cfcam.imaging import read_image  # noqa: E402
from cfcam.imaging.measured import Measured  # noqa: E402
from cfcam.imaging.reading.volumes import read_volume  # noqa: E402
from tests.exchange.phantoms import (  # noqa: E402
    AXES,
    PEAK,
    RESULT,
    SHAPE,
    SPACING,
    THRESHOLD,
    ct_sources,
    errors_of,
    heatmap,
    place_by_hand,
    radiograph,
)
from tests.imaging import dicoms  # noqa: E402

ALL = {"pm", "seg", "sr", "sc", "gsps"}
MEASURED = {"volume_mm3": 12.5, "mean": 0.625, "peak_x_mm": -3.25}


def write(tmp_path, kinds, sources=None, values=None, result=RESULT, **options):
    sources = ct_sources() if sources is None else sources
    values = heatmap() if values is None else values
    options = {"threshold": THRESHOLD, "output": tmp_path, "measurements": MEASURED} | options
    return write_objects(sources, values, result, kinds=kinds, **options)


def read(paths, kind):
    return [pydicom.dcmread(path) for path in paths if path.name.startswith(f"{kind}_")]


def content(dataset, meaning):
    """All content items of a name, from anywhere in the tree."""
    found = []
    for item in dataset.get("ContentSequence", ()):
        if item.get("ConceptNameCodeSequence") and item.ConceptNameCodeSequence[0].CodeMeaning == meaning:
            found.append(item)
        found += content(item, meaning)
    return found


def planes_by_place(dataset):
    """Position of each frame of a multi-frame object."""
    frames = dataset.PerFrameFunctionalGroupsSequence
    return [np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float) for frame in frames]


def in_source_order(dataset, stored):
    """The planes of the phantom, wherever the object keeps them."""
    places = [place_by_hand(n, 0, 0) for n in range(SHAPE[0])]
    frames = planes_by_place(dataset)
    return stored[[next(f for f, at in enumerate(frames) if np.allclose(at, place, atol=1e-3)) for place in places]]


@pytest.mark.parametrize("kind", ["pm", "seg-fractional", "seg-binary"])
def test_every_value_lies_where_its_source_pixel_lies(tmp_path, kind):
    (dataset,) = read(write(tmp_path, {"pm", "seg"}), kind)
    stored = pydicom.pixel_array(tmp_path / f"{kind}_{dataset.SOPInstanceUID}.dcm")
    shared = dataset.SharedFunctionalGroupsSequence[0]
    orientation = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    spacing = [float(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing]
    expected = {"pm": heatmap(), "seg-fractional": np.rint(heatmap() * 255), "seg-binary": heatmap() >= 0.5}[kind]
    for number, origin in enumerate(planes_by_place(dataset)):
        (plane,) = [n for n in range(SHAPE[0]) if np.allclose(place_by_hand(n, 0, 0), origin, atol=1e-3)]
        assert np.array_equal(stored[number], expected[plane])
        far = origin + 14 * spacing[1] * orientation[:3] + 6 * spacing[0] * orientation[3:]
        assert np.allclose(far, place_by_hand(plane, 6, 14), atol=1e-3)
    assert len(stored) == SHAPE[0]


def test_parametric_map_keeps_every_bit(tmp_path):
    values = np.nextafter(heatmap(), np.float32(2))
    (dataset,) = read(write(tmp_path, {"pm"}, values=values), "pm")
    stored = np.frombuffer(dataset.FloatPixelData, "<f4").reshape(SHAPE)
    assert in_source_order(dataset, stored).tobytes() == values.tobytes()


def test_parametric_map_takes_signed_values(tmp_path):
    (dataset,) = read(write(tmp_path, {"pm"}, values=heatmap() * 9 - 3), "pm")
    stored = np.frombuffer(dataset.FloatPixelData, "<f4").reshape(SHAPE)
    assert np.array_equal(in_source_order(dataset, stored), heatmap() * 9 - 3)


def test_fractions_are_off_by_half_a_level_at_most(tmp_path):
    (dataset,) = read(write(tmp_path, {"seg"}), "seg-fractional")
    stored = np.frombuffer(dataset.PixelData, np.uint8)[: heatmap().size].reshape(SHAPE) / 255
    assert np.abs(in_source_order(dataset, stored) - heatmap()).max() <= 1 / 510 + 1e-6


@pytest.mark.parametrize(("shape", "kind"), [((5, 5), "seg-fractional"), ((3, 5), "sc"), ((2, 4), "seg-binary")])
def test_pixels_of_an_odd_number_of_bytes_end_with_null(tmp_path, shape, kind):
    """Of the two bytes of a mask of eight pixels the second one has no bit that nobody drew."""
    source = dicoms.ct(np.zeros(shape, int), dicoms.positions(1, AXES)[0], AXES, SPACING)
    values = np.zeros(shape, np.float32)
    values[0, 0] = 1
    (dataset,) = read(write(tmp_path, {"seg", "sc"}, sources=[source], values=values[None]), kind)
    assert len(dataset.PixelData) % 2 == 0
    assert dataset.PixelData[-1] == 0
    if kind == "seg-binary":
        assert dataset.PixelData == b"\x01\0"


@pytest.mark.parametrize("kind", ["seg-fractional", "seg-binary"])
def test_planes_that_end_within_a_byte_lie_one_behind_the_other(tmp_path, kind):
    """Fifteen bits each (PS3.5 section 8.1.1), and not in the order of the sources, which is from the head down."""
    places = dicoms.positions(3, AXES)
    sources = [dicoms.ct(np.zeros((3, 5), int), place, AXES, SPACING) for place in places[::-1]]
    for number, source in enumerate(sources):
        source.SOPInstanceUID = source.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number + 1}"
    values = np.random.default_rng(7).integers(0, 256, (3, 3, 5)).astype(np.float32) / 255
    (dataset,) = read(write(tmp_path, {"seg"}, sources=sources, values=values), kind)
    stored = pydicom.pixel_array(tmp_path / f"{kind}_{dataset.SOPInstanceUID}.dcm")
    expected = np.rint(values * 255) if kind == "seg-fractional" else values >= THRESHOLD
    order = [next(n for n, at in enumerate(places[::-1]) if np.allclose(at, one)) for one in planes_by_place(dataset)]
    assert sorted(order) == [0, 1, 2]
    assert np.array_equal(stored, expected[order])
    assert (dataset.Rows, dataset.Columns, [int(source.Rows) for source in sources]) == (3, 5, [3] * 3)


def test_simpleitk_finds_the_peak_of_the_overlay_where_the_phantom_has_it(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    (path,) = write(tmp_path, {"sc"}, opacity=1.0, palette="gray", blend="uniform")
    image = sitk.ReadImage(str(path))
    array = sitk.GetArrayFromImage(image)[..., 0]
    k, j, i = (int(n) for n in np.unravel_index(array.argmax(), array.shape))
    assert np.allclose(image.TransformIndexToPhysicalPoint((i, j, k)), place_by_hand(*PEAK), atol=1e-3)


def test_simpleitk_finds_the_second_region_by_its_place(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    (path,) = write(tmp_path, {"sc"}, opacity=1.0, palette="gray", blend="uniform")
    image = sitk.ReadImage(str(path))
    index = image.TransformPhysicalPointToIndex([float(v) for v in place_by_hand(1, 20, 3)])
    assert image[index][0] == round(0.6 * 255)


def test_radiograph_keeps_its_sides(tmp_path):
    source, values = radiograph(), heatmap(SHAPE[1:])
    paths = write(tmp_path, {"seg", "sc"}, [source], values, opacity=1.0, palette="gray", blend="uniform")
    (fractional,), (overlay,) = read(paths, "seg-fractional"), read(paths, "sc")
    for dataset in (fractional, overlay):
        assert list(dataset.PatientOrientation) == ["L", "F"]
    expected = np.rint(values * 255).astype(np.uint8)
    assert np.array_equal(np.frombuffer(fractional.PixelData, np.uint8)[: values.size].reshape(values.shape), expected)
    assert np.abs(overlay.pixel_array[..., 0].astype(int) - expected).max() <= 1


def test_overlay_says_in_letters_where_it_points(tmp_path):
    source = dicoms.ct(np.zeros((4, 4)), (0, 0, 0), dicoms.CORONAL)
    (overlay,) = read(write(tmp_path, {"sc"}, [source], np.zeros((4, 4), np.float32)), "sc")
    assert list(overlay.PatientOrientation) == ["L", "F"]


@pytest.mark.parametrize(("flag", "expected"), [("YES", "YES"), ("NO", "NO"), (None, "NO")])
def test_overlay_keeps_the_burned_in_flag(tmp_path, flag, expected):
    source = radiograph()
    if flag:
        source.BurnedInAnnotation = flag
    (overlay,) = read(write(tmp_path, {"sc"}, [source], heatmap(SHAPE[1:])), "sc")
    assert overlay.BurnedInAnnotation == expected
    assert overlay.SeriesDescription.startswith("Research use")


def test_parametric_map_of_a_radiograph_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(InputError, match=r"Frame of Reference.*write seg"):
        write(tmp_path / "out", ALL, [radiograph()], heatmap(SHAPE[1:]))
    assert not (tmp_path / "out").exists()


def test_report_holds_the_numbers_and_refers_to_the_region_that_was_written(tmp_path):
    paths = write(tmp_path, {"sr"})
    (report,), (region,) = read(paths, "sr"), read(paths, "seg-binary")
    for meaning, value, unit in (("Volume", 12.5, "mm3"), ("Mean", 0.625, "1")):
        (item,) = content(report, meaning)
        measured = item.MeasuredValueSequence[0]
        assert float(measured.NumericValue) == value
        assert measured.MeasurementUnitsCodeSequence[0].CodeValue == unit
    (probability,) = content(report, "Probability of the class, as the model gives it")
    assert float(probability.MeasuredValueSequence[0].NumericValue) == 0.87
    (reference,) = content(report, "Referenced Segment")
    assert reference.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == region.SOPInstanceUID
    parameters = {item.TextValue for item in content(report, "Algorithm Parameters")}
    assert {f"weights SHA-256: {'ab' * 32}", "threshold: 0.5", "blur: 2", "layer: layer4"} <= parameters


@pytest.mark.parametrize("sources", [ct_sources, lambda: [radiograph()]], ids=["scan", "radiograph"])
def test_report_is_what_highdicom_makes_of_its_whole_content(tmp_path, monkeypatch, sources):
    """Ours is given to it hollow, which takes half the time, and filled afterwards."""
    given = sources()
    heat = heatmap() if len(given) > 1 else heatmap(SHAPE[1:])
    result = dataclasses.replace(RESULT, created=datetime(2026, 1, 2, 4, 4, 5))
    (ours,) = [path for path in write(tmp_path / "ours", {"sr"}, given, heat, result) if path.name.startswith("sr")]
    monkeypatch.setattr(structured_report, "hollow", lambda root: root)
    write(tmp_path / "theirs", {"sr"}, given, heat, result)
    assert ours.read_bytes() == (tmp_path / "theirs" / ours.name).read_bytes()


def test_overlay_on_a_picture_at_hand_is_that_on_the_decoded_source(tmp_path):
    shown = read_image(dicoms.save(radiograph(), tmp_path / "film.dcm")).rgb()
    given = ([radiograph()], heatmap(SHAPE[1:]), RESULT)
    made = [dict(made_objects(*given, kinds={"sc"}, threshold=THRESHOLD, shown=one)) for one in (None, shown)]
    assert made[0]["sc"].PixelData == made[1]["sc"].PixelData
    other = dict(made_objects(*given, kinds={"sc"}, threshold=THRESHOLD, shown=255 - shown))["sc"]
    assert other.PixelData != made[0]["sc"].PixelData


def test_report_of_one_plane_gives_frame_or_segment_but_not_both(tmp_path):
    (report,) = read(write(tmp_path, {"sr"}, [radiograph()], heatmap(SHAPE[1:])), "sr")
    (item,) = content(report, "Referenced Segmentation Frame")
    assert item.ReferencedSOPSequence[0].ReferencedFrameNumber == 1
    assert "ReferencedSegmentNumber" not in item.ReferencedSOPSequence[0]


def test_finding_keeps_its_tracking_uid_at_the_next_study(tmp_path):
    later = ct_sources()
    for source in later:
        source.StudyInstanceUID, source.SeriesInstanceUID = "1.2.9.1", "1.2.9.2"
        source.SOPInstanceUID = pydicom.uid.generate_uid()
    stranger = ct_sources()
    for source in stranger:
        source.PatientID = "other"
    uids = []
    for n, sources in enumerate((ct_sources(), later, stranger)):
        (report,) = read(write(tmp_path / str(n), {"sr"}, sources), "sr")
        uids.append(content(report, "Tracking Unique Identifier")[0].UID)
    assert uids[0] == uids[1] != uids[2]


def test_numbers_of_the_region_come_from_measure(tmp_path):
    import torch

    affine = np.diag([-1.0, -1, 1, 1]) @ np.array(
        [[*step, start] for *step, start in zip(*[place_by_hand(*p) - place_by_hand(0, 0, 0) for p in np.eye(3)],
                                                 place_by_hand(0, 0, 0), strict=True)] + [[0, 0, 0, 1]]
    )  # fmt: skip
    numbers = measurements_of(measure(torch.from_numpy(heatmap()), None, THRESHOLD, affine=affine)["map"])
    assert numbers["volume_mm3"] == pytest.approx((heatmap() >= 0.5).sum() * 0.8 * 0.7 * 2.5)
    assert [numbers[f"peak_{axis}_mm"] for axis in "xyz"] == pytest.approx(list(place_by_hand(*PEAK)))
    (report,) = read(write(tmp_path, {"sr"}, measurements=numbers), "sr")
    (volume,) = content(report, "Volume")
    assert float(volume.MeasuredValueSequence[0].NumericValue) == pytest.approx(numbers["volume_mm3"], rel=1e-8)


@pytest.mark.parametrize(("numbers", "message"), [({"colour": 1.0}, "no measurement is called"),
                                                  ({"mean": float("nan")}, "mean is nan")])  # fmt: skip
def test_report_refuses_what_it_cannot_say(tmp_path, numbers, message):
    with pytest.raises(InputError, match=message):
        write(tmp_path, {"sr"}, measurements=numbers)


def test_contour_and_peak_lie_on_the_slice_they_belong_to(tmp_path):
    sources = ct_sources()
    (state,) = read(write(tmp_path, {"gsps"}, sources), "gsps")
    drawn = {item.ReferencedImageSequence[0].ReferencedSOPInstanceUID: item for item in state.GraphicAnnotationSequence}
    assert set(drawn) == {sources[1].SOPInstanceUID, sources[3].SOPInstanceUID}
    graphics = drawn[sources[3].SOPInstanceUID].GraphicObjectSequence
    (peak,) = [g.GraphicData for g in graphics if g.GraphicType == "POINT"]
    assert list(peak) == [PEAK[2] + 0.5, PEAK[1] + 0.5]
    (line,) = [np.array(g.GraphicData).reshape(-1, 2) for g in graphics if g.GraphicType == "POLYLINE"]
    assert np.array_equal(line[0], line[-1])
    assert 11 < line[:, 0].min() + 0.5 < 12
    assert 4 <= line[:, 1].min() + 0.5 < 5
    assert 17.5 < line[:, 0].max() + 0.5 <= 18.5


def test_a_report_and_a_capture_of_a_radiograph_say_where_millimetres_are(tmp_path):
    film = radiograph()
    calibrated = deepcopy(film)
    calibrated.PixelSpacing, calibrated.PixelSpacingCalibrationType = [0.15, 0.15], "FIDUCIAL"
    for name, source, told in (("a", film, Measured.DETECTOR), ("b", calibrated, Measured.CALIBRATED)):
        paths = write(
            tmp_path / name, {"sc", "sr", "seg"}, [source], heatmap()[PEAK[0]], measurements={"area_mm2": 7.0}
        )
        (report,) = read(paths, "sr")
        (area,) = content(report, "Area")
        (method,) = content(area, "Measurement Method")
        assert method.ConceptCodeSequence[0].CodeMeaning == f"Millimetres {told}"
        (overlay,) = [path for path in paths if path.name.startswith("sc_")]
        assert read_image(overlay).measured is told
    (of_slices,) = read(write(tmp_path / "c", {"sr"}, measurements={"volume_mm3": 7.0}), "sr")
    assert content(of_slices, "Measurement Method") == []


def test_pixels_that_are_not_square_stay_so_in_every_object(tmp_path):
    """PS3.3 C.10.4: what a presentation state says of them counts for more than the picture; dcmpsmk says the same."""
    source = radiograph()  # 0.2 mm high, 0.1 mm wide at the detector
    unknown, film, square = deepcopy(source), deepcopy(source), deepcopy(source)
    for other in (unknown, film):
        del other.ImagerPixelSpacing
    unknown.PixelAspectRatio, film.NominalScannedPixelSpacing = [1, 3], [0.35, 0.2]
    square.ImagerPixelSpacing = [0.1, 0.1]
    for name, one, aspect in (
        ("a", source, [2, 1]),
        ("b", unknown, [1, 3]),
        ("c", film, [7, 4]),
        ("d", square, [1, 1]),
    ):
        paths = write(tmp_path / name, {"gsps", "sc", "seg"}, [one], heatmap()[PEAK[0]])
        (state,), (overlay,) = read(paths, "gsps"), read(paths, "sc")
        (area,) = state.DisplayedAreaSelectionSequence
        assert area.PresentationPixelAspectRatio == aspect
        said = [overlay, *read(paths, "seg-binary"), *read(paths, "seg-fractional")]
        for ds in said:
            spacing = ds.get("PixelSpacing")
            found = ds.get("PixelAspectRatio", [1, 1]) if spacing is None else [round(v * 10) for v in spacing]
            assert found == aspect
            assert spacing is None or "PixelAspectRatio" not in ds  # the one or the other (C.7.6.3.1.7)
    (state,) = read(write(tmp_path / "e", {"gsps"}), "gsps")
    assert state.DisplayedAreaSelectionSequence[0].PresentationPixelAspectRatio == [8, 7]  # 0.8 mm by 0.7 mm


def frame_by_frame(source, *keys):
    """The same enhanced object, with what all frames share said in each of them, as some scanners write it."""
    found = deepcopy(source)
    for key in keys:
        said = found.SharedFunctionalGroupsSequence[0][key].value
        for frame in found.PerFrameFunctionalGroupsSequence:
            setattr(frame, key, deepcopy(said))
        del found.SharedFunctionalGroupsSequence[0][key]
    return found


@pytest.mark.parametrize(
    "keys",
    [
        ["PlaneOrientationSequence"],
        ["PixelMeasuresSequence"],
        ["PlaneOrientationSequence", "PixelMeasuresSequence", "FrameVOILUTSequence"],
    ],
)
def test_what_is_said_frame_by_frame_makes_the_objects_of_what_is_said_once(tmp_path, keys):
    once = dicoms.enhanced(dicoms.phantom(SHAPE), AXES)
    for key in ("PatientSex", "AccessionNumber", "StudyID", "StudyTime", "ReferringPhysicianName"):
        setattr(once, key, "")
    each = frame_by_frame(once, *keys)
    before = deepcopy(each)
    result = dataclasses.replace(RESULT, created=datetime(2026, 1, 2, 3, 4, 5))
    first, second = (write(tmp_path / n, ALL, [one], result=result) for n, one in (("once", once), ("each", each)))
    assert [path.name for path in first] == [path.name for path in second]
    assert len(first) == 6
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name
    assert each == before  # the source stays as it is


def test_frames_that_are_rescaled_differently_get_no_state_for_all(tmp_path):
    source = dicoms.enhanced(dicoms.phantom(SHAPE), AXES, slopes=[1, 2, 1, 1, 1])
    with pytest.raises(InputError, match="rescaled frame by frame"):
        write(tmp_path, {"gsps"}, [source])


def test_a_picture_in_the_colours_of_a_palette_gets_no_state_for_grey_ones(tmp_path):
    source = radiograph()
    source.PhotometricInterpretation = "PALETTE COLOR"
    with pytest.raises(InputError, match="the source is in colour"):
        write(tmp_path, {"gsps"}, [source], heatmap()[PEAK[0]])


def test_contour_of_a_step_lies_between_the_pixels():
    plane = np.zeros((4, 6), np.float32)
    plane[1:3, 2:4] = 1
    (line,) = contours(plane, 0.5)
    assert line.min(0).tolist() == [2.0, 1.0]
    assert line.max(0).tolist() == [4.0, 3.0]


def test_contour_at_the_border_is_closed_and_stays_in_the_picture():
    plane = np.ones((3, 5), np.float32)
    (line,) = contours(plane, 0.5)
    assert np.array_equal(line[0], line[-1])
    assert line.min() >= 0
    assert (line <= [5, 3]).all()


def test_a_second_run_gives_the_same_uids_and_bytes(tmp_path, monkeypatch):
    """Objects say when they were made: for the same bytes that has to be said from outside."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    first, second = write(tmp_path / "a", ALL), write(tmp_path / "b", ALL)
    assert [path.name for path in first] == [path.name for path in second]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_a_second_run_into_the_same_folder_leaves_the_files_alone(tmp_path):
    first = write(tmp_path, ALL)
    inodes = [path.stat().st_ino for path in first]
    assert [path.stat().st_ino for path in write(tmp_path, ALL)] == inodes
    assert len(list(tmp_path.iterdir())) == len(first)


def test_other_content_under_the_same_uid_is_refused(tmp_path):
    (path,) = write(tmp_path, {"pm"})
    before = path.read_bytes()
    with pytest.raises(ImageError, match="other content under the same UID"):
        write(tmp_path, {"pm"}, values=heatmap() / 2)
    assert path.read_bytes() == before


@pytest.mark.parametrize("change", [{"method": "cam"}, {"layer": "layer3"}, {"class_index": 2},
                                    {"weights_sha256": "cd" * 32}, {"parameters": {"blur": 3}}])  # fmt: skip
def test_another_result_gets_other_uids(tmp_path, change):
    first = write(tmp_path / "a", ALL)
    other = write(tmp_path / "b", ALL, result=dataclasses.replace(RESULT, **change))
    assert not {path.name for path in first} & {path.name for path in other}


def test_another_threshold_makes_another_region_but_the_same_map(tmp_path):
    first, other = write(tmp_path / "a", ALL), write(tmp_path / "b", ALL, threshold=0.25)
    same = {path.name.split("_")[0] for path in first if path.name in {p.name for p in other}}
    assert same == {"pm", "seg-fractional"}  # the overlay shows the region's outline


def test_the_overlay_has_the_outline_of_the_region_at_its_threshold(tmp_path):
    values = np.zeros((8, 10), np.float32)
    values[2:6, 3:8], values[3:5, 4:7] = 0.5, 1
    source = dicoms.radiograph(np.zeros((8, 10), int))
    for threshold, inside in ((0.5, values >= 0.5), (0.75, values >= 0.75)):
        paths = write(tmp_path, {"seg", "sc"}, [source], values, threshold=threshold, blend="contour")
        (overlay,), (region,) = read(paths, "sc"), read(paths, "seg-binary")
        light = (overlay.pixel_array == (90, 235, 255)).all(axis=2)
        np.testing.assert_array_equal(region.pixel_array > 0, inside)
        assert light.any()
        assert inside[light].all()  # just inside of the region, all around
        rows, columns = np.nonzero(light)
        marked = np.nonzero(inside)
        assert (rows.min(), rows.max(), columns.min(), columns.max()) == (
            marked[0].min(), marked[0].max(), marked[1].min(), marked[1].max(),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("charset", "name"), [("ISO_IR 100", "Müller^Jörg"), ("ISO_IR 192", "山田^太郎"), ("ISO_IR 144", "Иванов^Иван")]
)
def test_names_and_classes_in_every_alphabet_are_read_back(tmp_path, charset, name):
    sources = ct_sources()
    for source in sources:
        source.SpecificCharacterSet, source.PatientName = charset, name
    result = dataclasses.replace(RESULT, class_name="結節 größer")
    paths = write(tmp_path, ALL, sources, result=result)
    for path in paths:
        dataset = pydicom.dcmread(path)
        assert str(dataset.PatientName) == name, path.name
        assert dataset.SpecificCharacterSet == "ISO_IR 192"
    (region,), (report,) = read(paths, "seg-binary"), read(paths, "sr")
    assert region.SegmentSequence[0].SegmentLabel == "grad-cam: 結節 größer"
    assert "class: 1 結節 größer" in {item.TextValue for item in content(report, "Algorithm Parameters")}
    for program in ("dciodvfy", "dciodvfy of PyPI"):
        assert {path.name: errors_of(program, path) for path in paths} == {path.name: [] for path in paths}


def test_plain_texts_declare_no_other_character_set(tmp_path):
    for path in write(tmp_path, ALL):
        assert "SpecificCharacterSet" not in pydicom.dcmread(path)


def test_sources_are_left_as_they_are(tmp_path):
    sources = ct_sources()
    del sources[0].PatientName
    before = deepcopy(sources)
    write(tmp_path, ALL - {"pm"}, sources)
    assert sources == before


def test_objects_belong_to_the_study_of_the_source(tmp_path):
    sources = ct_sources()
    for dataset in (pydicom.dcmread(path) for path in write(tmp_path, ALL, sources)):
        assert dataset.StudyInstanceUID == sources[0].StudyInstanceUID
        assert dataset.PatientID == sources[0].PatientID
        assert dataset.SeriesInstanceUID != sources[0].SeriesInstanceUID


def test_planes_of_a_volume_find_their_files_whatever_their_names(tmp_path):
    stored = np.random.default_rng(1).integers(0, 2000, SHAPE)
    dicoms.ct_series(tmp_path / "in", stored, AXES, spacing=SPACING)
    volume = read_volume(tmp_path / "in")
    sources, values = sources_of(volume, heatmap())
    (dataset,) = read(write(tmp_path / "out", {"pm"}, sources, values), "pm")
    frames = np.frombuffer(dataset.FloatPixelData, "<f4").reshape(SHAPE)
    assert np.array_equal(in_source_order(dataset, frames), heatmap())


def test_enhanced_object_keeps_its_frames(tmp_path):
    places = dicoms.positions(4, AXES)
    source = dicoms.enhanced(np.random.default_rng(1).integers(0, 2000, (4, 10, 12)), AXES, where=places)
    values = np.random.default_rng(3).random((4, 10, 12)).astype(np.float32)
    paths = write(tmp_path, {"pm", "seg", "sr", "sc"}, [source], values)
    (dataset,) = read(paths, "pm")
    frames = np.frombuffer(dataset.FloatPixelData, "<f4").reshape(values.shape)
    for frame, origin in zip(frames, planes_by_place(dataset), strict=True):
        (plane,) = [n for n, place in enumerate(places) if np.allclose(place, origin, atol=1e-3)]
        assert np.array_equal(frame, values[plane])


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda s: s.clear(), InputError, "no source"),
        (lambda s: setattr(s[1], "StudyInstanceUID", "1.2.77"), ImageError, "differ in StudyInstanceUID"),
        (lambda s: s.pop(), InputError, "map of shape"),
        (lambda s: s.__setitem__(1, s[0]), InputError, "there twice"),
        (lambda s: delattr(s[2], "SOPInstanceUID"), ImageError, "source 3 of 5: has no SOPInstanceUID"),
        (lambda s: setattr(s[0], "PatientSex", "PLANTED"), ImageError, "inherit"),
    ],
)
def test_sources_that_do_not_fit_are_refused_without_a_word_of_the_patient(tmp_path, spoil, error, message):
    sources = ct_sources()
    spoil(sources)
    with pytest.raises(error, match=message) as caught:
        write(tmp_path, {"pm"}, sources)
    assert "PLANTED" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["seg", "sc", "gsps", "sr"])
def test_maps_outside_of_the_unit_range_are_refused(tmp_path, kind):
    with pytest.raises(InputError, match="normalise it first"):
        write(tmp_path, {kind}, values=heatmap() * 2)


def test_a_map_that_is_not_finite_is_refused(tmp_path):
    with pytest.raises(InputError, match="no finite numbers"):
        write(tmp_path, {"pm"}, values=heatmap() * np.float32("nan"))


def test_an_empty_region_can_be_written_and_reported(tmp_path):
    paths = write(tmp_path, ALL, values=heatmap() * np.float32(0.1))
    (region,) = read(paths, "seg-binary")
    assert not any(region.PixelData)
