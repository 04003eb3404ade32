import subprocess
import sys
import warnings

import matplotlib
import numpy as np
import pytest
import torch

from cfcam.errors import InputError
from cfcam.imaging import Panel, colorbar, contact_sheet, overlay
from cfcam.imaging.drawing import parts as figure_parts
from cfcam.imaging.drawing import text as figure_text
from cfcam.imaging.drawing.palettes import table
from cfcam.imaging.drawing.sheet import contact_page
from cfcam.imaging.drawing.sides import Scale, scale_of
from cfcam.imaging.image import Image
from cfcam.imaging.measured import Measured

RNG = np.random.default_rng(5)
PAPER = {"dark": (18, 18, 20), "light": (255, 255, 255)}


def picture(H=320, W=320):
    return np.full((H, W, 3), 90, np.uint8)


def heat(H=320, W=320, value=1.0):
    return np.full((H, W), value, np.float32)


def panels(count, label="nodule", **options):
    return [Panel(heat(), f"method-{number}", label, 0.97, **options) for number in range(count)]


def blocks(sheet, colour, least=1000):
    """(top, left, height, width) of the rectangles of one colour, by rows."""
    mask = (sheet == np.asarray(colour, np.uint8)).all(axis=2)
    found = []
    while mask.sum() >= least:
        # the first run that is long enough starts a block
        runs = np.lib.stride_tricks.sliding_window_view(mask, 30, axis=1).all(axis=2)
        starts = np.argwhere(runs)
        if not len(starts):
            break
        top, left = starts[0]
        width = int(np.argmin(np.append(mask[top, left:], False)))
        height = int(np.argmin(np.append(mask[top:, left : left + width].all(axis=1), False)))
        found.append((int(top), int(left), height, width))
        mask[top : top + height, left : left + width] = False
    return found


def spread(found):
    return [sum(1 for block in found if block[0] == top) for top in sorted({block[0] for block in found})]


BLEND = overlay(picture(1, 1), heat(1, 1))[0, 0]


def test_original_and_one_overlay_per_method_in_a_row():
    sheet = contact_sheet(picture(), panels(3))
    assert sheet.dtype == np.uint8
    originals, maps = blocks(sheet, (90, 90, 90)), blocks(sheet, BLEND)
    assert [block[2:] for block in originals + maps] == [(320, 320)] * 4
    assert len({block[0] for block in originals + maps}) == 1  # one row
    assert originals[0][1] < min(block[1] for block in maps)


@pytest.mark.parametrize(("count", "rows"), [(1, [2]), (5, [6]), (6, [4, 3]), (10, [6, 5]), (12, [5, 4, 4])])
def test_rows_wrap_at_six_columns_and_are_even(count, rows):
    sheet = contact_sheet(picture(), panels(count), panel_size=96)
    # the bare picture counts in the first row
    found = blocks(sheet, BLEND) + blocks(sheet, (90, 90, 90))
    assert spread(found) == rows


def test_columns_can_be_fewer():
    assert spread(blocks(contact_sheet(picture(), panels(4), columns=3, panel_size=96), BLEND)) == [2, 2]


def test_each_class_has_its_own_row_and_the_original_stands_once_beside_the_first():
    mixed = [Panel(heat(), method, label, 0.5) for method in ("a", "b") for label in ("nodule", "mass")]
    sheet = contact_sheet(picture(), mixed)
    (original,), maps = blocks(sheet, (90, 90, 90)), blocks(sheet, BLEND)
    assert spread(maps) == [2, 2]
    assert original[0] == min(block[0] for block in maps)
    assert sorted({block[1] for block in maps}) == [original[1] + 330, original[1] + 660]


def test_directions_are_written_into_every_panel_where_they_are_known():
    bare = contact_sheet(picture(), panels(2))
    told = contact_sheet(picture(), panels(2), letters=("R", "L", "S", "I"))
    changed = (bare != told).any(axis=2)
    for top, left, height, width in blocks(bare, (90, 90, 90)) + blocks(bare, BLEND):
        inside = changed[top : top + height, left : left + width]
        assert inside[100:180, :24].any()
        assert inside[100:180, -24:].any()
        assert inside[:24, 140:200].any()
        assert inside[-24:, 140:200].any()
        assert not inside[40:-40, 40:-40].any()


def test_every_panel_has_a_bar_as_long_as_its_label_and_says_where_millimetres_are(monkeypatch):
    scale = Scale(160.0, "at the detector")  # 320 pixels wide: two a millimetre, and no more than a third of the width
    bare, told = contact_sheet(picture(), panels(2)), contact_sheet(picture(), panels(2), scale=scale)
    for top, left, height, width in blocks(bare, (90, 90, 90)) + blocks(bare, BLEND):
        line = told[top + height - 8, left : left + width]
        assert (line == 255).all(axis=1).sum() == 2 * 50
        assert line[8:108].min() == 255
        above = np.s_[top : top + height - 33, left : left + width]
        np.testing.assert_array_equal(told[above], bare[above])
    lines, _ = drawn_lines(monkeypatch, picture(), panels(2), scale=scale, footer="layer4")
    assert lines.count("50 mm at the detector") == 3
    assert "layer4 · mm at the detector" in lines
    narrow, _ = drawn_lines(monkeypatch, picture(), panels(2), scale=scale, footer="", panel_size=150)
    assert narrow.count("50 mm") == 3  # there is no room: the footer says it
    assert "mm at the detector" in narrow
    assert not any("mm" in line for line in drawn_lines(monkeypatch, picture(), panels(2))[0])


@pytest.mark.parametrize(
    ("spacing", "measured", "scale"),
    [
        (None, None, None),
        ((0.2, 0.2), None, (160.0, "")),
        ((0.2, 0.1), None, (80.0, "across")),  # shown as squares: a bar holds from left to right alone
        ((0.2, 0.2), Measured.DETECTOR, (160.0, "at the detector")),
        ((0.2, 0.1), Measured.FILM, (80.0, "across, on the film")),
    ],
)
def test_how_large_a_picture_is_follows_from_its_width(spacing, measured, scale):
    assert scale_of(Image(np.zeros((600, 800), np.uint8), None, "", spacing, measured=measured)) == scale


@pytest.mark.parametrize("size", [(600, 400), (400, 600), (28, 28), (2000, 1000)])
def test_proportions_are_kept(size):
    sheet = contact_sheet(picture(*size), [Panel(heat(*size), "m", "c")], panel_size=200)
    expected = (round(200 * size[0] / max(size)), round(200 * size[1] / max(size)))
    assert [block[2:] for block in blocks(sheet, (90, 90, 90))] == [expected]
    assert [block[2:] for block in blocks(sheet, BLEND)] == [expected]


@pytest.mark.parametrize("size", [(320, 320), (1300, 1300), (37, 37)])
def test_map_stands_where_it_is(size):
    values = np.zeros(size, np.float32)
    h, w = size[0] // 2, size[1] // 4
    values[:h, :w] = 1
    sheet = contact_sheet(picture(*size), [Panel(torch.from_numpy(values), "m", "c")])
    (top, left, _, _) = blocks(sheet, (90, 90, 90))[0]
    left += 320 + 10
    cold = overlay(picture(1, 1), heat(1, 1, 0))[0, 0]
    np.testing.assert_array_equal(
        sheet[top + 20 : top + 140, left + 10 : left + 60], np.broadcast_to(BLEND, (120, 50, 3))
    )
    np.testing.assert_array_equal(
        sheet[top + 180 : top + 300, left + 100 : left + 300], np.broadcast_to(cold, (120, 200, 3))
    )


def test_a_panel_without_a_map_says_so_on_the_picture():
    for status in ("no positive evidence", "not finite"):
        sheet = contact_sheet(picture(), [Panel(None, "m", "c", status=status), Panel(heat(), "n", "c")])
        assert len(blocks(sheet, BLEND)) == 1  # only the second one's
        top, left, height, width = blocks(sheet, (90, 90, 90))[0]
        panel = sheet[top : top + height, left + width + 10 : left + 2 * width + 10]
        red = (panel == np.array([0xB2, 0x18, 0x20], np.uint8)).all(axis=2)
        rows = np.flatnonzero(red.any(axis=1))
        assert red.sum() > 1000
        assert abs(rows.mean() - height / 2) < 5
        assert (panel[rows.min() : rows.max()].min(axis=2) > 230).sum() > 50  # white letters
        assert panel[5, 5].tolist() == [40, 40, 40]  # dimmed: 90 * 0.45


def test_a_map_is_not_drawn_unless_it_is_ok():
    sheet = contact_sheet(picture(), [Panel(heat(), "m", "c", status="not finite")])
    assert blocks(sheet, BLEND) == []
    np.testing.assert_array_equal(sheet, contact_sheet(picture(), [Panel(None, "m", "c", status="not finite")]))
    contact_sheet(picture(), [Panel(heat(value=np.nan), "m", "c", status="not finite")])


@pytest.mark.parametrize(
    "other",
    [
        {"panel": Panel(heat(), "score-cam", "nodule", 0.97)},
        {"panel": Panel(heat(), "grad-cam", "mass", 0.97)},
        {"panel": Panel(heat(), "grad-cam", "nodule", 0.96)},
        {"panel": Panel(heat(), "grad-cam", "nodule", None)},
        {"title": "b.png"},
        {"footer": "layer4"},
    ],
)
def test_everything_said_is_on_the_sheet(other):
    given = {"panel": Panel(heat(), "grad-cam", "nodule", 0.97), "title": "a.png", "footer": "layer3"}
    sheets = [
        contact_sheet(picture(), [a["panel"]], title=a["title"], footer=a["footer"]) for a in (given, given | other)
    ]
    assert sheets[0].shape == sheets[1].shape
    assert (sheets[0] != sheets[1]).any()
    np.testing.assert_array_equal(*(blocks(sheet, BLEND) for sheet in sheets))


def drawn_lines(monkeypatch, *args, **options):
    lines = []
    real = figure_parts.write_texts

    def note(sheet, texts):
        lines.extend(text.line for text in texts)
        return real(sheet, texts)

    monkeypatch.setattr(figure_parts, "write_texts", note)
    sheet = contact_sheet(*args, **options)
    return lines, sheet


def colour_bar(sheet, palette="ember"):
    """The upper half of the bar under a sheet: the rows of the palette, 240 wide, without what stands around."""
    ends = table(palette)[[0, 255]]
    rows = [n for n in range(len(sheet) - 160, len(sheet)) if (sheet[n, [16, 255]] == ends).all()]
    return sheet[rows, 16:256]


def test_lines(monkeypatch):
    lines, _ = drawn_lines(monkeypatch, picture(), panels(1), title="a.png", footer="layer4", palette="jet")
    assert lines[:4] == ["a.png", "original", "method-0", "nodule 0.97"]
    assert "layer4" in lines
    assert {"0", "0.5", "1"} <= set(lines)
    legend = " ".join(lines)
    assert "evidence for the class, 0 to 1 of each map's maximum" in legend
    assert "jet: not perceptually ordered" in legend
    assert "opacity grows with the value, up to 50%" in legend


def test_the_legend_says_and_marks_the_threshold_that_all_outlines_share(monkeypatch):
    half = heat()
    half[:, :200] = 0
    alike = [Panel(half, "m", "c", threshold=0.25), Panel(half, "n", "c", threshold=0.25)]
    lines, sheet = drawn_lines(monkeypatch, picture(), alike)
    assert "outline from 0.25 on" in " ".join(lines)
    light = np.flatnonzero((colour_bar(sheet) == (90, 235, 255)).all(axis=(0, 2)))
    assert light.tolist() == [round(0.25 * 239)]
    apart = [Panel(half, "m", "c", threshold=0.25), Panel(half, "n", "c", threshold=0.5)]
    lines, sheet = drawn_lines(monkeypatch, picture(), apart)
    assert "outline from each map's own threshold on" in " ".join(lines)
    assert not (colour_bar(sheet) == (90, 235, 255)).all(axis=2).any()


def test_each_map_is_outlined_at_its_threshold():
    values = np.tile(np.linspace(0, 1, 320, dtype=np.float32), (320, 1))
    sheet = contact_sheet(picture(320, 320), [Panel(values, "m", "c", threshold=t) for t in (0.25, 0.75)])
    (top, left, _, width) = blocks(sheet, (90, 90, 90))[0]
    row = sheet[top + 100, left + width + 10 : left + 3 * width + 20]
    light = np.flatnonzero((row == (90, 235, 255)).all(axis=1))
    # 0.25 and 0.75 of 319 columns, the second panel a width and a gap further right
    assert light.tolist() == [80, 330 + 240]


def test_looks_without_opacity_by_value_say_so(monkeypatch):
    lines, _ = drawn_lines(monkeypatch, picture(), panels(1), blend="uniform", opacity=0.4)
    assert "laid over at 40%, also where the map is 0" in " ".join(lines)
    assert "outline" not in " ".join(lines)
    lines, _ = drawn_lines(monkeypatch, picture(), panels(1), blend="contour")
    assert "drawn as its outline alone" in " ".join(lines)
    assert "0.5" not in lines  # no colours, no bar


def test_a_box_is_written_with_all_of_its_corners_also_over_a_narrow_picture(monkeypatch):
    one = Panel(np.ones((300, 90), np.float32), "grad-cam", "no pleural effusion at 1034.5,2088.25,1302,1404", 0.1234)
    lines, _ = drawn_lines(monkeypatch, np.zeros((300, 90, 3), np.uint8), [one])
    written = "".join(lines[lines.index("original") + 2 :])
    assert written.replace(" ", "").startswith("nopleuraleffusionat1034.5,2088.25,1302,14040.12")


def test_long_names_are_broken_and_shortened_but_the_probability_stays(monkeypatch):
    name = "a very long class name, such as those of ImageNet, with synonyms," + 16 * " and more synonyms,"
    lines, sheet = drawn_lines(monkeypatch, picture(), [Panel(heat(), "m" * 90, name, 0.25)], title="t" * 500)
    assert next(line for line in lines if line.startswith("mmm")).endswith("…")
    assert lines[lines.index("original") + 2].startswith("a very long class name")
    assert lines[lines.index("original") + 7].endswith("… 0.25")
    assert all(
        figure_text.text_width(line, figure_text.HEAD_SIZE) < 330
        for line in lines
        if line.startswith(("a very", "mmm"))
    )
    paper = PAPER["dark"]
    assert (sheet[:, -8:] == paper).all()  # nothing runs over the edge
    assert (sheet[:, :8] == paper).all()


def test_dollars_unicode_and_controls_are_text(monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        names = [
            "$\\alpha_1$",
            "$\\nosuchsign$",
            "$broken {",
            "nódulo – мас­са",
            "結節",
            "\U0001f600",
            "two\nlines\t",
            "%$#&_^~\\",
            "",
        ]
        lines, _ = drawn_lines(monkeypatch, picture(), [Panel(heat(), name, name, 0.5) for name in names], title="$x$")
    assert "$\\alpha_1$" in lines
    assert "two lines" in lines
    math, plain = (contact_sheet(picture(), [Panel(heat(), name, "c")]) for name in ("$a$", "a"))
    assert (math != plain).any()


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_themes_differ_in_paper(theme):
    sheet = contact_sheet(picture(), panels(1), theme=theme)
    assert (sheet[0] == PAPER[theme]).all()
    assert (sheet[-1] == PAPER[theme]).all()


def test_colour_bar_of_the_sheet_is_the_palette():
    sheet = contact_sheet(picture(), panels(1), palette="viridis", blend="uniform")
    assert len(colour_bar(sheet, "viridis")) == figure_parts.BAR_HEIGHT


def test_pyplot_and_the_users_settings_are_left_alone():
    code = """
import sys, matplotlib
matplotlib.rcParams.update({"font.size": 40, "text.usetex": True, "savefig.dpi": 7, "axes.grid": True})
before = matplotlib.rcParams.copy()  # dict() would look up the backend, and that imports pyplot
import numpy as np
from cfcam.imaging import Panel, colorbar, contact_sheet
sheet = contact_sheet(np.zeros((50, 50, 3), np.uint8), [Panel(np.zeros((50, 50)), "$m$", "c", 0.5)], title="t")
colorbar("jet")
assert "matplotlib.pyplot" not in sys.modules
assert dict.__eq__(before, matplotlib.rcParams)
matplotlib.rcdefaults()
again = contact_sheet(np.zeros((50, 50, 3), np.uint8), [Panel(np.zeros((50, 50)), "$m$", "c", 0.5)], title="t")
assert (sheet == again).all()
"""
    subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", code], check=True, capture_output=True)


def test_importing_the_room_does_not_import_matplotlib():
    code = "import sys, cfcam.imaging; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_wrong_input_is_refused():
    with pytest.raises(InputError, match="at least one panel"):
        contact_sheet(picture(), [])
    with pytest.raises(InputError, match=r"'m', 'c'.*\(5, 5\).*\(320, 320\)"):
        contact_sheet(picture(), [Panel(heat(5, 5), "m", "c")])
    with pytest.raises(InputError, match="no map"):
        Panel(None, "m", "c")
    with pytest.raises(InputError, match=r"\[0, 1\]"):
        contact_sheet(picture(), [Panel(heat(value=np.nan), "m", "c")])
    for wrong in (
        {"columns": 1},
        {"columns": 7},
        {"panel_size": 20},
        {"theme": "blue"},
        {"palette": "no"},
        {"opacity": 2},
    ):
        with pytest.raises(InputError, match=next(iter(wrong))):
            contact_sheet(picture(), panels(1), **wrong)
    hidden = heat(4000, 40)
    hidden[1, 1] = np.nan  # a pixel that the small panel leaves out
    with pytest.raises(InputError, match=r"\[0, 1\]"):
        contact_sheet(picture(4000, 40), [Panel(hidden, "m", "c")], panel_size=96)


# --- colorbar


@pytest.mark.parametrize("palette", ["inferno", "jet"])
def test_colorbar_shows_the_whole_palette(palette):
    bar = colorbar(palette, width=288)  # 256 wide without its margins
    np.testing.assert_array_equal(bar[15, 16:-16], table(palette))
    over = overlay(np.full((1, 256, 3), 128, np.uint8), [np.arange(256) / 255], palette=palette, threshold=None)
    np.testing.assert_array_equal(bar[25, 16:-16], over[0])  # and below what becomes of it over mid-grey
    assert (bar[0] == 255).all()


def test_colorbar_has_ticks_and_a_label():
    bar = colorbar("inferno", width=300)
    ticks = bar[10 + 18 + 3 : 10 + 18 + 3 + 17]
    dark = np.flatnonzero((ticks.max(axis=2) < 120).any(axis=0))
    assert dark.min() < 20
    assert dark.max() > 280
    assert ((dark > 140) & (dark < 160)).any()
    assert (bar != colorbar("inferno", width=300, label=figure_parts.COLORBAR_LABEL.replace("class", "mass"))).any()
    assert len(colorbar("jet")) > len(colorbar())  # the note on its order
    with pytest.raises(InputError, match="width"):
        colorbar(width=20)


def test_matplotlib_is_there_to_compare_with():
    np.testing.assert_array_equal(table("inferno")[255], matplotlib.colormaps["inferno"](1.0, bytes=True)[:3])


@pytest.mark.parametrize("label", ["effusion", "\ue000\ue001"])  # of private use: no font has them
def test_what_stands_for_a_letter_that_no_font_has_is_told(label):
    page = contact_page(picture(), [Panel(heat(), "grad-cam", label)])
    told = [text.line for text in page.texts if "no font of this machine has" in text.line]
    assert len(told) == (label != "effusion")
