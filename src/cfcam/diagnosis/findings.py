"""What a diagnosis says: findings, and the two ways in which they are shown."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from textwrap import fill
from typing import Any

_WIDTH = 100


class Severity(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    NOTE = "note"
    """Good to know, or not assessed."""
    WARNING = "warning"
    """Maps can be made, and may be empty, or mislead."""
    PROBLEM = "problem"
    """No map can be made, or what it shows is wrong."""


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        check: name of the check, such as "normalisation".
        severity: how much it matters.
        seen: what was measured, with its numbers.
        means: what follows from that, in plain words; empty where nothing does.
        advice: what to do: an option, a command or a line of code; empty if there is nothing to do.
        values: the numbers by name, plain values.
    """

    check: str
    severity: Severity
    seen: str
    means: str = ""
    advice: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [fill(f"{self.severity}: {self.check}: {self.seen}", _WIDTH, subsequent_indent="    ")]
        lines += [fill(self.means, _WIDTH, initial_indent="    ", subsequent_indent="    ")] if self.means else []
        lines += [f"    -> {self.advice}"] if self.advice else []
        return "\n".join(lines)


_ORDER = tuple(Severity)
_COLOURS = {Severity.OK: "#2e7d32", Severity.NOTE: "#0277bd", Severity.WARNING: "#b26a00", Severity.PROBLEM: "#b71c1c"}
_CELL = "padding:3px 10px 3px 0;vertical-align:top;text-align:left"


@dataclass(frozen=True)
class Diagnosis:
    """What was found about a model, an input and what is asked of them.

    Attributes:
        findings: in the order in which the checks were made.
        model: class of the model.
        layer: the layer that is mapped; None if there is none.
        input_shape: (N, C, *spatial) of what the network was run on; None if it could not be made.
        synthetic: whether that was made up, because no input was given.
    """

    findings: tuple[Finding, ...]
    model: str
    layer: str | None = None
    input_shape: tuple[int, ...] | None = None
    synthetic: bool = False

    @property
    def ok(self) -> bool:
        """Whether there is no problem; there may be warnings."""
        return self.severity is not Severity.PROBLEM

    @property
    def severity(self) -> Severity:
        """That of the gravest finding."""
        return max((f.severity for f in self.findings), key=_ORDER.index, default=Severity.OK)

    def of(self, severity: Severity | str) -> list[Finding]:
        """Returns the findings of one severity."""
        return [f for f in self.findings if f.severity == severity]

    def __getitem__(self, check: str) -> Finding:
        """Returns the gravest finding of a check; raises `KeyError` if it was not made."""
        found = [f for f in self.findings if f.check == check]
        if not found:
            raise KeyError(check)
        return max(found, key=lambda f: _ORDER.index(f.severity))

    def __contains__(self, check: object) -> bool:
        return any(f.check == check for f in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Returns all of it as plain values."""
        return {
            "ok": self.ok,
            "severity": str(self.severity),
            "model": self.model,
            "layer": self.layer,
            "input_shape": None if self.input_shape is None else list(self.input_shape),
            "synthetic": self.synthetic,
            "findings": [{**asdict(f), "severity": str(f.severity), "values": dict(f.values)} for f in self.findings],
        }

    @property
    def title(self) -> str:
        """One line on the whole: what was looked at, and how many findings there are of each severity."""
        counts = [f"{len(self.of(s))} {s}{'s' if len(self.of(s)) > 1 else ''}" for s in _ORDER[:0:-1] if self.of(s)]
        shape = "no input" if self.input_shape is None else f"input {self.input_shape}"
        made_up = " (made up)" if self.synthetic else ""
        layer = f", layer {self.layer}" if self.layer else ""
        return f"{self.model}, {shape}{made_up}{layer}: {', '.join(counts) or 'nothing found'}"

    def __str__(self) -> str:
        grave = sorted(self.findings, key=lambda f: -_ORDER.index(f.severity))
        return "\n".join([self.title, *map(str, grave)])

    def _repr_html_(self) -> str:
        """The findings as a table, gravest first, for a notebook."""
        grave = sorted(self.findings, key=lambda f: -_ORDER.index(f.severity))
        rows = "".join(map(_row, grave))
        return (
            f'<div style="font-size:90%"><b>{html.escape(self.title)}</b>'
            f'<table style="border-collapse:collapse;margin-top:6px">{rows}</table></div>'
        )


def _row(finding: Finding) -> str:
    badge = f'<b style="color:{_COLOURS[finding.severity]}">{finding.severity}</b>'
    told = html.escape(finding.seen)
    told += f"<br>{html.escape(finding.means)}" if finding.means else ""
    told += f"<br><code>{html.escape(finding.advice)}</code>" if finding.advice else ""
    cells = (badge, html.escape(finding.check), told)
    return "<tr>" + "".join(f'<td style="{_CELL}">{cell}</td>' for cell in cells) + "</tr>"


def ok(check: str, seen: str, **values: Any) -> Finding:
    """Returns a finding of a check that found nothing wrong."""
    return Finding(check, Severity.OK, seen, values=values)


def not_assessed(check: str, why: str, advice: str = "") -> Finding:
    """Returns a finding of a check that could not be made."""
    return Finding(check, Severity.NOTE, f"not assessed: {why}", "", advice)
