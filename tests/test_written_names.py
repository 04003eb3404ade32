"""No name reaches a page or a cell of a table unescaped: each module that writes one is named here, with its test."""

from __future__ import annotations

import ast
import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

import cfcam
from cfcam.cli.app import app
from cfcam.clinical.report.comparison import render_comparison
from cfcam.jobs.cases.folder import find_cases
from cfcam.jobs.compare.pairs import make_pair
from cfcam.jobs.compare.run import ComparePairs
from cfcam.jobs.compare.settings import CompareSettings
from cfcam.jobs.evaluate.findings import Findings, write_tables
from cfcam.jobs.evaluate.page import render
from cfcam.jobs.evaluate.run import EvaluationRun
from cfcam.jobs.evaluate.settings import EvaluationSettings
from cfcam.models import load
from tests.jobs.world import NETWORKS, PLAIN, draw

SOURCE = Path(cfcam.__file__).parent
TESTS = Path(__file__).parent
HERE = "test_written_names.py::test_"
PAGES = {
    "clinical/report/comparison.py": HERE + "compar",
    "clinical/report/index.py": "clinical/report/test_index.py::test_only_the_page_s_own_script_may_run",
    "clinical/report/page.py": "clinical/report/test_page.py::test_",
    "clinical/report/patient.py": "clinical/report/test_patient.py::test_",
    "clinical/report/templating.py": "clinical/report/test_page.py::test_",
    "diagnosis/findings.py": "diagnosis/test_findings.py::test_",
    "explanation.py": "imaging/drawing/test_notebook.py::test_",
    "imaging/drawing/notebook.py": "imaging/drawing/test_notebook.py::test_",
    "jobs/evaluate/page.py": HERE + "evaluat",
    "jobs/evidence/page.py": "jobs/evidence/test_run.py::test_",
    "jobs/index/embedded.py": "jobs/runs/test_entries.py::test_",
    "jobs/index/page.py": HERE + "explain",
    "web/offline.py": "web/browser/test_offline_page.py::test_no_other_script_runs_in_it",
    "web/routes/page.py": "web/browser/test_panels.py::test_",
}
"""Writes HTML: the module -> the test whose names are planted."""
TABLES = {
    "clinical/regions.py": HERE + "explain",
    "jobs/compare/tables.py": HERE + "compar",
    "jobs/evaluate/findings.py": HERE + "evaluat",
    "jobs/evidence/run.py": "test_csv_text.py::test_a_formula_is_written_as_text",
    "jobs/evidence/trace.py": "test_csv_text.py::test_a_formula_is_written_as_text",
    "jobs/study/pages.py": HERE + "explain",
    "maps/shares.py": "test_csv_text.py::test_a_formula_is_written_as_text",
    "metrics/scorecard/card.py": HERE + "evaluat",
}
"""Writes CSV, each through `cfcam.csv_text`."""
AS_THEY_ARE = {
    ("clinical/report/templates/comparison.html.j2", "style"),
    ("clinical/report/templates/index.html.j2", "script"),
    ("clinical/report/templates/index.html.j2", "style"),
    ("clinical/report/templates/macros.html.j2", "style"),
    ("jobs/index/templates/folder.html.j2", "data"),  # JSON without <, see jobs/index/test_page.py
    ("jobs/index/templates/folder.html.j2", "pictures_go_here"),  # a mark, and base64 in its place
    ("jobs/index/templates/folder.html.j2", "script"),
    ("jobs/index/templates/folder.html.j2", "style"),
}
"""What templates fill in unescaped: texts of this package, and no other."""

TAG, FORMULA = "<x-planted onclick=planted()>\"'&", "=1+planted()"


def _sources():
    for path in sorted(SOURCE.rglob("*.py")):
        yield path.relative_to(SOURCE).as_posix(), path.read_text()


def test_every_module_that_writes_a_page_or_a_table_is_named_here():
    pages = {
        name for name, text in _sources() if re.search(r"get_template\(|Environment\(|_repr_html_|<script|</div>", text)
    }
    assert pages == PAGES.keys()
    tables = {name for name, text in _sources() if re.search(r"csv_text\.(Writer|table)\(", text)}
    assert tables == TABLES.keys()
    for test in {*PAGES.values(), *TABLES.values()}:
        file, _, name = test.partition("::")
        assert f"def {name}" in (TESTS / file).read_text(), test


def test_nothing_writes_tables_or_runs_commands_another_way():
    for name, text in _sources():
        assert not re.search(r"csv\.(writer|DictWriter)|\.to_csv\(\s*\w", text) or name == "csv_text.py", name
        assert not re.search(r"shell\s*=\s*True|os\.(system|popen)\(", text), name


def test_templates_escape_everything_but_what_is_ours():
    for name, text in _sources():
        for call in ast.walk(ast.parse(text)) if "Environment(" in text else ():
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Environment":
                assert [getattr(word.value, "value", None) for word in call.keywords if word.arg == "autoescape"] == [
                    True
                ]
        assert "Markup(" not in text, name
    found = {
        (path.relative_to(SOURCE).as_posix(), word)
        for path in SOURCE.rglob("*.j2")
        for word in re.findall(r"{{-?\s*([^}|]+?)\s*\|\s*safe\b", path.read_text())
    }
    assert found == AS_THEY_ARE
    assert not [path for path in SOURCE.rglob("*.j2") if "autoescape" in path.read_text()]


class _Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))


def _clean(folder, least):
    """No page has what was planted as an element or an attribute, no cell of a table begins as a formula does."""
    pages, tables = sorted(folder.rglob("*.html")), sorted(folder.rglob("*.csv"))
    assert len(pages) >= least[0]
    assert len(tables) >= least[1]
    planted = 0
    for page in pages:
        text = page.read_text()
        planted += "planted()" in text
        tags = _Tags()
        tags.feed(text)
        assert not [tag for tag, of in tags.seen if tag.startswith("x-") or any("planted" in str(k) for k in of)], page
        assert "<x-planted" not in text, page
    for table in tables:
        with table.open(newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        planted += any("planted()" in cell for cell in cells)
        wrong = [cell for cell in cells if re.match(r"[=@\t\r]|[+-](?![\d.]|inf)", cell)]
        assert wrong == [], table
    assert planted >= least[2]


def _pictures(folder):
    return [draw(folder / f"{name}.png", corner=n) for n, name in enumerate((TAG, FORMULA))]


def _invoked(*words):
    made = CliRunner(env={"COLUMNS": "140"}).invoke(app, [str(word) for word in words])
    assert made.exit_code == 0, made.output


@pytest.fixture
def classes(tmp_path):
    (tmp_path / "classes.txt").write_text(f"{TAG}\n{FORMULA}\n")
    return tmp_path / "classes.txt"


def _network(classes):
    return ["--model", f"{NETWORKS}:brightness", "--classes", classes, "--size", "32", "--mean", "0", "--std", "1"]


def test_explaining_writes_no_name_unescaped(tmp_path, classes):
    _pictures(tmp_path / "in")
    words = ["--method", "grad-cam", "--target", "all", "--report", "html", "--threshold", "0.5"]
    _invoked("explain", tmp_path / "in", "-o", tmp_path / "out", *_network(classes), *words)
    _clean(tmp_path / "out", least=(3, 1, 4))


def test_evaluating_writes_no_name_unescaped(tmp_path):
    lines = ["image,label,mask,boxes,patient,group"]
    for n, picture in enumerate(_pictures(tmp_path / "in")):
        Image.new("L", (64, 48), 255).save(tmp_path / "in" / f"mask{n}.png")
        quoted = [name.replace('"', '""') for name in (picture.name, (TAG, FORMULA)[n])]
        lines.append(f'"{quoted[0]}",{n},mask{n}.png,,"{quoted[1]}","{quoted[1]}"')
    (tmp_path / "in" / "cases.csv").write_text("\n".join(lines) + "\n")
    loaded = load(f"{NETWORKS}:brightness", classes=(TAG, FORMULA))
    settings = EvaluationSettings(methods=("cam",), metrics=("energy", "hit-rate"), preprocess=PLAIN)
    cases = find_cases(tmp_path / "in" / "cases.csv", loaded.classes)
    findings = Findings.of(EvaluationRun(loaded, cases, settings, tmp_path / "out")())
    write_tables(findings, tmp_path / "out")
    (tmp_path / "out" / "index.html").write_text(render(findings, {}))
    _clean(tmp_path / "out", least=(1, 3, 2))


def test_comparing_writes_no_name_unescaped(tmp_path):
    one, two = _pictures(tmp_path / "in")
    network = load(f"{NETWORKS}:brightness", classes=(TAG, FORMULA))
    settings = CompareSettings(output=tmp_path / "out", preprocess=PLAIN, registration="none")
    ComparePairs(network, settings).run([make_pair(one, two)])
    (document,) = (tmp_path / "out").glob("*.json")
    page = render_comparison(json.loads(document.read_text()) | {"statement": TAG, "current": TAG}, b"")
    (tmp_path / "out" / "page.html").write_text(page)
    _clean(tmp_path / "out", least=(1, 1, 1))
