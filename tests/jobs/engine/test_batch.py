"""A batch says of each image what its explanation alone says, and a store keeps of it what its maps are."""

import numpy as np
import pytest
import torch
from torch import nn

from cfcam import explain
from cfcam.explanation import unique_columns
from cfcam.jobs.engine.batch import Batch, One
from cfcam.jobs.store.kept import Keeping
from cfcam.maps import Status

EMPTY, BROKEN = 1, 2  # images whose maps of grad-cam are none


def lowest(output):
    return output.min(dim=1).values


@pytest.fixture(
    scope="module",
    params=[([0, "predicted", 1], ("a", "b", "c")), (["a vs b", 2], ("a", "b", "c")), ([0, 2], None), (lowest, None)],
    ids=["a class twice", "a contrast", "no names", "no class"],
)
def explanation(request):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()
    x = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    targets, classes = request.param
    found = explain(net, x, ("grad-cam", "grad-cam++"), layer="1", targets=targets, classes=classes)
    found.maps["grad-cam"][EMPTY] = -1.0
    found.maps["grad-cam"][BROKEN, 0, 0, 0] = float("nan")
    return found


def test_each_image_says_what_its_explanation_alone_says(explanation):
    batch = Batch(explanation)
    for n in range(5):
        alone = One(batch, n).alone()
        columns = unique_columns(alone)
        assert batch.columns(n) == columns
        for k in columns:
            assert batch.targets[n][k] == int(alone.targets[0, k])
            assert batch.scores[n][k] == float(alone.scores[0, k])
            assert batch.labels[n][k] == alone.label(0, k)
            assert batch.probabilities[n][k] == alone.probability(0, k)
            assert batch.margins[n][k] == alone.margin(0, k)
            for method in alone.methods:
                assert batch.statuses[method][n][k] == alone.status[method][0, k]


def test_what_is_kept_of_an_image_is_its_map_over_its_greatest_value(explanation):
    keeping = Keeping(Batch(explanation))
    for n in range(5):
        kept = keeping(n, source="a", sha256="b", size=(8, 8))
        assert kept.logits.tolist() == explanation.logits[n].tolist()
        for one in kept.maps:
            raw = explanation.maps[one.method][n, one.target].numpy()
            assert one.status == explanation.status[one.method][n, one.target]
            if one.status != Status.OK:
                assert (one.values, one.maximum, one.max_abs_error) == (None, None, None)
                continue
            exact = np.maximum(raw, 0) / raw.max()
            assert one.maximum == raw.max()
            assert one.max_abs_error == np.abs(one.values.astype(np.float32) - exact).max() <= 2**-12
            assert np.array_equal(one.values, exact.astype(np.float16))
    statuses = [one.status for n in (EMPTY, BROKEN) for one in keeping(n, source="", sha256="", size=()).maps]
    assert {Status.NO_POSITIVE_EVIDENCE, Status.NOT_FINITE} <= set(statuses)
