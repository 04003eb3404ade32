"""What a run says while it works and when it is done."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rich.cells import cell_len, set_cell_size
from rich.table import Table
from rich.text import Text

from cfcam.cli.arguments.words import PICTURE_FORMATS
from cfcam.cli.output.ahead import beating, duration
from cfcam.cli.output.console import err, failure, hint, out, plain
from cfcam.cli.output.tally import FAILURES_SHOWN, ROWS_SHOWN, Tally
from cfcam.memory import settled
from cfcam.shown import answer_text

if TYPE_CHECKING:
    from cfcam.jobs import FolderRun, Outcome
    from cfcam.log import Log

_WORTH_OPENING = ("_report.html", "_report.pdf", *(f"_sheet.{kind}" for kind in PICTURE_FORMATS))  # the first there is
_WORTH_SAVING, _LARGER = 10_000_000, 2  # bytes of overlays that are so many times as large as their JPEGs
_QUIET_SECONDS = 10.0
_STATES = ("done", "skipped", "failed")


class Step(Protocol):
    """Told of each picture that is settled."""

    def __call__(self, outcome: Outcome) -> None:
        """Moves the progress on by one picture."""


def follow(
    run: FolderRun, *, quiet: bool = False, task: str = "explaining", log: Log | None = None, keep: bool = False
) -> Tally:
    """Does the work of a run and shows its progress on stderr, for people or, with a log, for programs.

    Args:
        run: the run.
        quiet: say nothing.
        task: what is said to be done.
        log: takes the progress.
        keep: whether what became of each picture is asked for afterwards.
    """
    tally = Tally(keep)
    started = time.perf_counter()
    said: set[str] = set()
    quiet = quiet or log is not None
    tally.told = set() if quiet else said
    with logged(log, task, len(run)) if log else _progress(len(run), quiet=quiet, task=task) as step:
        _say_new(run, said, quiet=quiet)
        with settled(seldom=run.light):
            for outcome in run:
                tally.add(outcome)
                step(outcome)
                _say_new(run, said, quiet=quiet)
    tally.seconds = time.perf_counter() - started
    return tally


def _say_new(run: FolderRun, said: set[str], *, quiet: bool) -> None:
    for note in run.notes:
        if note not in said and not quiet:
            hint(note)
        said.add(note)


@contextmanager
def _progress(total: int, *, quiet: bool, task: str) -> Iterator[Step]:
    console = err()
    if quiet:
        yield lambda outcome: None
    elif console.is_terminal:
        with _bar(console, total, task) as step:
            yield step
    else:
        lines = _Lines(total, task)
        with beating(lines.beat):
            yield lines


@contextmanager
def _bar(console: Any, total: int, task: str) -> Iterator[Step]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("[red]{task.fields[failed]}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task(task, total=total, rate="", failed="")
        started, counts = time.perf_counter(), Counter[str]()

        def step(outcome: Outcome) -> None:
            counts[outcome.status] += 1
            rate = counts["done"] / max(time.perf_counter() - started, 1e-6)
            failed = f"{counts['failed']} failed" if counts["failed"] else ""
            progress.update(bar, advance=1, rate=speed(rate), failed=failed)

        yield step


class _Lines:
    """Progress for a log file: a line now and then."""

    def __init__(self, total: int, task: str) -> None:
        self._total, self._task = total, task
        self._started = self._said = time.perf_counter()
        self._counts = Counter[str]()

    def __call__(self, outcome: Outcome) -> None:
        self._counts[outcome.status] += 1
        self.beat()

    def beat(self) -> None:
        """Says how far it is, if nothing was said of late."""
        now = time.perf_counter()
        if now - self._said < _QUIET_SECONDS:
            return
        self._said = now
        finished, done = self._counts.total(), self._counts["done"]
        rate = done / (now - self._started)
        line = f"{self._task}: {finished} of {self._total}"
        if done:
            line += f", {speed(rate)}, {duration((self._total - finished) / rate)} left"
        elif not finished:
            line += f", {duration(now - self._started)} so far"
        if self._counts["failed"]:
            line += f", {self._counts['failed']} failed"
        err().print(Text(line), soft_wrap=True)


@contextmanager
def logged(log: Log, task: str, total: int) -> Iterator[Step]:
    """Logs how far a run is: its beginning, now and then, its end, in numbers; and each failure."""
    counts, started = Counter[str](), time.perf_counter()
    told = started
    log.info("begun", task=task, inputs=total)

    def numbers(now: float) -> dict[str, Any]:
        settled, elapsed = counts.total(), max(now - started, 1e-6)
        rate = (counts["done"] + counts["failed"]) / elapsed
        found = {"task": task, "settled": settled, "inputs": total, **{k: counts[k] for k in _STATES}}
        left = round((total - settled) / rate, 1) if rate > 0 else None
        return {**found, "seconds": round(elapsed, 1), "per_second": round(rate, 3), "seconds_left": left}

    def beat() -> None:
        nonlocal told
        now = time.perf_counter()
        if now - told >= _QUIET_SECONDS:
            told = now
            log.info("progress", **numbers(now))

    def step(outcome: Outcome) -> None:
        counts[outcome.status] += 1
        if outcome.status == "failed":
            log_failure(log, task, str(outcome.path), outcome.error or "")
        beat()

    try:
        with beating(beat):
            yield step
    except BaseException:
        log.warn("stopped", **numbers(time.perf_counter()))
        raise
    log.info("ended", **numbers(time.perf_counter()))


def log_failure(log: Log, task: str, name: str, reason: str) -> None:
    """Logs that an input failed, and why; no word says more than the last name of a path from the root."""
    told = " ".join(map(_without_folders, reason.split(" ")))
    log.error("failed", task=task, input=_without_folders(name), reason=told)


def _without_folders(word: str) -> str:
    return word.rpartition("/")[2] or word if word.lstrip("('\"").startswith(("/", "~/")) else word


def speed(rate: float) -> str:
    """Returns a rate in words; "" if there is none."""
    if rate <= 0:
        return ""
    return f"{rate:.1f} images/s" if rate >= 1 else f"{1 / rate:.1f} s/image"


def show_table(tally: Tally, run: FolderRun) -> None:
    """Prints what was explained: image, class, probability, status of the maps, where."""
    if not tally.shown:
        return
    rows = [(outcome, k) for outcome in tally.shown for k in range(len(outcome.targets))]
    console = out()
    widest = console.width // (4 if tally.placed else 3)  # of a name: what the network answered has to stand beside it
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("image", overflow="ellipsis", no_wrap=True, ratio=3)
    table.add_column("class", overflow="fold", ratio=2)  # whole: of a box it ends with where the box is
    table.add_column("probability", justify="right", no_wrap=True)
    table.add_column("maps", overflow="fold", ratio=2)
    if tally.placed:
        table.add_column("points to", overflow="fold", ratio=4)
    table.add_column("file", overflow="ellipsis", no_wrap=True, ratio=3)
    for outcome, k in rows[:ROWS_SHOWN]:
        target = outcome.targets[k]
        name = plain(outcome.path if tally.several else outcome.path.name)
        answer = answer_text(target.probability, target.margin, 3)
        table.add_row(
            Text(_shortened(name, widest) if k == 0 else "", style="dim" if outcome.status == "skipped" else ""),
            Text(plain(target.label)),
            Text(answer),
            _maps(target.maps),
            *([Text(plain(target.where))] if tally.placed else []),
            _where(outcome, run.settings.output, widest) if k == 0 else Text(""),
        )
    console.print(table)
    if tally.rows > ROWS_SHOWN:
        listed = plain(run.settings.output / "manifest.jsonl")
        console.print(Text(f"... and {tally.rows - ROWS_SHOWN} more rows, all in {listed}", style="dim"))


def show_preparation(tally: Tally, run: FolderRun) -> None:
    """Prints how the inputs were prepared and who says so, and what is to be known of how they were read."""
    console, prepared = out(), run.preprocess
    console.print(
        Text.assemble("prepared: ", (plain(prepared.told), "yellow" if prepared.assumed else "dim")), soft_wrap=True
    )
    for line in tally.news:
        console.print(Text(plain(line), style="dim"), soft_wrap=True)


def _maps(statuses: dict[str, str]) -> Text:
    bad: dict[str, list[str]] = {}
    for method, status in statuses.items():
        if status != "ok":
            bad.setdefault(status, []).append(method)
    if not bad:
        return Text("ok", style="green")
    if len(bad) == 1 and len(next(iter(bad.values()))) == len(statuses):
        return Text(next(iter(bad)), style="yellow")
    return Text("; ".join(f"{', '.join(methods)}: {status}" for status, methods in bad.items()), style="yellow")


def _shortened(name: str, widest: int) -> str:
    """A name in so many columns of a terminal; of a longer one its beginning and its end, where files differ."""
    if cell_len(name) <= widest:
        return name
    start, end = set_cell_size(name, widest // 3).rstrip(), name
    while cell_len(end) > widest - widest // 3 - 1:
        end = end[1:]
    return f"{start}…{end}"


def _where(outcome: Outcome, output: Path, widest: int) -> Text:
    if not outcome.files:
        return Text("")
    best = (file for ending in _WORTH_OPENING for file in outcome.files if file.name.endswith(ending))
    chosen = next(best, outcome.files[0])
    more = "" if len(outcome.files) == 1 else f" (+{len(outcome.files) - 1})"
    name = _shortened(plain(chosen.relative_to(output)), widest - len(more))
    text = Text(name, style=f"link {chosen.absolute().as_uri()}")
    return text.append(more, style="dim")


def show_failures(tally: Tally) -> None:
    """Prints the pictures that failed, a line each, to stderr; at most `FAILURES_SHOWN`."""
    console = err()
    for outcome in tally.failed:
        line = Text.assemble(("failed: ", "bold red"), failure(outcome.path, outcome.error))
        console.print(line, soft_wrap=True)
    if (more := tally.count("failed") - FAILURES_SHOWN) > 0:
        console.print(
            Text(f"... and {more} more, all in the manifest", style="red"),
            soft_wrap=True,
        )


def show_summary(tally: Tally, run: FolderRun) -> None:
    """Prints one line on the run as a whole."""
    done, skipped, failed = (tally.count(state) for state in ("done", "skipped", "failed"))
    words = [f"{done} explained"]
    if skipped:
        words.append(f"{skipped} already done")
    if failed:
        words.append(f"{failed} failed")
    rate = f" ({speed(tally.rate)})" if done else ""
    layer = f", layer {plain(run.layer)}" if run.layer else ""  # unknown until the network has seen an input
    line = Text(f"{', '.join(words)} in {_seconds(tally.seconds)}{rate}{layer}", style="bold")
    line.append(f" -> {plain(run.settings.output)}/")
    console = out()
    console.print(line, soft_wrap=True)
    if done and (shares := run.stages.shares()):
        console.print(Text(f"the time went into {shares}", style="dim"), soft_wrap=True)
    _say_size(tally)
    if run.settings.shard is not None:
        hint(
            f"this was shard {run.settings.shard}; once all are done, the same command without --shard joins their"
            " manifests, and writes the page"
        )
    if run.page is not None and run.page != run.reports:
        console.print(_linked("look at ", run.page), soft_wrap=True)
    if run.reports is not None:
        console.print(_linked("all reports: ", run.reports), soft_wrap=True)


def _linked(words: str, page: Path) -> Text:
    return Text(words).append(plain(page), style=f"link {page.absolute().as_uri()}")


def _say_size(tally: Tally) -> None:
    """Tells of the smaller format where PNG makes much of JPEGs; see `cfcam.imaging.drawing.formats`."""
    if tally.written > max(_WORTH_SAVING, _LARGER * tally.read):
        times = tally.written / max(1, tally.read)
        hint(
            f"overlays as PNG take {tally.written / 1e6:.0f} MB, {times:.0f} times what their JPEGs do:"
            " --format jpg keeps them small"
        )


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 90 else duration(seconds)


def show_disclaimer() -> None:
    """Says once what the maps are not."""
    out().print(Text("For research use; cfcam is not a medical device.", style="dim"), soft_wrap=True)


def summary(tally: Tally, run: FolderRun, notes: list[str]) -> dict[str, Any]:
    """Returns the whole run as plain values, for ``--json``."""
    from dataclasses import asdict

    return {
        "output": str(run.settings.output),
        "page": None if run.page is None else str(run.page),
        "reports": None if run.reports is None else str(run.reports),
        "layer": run.layer,
        "explained": tally.count("done"),
        "already_done": tally.count("skipped"),
        "failed": tally.count("failed"),
        "seconds": round(tally.seconds, 3),
        "images_per_second": round(tally.rate, 3),
        "stages": run.stages.seconds,
        "slowest": run.stages.slowest,
        "prepared": run.preprocess.told,
        "preprocess": run.preprocess.as_dict(),
        "assumed": list(run.preprocess.assumptions),
        "notes": [*notes, *run.notes],
        "images": [
            {
                "path": str(outcome.path),
                "status": str(outcome.status),
                "error": outcome.error,
                "notices": list(outcome.notices),
                "channels": [{"channel": name, "file": file} for name, file in outcome.channels],
                "targets": [asdict(target) for target in outcome.targets],
                "probabilities": outcome.probabilities,
                "scale": outcome.scale,
                "files": [str(file) for file in outcome.files],
            }
            for outcome in tally.outcomes
        ],
    }
