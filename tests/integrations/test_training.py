"""A training is the same with maps and without; what is written; what goes wrong does not end it."""

from __future__ import annotations

import csv
import math
import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import cfcam
from cfcam.integrations import TrainingMaps
from cfcam.integrations.scoring import map_entropy
from tests.integrations.learning import Net, optional, pictures, trained


def maps_of(count: int = 2, **keywords: object) -> TrainingMaps:
    x, labels, masks = pictures(count)
    given = {"masks": masks, "classes": ["noise", "square"], "layer": "features.5"} | keywords
    return TrainingMaps(x, given.pop("targets", labels), **given)


@pytest.mark.parametrize("autocast", [False, True])
def test_a_training_is_the_same_to_the_last_bit(tmp_path, autocast):
    maps = maps_of(to=tmp_path)
    without = trained(lambda net, epoch: None, autocast=autocast)
    beside = trained(maps, autocast=autocast)
    assert maps.failures == []
    assert maps.strip().ndim == 3
    assert all(torch.equal(a, b) for a, b in zip(without, beside, strict=True))


def test_the_trainings_that_are_compared_would_show_a_draw_and_a_pass_in_training_mode():
    without = trained(lambda net, epoch: None)
    for spoilt in (
        lambda net, epoch: torch.rand(1),
        lambda net, epoch: net.eval(),
        lambda net, epoch: np.random.rand(),  # noqa: NPY002
    ):
        assert not all(torch.equal(a, b) for a, b in zip(without, trained(spoilt), strict=True))


def test_a_further_training_in_a_folder_is_a_further_run(tmp_path):
    for count in (2, 1):
        maps = maps_of(to=tmp_path)
        for epoch in range(1, count + 1):
            maps(Net(), epoch)
        assert maps.failures == []
    with (tmp_path / "scorecard.csv").open(newline="", encoding="utf-8") as stream:
        table = [(row["run"], row["epoch"]) for row in csv.DictReader(stream) if row["picture"] == "picture-0"]
    assert table == [("1", "1"), ("1", "2"), ("2", "1")]
    with pytest.raises(cfcam.errors.InputError, match="has one of other columns: give another folder"):
        maps_of(to=tmp_path, unit="step")


def test_a_line_a_picture_and_its_overlay_each_time(tmp_path):
    maps, net = maps_of(to=tmp_path, every=2, names=["first", "second"]), Net()
    rows = [maps(net, epoch) for epoch in range(1, 5)]
    assert [row is None for row in rows] == [True, False, True, False]
    maps.close()
    with (tmp_path / "scorecard.csv").open(newline="", encoding="utf-8") as stream:
        table = list(csv.DictReader(stream))
    assert [(row["epoch"], row["picture"], row["label"]) for row in table] == [
        ("2", "first", "noise"), ("2", "second", "square"), ("4", "first", "noise"), ("4", "second", "square")
    ]  # fmt: skip
    assert float(table[2]["agreement"]) == pytest.approx(1)  # nothing was learnt in between
    assert table[0]["agreement"] == ""
    assert 0 <= float(table[1]["energy"]) <= 1
    found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png"))
    assert found == [
        "first-strip.png", "first/epoch-000002.png", "first/epoch-000004.png",
        "second-strip.png", "second/epoch-000002.png", "second/epoch-000004.png",
    ]  # fmt: skip
    assert Image.open(tmp_path / "first" / "epoch-000002.png").size == (12, 12)


def test_the_numbers_of_a_network_that_is_worked_out_by_hand():
    """One channel is the picture itself, its mean is the logit of class 1: the map is the picture, cell by cell."""
    net = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2)).eval()
    net[0].weight.data.fill_(1.0)
    net[3].weight.data, net[3].bias.data = torch.tensor([[0.0], [4.0]]), torch.zeros(2)
    x = torch.tensor([[[[3.0, 1.0], [0.0, 0.0]]]])
    masks = torch.tensor([[[True, False], [False, False]]])
    maps = TrainingMaps(x, 1, masks=masks, layer="0", steps=1)
    first = maps(net, 1)[0]
    assert first["probability"] == pytest.approx(1 / (1 + math.exp(-4)))  # the mean is 1
    assert first["energy"] == pytest.approx(0.75)
    assert first["entropy"] == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(4))
    assert math.isnan(first["agreement"])
    assert first["insertion"] == pytest.approx(first["deletion"])  # with one step: the same two ends
    net[3].weight.data.neg_()
    second = maps(net, 2)[0]
    assert second["status"] == "no positive evidence"
    assert all(math.isnan(second[name]) for name in ("insertion", "deletion", "energy", "entropy", "agreement"))


def test_the_energy_of_a_map_of_two_channels_is_what_the_hand_works_out():
    """The logit is 4 mean(A0) - 4 mean(A1): gradients 1 and -1 in each of four places, and the map is ReLU(A0 - A1)."""
    net = nn.Sequential(nn.Conv2d(2, 2, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2)).eval()
    net[0].weight.data = torch.eye(2)[..., None, None]
    net[3].weight.data, net[3].bias.data = torch.tensor([[0.0, 0.0], [4.0, -4.0]]), torch.zeros(2)
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[0.0, 3.0], [2.0, 0.0]]]])  # less the second: 1, -1, 1, 4
    masks = torch.tensor([[[False, True], [False, True]]])
    row = TrainingMaps(x, 1, masks=masks, layer="0", steps=0)(net, 1)[0]
    assert row["energy"] == pytest.approx(4 / 6)
    share = torch.tensor([1, 1, 4]) / 6
    assert row["entropy"] == pytest.approx(float(-(share * share.log()).sum() / math.log(4)))
    assert row["probability"] == pytest.approx(1 / (1 + math.exp(-4 * 2.5 + 4 * 1.25)))


def test_entropy_is_0_of_one_cell_and_1_of_cells_that_are_alike():
    maps = torch.tensor([[0.0, 5.0, 0.0, 0.0], [2.0, 2.0, 2.0, 2.0], [1.0, 1.0, -3.0, 0.0], [-1.0, 0.0, 0.0, 0.0]])
    assert map_entropy(maps)[:3].tolist() == pytest.approx([0, 1, 0.5])
    assert map_entropy(maps)[3].isnan()
    assert map_entropy(torch.tensor([[1.0, math.inf]])).isnan().all()


def test_maps_of_two_classes_are_not_compared():
    maps, net = maps_of(1, targets=None), Net()
    labels = []
    for epoch, better in enumerate((0, 1, 1), 1):
        net.head[3].bias.data = torch.tensor([9.0, 0.0]) if better == 0 else torch.tensor([0.0, 9.0])
        row = maps(net, epoch)[0]
        labels.append((row["label"], math.isnan(row["agreement"])))
    assert labels == [("noise", True), ("square", True), ("square", False)]
    assert maps.strip("picture-0").shape[2] == 3


def test_what_goes_wrong_is_said_once_and_the_training_goes_on(tmp_path):
    blocked = maps_of(to=tmp_path / "file")
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    without = trained(lambda net, epoch: None)
    for wrong in (maps_of(layer="features.77"), maps_of(targets=7), blocked):
        with pytest.warns(RuntimeWarning, match="the training goes on") as said:
            beside = trained(wrong)
        assert len(said) == 1
        assert "\n" not in str(said[0].message)
        assert len(wrong.failures) == 6  # each time was tried
        assert all(torch.equal(a, b) for a, b in zip(without, beside, strict=True))


def test_where_warnings_are_errors_the_training_goes_on_too(caplog):
    maps = maps_of(layer="features.77")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert maps(Net(), 1) is None
    assert "maps of epoch 1: LayerError" in caplog.text


def test_a_network_that_fails_in_the_middle_of_a_map_is_left_as_it_was():
    class Fails(Net):
        def forward(self, pixel_values, labels=None):
            if not self.training:
                self.features[1].momentum = 0.5
                torch.rand(1)
                raise ZeroDivisionError("in evaluation")
            return super().forward(pixel_values, labels)

    net, maps = Fails().train(), maps_of()
    before = torch.get_rng_state()
    with pytest.warns(RuntimeWarning, match="ZeroDivisionError: in evaluation"):
        assert maps(net, 1) is None
    assert net.training
    assert net.features.training
    assert net.features[1].momentum == 0.1
    assert torch.equal(torch.get_rng_state(), before)


def test_one_place_that_fails_does_not_keep_the_others_from_being_written(tmp_path):
    class Full:
        def add_scalar(self, name, value, step):
            raise OSError(28, "No space left on device")

    maps = maps_of(to=[Full(), tmp_path / "maps"])
    with pytest.warns(RuntimeWarning, match="No space left"):
        maps(Net(), 1)
    assert (tmp_path / "maps" / "scorecard.csv").is_file()


def test_a_summary_writer_gets_numbers_and_pictures(tmp_path):
    optional("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    maps, net = maps_of(to=SummaryWriter(tmp_path)), Net()
    maps(net, 3)
    maps.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [event.step for event in events.Scalars("cfcam/picture-1/seconds")] == [3]
    assert [(event.step, event.width) for event in events.Images("cfcam/picture-1/map")] == [(3, 12)]
    assert len(events.Images("cfcam/picture-0/strip")) == 1


def test_a_volume_is_shown_in_the_plane_of_its_mask(tmp_path):
    net = nn.Sequential(
        nn.Conv3d(1, 3, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(3, 2)
    )
    masks = torch.zeros(1, 6, 8, 10, dtype=torch.bool)
    masks[:, 4, 2:5, 2:5] = True
    x = torch.zeros(1, 1, 6, 8, 10)
    x[0, 0, 4] = torch.rand(8, 10)
    maps = TrainingMaps(x, 0, masks=masks, to=tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        maps(net, 1)
    drawn = np.asarray(Image.open(tmp_path / "picture-0" / "epoch-000001.png"))
    assert drawn.shape == (8, 10, 3)
    assert drawn.std() > 0


def test_of_a_long_training_times_are_left_out_but_not_the_first_and_the_last():
    maps, net = maps_of(1, steps=0, unit="step"), Net().eval()
    for step in range(1, 135):
        maps(net, step)
    counts = [moment.count for moment in maps._history()]
    assert len(counts) <= 65
    assert (counts[0], counts[-1]) == (1, 134)
    assert {b - a for a, b in pairwise(counts[:-1])} == {4}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda x: TrainingMaps(x[0, 0]), "give a batch"),
        (lambda x: TrainingMaps(x, torch.zeros(3, dtype=torch.long)), "targets has shape"),
        (lambda x: TrainingMaps(x, masks=torch.ones(2, 3, 3)), "masks of shape"),
        (lambda x: TrainingMaps(x, names=["a"]), "1 name, 1 of them different, for 2 images"),
        (lambda x: TrainingMaps(x, names=["a", "../b"]), "cannot name a file"),
        (lambda x: TrainingMaps(x, to=[3]), "cannot be written to 3: give a folder, a SummaryWriter"),
        (
            lambda x: TrainingMaps(x, to=__file__),
            "test_training.py is a file, and maps are written into a folder",
        ),
        (
            lambda x: TrainingMaps(x, to=f"{__file__}/maps"),
            "test_training.py is a file, and maps",
        ),
        (lambda x: TrainingMaps(x, method="grad-camm"), "grad-cam"),
        (lambda x: TrainingMaps(x, every=0), "every=0: give a whole number, 1 or more"),
        (lambda x: TrainingMaps(x, unit="hour"), "'epoch' or 'step'"),
        (lambda x: TrainingMaps(x).strip(), "nothing was explained yet"),
        (lambda x: TrainingMaps(x).strip("x"), "no picture 'x'"),
    ],
)
def test_what_does_not_fit_is_said_before_the_training(wrong, said):
    with pytest.raises(cfcam.CfcamError, match=said) as error:
        wrong(pictures(2)[0])
    assert "\n" not in str(error.value)


def test_two_targets_a_picture_are_refused_in_a_warning():
    with pytest.warns(RuntimeWarning, match=r"2 targets a picture: .*targets=torch.tensor\(\[...\]\) of"):
        assert maps_of(targets=[0, 1])(Net(), 1) is None


def test_a_module_without_a_pass_of_its_own_is_told_which_argument_helps():
    outer = torch.nn.Module()
    outer.net = Net()
    with pytest.warns(RuntimeWarning, match="it has no forward.*of TrainingMaps network=lambda model: model.net"):
        assert maps_of(layer=None)(outer, 1) is None
    assert maps_of(network=lambda model: model.net)(outer, 1) is not None
