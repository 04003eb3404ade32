"""More evidence changes a picture more: the must of issue 14, measured by scikit-image on the pixels that are drawn."""

import numpy as np
import pytest
from benchmarks import visibility as measured

from cfcam.errors import InputError
from cfcam.imaging import PALETTES
from cfcam.imaging.drawing.look import Look
from cfcam.imaging.drawing.visibility import PASSES, grows_visibly, note


@pytest.mark.parametrize("eyes", measured.EYES)
@pytest.mark.parametrize("grey", [20, 60, 128, 200, 245])
def test_the_default_grows_visibly_on_every_grey_and_is_at_least_20_at_the_peak(grey, eyes):
    changes = measured.changes(Look(), grey, eyes)
    assert changes[0] == 0
    assert (np.diff(changes) > 0).all()
    assert changes[-1] >= 20


def test_the_measure_finds_what_was_found_wrong_with_inferno_everywhere():
    # issue 14's table, of grey 200: no evidence changes the picture more than full evidence
    changes = measured.changes(Look("inferno", 0.4, "uniform"), 200, "normal")
    assert [round(changes[n]) for n in (0, 4, 10, 16, 20)] == [25, 27, 22, 20, 15]
    assert not measured.passes(measured.measure(Look("inferno", 0.4, "uniform")))


def test_the_simulation_leaves_greys_and_takes_the_red_from_colour_blind_eyes():
    greys = np.array([[[g, g, g] for g in (0, 60, 200, 255)]], np.uint8)
    for eyes in ("deuteranope", "protanope"):
        np.testing.assert_allclose(measured.seen(greys, eyes), measured.seen(greys, "normal"), atol=0.05)
    red, normal = np.array([[[200, 0, 0]]], np.uint8), 1
    assert measured.seen(red, "normal")[0, 0, normal] > 60  # a*
    assert all(measured.seen(red, eyes)[0, 0, normal] < 20 for eyes in ("deuteranope", "protanope"))


@pytest.mark.parametrize("palette", PALETTES)
def test_each_palette_states_what_is_measured(palette):
    found = measured.passing_opacities(palette)
    assert PASSES[palette] == ((found[0], found[-1]) if found else None)
    assert len(found) == (round((found[-1] - found[0]) / 0.05) + 1 if found else 0)  # without a gap


def test_what_is_said_of_a_look():
    assert set(PASSES) == set(PALETTES)
    assert grows_visibly() is True
    assert [grows_visibly(opacity=opacity) for opacity in (0.3, 0.35, 0.8, 0.85)] == [False, True, True, False]
    assert grows_visibly("viridis") is False
    assert grows_visibly("coolwarm") is None
    assert grows_visibly(blend="uniform") is False
    assert grows_visibly(blend="contour") is None
    assert note(Look()) == ""
    assert note(Look("inferno")) == "inferno: more evidence is not on every grey the greater change"
    assert note(Look("jet")).startswith("jet: not perceptually ordered, more evidence")
    with pytest.raises(InputError, match="opacity"):
        grows_visibly(opacity=2)
