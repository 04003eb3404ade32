import pytest

from cfcam.errors import CfcamError
from cfcam.jobs import find_inputs, read_labels
from tests.jobs.world import draw

CLASSES = ("benign", "malignant", "normal")


def inputs_of(folder, *names):
    for name in names:
        draw(folder / name)
    return find_inputs([folder], output=folder / "out", recursive=True)


def told(labels, folder):
    return {path.removeprefix(f"{folder}/"): label for path, label in labels.of.items()}


@pytest.mark.parametrize("column", ["image", "picture", "file"])
def test_a_table_names_classes_or_their_indices_with_paths_relative_to_it(tmp_path, column):
    inputs = inputs_of(tmp_path / "in", "a.png", "ward/b.png", "c.png")
    table = tmp_path / "labels.csv"
    table.write_text(f"{column},label\nin/a.png,Benign\nin/ward/b.png,1\nin/elsewhere.png,normal\n")
    labels = read_labels(str(table), inputs, CLASSES)
    assert told(labels, tmp_path / "in") == {"a.png": 0, "ward/b.png": 1}
    assert labels.notes() == [
        "pictures without a label: 1 of 3",
        "labels that belong to no picture of this run: 1",
    ]


def test_pictures_that_lie_elsewhere_are_known_by_names_that_leave_no_doubt(tmp_path):
    inputs = inputs_of(tmp_path / "in", "a.png", "one/b.png", "two/b.png")
    (tmp_path / "labels.csv").write_text("image,label\na.png,benign\nb.png,malignant\n")
    labels = read_labels(str(tmp_path / "labels.csv"), inputs, CLASSES)
    assert told(labels, tmp_path / "in") == {"a.png": 0}  # which of the two b.png is meant nobody knows
    assert labels.missing == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "image,label\nin/a.png,maligant\n",
            r"labels.csv: line 2 \(a.png\): no class is called 'maligant'; nearest of 3: 'm",
        ),
        ("image,label\n\nin/a.png,7\n", r"labels.csv: line 3 \(a.png\): the label 7 is out of range"),
        ("image,label\nin/z.png,7\n", r"labels.csv: line 2: the label 7 is out of range"),
        (
            "image,label\nin/a.png,benign\nin/a.png,normal\n",
            r"picture \(a.png\) of line 3 is called 'normal' there and 'benign' in line 2: give each picture one",
        ),
        ("image,label\nin/a.png,benign\n,normal\n", "labels.csv: line 3 names no image"),
        ("image,label\nin/a.png,nodule, small\n", "labels.csv: line 2 has 3 fields for 2 columns: put fields that"),
        ("image,label\nin/a.png,\nin/b.png,\n", "the column label is empty in all of its 2 lines: write a class's"),
        ("image,\nin/a.png,benign\n", r"no column is called label; columns found: image, \(no name\); it takes file"),
        ("image,label\nin/z.png,benign\n", "none of its pictures"),
        (
            "name,label\nin/a.png,benign\n",
            r"no column is called file; columns found: name, label; it takes file \(or image\) and label",
        ),
        ("", r"no column is called file; columns found: none; it takes file \(or image\) and label"),
    ],
)
def test_labels_that_cannot_be_meant_are_refused_in_one_line(tmp_path, text, words):
    inputs = inputs_of(tmp_path / "in", "a.png")
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(CfcamError, match=words) as caught:
        read_labels(str(tmp_path / "labels.csv"), inputs, CLASSES)
    assert "\n" not in str(caught.value)


def test_folders_are_called_like_classes_or_like_their_indices(tmp_path):
    inputs = inputs_of(tmp_path / "in", "benign/a.png", "Malignant/b.png", "c.png")
    labels = read_labels("folders", inputs, CLASSES)
    assert told(labels, tmp_path / "in") == {"benign/a.png": 0, "Malignant/b.png": 1}
    assert labels.missing == 1
    numbered = inputs_of(tmp_path / "numbered", "0/a.png", "2/b.png")
    assert told(read_labels("folders", numbered, None), tmp_path / "numbered") == {"0/a.png": 0, "2/b.png": 2}


def test_the_folder_that_is_named_may_itself_be_the_class(tmp_path):
    draw(tmp_path / "benign" / "a.png")
    inputs = find_inputs([tmp_path / "benign"], output=tmp_path / "out")
    assert list(read_labels("folders", inputs, CLASSES).of.values()) == [0]


@pytest.mark.parametrize(
    ("names", "classes", "words"),
    [
        (("benign/a.png", "maligant/b.png"), CLASSES, "'maligant', as a folder is; nearest of 3: 'malignant'"),
        (("a.png",), CLASSES, "no folder is called like a class: 'benign', 'malignant', 'normal'"),
        (("benign/a.png",), None, "give --classes"),
    ],
)
def test_folders_that_are_no_classes_are_refused_with_near_names(tmp_path, names, classes, words):
    with pytest.raises(CfcamError, match=words):
        read_labels("folders", inputs_of(tmp_path / "in", *names), classes)


def test_a_table_without_labels_says_which_columns_it_takes(tmp_path):
    inputs = inputs_of(tmp_path / "in", "a.png")
    table = tmp_path / "labels.csv"
    table.write_text("image,class\nin/a.png,benign\n")
    said = r"labels.csv: no column is called label; columns found: image, class; it takes file \(or image\) and label"
    with pytest.raises(CfcamError, match=said):
        read_labels(str(table), inputs, CLASSES)
