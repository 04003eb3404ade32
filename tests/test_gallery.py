"""Every example of the gallery runs as it stands, and its page and pictures are those that it makes."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image as PILImage

DOCS = Path(__file__).parents[1] / "docs"


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_gallery", DOCS / "gallery.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["docs_gallery"] = module
    spec.loader.exec_module(module)
    return module


gallery = _load()


def without_output(page: str) -> str:
    """A page without what was printed, whose last digits may differ from machine to machine."""
    return re.sub(r"```text\n.*?```", "", page, flags=re.DOTALL)


@pytest.mark.parametrize("name", gallery.EXAMPLES)
def test_an_example_runs_and_its_page_is_up_to_date(name: str, tmp_path: Path) -> None:
    if name == "nnunet":
        pytest.importorskip("dynamic_network_architectures", reason="dynamic-network-architectures is not installed")
    script = gallery.FOLDER / f"{name}.py"
    blocks = gallery.run(script, tmp_path)
    written = [picture for block in blocks for picture in block.pictures]
    assert written
    for picture in written:
        with PILImage.open(picture) as opened:
            assert min(opened.size) > 100
    committed = (gallery.FOLDER / f"{name}.md").read_text(encoding="utf-8")
    assert without_output(gallery.page(script, blocks)) == without_output(committed)
    linked = re.findall(r"images/(\w+)\.jpg", committed)
    assert linked == [picture.stem for picture in written]


@pytest.mark.parametrize("name", gallery.EXAMPLES)
def test_the_notebook_is_the_page_with_what_it_printed_and_drew(name: str) -> None:
    text = (gallery.FOLDER / f"{name}.ipynb").read_text(encoding="utf-8")
    assert text == gallery.notebook(name)
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    blocks = gallery.read(gallery.FOLDER / f"{name}.py")[2]
    assert [cell["source"] for cell in cells] == [b.code.strip("\n") for b in blocks if b.code.strip()]
    drawn = [output for cell in cells for output in cell["outputs"] if output["output_type"] == "display_data"]
    page = (gallery.FOLDER / f"{name}.md").read_text(encoding="utf-8")
    assert len(drawn) == page.count("](images/") > 0


def test_the_pictures_are_there_small_and_no_others() -> None:
    linked = {
        f"{stem}.jpg"
        for name in gallery.EXAMPLES
        for stem in re.findall(r"images/(\w+)\.jpg", (gallery.FOLDER / f"{name}.md").read_text(encoding="utf-8"))
    }
    files = {path.name: path.stat().st_size for path in gallery.PICTURES.iterdir()}
    assert set(files) == linked
    assert max(files.values()) <= gallery.MOST_BYTES


def test_every_script_is_in_the_gallery_and_the_index_leads_to_it() -> None:
    assert {path.stem for path in gallery.FOLDER.glob("*.py")} == set(gallery.EXAMPLES)
    assert (gallery.FOLDER / "index.md").read_text(encoding="utf-8") == gallery.index()
    assert all(f"({name}.md)" in gallery.index() for name in gallery.EXAMPLES)


def test_a_failure_names_the_line_of_the_script(tmp_path: Path) -> None:
    script = tmp_path / "broken.py"
    script.write_text(
        '"""Broken\n\nIt fails.\n"""\n\n# %%\n# Prose.\nx = 1\n\n# %%\n# More\n# prose.\nraise OSError(x)\n'
    )
    with pytest.raises(OSError, match="1") as error:
        gallery.run(script, tmp_path)
    assert error.traceback[-1].lineno + 1 == script.read_text().split("\n").index("raise OSError(x)") + 1


def test_a_page_is_prose_code_output_and_pictures(tmp_path: Path) -> None:
    script = tmp_path / "small.py"
    script.write_text(
        '"""Small\n\nIntroduction.\n"""\n\n# %%\n# Prose\n# in two lines.\nfrom PIL import Image\n\nprint("said")\n'
        'Image.new("L", (4, 4)).save("small.png")\n\n# %%\n# The end.\n'
    )
    page = gallery.page(script, gallery.run(script, tmp_path))
    assert page.split("\n")[:6] == ["# Small", "", "Introduction.", "", "Prose", "in two lines."]
    order = ["in two lines.", "```py\nfrom PIL", "```text\nsaid\n```", "![Small](images/small.jpg)", "The end."]
    places = [page.index(words) for words in order]
    assert places == sorted(places)


def test_the_front_page_shows_examples_whole_and_with_a_title() -> None:
    front = (DOCS / "index.md").read_text(encoding="utf-8").partition("## Gallery")[2].partition("[All of it]")[0]
    shown = re.findall(
        r"^\[!\[\]\(gallery/images/(\w+)\.jpg\)\{(.*)\}<br>(.+)\]\(gallery/(\w+)\.md\)$", front, re.MULTILINE
    )
    assert len(shown) == front.count("![") > 5
    for picture, style, title, page in shown:
        assert picture.startswith(page)
        assert "object-fit: contain" in style
        assert title


def test_what_an_example_needs_is_said_on_its_page_and_in_the_index() -> None:
    """Of what examples import these alone are no part of the plain install."""
    needs = {"transformers": "models", "load_demo_captioner": "models", "superpixels": "clinical", "nibabel": "volume"}
    for name in gallery.EXAMPLES:
        script = (gallery.FOLDER / f"{name}.py").read_text(encoding="utf-8")
        wanted = {extra for word, extra in needs.items() if re.search(rf"import .*{word}|from {word}", script)}
        assert wanted <= set(gallery.EXTRAS.get(name, "").split(","))
        if wanted:
            assert f"[{gallery.EXTRAS[name]}]" in (gallery.FOLDER / f"{name}.md").read_text(encoding="utf-8")
