import numpy as np
import pytest

from cfcam.errors import InputError
from cfcam.imaging import Volume
from cfcam.imaging.drawing.difference import (
    Table,
    comparison_figure,
    picture_scene,
    volume_scenes,
)
from cfcam.imaging.drawing.sides import Scale
from cfcam.imaging.drawing.signed import difference_picture

NUMBERS = Table(("", "change"), [("hot area", "+3")], [True])


def grey(value, size=(40, 60)):
    return np.full((*size, 3), value, np.uint8)


def test_the_scene_is_the_difference_of_the_maps_and_marks_what_was_not_compared():
    prior, current = np.zeros((2, 40, 60), np.float32)
    prior[5:15, 5:15] = current[25:35, 40:50] = 1
    seen = np.ones((40, 60), bool)
    seen[:, 30:34] = False
    scene = picture_scene(grey(90), grey(120), (prior, current), seen=seen, panel_size=120)
    assert scene.difference.shape == (80, 120)
    assert scene.difference[20, 20] == -1
    assert scene.difference[60, 90] == 1
    figure = comparison_figure([scene], NUMBERS, title="a", statement="b")
    panel = figure[:, -206:]
    for change in (-1.0, 1.0):  # over the prior image, 80 % of it
        drawn = np.floor(0.8 * difference_picture([[change]])[0, 0] + 0.2 * 90 + 0.5)
        assert (panel == drawn).all(2).sum() > 100
    assert (panel == 90).all(2).sum() > 1000  # and where nothing changed the image alone
    assert (panel == (222, 222, 222)).all(2).sum() > 200
    plain = comparison_figure(
        [picture_scene(grey(90), grey(120), (prior, current), panel_size=120)], NUMBERS, title="a", statement="b"
    )
    assert (plain[:, -206:] == (222, 222, 222)).all(2).sum() < 50


def test_slices_go_through_the_greatest_difference_and_left_is_left():
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    voxels = np.random.default_rng(0).random((20, 24, 16), dtype=np.float32)
    prior, current = np.zeros((2, 20, 24, 16), np.float32)
    current[15:18, 4:7, 10:13] = 1  # right, posterior, superior of a RAS volume
    prior[2, 2, 2] = 0.4
    scenes, notes = volume_scenes(Volume(voxels, affine), voxels, (prior, current), panel_size=96)
    assert [scene.name.split()[0] for scene in scenes] == ["axial", "coronal", "sagittal"]
    axial = scenes[0].difference
    rows, columns = np.nonzero(axial > 0.5)
    assert columns.mean() < axial.shape[1] / 2  # the patient's right is on the left
    assert rows.mean() > axial.shape[0] / 2  # posterior is below
    assert "radiological convention" in " ".join(notes)


def test_what_does_not_fit_is_refused():
    heat = np.zeros((40, 60), np.float32)
    with pytest.raises(InputError, match="prior's grid"):
        picture_scene(grey(1), grey(1, (40, 50)), (heat, heat))
    with pytest.raises(InputError):
        picture_scene(grey(1), grey(1), (heat + 2, heat))
    with pytest.raises(InputError, match="scene"):
        comparison_figure([], NUMBERS, title="a", statement="b")
    with pytest.raises(InputError, match="cell"):
        comparison_figure(
            [picture_scene(grey(1), grey(1), (heat, heat))],
            Table(("a",), [("x", "y")], [False]),
            title="a",
            statement="b",
        )
    with pytest.raises(InputError, match="grid"):
        volume_scenes(
            Volume(np.zeros((4, 4, 4)), np.eye(4)), np.zeros((4, 4, 5), np.float32), (np.zeros((4, 4, 4)),) * 2
        )


def test_both_images_say_where_left_is_and_how_long_a_millimetre():
    heat = np.zeros((100, 130), np.float32)

    def drawn(**more):
        scene = picture_scene(grey(90, (100, 130)), grey(120, (100, 130)), (heat, heat), panel_size=260, **more)
        return comparison_figure([scene], NUMBERS, title="a", statement="b")

    told = drawn(letters=("R", "L", "S", "I"), scale=Scale(65.0))
    changed = np.nonzero((told != drawn()).any(axis=(0, 2)))[0]
    starts = [16 + n * 270 for n in range(5)]  # of the five panels, 260 wide
    counts = [((changed >= x) & (changed < x + 260)).sum() for x in starts]
    assert counts[0] > 40
    assert counts[1:] == [counts[0], 0, 0, 0]  # the maps stay free of both
    white = (told[:, : 16 + 260] == 255).all(2)
    row = white[:, 16 + 8 : 16 + 88].all(axis=1).argmax()
    assert white[row, 16 + 8 : 16 + 88].all()  # 20 mm: the longest round number within a third of 65
    assert not white[row - 2 : row + 3, 16 + 89 : 16 + 100].any()
