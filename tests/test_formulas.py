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


def drawn(latex: str) -> ElementTree.Element:
    return ElementTree.fromstring(formulas.mathml(latex, block=False))  # noqa: S314 (as above)


def test_a_prime_is_an_operator_beside_its_letter():
    (power,) = drawn("B' + 1").iter(f"{M}msup")
    assert [(part.tag, part.text) for part in power] == [(f"{M}mi", "B"), (f"{M}mo", "\N{PRIME}")]
    assert (power[1].get("lspace"), power[1].get("rspace")) == ("0", "0")


def test_bars_stand_close_to_what_they_enclose():
    bars = [one for one in drawn("|x|_F^2").iter(f"{M}mo") if one.text == "|"]
    assert [(bar.get("lspace"), bar.get("rspace")) for bar in bars] == [("0", "0")] * 2


def test_a_line_over_several_letters_is_as_long_as_they_are():
    """It is the border of what is below: the sign for it is one letter long."""
    root = drawn(r"\overline{\partial y / \partial x}")
    (over,) = [one for one in root.iter(f"{M}mrow") if one.get("style")]
    assert "border-top" in over.get("style")
    assert "".join(root.itertext()) == "\N{PARTIAL DIFFERENTIAL}y/\N{PARTIAL DIFFERENTIAL}x"
    assert next(drawn(r"\bar A").iter(f"{M}mover")) is not None  # over one letter it is the sign


@pytest.mark.parametrize(
    ("latex", "forms"), [("x^{-1}", ["prefix"]), (r"\exp(-x)", ["prefix"]), ("a - b", [None]), ("(a - b)", [None])]
)
def test_a_sign_stands_close_to_its_number_and_a_difference_has_room(latex, forms):
    assert [one.get("form") for one in drawn(latex).iter(f"{M}mo") if one.text == "\N{MINUS SIGN}"] == forms


def test_each_formula_names_fonts_that_have_indices_at_their_height():
    assert "'STIX Two Math'" in drawn("x_1").get("style")


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
