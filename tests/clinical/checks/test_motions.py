"""Motions by small angles."""

import math

import numpy as np
import pytest

from cfcam.clinical.checks.repeatability import (
    rotation,
)


def test_a_rotation_of_three_angles_turns_about_one_axis_after_the_other():
    from scipy.spatial.transform import Rotation

    angles = np.radians([10.0, -20.0, 30.0])
    # about the middle axis ours turns from the first axis to the last, SciPy's from the last to the first
    expected = Rotation.from_euler("xyz", angles * [1, -1, 1]).as_matrix()
    assert rotation(angles) == pytest.approx(expected)
    assert rotation(np.array([math.pi / 2])) == pytest.approx(np.array([[0, -1], [1, 0]]))
