"""Pictures in rows and columns on a page, with their names above, the colour bar and notes below."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cfcam.imaging.drawing.look import Look
from cfcam.imaging.drawing.parts import (
    GAP,
    MARGIN,
    Box,
    Ink,
    drawn_page,
    place_legend,
    place_title,
)
from cfcam.imaging.drawing.text import HEAD_SIZE, SMALL_SIZE, TextLine, line_height, wrapped_lines


@dataclass(frozen=True, eq=False)
class Cell:
    """A picture on the page, with its name and details above and what is written into it (from its top left)."""

    picture: NDArray[np.uint8]
    name: str = ""
    detail: str = ""
    texts: tuple[TextLine, ...] = ()


def page_of(
    rows: Sequence[Sequence[Cell]],
    title: str,
    notes: Sequence[str],
    look: Look,
    ink: Ink,
    thresholds: Collection[float] = (),
) -> NDArray[np.uint8]:
    """Returns cells in rows and columns, with a title above, the colour bar and notes below: uint8 RGB."""
    wide = max(map(len, rows))
    columns = [max(_cell_width(row[n]) for row in rows if n < len(row)) for n in range(wide)]
    width = max(2 * MARGIN + sum(columns) + (wide - 1) * GAP, 420)
    left = (width - sum(columns) - (wide - 1) * GAP) // 2
    texts: list[TextLine] = []
    boxes: list[Box] = []
    y = place_title(texts, title, MARGIN, left, width, ink)
    for number, row in enumerate(rows):
        y += 2 * GAP if number and row[0].name else 0  # a new class
        captions = [_caption(cell, columns[n]) for n, cell in enumerate(row)]
        head = max(map(len, captions)) * line_height(HEAD_SIZE)
        x = left
        for n, (cell, names) in enumerate(zip(row, captions, strict=True)):
            inside = x + (columns[n] - cell.picture.shape[1]) // 2
            top = y + head + 3
            begin = top - 3 - len(names) * line_height(HEAD_SIZE)
            for i, (name, bold) in enumerate(names):
                colour = ink.text if bold else ink.faint
                texts.append(
                    TextLine(inside, begin + (i + 0.5) * line_height(HEAD_SIZE), name, HEAD_SIZE, colour, bold=bold)
                )
            boxes.append((top, inside, cell.picture))
            texts += [text.moved(inside, top) for text in cell.texts]
            x += columns[n] + GAP
        y += head + 3 + max(cell.picture.shape[0] for cell in row) + GAP
    y += GAP // 2
    y = place_legend(texts, boxes, y, left, width, look, ink, thresholds)
    for note in notes:
        for line in wrapped_lines(note, SMALL_SIZE, width - left - MARGIN, most=3):
            texts.append(TextLine(left, y + line_height(SMALL_SIZE) / 2, line, SMALL_SIZE, ink.faint))
            y += line_height(SMALL_SIZE)
    return drawn_page(y + MARGIN - 4, width, ink, boxes, texts)


def _caption(cell: Cell, width: int) -> list[tuple[str, bool]]:
    """The lines over a picture, and whether they are bold."""
    name = [(line, True) for line in wrapped_lines(cell.name, HEAD_SIZE, width, most=1, bold=True)]
    return name + [(line, False) for line in wrapped_lines(cell.detail, HEAD_SIZE, width, most=2)]


def _cell_width(cell: Cell) -> int:
    return max(int(cell.picture.shape[1]), 120)
