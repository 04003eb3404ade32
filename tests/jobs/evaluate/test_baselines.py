"""What the baseline decides is told: numbers side by side, their range, and whether the methods keep their order."""

from __future__ import annotations

import math

import pytest

from cfcam.jobs.evaluate.baselines import baseline_ranges, markdown, table
from cfcam.jobs.evaluate.findings import Findings
from cfcam.jobs.evaluate.findings import markdown as summary_of
from cfcam.jobs.evaluate.page import render
from cfcam.metrics import MetricError, Row, Scorecard
from cfcam.metrics.scorecard.catalogue import MASKED, with_baselines

KINDS = ("mean", "blur", "noise")
NAMES = tuple(f"insertion-deletion-{kind}" for kind in KINDS)


def card(**values: tuple[float, ...]) -> Scorecard:
    """Returns a scorecard of one image, with the numbers of each method by baseline."""
    rows = []
    for method, numbers in values.items():
        known = {name: value for name, value in zip(NAMES, numbers, strict=True) if not math.isnan(value)}
        rows.append(Row("a", method.replace("_", "-"), 0, "c", 0.9, "ok", known))
    return Scorecard(rows, NAMES, ("grad-cam", "random"))


def found(**values: tuple[float, ...]):
    (one,) = Findings.of(card(**values)).baseline_ranges()
    return one


def test_numbers_stand_side_by_side_with_their_range() -> None:
    one = found(cf_cam=(0.1, 0.3, 0.2), grad_cam=(0.05, 0.2, 0.15), random=(0.0, math.nan, 0.01))
    assert one.kinds == KINDS
    assert table(one) == [
        ["method", "mean", "blur", "noise", "over all"],
        ["cf-cam", "0.100", "0.300", "0.200", "0.100 to 0.300"],
        ["grad-cam", "0.050", "0.200", "0.150", "0.050 to 0.200"],
        ["random", "0.00", "–", "0.010", "0.00 to 0.010"],
    ]
    assert one.orders == (("cf-cam", "grad-cam"),) * 3  # controls that know nothing are not compared, Grad-CAM is
    assert str(one) == (
        "Insertion − Deletion with mean, blur and noise: cf-cam 0.100 to 0.300, grad-cam 0.050 to 0.200;"
        " the order of the methods is the same with each."
    )


def test_another_leader_or_another_order_behind_it_is_said() -> None:
    one = found(cf_cam=(0.1, 0.3, 0.2), grad_cam=(0.2, 0.1, 0.1))
    assert str(one).endswith("depends on the baseline (grad-cam with mean, cf-cam with blur, cf-cam with noise).")
    one = found(cf_cam=(0.5, 0.5, 0.5), cam=(0.1, 0.3, 0.2), grad_cam=(0.2, 0.1, 0.1))
    assert not one.steady
    assert str(one).endswith("cf-cam is first with each, the order behind it depends on the baseline.")


def test_rounding_alone_puts_no_method_before_another() -> None:
    one = found(cf_cam=(0.1, 0.3, 0.2), grad_cam=(0.1 - 1e-8, 0.3 + 1e-8, 0.2))
    assert one.steady


def test_what_is_shown_under_a_map_stands_beside_its_published_definition() -> None:
    names = ("average-drop", "average-drop-blur", "adcc-blur", "adcc")
    rows = [
        Row("a", method, 0, "c", 0.9, "ok", dict(zip(names, numbers, strict=True)))
        for method, numbers in (("grad-cam", (30, 10, 0.4, 0.5)), ("cam", (20, 15, 0.3, 0.4)))
    ]
    drop, adcc = Findings.of(Scorecard(rows, names)).baseline_ranges()
    assert (drop.title, drop.kinds) == ("Average Drop", ("zero", "blur"))
    assert str(drop).endswith("which method is best depends on the baseline (cam with zero, grad-cam with blur).")
    assert adcc.orders == (("grad-cam", "cam"),) * 2


def test_of_deletion_the_least_is_first() -> None:
    names = ("deletion-mean", "deletion-blur")
    rows = [Row("a", m, 0, "c", 0.9, "ok", dict.fromkeys(names, v)) for m, v in (("grad-cam", 0.3), ("cam", 0.1))]
    (one,) = Findings.of(Scorecard(rows, names)).baseline_ranges()
    assert one.orders == (("cam", "grad-cam"),) * 2


def test_one_baseline_alone_has_no_range() -> None:
    rows = [Row("a", "grad-cam", 0, "c", 0.9, "ok", {"insertion-deletion-blur": 0.1})]
    assert baseline_ranges(Scorecard(rows, NAMES).summary(), ["grad-cam"]) == []
    assert markdown([]) == []


def test_the_summary_shows_them() -> None:
    text = summary_of(Findings.of(card(cf_cam=(0.1, 0.3, 0.2), grad_cam=(0.2, 0.1, 0.1))))
    assert (
        "## What the baseline decides\n\n### Insertion − Deletion ↑\n\n| method | mean | blur | noise | over all |"
        in text
    )
    assert "which method is best depends on the baseline" in text


def test_the_page_shows_them_and_controls_as_such() -> None:
    page = render(Findings.of(card(cf_cam=(0.1, 0.3, 0.2), random=(0.2, 0.1, 0.1))), {})
    part = page[page.index('id="baselines"') :]
    assert "<caption>Insertion − Deletion ↑</caption>" in part
    assert '<tr class="control"><th scope="row">random</th><td>0.200</td>' in part
    one = Findings.of(
        Scorecard([Row("a", "grad-cam", 0, "c", 0.9, "ok", {"insertion-deletion-blur": 0.1})], NAMES[1:2])
    )
    assert 'id="baselines"' not in render(one, {})


def test_masking_metrics_are_asked_for_with_each_baseline() -> None:
    assert with_baselines(("insertion-deletion-blur", "energy"), ("blur", "noise")) == (
        "insertion-deletion-blur", "energy", "insertion-deletion-noise",
    )  # fmt: skip
    assert set(with_baselines(("quick",), ("mean",))) == {
        "quick", "average-drop-mean", "coherency-mean", "adcc-mean",
        "insertion-mean", "deletion-mean", "insertion-deletion-mean",
    }  # fmt: skip
    assert set(with_baselines(("all",), ("mean", "noise"))) == {
        "all", *(f"{metric}-{kind}" for metric in MASKED for kind in ("mean", "noise"))
    }  # fmt: skip
    assert with_baselines(("average-gain-blur",), ("black",)) == ("average-gain-blur", "average-gain-black")
    with pytest.raises(MetricError, match="no baseline is called 'grey': there are black, mean, blur, noise"):
        with_baselines(("quick",), ("grey",))
    with pytest.raises(MetricError, match="add insertion-deletion-mean"):
        with_baselines(("energy", "road", "complexity"), ("mean",))
