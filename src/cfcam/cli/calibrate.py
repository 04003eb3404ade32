"""``cfcam calibrate``: are a network's probabilities frequencies, and by which temperature do they become so?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from cfcam.cli.arguments import places
from cfcam.cli.command import Checked, Command
from cfcam.cli.output.console import hint, out, print_json
from cfcam.shown import counted

if TYPE_CHECKING:
    pass


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
        from cfcam.clinical.predictions import read_predictions, to_tensors

        rows = read_predictions(self.predictions)  # before torch is imported

        from cfcam.clinical import calibration

        logits, labels, patients = to_tensors(*rows)
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
            f"temperature {temperature.value:.3f}{interval}, {counted(temperature.n, 'case')},"
            f" {temperature.patients} {who}"
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
