"""Where an artefact is filled in, and turns on any grid."""

import math

import pytest
import torch

from cfcam.clinical.checks.interventions import dilate, remove_artefact
from cfcam.clinical.checks.motions import motion_of, warp
from cfcam.errors import InputError
from tests.clinical.checks.test_map_checks import box


def test_the_rim_and_the_rest_of_the_image():
    x = torch.rand(1, 3, 16, 16)
    mask = box((16, 16), 8, 8)
    changed = (remove_artefact(x, mask, rim=2.0) != x).any(1)[0]
    assert bool((changed <= dilate(mask, 2.0)).all())
    assert int(changed.sum()) > 1
    with pytest.raises(InputError, match="whole image"):
        remove_artefact(x, torch.ones(16, 16, dtype=torch.bool))


@pytest.mark.parametrize("shape", [(24, 40), (3, 24, 40)])
def test_a_turn_is_one_in_pixels_on_any_grid(shape):
    rows, columns = torch.meshgrid(torch.arange(24.0), torch.arange(40.0), indexing="ij")
    blob = torch.exp(-((rows - 11.5) ** 2 + (columns - 33.5) ** 2) / 8).expand(shape)[None, None]
    turned = warp(blob, motion_of(blob, 10.0, 1.0), "zeros")
    weights = turned.reshape(-1, 24, 40).sum(0).double()
    moved = [float((weights * places).sum() / weights.sum()) for places in (rows - 11.5, columns - 19.5)]
    # The centre is at (0, 14) from the middle; the output at p shows the input at R p, so it lands at R^-1.
    angle = math.radians(10)
    assert moved == pytest.approx([-14 * math.sin(angle), 14 * math.cos(angle)], abs=0.1)
