"""What is said while objects travel, and when they are there."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.text import Text

from cfcam.cli.output.console import err, hint, out, plain

if TYPE_CHECKING:
    from cfcam.exchange.pacs import Report, Sent

_QUIET_SECONDS = 10.0
_REASONS_SHOWN = 10


@contextmanager
def progress(total: int, task: str, *, quiet: bool) -> Iterator[Callable[[Sent], None]]:
    """Yields what is to be told of each object; it shows on stderr how far things are, and how long it will take."""
    console = err()
    if quiet or not total:
        yield lambda sent: None
    elif console.is_terminal:
        with _bar(console, total, task) as tell:
            yield tell
    else:
        yield _Lines(total, task)


@contextmanager
def _bar(console: Any, total: int, task: str) -> Iterator[Callable[[Sent], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[size]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("[red]{task.fields[failed]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        shown = bar.add_task(task, total=total, size="", failed="")
        counts, sizes = Counter[bool](), 0

        def tell(sent: Sent) -> None:
            nonlocal sizes
            counts[sent.done] += 1
            sizes += sent.size
            failed = f"{counts[False]} failed" if counts[False] else ""
            bar.update(shown, advance=1, size=size_text(sizes), failed=failed)

        yield tell


class _Lines:
    """Progress for a log file: a line now and then."""

    def __init__(self, total: int, task: str) -> None:
        self._total, self._task = total, task
        self._started = self._said = time.perf_counter()
        self._counts = Counter[bool]()

    def __call__(self, sent: Sent) -> None:
        self._counts[sent.done] += 1
        now = time.perf_counter()
        if now - self._said < _QUIET_SECONDS:
            return
        self._said = now
        done = self._counts.total()
        left = (now - self._started) / done * (self._total - done)
        failed = f", {self._counts[False]} failed" if self._counts[False] else ""
        err().print(Text(f"{self._task}: {done} of {self._total}, {left:.0f} s left{failed}"), soft_wrap=True)


def size_text(size: int) -> str:
    """Returns bytes as people say them."""
    for unit, power in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= power:
            return f"{size / power:.1f} {unit}"
    return f"{size} bytes"


def show_reasons(report: Report, *, quiet: bool) -> None:
    """Prints what went wrong, and if not quiet what else there is to say, each reason once, to stderr."""
    console = err()
    bad = {reason: count for (outcome, reason), count in report.reasons.items() if not _is_done(outcome)}
    for reason, count in list(bad.items())[:_REASONS_SHOWN]:
        times = f" ({count} objects)" if count > 1 else ""
        console.print(Text.assemble(("failed: ", "bold red"), plain(reason), times), soft_wrap=True)
    if len(bad) > _REASONS_SHOWN:
        more = f"... and {len(bad) - _REASONS_SHOWN} other reasons; --json lists every object"
        console.print(Text(more, style="red"), soft_wrap=True)
    for (outcome, reason), count in report.reasons.items():
        if _is_done(outcome) and not quiet:
            hint(f"{reason} ({count} objects)" if count > 1 else reason)
    counts = report.as_dict()
    if counts["try_again"] and not counts["refused"] and not quiet:
        hint("give the same command again later: what has arrived is not sent twice")


def show_summary(report: Report, words: dict[str, str], where: str, seconds: float) -> None:
    """Prints one line on all."""
    counts = {outcome: sum(one.outcome == outcome for one in report.sent) for outcome in words}
    told = [f"{count} {words[outcome]}" for outcome, count in counts.items() if count]
    size = sum(one.size for one in report.sent)
    speed = f" ({size_text(size)}, {size_text(round(size / max(seconds, 1e-6)))}/s)" if size else ""
    line = Text(f"{', '.join(told) or 'nothing'} in {seconds:.1f} s{speed}", style="bold")
    out().print(line.append(f" -> {plain(where)}"), soft_wrap=True)


def _is_done(outcome: str) -> bool:
    return outcome in ("stored", "already there")
