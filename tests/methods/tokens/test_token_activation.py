from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

import cfcam
from cfcam.capture import Adapter, TextOutput, TokenGrid
from cfcam.capture.targets.tokens import Text, Word
from cfcam.errors import MethodError
from cfcam.methods import TAM
from cfcam.methods.tokens.token_activation import rank_gaussian

# (place, vocabulary): four image tokens, then a token of the prompt (0) and the first of the text (1)
LOGITS = torch.tensor(
    [[1.0, 4.0, 0.0], [2.0, 2.0, 1.0], [0.0, 6.0, -3.0], [2.0, -1.0, 0.0], [0.0, 3.0, 1.0], [5.0, 0.0, 2.0]]
)


class Writer(Adapter):
    """Says of two tokens, 1 and 2, what its image tokens make of them."""

    def __init__(self):
        super().__init__(nn.Identity(), lambda x, images: (x,))
        self.image_tokens, self.layer = nn.Identity(), "image_tokens"
        self.grids = {"image_tokens": (TokenGrid((2, 2), channels=-1), None)}
        words = (Word("nodule", 0, 1), Word("left", 1, 2))
        self.texts = ((Text((1, 2), ("nodule", " left"), words, "nodule left"),),)

    def forward(self, x, images=None):
        tokens = self.image_tokens(x.flatten(2).transpose(1, 2))
        logits = tokens.mean(1)[:, None, :1] * torch.ones(1, 2, 3)
        return TextOutput([logits], self.texts)

    def everywhere(self, x):
        return [SimpleNamespace(logits=LOGITS, image=torch.arange(4), ids=[0, 1, 2], places=[4, 4, 5], start=1)]


def maps(*targets, **settings):
    found = cfcam.explain(Writer(), torch.ones(1, 3, 2, 2), TAM(**settings), targets=list(targets))
    return found.maps["tam"][0].flatten(1)


def test_what_an_earlier_token_explains_is_taken_away():
    own, earlier = torch.tensor([4.0, 2.0, 6.0, 0.0]), torch.tensor([1.0, 2.0, 0.0, 2.0])
    scale = (4 + 4) / (1 + 4 + 4)  # <A, B> / <B, B>
    (found,) = maps(cfcam.Token(0), smooth=False)
    torch.testing.assert_close(found, (own - scale * earlier).relu())
    (bare,) = maps(cfcam.Token(0), smooth=False, interference=False)
    torch.testing.assert_close(bare, own)


def test_earlier_tokens_are_weighed_by_how_they_bear_on_the_token():
    own = torch.tensor([0.0, 1.0, 0.0, 0.0])
    prompt, first = torch.tensor([1.0, 2.0, 0.0, 2.0]), torch.tensor([4.0, 2.0, 6.0, 0.0])
    context = 0.5 * prompt + 0.5 * first  # both logits of token 2 at place 4 are 1
    (found,) = maps(cfcam.Token("left"), smooth=False)
    torch.testing.assert_close(found, (own - own @ context / (context @ context) * context).relu())


def test_a_word_of_several_tokens_has_the_sum_of_their_maps():
    both = maps(cfcam.Token(0), cfcam.Token(1), cfcam.Token("nodule left"), smooth=False)
    torch.testing.assert_close(both[2], both[0] + both[1])


def test_the_filter_keeps_what_is_even_and_weighs_ranks_about_the_median():
    even = torch.full((1, 1, 4, 4), 0.7)
    torch.testing.assert_close(rank_gaussian(even), even)
    spot = torch.zeros(1, 1, 5, 5)
    spot[0, 0, 2, 2] = 9.0  # in its window mean 1, std sqrt(8), so that the greatest of nine ranks weighs exp(-1)
    weights = torch.exp(-(torch.arange(-4.0, 5.0) ** 2) / (2 * 8))
    torch.testing.assert_close(rank_gaussian(spot)[0, 0, 2, 2], 9 * weights[8] / weights.sum())
    assert rank_gaussian(torch.zeros(1, 1, 3, 3)).abs().max() == 0


def test_networks_that_do_not_write_and_other_layers_are_refused():
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(MethodError, match=r"networks that write \(cfcam\.explain_text\)"):
        cfcam.explain(network, torch.ones(1, 3, 4, 4), TAM())
