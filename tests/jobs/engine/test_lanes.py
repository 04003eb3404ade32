import threading

import pytest
import torch
from torch import nn

from cfcam import Explainer
from cfcam.capture import Network
from cfcam.imaging import Preprocess
from cfcam.jobs import State
from cfcam.jobs.engine import lanes
from cfcam.jobs.engine.inference import Engine
from cfcam.jobs.engine.lanes import Lanes, copies_of, lane_count, multiply_adds, threads
from cfcam.methods import GradCAM
from tests.jobs.world import draw, folder_of, lines, run


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def deep():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.Flatten(), nn.Linear(6 * 12 * 12, 3)
    ).eval()


def pictures(count):
    return torch.rand((count, 3, 16, 16), generator=torch.Generator().manual_seed(1))


def test_lanes_take_at_least_four_pictures_each_and_no_more_than_there_are_threads():
    assert [lane_count(n) for n in (1, 7, 8, 12, 64)] == [1, 1, 2, 2, 2]
    torch.set_num_threads(1)
    assert lane_count(64) == 1


def test_the_parts_of_a_batch_come_back_in_order_and_equal_the_whole():
    net, x = deep(), pictures(11)
    (other,) = copies_of(Network(net), x[:1], "3", 1)
    explainers = [Explainer(m, ("grad-cam", "cf-cam"), layer="3") for m in (net, other)]
    parts = Lanes(explainers)(x, [0, 2])
    assert [len(part.scores) for part in parts] == [6, 5]
    whole = explainers[0](x, [0, 2])
    for method in whole.methods:
        together = torch.cat([part.maps[method] for part in parts])
        torch.testing.assert_close(together, whole.maps[method], atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(torch.cat([p.scores for p in parts]), whole.scores)


def test_multiplications_of_layers_with_weights():
    by_hand = 8 * 14 * 14 * 27 + 6 * 12 * 12 * 72 + 3 * 864
    net = deep()
    assert multiply_adds(Network(net), pictures(1)) == by_hand
    assert multiply_adds(Network(net), pictures(2)) == 2 * by_hand
    assert not any(layer._forward_hooks for layer in net)


SEEN = set()


class Telling(nn.Module):
    """Says how many pictures it runs on how many cores."""

    def __init__(self):
        super().__init__()
        self.net = deep()

    def forward(self, x):
        SEEN.add((len(x), torch.get_num_threads()))
        return self.net(x)


@pytest.mark.parametrize(("light", "seen"), [(8 * 107_136, {(4, 1)}), (8 * 107_136 + 1, {(8, 1)})])
def test_a_light_network_runs_on_one_core_in_one_piece(monkeypatch, light, seen):
    monkeypatch.setattr(lanes, "LIGHT", light)
    engine = Engine(Telling(), {"grad-cam": GradCAM()}, [0], layer="net.3")
    engine.rehearse(Preprocess(size=16))
    engine.open_lanes(Preprocess(size=16))
    SEEN.clear()
    assert len(engine(list(pictures(8)))) == 8
    assert seen == SEEN - {(1, 1)}  # which tell whether it mixes larger batches
    assert torch.get_num_threads() == 2


def test_few_pictures_go_down_one_lane():
    net, x = deep(), pictures(7)
    explainers = [Explainer(m, "grad-cam", layer="3") for m in (net, *copies_of(Network(net), x[:1], "3", 1))]
    assert [len(part.scores) for part in Lanes(explainers)(x, [0])] == [7]


def test_a_copy_shares_every_tensor_and_follows_the_weights():
    net = deep()
    (other,) = copies_of(Network(net), pictures(1), "3", 1)
    ours, theirs = net.state_dict(), other.state_dict()
    assert [t.data_ptr() for t in ours.values()] == [t.data_ptr() for t in theirs.values()]
    assert other is not net
    assert other[3] is not net[3]


class Closed(nn.Module):
    """Runs another module that it does not own, which a copy runs too."""

    def __init__(self):
        super().__init__()
        net = deep()
        self.run = lambda x: net(x)
        self.named = nn.ModuleDict({"inner": net})

    def forward(self, x):
        return self.run(x)


class Drawing(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = deep()

    def forward(self, x):
        return self.net(x) + 0 * torch.rand(1)


class Locked(nn.Module):
    def __init__(self):
        super().__init__()
        self.net, self.lock = deep(), threading.Lock()

    def forward(self, x):
        return self.net(x)


@pytest.mark.parametrize(("net", "layer"), [(Closed(), "named.inner.3"), (Drawing(), "net.3"), (Locked(), "net.3")])
def test_a_network_that_cannot_run_beside_itself_is_not_copied(net, layer):
    assert copies_of(Network(net), pictures(1), layer, 1) == []
    state = torch.get_rng_state()
    engine = Engine(net, {"grad-cam": GradCAM()}, [0], layer=layer)
    engine.rehearse(Preprocess(size=16))
    engine.open_lanes(Preprocess(size=16))
    assert torch.equal(state, torch.get_rng_state())
    found = engine(list(pictures(8)))
    expected = Explainer(net, "grad-cam", layer=layer)(pictures(8), [0]).maps["grad-cam"]
    torch.testing.assert_close(torch.cat([one.maps["grad-cam"] for one in found]), expected)


def test_threads_of_a_pool_have_their_own_number_and_leave_that_of_others():
    def number(_):
        return torch.get_num_threads()

    with threads(3, "test") as pool:
        assert set(pool.map(number, range(9))) == {1}
        assert torch.get_num_threads() == 2
        asked = []
        later = threading.Thread(target=lambda: asked.append(torch.get_num_threads()))
        later.start()
        later.join()
        assert asked == [2]


def test_a_folder_goes_down_two_lanes_and_a_bad_picture_stays_alone(tmp_path, monkeypatch):
    folder_of(tmp_path / "in", 16)
    draw(tmp_path / "in" / "picture05.png", grey=255)  # the network raises for it
    parts = []
    original = Lanes.__call__

    def watched(self, x, targets):
        found = original(self, x, targets)
        parts.append([len(part.scores) for part in found])
        return found

    monkeypatch.setattr(Lanes, "__call__", watched)
    monkeypatch.setattr(lanes, "LIGHT", 0)
    alone = {o.path.name: o for o in run(tmp_path / "in", tmp_path / "one", "delicate", batch_size=4)}
    assert parts == []
    both = {o.path.name: o for o in run(tmp_path / "in", tmp_path / "two", "delicate", batch_size=8)}
    assert [4, 4] in parts
    assert both["picture05.png"].status is State.FAILED
    assert "too much for me" in both["picture05.png"].error
    assert [o.status for o in both.values()].count(State.DONE) == 16
    for name, outcome in alone.items():
        assert (outcome.status, outcome.targets) == (both[name].status, both[name].targets)
    of = {line["input"]: line["files"] for line in lines(tmp_path / "one")}
    assert {line["input"]: line["files"] for line in lines(tmp_path / "two")} == of


def test_short_memory_leaves_the_lanes(tmp_path):
    folder_of(tmp_path / "in", 9)
    job = run(tmp_path / "in", tmp_path / "out", "crowded", batch_size=8)
    assert {o.status for o in job} == {State.DONE}
    assert any("batches of 2" in note for note in job.notes)
