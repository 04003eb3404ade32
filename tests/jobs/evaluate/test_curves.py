"""Curves on disk, in the table, in the figure and on the page: the same numbers everywhere, and none made up."""

import csv
import json
from dataclasses import replace

import pytest
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from PIL import Image

from cfcam.imaging import Preprocess
from cfcam.jobs.cases.folder import find_cases
from cfcam.jobs.evaluate.curves import draw_curves, without_curves
from cfcam.jobs.evaluate.figures import COLOURS
from cfcam.jobs.evaluate.findings import Findings, write_tables
from cfcam.jobs.evaluate.page import render, write_report
from cfcam.jobs.evaluate.run import EvaluationRun
from cfcam.jobs.evaluate.settings import EvaluationSettings
from cfcam.metrics.scorecard.card import Scorecard
from cfcam.metrics.scorecard.samples import Row
from cfcam.models import load
from cfcam.models.demo import make_phantom

METRICS = ("complexity", "insertion-blur", "deletion-blur")
TITLE = "The curves behind these numbers"


@pytest.fixture
def cases(tmp_path):
    """Five phantoms, a patient each."""
    folder = tmp_path / "in"
    folder.mkdir()
    for n in range(5):
        Image.fromarray(make_phantom(7 + n, size=64, findings=["nodule"]).image).save(folder / f"{n}.png")
    return folder


def run(data, output):
    settings = EvaluationSettings(methods=("cam",), metrics=METRICS, preprocess=Preprocess(size=64), batch_size=2)
    loaded = load("demo")
    return EvaluationRun(loaded, find_cases(data, loaded.classes), settings, output)


def lines_of(folder):
    with (folder / "curves.csv").open() as file:
        return list(csv.DictReader(file))


class KilledError(Exception):
    pass


def killed(progress):
    if progress.done >= 2:
        raise KilledError


# on disk


def test_curves_survive_a_resume(cases, tmp_path):
    whole, part = tmp_path / "whole", tmp_path / "part"
    write_tables(Findings.of(run(cases, whole)()), whole)
    with pytest.raises(KilledError):
        run(cases, part)(killed)
    write_tables(Findings.of(run(cases, part)()), part)
    assert (part / "curves.csv").read_bytes() == (whole / "curves.csv").read_bytes()
    lines = [line for line in lines_of(part) if (line["method"], line["metric"]) == ("cam", "insertion-blur")]
    assert len(lines) == 21
    assert {line["n"] for line in lines} == {"5"}
    assert (lines[0]["share"], lines[-1]["share"]) == ("0.0", "1.0")


def aged(folder, batches):
    """Takes the curves from the first batches of a file of rows, as if an earlier version had written them."""
    path = folder / "rows.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in [line for line in lines if "rows" in line][:batches]:
        for row in line["rows"]:
            row["extra"] = {}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_rows_of_an_earlier_version_are_read_and_their_lack_of_curves_is_told(cases, tmp_path):
    out = tmp_path / "out"
    run(cases, out)()
    aged(out, 1)
    findings = Findings.of(run(cases, out)())
    assert findings.cell("cam", "insertion-blur").n == 5
    assert {curve.n for curve in findings.curves} == {3}
    assert without_curves(findings) == 2
    page = render(findings, {"curves-blur.svg": b""})
    assert "2 of 5 images were measured by an earlier version" in " ".join(page.split())
    aged(out, 3)
    findings = Findings.of(run(cases, out)())
    assert findings.curves == []
    assert findings.cell("cam", "insertion-blur").n == 5
    assert draw_curves(findings) == {}


# what is drawn of scorecards made by hand


def card_of(methods, images=4, patients=4, controls=("random", "centre", "grad-cam"), curves=("insertion", "deletion")):
    """A scorecard of straight curves, each method's and image's a little higher than the one before."""
    rows = [
        Row(
            image=f"{n}.png",
            method=method,
            target=0,
            target_name="x",
            probability=0.9,
            status="ok",
            values={"adcc": 0.5} | {f"{mode}-blur": 0.3 for mode in curves},
            patient=f"P{n % patients}",
            extra={f"curve-{mode}-blur": [0.01 * n, 0.3 + 0.05 * m + 0.02 * n, 0.6] for mode in curves},
        )
        for m, method in enumerate(methods)
        for n in range(images)
    ]
    metrics = ("adcc", *(f"{mode}-blur" for mode in curves))
    return Scorecard(rows, metrics, tuple(name for name in controls if name in methods))


def test_the_table_holds_the_figure_s_numbers(tmp_path):
    findings = Findings.of(card_of(["mine", "grad-cam"]))
    write_tables(findings, tmp_path)
    figure = draw_curves(findings)["curves-blur"]
    written = lines_of(tmp_path)
    assert list(written[0]) == ["method", "metric", "share", "mean", "low", "high", "n"]
    assert len(written) == 2 * 2 * 3
    for ax, metric in zip(figure.axes, ("insertion-blur", "deletion-blur"), strict=True):
        bands = [c for c in ax.collections if isinstance(c, PolyCollection)]
        for line, shade, method in zip(ax.lines, bands, ("mine", "grad-cam"), strict=True):
            assert line.get_label() == method
            told = [row for row in written if (row["method"], row["metric"]) == (method, metric)]
            assert line.get_xdata().tolist() == [100 * float(row["share"]) for row in told]
            assert line.get_ydata().tolist() == [float(row["mean"]) for row in told]
            drawn = {tuple(point) for point in shade.get_paths()[0].vertices.tolist()}
            for row in told:
                x = 100 * float(row["share"])
                assert {(x, float(row["low"])), (x, float(row["high"]))} <= drawn
            assert float(told[1]["low"]) < float(told[1]["mean"]) < float(told[1]["high"])


def test_one_patient_has_lines_and_no_band(tmp_path):
    findings = Findings.of(card_of(["mine"], images=2, patients=1))
    write_tables(findings, tmp_path)
    assert {(row["low"], row["high"], row["n"]) for row in lines_of(tmp_path)} == {("", "", "2")}
    for ax in draw_curves(findings)["curves-blur"].axes:
        assert len(ax.lines) == 1
        assert not ax.collections


def test_controls_are_grey_and_methods_have_colours_of_their_own():
    figure = draw_curves(Findings.of(card_of(["mine", "other", "random", "centre", "grad-cam"])))["curves-blur"]
    for ax in figure.axes:
        colours = {line.get_label(): to_hex(line.get_color()).upper() for line in ax.lines}
        assert (colours["mine"], colours["other"]) == COLOURS[:2]
        for name in ("random", "centre", "grad-cam"):
            assert len({colours[name][place : place + 2] for place in (1, 3, 5)}) == 1
        looks = [(line.get_color(), str(line._dash_pattern)) for line in ax.lines]
        assert len(set(looks)) == len(looks)


def test_of_many_methods_each_stands_in_one_row_beside_the_controls():
    methods = [f"m{n}" for n in range(9)]
    figure = draw_curves(Findings.of(card_of([*methods, "random", "grad-cam"])))["curves-blur"]
    rows = [[line.get_label() for line in ax.lines] for ax in figure.axes[::2]]
    assert rows == [[*methods[n : n + 3], "random", "grad-cam"] for n in (0, 3, 6)]
    assert rows == [[line.get_label() for line in ax.lines] for ax in figure.axes[1::2]]


def test_a_legend_beside_the_panels_names_each_method_and_the_images_that_some_lack():
    card = card_of(["a$b$c", "random"])
    rows = [replace(row, extra={}) if row.method == "random" and row.image == "0.png" else row for row in card.rows]
    figure = draw_curves(Findings.of(replace(card, rows=rows)))["curves-blur"]
    figure.draw_without_rendering()
    (legend,) = [ax.get_legend() for ax in figure.axes if ax.get_legend()]
    assert [text.get_text() for text in legend.get_texts()] == ["a$b$c", "random (n = 3)"]
    assert legend.get_window_extent().x0 > max(ax.get_window_extent().x1 for ax in figure.axes)
    assert legend.get_window_extent().x1 <= figure.bbox.x1


def test_one_kind_of_curve_is_one_panel():
    assert len(draw_curves(Findings.of(card_of(["mine"], curves=("insertion",))))["curves-blur"].axes) == 1


@pytest.mark.parametrize("probability", [0.0, 0.004, 1.0])
def test_the_axis_of_probabilities_holds_all_curves_and_no_empty_space(probability):
    card = card_of(["mine"])
    rows = [replace(row, extra={"curve-insertion-blur": [0.0, probability, probability]}) for row in card.rows]
    figure = draw_curves(Findings.of(replace(card, rows=rows)))["curves-blur"]
    low, high = figure.axes[0].get_ylim()
    assert low == 0
    assert probability < high <= 1.02
    if probability:
        assert high < 1.2 * probability


# on the page


def test_the_page_shows_the_curves_only_where_there_are_any(tmp_path):
    card = card_of(["mine", "random"])
    _, files = write_report(card, tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert TITLE in page
    assert page.count('alt="Mean curves') == 1
    assert "<code>curves.csv</code>" in page
    assert "earlier version" not in page
    names = {path.relative_to(tmp_path).as_posix() for path in files}
    assert {"curves.csv", "figures/curves-blur.svg", "figures/curves-blur.png"} <= names
    _, files = write_report(card_of(["mine", "random"], curves=()), tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert TITLE not in page
    assert "curves.csv" not in page
    assert not (tmp_path / "curves.csv").exists()
    assert not list((tmp_path / "figures").glob("curves-*"))
    assert all(path.exists() for path in files)
