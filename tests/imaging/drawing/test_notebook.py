"""An explanation as a figure, and as the output of a notebook's cell."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PILImage

import cfcam
from cfcam import Explanation
from cfcam.clinical.regions import measure
from cfcam.errors import InputError
from cfcam.explanation import ExplanationError
from cfcam.imaging import colorize, overlay
from cfcam.imaging.drawing.drawable import as_pictures
from cfcam.imaging.drawing.outline import border_segments
from tests.networks import GapNet


def of(shape: tuple[int, ...], size: tuple[int, ...], n: int = 2, k: int = 1, **more: object) -> Explanation:
    maps = torch.rand(n, k, *shape, generator=torch.Generator().manual_seed(3)) + 0.1
    targets = torch.arange(k).expand(n, k)
    return Explanation(
        {"a": maps, "b": maps.flip(-1)}, targets, maps.flatten(2).sum(2), torch.zeros(n, 3), None, "layer", size, **more
    )  # type: ignore[arg-type]


def drawn(figure: object) -> list[np.ndarray]:
    """What is in the cells of a figure, row by row, without its colour bar."""
    return [
        np.asarray(axis.images[0].get_array())
        for axis in figure.axes
        if axis.images and axis.get_label() != "<colorbar>"
    ]


def test_a_cell_is_the_map_laid_over_the_picture() -> None:
    e = of((3, 4), (12, 16))
    pictures = np.random.default_rng(0).integers(0, 255, (2, 12, 16, 3), dtype=np.uint8)
    cells = drawn(e.plot(pictures, palette="viridis", opacity=0.3))
    assert len(cells) == 2 * 3
    for n in range(2):
        assert (cells[3 * n] == pictures[n]).all()
        for c, method in enumerate(e.methods, start=1):
            expected = overlay(pictures[n], e.heatmaps(method)[n, 0], opacity=0.3, palette="viridis", threshold=None)
            assert (cells[3 * n + c] == expected).all()


def test_without_pictures_there_are_the_maps_alone() -> None:
    e = of((3, 4), (12, 16))
    cells = drawn(e.plot())
    assert len(cells) == 4
    assert (cells[1] == colorize(e.heatmaps("b")[0, 0])).all()


def test_pictures_that_were_told_are_kept_and_cut_and_not_saved(tmp_path: Path) -> None:
    e = of((3, 4), (12, 16))
    pictures = np.random.default_rng(0).integers(0, 255, (2, 12, 16, 3), dtype=np.uint8)
    told = e.with_pictures(pictures)
    assert e.pictures is None
    assert (drawn(told.plot())[0] == pictures[0]).all()
    part = told.select(slice(1, 2))
    assert (drawn(part.plot(methods=["b"]))[0] == pictures[1]).all()
    assert len(drawn(part.plot(methods=["b"]))) == 2
    assert Explanation.load(told.save(tmp_path)).pictures is None


def test_some_targets_and_methods() -> None:
    e = of((3, 4), (12, 16), n=1, k=3)
    figure = e.plot(targets=[2], methods=["b"])
    assert len(drawn(figure)) == 1
    assert figure.axes[0].get_ylabel() == "class 2"
    assert figure.axes[0].get_title() == "b"
    with pytest.raises(ExplanationError, match="no maps of 'c'"):
        e.plot(methods=["c"])
    with pytest.raises(InputError, match="from 0 to 2"):
        e.plot(targets=[3])


def test_a_picture_stands_once_above_the_maps_of_several_classes() -> None:
    e = of((3, 4), (12, 16), n=2, k=3)
    pictures = np.random.default_rng(0).integers(0, 255, (2, 12, 16, 3), dtype=np.uint8)
    figure = e.plot(pictures, targets=[1, 2])
    cells = drawn(figure)
    assert len(cells) == 2 * (1 + 2 * 2)
    assert [(cell == pictures[n]).all() for n in range(2) for cell in cells[5 * n : 5 * n + 5]] == [
        True,
        *[False] * 4,
    ] * 2
    labels = [axis.get_ylabel() for axis in figure.axes[:-1] if axis.get_ylabel()]
    assert len(labels) == 4  # each row is named, also where its first cell is empty


def test_an_empty_map_says_so() -> None:
    maps = torch.full((1, 1, 2, 2), -1.0)
    e = Explanation({"a": maps}, torch.zeros(1, 1).long(), torch.zeros(1, 1), torch.zeros(1, 2), None, "layer", (8, 8))
    (axis, _) = e.plot().axes
    assert [t.get_text() for t in axis.texts] == ["no\npositive evidence"]
    assert "no positive evidence" in e._repr_html_()


def test_a_volume_is_cut_through_the_peak() -> None:
    maps = torch.zeros(1, 1, 6, 5, 4)
    maps[0, 0, 4, 1, 2] = 1
    e = Explanation({"a": maps}, torch.zeros(1, 1).long(), maps[..., 0, 0, 0], torch.zeros(1, 2), None, "l", (6, 5, 4))
    volume = torch.arange(6 * 5 * 4.0).reshape(1, 1, 6, 5, 4)
    figure = e.plot(volume)
    cells = drawn(figure)
    assert [cell.shape[:2] for cell in cells[::2]] == [(5, 4), (6, 4), (6, 5)]
    (bytes_,) = as_pictures(e, volume)
    for cell, cut in zip(cells[::2], (bytes_[4], bytes_[:, 1], bytes_[:, :, 2]), strict=True):
        assert (cell[..., 0] == cut).all()
    labels = [axis.get_ylabel() for axis in figure.axes[:6:2]]
    assert labels == ["class 0\naxis 0 at 4", "axis 1 at 1", "axis 2 at 2"]


def test_a_signal_is_drawn_with_its_channels() -> None:
    e = cfcam.explain(GapNet(1).eval(), torch.randn(2, 3, 40), "grad-cam")
    figure = e.plot(torch.randn(2, 3, 40))
    assert [len(axis.lines) for axis in figure.axes[:4]] == [3, 3, 3, 3]
    assert figure.axes[1].images[0].get_array().shape == (1, 40, 3)


@pytest.mark.parametrize(("dims", "size"), [(1, (40,)), (2, (24, 20)), (3, (10, 12, 14))])
@pytest.mark.parametrize("known", [False, True])
def test_the_html_needs_nothing_else(dims: int, size: tuple[int, ...], known: bool) -> None:
    x = torch.randn(2, 3, *size)
    e = cfcam.explain(GapNet(dims).eval(), x, ["grad-cam", "hires-cam"], targets=[0, 1], classes=["<b>", "c", "d", "e"])
    page = (e.with_pictures(x) if known else e)._repr_html_()
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    assert "features" in page
    assert not re.search(r"(href|src)=\"(?!data:image/png;base64,)", page)
    sources = re.findall(r"base64,([A-Za-z0-9+/=]+)\"", page)
    assert len(sources) == (2 if known and dims == 2 else 1)
    for source in sources:
        with PILImage.open(BytesIO(base64.b64decode(source))) as picture:
            assert picture.format == "PNG"
            assert len({*picture.convert("RGB").resize((40, 40)).getdata()}) > 10
    probability = e.probability(1, 0)
    assert f"{probability:.3f}" in page


def test_many_images_are_not_all_shown() -> None:
    page = of((3, 4), (12, 16), n=9).with_pictures(torch.rand(9, 3, 12, 16))._repr_html_()
    assert page.count("<img") == 4
    assert "first 4 of 9 images" in page


def test_the_figure_shows_itself_and_leaves_pyplot_alone() -> None:
    code = """
import sys, torch
from tests.imaging.drawing.test_notebook import of
e = of((3, 4), (12, 16))
png = e.plot()._repr_png_()
e._repr_html_()
assert png.startswith(b"\\x89PNG"), png[:8]
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


def test_explaining_does_not_import_matplotlib() -> None:
    code = "import sys, cfcam.explanation; sys.exit('matplotlib' in sys.modules or 'PIL' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_maps_in_half_precision_are_drawn() -> None:
    e = of((3, 4), (12, 16), n=1)
    half = Explanation({"a": e.maps["a"].bfloat16()}, e.targets, e.scores, e.logits, None, "layer", (12, 16))

    def close(a: np.ndarray, b: np.ndarray) -> bool:
        return bool((np.abs(a.astype(int) - b.astype(int)) <= 24).all())

    assert close(drawn(half.plot())[0], drawn(e.plot(methods=["a"]))[0])


def test_the_outline_is_a_line_between_pixels_at_the_threshold_of_the_map() -> None:
    e = of((3, 4), (12, 16))
    pictures = np.zeros((2, 12, 16, 3), np.uint8)
    figure = e.plot(pictures, methods=["b"])
    heat = e.heatmaps("b")[0, 0].numpy()
    (dark, light) = figure.axes[1].collections
    expected = border_segments(heat >= measure(e.heatmaps("b")[0, 0]).threshold)
    for line in (dark, light):
        np.testing.assert_array_equal(np.array(line.get_segments()), expected)
    assert dark.get_linewidth()[0] > light.get_linewidth()[0]
    assert not e.plot(pictures, methods=["b"], blend="uniform").axes[1].collections


def test_the_box_of_each_map_of_a_detector_is_drawn_over_it_in_pixels_of_the_picture() -> None:
    """Corners lie between pixels, whose middles the axes count; the picture is twice the input."""
    boxes = torch.tensor([[[2.0, 1.0, 8.0, 6.0], [torch.nan] * 4]])
    e = of((3, 4), (12, 16), n=1, k=2, boxes=boxes)
    picture = np.zeros((1, 24, 32, 3), np.uint8)
    cells = [axis for axis in e.plot(picture).axes if axis.images and axis.get_label() != "<colorbar>"]
    drawn_there = [[patch.get_bbox().extents.tolist() for patch in axis.patches] for axis in cells]
    box = [[3.5, 1.5, 15.5, 11.5]] * 2  # dark, and light over it
    assert drawn_there == [[], box, box, [], []]  # the picture; two methods; of what is no box none
    told = e.with_pictures(picture)._repr_html_()
    plain = of((3, 4), (12, 16), n=1, k=2).with_pictures(picture)._repr_html_()
    assert told != plain
