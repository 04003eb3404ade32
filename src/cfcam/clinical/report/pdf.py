"""The report as PDF/A-3b (ISO 19005-3) with its numbers attached; the same page gives the same bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any, cast

from cfcam.errors import InputError, MissingExtraError

NUMBERS = "study.json"
"""Name of the attachment."""

_DATE = datetime(2000, 1, 1, tzinfo=UTC)  # of the attachment: a date of writing would change the bytes
_SHARP = "* { image-rendering: crisp-edges }"  # ISO 19005-2, 6.2.8: no picture may ask to be interpolated
_PURPOSE = "a report as PDF"
_EPOCH = "SOURCE_DATE_EPOCH"
_ENVIRONMENT = Lock()  # the environment belongs to the process: one report at a time is set without a clock


def as_pdf(html: str, numbers: bytes, *, name: str = NUMBERS) -> bytes:
    """Returns a page as PDF/A-3b, tagged, A4, with its numbers attached.

    Nothing is fetched but what lies within the page. The only metadata are the page's title and the program's name.
    Text is set in the font that matplotlib brings along, so that the pages do not depend on the machine.

    Args:
        html: from `render`.
        numbers: JSON, from `as_json`.
        name: of the attachment.

    Raises:
        MissingExtraError: WeasyPrint is not installed.
        InputError: a library that WeasyPrint needs (Pango) is not installed.
    """
    weasyprint = _weasyprint()
    fetcher = import_module("weasyprint.urls").URLFetcher(allowed_protocols={"data"})
    fonts = import_module("weasyprint.text.fonts").FontConfiguration()
    own_style = weasyprint.CSS(string=_font_faces() + _SHARP, font_config=fonts)
    attachment = weasyprint.Attachment(
        string=numbers.decode(),
        name=name,
        description="The numbers of this report",
        created=_DATE,
        modified=_DATE,
        relationship="Data",
    )
    document = weasyprint.HTML(string=html, url_fetcher=fetcher)
    with _undated_fonts():
        pdf = document.write_pdf(
            stylesheets=[own_style],
            font_config=fonts,
            attachments=[attachment],
            pdf_variant="pdf/a-3b",
            pdf_tags=True,
        )
    return cast("bytes", pdf)


@contextmanager
def _undated_fonts() -> Iterator[None]:
    """Keeps the clock out of the fonts within the file.

    Where HarfBuzz's subsetter is not installed WeasyPrint cuts fonts down with fontTools, which writes the time into
    their ``head`` table unless SOURCE_DATE_EPOCH names another (https://reproducible-builds.org/specs/source-date-epoch).
    One the user has set is kept.
    """
    with _ENVIRONMENT:
        before = os.environ.get(_EPOCH)
        os.environ.setdefault(_EPOCH, str(int(_DATE.timestamp())))
        try:
            yield
        finally:
            if before is None:
                del os.environ[_EPOCH]


@cache
def _weasyprint() -> Any:
    from PIL import ImageFile

    strict = ImageFile.LOAD_TRUNCATED_IMAGES
    try:
        return import_module("weasyprint")
    except ModuleNotFoundError as error:
        raise MissingExtraError("WeasyPrint", "report", _PURPOSE) from error
    except OSError as error:  # its C libraries are loaded when it is imported
        raise InputError(
            f"{_PURPOSE} needs the library Pango, which is not installed: apt-get install libpango-1.0-0"
            " libpangoft2-1.0-0 (or brew install pango), then pip install 'cfcam[report]'; or leave out pdf"
        ) from error
    finally:
        # Importing it makes Pillow fill up pictures that are cut off, for which `read_image` refuses to read any.
        ImageFile.LOAD_TRUNCATED_IMAGES = strict


def _font_faces() -> str:
    from matplotlib import get_data_path

    folder = Path(get_data_path(), "fonts", "ttf")
    faces = {("normal", "normal"): "DejaVuSans", ("bold", "normal"): "DejaVuSans-Bold"}
    return "".join(
        f"@font-face {{ font-family: Report; font-weight: {weight}; font-style: {style};"
        f" src: url({(folder / name).with_suffix('.ttf').as_uri()}) }}"
        for (weight, style), name in faces.items()
    )
