"""The scorecard as a whole: controls come out as they must, nothing is made up, and a table says what it knows."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import cfcam
from cfcam.errors import InputError, TargetError
from cfcam.metrics import (
    CentredGaussian,
    Evaluator,
    MetricError,
    Part,
    RandomMap,
    Row,
    Sample,
    Scorecard,
    evaluate,
    resolve_metrics,
)
from cfcam.metrics.scorecard.card import format_number
from cfcam.metrics.scorecard.samples import as_samples
from tests.networks import GapNet, redundant, rescale

COST = ("milliseconds", "forward-passes", "peak-memory")


@pytest.fixture
def net() -> GapNet:
    torch.manual_seed(1)
    return redundant(rescale(GapNet(channels=24))).eval()


def samples(count: int = 6, size: tuple[int, ...] = (32, 32)) -> list[Sample]:
    found = []
    for n in range(count):
        truth = torch.zeros(size, dtype=torch.bool)
        truth[4:14, 6:16] = True
        image = torch.randn(3, *size, generator=torch.Generator().manual_seed(n))
        found.append(Sample(image + 2 * truth, n % 4, truth, f"image {n}", patient=f"p{n // 2}"))
    return found


def test_random_maps_know_nothing_in_every_metric(net: GapNet) -> None:
    card = evaluate(net, samples(24), ["grad-cam"], ["road", "localization", "input-noise-pearson"], layer="features")
    of = {line.metric: line for line in card.summary() if line.method == "random"}
    assert abs(of["enrichment"].mean - 1) < 0.1
    assert abs(of["energy"].mean - 100 / 1024) < 0.02
    assert abs(of["auprc"].mean - 100 / 1024) < 0.06
    assert abs(of["road"].mean) < 0.1
    assert abs(of["input-noise-pearson"].mean) < 0.1


def test_constant_maps_come_out_as_they_must(net: GapNet) -> None:
    class Constant(CentredGaussian):
        name = "constant"

        def __call__(self, capture: object) -> Tensor:
            return torch.ones_like(super().__call__(capture))

    names = ["average-drop", "complexity", "hit-rate", "enrichment", "auprc", "class-sensitivity", "coherency", "adcc"]
    names += ["input-noise-soft-iou", "input-noise-pearson", "max-sensitivity"]
    card = evaluate(net, samples(), {"constant": Constant()}, names, controls=False, layer="features")
    of = {line.metric: line.mean for line in card.summary()}
    assert of["average-drop"] == pytest.approx(0, abs=1e-4)  # nothing is masked
    assert of["complexity"] == pytest.approx(1)
    assert of["hit-rate"] == of["auprc"] == pytest.approx(100 / 1024, abs=1e-6)
    assert of["enrichment"] == pytest.approx(1, abs=1e-5)
    assert of["class-sensitivity"] == pytest.approx(0, abs=1e-6)
    assert of["input-noise-soft-iou"] == pytest.approx(1)
    assert of["max-sensitivity"] == pytest.approx(0, abs=1e-6)
    assert all(math.isnan(of[name]) for name in ("coherency", "adcc", "input-noise-pearson"))  # no correlation with it


def test_batches_and_order_do_not_change_a_row(net: GapNet) -> None:
    metrics = ["faithfulness", "localization", "robustness", "sanity"]
    together = evaluate(net, samples(), ["cf-cam"], metrics, layer="features", batch_size=4, steps=4)
    alone = evaluate(net, samples(), ["cf-cam"], metrics, layer="features", batch_size=1, steps=4)
    for a, b in zip(
        sorted(together.rows, key=lambda r: (r.image, r.method)),
        sorted(alone.rows, key=lambda r: (r.image, r.method)),
        strict=True,
    ):
        assert a.values.keys() == b.values.keys()
        assert all(a.values[m] == pytest.approx(b.values[m], abs=2e-3) for m in a.values), (a, b)


def test_every_metric_of_the_catalogue_is_computed_or_says_why_not(net: GapNet) -> None:
    other = redundant(rescale(GapNet(channels=24))).eval()
    corner = torch.zeros(32, 32, dtype=torch.bool)
    corner[20:30, 20:30] = True
    pictures = [
        replace(s, parts=tuple(Part(str(n), m, s.image * ~m) for n, m in enumerate((s.ground_truth, corner))))
        for s in samples()
    ]
    card = evaluate(
        net, pictures, ["grad-cam"], "all", layer="features", threshold=0.5, steps=4, retrained=other, other=other
    )
    assert card.metrics == resolve_metrics("all")
    known = {line.metric for line in card.summary() if line.method == "grad-cam" and not math.isnan(line.mean)}
    # no class flips on these images, the c-score needs right answers, and a CPU has no meter for one call's memory
    assert set(card.metrics) - known <= {"responsiveness", "c-score", "peak-memory"}


def test_the_model_and_the_random_state_are_as_before(net: GapNet) -> None:
    net.train()
    before, state = {k: v.clone() for k, v in net.state_dict().items()}, torch.get_rng_state()
    evaluate(net, samples(2), ["grad-cam"], ["faithfulness", "robustness", "sanity"], layer="features", steps=2)
    assert net.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_an_empty_map_is_counted_and_in_no_mean(net: GapNet) -> None:
    class Empty(RandomMap):
        name = "empty"

        def __call__(self, capture: object) -> Tensor:
            return -super().__call__(capture)

    card = evaluate(net, samples(3), {"empty": Empty()}, ["average-drop", "energy"], controls=False, layer="features")
    assert card.empty() == {"empty": {"no positive evidence": 3}}
    for line in card.summary():
        assert line.n == 0
        assert line.not_assessed == 3
        assert math.isnan(line.mean)
    assert "not assessed" in card.to_markdown()


def test_without_ground_truth_localisation_is_not_assessed(net: GapNet) -> None:
    plain = [Sample(s.image, name=s.name) for s in samples(3)]
    card = evaluate(net, plain, ["grad-cam"], ["energy", "complexity"], controls=False, layer="features")
    energy, complexity = sorted(card.summary(), key=lambda line: line.metric != "energy")
    assert (energy.n, complexity.n) == (0, 3)


def test_a_volume_is_assessed_like_a_picture() -> None:
    torch.manual_seed(1)
    net = redundant(rescale(GapNet(3, channels=24))).eval()
    truth = torch.zeros(12, 12, 12, dtype=torch.bool)
    truth[2:6, 3:8, 4:9] = True
    volumes = [Sample(torch.randn(3, 12, 12, 12), 0, truth, str(n)) for n in range(2)]
    metrics = ["adcc", "insertion-deletion-blur", "road", "energy", "auprc", "shift-ssim", "class-sensitivity"]
    card = evaluate(net, volumes, ["cf-cam"], metrics, layer="features", steps=3)
    assert all(line.n == 2 for line in card.summary() if line.method == "cf-cam")


def row(image: str, method: str, value: float, patient: str | None = None) -> Row:
    return Row(image, method, 0, "a", 0.9, "ok", {"adcc": value}, patient=patient)


def test_comparison_is_paired_by_image_and_by_patient() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=40)
    rows = [row(f"i{n}", "grad-cam", base[n], f"p{n // 2}") for n in range(40)]
    rows += [row(f"i{n}", "ours", base[n] + 0.1 + 0.01 * rng.normal(), f"p{n // 2}") for n in reversed(range(40))]
    (found,) = Scorecard(rows, ("adcc",)).compare()
    assert found.method == "ours"
    assert found.n == 40
    assert found.difference == pytest.approx(0.1, abs=0.01)
    assert found.low > 0.09
    assert found.verdict == "better"


def test_images_of_one_name_are_not_one_image(net: GapNet) -> None:
    """They were counted as one, drawn together, and each was compared with the last one's map of the reference."""
    unnamed = [replace(sample, name="", patient=None) for sample in samples(4)]
    card = evaluate(net, unnamed, ["grad-cam", "cam"], ["hit-rate"], controls=False, layer="features")
    assert list(dict.fromkeys(row.image for row in card.rows)) == ["0", "1", "2", "3"]
    with pytest.raises(InputError, match="element 1 of the data set is called 'scan', as one before it"):
        evaluate(net, [replace(sample, name="scan") for sample in unnamed], ["grad-cam"], ["hit-rate"])
    both = replace(card, rows=[*card.rows, *card.rows])  # two cards whose images are called by their numbers
    with pytest.raises(MetricError, match="several rows of one method are of an image called '0'"):
        both.compare()


def test_one_image_has_a_mean_and_no_interval() -> None:
    (line,) = Scorecard([row("i", "grad-cam", 0.5)], ("adcc",)).summary()
    assert line.mean == 0.5
    assert not line.low < 0.5 < line.high


@pytest.mark.parametrize("explained", ["predicted", "label"])
def test_a_batch_takes_one_pass_for_all_maps_of_the_class_and_its_rival(net: GapNet, explained: str) -> None:
    passes = []
    net.register_forward_hook(lambda module, args, output: passes.append(len(args[0])))
    evaluator = Evaluator(net, ["grad-cam", "cf-cam"], ["class-sensitivity"], layer="features", explained=explained)
    rows = evaluator(samples(4))
    # Of the first of a shape two images are looked at, and all run as all later ones do; two alone show that none mix.
    assert passes == [2, 4, 1, 1]
    assert evaluator(samples(4)) == rows
    assert passes == [2, 4, 1, 1, 4]
    assert [row.target for row in rows[:4]] == (
        [s.label for s in samples(4)]
        if explained == "label"
        else net(torch.stack([s.image for s in samples(4)])).argmax(1).tolist()
    )


def test_mistakes_are_named(net: GapNet) -> None:
    with pytest.raises(MetricError, match="no metric is called 'adc'; nearest: adcc"):
        resolve_metrics("adc")
    for asked in (["repeatability"], "repeatability", iter(["energy", "repeatability"])):
        with pytest.raises(MetricError, match="repeatability compares two networks"):
            Evaluator(net, metrics=asked)
    with pytest.raises(InputError, match="has no label"):
        evaluate(net, [torch.randn(3, 32, 32)], metrics=["complexity"], explained="label", layer="features")
    with pytest.raises(TargetError, match="label 9 is out of range: the network has 4 classes, 0 to 3"):
        evaluate(net, [(torch.randn(3, 32, 32), 9)], metrics=["complexity"], explained="label", layer="features")
    with pytest.raises(InputError, match=r"ground truth of shape \(8, 4\) for an image of \(4, 8\)"):
        Sample(torch.randn(3, 4, 8), ground_truth=torch.zeros(8, 4, dtype=torch.bool))


def test_tables_hold_what_the_rows_do(net: GapNet, tmp_path: object) -> None:
    pd = pytest.importorskip("pandas")
    card = cfcam.evaluate(net, samples(3), ["cf-cam"], ["adcc", *COST], layer="features")
    frame = card.to_frame()
    assert len(frame) == len(card.rows) == 3 * len(card.methods)
    written = pd.read_csv(card.save_rows(f"{tmp_path}/rows.csv"))
    assert written["adcc"].tolist() == pytest.approx(frame["adcc"].tolist())
    assert card.costs["cf-cam"]["forward-passes"] == 1
    assert "NaN" not in card.to_json()


@pytest.mark.parametrize("label", ["nodule", 1.5, torch.tensor([0.0, 1.0]), -1])
def test_labels_that_are_no_class_are_refused_where_they_were_taken_for_mistakes_of_the_network(label: Any) -> None:
    with pytest.raises(InputError, match=r"^sample '7': its label=.*: give a whole number, 0 or more"):
        Sample(torch.randn(3, 8, 8), label, name="7")


def test_a_label_that_the_network_has_not_is_refused_whatever_is_explained(net: GapNet) -> None:
    with pytest.raises(TargetError, match="label 4 is out of range: the network has 4 classes, 0 to 3"):
        evaluate(net, [(torch.randn(3, 32, 32), 4)], metrics=["complexity"], layer="features")
    assert Sample(torch.randn(3, 8, 8), torch.tensor(2)).label == 2


@pytest.mark.parametrize("truth", [torch.tensor([[0, 1], [2, 0]]), torch.tensor([[0.0, 0.3], [1.0, 0.0]])])
def test_several_labels_and_fractions_are_no_ground_truth(truth: Tensor) -> None:
    """Whatever was not 0 was taken for the finding: organs beside it, and the rim of a mask that was interpolated."""
    image = torch.randn(3, 2, 2)
    with pytest.raises(InputError, match=r"^sample '7': its ground truth is a mask with 3 different values"):
        Sample(image, ground_truth=truth, name="7")
    with pytest.raises(InputError, match="choose one label"):
        list(as_samples([(image, None, truth)]))
    with pytest.raises(InputError, match=r"^part 'lung' has a mask with 3 different values"):
        Part("lung", truth, image)
    (found,) = as_samples([(image, None, [[0, 255], [0, 0]])])
    assert found.ground_truth is not None
    assert found.ground_truth.tolist() == [[False, True], [False, False]]


def test_metrics_may_be_asked_for_once_by_an_iterator() -> None:
    """It was used up by the first method: the second was compared in nothing, and nobody said so."""
    rows = [
        Row(f"{n}", method, 0, "", 0.5, "ok", {"adcc": n / 9, "road": n / 9})
        for n in range(4)
        for method in ("a", "b", "c")
    ]
    found = Scorecard(rows, ("adcc", "road")).compare("a", iter(["b", "c"]), iter(["adcc", "road"]))
    assert [(one.method, one.metric) for one in found] == [(m, x) for m in "bc" for x in ("adcc", "road")]


def test_maps_of_random_networks_are_compared_with_chance_on_the_same_cells(net: GapNet) -> None:
    """Drawn on the input neighbours overlap, with 1/7 = 0.14 along an axis; on the layer's own cells chance is 0.1."""
    weight = float(net.classifier.weight.detach().sum())

    class Spot(CentredGaussian):
        """One cell, of the first two images the same; that beside it where the network is another."""

        name = "spot"

        def __call__(self, capture: Any) -> Tensor:
            maps = torch.zeros_like(super().__call__(capture))
            step = int(float(capture.network.model.classifier.weight.detach().sum()) != weight)
            for n, image in enumerate(capture.input):
                maps[n, :, max(int(image.mean().round()) - 1, 0) * 2, 4 + step] = 1
            return maps

    images = [torch.full((3, 32, 32), float(n)) for n in range(5)]
    card = evaluate(net, images, [Spot()], ["mprt", "mprt-passed"], controls=False, layer="features", stages=1)
    of = {line.metric: line for line in card.summary()}
    assert (of["mprt-passed"].mean, of["mprt-passed"].n) == (1.0, 5)
    assert of["mprt"].mean > 0.1
    assert [row.extra["mprt"] for row in card.rows] == [[0.0]] * 5


def test_a_map_of_the_label_is_not_held_against_that_of_a_class_that_it_never_was() -> None:
    """Noise makes the network answer 1 in place of 0. Of the label 1 that is the same map before and after."""

    class Loudness(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Conv2d(1, 2, 1, bias=False)
            with torch.no_grad():
                self.features.weight[:, 0, 0, 0] = torch.tensor([1.0, -1.0])

        def forward(self, x: Tensor) -> Tensor:
            loud = self.features(x).relu().mean((1, 2, 3))
            return torch.stack([0.1 * loud + 0.3, 12 * loud], dim=1)

    quiet = torch.zeros(1, 16, 16)
    quiet[0, 2, 3] = quiet[0, 9, 9] = 3.0
    dataset = [(quiet, 0), (quiet.flip(1), 1)]
    found = evaluate(
        Loudness().eval(),
        dataset,
        ["hires-cam"],
        ["responsiveness"],
        controls=False,
        layer="features",
        explained="label",
    )
    assert [row.correct for row in found.rows] == [True, False]
    assert ["responsiveness" in row.values for row in found.rows] == [True, False]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in ("steps", "stages", "draws", "passes_at_once") for value in (0, 1.5, None, True)),
        *(("explained", value) for value in ("predict", None, 1, [])),
        *((name, value) for name in ("threshold", "overlap") for value in ("x", True, math.nan, (1, 2))),
        ("overlap", None),
        *((name, value) for name in ("black", "white") for value in ("x", True, math.nan, [], (), ("x",))),
        ("black", None),
        *(("seed", value) for value in (2**63, "a", 0.5)),
    ],
)
def test_a_setting_that_is_none_is_refused_in_one_line(net: GapNet, name: str, value: Any) -> None:
    """Above all a misspelt "predicted", which was taken for the label."""
    with pytest.raises(InputError, match=f"^{name}=") as refused:
        Evaluator(net, "grad-cam", ["peak-shift"], **{name: value})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("names", [None, 3, True, (1, "peak-shift"), [None]])
def test_metrics_that_are_no_names_are_refused(names: Any) -> None:
    with pytest.raises(MetricError, match="a metric is called"):
        resolve_metrics(names)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(-0.0001, "0.000"), (0.12345, "0.123"), (-12.3456, "-12.3"), (1234.5, "1234"), (0.0, "0.00"),
     (float("nan"), "–"), (float("inf"), "∞"), (-float("inf"), "−∞")],
)  # fmt: skip
def test_numbers_are_shown_with_three_figures_and_nothing_that_rounds_to_0_has_a_sign(value: float, shown: str) -> None:
    assert format_number(value) == shown
