"""Each method has a page, or a part of one: formula, picture, when to use it, when not, what it costs, its source."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cfcam.methods import list_methods, list_pixel_methods, list_text_methods

PAGES = Path(__file__).parents[1] / "docs" / "methods"
LINKS = dict(re.findall(r"\[`([\w+-]+)`\]\(([\w#.-]+)\)", (PAGES / "index.md").read_text(encoding="utf-8")))


def part(page: str, anchor: str) -> str:
    """The part of a page below a heading, up to the next that is not below it; all of it without an anchor."""
    if not anchor:
        return page
    for found in re.finditer(r"^(#+) (.*)\n", page, re.MULTILINE):
        words = re.sub(r"[^\w\s-]", "", found[2]).strip().lower()
        if re.sub(r"\s+", "-", words) == anchor:
            rest = page[found.end() :]
            after = re.search(rf"^#{{1,{len(found[1])}}} ", rest, re.MULTILINE)
            return rest[: after.start()] if after else rest
    raise AssertionError(f"no heading #{anchor}")


def test_a_part_of_a_page_ends_where_the_next_begins() -> None:
    page = "# A\n\n## The one's own\nx\n### in\ny\n## Two\nz\n"
    assert part(page, "the-ones-own") == "x\n### in\ny\n"
    assert part(page, "two") == "z\n"


@pytest.mark.parametrize("name", [*list_methods(), *list_pixel_methods(), *list_text_methods()])
def test_each_method_has_a_page_that_says_what_it_is_when_it_is_of_use_and_what_it_costs(name: str) -> None:
    file, _, anchor = LINKS[name].partition("#")
    page = (PAGES / file).read_text(encoding="utf-8")
    said = part(page, anchor)
    for what in (r"\$[^$]+\$", r"\*\*Use\b", r"\*\*Do not\b", r"\*\*Cost\b", r"^\*Sources?: "):
        assert re.search(what, said, re.MULTILINE), f"{LINKS[name]}: {what}"
    pictures = re.findall(r"!\[[^\]]{10,}\]\(([\w./-]+)\)", page)
    assert pictures
    assert all((PAGES / picture).stat().st_size > 10_000 for picture in pictures)


def test_modes_of_other_methods_have_a_part_too() -> None:
    page = (PAGES / "rivals.md").read_text(encoding="utf-8")
    modes = [part(page, "sess"), part((PAGES / "relatives.md").read_text(encoding="utf-8"), "test-time-augmentation")]
    for what in (r"\$\$", r"\*\*Use\s+it\*\*", r"\*\*Do not\b", r"\*\*Cost", r"^\*Source: "):
        assert all(re.search(what, mode, re.MULTILINE) for mode in modes), what
