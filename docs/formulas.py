"""Formulas of the pages as MathML, which browsers draw by themselves: no script, and nothing from elsewhere.

A hook of MkDocs (``hooks`` in mkdocs.yml). ``$...$`` stands in a line, ``$$...$$`` by itself, in a box that scrolls
where the page is too narrow; code is left alone.
"""

from __future__ import annotations

import re
from typing import Any

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
    return str(convert(" ".join(latex.split()), display="block" if block else "inline"))
