"""What is shown under maps: pictures in every form, brought to the axes of the maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from cfcam.errors import InputError
from cfcam.imaging import Image
from cfcam.imaging.drawing.drawable import as_pictures
from tests.imaging.drawing.test_notebook import of


@pytest.mark.parametrize(
    "pictures",
    [
        np.arange(2 * 12 * 16, dtype=np.uint8).reshape(2, 12, 16),
        torch.arange(2 * 12 * 16, dtype=torch.uint8).reshape(2, 1, 12, 16),
        [Image(np.arange(12 * 16, dtype=np.uint8).reshape(12, 16) + i, None, "") for i in (0, 192)],
    ],
)
def test_grey_pictures_in_every_form_are_the_same(pictures: object) -> None:
    expected = np.arange(2 * 12 * 16, dtype=np.uint8).reshape(2, 12, 16)
    first, second = as_pictures(of((3, 4), (12, 16)), pictures)
    assert (first == expected[0][..., None]).all()
    assert (second == expected[1][..., None]).all()
    assert first.shape == (12, 16, 3)


def test_normalised_inputs_are_stretched_and_what_is_no_number_is_black() -> None:
    x = torch.tensor([-2.0, 0.0, 2.0, torch.nan]).reshape(1, 1, 2, 2)
    (picture,) = as_pictures(of((2, 2), (2, 2), n=1), x)
    assert picture[..., 0].tolist() == [[0, 128], [255, 0]]
    (flat,) = as_pictures(of((2, 2), (2, 2), n=1), torch.full((1, 3, 2, 2), 7.0))
    assert (flat == 0).all()


@pytest.mark.parametrize(("shape", "words"), [((3, 12, 16, 3), "3 pictures"), ((2, 1, 1, 12, 16), "of shape")])
def test_pictures_that_do_not_fit(shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        of((3, 4), (12, 16)).plot(np.zeros(shape, np.uint8))


def test_a_tensor_that_requires_grad_can_be_a_picture() -> None:
    x: Tensor = torch.rand(2, 3, 12, 16, requires_grad=True)
    assert len(as_pictures(of((3, 4), (12, 16)), x)) == 2
