"""Requirement -> test -> result: which tests stand for what cfcam is meant to do, and what became of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree as ET

from cfcam import csv_text
from cfcam.jobs.evidence.files import EvidenceError

REQUIREMENTS = "requirements.csv"
NOT_RUN = "not run"
_WORST = ("failed", "error", NOT_RUN, "skipped", "passed")
_MOST_BYTES = 100_000_000


@dataclass(frozen=True)
class Traced:
    """A requirement with a test that stands for it.

    Attributes:
        requirement: its short name.
        text: what is required.
        test: file and function of the test, as pytest names it.
        result: "passed", "failed", "error", "skipped" or "not run"; of several variants of a test the worst.
        variants: how many variants of the test were run.
    """

    requirement: str
    text: str
    test: str
    result: str = NOT_RUN
    variants: int = 0


def requirements() -> list[Traced]:
    """Returns the requirements that are shipped with cfcam, without results."""
    text = files(__package__).joinpath(REQUIREMENTS).read_text(encoding="utf-8")
    return [Traced(row["requirement"], row["text"], row["test"]) for row in csv.DictReader(io.StringIO(text))]


def traced(junit: Path | None) -> list[Traced]:
    """Returns the requirements with the results in a JUnit file, as ``pytest --junit-xml FILE`` writes it.

    Args:
        junit: the file; None: nothing was run.

    Raises:
        EvidenceError: the file cannot be read.
    """
    results = {} if junit is None else _results(junit)
    found = []
    for one in requirements():
        variants = results.get(_key(one.test), [])
        worst = next((result for result in _WORST if result in variants), NOT_RUN)
        found.append(Traced(one.requirement, one.text, one.test, worst, len(variants)))
    return found


def table(lines: list[Traced]) -> str:
    """Returns the table as CSV."""
    return csv_text.table(["requirement", "text", "test", "result", "variants"], map(asdict, lines))


def _key(test: str) -> tuple[str, str]:
    """Module and name of a test, as JUnit has them: ``tests/a/test_b.py::test_c`` -> ("tests.a.test_b", "test_c")."""
    file, _, name = test.partition("::")
    return file.removesuffix(".py").replace("/", "."), name


def _results(junit: Path) -> Mapping[tuple[str, str], list[str]]:
    try:
        data = junit.read_bytes()
        if len(data) > _MOST_BYTES or b"<!DOCTYPE" in data[:10_000]:
            raise EvidenceError(f"--junit {junit.name}: is too large or declares entities; give the file of pytest")
        root = ET.fromstring(data)  # noqa: S314 (entities are refused above)
    except (OSError, ET.ParseError) as error:
        raise EvidenceError(
            f"--junit {junit.name}: is no JUnit file ({type(error).__name__}); write it with pytest --junit-xml"
        ) from error
    found: dict[tuple[str, str], list[str]] = {}
    for case in root.iter("testcase"):
        kinds = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        result = {"failure": "failed", "error": "error", "skipped": "skipped"}[kinds[0]] if kinds else "passed"
        key = (case.get("classname", ""), case.get("name", "").partition("[")[0])
        found.setdefault(key, []).append(result)
    return found
