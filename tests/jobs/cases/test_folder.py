import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from cfcam.errors import CfcamError, ImageError, JobError
from cfcam.imaging import Preprocess
from cfcam.jobs.cases.case import Case, load_case, resolve_label
from cfcam.jobs.cases.folder import find_cases
from cfcam.jobs.cases.phantoms import FIRST_SEED, phantom_cases
from cfcam.jobs.inputs.ground_truth import CaseError, fill_boxes, parse_boxes
from cfcam.models.demo import make_phantom, sample_phantom
from tests.jobs.inputs.test_tars import packed

CLASSES = ("no finding", "nodule", "effusion")
PLAIN = {"mean": (0.0,), "std": (1.0,)}


def grey(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(path)
    return path


def picture(path, size=(40, 60)):
    return grey(path, np.full(size, 90))


def blob(size, rows, columns, value=255):
    mask = np.zeros(size, dtype=np.uint8)
    mask[rows, columns] = value
    return mask


def table(path, *lines, columns=("image", "label", "mask", "boxes", "patient", "group"), separator=","):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=separator).writerows([columns, *lines])
    return path


def heard(function, *arguments, **named):
    lines = []
    return function(*arguments, **named, notice=lines.append), lines


def summary(cases, root):
    return {
        case.name: (case.label, [mask.relative_to(root).as_posix() for mask in case.masks])
        for case in cases
    }  # fmt: skip


# a folder


def test_folders_called_like_classes_give_labels_and_others_are_named(tmp_path):
    for name in ("nodule/a.png", "No Finding/b.png", "other/c.png", "d.png"):
        picture(tmp_path / name)
    cases, notices = heard(find_cases, tmp_path, CLASSES)
    assert {case.name: case.label for case in cases} == {
        "d.png": None,
        "No Finding/b.png": "no finding",
        "nodule/a.png": "nodule",
        "other/c.png": None,
    }
    (notice,) = notices
    assert "other/" in notice


def test_folders_called_like_indices_give_labels_where_no_names_are_known(tmp_path):
    picture(tmp_path / "2" / "a.png")
    assert [case.label for case in find_cases(tmp_path)] == [2]


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("a.png", "masks/a.png"),
        ("a.jpg", "masks/a.png"),
        ("a.png", "a_mask.png"),
        ("images/a.png", "masks/a.png"),
        ("images/a.png", "masks/a_mask.png"),
        ("nodule/a.png", "masks/nodule/a.png"),
        ("nodule/a.png", "nodule/masks/a.png"),
        ("nodule/a.png", "masks/a.png"),
        ("nodule/a.png", "nodule/a-mask.png"),
    ],
)
def test_masks_are_found_where_people_put_them(tmp_path, image, mask):
    picture(tmp_path / image)
    picture(tmp_path / mask)
    cases = find_cases(tmp_path, CLASSES)
    assert [(case.name, case.masks) for case in cases] == [(image, (tmp_path / mask,))]


def test_several_masks_of_a_picture_are_united_as_in_breast_ultrasound_sets(tmp_path):
    picture(tmp_path / "benign (1).png", (4, 4))
    grey(tmp_path / "benign (1)_mask.png", blob((4, 4), 0, 0))
    grey(tmp_path / "benign (1)_mask_1.png", blob((4, 4), 3, 3))
    (case,) = find_cases(tmp_path)
    truth = load_case(case, Preprocess(size=4, **PLAIN)).ground_truth
    assert truth.nonzero().tolist() == [[0, 0], [3, 3]]


def test_a_class_called_mask_is_no_folder_of_masks_and_a_lonely_mask_is_a_picture(tmp_path):
    for name in ("mask/a.png", "no mask/b.png", "gas_mask.png"):
        picture(tmp_path / name)
    assert summary(find_cases(tmp_path, ("mask", "no mask")), tmp_path) == {
        "gas_mask.png": (None, []),
        "mask/a.png": ("mask", []),
        "no mask/b.png": ("no mask", []),
    }


def test_masks_of_no_picture_are_counted(tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "masks" / "b.png")
    _, notices = heard(find_cases, tmp_path)
    assert notices == ["masks that belong to no picture: 1, such as masks/b.png"]


def test_what_an_evaluation_wrote_is_no_case_of_the_next(tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "evaluation" / "figures" / "radar.png")
    assert [case.name for case in find_cases(tmp_path, output=tmp_path / "evaluation")] == ["a.png"]


def test_a_single_picture_and_nothing_at_all(tmp_path):
    assert find_cases(picture(tmp_path / "a.png")) == [Case("a.png", tmp_path / "a.png")]
    for missing in (tmp_path / "b", tmp_path / "b.csv"):
        with pytest.raises(CfcamError, match="no such file"):
            find_cases(missing)
    picture(tmp_path / "only" / "masks" / "a.png")
    with pytest.raises(JobError, match="apart from masks"):
        find_cases(tmp_path / "only")


# a table


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_table_of_any_spreadsheet_is_read(tmp_path, separator, mark):
    line = ["x/a.png", "nodule", "", "[[1, 2, 3, 4.5]]", "P1", "Basel"]
    path = table(tmp_path / "cases.csv", line, separator=separator)
    path.write_text(mark + path.read_text(encoding="utf-8"), encoding="utf-8")
    assert find_cases(path) == [
        Case(
            "x/a.png",
            tmp_path / "x" / "a.png",
            "nodule",
            (),
            ((1, 2, 3, 4.5),),
            "P1",
            "Basel",
            where="line 2 of cases.csv",
        )
    ]


def test_paths_of_a_table_are_relative_to_it_and_empty_fields_are_unknown(tmp_path):
    path = table(tmp_path / "cases.csv", ["a.png", "", "m/a.png", "", "", ""], [], [str(tmp_path / "b.png")])
    first, second = find_cases(path)
    assert (first.image, first.masks) == (tmp_path / "a.png", (tmp_path / "m" / "a.png",))
    assert (first.label, first.boxes, first.patient, first.group) == (None, None, None, None)
    assert second.image == tmp_path / "b.png"


def test_a_wrong_header_names_the_columns_found_and_expected(tmp_path):
    path = table(tmp_path / "cases.csv", ["a.png", "1"], columns=("file", "label"))
    with pytest.raises(JobError) as caught:
        find_cases(path)
    assert "found: file, label" in str(caught.value)
    assert "expected: image (needed), label, mask, boxes, patient, group, parts" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no column is called image"),
        (b"image,label\n", "nothing under the header"),
        (b"image,image\na,b\n", "two columns are called image"),
        (b"image\n\xff.png\n", "not UTF-8"),
    ],
)
def test_a_table_that_cannot_be_used_is_one_line(tmp_path, content, words):
    (tmp_path / "cases.csv").write_bytes(content)
    with pytest.raises(JobError, match=words):
        find_cases(tmp_path / "cases.csv")


def test_other_columns_are_named_and_ignored(tmp_path):
    path = table(tmp_path / "cases.csv", ["a.png", "x"], columns=("Image", "split"))
    (case,), notices = heard(find_cases, path)
    assert case.name == "a.png"
    (notice,) = notices
    assert "split" in notice


def test_a_wrong_line_is_a_case_that_fails_and_the_others_are_kept(tmp_path):
    text = "image,boxes\na.png,[[1, 2, 3, 4]]\n,[]\nb.png,somewhere\n,\nc.png,\n"
    (tmp_path / "cases.csv").write_text(text)
    unquoted, unnamed, unreadable, good = find_cases(tmp_path / "cases.csv")
    assert "double quotes" in unquoted.problem
    assert (unnamed.name, unnamed.problem) == ("line 3", "line 3 names no image")
    assert unreadable.name == "b.png"
    assert "JSON" in unreadable.problem
    assert good.problem is None
    for case in (unquoted, unnamed, unreadable):
        with pytest.raises(CaseError):
            load_case(case, Preprocess(size=4))


def test_a_picture_in_several_lines_is_several_cases_that_are_resampled_together(tmp_path):
    path = table(tmp_path / "cases.csv", ["a.png", "nodule"], ["b.png"], ["a.png", "effusion"])
    cases, notices = heard(find_cases, path)
    assert [(case.name, case.label, case.patient) for case in cases] == [
        ("a.png #1", "nodule", "a.png"),
        ("b.png", None, None),
        ("a.png #2", "effusion", "a.png"),
    ]
    assert any("several lines" in notice for notice in notices)


# labels


def test_labels_are_indices_names_or_indices_as_text():
    assert [resolve_label(label, CLASSES) for label in (2, "2", "2.0", "effusion", "EFFUSION", None)] == [2] * 5 + [
        None
    ]
    assert resolve_label("7", ("0", "7")) == 1  # a class that is called like a number
    assert resolve_label("7", 10) == 7


@pytest.mark.parametrize(
    ("label", "classes", "words"),
    [
        (3, CLASSES, "out of range: the network has 3 classes, 0 to 2"),
        ("-1", CLASSES, "out of range"),
        (5, 5, "the network has 5 classes"),
        ("nodul", CLASSES, "nearest of 3: 'nodule'"),
        ("nodule", 3, "give --classes"),
    ],
)
def test_a_label_that_does_not_fit_says_what_would(label, classes, words):
    with pytest.raises(CfcamError, match=words):
        resolve_label(label, classes)


# ground truth


@pytest.mark.parametrize("resize", ["stretch", "shorter-side+crop", "pad"])
@pytest.mark.parametrize("size", [(97, 131), (200, 60), (31, 31)])
def test_a_mask_goes_the_way_of_its_picture(tmp_path, resize, size):
    """The oracle is the picture's own way, with the mask as a picture and the nearest pixel."""
    generator = np.random.default_rng(5)
    mask = np.kron(generator.random((29, 29)) > 0.6, np.ones((7, 7)))[: size[0], : size[1]]
    case = Case("a", picture(tmp_path / "a.png", size), masks=(grey(tmp_path / "m.png", mask * 255),))
    preprocess = Preprocess(size=(24, 30), resize=resize, interpolation="nearest", **PLAIN)
    expected = load_case(Case("m", case.masks[0]), preprocess).image[0] > 0.5
    assert torch.equal(load_case(case, preprocess).ground_truth, expected)
    assert expected.any()
    assert not expected.all()


def test_a_mask_of_another_size_is_refused_with_both_shapes(tmp_path):
    image = picture(tmp_path / "a.png", (40, 60))
    turned = grey(tmp_path / "m.png", blob((60, 40), 0, 0))
    with pytest.raises(CaseError, match=r"60 x 40 pixels and the picture 40 x 60.*right angle"):
        load_case(Case("a", image, masks=(turned,)), Preprocess(size=8))
    small = grey(tmp_path / "s.png", blob((20, 30), 0, 0))
    with pytest.raises(CaseError, match=r"20 x 30 pixels and the picture 40 x 60 \(height x width\): save"):
        load_case(Case("a", image, masks=(small,)), Preprocess(size=8))


@pytest.mark.parametrize(
    ("values", "inside"),
    [
        ([0, 1], [False, True]),  # label values
        ([0, 2, 3], [False, True, True]),
        ([0, 100, 160, 255], [False, False, True, True]),  # smoothed edges
    ],
)
def test_what_a_mask_marks(tmp_path, values, inside):
    image = picture(tmp_path / "a.png", (1, len(values)))
    mask = grey(tmp_path / "m.png", [values])
    truth = load_case(Case("a", image, masks=(mask,)), Preprocess(size=(1, len(values)))).ground_truth
    assert truth.tolist() == [inside]


def test_a_coloured_mask_marks_what_is_not_black(tmp_path):
    image = picture(tmp_path / "a.png", (1, 3))
    mask = grey(tmp_path / "m.png", [[[0, 0, 0], [0, 40, 0], [200, 0, 0]]])
    assert load_case(Case("a", image, masks=(mask,)), Preprocess(size=(1, 3))).ground_truth.tolist() == [
        [False, True, True]
    ]


def test_empty_ground_truth_is_none_and_is_said(tmp_path):
    image = picture(tmp_path / "a.png")
    empty = grey(tmp_path / "m.png", blob((40, 60), 0, 0, 0))
    for case, words in (
        (Case("a", image, masks=(empty,)), ["the ground truth is empty: localisation is not assessed"]),
        (Case("a", image, boxes=()), []),
        (Case("a", image), []),
    ):
        sample, notices = heard(load_case, case, Preprocess(size=8))
        assert sample.ground_truth is None
        assert notices == words


def test_ground_truth_that_the_crop_cuts_away_is_none_and_is_said(tmp_path):
    image = picture(tmp_path / "a.png", (40, 120))
    mask = grey(tmp_path / "m.png", blob((40, 120), slice(0, 40), slice(0, 5)))
    crop = Preprocess(size=8, resize="shorter-side+crop")
    sample, (notice,) = heard(load_case, Case("a", image, masks=(mask,)), crop)
    assert sample.ground_truth is None
    assert "cut away" in notice


def test_boxes_hold_the_pixels_whose_centres_they_hold():
    boxes = [(0.0, 1.4, 2.5, 3.0), (5.0, 0.0, 7.0, 1.0), (7.6, 3.1, 7.9, 3.2)]
    mask = fill_boxes(boxes, (4, 9), pytest.fail)
    for y, x in np.ndindex(4, 9):
        inside = [x0 <= x + 0.5 < x1 and y0 <= y + 0.5 < y1 for x0, y0, x1, y1 in boxes[:2]]
        assert bool(mask[y, x]) == (any(inside) or (y, x) == (3, 7)), (y, x)  # the third is thinner than a pixel


def test_boxes_over_the_edge_are_cut_with_a_notice():
    mask, (notice,) = heard(fill_boxes, [(-3.0, 2.0, 2.0, 99.0)], (4, 5))
    assert mask.nonzero().tolist() == [[2, 0], [2, 1], [3, 0], [3, 1]]
    assert "[-3, 2, 2, 99]" in notice
    assert "5 x 4" in notice


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((5, 0, 9, 4), "outside"),
        ((0, -9, 3, 0), "outside"),
        ((3, 1, 2, 4), "inverted"),
        ((1, 1, 1, 4), "inverted or empty"),
    ],
)
def test_boxes_outside_or_inverted_are_refused(box, words):
    with pytest.raises(CaseError, match=words):
        fill_boxes([box], (4, 5), pytest.fail)


@pytest.mark.parametrize(
    "text", ["", "7", "[1, 2, 3]", '["a", 1, 2, 3]', "[[1, 2, 3, NaN]]", '{"x": 1}', "[[true, 1, 2, 3]]"]
)
def test_boxes_that_are_none_are_refused(text):
    with pytest.raises(CaseError, match="JSON list"):
        parse_boxes(text)


def test_one_box_needs_no_second_pair_of_brackets():
    assert parse_boxes("[1, 2, 3, 4]") == parse_boxes("[[1, 2, 3, 4]]") == ((1, 2, 3, 4),)
    assert parse_boxes("[]") == ()


def test_a_broken_picture_is_an_error_of_its_own(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(ImageError, match="empty"):
        load_case(Case("a", tmp_path / "a.png"), Preprocess(size=8))


def test_the_identity_of_a_case_changes_with_its_file_and_its_label(tmp_path):
    case = Case("a", picture(tmp_path / "a.png"), 1)
    before = json.dumps(case.identity())
    assert json.dumps(Case("a", tmp_path / "a.png", 2).identity()) != before
    picture(tmp_path / "a.png", (41, 60))
    assert json.dumps(case.identity()) != before


# phantoms


def test_a_phantom_comes_with_one_of_its_findings_and_that_findings_mask():
    preprocess = Preprocess(size=224, resize="stretch")
    names = ("no finding", "nodule", "consolidation", "effusion")
    seen = set()
    for case in phantom_cases(6):
        sample = case.load(preprocess, names, pytest.fail)
        phantom = sample_phantom(case.seed, size=224)
        seen.add(sample.label)
        assert case.seed >= FIRST_SEED
        if not phantom.findings:
            assert (sample.label, sample.ground_truth) == (0, None)
        else:
            assert names[sample.label] in phantom.findings
            assert np.array_equal(sample.ground_truth.numpy(), phantom.masks[names[sample.label]])
    assert len(seen) > 1


def test_a_phantom_without_a_part_is_the_same_but_for_it():
    preprocess = Preprocess(size=224, resize="stretch")
    seen = set()
    for case in phantom_cases(5, parts=True):
        sample = case.load(preprocess, ("no finding", "nodule", "consolidation", "effusion"), pytest.fail)
        phantom = sample_phantom(case.seed, size=224)
        expected = {*phantom.findings, *phantom.devices, *({"marker"} & set(phantom.masks))}
        assert {part.name for part in sample.parts} == expected
        for part in sample.parts:
            seen.add(part.name)
            changed = (sample.image != part.without).any(0)
            assert changed[part.mask].float().mean() > 0.5
            assert changed[~part.mask].float().mean() < 0.25  # a finding fades out beyond its mask
    assert len(seen) > 3
    with pytest.raises(CfcamError, match="unknown part 'rib'"):
        sample_phantom(0, without="rib")


# parts


def test_a_line_names_parts_with_the_picture_without_each(tmp_path):
    phantom = make_phantom(7, size=96, findings=["nodule"])
    Image.fromarray(phantom.image).save(tmp_path / "a.png")
    Image.fromarray(phantom.masks["nodule"]).save(tmp_path / "m.png")
    Image.fromarray(make_phantom(7, size=96).image).save(tmp_path / "b.png")
    Image.fromarray(phantom.image[:90]).save(tmp_path / "short.png")
    text = 'image,parts\na.png,"{""nodule"": [""m.png"", ""b.png""]}"\n'
    text += 'a.png,"{""nodule"": [""m.png"", ""short.png""]}"\na.png,"[""m.png""]"\na.png,\n'
    (tmp_path / "cases.csv").write_text(text)
    right, short, wrong, none = find_cases(tmp_path / "cases.csv", None, notice=lambda _: None)
    (part,) = right.load(Preprocess(size=96, **PLAIN), None, pytest.fail).parts
    assert part.name == "nodule"
    assert np.array_equal(part.mask.numpy(), phantom.masks["nodule"])
    assert none.load(Preprocess(size=96, **PLAIN), None, pytest.fail).parts == ()
    with pytest.raises(CaseError, match="the picture without nodule is 90 x 96, the picture 96 x 96"):
        short.load(Preprocess(**PLAIN), None, pytest.fail)
    with pytest.raises(CaseError, match="give a JSON object such as"):
        wrong.load(Preprocess(**PLAIN), None, pytest.fail)
    before = json.dumps(right.identity())
    Image.fromarray(phantom.image).save(tmp_path / "b.png")
    assert json.dumps(right.identity()) != before


def test_another_seed_gives_other_phantoms():
    assert not {case.name for case in phantom_cases(9)} & {case.name for case in phantom_cases(9, seed=1)}
    with pytest.raises(CfcamError, match="1 to 10000"):
        phantom_cases(0)


def test_samples_of_tars_have_their_labels_and_masks(tmp_path):
    picture = grey(tmp_path / "a.png", np.arange(48).reshape(6, 8)).read_bytes()
    mask = grey(tmp_path / "m.png", np.eye(6, 8) * 255).read_bytes()
    samples = [("1.png", picture), ("1.cls", b"2\n"), ("1.mask.png", mask), ("2.png", picture), ("3.png", picture)]
    packed(tmp_path / "x-0.tar", [*samples, ("2.cls", b"\xff")])
    packed(tmp_path / "x-1.tar", [("1.png", picture), ("1.cls", b"nodule")])
    one, two, three, four = find_cases(tmp_path / "x-{0..1}.tar", CLASSES)
    assert [case.name for case in (one, two, three, four)] == ["x-0/1.png", "x-0/2.png", "x-0/3.png", "x-1/1.png"]
    assert [case.label for case in (one, two, three, four)] == ["2", None, None, "nodule"]
    assert "its label cannot be read" in two.problem
    sample = load_case(one, Preprocess(size=(6, 8), **PLAIN), CLASSES)
    assert sample.label == 2
    assert sample.ground_truth.sum() == 6
    assert load_case(four, Preprocess(size=(6, 8), **PLAIN), CLASSES).label == 1
    before = one.identity()
    packed(tmp_path / "x-0.tar", [*samples, ("9.png", picture)])
    assert one.identity() != before


def test_a_sample_says_its_label_in_capitals_or_in_json(tmp_path):
    """WebDataset takes endings in any case; what some keep in ``.json`` counts where no ``.cls`` says it."""
    picture = grey(tmp_path / "a.png", np.zeros((6, 8))).read_bytes()
    said = [
        b'{"label": 2, "cls": 0}',
        b'{"cls": "nodule"}',
        b'{"label": true}',
        b'{"caption": "a nodule"}',
        b"[2]",
        b"{",
    ]
    samples = [one for n, json in enumerate(said) for one in ((f"{n}.png", picture), (f"{n}.json", json))]
    samples += [("6.PNG", picture), ("6.CLS", b"1"), ("6.json", b'{"label": 2}')]
    found = find_cases(packed(tmp_path / "x.tar", samples), CLASSES)
    assert [case.label for case in found] == ["2", "nodule", None, None, None, None, "1"]
    assert [bool(case.problem) for case in found] == [False] * 5 + [True, False]
    assert "its label cannot be read (5.json: is no JSON" in found[5].problem


def test_a_table_names_members_and_tells_what_cannot_be_read_from(tmp_path):
    picture = grey(tmp_path / "a.png", np.zeros((6, 8))).read_bytes()
    packed(tmp_path / "x.tar", [("1.png", picture)])
    (tmp_path / "cases.csv").write_text("image,label\nx.tar/1.png,1\nhttp://me:secret@host/1.png,1\n")
    one, two = find_cases(tmp_path / "cases.csv", CLASSES)
    assert load_case(one, Preprocess(size=(6, 8), **PLAIN), CLASSES).label == 1
    assert two.name == "http://host/1.png"
    assert "line 3: http://host/1.png: inputs are read from object stores" in two.problem
    assert "secret" not in repr(two)
