"""What the page reckons with, against numbers by hand: colour tables, files, places, planes, lines, permalinks."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from cfcam.imaging.geometry import axis_codes
from tests.web.browser.page import launched
from tests.web.browser.scripts import bare_page, needs_browser

pytestmark = needs_browser


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    with launched() as browser:
        yield bare_page(browser, "state", "lut", "nifti", "grid", "slices", "contour")


def test_a_projection_of_a_difference_is_what_is_farthest_from_none(page: Any) -> None:
    """Of 2 x 1 x 2 levels about 128, axis 0 slowest: along axis 0 (200, 100) and (130, 20)."""
    found = page.evaluate("""() => {
      const grid = { shape: [2, 1, 2], strides: [2, 2, 1] };
      const file = { data: Uint8Array.of(200, 130, 100, 20) };
      return cfcam.slices.farthest(file, grid).map((one) => [...one]);
    }""")
    assert found[0] == [200, 20]  # of 200 and 100 the first is 72 from 128; of 130 and 20 the second is 108
    assert found[1] == [200, 130, 100, 20]
    assert found[2] == [200, 20]


RED = "Uint8Array.from({length: 768}, (_, n) => n % 3 ? 0 : Math.floor(n / 3))"  # colour n of the palette is (n, 0, 0)


@pytest.mark.parametrize(
    ("how", "v", "alpha"),
    [
        ({"opacity": 0.4, "blend": "value"}, 0, 0),
        ({"opacity": 0.4, "blend": "value"}, 0.5, 0.2),
        ({"opacity": 0.4, "blend": "value"}, 1, 0.4),
        ({"opacity": 0.4, "blend": "uniform"}, 0, 0.4),
        ({"opacity": 1, "blend": "contour"}, 1, 0),
        ({"opacity": 0.8, "blend": "uniform", "fade": True, "threshold": 0.5}, 0.25, 0.8 * 0.25),
        ({"opacity": 0.8, "blend": "uniform", "fade": True, "threshold": 0.5}, 0.5, 0.8),
        ({"opacity": 0.8, "blend": "value", "fade": True, "threshold": 0.5}, 0.25, 0.8 * 0.25 * 0.25),
        ({"opacity": 0.8, "blend": "value", "fade": True, "threshold": None}, 0.25, 0.2),
        ({"opacity": 0.6, "blend": "value", "signed": True}, 0.5, 0),
        ({"opacity": 0.6, "blend": "value", "signed": True}, 0, 0.6),
        ({"opacity": 0.6, "blend": "value", "signed": True}, 0.75, 0.3),
    ],
)
def test_opacity_grows_with_the_value_and_fades_below_the_threshold(
    page: Any, how: dict[str, Any], v: float, alpha: float
) -> None:
    assert page.evaluate("([v, how]) => cfcam.lut.alpha(v, how)", [v, how]) == pytest.approx(alpha, abs=1e-12)


def test_a_pixel_is_the_original_and_the_colour_in_parts_of_alpha(page: Any) -> None:
    """Grey 100 under level 255 of a red palette at opacity 0.4: 0.6 * 100 + 0.4 * 255 = 162; 60 in green and blue."""
    drawn = page.evaluate(f"""() => {{
      const table = cfcam.lut.table({RED}, {{opacity: 0.4, blend: "value"}});
      const out = new Uint8ClampedArray(12);
      cfcam.slices.composite(Float32Array.of(100, 100, 100), 1, {{data: Uint8Array.of(0, 51, 255)}}, table, out);
      return [...out];
    }}""")
    # level 51 is v = 0.2, alpha = 0.08: 92 + 0.08 * 51 = 96.08, and 92
    assert drawn == [100, 100, 100, 255, 96, 92, 92, 255, 162, 60, 60, 255]


def test_a_common_scale_multiplies_the_values_before_they_are_coloured(page: Any) -> None:
    """A map whose maximum is half of the greatest one ends at the palette's middle."""
    keep, red = page.evaluate(f"""() => {{
      const table = cfcam.lut.table({RED}, {{opacity: 1, blend: "value", factor: 0.5}});
      return [table.keep[255], table.add[765]];
    }}""")
    assert keep == pytest.approx(0.5)
    assert red == pytest.approx(0.5 * 128)


def test_the_colour_bar_shows_what_is_seen_over_mid_grey(page: Any) -> None:
    assert page.evaluate(f'cfcam.lut.over({RED}, 1, {{opacity: 0.5, blend: "value"}})') == [192, 64, 64]
    assert page.evaluate(f'cfcam.lut.over({RED}, 0, {{opacity: 0.5, blend: "value"}})') == [128, 128, 128]


def nifti(shape: tuple[int, int, int], code: int, bits: int, body: bytes, affine: Any, slope: float = 0.0) -> list[int]:
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, 3, *shape, 1, 1, 1, 1)
    struct.pack_into("<hh", head, 70, code, bits)
    struct.pack_into("<fff", head, 108, 352.0, slope, 0.0)
    struct.pack_into("<h", head, 254, 1)
    struct.pack_into("<12f", head, 280, *np.asarray(affine, np.float32)[:3].ravel())
    return list(bytes(head) + body)


def test_a_nifti_file_is_read_with_its_slope_and_affine(page: Any) -> None:
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    values = np.arange(-4, 4, dtype="<i2")
    read = page.evaluate(
        """(bytes) => { const f = cfcam.nifti.read(Uint8Array.from(bytes).buffer);
           return [f.dims, [...f.data], f.channels, f.slope, f.inter, f.affine]; }""",
        nifti((2, 2, 2), 4, 16, values.tobytes(), affine, slope=0.5),
    )
    assert read == [[2, 2, 2], values.tolist(), 1, 0.5, 0, affine.tolist()]


def test_a_file_that_broke_off_says_so(page: Any) -> None:
    with pytest.raises(Exception, match="broke off"):
        page.evaluate(
            "(bytes) => cfcam.nifti.read(Uint8Array.from(bytes).buffer)", nifti((9, 9, 9), 2, 8, b"12", np.eye(4))
        )


def turned_affines() -> list[np.ndarray]:
    """All 48 ways in which the axes of an array can lie along those of the patient."""
    from itertools import permutations, product

    found = []
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        affine = np.eye(4)
        affine[:3, :3] = 0
        for axis, (way, sign) in enumerate(zip(order, signs, strict=True)):
            affine[way, axis] = sign * (1 + axis)
        found.append(affine)
    return found


@pytest.mark.parametrize("tilt", [0.0, 0.3])
def test_left_is_left_however_the_axes_lie(page: Any, tilt: float) -> None:
    """Of a voxel far to the patient's right, front and head: it lies left (axial, coronal), and in front of the middle
    left (sagittal), and up. Its place follows from `cfcam.imaging.geometry` alone."""
    turn = np.eye(4)
    turn[:2, :2] = [[math.cos(tilt), -math.sin(tilt)], [math.sin(tilt), math.cos(tilt)]]
    for plain in turned_affines():
        affine = turn @ plain
        codes = axis_codes(affine)
        shape = [3, 5, 7]
        index = [n - 1 if code in "RAS" else 0 for code, n in zip(codes, shape, strict=True)]
        views = page.evaluate(
            """([affine, shape, index]) => {
              const grid = cfcam.grid.of({kind: "volume", shape, affine, placed: true}, {dims: shape, affine});
              return Object.values(grid.views).map((v) => [v.plane, cfcam.grid.toPlane(v, index), v.edges,
                cfcam.grid.fromPlane(v, cfcam.grid.toPlane(v, index), index)]);
            }""",
            [affine.tolist(), shape, index],
        )
        assert [plane for plane, *_ in views] == ["axial", "coronal", "sagittal"]
        for _, (u, v), edges, back in views:
            assert (u, v) == (0, 0)
            assert (edges[0], edges[2]) in {("R", "A"), ("R", "S"), ("A", "S")}
            assert back == index


def test_a_plane_is_the_same_whichever_axis_the_file_counts_fastest(page: Any) -> None:
    """Value 100 d + 10 h + w at [d, h, w] of an RAS array: the axial plane at w = 1 starts with the last d and h."""
    shape = (2, 3, 2)
    values = np.fromfunction(lambda d, h, w: 100 * d + 10 * h + w, shape).astype("<u2")
    affine = np.eye(4)
    script = """([bytes, shape, affine, cursor]) => {
      const file = cfcam.nifti.read(Uint8Array.from(bytes).buffer);
      const grid = cfcam.grid.of({kind: "volume", shape, affine, placed: true}, file);
      return ["axial", "coronal", "sagittal"].map((p) => [...cfcam.slices.cut(file, grid, grid.views[p], cursor).data]);
    }"""
    forward = nifti(shape, 512, 16, values.tobytes("F"), affine)
    backward = nifti(shape[::-1], 512, 16, values.tobytes("C"), affine[:, [2, 1, 0, 3]])
    planes = [page.evaluate(script, [file, list(shape), affine.tolist(), [1, 2, 1]]) for file in (forward, backward)]
    axial, coronal, sagittal = [121, 21, 111, 11, 101, 1], [121, 21, 120, 20], [121, 111, 101, 120, 110, 100]
    assert planes == [[axial, coronal, sagittal]] * 2


def test_a_projection_holds_the_greatest_value_of_each_ray(page: Any) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 1000, (4, 5, 6)).astype("<i2") - 500
    script = """([bytes, shape, affine]) => {
      const file = cfcam.nifti.read(Uint8Array.from(bytes).buffer);
      const grid = cfcam.grid.of({kind: "volume", shape, affine, placed: true}, file);
      const all = cfcam.slices.projections(file, grid);
      return ["axial", "coronal", "sagittal"].map((p) => [...cfcam.slices.projected(all, grid, grid.views[p]).data]);
    }"""
    affine = np.eye(4)
    expected = [values.max(axis)[::-1, ::-1].T.ravel().tolist() for axis in (2, 1, 0)]
    for file in (
        nifti((4, 5, 6), 4, 16, values.tobytes("F"), affine),
        nifti((6, 5, 4), 4, 16, values.tobytes("C"), affine[:, [2, 1, 0, 3]]),
    ):
        assert page.evaluate(script, [file, [4, 5, 6], affine.tolist()]) == expected


def test_a_window_maps_its_ends_to_black_and_white(page: Any) -> None:
    drawn = page.evaluate("""() => [...cfcam.slices.windowed(
      {data: Int16Array.of(-300, -160, 40, 240, 900), channels: 1}, {slope: 1, inter: 0},
      {low: -160, high: 240, function: "LINEAR_EXACT"})]""")
    assert drawn == [0, 0, 127.5, 255, 255]


def test_a_sigmoid_window_is_half_at_its_centre(page: Any) -> None:
    (low, middle, high) = page.evaluate("""() => [...cfcam.slices.windowed(
      {data: Int16Array.of(0, 50, 100), channels: 1}, {slope: 1, inter: 0},
      {low: 0, high: 100, function: "SIGMOID"})]""")
    assert middle == pytest.approx(127.5)
    assert low == pytest.approx(255 / (1 + math.exp(2)), rel=1e-6)
    assert high == pytest.approx(255 - low, rel=1e-6)


def test_a_picture_is_made_smaller_by_means(page: Any) -> None:
    small = page.evaluate("""() => {
      const small = cfcam.slices.reduced({width: 3, height: 2, channels: 1, data: Uint8Array.of(1, 3, 9, 5, 7, 11)}, 2);
      return [small.width, small.height, ...small.data];
    }""")
    assert small == [2, 1, 4, 10]


def test_the_outline_runs_between_pixels_where_the_level_is_crossed(page: Any) -> None:
    """One pixel of 100 among zeros: at level 50 the line stands half a pixel from its centre on all four sides."""
    pieces = page.evaluate("""() => [...cfcam.contour.lines(
      {width: 3, height: 3, data: Uint8Array.of(0, 0, 0, 0, 100, 0, 0, 0, 0)}, 50)]""")
    ends = {tuple(pieces[n : n + 2]) for n in range(0, len(pieces), 2)}
    assert ends == {(0.5, 1), (1.5, 1), (1, 0.5), (1, 1.5)}
    assert len(pieces) == 16


def test_the_outline_of_what_reaches_the_rim_is_closed_there(page: Any) -> None:
    pieces = page.evaluate("() => [...cfcam.contour.lines({width: 2, height: 1, data: Uint8Array.of(255, 255)}, 100)]")
    points = np.reshape(pieces, (-1, 2))
    assert points.min(0) == pytest.approx([-0.5, -0.5], abs=0.15)
    assert points.max(0) == pytest.approx([1.5, 0.5], abs=0.15)
    starts, counts = np.unique(points, axis=0, return_counts=True)
    assert (counts == 2).all(), starts  # every end meets another


# permalinks


def test_a_permalink_brings_back_what_it_was_made_of(page: Any) -> None:
    shown = {
        "study": "s-0123456789ab", "maps": ["m-1", "m-2"], "active": 1, "opacity": 0.35, "threshold": 0.42,
        "fade": True, "outline": False, "palette": "viridis", "blend": "uniform", "window": [-160, 240.5],
        "scale": "common", "plane": "coronal", "cursor": [3, 40, 7], "zoom": 2.5, "pan": [0.1, -0.25],
        "crosshair": True, "panel": "display",
    }  # fmt: skip
    back = page.evaluate(
        """(patch) => { cfcam.state.set(patch); const link = cfcam.state.permalink();
           cfcam.state.set(cfcam.state.defaults); return cfcam.state.restore(link); }""",
        shown,
    )
    assert {key: back[key] for key in shown} == shown


@pytest.mark.parametrize(
    ("fragment", "key", "value"),
    [
        ("#opacity=7", "opacity", 1),
        ("#opacity=pink", "opacity", 0.4),
        ("#plane=<script>", "plane", "axial"),
        ("#window=9,1", "window", None),
        ("#window=1,2,3", "window", None),
        ("#cursor=1,2", "cursor", [1, 2]),
        ("#cursor=-5,2.6", "cursor", [0, 3]),
        ("#study=%E0%A4%A", "study", None),
        ("#study=<b>", "study", None),
        ("#__proto__=1&constructor=2&zoom=1e9", "zoom", 64),
        ("#original=1", "original", None),
        ("#maps=a,b,c,d,e,f,g,h", "maps", list("abcdef")),
    ],
)
def test_a_permalink_from_elsewhere_cannot_bring_anything_odd(page: Any, fragment: str, key: str, value: Any) -> None:
    back = page.evaluate("(hash) => cfcam.state.restore(hash)", fragment)
    assert back.get(key) == value


def test_a_listener_hears_of_its_keys_alone_and_only_of_changes(page: Any) -> None:
    heard = page.evaluate("""() => {
      const heard = [];
      const stop = cfcam.state.on(["opacity", "maps"], (state, changed) => heard.push(changed));
      cfcam.state.set({opacity: 0.11, zoom: 3});
      cfcam.state.set({opacity: 0.11});
      cfcam.state.set({maps: ["x"]});
      cfcam.state.set({maps: ["x"]});
      stop();
      cfcam.state.set({opacity: 0.5});
      return heard;
    }""")
    assert heard == [["opacity", "zoom"], ["maps"]]


def test_an_unknown_key_of_the_state_is_a_mistake(page: Any) -> None:
    with pytest.raises(Exception, match="no key colour"):
        page.evaluate('() => cfcam.state.set({colour: "red"})')
