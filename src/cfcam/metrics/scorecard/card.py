"""The scorecard: rows of numbers, and what may be said of them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from cfcam import csv_text
from cfcam.capture.answers.probabilities import Probability
from cfcam.files import without_nan
from cfcam.methods.base import Methods
from cfcam.metrics.scorecard import dataset_level
from cfcam.metrics.scorecard.catalogue import METRICS, MetricError, MetricInfo
from cfcam.metrics.scorecard.curves import MeanCurve, mean_curves
from cfcam.metrics.scorecard.evaluator import Evaluator
from cfcam.metrics.scorecard.left_out import left_out
from cfcam.metrics.scorecard.rows import Rows
from cfcam.metrics.scorecard.samples import Row, as_samples, batches
from cfcam.metrics.scorecard.statistics import bootstrap_interval, holm, paired_difference

if TYPE_CHECKING:
    import pandas as pd

IDENTITY = ("image", "patient", "group", "method", "target", "target_name", "probability", "correct", "status")


@dataclass(frozen=True)
class Summary:
    """One method's number.

    Attributes:
        method: name.
        metric: name.
        mean: over the images assessed; NaN: none was.
        low, high: 95 % bootstrap interval (BCa, by patient); NaN where it is not defined.
        n: images assessed.
        not_assessed: images without a number: no evidence in the map, no ground truth, a metric that does not apply.
    """

    method: str
    metric: str
    mean: float
    low: float
    high: float
    n: int
    not_assessed: int


@dataclass(frozen=True)
class Comparison:
    """One method beside another, on the images where both were assessed.

    Attributes:
        method, reference: names.
        metric: name.
        difference: mean of method - reference.
        low, high: 95 % bootstrap interval by patient.
        p: of a paired sign-flip test by patient.
        p_holm: adjusted for all comparisons of the table.
        n: images.
        verdict: "better", "worse" or "no difference shown" at 0.05 after Holm.
    """

    method: str
    reference: str
    metric: str
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    n: int
    verdict: str


@dataclass(frozen=True)
class Scorecard:
    """What each method's maps are worth on a data set.

    Attributes:
        rows: one per image and method.
        metrics: names, in the order of the catalogue.
        controls: names of the methods that are there for comparison.
        costs: method -> milliseconds, forward passes and peak memory of an image; the calls that the time is the median
            of, and the load of the machine before them.
        info: how it was made: settings, methods and their parameters, model, versions.
        failed: name of an image -> why it is not in the table.
    """

    rows: Sequence[Row]
    metrics: tuple[str, ...]
    controls: tuple[str, ...] = ()
    costs: dict[str, dict[str, float]] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", Rows.of(self.rows))

    @property
    def by_column(self) -> Rows:
        """The rows, to be asked for columns."""
        return Rows.of(self.rows)

    @property
    def methods(self) -> list[str]:
        """Names of the methods, controls last."""
        return self.by_column.texts("method")

    @property
    def images(self) -> int:
        """How many images were assessed."""
        return len(self.by_column.texts("image"))

    def summary(self, *, resamples: int = 2000) -> list[Summary]:
        """Returns the table of methods and metrics.

        Args:
            resamples: of the bootstrap.
        """
        lines, rows = [], self.by_column
        patients = rows.patients
        for method in self.methods:
            own = rows.where("method", method)
            for name in self.metrics:
                info = METRICS[name]
                if info.dataset:
                    mean, n = self._of_all(info, method, rows.take(own))
                    lines.append(Summary(method, name, mean, math.nan, math.nan, n, 0))
                    continue
                interval = bootstrap_interval(rows.values(name)[own], patients[own], resamples=resamples)
                lines.append(
                    Summary(method, name, interval.mean, interval.low, interval.high, interval.n, len(own) - interval.n)
                )
        return lines

    def _of_all(self, info: MetricInfo, method: str, rows: Rows) -> tuple[float, int]:
        if info.group == "cost":
            return self.costs.get(method, {}).get(info.name, math.nan), len(rows)
        return dataset_level.NUMBERS[info.name](rows)

    def compare(
        self,
        reference: str = "grad-cam",
        methods: Iterable[str] | None = None,
        metrics: Iterable[str] | None = None,
        *,
        resamples: int = 2000,
    ) -> list[Comparison]:
        """Returns paired differences from a reference, with Holm's correction over all of them.

        Args:
            reference: name of a method.
            methods: names; None: all that are no controls.
            metrics: names; None: all that are numbers of single images.
            resamples: of the bootstrap.

        Raises:
            KeyError: there is no such method in the table.
            MetricError: images share a name, so that nothing says which are pairs.
        """
        rows = self.by_column
        images, patients, there = rows.codes("image"), rows.patients, self.methods
        if (name := rows.repeated) is not None:
            raise MetricError(f"several rows of one method are of an image called {name!r}: give each its own name")
        if reference not in there:
            raise KeyError(reference)
        base = rows.where("method", reference)
        place = np.full(int(images.max(initial=-1)) + 1, -1)  # of an image's row of the reference
        place[images[base]] = base
        measured, found = tuple(metrics or self._columns), list[tuple[str, str, Any]]()
        for method in methods or [m for m in there if m not in self.controls]:
            if method not in there:
                raise KeyError(method)
            if method == reference:
                continue
            own = rows.where("method", method)
            own = own[place[images[own]] >= 0]
            for metric in measured:
                values = rows.values(metric)
                ours, theirs = values[own], values[place[images[own]]]
                if np.isfinite(ours - theirs).any():
                    found.append((method, metric, paired_difference(ours, theirs, patients[own], resamples=resamples)))
        adjusted = holm([d.p for _, _, d in found])
        return [
            Comparison(
                method,
                reference,
                metric,
                d.mean,
                d.low,
                d.high,
                d.p,
                float(p),
                d.n,
                _verdict(METRICS[metric], d.mean, p),
            )
            for (method, metric, d), p in zip(found, adjusted, strict=True)
        ]

    def curves(self, *, resamples: int = 2000) -> list[MeanCurve]:
        """Returns the mean curves behind insertion, deletion and ROAD, as far as they were asked for and kept.

        Args:
            resamples: of the bootstrap by patient.
        """
        return mean_curves(self.by_column, self.by_column.patients, resamples=resamples)

    def empty(self) -> dict[str, dict[str, int]]:
        """Returns method -> status -> how many maps could not be read, and are in no mean."""
        rows = self.by_column
        methods = {method: rows.where("method", method) for method in self.methods}
        statuses = [(status, rows.where("status", status)) for status in rows.texts("status") if status != "ok"]
        return {
            method: {status: n for status, there in statuses if (n := len(np.intersect1d(own, there)))}
            for method, own in methods.items()
        }

    def to_frame(self) -> pd.DataFrame:
        """Returns the tidy table: one line per image and method.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("to_frame() needs pandas: pip install pandas") from error
        return pd.DataFrame([self._flat(row) for row in self.rows], columns=[*IDENTITY, *self._columns])

    @property
    def _columns(self) -> list[str]:
        return [name for name in self.metrics if not METRICS[name].dataset]

    def _flat(self, row: Row) -> dict[str, Any]:
        plain = {name: getattr(row, name) for name in IDENTITY}
        return plain | {name: row.values.get(name) for name in self._columns}

    def left_out(self) -> list[str]:
        """Returns what some numbers were measured without, a sentence each; see `peak-shift`."""
        return left_out(self.by_column, self.metrics)

    def save_rows(self, path: str | Path) -> Path:
        """Writes one line per image and method as CSV; what was not assessed is empty."""
        target = Path(path)
        with target.open("w", newline="", encoding="utf-8") as file:
            writer = csv_text.Writer(file)
            columns = [*IDENTITY, *self._columns]
            writer.write(columns)
            for row in self.rows:
                writer.write(self._flat(row).values())
        return target

    def to_json(self, summary: Sequence[Summary] | None = None, comparison: Sequence[Comparison] | None = None) -> str:
        """Returns summary, comparison with Grad-CAM, costs, failures and provenance as JSON; NaN becomes null.

        Args:
            summary: of `summary`, where that is known; of very many images it takes long.
            comparison: of `compare`, likewise.
        """
        if comparison is None:
            comparison = self.compare() if "grad-cam" in self.methods else []
        record = {
            "images": self.images,
            "metrics": [asdict(METRICS[name]) for name in self.metrics],
            "summary": [asdict(line) for line in (self.summary() if summary is None else summary)],
            "comparison": [asdict(line) for line in comparison],
            "not_readable": self.empty(),
            "left_out": self.left_out(),
            "failed": self.failed,
            "info": self.info,
        }
        return json.dumps(without_nan(record), indent=1)

    def to_markdown(self, metrics: Iterable[str] | None = None) -> str:
        """Returns the summary as a Markdown table: methods in rows, ``mean [low, high]`` in the cells."""
        names = list(metrics or self.metrics)
        cells = {(line.method, line.metric): line for line in self.summary()}
        head = [f"{METRICS[m].title} {METRICS[m].arrow}".strip() for m in names]
        lines = [f"| method | {' | '.join(head)} |", f"|---|{'---|' * len(names)}"]
        for method in self.methods:
            shown = f"*{method}*" if method in self.controls else method
            lines.append(f"| {shown} | {' | '.join(told(cells[method, m]) for m in names)} |")
        return "\n".join(lines)


def told(line: Summary) -> str:
    """Returns a number of the summary with its interval, and n where some images were not assessed."""
    if math.isnan(line.mean):
        return "not assessed"
    text = format_number(line.mean)
    if not math.isnan(line.low):
        text += f" [{format_number(line.low)}, {format_number(line.high)}]"
    return f"{text} (n={line.n})" if line.not_assessed else text


def format_number(value: float) -> str:
    """Returns three significant figures, without an exponent."""
    if not math.isfinite(value):
        return "–" if math.isnan(value) else "∞" if value > 0 else "−∞"
    digits = 2 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:z.{min(digits, 3)}f}"  # what rounds to 0 has no sign


def _verdict(info: MetricInfo, difference: float, p: float) -> str:
    if not p < 0.05 or info.higher_is_better is None:
        return "no difference shown"
    return "better" if (difference > 0) == info.higher_is_better else "worse"


def evaluate(
    model: nn.Module,
    dataset: Iterable[Any],
    methods: Methods = ("cf-cam", "grad-cam"),
    metrics: str | Iterable[str] = "quick",
    *,
    controls: bool = True,
    layer: str | None = None,
    classes: Sequence[str] | None = None,
    probability: Probability = "auto",
    output: str | int | None = None,
    batch_size: int = 8,
    limit: int | None = None,
    progress: Callable[[int], None] | None = None,
    retrained: nn.Module | None = None,
    other: nn.Module | None = None,
    **settings: Any,
) -> Scorecard:
    """Measures what methods' maps are worth on a data set.

    Args:
        model: any `torch.nn.Module` that classifies images; it is never changed.
        dataset: of `cfcam.metrics.Sample`, images (C, *spatial), or (image, label[, ground truth]) tuples.
        methods: as for `cfcam.explain`.
        metrics: names of metrics or groups, "quick" or "all".
        controls: add the maps that know nothing or little.
        layer: name of the target layer; None: chosen automatically.
        classes: class names.
        probability: "softmax", "sigmoid" (multi-label), "given" or "auto"; see `cfcam.Explainer`.
        output: which tensor holds the class scores; see `cfcam.Explainer`.
        batch_size: images in one pass.
        limit: at most this many images.
        progress: called with the number of images done so far.
        retrained: the same architecture trained again, for "repeatability".
        other: another architecture, for "reproducibility".
        **settings: of `cfcam.metrics.Settings`: explained, black, white, steps, threshold, overlap, stages, draws,
            seed, passes_at_once.

    Returns:
        The scorecard.

    Raises:
        MetricError: a metric or a setting is unknown, or lacks what it needs; a number is out of its range.
        CfcamError: the network cannot be explained on these images.
    """
    for name, value, least in (("batch_size", batch_size, 1), ("limit", limit, 0)):
        if (value is not None or name != "limit") and (not isinstance(value, int) or value < least):
            raise MetricError(f"{name} is {value!r}: it must be a whole number, at least {least}")
    evaluator = Evaluator(
        model,
        methods,
        metrics,
        controls=controls,
        layer=layer,
        classes=classes,
        probability=probability,
        output=output,
        retrained=retrained,
        other=other,
        **settings,
    )
    rows = Rows()
    done = 0
    for batch in batches(islice(as_samples(dataset), limit), batch_size):
        rows.extend(evaluator(batch))
        done += len(batch)
        if progress is not None:
            progress(done)
    return scorecard(evaluator, rows)


def scorecard(evaluator: Evaluator, rows: Sequence[Row], failed: dict[str, str] | None = None) -> Scorecard:
    """Returns the scorecard of an evaluator's rows."""
    info = {
        "settings": asdict(evaluator.settings),
        "methods": {name: method.parameters() for name, method in evaluator.methods.items()},
        "layer": evaluator.layer_name,
        "torch": str(torch.__version__),
        **({"notes": notes} if (notes := evaluator.told()) else {}),
    }
    return Scorecard(rows, evaluator.settings.metrics, evaluator.controls, evaluator.costs or {}, info, failed or {})
