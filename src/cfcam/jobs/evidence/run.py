"""An evidence pack: everything that documents what a network's maps are worth, in one folder that can be checked.

It supports documentation and validation. It states no compliance with any regulation.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from cfcam import csv_text
from cfcam._version import __version__
from cfcam.clinical.checks.results import CheckResult, count_outcomes
from cfcam.errors import CfcamError
from cfcam.explainer import Explainer
from cfcam.files import digest, own_output, write_json, write_whole
from cfcam.jobs.engine.inference import named_layer
from cfcam.jobs.evaluate.cases import drawn
from cfcam.jobs.evaluate.page import write_report
from cfcam.jobs.evaluate.run import EvaluationRun
from cfcam.jobs.evaluate.settings import EvaluationSettings
from cfcam.jobs.evidence import card
from cfcam.jobs.evidence.cases import EvidenceCase
from cfcam.jobs.evidence.dicom import validated
from cfcam.jobs.evidence.files import EvidenceError, seal
from cfcam.jobs.evidence.measure import CaseRecord, CasesFile, Measuring, measure_all
from cfcam.jobs.evidence.page import render
from cfcam.jobs.evidence.performance import performance
from cfcam.jobs.evidence.protocol import Protocol, fix
from cfcam.jobs.evidence.results import ARTEFACT, data_sheet, gallery, repeatability
from cfcam.jobs.evidence.rules import check_results, judged, primary_of
from cfcam.jobs.evidence.settings import PRIMARY, SANITY, EvidenceSettings
from cfcam.jobs.evidence.software import bill_of_materials, check_installed, environment, lock
from cfcam.jobs.evidence.trace import table, traced
from cfcam.jobs.inputs.preparing import prepared_for
from cfcam.metrics.scorecard.card import Scorecard
from cfcam.metrics.scorecard.catalogue import resolve_metrics
from cfcam.models import LoadedModel, model_name

if TYPE_CHECKING:
    from cfcam.clinical.audit.audit import Audit

PAGE = "index.html"


@dataclass(frozen=True)
class Pack:
    """What was made.

    Attributes:
        page: to be read by people.
        rules: what became of each.
        manifest_sha256: of the list of files; keep it where nobody who may write the pack can change it.
        failed: cases that were not measured.
        cases: all of them.
        notes: what a user should know.
    """

    page: Path
    rules: tuple[CheckResult, ...]
    manifest_sha256: str
    failed: int
    cases: int
    notes: tuple[str, ...]


class EvidenceRun:
    """Makes an evidence pack; a run that was stopped goes on where it was when it is made again with the same settings.

    The protocol is written before anything is measured. Then follow ``scorecard``, `measure` and `finish`.

    Args:
        model: the network.
        cases: see `cfcam.jobs.evidence.cases`.
        settings: what is measured, and what the user states.
        output: the folder of the pack.

    Attributes:
        scorecard: the evaluation, to be run first.
        fixed: the protocol as it lies in the folder.
        cases: those that are measured, in the order of their numbers.

    Raises:
        CfcamError: the settings do not fit the network, the folder holds another protocol, or a file that the user
            names cannot be used.
    """

    def __init__(
        self, model: LoadedModel, cases: Sequence[EvidenceCase], settings: EvidenceSettings, output: str | Path
    ) -> None:
        check_installed()
        self.preprocess = prepared_for(model, settings.preprocess)
        self.settings, self.output = settings, Path(output)
        self.stated = card.stated(settings.card)
        self.traced = traced(settings.junit)
        if settings.record is not None:
            _audit(settings.record)
        if settings.retests < 0 or settings.gallery < 0:
            raise EvidenceError(f"{settings.retests} retests and a gallery of {settings.gallery}: give 0 or more")
        name = model_name(model.spec)
        notes = tuple(name.join(map(card.without_folders, note.split(model.spec))) for note in model.notes)
        self._model = replace(model, spec=name, notes=notes)
        chosen = {case.name for case in drawn(cases, settings.limit, settings.seed)}
        self.cases = [case for case in cases if case.name in chosen]
        self._explainer = Explainer(
            model.module,
            [settings.method],
            layer=named_layer(settings.layer),
            classes=model.classes,
            probability=model.probability,
            output=model.output,
            fingerprint=True,
        )
        evaluation = EvaluationSettings(
            methods=(settings.method,),
            metrics=resolve_metrics([*settings.metrics, *SANITY]),
            explained=settings.explained,
            layer=self._layer(),
            preprocess=self.preprocess,
            limit=settings.limit,
            seed=settings.seed,
            batch_size=settings.batch_size,
            data=settings.data,
        )
        evaluation.check()
        self.protocol = self._protocol(evaluation)
        with self._alone():
            self.fixed = fix(self.output, self.protocol, settings.deviation)
        self.scorecard = self._evaluation(cases, evaluation)
        self.notes = list(dict.fromkeys([*self._model.notes, *self.scorecard.notes]))

    def measure(self, progress: Callable[[int, int], None] | None = None) -> list[CaseRecord]:
        """Measures predictions, checks and repeatability, case by case.

        Args:
            progress: told how many cases are done, and of how many.
        """
        with self._alone():
            file = CasesFile(self.output, self.fixed.sha256)
            return measure_all(self.cases, self._measuring(), file, progress or (lambda done, total: None))

    def finish(self, scored: Scorecard, records: Sequence[CaseRecord]) -> Pack:
        """Judges the rules, writes all files and seals them.

        Args:
            scored: of ``scorecard``.
            records: of `measure`.
        """
        with self._alone():
            return self._finished(scored, records)

    def _alone(self) -> AbstractContextManager[None]:
        return own_output(self.output, EvidenceError, shown=self.output.name)

    def _finished(self, scored: Scorecard, records: Sequence[CaseRecord]) -> Pack:
        names = self._names(records)
        examples = self.scorecard.examples() if self.settings.pictures else ()
        findings, _ = write_report(scored, self.output / "scorecard", examples)
        performed = performance(records, names, self.settings.seed)
        rules = judged(self.protocol, findings, records, performed)
        primary = primary_of(self.protocol, findings)
        shown = gallery(self.protocol, records, self._values(scored, primary), primary, names)
        contents: dict[str, Any] = {
            "protocol": {**self.protocol.as_dict(), "sha256": self.fixed.sha256, "fixed": self.fixed.time},
            "deviations": list(self.fixed.deviations),
            "card": {"stated": self.stated, "network": self._described(names)},
            "data": data_sheet(records, names) | {"described": self.settings.data},
            "results": {
                "protocol_sha256": self.fixed.sha256,
                "cfcam": __version__,
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                "rules": [rule.as_dict() for rule in rules],
                "primary": primary,
                "performance": performed,
                "repeatability": repeatability(records, self.settings.seed),
                "checks": count_outcomes(check_results(records)),
                "gallery": shown,
            },
            "environment": environment(),
            "dicom": validated(self.output / "dicom"),
            "audit": None if self.settings.record is None else certified(self.settings.record),
        }
        self._write(contents, records, names)
        pictures = self._pictures(shown) if self.settings.pictures else {}
        page = render(contents, findings, self.traced, pictures, self.notes)
        write_whole(self.output / PAGE, page.encode("utf-8"))
        manifest = seal(self.output)
        if self.settings.record is not None:
            self._enter(manifest, self.settings.record)
        failed = sum("failed" in record for record in records)
        return Pack(self.output / PAGE, tuple(rules), manifest, failed, len(records), tuple(self.notes))

    def _layer(self) -> str:
        shape = (1, self.preprocess.channels, *self.preprocess.input_size)
        return self._explainer.layer_for(torch.randn(shape, generator=torch.Generator().manual_seed(0)))

    def _measuring(self) -> Measuring:
        classes = self._model.classes
        return Measuring(self._explainer, self.preprocess, self.protocol, classes)

    def _protocol(self, evaluation: EvaluationSettings) -> Protocol:
        settings = self.settings
        of_cases = [
            {"case": case.name, "patient": case.patient, "group": case.group, **case.hashes()} for case in self.cases
        ]
        provenance = self._explainer.provenance()
        return Protocol(
            method=settings.method,
            metrics=evaluation.metrics,
            primary=PRIMARY,
            explained=settings.explained,
            seed=settings.seed,
            limit=settings.limit,
            retests=settings.retests,
            gallery=settings.gallery,
            rules=settings.rules,
            limits=settings.limits,
            model={
                **provenance["model"],
                "layer": str(evaluation.layer),
                "classes": list(self._model.classes or ()),
                "probability": provenance["probability"],
                "preprocess": self.preprocess.as_dict(),
                "parameters_of_method": provenance["methods"][settings.method],
            },
            data={"cases": len(self.cases), "sha256": digest(of_cases)},
        )

    def _evaluation(self, cases: Sequence[EvidenceCase], settings: EvaluationSettings) -> EvaluationRun:
        """The scorecard's run: begun anew where the numbers that lie there are of another protocol."""
        mark = self.output / "scorecard" / "protocol.txt"
        own = f"{self.fixed.sha256}\n".encode()
        again = mark.exists() and mark.read_bytes() == own
        run = EvaluationRun(self._model, cases, replace(settings, overwrite=not again), mark.parent)
        write_whole(mark, own)
        return run

    def _names(self, records: Sequence[CaseRecord]) -> list[str]:
        if self._model.classes is not None:
            return list(self._model.classes)
        outputs = next((len(record["probabilities"]) for record in records if "probabilities" in record), 0)
        return [f"class {k}" for k in range(outputs)]

    def _described(self, names: list[str]) -> dict[str, Any]:
        return card.described(
            self._model.module,
            spec=self._model.spec,
            sha256=self._explainer.fingerprint(),
            classes=names,
            layer=str(self.scorecard.layer),
            probability=str(self._explainer.provenance()["probability"]),
            preprocess=self.preprocess,
        )

    def _values(self, scored: Scorecard, metric: str | None) -> dict[str, float | None]:
        if metric is None:
            return {}
        return {row.image: row.values.get(metric) for row in scored.rows if row.method == self.settings.method}

    def _pictures(self, shown: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], bytes]:
        cases = {case.name: case for case in self.cases}
        measuring, found = self._measuring(), {}
        for entry in shown:
            kind, name = entry["kind"], entry["case"]
            try:
                found[kind, name] = measuring.picture(cases[name], with_artefact=kind == ARTEFACT)
            except CfcamError as error:
                self.notes.append(f"{name} cannot be shown: {error}")
        return found

    def _write(self, contents: Mapping[str, Any], records: Sequence[CaseRecord], names: Sequence[str]) -> None:
        folder, audit = self.output, contents["audit"]
        described = contents["environment"]
        write_json(folder / "model_card.json", contents["card"])
        write_json(folder / "data_sheet.json", contents["data"])
        write_json(folder / "results.json", contents["results"])
        write_json(folder / "environment.json", described)
        write_json(folder / "dicom" / "validation.json", contents["dicom"])
        bill = bill_of_materials(
            {"name": self._model.spec, "sha256": self._explainer.fingerprint()}, datetime.fromisoformat(self.fixed.time)
        )
        texts = {
            "environment.lock.txt": lock(described),
            "sbom.cdx.json": bill,
            "inputs.csv": _inputs(records, names),
            "traceability.csv": table(list(self.traced)),
        }
        for name, text in texts.items():
            write_whole(folder / name, text.encode("utf-8"))
        (folder / "audit_certificate.json").unlink(missing_ok=True)
        if audit is not None:
            write_json(folder / "audit_certificate.json", audit)

    def _enter(self, manifest: str, record: str) -> None:
        _audit(record).append(
            "export",
            {
                "object_sha256": manifest,
                "model_sha256": self._explainer.fingerprint(),
                "settings_sha256": self.fixed.sha256,
                "count": len(self.cases),
                "method": self.settings.method,
                "outcome": "success",
            },
        )


def _audit(record: str) -> Audit:
    from cfcam.clinical.audit.audit import Audit

    return Audit(record, create=False)


def certified(record: str) -> dict[str, Any]:
    """Returns the certificate of an audit: its head hash, number of records and period, without the records.

    Raises:
        AuditError: there is no audit, or its chain is not whole.
    """
    audit = _audit(record)
    with tempfile.TemporaryDirectory() as folder:
        one = audit.export(Path(folder) / "export.jsonl")
    first, last = (None if time is None else time.isoformat() for time in (one.first, one.last))
    return {
        "head": one.head,
        "count": one.count,
        "first": first,
        "last": last,
        "exported": one.exported.isoformat(),
        "text": one.text,
    }


def _inputs(records: Sequence[CaseRecord], names: Sequence[str]) -> str:
    """The hashes of what was read, case by case, as CSV."""
    stream = io.StringIO(newline="")
    writer = csv_text.Writer(stream)
    writer.write(["case", "patient", "group", "label", "role", "sha256"])
    for record in records:
        label = record.get("label")
        shown = "" if label is None else names[label] if label < len(names) else f"class {label}"
        for role, sha256 in record["sha256"].items() or [("unreadable", "")]:
            writer.write([record["case"], record["patient"] or "", record["group"] or "", shown, role, sha256])
    return stream.getvalue()
