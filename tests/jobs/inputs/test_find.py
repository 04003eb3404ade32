import pytest

from cfcam.errors import ImageError
from cfcam.jobs import find_inputs
from tests.jobs.world import draw


def found(paths, output, **options):
    return [(i.path.name, str(i.folder)) for i in find_inputs(paths, output=output, **options)]


def test_recursive_folders_and_globs_are_mirrored(tmp_path):
    draw(tmp_path / "in" / "a.png")
    draw(tmp_path / "in" / "ward 3" / "b.png")
    out = tmp_path / "out"
    assert found([tmp_path / "in"], out) == [("a.png", ".")]
    assert found([tmp_path / "in"], out, recursive=True) == [("a.png", "."), ("b.png", "ward-3")]
    assert found([tmp_path / "in" / "**" / "*.png"], out) == [("a.png", "."), ("b.png", "ward-3")]
    assert found([tmp_path / "in" / "ward 3" / "b.png"], out) == [("b.png", ".")]


def test_a_picture_named_twice_is_taken_once_and_the_order_is_the_users(tmp_path):
    b, a = draw(tmp_path / "b.png"), draw(tmp_path / "a.png")
    assert found([b, a, tmp_path], tmp_path / "out") == [("b.png", "."), ("a.png", ".")]


def test_the_output_folder_is_not_searched_from_above_but_may_be_named(tmp_path):
    draw(tmp_path / "a.png")
    inside = draw(tmp_path / "out" / "old" / "b.png")
    assert found([tmp_path], tmp_path / "out", recursive=True) == [("a.png", ".")]
    assert found([inside], tmp_path / "out") == [("b.png", ".")]
    assert found([inside.parent], tmp_path / "out") == [("b.png", ".")]


def test_a_path_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(ImageError, match="nowhere"):
        find_inputs([draw(tmp_path / "a.png"), tmp_path / "nowhere"], output=tmp_path / "out")
