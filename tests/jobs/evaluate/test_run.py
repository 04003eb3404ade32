import csv
import json
import math
import re
from dataclasses import replace
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from cfcam.errors import CfcamError, JobError
from cfcam.imaging import Preprocess
from cfcam.imaging.drawing.outline import LIGHT
from cfcam.jobs.cases.case import Case
from cfcam.jobs.cases.folder import find_cases
from cfcam.jobs.evaluate import page as scorecard_page
from cfcam.jobs.evaluate.examples import OUTLINE
from cfcam.jobs.evaluate.figures import bars, radar
from cfcam.jobs.evaluate.findings import Findings, write_tables
from cfcam.jobs.evaluate.page import render, write_report
from cfcam.jobs.evaluate.run import EvaluationRun, drawn
from cfcam.jobs.evaluate.settings import EvaluationSettings
from cfcam.jobs.evaluate.words import in_words, meaning, needs
from cfcam.jobs.inputs.shard import Shard
from cfcam.jobs.runs.status import RunState, status
from cfcam.metrics.functional import paper_protocol as paper
from cfcam.metrics.scorecard.card import Scorecard
from cfcam.metrics.scorecard.catalogue import METRICS, MetricError, resolve_metrics
from cfcam.metrics.scorecard.paper import COLUMNS
from cfcam.metrics.scorecard.samples import Row
from cfcam.models import load
from cfcam.models.demo import make_phantom
from tests.jobs.world import NETWORKS, PLAIN, draw
from tests.web.browser.page import launched

QUICK = ("average-drop", "hit-rate", "energy", "forward-passes")
SMALL = Preprocess(size=96)
CONTROLS = ["random", "centre", "channel-mean", "grad-cam", "blurred-grad-cam"]


def phantoms(folder, count=5, findings=("nodule", "effusion"), size=96):
    """Writes phantoms with masks and a table; two consecutive ones belong to one patient."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["image,label,mask,boxes,patient,group"]
    for n in range(count):
        finding = findings[n % len(findings)]
        phantom = make_phantom(7 + n, size=size, findings=[finding])
        Image.fromarray(phantom.image).save(folder / f"{n}.png")
        Image.fromarray(phantom.masks[finding]).save(folder / f"{n}-truth.png")
        lines.append(f"{n}.png,{finding},{n}-truth.png,,P{n // 2},{'Basel' if n % 2 else 'Lyon'}")
    (folder / "cases.csv").write_text("\n".join(lines) + "\n")
    return folder / "cases.csv"


def run(data, output, model="demo", /, **settings):
    settings = {"methods": ("cam",), "metrics": QUICK, "preprocess": SMALL, "batch_size": 2} | settings
    loaded = load(model)
    return EvaluationRun(loaded, find_cases(data, loaded.classes), EvaluationSettings(**settings), output)


def bright(data, output, network="brightness", **settings):
    """A run of a network of the user's own: class 0 is what is bright."""
    return run(data, output, f"{NETWORKS}:{network}", preprocess=PLAIN, **settings)


def reported(evaluation):
    card = evaluation()
    return card, *write_report(card, evaluation.output, evaluation.examples(1))


def page_of(card):
    """The page without its figures, which take longer than the rest together."""
    return render(Findings.of(card), {})


def rows_of(folder):
    with (folder / "per_image.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


# from pictures to a page


def test_a_table_of_phantoms_becomes_tables_figures_and_a_page(tmp_path):
    random = torch.get_rng_state()
    card, findings, files = reported(run(phantoms(tmp_path / "in"), tmp_path / "out", explained="label"))
    assert torch.equal(torch.get_rng_state(), random)
    assert card.failed == {}
    assert card.methods == ["cam", *CONTROLS]
    assert [(row["image"], row["method"]) for row in rows_of(tmp_path / "out")] == [
        (f"{n}.png", method) for n in range(5) for method in card.methods
    ]
    assert {row.patient for row in card.rows} == {"P0", "P1", "P2"}
    assert {row.target_name for row in card.rows if row.image in ("0.png", "2.png")} == {"nodule"}
    assert all(set(row.values) == set(QUICK) - {"forward-passes"} for row in card.rows if row.method == "cam")
    assert findings.cell("cam", "energy").mean > findings.cell("random", "energy").mean
    written = sorted(path.relative_to(tmp_path / "out").as_posix() for path in files)
    for name in ("index.html", "per_image.csv", "summary.md", "summary.csv", "comparison.csv", "scorecard.json"):
        assert name in written
    for name in ("bars-faithfulness", "bars-localization", "bars-cost"):
        assert {f"figures/{name}.svg", f"figures/{name}.png"} <= set(written)
    assert all(path.stat().st_size > 0 for path in files)


def test_no_page_and_no_table_tells_where_on_the_machine_anything_lies(tmp_path):
    network, data = f"{NETWORKS}:brightness", phantoms(tmp_path / "in", 2)
    typed = ("/opt/jane/bin/cfcam", "evaluate", str(data), "-m", network, f"-o={tmp_path}")
    settings = EvaluationSettings(("grad-cam",), QUICK, preprocess=PLAIN, data=str(data), command=typed)
    loaded = load(network)
    write_report(
        EvaluationRun(loaded, find_cases(data, loaded.classes), settings, tmp_path / "out")(), tmp_path / "out"
    )
    texts = (".html", ".json", ".md", ".csv")
    told = [path.read_text() for path in (tmp_path / "out").rglob("*") if path.suffix in texts]
    assert len(told) >= 5
    assert not [text for text in told if str(tmp_path) in text or str(NETWORKS.parent) in text or "/opt/jane" in text]
    assert any("network user_networks.py:brightness" in text and "data cases.csv" in text for text in told)


def test_the_tables_hold_the_numbers_of_the_rows(tmp_path):
    write_tables(Findings.of(run(phantoms(tmp_path / "in"), tmp_path / "out")()), tmp_path / "out")
    values = [float(row["energy"]) for row in rows_of(tmp_path / "out") if row["method"] == "cam"]
    with (tmp_path / "out" / "summary.csv").open() as file:
        (line,) = [row for row in csv.DictReader(file) if (row["method"], row["metric"]) == ("cam", "energy")]
    assert float(line["mean"]) == pytest.approx(np.mean(values), abs=1e-9)
    assert (line["n"], line["group"], line["higher_is_better"], line["control"]) == (
        "5",
        "localization",
        "True",
        "False",
    )
    with (tmp_path / "out" / "comparison.csv").open() as file:
        compared = list(csv.DictReader(file))
    assert {row["reference"] for row in compared} == {"grad-cam", "random", "centre", "channel-mean"}
    assert {row["method"] for row in compared} == {"cam"}
    told = json.loads((tmp_path / "out" / "scorecard.json").read_text())
    assert told["images"] == 5
    assert len(told["info"]["model"]["sha256"]) == 64
    assert told["info"]["preprocess"] == json.loads(json.dumps(SMALL.as_dict()))
    assert told["info"]["methods"]["cam"] == {"method": "CAM"}
    markdown = (tmp_path / "out" / "summary.md").read_text()
    assert "| cam |" in markdown
    assert "| *random* |" in markdown
    assert "## Localization" in markdown


def test_the_page_stands_by_itself_and_says_what_it_must(tmp_path):
    data = phantoms(tmp_path / "in")
    (tmp_path / "in" / "<b>bold.png").write_bytes(b"no picture")
    with data.open("a") as file:
        file.write("<b>bold.png,nodule,,,,\n")
    reported(run(data, tmp_path / "out", data="my phantoms"))
    page = (tmp_path / "out" / "index.html").read_text()
    sources = re.findall(r'(?:src|href)="([^"]{0,40})', page)
    assert len(sources) >= 4
    assert all(source.startswith(("data:image/svg+xml;base64,", "data:image/jpeg;base64,")) for source in sources)
    assert "<script" not in page
    assert "<b>bold" not in page
    assert "&lt;b&gt;bold.png" in page
    for words in (
        "my phantoms",
        "noise, drawn anew for every image",
        "What these numbers do not say",
        "There are only 3 patients",
        "no difference can pass the test",
        "Failed, and in no number: 1 of 6 images",
        METRICS["average-drop"].title,
        meaning("energy").replace("'", "&#39;"),
        "By group of the data",
        "Lyon, 3 images",
    ):
        assert words in page, words


def test_without_ground_truth_localisation_is_not_assessed(tmp_path):
    data = phantoms(tmp_path / "in", 3)
    Image.new("L", (96, 96)).save(tmp_path / "in" / "1-truth.png")
    data.write_text(data.read_text().replace("0-truth.png", "").replace("2-truth.png", ""))
    card = run(data, tmp_path / "out")()
    findings = Findings.of(card)
    assert all("energy" not in row.values for row in card.rows)
    assert math.isnan(findings.cell("cam", "energy").mean)
    assert findings.cell("cam", "average-drop").n == 3
    write_tables(findings, tmp_path / "out")
    page = page_of(card)
    assert "No image has a ground truth" in page
    assert "1.png: the ground truth is empty: localisation is not assessed" in page
    assert "not assessed" in (tmp_path / "out" / "summary.md").read_text()
    assert {row["energy"] for row in rows_of(tmp_path / "out")} == {""}


def test_one_image_of_one_class(tmp_path):
    card = run(phantoms(tmp_path / "in", 1), tmp_path / "out")()
    findings = Findings.of(card)
    assert card.images == 1
    assert "There is only one patient" in page_of(card)
    line = findings.cell("cam", "average-drop")
    assert line.n == 1
    assert math.isfinite(line.mean)
    assert math.isnan(line.low)
    assert {c.verdict for c in findings.comparisons["random"]} == {"no difference shown"}


def test_several_images_of_one_class_are_warned_of(tmp_path):
    card = run(phantoms(tmp_path / "in", 3, ("nodule",)), tmp_path / "out", explained="label")()
    assert "One class only was explained" in page_of(card)


def test_controls_that_need_a_layer_are_left_out_where_the_network_has_none_as_in_python(tmp_path):
    """Grad-CAM was measured there as if the input were a layer; `cfcam.evaluate` refused."""
    draw(tmp_path / "in" / "a.png")
    card = bright(tmp_path / "in", tmp_path / "out", "flat", methods=("smooth-grad",))()
    assert card.methods == ["smooth-grad", "random", "centre", "channel-mean"]
    assert "without the controls grad-cam and blurred-grad-cam" in page_of(card)


def test_without_controls_there_is_no_comparison_and_a_warning(tmp_path):
    card = run(phantoms(tmp_path / "in", 2), tmp_path / "out", controls=False)()
    assert card.methods == ["cam"]
    assert Findings.of(card).comparisons == {}
    assert "There are no controls" in page_of(card)


# bad input


def test_bad_cases_are_reported_and_the_others_measured(tmp_path):
    data = phantoms(tmp_path / "in", 4)
    Image.new("L", (96, 64), 255).save(tmp_path / "in" / "turned.png")
    Image.new("L", (64, 96), 255).save(tmp_path / "in" / "tall.png")
    (tmp_path / "in" / "cut.png").write_bytes((tmp_path / "in" / "0.png").read_bytes()[:400])
    with data.open("a") as file:
        file.write("cut.png,nodule,,,,\nmissing.png,nodule,,,,\ntall.png,nodule,turned.png,,,\n")
        file.write('tall.png,nodule,,"[[200, 0, 300, 50]]",,\n0.png,nodul,,,,\n1.png,9,,,,\n2.png,,,,,\n')
    card = run(data, tmp_path / "out", explained="label")()
    assert {row.image for row in card.rows} == {"0.png #1", "1.png #1", "2.png #1", "3.png"}
    expected = {
        "cut.png": "cut off",
        "missing.png": "no such file",
        "tall.png #1": "64 x 96 pixels and the picture 96 x 64",
        "tall.png #2": "outside of the picture",
        "0.png #2": "nearest of 4: 'nodule'",
        "1.png #2": "out of range: the network has 4 classes",
        "2.png #2": "no label",
    }
    assert set(card.failed) == set(expected)
    for name, words in expected.items():
        assert words in card.failed[name]
        assert "\n" not in card.failed[name]


def test_numbers_do_not_depend_on_the_bad_cases_beside(tmp_path):
    good = phantoms(tmp_path / "in", 4)
    bad = tmp_path / "in" / "bad.csv"
    bad.write_text(good.read_text() + "missing.png,nodule,,,,\n")
    alone, beside = (run(d, tmp_path / d.stem, batch_size=8)() for d in (good, bad))
    assert beside.rows == alone.rows


def test_a_network_that_fails_on_a_picture_or_answers_nan_fails_that_picture_only(tmp_path):
    for n, grey in enumerate((60, 255, 0, 70, 80)):
        draw(tmp_path / "in" / f"{n}.png", grey=grey)
    Image.new("RGB", (64, 48)).save(tmp_path / "in" / "2.png")
    Image.new("RGB", (64, 48), (255, 255, 255)).save(tmp_path / "in" / "1.png")
    card = bright(tmp_path / "in", tmp_path / "out", "fragile", methods=("grad-cam",), batch_size=5)()
    assert {row.image for row in card.rows} == {"0.png", "3.png", "4.png"}
    assert "too much for me" in card.failed["1.png"]
    assert "not finite" in card.failed["2.png"]


def test_labels_out_of_range_are_found_without_names_of_classes(tmp_path):
    draw(tmp_path / "in" / "0" / "a.png")
    draw(tmp_path / "in" / "2" / "b.png")
    card = bright(tmp_path / "in", tmp_path / "out", metrics=("average-drop",))()
    assert {row.image for row in card.rows} == {"0/a.png"}
    assert "out of range: the network has 2 classes" in card.failed["2/b.png"]


def test_nothing_that_can_be_measured_gives_no_rows(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"")
    card = run(tmp_path / "in", tmp_path / "out")()
    assert card.rows == []
    assert list(card.failed) == ["a.png"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"metrics": ("avarage-drop",)}, "average-drop"),
        ({"metrics": ("repeatability",)}, "two networks"),
        ({"metrics": ("iou-tuned",)}, "--threshold"),
        ({"threshold": 1.5}, "0 to 1"),
        ({"methods": ("grad-cm",)}, "grad-cam"),
        ({"layer": "layer9"}, "layer"),
        ({"batch_size": 0}, "batch size"),
        ({"limit": 0}, "limit"),
        ({"protocol": "paper"}, "cfcam-paper"),
        ({"protocol": "cfcam-paper", "explained": "label"}, "predicted class"),
    ],
)
def test_a_wrong_set_up_is_one_line_before_any_picture_is_read(tmp_path, settings, words):
    data = tmp_path / "cases.csv"
    data.write_text("image\nmissing.png\n")
    with pytest.raises(CfcamError) as caught:
        run(data, tmp_path / "out", **settings)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_methods_that_do_not_apply_are_left_out_with_a_note_if_that_is_wanted(tmp_path):
    draw(tmp_path / "in" / "a.png")
    grey = Preprocess(size=32, mean=(0.5,), std=(0.5,))
    settings = EvaluationSettings(methods=("cam", "grad-cam"), metrics=("complexity",), preprocess=grey)
    model, cases = load(f"{NETWORKS}:grey"), find_cases(tmp_path / "in")
    with pytest.raises(CfcamError, match="cam needs a linear classifier"):
        EvaluationRun(model, cases, settings, tmp_path / "out")
    evaluation = EvaluationRun(model, cases, replace(settings, leave_out=True), tmp_path / "out")
    assert any(note.startswith("cam is left out: ") for note in evaluation.notes)
    assert evaluation().methods == ["grad-cam", *(name for name in CONTROLS if name != "grad-cam")]


def test_an_unknown_metric_offers_the_nearest():
    with pytest.raises(MetricError, match="hit-rate"):
        EvaluationSettings(metrics=("hitrate",)).check()


def test_two_cases_of_one_name_are_refused(tmp_path):
    image = draw(tmp_path / "a.png")
    with pytest.raises(JobError, match="same name"):
        EvaluationRun(load("demo"), [Case("a", image), Case("a", image)], EvaluationSettings(), tmp_path / "out")


# killed and resumed


class KilledError(Exception):
    pass


def killed_after(batches):
    def tell(progress):
        if progress.done >= 2 * batches:
            raise KilledError

    return tell


def counted(evaluation, monkeypatch):
    """Names of the images that an evaluation measures from here on."""
    measured, kind = [], type(evaluation.evaluator)
    original = kind.__call__

    def count(self, samples):
        measured.extend(sample.name for sample in samples)
        return original(self, samples)

    monkeypatch.setattr(kind, "__call__", count)
    return measured


def test_a_run_that_was_killed_goes_on_and_gives_the_same_rows(tmp_path, monkeypatch):
    data = phantoms(tmp_path / "in", 7)
    settings = {"metrics": (*QUICK, "input-noise-soft-iou", "gradient-noise-soft-iou"), "methods": ("grad-cam++",)}
    whole = run(data, tmp_path / "whole", **settings)
    write_tables(Findings.of(whole()), tmp_path / "whole")
    with pytest.raises(KilledError):
        run(data, tmp_path / "out", **settings)(killed_after(2))
    stopped = status(tmp_path / "out")
    assert (stopped.state, stopped.done, stopped.slowest) == (RunState.STOPPED, 4, "metrics")
    assert stopped.stages["decode"] > 0
    rows = tmp_path / "out" / "rows.jsonl"
    before = rows.read_bytes()
    rows.write_bytes(before + b'{"key":"' + b"0" * 64 + b'","rows":[{"image":"hal')
    again = run(data, tmp_path / "out", **settings)
    assert rows.read_bytes() == before
    measured = counted(again, monkeypatch)
    seen = []
    card = again(seen.append)
    assert (seen[0].done, seen[0].earlier, seen[0].total) == (4, 4, 7)
    assert (seen[-1].done, seen[-1].failed) == (7, 0)
    assert measured == [case.name for case in again.cases[4:]]
    assert rows.read_bytes().startswith(before)
    write_tables(Findings.of(card), tmp_path / "out")
    assert (tmp_path / "out" / "per_image.csv").read_bytes() == (tmp_path / "whole" / "per_image.csv").read_bytes()
    assert [line["key"] for line in lines_of(tmp_path / "out")] == [
        line["key"] for line in lines_of(tmp_path / "whole")
    ]


def lines_of(folder):
    lines = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    assert "fingerprint" in lines[0]
    return [line for line in lines if "key" in line]


def test_a_finished_run_measures_nothing_again_and_keeps_the_costs(tmp_path, monkeypatch):
    data = phantoms(tmp_path / "in", 3)
    first = run(data, tmp_path / "out")()
    again = run(data, tmp_path / "out")
    measured = counted(again, monkeypatch)
    second = again()
    assert measured == []
    assert second.rows == first.rows
    assert json.dumps(second.costs) == json.dumps(first.costs)
    assert second.costs["cam"]["forward-passes"] >= 1


def test_the_first_picture_is_told_alone_and_what_methods_cost_is_measured_on_the_rest(tmp_path):
    seen = []
    evaluation = run(
        phantoms(tmp_path / "in", 4), tmp_path / "out", batch_size=3, metrics=("average-drop", "milliseconds")
    )
    evaluator, sizes = type(evaluation.evaluator), []

    class Counting(evaluator):
        def __call__(self, samples):
            rows = super().__call__(samples)
            sizes.append((len(samples), bool(self.costs)))
            return rows

    evaluation.evaluator.__class__ = Counting
    evaluation(seen.append)
    assert [progress.done for progress in seen] == [0, 1, 3, 4]
    assert sizes == [(1, False), (2, True), (1, True)]


def test_a_picture_that_changed_is_measured_again(tmp_path, monkeypatch):
    data = phantoms(tmp_path / "in", 4)
    run(data, tmp_path / "out")()
    changed = make_phantom(99, size=97, findings=["nodule"])
    Image.fromarray(changed.image).save(tmp_path / "in" / "0.png")
    Image.fromarray(changed.masks["nodule"]).save(tmp_path / "in" / "0-truth.png")
    again = run(data, tmp_path / "out")
    measured = counted(again, monkeypatch)
    card = again()
    assert "0.png" in measured
    assert len(measured) == 2  # its batch
    assert len(card.rows) == 4 * len(card.methods)


@pytest.mark.parametrize(
    "change",
    [{"metrics": ("average-drop",)}, {"seed": 1}, {"batch_size": 3}, {"layer": "layer3", "methods": ("grad-cam",)}],
)
def test_another_set_up_in_the_same_folder_is_refused_until_it_is_to_be_overwritten(tmp_path, change):
    data = phantoms(tmp_path / "in", 2)
    run(data, tmp_path / "out")()
    with pytest.raises(JobError, match="--overwrite"):
        run(data, tmp_path / "out", **change)
    card = run(data, tmp_path / "out", overwrite=True, **change)()
    assert len(card.rows) == 2 * len(card.methods)


def test_a_folder_with_a_foreign_file_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "rows.jsonl").write_text('{"mine": 1}\n')
    with pytest.raises(JobError, match="choose another --output"):
        run(phantoms(tmp_path / "in", 1), tmp_path / "out")
    assert (tmp_path / "out" / "rows.jsonl").read_text() == '{"mine": 1}\n'


def test_a_header_that_was_cut_off_begins_anew(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "rows.jsonl").write_text('{"format":1,"finger')
    assert run(phantoms(tmp_path / "in", 1), tmp_path / "out")().images == 1


def test_a_limit_takes_a_random_subset_that_a_larger_one_holds(tmp_path, monkeypatch):
    cases = [Case(f"{n}.png", tmp_path / f"{n}.png") for n in range(50)]
    five, twenty = ([case.name for case in drawn(cases, limit, 0)] for limit in (5, 20))
    assert twenty[:5] == five
    assert [case.name for case in drawn(cases[::-1], 5, 0)] == five
    assert [case.name for case in drawn(cases, 5, 1)] != five
    assert five != [case.name for case in cases[:5]]
    assert sorted(case.name for case in drawn(cases, None, 0)) == sorted(case.name for case in cases)
    data = phantoms(tmp_path / "in", 6)
    run(data, tmp_path / "out", limit=4)()
    larger = run(data, tmp_path / "out", limit=6)
    measured = counted(larger, monkeypatch)
    card = larger()
    assert len(measured) == 2
    assert card.images == 6


# the published protocol


def test_the_published_protocol_is_measured_by_its_own_functions_and_told_what_is_wrong(tmp_path):
    evaluation = run(
        phantoms(tmp_path / "in", 2), tmp_path / "out", protocol="cfcam-paper", controls=False, batch_size=1
    )
    card = evaluation()
    assert card.metrics == tuple(info.name for info in COLUMNS)
    page = page_of(card)
    assert "Measured by the protocol cfcam-paper" in page
    assert "averaged in as if it were one" in page
    case = evaluation.cases[0]
    x = case.load(SMALL, evaluation._classes, pytest.fail).image[None]
    network = load("demo").module
    (row,) = [row for row in card.rows if row.image == case.name]
    maps = evaluation.evaluator.maps(evaluation.evaluator.capture(x, None))["cam"]
    heat = torch.nn.functional.interpolate(maps.clamp(min=0), size=(96, 96), mode="bilinear")[:, 0]
    heat = heat / heat.max()
    black = torch.tensor([-m / s for m, s in zip(SMALL.mean, SMALL.std, strict=True)])
    with torch.no_grad():
        before = network(x).sigmoid()[0, row.target]
        after = network(torch.where(heat > 0.5, x, black[None, :, None, None])).sigmoid()[0, row.target]
    assert row.values["paper-average-drop"] == pytest.approx(float(100 * (before - after) / before), rel=1e-4)
    curve = paper.paper_curve(lambda inputs, _: network(inputs).sigmoid()[:, row.target], x, heat)
    assert row.values["paper-deletion"] == pytest.approx(float(paper.paper_auc(curve)), rel=1e-4)
    assert not set(resolve_metrics("all")) & set(card.metrics)  # nobody gets them who asks for all


# what is said of scorecards made by hand


def card_of(values, **more):
    """A scorecard of {method: {metric: [one for each image]}}; None: not assessed."""
    metrics = tuple(dict.fromkeys(metric for columns in values.values() for metric in columns))
    rows = [
        Row(
            image=f"{n}.png",
            method=method,
            target=n % 2,
            target_name="x",
            probability=0.9,
            status="ok",
            values={metric: column[n] for metric, column in columns.items() if column[n] is not None},
        )
        for method, columns in values.items()
        for n in range(len(next(iter(columns.values()))))
    ]
    controls = tuple(name for name in values if name in CONTROLS)
    return Scorecard(rows, metrics, controls, **more)


LOW, HIGH = [0.1 + 0.01 * (n % 5) for n in range(40)], [0.6 + 0.01 * (n % 7) for n in range(40)]


def test_better_and_worse_follow_the_direction_of_the_metric():
    findings = Findings.of(
        card_of({"mine": {"energy": HIGH, "deletion-blur": HIGH}, "grad-cam": {"energy": LOW, "deletion-blur": LOW}})
    )
    assert findings.sentences("grad-cam") == [
        "mine beside grad-cam, 2 measures: better in 1 (Energy in ground truth), worse in 1 (Deletion (blur))."
    ]
    assert findings.counts() == {"mine": {"grad-cam": {"better": 1, "worse": 1, "no difference shown": 0}}}
    table = scorecard_page.table(findings, [METRICS["energy"], METRICS["deletion-blur"]])
    assert [[cell.best for cell in cells] for _, _, cells in table.rows] == [[True, False], [False, True]]


def test_grad_cam_alone_is_compared_with_what_knows_nothing():
    findings = Findings.of(card_of({"random": {"energy": LOW}, "grad-cam": {"energy": HIGH}}))
    assert list(findings.comparisons) == ["random"]
    assert findings.sentences("random") == [
        "grad-cam beside random, 1 measures: better in 1 (Energy in ground truth)."
    ]  # fmt: skip


def test_a_sentence_without_anything_to_compare_says_so():
    assert in_words("a", "b", []) == "a and b could not be compared: no image has both their numbers."


def test_cautions_name_what_weakens_the_numbers():
    few = Findings.of(card_of({"mine": {"energy": HIGH[:4]}, "grad-cam": {"energy": LOW[:4]}}))
    assert any("only 4 images" in line for line in scorecard_page.cautions(few))
    assert any(
        "so few images and 1 comparisons no difference can pass" in line for line in scorecard_page.cautions(few)
    )
    many = Findings.of(card_of({"mine": {"energy": HIGH}, "grad-cam": {"energy": LOW}}))
    assert scorecard_page.cautions(many) == []
    empty = [replace(r, status="no positive evidence", values={}) if r.image == "0.png" else r for r in many.card.rows]
    few_empty = Findings.of(replace(many.card, rows=empty))
    assert scorecard_page.cautions(few_empty) == []
    empty = [replace(r, status="no positive evidence") if r.image < "3" and r.method == "mine" else r for r in empty]
    (line,) = scorecard_page.cautions(Findings.of(replace(many.card, rows=empty)))
    assert line.startswith("mine: 23 of 40 maps could not be read")
    busy = replace(many.card, costs={"mine": {"milliseconds": 3.0, "calls": 5, "load per core": 2.04}})
    (line,) = scorecard_page.cautions(Findings.of(busy))
    assert line.startswith("Times were taken on a busy machine (2.0 processes for each core)")
    wrong = many.card.rows
    wrong = replace(many.card, rows=[replace(row, correct=row.image == "0.png") for row in wrong])
    assert any("right on only 1 of 40" in line for line in scorecard_page.cautions(Findings.of(wrong)))


def test_bars_have_the_length_of_the_mean_and_none_stands_for_what_was_not_assessed():
    findings = Findings.of(
        card_of({"mine": {"energy": HIGH}, "random": {"energy": [None] * 40}, "grad-cam": {"energy": LOW}})
    )
    (axes,) = bars(findings, [METRICS["energy"]]).axes
    widths = [patch.get_width() for patch in axes.patches]
    assert widths == pytest.approx([np.mean(HIGH), np.mean(LOW)])
    assert [text.get_text() for text in axes.texts] == ["not assessed"]
    low, high = axes.lines[1].get_xdata()
    assert low < np.mean(HIGH) < high
    assert [label.get_text() for label in axes.get_yticklabels()] == ["mine", "random", "grad-cam"]


def test_the_radar_puts_the_best_on_the_rim_and_the_worst_on_the_inner_ring():
    columns = ("adcc", "energy", "deletion-blur", "class-sensitivity")
    findings = Findings.of(
        card_of({"mine": dict.fromkeys(columns, HIGH), "grad-cam": dict.fromkeys(columns, LOW)}, info={})
    )
    names = findings.headlines()
    assert names == ["adcc", "class-sensitivity"]
    assert radar(findings) is None  # two axes are no radar
    more = ("adcc", "hit-rate", "enrichment", "class-sensitivity")
    figure = radar(Findings.of(card_of({"mine": dict.fromkeys(more, HIGH), "grad-cam": dict.fromkeys(more, LOW)})))
    mine, grad_cam = figure.axes[0].lines
    assert mine.get_ydata().tolist() == [1] * 5
    assert grad_cam.get_ydata().tolist() == [0] * 5
    assert mine.get_linestyle() != grad_cam.get_linestyle() or mine.get_marker() != grad_cam.get_marker()


def test_two_evaluations_write_the_same_bytes_but_for_the_moment(tmp_path):
    data = phantoms(tmp_path / "in", 2)
    found = []
    for name in ("one", "two"):
        evaluation = bright(data, tmp_path / name, methods=("grad-cam",), metrics=("energy",))
        _, _, files = reported(evaluation)
        found.append({path.relative_to(tmp_path / name): path.read_bytes().splitlines() for path in files})
    one, two = found
    assert {path.suffix for path in one} >= {".html", ".svg", ".png", ".csv", ".md", ".json"}
    assert one.keys() == two.keys()
    for path, lines in one.items():
        differ = [line for line, other in zip(lines, two[path], strict=True) if line != other]
        assert all(b"finished" in line for line in differ), path
    assert matplotlib.rcParams["svg.hashsalt"] is None


def test_figures_of_an_earlier_run_with_other_metrics_do_not_stay(tmp_path):
    write_report(card_of({"mine": {"energy": HIGH}, "grad-cam": {"energy": LOW}}), tmp_path)
    assert (tmp_path / "figures" / "bars-localization.svg").exists()
    (tmp_path / "figures" / "mine.svg").write_text("")
    write_report(card_of({"mine": {"adcc": HIGH}, "grad-cam": {"adcc": LOW}}), tmp_path)
    assert sorted(p.name for p in (tmp_path / "figures").iterdir()) == [
        "bars-faithfulness.png", "bars-faithfulness.svg", "mine.svg"
    ]  # fmt: skip


def test_every_metric_is_explained_and_needs_are_known_ones():
    for name, info in METRICS.items():
        assert meaning(name) != info.title + ".", name
        assert meaning(name).endswith("."), name
    assert needs("hit-rate") == "ground truth"
    assert needs("average-drop") == ""
    assert needs("average-drop-blur") == "its name, or --baselines"
    assert meaning("average-drop-blur").endswith("; what the map leaves out becomes a blurred copy.")


def test_a_table_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    def torn(path):
        path.write_text("image,meth")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_tables(SimpleNamespace(card=SimpleNamespace(save_rows=torn)), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_shards_joined_give_the_numbers_of_one_run_to_the_last_bit(tmp_path):
    table = phantoms(tmp_path / "in", 7)
    metrics = {"metrics": ("average-drop", "hit-rate", "energy", "max-sensitivity"), "methods": ("cam", "grad-cam")}
    expected = run(table, tmp_path / "one", **metrics)()
    done = [run(table, tmp_path / "many", shard=Shard(n, 3), **metrics).measure().done for n in (1, 2, 3)]
    assert sum(done) == 7
    assert not (tmp_path / "many" / "rows.jsonl").exists()
    assert run(table, tmp_path / "many", **metrics)().rows == expected.rows
    one, many = ((tmp_path / name / "rows.jsonl").read_text().splitlines() for name in ("one", "many"))
    assert [line for line in many if "costs" not in line] == [line for line in one if "costs" not in line]
    assert [path.name for path in sorted((tmp_path / "many").iterdir())] == ["rows.jsonl", "run.json"]


def test_another_number_of_shards_measures_nothing_twice(tmp_path):
    table = phantoms(tmp_path / "in", 7)
    for n in (1, 2):
        run(table, tmp_path / "out", shard=Shard(n, 2)).measure()
    again = [run(table, tmp_path / "out", shard=Shard(n, 3)).measure() for n in (1, 2, 3)]
    assert [progress.done - progress.earlier for progress in again] == [0, 0, 0]


def test_a_shard_alone_has_no_scorecard_and_says_what_to_do(tmp_path):
    with pytest.raises(JobError, match="shard 1/2 alone has no scorecard"):
        run(phantoms(tmp_path / "in"), tmp_path / "out", shard=Shard(1, 2))()


def test_shards_of_different_set_ups_are_not_joined(tmp_path):
    table = phantoms(tmp_path / "in")
    run(table, tmp_path / "out", shard=Shard(1, 2), seed=1).measure()
    with pytest.raises(JobError, match="another set-up"):
        run(table, tmp_path / "out", shard=Shard(2, 2), seed=2)


def test_axe_finds_no_violation_in_the_page_and_the_line_of_the_truth_is_no_other_line(tmp_path):
    pytest.importorskip("playwright")
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    evaluation = run(phantoms(tmp_path / "in", 2), tmp_path / "out", methods=("grad-cam",), metrics=("energy",))
    reported(evaluation)
    assert np.abs(np.subtract(OUTLINE, LIGHT)).max() > 150
    with launched() as browser:
        page = browser.new_context(viewport={"width": 360, "height": 740}, bypass_csp=True).new_page()
        page.goto((tmp_path / "out" / "index.html").as_uri())
        assert "the light blue line is each map's own threshold" in page.locator("#examples").inner_text()
        found = axe.run(page)
        assert found.violations_count == 0, found.generate_report()


def test_on_a_telephone_figures_keep_their_letters_and_numbers_stand_beside_their_measure(tmp_path):
    pytest.importorskip("playwright")
    folder = phantoms(tmp_path / "in", 3)
    evaluation = run(folder, tmp_path / "out", methods=("grad-cam",), metrics=("energy", "complexity"))
    reported(evaluation)
    text = (tmp_path / "out" / "index.html").read_text()
    assert str(tmp_path) not in text.partition("How this was made")[0]
    with launched() as browser:
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.goto((tmp_path / "out" / "index.html").as_uri())
        widths = "[one.clientWidth, Math.min(700, one.naturalWidth)]"
        sizes = page.evaluate(f"[...document.querySelectorAll('figure img')].map(one => {widths})")
        assert len(sizes) > 2
        assert all(shown >= own for shown, own in sizes), sizes  # they are scrolled, not made smaller
        names = page.evaluate("[...document.querySelectorAll('.tested tbody th')].map(one => one.offsetWidth)")
        assert names
        assert max(names) < 200
        assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_a_path_in_a_note_takes_no_room_from_a_telephone(tmp_path):
    """Names of inputs are paths; in its notes one went beyond the edge, and the page was wider than the screen."""
    pytest.importorskip("playwright")
    notes = {"/data/" + "a_long_name_" * 9 + ".png": ["it is grey"]}
    card = card_of({"cam": {"adcc": [0.1, 0.2]}, "random": {"adcc": [0.1, 0.3]}}, info={"case_notes": notes})
    file = tmp_path / "index.html"
    file.write_text(page_of(card), encoding="utf-8")
    with launched() as browser:
        page = browser.new_page(viewport={"width": 320, "height": 740})
        page.goto(file.as_uri())
        told = page.locator("main").inner_text()
        assert "a_long_name_" in told
        assert "/data/" not in told  # the file is enough: the folder is of another machine
        assert page.evaluate("document.documentElement.scrollWidth") == 320
