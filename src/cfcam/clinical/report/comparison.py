"""A comparison with the prior as one page, for archives that show documents and no pictures of numbers."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from cfcam._version import __version__
from cfcam.clinical.report import words
from cfcam.clinical.report.templating import templates, text_of


def render_comparison(comparison: Mapping[str, Any], figure: bytes) -> str:
    """Returns a comparison as HTML, for `cfcam.clinical.report.pdf.as_pdf`.

    Args:
        comparison: the document that ``cfcam compare`` writes of a pair that was compared.
        figure: its picture, PNG; whoever cannot see it reads its numbers in its place.
    """
    return (
        templates()
        .get_template("comparison.html.j2")
        .render(
            research=words.RESEARCH,
            style=text_of("style.css"),
            version=__version__,
            current=comparison["current"],
            statement=comparison["statement"],
            verdict=comparison["verdict"],
            lines=[_line(one) for one in comparison["changes"]],
            figure=b64encode(figure).decode(),
        )
    )


def _line(change: Mapping[str, Any]) -> str:
    return f"{change['name']}: changed by {change['change']:.3g} {change['unit']}, {change['verdict']}"
