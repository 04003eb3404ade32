"""What a call costs is counted in images, and counting leaves nothing behind."""

from __future__ import annotations

import math
import time
from types import SimpleNamespace

import pytest
import torch

import cfcam
from cfcam.metrics.functional.cost import load_per_core, measure, measure_warm
from tests.networks import GapNet


def test_passes_are_counted_in_images() -> None:
    net = GapNet().eval()

    def call() -> None:
        net(torch.rand(3, 3, 8, 8))
        net(x=torch.rand(5, 3, 8, 8))

    assert measure(net, call).forward_passes == 8
    assert measure(net, lambda: None).forward_passes == 0
    assert measure(net, lambda: net.features(torch.rand(2, 3, 8, 8))).forward_passes == 0


def test_methods_cost_what_they_say() -> None:
    net, x = GapNet(channels=12).eval(), torch.rand(2, 3, 16, 16)
    grad_cam = measure(net, lambda: cfcam.explain(net, x, "grad-cam", layer="features"))
    assert grad_cam.forward_passes == 2
    together = measure(net, lambda: cfcam.explain(net, x, ["grad-cam", "grad-cam++", "cf-cam"], layer="features"))
    assert together.forward_passes == 2
    score_cam = measure(net, lambda: cfcam.explain(net, x, "score-cam", layer="features"))
    # The images, a mask for each channel, the baseline, and that once more, plainly, to hold packed kernels against;
    # and two baselines and two masked images alone, which show whether the network mixes those of a batch.
    assert 2 < score_cam.forward_passes <= 2 + 2 * 12 + 1 + 1 + 2 + 2


def test_the_clock_runs_during_the_call_and_cpu_memory_is_not_assessed() -> None:
    cost = measure(GapNet(), lambda: time.sleep(0.02))
    assert cost.milliseconds >= 20
    assert math.isnan(cost.peak_bytes)


class Clock:
    """A clock that moves when it is told to: a busy machine lets each sleep last longer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("cfcam.metrics.functional.cost.time", SimpleNamespace(perf_counter=lambda: self.now))

    def wait(self, seconds: float) -> None:
        self.now += seconds


def test_the_first_call_is_not_counted_and_the_time_is_the_median_of_the_others(monkeypatch) -> None:
    net, waits, clock = GapNet().eval(), iter([0.2, 0.02, 0.06, 0.02, 0.06, 0.02]), Clock(monkeypatch)

    def call() -> None:
        net(torch.rand(3, 3, 8, 8))
        clock.wait(next(waits))

    cost, calls = measure_warm(net, call, rounds=5, seconds=60)
    assert calls == 5
    assert cost.milliseconds == pytest.approx(20)
    assert cost.forward_passes == 3


def test_a_slow_call_is_made_once(monkeypatch) -> None:
    made, clock = [], Clock(monkeypatch)
    cost, calls = measure_warm(GapNet(), lambda: made.append(clock.wait(0.03)), seconds=0.02)
    assert (len(made), calls) == (1, 1)
    assert cost.milliseconds == pytest.approx(30)


def test_the_load_is_that_of_the_system_for_each_core(monkeypatch) -> None:
    monkeypatch.setattr("cfcam.metrics.functional.cost.os.getloadavg", lambda: (3.0, 9.0, 9.0))
    monkeypatch.setattr("cfcam.metrics.functional.cost.os.cpu_count", lambda: 2)
    assert load_per_core() == 1.5

    def none() -> None:
        raise OSError

    monkeypatch.setattr("cfcam.metrics.functional.cost.os.getloadavg", none)
    assert load_per_core() is None


def test_a_scorecard_says_how_often_it_called_and_how_busy_the_machine_was(monkeypatch) -> None:
    monkeypatch.setattr("cfcam.metrics.functional.cost.os.getloadavg", lambda: (2.0, 9.0, 9.0))
    monkeypatch.setattr("cfcam.metrics.functional.cost.os.cpu_count", lambda: 1)
    sample = cfcam.metrics.Sample(torch.rand(3, 16, 16), name="a")
    card = cfcam.evaluate(GapNet().eval(), [sample], ["grad-cam"], ["milliseconds"], layer="features", controls=False)
    assert card.costs["grad-cam"]["calls"] == 5
    assert card.costs["grad-cam"]["load per core"] == 2.0


def test_no_hook_stays_also_after_an_error() -> None:
    net = GapNet()
    with pytest.raises(ZeroDivisionError):
        measure(net, lambda: 1 / 0)
    measure(net, lambda: net(torch.rand(1, 3, 8, 8)))
    assert not net._forward_pre_hooks
    assert not net._forward_pre_hooks_with_kwargs


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_memory_is_what_the_call_had_at_once() -> None:
    net = GapNet().cuda()

    def call() -> None:
        for _ in range(3):
            torch.empty(1 << 20, dtype=torch.float32, device="cuda")

    kept = torch.empty(1 << 22, device="cuda")
    assert measure(net, call).peak_bytes == 4 << 20
    del kept
