import numpy as np
import pytest

from cfcam.errors import InputError
from cfcam.imaging.drawing.signed import difference_overlay, difference_picture


def test_less_is_purple_nothing_white_and_more_orange_on_a_fixed_range():
    less, nothing, more, weak = difference_picture(np.array([[-1.0, 0.0, 1.0, 0.1]]))[0].astype(int)
    assert less[2] > less[0] > less[1]  # purple: blue and red, little green
    assert nothing.min() > 240
    assert more[0] > more[1] > more[2]  # orange: red, some green, little blue
    assert weak.min() > 200  # a weak difference stays pale: the range does not follow the data
    with pytest.raises(InputError):
        difference_picture(np.array([[1.2]]))


def test_a_difference_is_as_opaque_as_it_is_great():
    image = np.full((1, 5, 3), 90, np.uint8)
    changes = np.array([[-1, 0, 1, 0.5, -0.5]], np.float32)
    drawn = difference_overlay(image, changes, opacity=0.6)
    np.testing.assert_array_equal(drawn[0, 1], image[0, 1])
    colours = difference_picture(changes)[0].astype(float)
    # entry 191 of 256 is 63 of 127 steps from the middle, entry 64 likewise
    for n, share in ((0, 0.6), (2, 0.6), (3, 0.6 * 63 / 127), (4, 0.6 * 63 / 127)):
        np.testing.assert_array_equal(drawn[0, n], np.floor(share * colours[n] + (1 - share) * 90 + 0.5))
    with pytest.raises(InputError, match="opacity"):
        difference_overlay(image, changes, opacity=2)
    with pytest.raises(InputError, match="size"):
        difference_overlay(image, changes[:, 1:])
