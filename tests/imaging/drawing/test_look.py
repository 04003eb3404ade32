import numpy as np
import pytest

from cfcam.cli import explain
from cfcam.cli.arguments import words
from cfcam.errors import InputError
from cfcam.imaging.drawing.look import BLENDS, OPACITY, SEEDS, Look
from cfcam.imaging.drawing.palettes import EMBER


def test_the_opacity_follows_the_value_or_not():
    shares = Look(opacity=0.5).shares()
    np.testing.assert_allclose(shares[[0, 51, 255]], [0, 0.1, 0.5])
    assert (np.diff(shares) > 0).all()
    assert set(Look(opacity=0.3, blend="uniform").shares()) == {0.3}
    assert not Look(blend="contour").shares().any()


def test_legends_say_how():
    assert Look(opacity=0.6).words() == "opacity grows with the value, up to 60%"
    assert Look(opacity=0.4, blend="uniform").words() == "laid over at 40%, also where the map is 0"
    assert Look(blend="contour").words() == "drawn as its outline alone"


@pytest.mark.parametrize("wrong", [Look(opacity=1.5), Look(opacity=float("nan")), Look(blend="mix"), Look("embers")])
def test_a_look_that_there_is_not_is_refused(wrong):
    with pytest.raises(InputError):
        wrong.check()


def test_the_threshold_of_a_look_without_an_outline_is_none():
    assert Look(blend="uniform").threshold(np.ones((2, 2), np.float32), 0.5) is None
    assert Look().threshold(np.ones((2, 2), np.float32), 0.5) == 0.5


def test_the_command_line_knows_the_same_without_importing_numpy():
    assert explain.LOOK == (EMBER, OPACITY, "value") == tuple(Look())
    assert {"seeds": tuple(SEEDS)} == explain.PRESETS
    assert words.BLENDS == BLENDS
