"""Every formula of the pages is drawn by the browser alone, and code keeps its dollars."""

import sys
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

pytest.importorskip("latex2mathml")
DOCS = Path(__file__).parents[1] / "docs"
sys.path.insert(0, str(DOCS))
import formulas  # noqa: E402

M = "{http://www.w3.org/1998/Math/MathML}"


def test_a_fraction_by_hand():
    root = ElementTree.fromstring(formulas.mathml(r"\frac{a_k}{2}", block=True))  # noqa: S314 (our own)
    (fraction,) = root.iter(f"{M}mfrac")
    below = fraction[0].find(f".//{M}msub")
    assert root.get("display") == "block"
    assert [part.text for part in below] == ["a", "k"]
    assert "".join(fraction[1].itertext()) == "2"


def test_what_is_a_formula_and_what_is_code():
    page = SimpleNamespace()
    text = "costs $5, $x_1$ and `$y$`\n\n```sh\necho $HOME $z$\n```\n\n$$ a_1 *\nb_2 $$ ends\n"
    taken = formulas.on_page_markdown(text, page=page)
    assert taken == "costs $5, FORMULA0ENDS and `$y$`\n\n```sh\necho $HOME $z$\n```\n\nFORMULA1ENDS ends\n"
    assert len(page.formulas) == 2
    back = formulas.on_page_content(f"<p>{taken}</p>", page=page)
    assert back.count("<math ") == 2
    assert 'display="block"' in back
    assert back.count("overflow-x: auto") == 1  # a wide one scrolls by itself


PAGES = [page for page in sorted(DOCS.rglob("*.md")) if "$" in page.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_each_formula_is_known_to_the_last_command(path):
    page = SimpleNamespace()
    rest = formulas._CODE.sub("", formulas.on_page_markdown(path.read_text(encoding="utf-8"), page=page))
    assert "$" not in rest
    for formula in page.formulas:
        assert "\\" not in "".join(ElementTree.fromstring(formula).itertext())  # noqa: S314 (as above)
