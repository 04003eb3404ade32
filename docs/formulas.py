"""Formulas of the pages as MathML, which browsers draw by themselves: no script, and nothing from elsewhere.

A hook of MkDocs (``hooks`` in mkdocs.yml). ``$...$`` stands in a line, ``$$...$$`` by itself, in a box that scrolls
where the page is too narrow; code is left alone.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

from latex2mathml.converter import convert

_CODE = re.compile(r"^(?P<fence>[ \t]*(?:```+|~~~+))[\s\S]*?^(?P=fence)[ \t]*$|`[^`\n]+`", re.MULTILINE)
_FORMULA = re.compile(r"\$\$(?P<block>[^$]+)\$\$|(?<![\\\w$])\$(?=\S)(?P<inline>[^$]+?)(?<=\S)\$(?!\w)")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Takes formulas out, before Markdown sees their underscores."""
    found: list[str] = []

    def taken(match: re.Match[str]) -> str:
        block = match["block"] is not None
        drawn = mathml(match["block"] if block else match["inline"], block=block)
        found.append(f'<span style="display: block; overflow-x: auto">{drawn}</span>' if block else drawn)
        return f"FORMULA{len(found) - 1}ENDS"

    parts, end = [], 0
    for code in _CODE.finditer(markdown):
        parts += [_FORMULA.sub(taken, markdown[end : code.start()]), code[0]]
        end = code.end()
    parts.append(_FORMULA.sub(taken, markdown[end:]))
    page.formulas = found
    return "".join(parts)


def on_page_content(html: str, *, page: Any, **_: Any) -> str:
    """Puts them back."""
    return re.sub(r"FORMULA(\d+)ENDS", lambda match: page.formulas[int(match[1])], html)


def mathml(latex: str, *, block: bool) -> str:
    """Returns a formula as MathML.

    Example:
        >>> mathml("x^2", block=False)[:62]
        '<math xmlns="http://www.w3.org/1998/Math/MathML" display="inli'
    """
    made = convert(" ".join(latex.split()), display="block" if block else "inline")
    root = ElementTree.fromstring(made)  # noqa: S314 (our own)
    root.set("style", f"font-family: {_FONTS}")
    for element in root.iter():
        _mended(element)
    return ElementTree.tostring(root, encoding="unicode")


_MATHML = "http://www.w3.org/1998/Math/MathML"
_FONTS = "'Cambria Math', 'STIX Two Math', 'Latin Modern Math', 'Noto Sans Math', 'DejaVu Math TeX Gyre', math"
"""One of them is on most systems. Browsers set indices at the right height only by a font for formulas, and not all
know which one that is by the name `math`."""
_BEFORE_SIGNS = tuple("([{,=|")
_OVER = "border-top: thin solid; padding-top: 0.1em"
ElementTree.register_namespace("", _MATHML)


def _mended(element: ElementTree.Element) -> None:
    """Mends what browsers would draw otherwise than it was meant."""
    kind, text = element.tag.removeprefix(f"{{{_MATHML}}}"), element.text or ""
    if kind == "mi" and set(text) == {"\N{PRIME}"}:  # an operator, beside which letters stand close
        element.tag = f"{{{_MATHML}}}mo"
        element.attrib |= {"lspace": "0", "rspace": "0"}
    elif kind == "mo" and text == "|":  # a fence, and not a relation with room around it
        element.attrib |= {"lspace": "0", "rspace": "0"}
    elif (
        kind == "mover" and element[1].text == "\N{HORIZONTAL BAR}"
    ):  # as long as what is below, which that sign is not
        element.tag = f"{{{_MATHML}}}mrow"
        element.set("style", _OVER)
        del element[1]
    for before, sign in pairwise([None, *element]):
        opens = before is None or (before.tag.endswith("}mo") and before.text in _BEFORE_SIGNS)
        if opens and sign.tag.endswith("}mo") and sign.text == "\N{MINUS SIGN}":  # of a number, and no difference
            sign.set("form", "prefix")
