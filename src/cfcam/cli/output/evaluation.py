"""What an evaluation says while it works and when it is done."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from cfcam import json_text
from cfcam.cli.output.ahead import QUIET_SECONDS, Lines, beating
from cfcam.cli.output.console import err, failure, hint, out, plain
from cfcam.cli.output.run import log_failure

if TYPE_CHECKING:
    from cfcam.jobs.evaluate.cases import Progress
    from cfcam.jobs.evaluate.findings import Findings
    from cfcam.jobs.evaluate.run import EvaluationRun
    from cfcam.log import Log
    from cfcam.metrics.scorecard.card import Scorecard, Summary

FAILURES_SHOWN = 10
_COLUMNS, _NAME, _CELL = 6, 20, 19  # the most columns, and the widths of their kinds


def follow(run: EvaluationRun, *, quiet: bool = False, log: Log | None = None) -> Scorecard:
    """Does the work of a run, shows its progress on stderr, and returns the scorecard."""
    with _followed(run, quiet=quiet, log=log) as heard:
        return run(heard)


def follow_share(run: EvaluationRun, *, quiet: bool = False, log: Log | None = None) -> Progress:
    """Does the work of a shard of a run, shows its progress on stderr, and returns how far it came."""
    with _followed(run, quiet=quiet, log=log) as heard:
        return run.measure(heard)


@contextmanager
def _followed(run: EvaluationRun, *, quiet: bool, log: Log | None) -> Iterator[Callable[[Progress], None]]:
    quiet = quiet or log is not None
    with _logged(log, len(run)) if log else _progress(run, quiet=quiet) as tell:
        said = False

        def heard(progress: Progress) -> None:
            nonlocal said
            if progress.earlier and not (said or quiet):
                hint(f"{progress.earlier} of {progress.total} images were done before and are not measured again")
            said = True
            tell(progress)

        yield heard


@contextmanager
def _progress(run: EvaluationRun, *, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    console = err()
    if quiet:
        yield lambda progress: None
    elif console.is_terminal:
        with _bar(console, len(run)) as tell:
            yield tell
    else:
        lines = Lines("evaluating", "volumes" if run.kind == "volume" else "images")
        with beating(lines.beat):
            yield lambda p: lines(p.done, p.total, earlier=p.earlier, failed=p.failed)


@contextmanager
def _bar(console: Any, total: int) -> Iterator[Callable[[Progress], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[earlier]}"),
        TextColumn("[red]{task.fields[failed]}"),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("evaluating", total=total, earlier="", failed="")

        def tell(progress: Progress) -> None:
            earlier = f"{progress.earlier} done before" if progress.earlier else ""
            failed = f"{progress.failed} failed" if progress.failed else ""
            bar.update(task, total=progress.total, completed=progress.done, earlier=earlier, failed=failed)

        yield tell


@contextmanager
def _logged(log: Log, total: int) -> Iterator[Callable[[Progress], None]]:
    """Logs how far a run is: its beginning, now and then, its end, in numbers; and each failure."""
    started = told = heard = time.perf_counter()
    last: dict[str, Any] = {}
    log.info("begun", task="evaluating", inputs=total)

    def beat() -> None:
        nonlocal told
        now = time.perf_counter()
        if last and now - told >= QUIET_SECONDS:
            told, left = now, last["seconds_left"]
            left = None if left is None else round(max(left - (now - heard), 0.0), 1)
            log.info("progress", **{**last, "seconds_left": left})

    def tell(progress: Progress) -> None:
        nonlocal last, heard
        for name, reason in progress.failures.items():
            log_failure(log, "evaluating", name, reason)
        heard = now = time.perf_counter()
        rate = (progress.done - progress.earlier) / max(now - started, 1e-6)
        left = round((progress.total - progress.done) / rate, 1) if rate > 0 else None
        last = {"task": "evaluating", **progress.numbers(), "per_second": round(rate, 3), "seconds_left": left}

    try:
        with beating(beat):
            yield tell
    except BaseException:
        log.warn("stopped", **last)
        raise
    log.info("ended", **last)


def write(run: EvaluationRun, card: Scorecard, *, quiet: bool = False) -> tuple[Findings, list[Path]]:
    """Computes intervals and comparisons and writes all files, with a word on stderr that it takes a moment."""
    from cfcam.jobs.evaluate.page import write_report

    console = err()
    shown: AbstractContextManager[Any] = (
        nullcontext() if quiet or not console.is_terminal else console.status("intervals, figures, page")
    )
    with shown:
        return write_report(card, run.output, run.examples())


def show(findings: Findings, files: Sequence[Path]) -> None:
    """Prints the headline numbers, how the methods stand beside Grad-CAM, and where the page is."""
    from cfcam.jobs.evaluate.findings import REFERENCE

    console, card = out(), findings.card
    columns = max(1, (console.width - _NAME) // _CELL)
    console.print(_table(findings, columns))
    if more := len(findings.assessed(card.metrics)) - len(_shown(findings, columns)):
        console.print(Text(f"{more} more columns: in summary.md, and on the page", style="dim"))
    console.print(
        Text("mean, and its 95 % interval; n where not all images could be assessed; controls in italics", style="dim")
    )
    for sentence in findings.sentences(REFERENCE):
        console.print(Text(plain(sentence)), soft_wrap=True)
    for one in findings.baseline_ranges():
        console.print(Text(plain(str(one))), soft_wrap=True)
    for method, counts in card.empty().items():
        for status, count in counts.items():
            told_empty = f"{method}: {count} of {card.images} maps with {status}; in no mean"
            console.print(Text(plain(told_empty), style="yellow"), soft_wrap=True)
    for sentence in card.left_out():
        console.print(Text(plain(sentence), style="yellow"), soft_wrap=True)
    failed = f", {len(card.failed)} failed" if card.failed else ""
    images = "1 image" if card.images == 1 else f"{card.images} images"
    line = Text(f"{images}{failed}, layer {plain(card.info.get('layer'))} -> ", style="bold")
    line.append(plain(files[0]), style=f"link {files[0].absolute().as_uri()}")
    console.print(line, soft_wrap=True)
    console.print(Text("For research use; cfcam is not a medical device.", style="dim"), soft_wrap=True)


def show_share(run: EvaluationRun, progress: Progress) -> None:
    """Prints how far a shard is, and how all become one scorecard."""
    failed = f", {progress.failed} failed" if progress.failed else ""
    said = f"shard {run.settings.shard}: {progress.done} of {len(run)} {run.kind}s measured{failed} -> {run.output}/"
    out().print(Text(plain(said), style="bold"), soft_wrap=True)
    hint("once all shards are measured, the same command without --shard makes the scorecard of them")


def _shown(findings: Findings, columns: int) -> list[str]:
    """Returns the metrics of the table: all that have a number, or the headlines where there is no room for all."""
    assessed, room = findings.assessed(findings.card.metrics), min(columns, _COLUMNS)
    return assessed if len(assessed) <= room else findings.headlines(room)


def _table(findings: Findings, columns: int) -> Table:
    from cfcam.metrics.scorecard.catalogue import METRICS

    names = _shown(findings, columns)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("method", no_wrap=True)
    for name in names:
        table.add_column(f"{METRICS[name].title} {METRICS[name].arrow}".strip(), justify="right", max_width=_CELL - 1)
    for method in findings.card.methods:
        style = "dim italic" if method in findings.card.controls else ""
        cells = [_cell(findings.cell(method, name), style) for name in names]
        table.add_row(Text(plain(method), style or "cyan"), *cells)
    return table


def _cell(line: Summary, style: str) -> Text:
    from cfcam.metrics.scorecard.card import format_number

    if math.isnan(line.mean):
        return Text("not assessed", "dim italic")
    n = f" (n={line.n})" if line.not_assessed else ""
    text = Text(format_number(line.mean) + n, style)
    if math.isfinite(line.low):
        text.append(f"\n{format_number(line.low)} to {format_number(line.high)}", style="dim")
    return text


def show_failures(card: Scorecard) -> None:
    """Prints the pictures that failed, a line each, to stderr; at most `FAILURES_SHOWN`."""
    console = err()
    for name, reason in list(card.failed.items())[:FAILURES_SHOWN]:
        line = Text.assemble(("failed: ", "bold red"), failure(name, reason))
        console.print(line, soft_wrap=True)
    if len(card.failed) > FAILURES_SHOWN:
        more = f"... and {len(card.failed) - FAILURES_SHOWN} more, all in the report"
        console.print(Text(more, style="red"), soft_wrap=True)


def summary(files: Sequence[Path]) -> dict[str, Any]:
    """Returns what ``scorecard.json`` holds, with the files, for ``--json``."""
    written = next(file for file in files if file.name == "scorecard.json")
    record: dict[str, Any] = json_text.read(written, largest=2**30)
    return {"page": str(files[0]), "files": [str(file) for file in files], **record}
