"""A list in place of a folder: the same inputs, in the order of its lines."""

from pathlib import PurePosixPath

import pytest

from cfcam.errors import ImageError, InputError
from cfcam.jobs.inputs.find import Kind, find_inputs
from cfcam.jobs.inputs.lists import entries_in
from cfcam.jobs.inputs.many import Inputs
from cfcam.jobs.inputs.privacy import with_labels
from cfcam.jobs.runs.status import status
from tests.jobs.world import draw, run, written


def test_inputs_come_in_the_order_of_the_list_and_mirror_its_folder(tmp_path):
    for name in ("a.png", "deep/b.png", "c.png"):
        draw(tmp_path / name)
    outside = draw(tmp_path.with_name(f"{tmp_path.name}-elsewhere") / "d.png")
    (tmp_path / "list.csv").write_text(f'path,patient\n"deep/b.png",P1\na.png,P2\na.png,P2\n{outside},P3\n')
    inputs = find_inputs([tmp_path / "list.csv"], output=tmp_path / "out")
    assert [one.path for one in inputs] == [tmp_path / "deep" / "b.png", tmp_path / "a.png", outside]
    assert [one.folder for one in inputs] == [PurePosixPath("deep"), PurePosixPath(), PurePosixPath()]
    assert {one.kind for one in inputs} == {Kind.PICTURE}
    outcomes = list(run(tmp_path / "list.csv", tmp_path / "out"))
    assert [outcome.status for outcome in outcomes] == ["done"] * 3
    assert [name for name in written(tmp_path / "out") if name.endswith(".png")] == [
        "a_grad-cam.png", "d_grad-cam.png", "deep/b_grad-cam.png"
    ]  # fmt: skip


def test_parquet_lists_the_same(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    pandas.DataFrame({"n": [1, 2], "path": ["x.png", "y/z.png"]}).to_parquet(tmp_path / "list.parquet")
    assert [one.path for one in entries_in(tmp_path / "list.parquet")] == [tmp_path / "x.png", tmp_path / "y" / "z.png"]
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        entries_in(tmp_path / "broken.parquet")
    pandas.DataFrame({"path": [1, 2]}).to_parquet(tmp_path / "numbers.parquet")
    with pytest.raises(InputError, match="holds what is no text"):
        entries_in(tmp_path / "numbers.parquet")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("image\na.png\n", "has no column 'path' \\(there is: image\\)"),
        ("", "has no column 'path'"),
        ("path\n", "lists no input"),
        ("path,n\na.png,1\n,2\n", "line 3 has no path"),
        ("path,target\na.png,1\n", "has a column 'target', and all inputs of a run have the same targets"),
        ("path\na.png\0\n", "line 2 holds the character"),
    ],
)
def test_what_is_no_list_is_told_in_one_line(tmp_path, text, told):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(InputError, match=told):
        entries_in(tmp_path / "list.csv")


def test_an_input_that_is_not_there_is_named(tmp_path):
    (tmp_path / "list.csv").write_text("path\nnone.png\n")
    with pytest.raises(ImageError, match=r"none\.png"):
        find_inputs([tmp_path / "list.csv"], output=tmp_path / "out")


def test_what_is_not_there_is_one_input_that_fails_with_its_line_and_the_rest_is_done(tmp_path):
    draw(tmp_path / "a.png")
    draw(tmp_path / "b.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "list.csv").write_text(
        "path\nmissing.png\na.png\nno.tar/p1.png\nb.png\ngone.png\nmissing.png\nx*.png\n"
    )
    told = {one.path.name: (one.status, one.error) for one in run(tmp_path / "list.csv", tmp_path / "out")}
    assert told == {
        "missing.png": ("failed", "no such file or folder; check the path (line 2 of list.csv)"),
        "a.png": ("done", None),
        "p1.png": ("failed", "no such file or folder; check the path (line 4 of list.csv)"),
        "b.png": ("done", None),
        "gone.png": ("failed", "is a link to nothing; check the path (line 6 of list.csv)"),
        "x*.png": ("failed", "the pattern matches no file; check it (line 8 of list.csv)"),
    }
    assert status(tmp_path / "out").failures == {
        "no such file or folder; check the path": 2,
        "is a link to nothing; check the path": 1,
        "the pattern matches no file; check it": 1,
    }
    draw(tmp_path / "missing.png")
    again = {one.path.name: one.status for one in run(tmp_path / "list.csv", tmp_path / "out")}
    assert (again["missing.png"], again["a.png"], again["p1.png"]) == ("done", "skipped", "failed")


def test_where_nothing_of_a_list_is_there_the_run_ends(tmp_path):
    (tmp_path / "list.csv").write_text("path\nnone.png\nno.png\n")
    with pytest.raises(ImageError, match=r"list\.csv: none of its 2 inputs is there; .*no\.png: no such .* \(line 3\)"):
        find_inputs([tmp_path / "list.csv"], output=tmp_path / "out")


def test_the_inputs_of_very_many_know_what_is_not_there(tmp_path):
    draw(tmp_path / "a.png")
    (tmp_path / "list.csv").write_text("path\na.png\nP^DOE.dcm\nscan.nii.gz\n")
    inputs = Inputs.found([tmp_path / "list.csv"], output=tmp_path / "out")
    assert inputs == find_inputs([tmp_path / "list.csv"], output=tmp_path / "out") == inputs[:]
    assert [one.problem is None for one in inputs] == [True, False, False]
    assert [one.kind for one in inputs] == [Kind.PICTURE, Kind.PICTURE, Kind.VOLUME]
    assert [one.label for one in with_labels(inputs)] == [None, "study-missing", None]
