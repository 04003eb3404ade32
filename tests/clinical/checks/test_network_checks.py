"""Checks that ask the network again: an artefact filled in or pasted, small changes."""

import math

import pytest
import torch
from torch import nn

from cfcam import Explainer
from cfcam.clinical import checks
from cfcam.clinical.checks.interventions import remove_artefact, retest
from cfcam.clinical.checks.results import Outcome
from tests.clinical.checks.test_map_checks import METHOD, box


class Bright(nn.Module):
    """A class that is seen by the brightness of the upper left quarter alone."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.ReLU())
        nn.init.ones_(self.features[0].weight)

    def forward(self, x):
        score = self.features(x)[:, :, :16, :16].mean((2, 3))
        return torch.cat([4 * score - 2, torch.zeros_like(score)], 1)


@pytest.mark.parametrize("inpaint", ["biharmonic", "linear"])
def test_a_bright_square_is_filled_in_from_around_it_and_the_probability_falls(inpaint):
    x = torch.full((1, 1, 32, 32), 0.1)
    square = box((32, 32), slice(4, 10), slice(4, 10))
    x[0, 0][square] = 5
    filled = remove_artefact(x, square, inpaint)
    assert torch.allclose(filled, torch.full_like(x, 0.1), atol=1e-3)
    explain = Explainer(Bright().eval(), [METHOD], layer="features", probability="softmax")
    change, moved = checks.artefact_intervention(explain, x, square, 0, METHOD, inpaint=inpaint)
    logits = [4 * float(image[0, 0, :16, :16].mean()) - 2 for image in (x, filled)]
    before, after = (1 / (1 + math.exp(-logit)) for logit in logits)
    assert change.value == pytest.approx(before - after, abs=1e-5)
    assert change.outcome is Outcome.FLAG
    assert moved.value > 0.4
    elsewhere = box((32, 32), slice(24, 28), slice(24, 28))
    quiet = checks.artefact_intervention(explain, x, elsewhere, 0, METHOD, inpaint=inpaint)
    assert [result.outcome for result in quiet] == [Outcome.PASS, Outcome.PASS]


def test_pasting_an_artefact_is_the_way_back():
    explain = Explainer(Bright().eval(), [METHOD], layer="features", probability="softmax")
    x = torch.full((1, 1, 32, 32), 0.1)
    square = box((32, 32), slice(4, 10), slice(4, 10))
    donor = x.clone()
    donor[0, 0][square] = 5
    change, _ = checks.artefact_intervention(explain, x, square, 0, METHOD, donor=donor)
    removed, _ = checks.artefact_intervention(explain, donor, square, 0, METHOD)
    assert change.value == pytest.approx(removed.value, abs=1e-3)
    assert change.name == "artefact pasted: probability"


def test_retest_brings_maps_back_so_that_a_map_that_follows_the_patient_is_stable():
    """The maps of a network that sees each pixel alone follow every turn and change of size."""
    explain = Explainer(Bright().eval(), [METHOD], layer="features", probability="softmax")
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    x = 3 * torch.exp(-((rows - 7) ** 2 + (columns - 10) ** 2) / 18)[None, None]
    state = torch.get_rng_state()
    effects = retest(explain, x, 0, METHOD)
    assert torch.equal(state, torch.get_rng_state())
    assert len(effects) == 6
    still = [found.map_change for name, found in effects.items() if "degrees" in name or "%" in name]
    assert max(still) < 0.06
    agreement, change = checks.retest_stability(explain, x, 0, METHOD)
    assert agreement.value == pytest.approx(1 - max(found.map_change for found in effects.values()))
    assert change.value == pytest.approx(max(abs(found.probability_change) for found in effects.values()))
