"""The third round's command: what it counts, what it goes on from, and what it says."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from benchmarks import third_round
from benchmarks.datasets import Study
from benchmarks.third_beside import left_out
from benchmarks.third_round import MEASURES, METHODS, OURS, SCORE, Clock, card, confirmed, found_at, needed, read
from torch import nn

from cfcam.metrics import Sample
from cfcam.metrics.scorecard.samples import Row


def rows(of: dict[str, float], images: int = 60) -> list[Row]:
    """Of each method pictures whose measures are all its number, and a little that differs from picture to picture."""
    return [
        Row(f"p{n}", method, 0, "a", 0.9, "ok", dict.fromkeys(MEASURES[:5], value + 0.01 * ((n * 7 + k) % 5)))
        for n in range(images)
        for k, (method, value) in enumerate(of.items())
    ]


def write(place: Path, name: str, found: list[Row]) -> Path:
    file = place / f"{name}.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in ({"part": name}, *map(asdict, found))))
    return file


def test_pairs_that_are_needed_find_what_they_were_counted_for() -> None:
    assert needed(1.0, 1.0, 1) == 8  # (1.96 + 0.84)^2
    assert found_at(0.1, needed(0.1, 0.02, 150), 150) == pytest.approx(0.02, rel=0.01)


def test_a_picture_that_was_left_half_written_is_measured_again(tmp_path: Path) -> None:
    file = write(tmp_path, "a", rows({"x": 1.0, "y": 2.0}, 3)[:-1])
    file.write_text(file.read_text() + '{"image": "p2", "met')
    assert [(row.image, row.method) for row in read(file)] == [(f"p{n}", m) for n in (0, 1) for m in "xy"]
    with pytest.raises(SystemExit, match="made with other methods or settings"):
        read(file, {"part": "b"})


def test_the_time_that_is_left_is_told_from_what_is_done() -> None:
    clock = Clock(100.0)
    clock.skip(20.0)
    assert clock.did(20.0, 60.0) == "3 min left"
    assert clock.did(58.0, 174.0) == "less than a minute left"


@pytest.mark.parametrize("better", [True, False])
def test_hypotheses_are_confirmed_by_comparisons_after_one_correction_of_all(tmp_path: Path, better: bool) -> None:
    names = ("one", "two", "three", "four")
    values = dict.fromkeys(METHODS, 0.5) | {OURS: 0.6 if better else 0.4}
    for name in names:
        write(tmp_path, name, rows(values))
        write(tmp_path, f"{name}-score", rows({SCORE: 0.5}, 40))
    compared = confirmed({name: card(tmp_path, name) for name in names})
    assert len(compared) == len(names) * (5 + 5 + 4 + 4)
    told = dict(third_round.verdicts(compared))
    assert [done for text, done in told.items() if not text.startswith("H5")] == [better] * 5
    text = third_round.page({name: card(tmp_path, name) for name in names}, compared)
    assert f"on two sets: **{'yes' if better else 'no'}**" in text
    adjusted = [line.p_holm for _, line in compared]
    assert max(adjusted) <= 1
    assert min(adjusted) >= len(compared) * 1e-4 * 0.9  # the least p of the sign flips, times all comparisons


def test_pictures_are_counted_of_which_a_view_is_left_out() -> None:
    class Corner(nn.Module):
        """Answers by the leftmost column, which is the same after a step of one pixel, and another after two."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 10 * x[..., 4:5].mean((2, 3))

    net = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.ReLU(), Corner())
    net[0].weight.data = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1)
    edge = (torch.arange(16) >= 6).float().expand(1, 16, 16)
    flat = torch.linspace(0.4, 0.6, 16)[:, None].expand(1, 16, 16)
    samples = [Sample(edge, name="edge"), Sample(flat, name="flat")]
    found = left_out(Study(net, samples, "1", "two pictures"))
    assert (found["pictures"], found["some"]) == (2, 1)
    assert found["views"] >= 1
