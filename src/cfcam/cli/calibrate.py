"""``cfcam calibrate``: are a network's probabilities frequencies, and by which temperature do they become so?"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from cfcam.cli.arguments import places
from cfcam.cli.command import Checked, Command
from cfcam.cli.output.console import hint, out, plain, print_json
from cfcam.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

_LABEL, _PATIENT = "label", "patient"


@dataclass(frozen=True, kw_only=True)
class Calibrate(Command):
    """Measure whether probabilities are frequencies, and fit a temperature.

    The numbers behind the temperature are of the cases that it was fitted on, and so a little too good.
    """

    examples: ClassVar[str] = """
**Example**

    cfcam calibrate predictions.csv --bins 10

predictions.csv, a column of logits for each class; of a multi-label network "label:nodule" and so on for "label":

    patient,label,no finding,nodule

    P1,nodule,-1.3,2.1
"""

    predictions: Annotated[
        Path,
        typer.Argument(help="CSV with a column of logits for each class, and labels.", show_default=False),
        Checked(places.file("")),
    ]
    bins: Annotated[int, typer.Option(help="Bins of the calibration errors.", min=1, max=1000)] = 15
    resamples: Annotated[int, typer.Option(help="Draws of the intervals, by patient.", min=100, max=100000)] = 500
    seed: Annotated[int, typer.Option(help="Of the draws.", min=0)] = 0
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False

    def __call__(self) -> None:
        """Shows the errors as given and with the temperature."""
        rows = _read(self.predictions)

        from cfcam.clinical import calibration

        logits, labels, patients = _tensors(*rows)
        kind: Any = "sigmoid" if labels.ndim == 2 else "softmax"
        temperature = calibration.bootstrap_by_patient(
            calibration.fit_temperature, logits, labels, patients, resamples=self.resamples, seed=self.seed
        )

        def numbers(divisor: float) -> dict[str, float]:
            p = calibration.calibrated(logits, divisor, kind)
            return {
                "expected calibration error": calibration.expected_calibration_error(p, labels, self.bins),
                "of bins of equal mass": calibration.expected_calibration_error(p, labels, self.bins, "mass"),
                "maximum calibration error": calibration.maximum_calibration_error(p, labels, self.bins),
                "Brier score": calibration.brier_score(p, labels),
                "negative log-likelihood": calibration.negative_log_likelihood(p, labels),
            }

        before, after = numbers(1.0), numbers(temperature.value)
        if self.as_json:
            known = {
                name: None if isinstance(v, float) and math.isnan(v) else v for name, v in vars(temperature).items()
            }
            print_json({"temperature": known, "as given": before, "with the temperature": after, "bins": self.bins})
            return
        _show(
            before, after, calibration.reliability_table(calibration.calibrated(logits, 1.0, kind), labels, self.bins)
        )
        interval = "" if math.isnan(temperature.low) else f" [{temperature.low:.3f}, {temperature.high:.3f}]"
        who = "cases" if patients is None else "patients"
        out().print(
            f"temperature {temperature.value:.3f}{interval}, {temperature.n} cases, {temperature.patients} {who}"
        )
        if patients is None:
            hint("there is no column 'patient': each case counts as a patient of its own")


def _show(before: dict[str, float], after: dict[str, float], reliability: Any) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("", "as given", "with the temperature"):
        table.add_column(title, justify="left" if not title else "right", no_wrap=True)
    for name, value in before.items():
        table.add_row(name, f"{value:.4f}", f"{after[name]:.4f}")
    console = out()
    console.print(reliability.to_text(), end="\n\n")
    console.print(table)


Rows = tuple[list[list[float]], list[int] | list[list[float]], list[str] | None]


def _read(path: Path) -> Rows:
    """Returns logits (n, classes), labels (n,) or (n, classes), and the patient of each case; torch is not imported."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            rows, columns = list(reader), list(reader.fieldnames or [])
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise InputError(f"{plain(path.name)} cannot be read as CSV ({type(problem).__name__}): check it") from problem
    several = [name for name in columns if name.startswith(f"{_LABEL}:")]
    classes = [name for name in columns if name not in (_LABEL, _PATIENT, *several)]
    wanted = [f"{_LABEL}:{name}" for name in classes]
    if not rows or not classes or (_LABEL in columns) == bool(several) or (several and set(several) != set(wanted)):
        raise InputError(
            f"{plain(path.name)}: give a column of logits for each class, named as the class, and 'label' (a class's"
            " name or number), or 'label:CLASS' (0, 1 or empty) for each class of a multi-label network"
        )
    logits = [[_number(row, name, n) for name in classes] for n, row in enumerate(rows, 2)]
    labels: list[int] | list[list[float]]
    if several:
        labels = [[_number(row, name, n, True) for name in wanted] for n, row in enumerate(rows, 2)]
    else:
        labels = [_index(row[_LABEL], classes, n) for n, row in enumerate(rows, 2)]
    return logits, labels, [row[_PATIENT] or "" for row in rows] if _PATIENT in columns else None


def _tensors(
    logits: list[list[float]], labels: list[int] | list[list[float]], patients: list[str] | None
) -> tuple[Tensor, Tensor, list[str] | None]:
    import torch

    return torch.tensor(logits, dtype=torch.float64), torch.tensor(labels), patients


def _number(row: dict[str, Any], column: str, line: int, unknown: bool = False) -> float:
    text = (row[column] or "").strip()
    if unknown and not text:
        return math.nan
    try:
        return float(text)
    except ValueError:
        raise InputError(f"line {line}, column {plain(column)}: a number is missing") from None


def _index(label: str | None, classes: Sequence[str], line: int) -> int:
    text = (label or "").strip()
    if text in classes and len(classes) > 1:
        return classes.index(text)
    if text.isdecimal() and int(text) < max(2, len(classes)):
        return int(text)
    raise InputError(f"line {line}: the label is neither a class of the file nor a class's number, counted from 0")
