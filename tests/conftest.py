from __future__ import annotations

import os
import re
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from tests import orthanc as orthancs
from tests import quick
from tests.machine import COMPLETE, data_folder
from tests.orthanc import Orthanc

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)

# Of a suite in the background, or under nohup; what it starts would ignore these, too.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

settings.register_profile("cfcam", deadline=None, derandomize=True)
settings.load_profile("cfcam")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real pictures and networks; tests that ask for it are marked, and skipped without it."""
    return data_folder()


def pytest_addoption(parser: pytest.Parser) -> None:
    told = "Run the tests nearest to the change first, and begin none after so many seconds (make quick)."
    parser.addoption("--quick", type=float, metavar="SECONDS", help=told)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.option.quick:
        quick.nearest_first(items)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.config.option.quick:
        quick.leave_out_when_over(item.config.option.quick)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Marks what asks for the real data, so that `-m data` runs all of it and nothing else."""
    if "data" in getattr(item, "fixturenames", ()):
        item.add_marker(pytest.mark.data)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints what was skipped and why, one line for each reason."""
    reasons = _skipped(terminalreporter)
    if reasons:
        terminalreporter.section(f"{reasons.total()} tests were skipped", sep="-")
        for reason, count in reasons.most_common():
            terminalreporter.write_line(f"{count:5d}  {reason}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails a run that should have been complete, and was not because something is not installed."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not os.environ.get(COMPLETE) or reporter is None or hasattr(session.config, "workerinput"):
        return
    absent = [reason for reason in _skipped(reporter) if re.search(r"not installed|could not import", reason)]
    if absent and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line(f"\n{COMPLETE} is set, and tests were skipped: {'; '.join(absent)}", red=True)


def _skipped(reporter: pytest.TerminalReporter) -> Counter[str]:
    """Returns the reasons for which tests were skipped, with how many were."""
    return Counter(_reason(report) for report in reporter.stats.get("skipped", []))


def _reason(report: pytest.TestReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return " ".join(text.removeprefix("Skipped: ").split())


@pytest.fixture(scope="session")
def _orthanc() -> Iterator[Orthanc]:
    if (lacking := orthancs.missing()) is not None:
        pytest.skip(lacking)
    with orthancs.running() as orthanc:
        yield orthanc


@pytest.fixture
def orthanc(_orthanc: Orthanc) -> Orthanc:
    """A real Orthanc with DICOMweb, empty; see `tests/orthanc.py`."""
    _orthanc.start()
    _orthanc.clear()
    return _orthanc
