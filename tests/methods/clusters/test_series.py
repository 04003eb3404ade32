"""Which views an input of a kind is seen in, and what is refused because it would change what the input means."""

from __future__ import annotations

import pytest
import torch

import cfcam
from cfcam.errors import MethodError
from cfcam.methods import CFCAM, View
from cfcam.methods.clusters.series import KINDS, series
from tests.networks import GapNet, rescale

STEPS = (View(shift=1), View(shift=-1), View(shift=2), View(shift=-2))
SLICES = tuple(View(shift=(0, n, n)) for n in (1, -1, 2, -2))


def explained(method: CFCAM, *size: int) -> cfcam.Explanation:
    torch.manual_seed(1)
    net = rescale(GapNet(dims=len(size))).eval()
    return cfcam.explain(net, torch.rand(1, 3, *size), {"map": method}, targets=0)


def test_the_standard_series_begins_with_retests_of_either_sign_and_ends_with_noise_in_pairs() -> None:
    assert series(4) == STEPS
    assert series(7)[4:] == (View(noise=0.05), View(noise=-0.05), View(noise=0.05, seed=1))
    for kind in KINDS:
        assert [len(series(n, kind)) for n in range(10)] == list(range(10))
        assert [view.is_retest for view in series(3, kind)] == [True, True, False]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_in_a_series_is_refused_for_its_kind_and_nothing_is_flipped(kind: str) -> None:
    views = series(12, kind)
    assert CFCAM(views=views, kind=kind).views == views
    assert not any(view.flip for view in views)


@pytest.mark.parametrize(
    ("spacing", "size", "views"),
    [
        ((5.0, 0.8, 0.8), (16, 32, 32), SLICES),
        ((1.5, 1.0, 1.0), (16, 32, 32), STEPS),  # not more than one and a half times
        ((1.6, 1.0, 1.0), (16, 32, 32), SLICES),
        ((0.1, 3.0, 1.0), (16, 32, 32), tuple(View(shift=(n, 0, 0)) for n in (1, -1, 2, -2))),
        ((0.1, 1.0, 1.2), (4, 32, 32), STEPS),  # the first is too short to be moved along: the others are the fine ones
        ((1.0, 4.0), (16, 32), tuple(View(shift=(n, 0)) for n in (1, -1, 2, -2))),
        ((3.0,), (64,), STEPS),
    ],
)
def test_thick_slices_stay_where_they_are(spacing: tuple, size: tuple, views: tuple) -> None:
    assert series(4, spacing=spacing, size=size) == views


def test_a_volume_of_thick_slices_is_seen_within_its_slices_and_that_is_said() -> None:
    found = explained(CFCAM.steady("volume", (5, 0.8, 0.8)), 8, 12, 12)
    named = explained(CFCAM(views=SLICES, shrinkage=None), 8, 12, 12)
    assert torch.equal(found.maps["map"], named.maps["map"])
    assert not torch.equal(found.maps["map"], explained(CFCAM.steady("volume"), 8, 12, 12).maps["map"])
    line = "cf-cam-steady: views of a volume with places 5 x 0.8 x 0.8 apart: moved by 0, 1, 1; moved by 0, -1, -1; "
    assert line + "moved by 0, 2, 2; moved by 0, -2, -2" in found.said[0]
    assert (
        found.provenance["methods"]["map"] | {"kind": "volume", "spacing": [5, 0.8, 0.8]}
        == (found.provenance["methods"]["map"])
    )


def test_of_an_unknown_kind_nothing_is_said_and_the_preset_is_as_it_was() -> None:
    found = explained(CFCAM.steady(), 12, 12)
    assert not any("views of" in line for line in found.said[0])
    assert torch.equal(found.maps["map"], explained(CFCAM(views=STEPS, shrinkage=None), 12, 12).maps["map"])
    assert {CFCAM.steady().label, CFCAM.steady("signal").label} == {"cf-cam-steady"}


FLIP, TURN = View(flip=(-1,)), View(turn=1.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "scan"}, "one of 'unknown', 'photograph', 'radiograph', 'volume', 'signal'"),
        ({"kind": None}, "one of 'unknown', 'photograph'"),
        ({"kind": ["volume"]}, "one of 'unknown', 'photograph'"),
        ({"views": (View(shift=1), FLIP), "kind": "radiograph"}, "flipped along -1 changes what it means"),
        ({"views": (View(shift=1), FLIP), "kind": "volume"}, "flipped along -1 changes what it means"),
        ({"views": (View(shift=1), FLIP), "kind": "signal"}, "run backwards it is another"),
        ({"views": (View(shift=1), TURN), "kind": "volume"}, "turned by 1 changes what it means"),
        ({"views": (View(shift=1), View(flip=(-2,))), "kind": "photograph"}, "an above and a below"),
        ({"spacing": (1.0, -1.0)}, r"spacing=\(1.0, -1.0\)\): a tuple of numbers above 0"),
        ({"spacing": (1.0, 0.0)}, "a tuple of numbers above 0"),
        ({"spacing": (1.0, float("nan"))}, "a tuple of numbers above 0"),
        ({"spacing": (1.0, float("inf"))}, "a tuple of numbers above 0"),
        ({"spacing": (1.0, True)}, "a tuple of numbers above 0"),
        ({"spacing": (1.0, "1")}, "a tuple of numbers above 0"),
        ({"spacing": 1.0}, "a tuple of numbers above 0"),
        ({"spacing": (1.0, 1.0), "kind": "volume"}, "a volume has 3 spatial axes, and as many distances are due"),
        ({"spacing": (1.0, 1.0), "kind": "signal"}, "a signal has 1 spatial axis, and as many distances are due"),
        ({"spacing": (1.0, 1.0), "views": (View(shift=1),)}, "spacing chooses axes of the standard series"),
        ({"views": 0, "kind": "photograph"}, "give a number of them"),
        ({"views": 0, "spacing": (1.0, 1.0)}, "give a number of them"),
    ],
)
def test_what_does_not_fit(settings: dict, message: str) -> None:
    with pytest.raises(MethodError, match=message):
        CFCAM(**({"views": 4} | settings))


@pytest.mark.parametrize(
    ("method", "size", "message"),
    [
        (CFCAM.steady("photograph"), (8, 12, 12), "a photograph has 2 spatial axes, and the input 3"),
        (CFCAM.steady("volume"), (12, 12), "a volume has 3 spatial axes, and the input 2"),
        (CFCAM.steady("radiograph"), (24,), "a radiograph has 2 spatial axes, and the input 1"),
        (CFCAM.steady("signal"), (12, 12), "a signal has 1 spatial axis, and the input 2"),
        (CFCAM.steady(spacing=(1.0, 2.0, 3.0)), (12, 12), r"spacing=\(1, 2, 3\) is of 3 spatial axes, .* has 2"),
    ],
)
def test_inputs_that_do_not_fit(method: CFCAM, size: tuple, message: str) -> None:
    with pytest.raises(MethodError, match=message):
        explained(method, *size)


def test_what_is_named_for_a_kind_is_kept() -> None:
    views = (View(shift=1), FLIP, TURN)
    found = explained(CFCAM(views=views, kind="photograph"), 12, 12)
    assert "cf-cam: views of a photograph: moved by 1; flipped along -1; turned by 1" in found.said[0]
