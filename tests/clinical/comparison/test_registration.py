import itertools
import math

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from cfcam.clinical.comparison import Gate, RegistrationError, register
from cfcam.clinical.comparison.placed import Grid, Placed
from cfcam.errors import InputError
from cfcam.models.demo import make_phantom


def phantom(seed=7, size=256):
    return make_phantom(seed, findings=["nodule"], size=size).image.astype(np.float32)


def motion(size, degrees, shift, scale=1.0):
    """The matrix (3, 3) from a place of the prior to that of the current, about the picture's middle."""
    angle = math.radians(degrees)
    linear = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    middle = (np.array(size) - 1) / 2
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = linear, middle + shift - linear @ middle
    return matrix


def seen_through(image, matrix):
    """What was at x stands at matrix @ x."""
    back = np.linalg.inv(matrix)
    return ndimage.affine_transform(image, back[:2, :2], back[:2, 2], order=1, mode="nearest")


def placed(image, spacing=None):
    return Placed(image, Grid.of_spacing(image.shape, spacing))


def farthest(found, truth, corners):
    """The largest error of a matrix at some places."""
    places = np.array([[*corner, 1.0] for corner in corners])
    return np.linalg.norm(places @ (found - truth).T, axis=1).max()


@pytest.mark.parametrize(("degrees", "shift"), [(0, (7, -4)), (5, (6, 10)), (-9, (-12, 3))])
def test_a_known_rigid_motion_is_recovered(degrees, shift):
    image = phantom()
    truth = motion(image.shape, degrees, shift)
    found = register(placed(image), placed(seen_through(image, truth)))
    corners = list(itertools.product((0, 255), (0, 255)))
    assert farthest(found.matrix, truth, corners) < 0.5
    assert found.quality.rotation == pytest.approx(abs(degrees), abs=0.3)
    assert found.quality.scale == pytest.approx(1, abs=1e-6)
    assert found.quality.correlation > 0.99 > found.quality.correlation_before
    assert found.quality.mutual_information > found.quality.mutual_information_before
    assert Gate().problems(found.quality) == []


def test_places_are_in_mm_when_spacing_and_size_differ():
    fine = make_phantom(5, findings=["effusion"], size=512).image.astype(np.float32)
    coarse = ndimage.zoom(fine, (0.5, 0.25), order=1, grid_mode=True, mode="nearest")  # rows 0.8 mm, columns 1.6 mm
    found = register(placed(fine, (0.4, 0.4)), placed(coarse, (0.8, 1.6)))
    # the first pixel's centre of the coarse picture lies half a coarse less half a fine pixel inside
    truth = np.array([[1, 0, 0.2 - 0.4], [0, 1, 0.2 - 0.8], [0, 0, 1]])
    assert farthest(found.matrix, truth, itertools.product((0, 204), (0, 204))) < 0.4
    assert found.quality.shift < 1.5


def test_affine_recovers_a_change_of_size_that_rigid_leaves():
    image = phantom()
    truth = motion(image.shape, 2, (3, 4), scale=1.06)
    current = placed(seen_through(image, truth))
    rigid, affine = (register(placed(image), current, kind) for kind in ("rigid", "affine"))
    assert affine.quality.scale == pytest.approx(1.06, abs=0.01)
    assert rigid.quality.scale == pytest.approx(1)
    corners = list(itertools.product((20, 235), (20, 235)))
    assert farthest(affine.matrix, truth, corners) < 1 < farthest(rigid.matrix, truth, corners)


def body(places):
    """A body of ellipsoids that is like itself from no two sides, at places (..., 3) in mm."""
    parts = (
        ((0, 0, 0), (60, 45, 70), 0.5),
        ((-26, 5, 8), (19, 26, 36), -0.35),
        ((27, 2, 0), (16, 24, 34), -0.3),
        ((0, -33, 0), (9, 9, 62), 0.4),
        ((18, 24, -44), (13, 8, 10), 0.3),
    )
    values = np.zeros(places.shape[:-1])
    for centre, axes, strength in parts:
        reach = np.linalg.norm((places - np.array(centre)) / np.array(axes), axis=-1)
        values += strength / (1 + np.exp(25 * (reach - 1)))
    return values


def scan(size, axes, spacing, turn=None, shift=0.0, seed=0):
    """The body on a grid whose axes are columns of ``axes``, centred, after a motion; with noise."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(axes, float) * spacing
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(size) - 1) / 2)
    grid = Grid(tuple(size), affine)
    places = grid.places(np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1))
    values = body((places - shift) @ (np.eye(3) if turn is None else turn)) + np.random.default_rng(seed).normal(
        0, 0.02, size
    )
    return Placed(values.astype(np.float32), grid)


def test_a_volume_is_registered_in_the_patient_whatever_its_axes_and_spacing():
    turn = Rotation.from_euler("xyz", (3, -4, 5), degrees=True).as_matrix()
    shift = np.array([5.0, -7.0, 4.0])
    prior = scan((44, 40, 52), np.eye(3), (3.0, 3.0, 3.0))
    # slices, rows, columns: S, P, L
    other = scan((34, 60, 64), [[0, 0, -1], [0, -1, 0], [1, 0, 0]], (5.0, 2.0, 2.2), turn, shift, seed=1)
    found = register(prior, other)
    truth = np.eye(4)
    truth[:3, :3], truth[:3, 3] = turn, shift
    corners = list(itertools.product((-45, 45), (-35, 35), (-55, 55)))
    assert farthest(found.matrix, truth, corners) < 1.0  # of voxels of 3 to 5 mm
    assert found.quality.rotation == pytest.approx(np.degrees(Rotation.from_matrix(turn).magnitude()), abs=0.3)
    assert found.quality.correlation > 0.97


def test_the_same_images_give_the_same_numbers_and_itk_keeps_its_threads():
    import SimpleITK

    before = SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads()
    image = phantom(size=128)
    moving = placed(seen_through(image, motion(image.shape, 3, (2, 5))))
    first, second = (register(placed(image), moving) for _ in range(2))
    assert np.array_equal(first.matrix, second.matrix)
    assert first.quality == second.quality
    assert SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads() == before


def test_one_image_with_itself_is_left_where_it_is():
    image = phantom(size=128)
    found = register(placed(image), placed(image))
    assert np.array_equal(found.matrix, np.eye(3))
    assert found.quality.correlation == pytest.approx(1)
    assert found.quality.overlap == 1


def test_images_that_cannot_be_registered_are_refused():
    image = phantom(size=64)
    with pytest.raises(RegistrationError, match="one grey value"):
        register(placed(image), placed(np.zeros_like(image)))
    with pytest.raises(RegistrationError, match="no numbers"):
        register(placed(np.full_like(image, np.nan)), placed(image))
    with pytest.raises(InputError, match="axes"):
        register(placed(image), placed(np.zeros((4, 4, 4), np.float32)))
    with pytest.raises(InputError, match="rigid"):
        register(placed(image), placed(image), "elastic")


def test_without_registration_places_are_taken_as_they_are():
    image = phantom(size=64)
    found = register(placed(image), placed(np.roll(image, 9, 1)), "none")
    assert np.array_equal(found.matrix, np.eye(3))
    assert found.quality.correlation == found.quality.correlation_before < 0.95
