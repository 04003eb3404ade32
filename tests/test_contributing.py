"""CONTRIBUTING.md is true: its examples run one by one, hang on what they show, and leave nothing behind."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("highdicom")

from cfcam.cli.app import app
from cfcam.errors import CfcamError
from cfcam.exchange.dicom import job, write
from cfcam.imaging.reading import kinds, listing
from cfcam.methods import _REGISTRY
from cfcam.metrics.scorecard import assess, catalogue

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
SHARED, *_ = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
EXAMPLES = dict(re.findall(r"^## (An? \w+(?: \w+)?)\n[^#]*?^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE))

WITHOUT = [  # (example, what it shows, what stands there when that is taken away)
    ("A method", '{"element-wise": ("gradient.gradient_products", "ElementWise", None)}', "{}"),
    ("A method", ".relu().sum(2)", ".sum(2)"),
    ("A metric", "catalogue.METRICS, precision=info", "catalogue.METRICS"),
    ("A metric", "assess.AGAINST_TRUTH, precision=precision", "assess.AGAINST_TRUTH"),
    ("A metric", "heat >= 0.5", "heat > 0"),
    ("A target", ".indices[:, 1:]", ".indices[:, :1]"),
    ("A reader", '(*kinds.FORMATS, (re.compile(rb"GREY \\d+ \\d+\\n"), "GREY", GreyFile))', "kinds.FORMATS"),
    ("A reader", '"EXTENSIONS", (".grey",)', '"EXTENSIONS", ()'),
    ("A written object", "write.OF_THE_JOB, ko=key_images", "write.OF_THE_JOB"),
    ("A written object", 'ko=Series(7, "key images", region=True)', 'ko=Series(7, "key images")'),
    ("A check", "limits.artefact_energy", "1.0"),
    ("A check", "if not bool(", "if bool("),
    ("A command", "add(app, Look)", "pass"),
    ("A command", ", Checked(places.input_)", ""),
]


def run(example: str) -> None:
    exec(compile(SHARED + example, "CONTRIBUTING.md", "exec", dont_inherit=True), {"__name__": "example"})  # noqa: S102


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def tables() -> list[Any]:
        found = [_REGISTRY, catalogue.METRICS, assess.AGAINST_TRUTH, write.OF_THE_JOB, job.SERIES]
        return [
            *map(dict, found),
            catalogue.CATALOGUE,
            kinds.FORMATS,
            listing.EXTENSIONS,
            write.KINDS,
            len(app.registered_commands),
        ]

    monkeypatch.chdir(tmp_path)
    before = tables()
    yield
    assert tables() == before


def test_each_thing_that_people_add_has_its_example() -> None:
    wanted = ["A method", "A metric", "A target", "A reader", "A written object", "A check", "A command"]
    assert list(EXAMPLES) == wanted
    assert {name for name, _, _ in WITHOUT} == set(wanted)
    assert len(TEXT.splitlines()) <= 250


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs_by_itself(name: str) -> None:
    run(EXAMPLES[name])


@pytest.mark.parametrize(("name", "shown", "instead"), WITHOUT)
def test_an_example_fails_without_what_it_shows(name: str, shown: str, instead: str) -> None:
    assert EXAMPLES[name].count(shown) == 1
    with pytest.raises((AssertionError, LookupError, CfcamError)):
        run(EXAMPLES[name].replace(shown, instead))


def test_every_place_that_is_named_is_there() -> None:
    named = re.findall(r"`((?:[\w-]+/)*(?:[\w-]+\.(?:py|md|csv)|[\w-]+/))(?:: (\w+))?`", TEXT)
    assert len(named) > 40
    for place, name in named:
        own = place.startswith(("tests/", "docs/", "src/")) or place == "CHANGELOG.md"
        found = (ROOT if own else ROOT / "src/cfcam") / place
        assert found.exists(), place
        assert not name or re.search(rf"\b{name}\b", found.read_text(encoding="utf-8")), f"{place} has no {name}"


def test_every_command_that_is_named_is_in_the_makefile() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert {"demo", "test", "quick", "lint", "docs"} <= set(re.findall(r"\bmake (\w+)", TEXT)) <= set(targets)


@pytest.mark.parametrize(
    "sought",
    ["reading a DICOM", "drawing a sheet", "the folder run", "one study's result", "the scorecard", "the SEG writer",
     "the audit chain", "the doctor's batch check"],
)  # fmt: skip
def test_a_newcomer_finds(sought: str) -> None:
    assert re.search(rf"^\| {sought} \| `", TEXT, re.MULTILINE)


def test_the_floors_stand_in_the_order_that_lint_keeps() -> None:
    (picture,) = re.findall(r"^```text\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(contract["layers"] for contract in contracts if contract["containers"] == ["cfcam"])
    level = {name: number for number, layer in enumerate(layers) for name in re.findall(r"\w+", layer)}
    rows = [re.findall(r"\w+", row.partition("   ")[0]) for row in picture.splitlines()]
    assert all(
        (ROOT / "src/cfcam" / name).is_dir() or (ROOT / f"src/cfcam/{name}.py").is_file()
        for row in rows
        for name in row
    )
    levels = [[level[name] for name in row if name in level] for row in rows]
    assert all(max(above) < min(below) for above, below in pairwise(levels))
