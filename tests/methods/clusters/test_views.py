"""Views of an input, and the way of their maps back."""

from __future__ import annotations

import math

import pytest
import torch

import cfcam
from cfcam.capture.layers.placement import Placement, Span
from cfcam.errors import MethodError
from cfcam.methods import CFCAM
from cfcam.methods.clusters.views import View
from tests.networks import GapNet, rescale

LINE = torch.arange(8.0).reshape(1, 1, 8)
CELLS = torch.tensor([[[1.0, 2.0, 4.0, 8.0]]])  # of two pixels each


def test_a_shift_repeats_the_border_and_a_mask_comes_in_empty() -> None:
    assert View(shift=2).of(LINE)[0, 0].tolist() == [0, 0, 0, 1, 2, 3, 4, 5]
    assert View(shift=-2).of(LINE)[0, 0].tolist() == [2, 3, 4, 5, 6, 7, 7, 7]
    assert View(shift=-2).moved(LINE, empty=True)[0, 0].tolist() == [2, 3, 4, 5, 6, 7, 0, 0]


@pytest.mark.parametrize(
    ("view", "back", "shown"),
    [
        (View(), [1, 2, 4, 8], [True] * 4),
        (View(noise=0.1), [1, 2, 4, 8], [True] * 4),
        (View(shift=2), [2, 4, 8, 0], [True, True, True, False]),  # a cell on: the last one's place has left
        (View(shift=1), [1.5, 3, 6, 8], [True] * 4),  # half a cell on; what lies beyond the last centre is as it is
        (View(flip=(-1,)), [8, 4, 2, 1], [True] * 4),
        (View(shift=2, flip=(-1,)), [4, 2, 1, 0], [True, True, True, False]),
    ],
)
def test_a_map_is_laid_back(view: View, back: list, shown: list) -> None:
    found, where = view.laid_back(CELLS, (8,), None)
    assert found[0, 0].tolist() == back
    assert where.tolist() == shown


def test_cells_that_leave_a_rim_are_laid_back_where_they_lie() -> None:
    rim = Placement((10,), (Span(2.0, 2.0, 1.0, 9.0),))
    found, shown = View(shift=2).laid_back(CELLS, (10,), rim)
    assert found[0, 0].tolist() == [2, 4, 8, 0]
    assert shown.tolist() == [True, True, True, False]


@pytest.mark.parametrize("axes", [2, 3])
def test_what_is_turned_and_laid_back_is_where_it_was(axes: int) -> None:
    x = torch.rand(2, 3, *[9] * (axes - 2), 8, 8)
    view = View(turn=90.0)
    assert not torch.allclose(view.of(x), x)
    back, shown = view.laid_back(view.of(x), tuple(x.shape[2:]), None)
    torch.testing.assert_close(back, x)
    assert shown.all()


def test_a_small_turn_shows_all_but_the_corners() -> None:
    x = torch.ones(1, 1, 16, 16)
    back, shown = View(turn=5.0).laid_back(x, (16, 16), None)
    assert not shown[0, 0]
    assert shown[2:-2, 2:-2].all()
    torch.testing.assert_close(back[0, 0], shown.float())


def test_noise_is_of_the_images_own_size_the_same_for_all_and_has_two_signs() -> None:
    x = torch.cat([LINE, 3 * LINE])
    more, less = (View(noise=sign * 0.1).of(x) for sign in (1, -1))
    torch.testing.assert_close(more + less, 2 * x)
    torch.testing.assert_close((more - x)[1], 3 * (more - x)[0])
    torch.testing.assert_close(View(noise=0.1).of(x[1:]), more[1:])


def test_short_axes_and_those_of_frames_stay() -> None:
    assert View(shift=1).steps((7, 8, 9)) == [0, 1, 1]
    assert View(shift=1).steps((8, 8, 9), still=1) == [0, 1, 1]
    assert View(shift=(2, -1)).steps((8, 8, 9)) == [0, 2, -1]


def explained(view: View, *size: int) -> cfcam.Explanation:
    net = rescale(GapNet(dims=len(size))).eval()
    return cfcam.explain(net, torch.rand(1, 3, *size), CFCAM(views=(View(shift=1), view)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: View(flip=(0,)), "different spatial axes from -3 to -1"),
        (lambda: View(noise=float("nan")), "a number"),
        *(
            (lambda s=s: View(shift=s), "shift=.+: give a whole number")
            for s in (1.5, math.nan, math.inf, "a", (1, 0.5), [1])
        ),
        (lambda: View(seed="a"), "seed='a': give a whole number"),
        (lambda: View(seed=2**63), "seed=9223372036854775808: give a whole number of at most 18 digits"),
        (lambda: View(seed=-(2**63) - 1), "at most 18 digits"),
        (lambda: View(turn=1e9), "degrees from -180 to 180"),
        (lambda: View(turn="a"), r"View\(turn='a'\): a number"),
        (lambda: View(flip=-1), "a tuple of spatial axes"),
        (lambda: View(shift=40).of(torch.rand(1, 3, 32, 32)), "more than half of an axis of 32 pixels"),
        (lambda: View(shift=(0, -17)).of(torch.rand(1, 3, 32, 32)), "more than half of an axis of 32 pixels"),
        (lambda: explained(View(turn=2), 64), "the input has 1 spatial axes"),
        (lambda: explained(View(shift=40), 32, 32), "more than half of an axis of 32 pixels"),
        (lambda: View(shift=(1, 1)).of(LINE), "the input has 1 spatial axes"),
        (lambda: View(turn=3.0).of(LINE), "the input has 1 spatial axes"),
        (lambda: View(flip=(-2,)).of(LINE), "the input has 1 spatial axes"),
    ],
)
def test_views_that_do_not_fit(make, message: str) -> None:
    with pytest.raises(MethodError, match=message):
        make()
