"""One study without a folder run: the result of the folder run, its refusals in the same words, and no file."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image as PILImage

pytest.importorskip("pydicom")

from cfcam.clinical.report import write_report
from cfcam.errors import CfcamError, ImageError, InputError, LayerError, MissingExtraError, ModelError
from cfcam.imaging import Image, Preprocess, VolumePreprocess, read_image, read_volume
from cfcam.jobs import (
    FolderRun,
    Settings,
    StudyExplainer,
    StudySettings,
    VolumeRun,
    VolumeSettings,
    Windows,
    explain_study,
    find_inputs,
    is_volume_run,
)
from cfcam.jobs.study.run import Studies
from cfcam.models import load
from tests.imaging import dicoms
from tests.jobs.studies import MARKER, SHAPE, THREE_D, ct_study, marked_voxels, nodule_phantom, phantom_radiograph
from tests.jobs.world import NETWORKS, draw

UNIT = VolumePreprocess(intensity="unit")
ONLY = ("settings", "settings_sha256")  # of the folder run: its colours and files too


def bright():
    return load(f"{THREE_D}:bright", classes=("bright", "dark"))


def differences(one, other, at="study"):
    """Where two values differ, by the names of their fields."""
    if dataclasses.is_dataclass(one):
        names = [field.name for field in dataclasses.fields(one)]
        return [d for name in names for d in differences(getattr(one, name), getattr(other, name), f"{at}.{name}")]
    if isinstance(one, Mapping):
        names = [name for name in {*one, *other} if not (at.endswith(".provenance") and name in ONLY)]
        return [d for name in names for d in differences(one.get(name), other.get(name), f"{at}[{name}]")]
    if isinstance(one, tuple | list) and len(one) == len(other):
        return [d for n, (a, b) in enumerate(zip(one, other, strict=True)) for d in differences(a, b, f"{at}[{n}]")]
    if isinstance(one, np.ndarray):
        return [] if type(other) is type(one) and np.array_equal(one, other) else [at]
    return [] if one == other else [at]


def in_a_folder_run(monkeypatch, path, output, model, how, *, volumes=None, **settings):
    """The one study of a folder run as it was made, and what became of it."""
    made = []
    tables = Studies._tables
    monkeypatch.setattr(Studies, "_tables", lambda self, study, stem: made.append(study) or tables(self, study, stem))
    inputs = find_inputs([path], output=output)
    chosen = Settings(output=output, study=how, **settings)
    if is_volume_run(model.module, inputs):
        (outcome,) = VolumeRun(model, inputs, chosen, volumes)
    else:
        (outcome,) = FolderRun(model, inputs, chosen)
    return (made or [None])[0], outcome


def masked(folder):
    """A radiograph, and masks of its organ, an artefact and a finding."""
    path = phantom_radiograph(folder / "in" / "chest.dcm")
    nodule = nodule_phantom().masks["nodule"]
    for name, mask in (("organ", nodule), ("device", nodule[::-1])):
        (folder / name).mkdir()
        PILImage.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(folder / name / "chest.png")
    given = (("organ", "organ"), ("artefacts", "device"), ("findings", "organ"))
    return path, tuple((kind, str(folder / name)) for kind, name in given)


# --- the same result


def test_a_radiograph_with_masks_and_uncertainty_is_that_of_the_folder_run(tmp_path, monkeypatch):
    path, masks = masked(tmp_path)
    how = StudySettings(masks=masks, uncertainty=("methods", "augmentation"), peak_stability=True, threshold=0.5)
    asked = {"methods": ("grad-cam", "cf-cam"), "targets": ("nodule", "top-2")}
    expected, _ = in_a_folder_run(monkeypatch, path, tmp_path / "out", load("demo"), how, window=(2000, 3000), **asked)
    found = explain_study(load("demo"), path, **asked, window=(2000, 3000), settings=how)
    assert differences(expected, found) == []
    assert len(found.checks) > 3
    assert len(found.uncertainty) == 2
    assert len(found.maps) == 4
    assert found.maps[0].regions.stability is not None
    assert found.name.startswith("study-")


@pytest.mark.parametrize("windows", [None, Windows(9)])
def test_a_series_is_that_of_the_folder_run(tmp_path, monkeypatch, windows):
    ct_study(tmp_path / "in")
    volume = read_volume(tmp_path / "in")
    marked = np.zeros(SHAPE, np.uint8)
    marked[tuple(slice(at - 1, at + 2) for at in MARKER)] = 1
    nib.save(nib.Nifti1Image(marked, volume.affine), tmp_path / "device.nii.gz")
    how = StudySettings(
        masks=(("artefacts", str(tmp_path / "device.nii.gz")),), uncertainty=("mc-dropout",), samples=4, keep_dates=True
    )
    model, volumes = load(f"{THREE_D}:unsure", classes=("bright", "dark")), VolumeSettings(windows=windows)
    asked = {"methods": ("grad-cam",), "preprocess": UNIT, "window": (40, 400)}
    expected, _ = in_a_folder_run(
        monkeypatch, tmp_path / "in", tmp_path / "out", model, dataclasses.replace(how, report=("html",)),
        volumes=volumes, **asked,
    )  # fmt: skip
    found = explain_study(model, tmp_path / "in", **asked, volumes=volumes, settings=how)
    expected = dataclasses.replace(expected, record_id=None)
    assert differences(expected, found) == []
    assert (found.modality, found.window) == ("CT", (-160, 240))
    assert found.origin is not None
    peak = np.unravel_index(found.maps[0].heatmap.argmax(), SHAPE)
    assert np.abs(np.array(peak) - MARKER).max() <= 1


def test_a_nifti_is_that_of_the_folder_run(tmp_path, monkeypatch):
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(marked_voxels().astype(np.float32), np.diag([1.0, 2, 3, 1])), path)
    how = StudySettings(peak_stability=True)
    asked = {"methods": ("grad-cam",), "preprocess": UNIT}
    expected, _ = in_a_folder_run(monkeypatch, path, tmp_path / "out", bright(), how, **asked)
    found = explain_study(bright(), path, **asked, settings=how)
    assert differences(expected, found) == []
    assert found.name == "scan"
    assert found.spacing == (1, 2, 3)


def test_peaks_are_measured_as_for_a_report(tmp_path, monkeypatch):
    path = draw(tmp_path / "a.png")
    asked = {"methods": ("grad-cam", "score-cam")}
    model = load(f"{NETWORKS}:brightness", classes=("bright", "dark"))
    asked["preprocess"] = Preprocess(size=32, mean=(0, 0, 0), std=(1, 1, 1))
    reported = StudySettings(report=("html",))
    expected, _ = in_a_folder_run(monkeypatch, path, tmp_path / "out", model, reported, **asked)
    found = explain_study(model, path, **asked)
    assert differences(expected, found) == []
    assert [one.regions.stability is None for one in found.maps] == [False, True]
    assert any("score-cam" in line for line in found.limits)
    never = explain_study(model, path, **asked, settings=StudySettings(peak_stability=False))
    assert all(one.regions.stability is None for one in never.maps)


def test_one_set_up_gives_each_study_what_it_gets_alone(tmp_path):
    paths = [phantom_radiograph(tmp_path / "a.dcm"), draw(tmp_path / "b.png")]
    explainer = StudyExplainer(load("demo"), ("grad-cam",))
    assert explainer.layer
    together = [explainer(path) for path in paths]
    alone = [explain_study(load("demo"), path, ("grad-cam",)) for path in paths]
    assert [differences(one, other) for one, other in zip(together, alone, strict=True)] == [[], []]
    assert together[0].provenance["settings_sha256"] == together[1].provenance["settings_sha256"]
    other = explain_study(load("demo"), paths[0], ("grad-cam",), ("nodule",))
    assert other.provenance["settings_sha256"] != together[0].provenance["settings_sha256"]


def test_notes_are_of_the_set_up_and_of_the_study_explained_last(tmp_path):
    explainer = StudyExplainer(load("demo"), ("grad-cam",), settings=StudySettings(uncertainty=("mc-dropout",)))
    before = explainer.notes
    assert any("not stated by the network" in note for note in StudyExplainer(bright(), ("grad-cam",)).notes)
    explainer(phantom_radiograph(tmp_path / "grey.dcm"))
    assert "it is grey: repeated to 3 channels" in explainer.notes
    assert any("MC dropout is not available" in note for note in explainer.notes)
    explainer(draw(tmp_path / "coloured.png"))
    assert "it is grey: repeated to 3 channels" not in explainer.notes
    assert set(before) <= set(explainer.notes)


# --- nothing is written


def test_no_file_is_written(tmp_path, monkeypatch):
    path, masks = masked(tmp_path / "there")
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "there").rglob("*")}
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    how = StudySettings(masks=masks, uncertainty=("augmentation",))
    study = explain_study(load("demo"), path, ("grad-cam",), settings=how)
    assert list((tmp_path / "here").iterdir()) == []
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "there").rglob("*")} == before
    (page,) = write_report(study, tmp_path / "here")  # ... and the result is one that a report is made of
    assert page.exists()


@pytest.mark.parametrize(
    "asked", [{"dicom": ("seg",)}, {"report": ("html",)}, {"patient_page": True}, {"record": "audit.sqlite"}]
)
def test_what_would_be_written_is_refused_and_not_left_out(asked):
    pytest.importorskip("highdicom")
    with pytest.raises(InputError, match=f"{next(iter(asked))} asks for files, and here nothing is written"):
        StudyExplainer(load("demo"), settings=StudySettings(**asked))


# --- what is refused


def broken(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n broken")
    return path


def with_a_name_in_it(path):
    source = dicoms.radiograph(nodule_phantom().image.astype(int) * 16)
    source.BurnedInAnnotation = "YES"
    return dicoms.save(source, path)


def cut_off(path):
    path.write_bytes(phantom_radiograph(path).read_bytes()[:-1000])
    return path


def too_small_a_mask(folder):
    PILImage.fromarray(np.zeros((3, 4), np.uint8)).save(folder / "mask.png")
    return StudySettings(masks=(("organ", str(folder / "mask.png")),))


@pytest.mark.parametrize(
    ("made", "how", "words"),
    [
        (lambda folder: broken(folder / "a.png"), None, "a.png"),
        (lambda folder: with_a_name_in_it(folder / "DOE.dcm"), None, "a name may stand in its pixels"),
        (lambda folder: cut_off(folder / "DOE.dcm"), None, "study-"),
        (lambda folder: phantom_radiograph(folder / "DOE.dcm"), too_small_a_mask, "mask"),
    ],
)
def test_a_study_is_refused_in_the_words_of_the_folder_run(tmp_path, monkeypatch, made, how, words):
    path = made(tmp_path)
    how = StudySettings() if how is None else how(tmp_path)
    _, outcome = in_a_folder_run(monkeypatch, path, tmp_path / "out", load("demo"), how, methods=("grad-cam",))
    with pytest.raises(ImageError if how.masks == () else InputError, match=words) as caught:
        explain_study(load("demo"), path, ("grad-cam",), settings=how)
    line = outcome.error.removesuffix(" (input 1 of 1)")
    assert str(caught.value) == f"{outcome.path}: {line}"
    assert "DOE" not in str(caught.value)


def test_the_size_of_pictures_is_limited_as_in_a_folder_run(tmp_path):
    path = draw(tmp_path / "a.png")
    with pytest.raises(ImageError, match=f"{path}: .*pixels"):
        StudyExplainer(load("demo"), ("grad-cam",), max_pixels=10)(path)


def test_a_library_that_is_missing_is_told_as_it_is_everywhere(tmp_path, monkeypatch):
    def missing(*_, **__):
        raise MissingExtraError("pydicom", "dicom", "reading DICOM")

    path = draw(tmp_path / "a.png")
    monkeypatch.setattr("cfcam.jobs.study.result.load_picture", missing)
    with pytest.raises(MissingExtraError, match=r"pip install 'cfcam\[dicom\]'"):
        explain_study(load("demo"), path)


def test_names_can_be_kept(tmp_path):
    path = phantom_radiograph(tmp_path / "ward-3.dcm")
    assert explain_study(load("demo"), path, ("grad-cam",), settings=StudySettings(keep_names=True)).name == "ward-3"


def test_a_name_in_the_pixels_can_be_allowed(tmp_path):
    path = with_a_name_in_it(tmp_path / "a.dcm")
    study = explain_study(load("demo"), path, ("grad-cam",), settings=StudySettings(allow_burned_in=True))
    assert any("often show a name" in line for line in study.limits)


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"layer": "nowhere"}, LayerError, "nowhere"),
        ({"targets": ("gallstone",)}, CfcamError, "gallstone"),
        ({"targets": ()}, InputError, "there is no target"),
        ({"methods": ("magic",)}, CfcamError, "magic"),
        ({"targets": "gallstone"}, CfcamError, "no class is called 'gallstone'"),
        ({"model": "demo"}, ModelError, "the network is a str: give what cfcam.models.load returns"),
        ({"study": np.zeros((4, 4))}, InputError, "the study is a ndarray: give its path"),
        ({"study": None}, InputError, "the study is a NoneType: give its path"),
        ({"window": "bones and more"}, CfcamError, "bones and more"),
        ({"settings": StudySettings(uncertainty=("methods",)), "methods": ("cam",)}, InputError, "there is one"),
        ({"settings": StudySettings(threshold="quantile:2")}, InputError, "quantile"),
        ({"preprocess": UNIT}, ModelError, "cannot run on an input"),
    ],
)
def test_a_wrong_set_up_shows_before_a_study_is_read_or_with_it(tmp_path, asked, error, words):
    nib.save(nib.Nifti1Image(marked_voxels().astype(np.float32), np.eye(4)), tmp_path / "a.nii")
    path = tmp_path / "a.nii" if "preprocess" in asked else tmp_path / "not there.png"
    with pytest.raises(error, match=words):
        explain_study(**{"model": load("demo"), "study": path} | asked)


def test_a_method_and_a_class_need_no_tuple(tmp_path):
    path = draw(tmp_path / "a.png")
    one, other = (
        explain_study(load("demo"), path, methods, targets)
        for methods, targets in (("grad-cam", "nodule"), (("grad-cam",), ("nodule",)))
    )
    assert differences(one, other) == []
    assert [(found.method, found.class_name) for found in one.maps] == [("grad-cam", "nodule")]


def test_a_path_that_is_no_one_study_is_refused(tmp_path):
    draw(tmp_path / "in" / "a.png")
    shutil.copy(tmp_path / "in" / "a.png", tmp_path / "in" / "b.png")
    explainer = StudyExplainer(load("demo"), ("grad-cam",))
    with pytest.raises(ImageError, match="holds 2 pictures and volumes: give one of them"):
        explainer(tmp_path / "in")
    with pytest.raises(ImageError, match=r"gone\.png"):
        explainer(tmp_path / "gone.png")
    (tmp_path / "in" / "b.png").unlink()
    assert explainer(tmp_path / "in").name == "a"


def test_a_picture_for_a_network_of_volumes_is_refused_and_so_is_a_volume_for_one_of_pictures(tmp_path):
    picture = draw(tmp_path / "a.png")
    nib.save(nib.Nifti1Image(marked_voxels().astype(np.float32), np.eye(4)), tmp_path / "v.nii")
    of_volumes = StudyExplainer(bright(), ("grad-cam",), preprocess=UNIT)
    for study in (picture, read_image(picture)):
        with pytest.raises(ImageError, match="is a picture, and the network takes volumes"):
            of_volumes(study)
    of_pictures = StudyExplainer(load("demo"), ("grad-cam",))
    for study in (tmp_path / "v.nii", read_volume(tmp_path / "v.nii")):
        with pytest.raises(ImageError, match="is a volume, and the network takes pictures"):
            of_pictures(study)


# --- a picture or volume that is read already


def test_what_is_read_already_gives_the_result_of_its_file(tmp_path):
    path = phantom_radiograph(tmp_path / "chest.dcm")
    explainer = StudyExplainer(load("demo"), ("grad-cam",))
    assert differences(explainer(path), explainer(read_image(path))) == []
    ct_study(tmp_path / "in")
    explainer = StudyExplainer(bright(), ("grad-cam",), preprocess=UNIT)
    assert differences(explainer(tmp_path / "in"), explainer(read_volume(tmp_path / "in"))) == []


def test_of_a_picture_without_a_file_it_is_said_that_nothing_is_known_of_it(tmp_path):
    read = read_image(phantom_radiograph(tmp_path / "chest.dcm"))
    bare = Image(read.pixels, None, read.sha256, read.spacing)
    explainer = StudyExplainer(load("demo"), ("grad-cam",))
    study = explainer(bare, name="case-7")
    assert study.name == "case-7"
    assert study.limits[0] == "What its file says of the study is not known: it was given without one."
    assert (study.modality, study.origin, study.edges) == ("", None, None)
    assert np.array_equal(study.maps[0].heatmap, explainer(read).maps[0].heatmap)
    with pytest.raises(InputError, match="masks are found by the name of a study's file"):
        explain_study(load("demo"), bare, settings=StudySettings(masks=(("organ", str(tmp_path / "chest.dcm")),)))


def test_a_file_that_is_gone_or_another_is_not_taken_for_that_of_a_picture(tmp_path):
    path = phantom_radiograph(tmp_path / "chest.dcm")
    read = read_image(path)
    explainer = StudyExplainer(load("demo"), ("grad-cam",))
    dicoms.save(dicoms.radiograph(np.zeros((20, 30), int)), path)
    with pytest.raises(ImageError, match="is not the file that the picture was read from"):
        explainer(read)
    path.unlink()
    with pytest.raises(ImageError, match="is gone"):
        explainer(read)


@pytest.mark.parametrize(
    ("asked", "word"), [({"window": (100, 50)}, "window"), ({"volumes": VolumeSettings(series=1)}, "series")]
)
def test_what_would_be_too_late_for_a_picture_that_is_read_is_refused(tmp_path, asked, word):
    read = read_image(draw(tmp_path / "a.png"))
    with pytest.raises(InputError, match=f"{word} says how a file is read"):
        explain_study(load("demo"), read, **asked)


class Alike(torch.nn.Module):
    """Takes pictures and volumes alike."""

    def __init__(self):
        super().__init__()
        self.grid, self.head = torch.nn.ReLU(), torch.nn.Linear(1, 2)

    def forward(self, x):
        return self.head(self.grid(x.mean(1, keepdim=True)).flatten(2).mean(-1))


def test_a_network_that_does_not_say_what_it_takes_takes_what_it_is_given_first(tmp_path):
    torch.manual_seed(0)
    module = Alike().eval()
    model = dataclasses.replace(load("demo"), module=module, classes=("a", "b"), preprocess={}, probability="auto")
    picture = draw(tmp_path / "a.png")
    nib.save(nib.Nifti1Image(marked_voxels().astype(np.float32), np.eye(4)), tmp_path / "v.nii")
    for first, other in ((picture, tmp_path / "v.nii"), (tmp_path / "v.nii", picture)):
        explainer = StudyExplainer(model, ("grad-cam",), layer="grid")
        assert explainer.layer == "grid"
        assert explainer(first).volumetric == (first != picture)
        with pytest.raises(ImageError, match="and the network takes"):
            explainer(other)
