"""Weights by agreement, each worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cfcam.methods.clusters.agreement import beyond_retest, layer_weights, pooling, precisions, trust

ALL = torch.ones(3, 1, dtype=torch.bool)


def maps(*views: tuple[float, ...]) -> Tensor:
    """(V, 1, 1, S)"""
    return torch.tensor(views, dtype=torch.float32)[:, None, None]


def test_views_weigh_by_the_variance_that_their_differences_leave_to_each() -> None:
    # mean squares of differences: 1 and 1 from the first view, 2 between the others: errors of variance 0, 1, 1;
    # shrunk by their mean 2/3 as one view of three: 2/9, 8/9, 8/9, so 4 : 1 : 1
    found = precisions(maps((0, 0, 0, 0), (1, -1, 1, -1), (1, 1, -1, -1)), ALL, torch.ones(3, 4, dtype=torch.bool))
    assert found[:, 0].tolist() == pytest.approx([2 / 3, 1 / 6, 1 / 6])


def test_two_views_weigh_the_same_for_their_difference_is_of_both() -> None:
    two = maps((0, 0, 0, 0), (1, -1, 1, -1), (9, 9, -9, -9))
    kept = torch.tensor([[True], [True], [False]])
    assert precisions(two, kept, torch.ones(3, 4, dtype=torch.bool))[:, 0].tolist() == [0.5, 0.5, 0]


def test_views_that_are_alike_weigh_the_same() -> None:
    assert precisions(maps((1, 2), (1, 2), (1, 2)), ALL, torch.ones(3, 2, dtype=torch.bool))[:, 0].tolist() == (
        pytest.approx([1 / 3] * 3)
    )


def test_cells_that_a_view_does_not_show_are_not_compared() -> None:
    shown = torch.tensor([[True, True], [True, True], [True, False]])
    found = precisions(maps((1, 2), (1, 2), (1, 0)), ALL, shown)
    assert found[:, 0].tolist() == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize(
    ("views", "expected"),
    [
        (((0.0, 2.0), (2.0, 4.0)), 0.0),  # the means 1 and 3 vary by 1, and so does their error, 2 / 2
        (((0.0, 4.0), (2.0, 6.0)), 0.75),  # 1 and 5: 4, of which 1 is error
        (((0.0, 2.0), (0.0, 2.0)), 1.0),
        (((3.0, 3.0), (3.0, 3.0)), 1.0),  # a flat channel has nothing to be wrong about
    ],
)
def test_a_channel_is_trusted_as_far_as_views_agree_on_it(views: tuple, expected: float) -> None:
    shown = torch.ones(2, 2, dtype=torch.bool)
    found = trust(maps(*views), ALL[:2], shown, torch.tensor([[-1]]))
    assert found.item() == pytest.approx(expected)


def test_channels_of_a_cluster_are_trusted_together_and_others_by_themselves() -> None:
    A = torch.tensor([[[[0.0, 4.0], [0.0, 2.0], [0.0, 2.0]]], [[[2.0, 6.0], [2.0, 4.0], [2.0, 4.0]]]])  # (V, 1, C, S)
    found = trust(A, ALL[:2], torch.ones(2, 2, dtype=torch.bool), torch.tensor([[0, 0, -1]]))
    assert found[0].tolist() == pytest.approx([0.6, 0.6, 0.0])  # signal 3 + 0 of 3 + 0 and error 1 + 1


def test_a_cluster_shares_what_channels_differ_from_themselves_as_much_as_from_each_other() -> None:
    weights = torch.tensor([[1.0, 5.0, 9.0], [3.0, 7.0, 9.0]])[:, None, None]  # (V, N, K, C)
    labels = torch.tensor([[0, 0, -1]])
    # means 2 and 6 vary by 8, of which 2 / 2 is error: 1 / (1 + 7)
    assert pooling(weights, ALL[:2], labels).flatten().tolist() == pytest.approx([1 / 8, 1 / 8, 0])
    alike = torch.tensor([[1.0, 3.0, 9.0], [3.0, 1.0, 9.0]])[:, None, None]  # means 2 and 2
    assert pooling(alike, ALL[:2], labels).flatten().tolist() == [1, 1, 0]
    assert pooling(weights[[0, 0]], ALL[:2], labels).flatten().tolist() == [0, 0, 0]  # as behind pooling


def test_last_digits_of_a_weight_are_no_error_of_it() -> None:
    """A cluster of one channel varies by nothing beyond: its last digits alone would give it all of its share."""
    weights = torch.tensor([[1.0, 5.0, 9.0], [1 + 2**-22, 5.0, 9 - 2**-20]])[:, None, None]
    assert pooling(weights, ALL[:2], torch.tensor([[0, 1, 2]])).flatten().tolist() == [0, 0, 0]
    moved = torch.tensor([[1.0, 5.0, 9.0], [1.1, 5.0, 9.0]])[:, None, None]
    assert pooling(moved, ALL[:2], torch.tensor([[0, 1, 2]])).flatten().tolist() == [1, 0, 0]


def test_one_view_leaves_all_trust() -> None:
    kept = torch.tensor([[True], [False]])
    assert trust(maps((1, 2), (0, 0)), kept, torch.ones(2, 2, dtype=torch.bool), torch.tensor([[0]])).item() == 1


@pytest.mark.parametrize(("distance", "beyond"), [(1.9, False), (2.1, True), (float("nan"), True)])
def test_a_view_is_beyond_the_retest_at_twice_its_root_mean_square(distance: float, beyond: bool) -> None:
    own = torch.tensor([[0.0, 0.0]])
    answers = torch.tensor([[0.0, 0.0], [1.0, -1.0], [-1.0, 1.0], [distance, -distance]])[:, None]
    found = beyond_retest(own, answers, [True, True, True, False], centred=True)
    assert found[:, 0].tolist() == [False, False, False, beyond]


def test_what_is_added_to_all_logits_counts_where_they_are_not_a_softmax() -> None:
    own = torch.tensor([[1.0, 2.0]])
    answers = torch.stack([own, own + 1, own + 5])
    for centred, beyond in ((True, False), (False, True)):
        assert beyond_retest(own, answers, [True, True, False], centred=centred)[:, 0].tolist() == [
            False,
            False,
            beyond,
        ]


def test_an_image_that_is_not_finite_keeps_its_views_so_that_it_shows() -> None:
    own = torch.tensor([[torch.nan, 0.0]])
    assert not beyond_retest(own, own.expand(3, 1, 2), [True, True, False], centred=True).any()


def test_layers_weigh_by_their_error_and_by_what_they_differ_beyond_it() -> None:
    means, errors = torch.tensor([0.0, 2.0]).reshape(2, 1, 1, 1), torch.tensor([0.0, 2.0]).reshape(2, 1, 1)
    # their variance is 2, of which 1 is error, so 1 is between them: precisions 1 / 1 and 1 / 3
    assert layer_weights(means, errors).flatten().tolist() == pytest.approx([0.75, 0.25])
    assert layer_weights(means, 0 * errors).flatten().tolist() == [0.5, 0.5]
