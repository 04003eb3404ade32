"""The page of an evidence pack: one file that stands by itself, to be read on a screen or on paper."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from cfcam._version import __version__
from cfcam.clinical.checks.results import Outcome
from cfcam.jobs.evaluate.findings import Findings
from cfcam.jobs.evaluate.page import table
from cfcam.jobs.evaluate.words import CONTROL_WORDS, meaning
from cfcam.jobs.evidence.card import FIELDS, NOT_STATED
from cfcam.jobs.evidence.trace import Traced
from cfcam.metrics.scorecard.card import format_number
from cfcam.metrics.scorecard.catalogue import METRICS

FILES = {
    "protocol.json": "rules and settings, with their SHA-256 and the time they were fixed",
    "results.json": "what became of each rule; performance, calibration, repeatability, gallery",
    "cases.jsonl": "the numbers of each case",
    "scorecard/": "the whole scorecard with its page, tables and figures",
    "model_card.json": "the network, and what its makers state",
    "data_sheet.json": "counts of the data",
    "inputs.csv": "SHA-256 of every input",
    "environment.json": "platform and exact versions",
    "environment.lock.txt": "the same versions for pip",
    "sbom.cdx.json": "bill of materials, CycloneDX 1.6",
    "dicom/": "objects of a drawn radiograph, and what validators say of them",
    "traceability.csv": "requirement, test, result",
    "audit_certificate.json": "head of the audit, if one was named",
    "MANIFEST.sha256": "SHA-256 of every file; cfcam evidence verify reads it",
}
"""Files of a pack -> what they hold."""

FAMILIES = {
    "sanity": "Does the map depend on what the network has learned, and on the class?",
    "organ": "Does the map lie where it may? Share of the assessed cases that the check flagged.",
    "artefact": "Does it rest on a device, a border or a marker? Share of the assessed cases that were flagged.",
    "artefact removed": "What becomes of it when that is filled in? Share of the assessed cases that were flagged.",
    "findings": "Does it hit every finding? Share of the assessed cases that were flagged.",
    "test-retest": "Does it hold still under small changes? Share of the assessed cases that were flagged.",
    "network": "Is the network right, and are its probabilities frequencies?",
}
"""Families of rules -> what they ask."""

_FEW = 30


def render(
    contents: Mapping[str, Any],
    findings: Findings,
    traces: Sequence[Traced],
    pictures: Mapping[tuple[str, str], bytes],
    notes: Sequence[str],
) -> str:
    """Returns the page as HTML without anything to be fetched.

    Args:
        contents: what the machine files hold, by name.
        findings: of the scorecard.
        traces: requirements with results.
        pictures: kind and case of the gallery -> JPEG.
        notes: what a reader should know.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "estimate": estimate, "share": share, "plain": plain}
    results = contents["results"]
    return environment.get_template("evidence.html.j2").render(
        **contents,
        version=__version__,
        fields=FIELDS,
        not_stated=NOT_STATED,
        unstated=sum(value == NOT_STATED for value in contents["card"]["stated"].values()),
        tally={outcome.value: _count(results["rules"], outcome) for outcome in Outcome},
        families=_families(results["rules"]),
        family_words=FAMILIES,
        flagged=[rule for rule in results["rules"] if rule["outcome"] == Outcome.FLAG.value],
        headlines=table(findings, [METRICS[name] for name in findings.headlines()]),
        sanity=table(findings, [METRICS[name] for name in findings.card.metrics if METRICS[name].group == "sanity"]),
        meaning=meaning,
        titles={name: info.title for name, info in METRICS.items()},
        control_words={name: CONTROL_WORDS.get(name, "") for name in findings.card.controls},
        traces=traces,
        traced={
            result: sum(one.result == result for one in traces) for result in dict.fromkeys(t.result for t in traces)
        },
        shown=_gallery(results["gallery"], pictures),
        notes=notes,
        cautions=cautions(contents),
        files=FILES,
    )


def _count(rules: Sequence[Mapping[str, Any]], outcome: Outcome) -> int:
    return sum(rule["outcome"] == outcome.value for rule in rules)


def _families(rules: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """The rules by what they are about, flagged ones first."""
    order = {Outcome.FLAG.value: 0, Outcome.NOT_ASSESSED.value: 1, Outcome.PASS.value: 2}
    families: dict[str, list[dict[str, Any]]] = {}
    for rule in rules:
        name = rule["name"].removeprefix("all cases: ")
        family, _, rest = name.partition(": ")
        families.setdefault(family, []).append({**rule, "short": rest or name})
    return [(name, sorted(several, key=lambda rule: order[rule["outcome"]])) for name, several in families.items()]


def _gallery(
    entries: Sequence[Mapping[str, Any]], pictures: Mapping[tuple[str, str], bytes]
) -> list[tuple[str, list[Any]]]:
    kinds: dict[str, list[Any]] = {}
    for entry in entries:
        jpeg = pictures.get((entry["kind"], entry["case"]))
        source = None if jpeg is None else f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"
        kinds.setdefault(entry["kind"], []).append({**entry, "source": source, "number": _number_of(entry["kind"])})
    return list(kinds.items())


def _number_of(kind: str) -> str:
    """What the number below a picture of the gallery is."""
    if kind.startswith("worst map by "):
        return kind.removeprefix("worst map by ")
    words = {
        "wrong with the highest probability": "probability",
        "most energy in the artefact": "share of energy",
        "least repeatable map": "mean soft IoU",
    }
    return words.get(kind, "")


def cautions(contents: Mapping[str, Any]) -> list[str]:
    """Returns what weakens this very pack, in words."""
    data, results = contents["data"], contents["results"]
    units, kind = (data["patients"], "patients") if data["patients"] else (data["read"], "cases")
    found = []
    if units < _FEW:
        found.append(
            f"It rests on {units} {kind}: the intervals are wide. {_FEW} or better some hundreds make a statement."
        )
    if not data["patients"]:
        found.append(
            "No patients are named in the data: with several pictures of a patient the intervals are too narrow."
        )
    if data["not_measured"]:
        found.append(
            f"{len(data['not_measured'])} of {data['cases']} cases were not measured; they may be the difficult ones."
        )
    if data["same_picture_more_than_once"]:
        found.append(f"{data['same_picture_more_than_once']} pictures are in the data more than once.")
    if not results["performance"]["assessed"]:
        found.append("Whether the network is right was not measured: " + results["performance"]["reason"] + ".")
    if len([label for label in data["labels"] if label != "not stated"]) == 1:
        found.append("All labelled cases are of one class: how the network tells classes apart was not measured.")
    if contents["deviations"]:
        found.append(
            f"The protocol was changed {len(contents['deviations'])} times after it was fixed: see its deviations."
        )
    return found


def number(value: Any) -> str:
    """Returns a number for people, or a dash."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return str(value) if isinstance(value, (int, str)) else format_number(float(value))


def share(value: Any) -> str:
    """Returns a share in percent, or a dash."""
    return "–" if value is None else f"{100 * value:.1f} %"


def estimate(value: Mapping[str, Any] | None) -> str:
    """Returns a number with its interval."""
    if value is None or value["value"] is None:
        return "–"
    ends = [value.get("low"), value.get("high")]
    if any(end is None or math.isnan(end) for end in ends):
        return f"{number(value['value'])} (no interval)"
    return f"{number(value['value'])} [{number(ends[0])}, {number(ends[1])}]"


def plain(value: Any) -> str:
    """Returns plain values as one line of text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
