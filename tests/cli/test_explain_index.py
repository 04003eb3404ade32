"""The options of ``cfcam explain`` that concern its page."""

import json

from cfcam.cli.explain import MOST_IN_ONE_PAGE
from cfcam.jobs.index import embedded
from tests.cli.test_explain import explain
from tests.jobs.world import draw, folder_of, written

ONE = ["--method", "grad-cam", "--save", "overlay"]


def test_a_page_is_written_of_more_than_one_picture_or_when_asked_for(tmp_path):
    folder_of(tmp_path / "in", 2)
    for output, more in (("one", ["--limit", "1"]), ("asked", ["--limit", "1", "--index"]), ("not", ["--no-index"])):
        result = explain(tmp_path / "in", tmp_path / output, *ONE, *more)
        assert result.exit_code == 0, result.stderr
        there = [name for name in written(tmp_path / output) if name.startswith("index")]
        assert there == (["index.html", "index_files/picture0.jpg"] if output == "asked" else [])
        assert ("look at" in result.stdout) == (output == "asked")


def test_json_names_the_page(tmp_path):
    folder_of(tmp_path / "in", 2)
    told = json.loads(explain(tmp_path / "in", tmp_path / "out", *ONE, "--json").stdout)
    assert (told["page"], told["reports"]) == (str(tmp_path / "out" / "index.html"), None)
    assert json.loads(explain(tmp_path / "in", tmp_path / "no", *ONE, "--json", "--no-index").stdout)["page"] is None


def test_labels_by_folder_and_by_table_and_what_is_wrong_with_them(tmp_path):
    draw(tmp_path / "in" / "bright" / "a.png")
    draw(tmp_path / "in" / "dark" / "b.png")
    result = explain(tmp_path / "in", tmp_path / "out", *ONE, "-r", "--labels", "folders")
    assert result.exit_code == 0, result.stderr
    assert "50.0 % right" in (tmp_path / "out" / "index.html").read_text()
    table = tmp_path / "labels.csv"
    table.write_text("picture,label\nin/bright/a.png,bright\nin/dark/b.png,drak\n")
    result = explain(tmp_path / "in", tmp_path / "out", *ONE, "-r", "--labels", table)
    assert result.exit_code == 2
    assert "no class is called 'drak'; nearest of 2: 'dark'" in result.stderr
    table.write_text("picture,label\nin/bright/a.png,bright\n")
    result = explain(tmp_path / "in", tmp_path / "out", *ONE, "-r", "--labels", table)
    assert result.exit_code == 0
    assert "pictures without a label: 1 of 2" in result.stderr
    assert "100.0 % right" in (tmp_path / "out" / "index.html").read_text()


def test_a_page_that_holds_its_pictures_has_a_limit(tmp_path, monkeypatch):
    assert MOST_IN_ONE_PAGE == embedded.MOST
    monkeypatch.setattr("cfcam.cli.explain.MOST_IN_ONE_PAGE", 2)
    folder_of(tmp_path / "in", 3)
    result = explain(tmp_path / "in", tmp_path / "out", *ONE, "--self-contained")
    assert result.exit_code == 2
    assert "all 3 pictures" in result.stderr
    assert explain(tmp_path / "in", tmp_path / "out", *ONE, "--self-contained", "--limit", "2").exit_code == 0
    assert 'id="v1-0">data:image/jpeg' in (tmp_path / "out" / "index.html").read_text()
