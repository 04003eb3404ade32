"""What is measured case by case for an evidence pack: predictions, checks, repeatability; kept on disk as it grows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PILImage
from torch import Tensor

from cfcam.clinical import checks
from cfcam.clinical.checks.repeatability import Retest, retest_samples
from cfcam.clinical.checks.results import CheckResult
from cfcam.errors import CfcamError
from cfcam.explainer import Explainer
from cfcam.explanation import Explanation
from cfcam.files import append_line, as_line, digest, lines_of, without_nan, write_whole
from cfcam.imaging import Image, Panel, Preprocess, contact_sheet
from cfcam.imaging.drawing.sides import letters_of, scale_of
from cfcam.jobs.check.region_checks import region_checks
from cfcam.jobs.evidence.cases import EvidenceCase, Material
from cfcam.jobs.evidence.files import EvidenceError
from cfcam.jobs.evidence.protocol import Protocol
from cfcam.jobs.inputs.masks import MarkedRegion, RegionKind
from cfcam.metrics.functional.similarity import soft_iou

CASES = "cases.jsonl"
_MARKED = 0.5  # of the map's maximum: from here on a position counts to the marked area
_FAILURES = (CfcamError, RuntimeError, ValueError, ArithmeticError, LookupError, MemoryError)
_PANEL = 288
CaseRecord = dict[str, Any]


@dataclass(frozen=True)
class Measuring:
    """Measures one case after the other.

    Attributes:
        explainer: of the network, with the one method.
        preprocess: what is done to each picture.
        protocol: what is measured.
        classes: names of the network's classes, or how many there are.
    """

    explainer: Explainer
    preprocess: Preprocess
    protocol: Protocol
    classes: Sequence[str] | int | None

    def __call__(self, case: EvidenceCase) -> CaseRecord:
        """Returns plain values: what is known of a case and what was measured, or why it could not be."""
        about = {"case": case.name, "patient": case.patient, "group": case.group, "sha256": case.hashes()}
        try:
            material = case.material(self.preprocess, self.classes)
        except CfcamError as error:
            return about | {"failed": " ".join(str(error).split())}
        about |= _described(material)
        try:
            return about | self._measured(material)
        except _FAILURES as error:
            told = f"{error}".splitlines()[:1] if isinstance(error, CfcamError) else [type(error).__name__]
            return about | {"failed": f"the network failed on it ({' '.join(told)[:240]})"}

    def picture(self, case: EvidenceCase, *, with_artefact: bool = False) -> bytes:
        """Returns a JPEG of a case: the picture as it is, beside the map of the predicted class.

        Args:
            case: which.
            with_artefact: show the picture that the artefact check was made on, if that is another.
        """
        material = case.material(self.preprocess, self.classes)
        image = (material.artefact_image if with_artefact else None) or material.image
        explanation = self.explainer(self.preprocess(image)[None])
        status = explanation.status[self.protocol.method][0, 0]
        heat = self._heat(explanation, image).numpy() if status == "ok" else None
        panel = Panel(heat, self.protocol.method, explanation.label(0, 0), explanation.probability(0, 0), str(status))
        sheet = contact_sheet(
            image.rgb(),
            [panel],
            title=case.name,
            footer="research use",
            panel_size=_PANEL,
            theme="light",
            letters=letters_of(image),
            scale=scale_of(image),
        )
        stream = BytesIO()
        PILImage.fromarray(sheet).save(stream, "JPEG", quality=88)
        return stream.getvalue()

    def _measured(self, material: Material) -> CaseRecord:
        x = material.sample.image[None]
        explanation = self.explainer(x)
        if explanation.probabilities is None:
            raise EvidenceError("the network gives no vector of class probabilities")
        predicted = int(explanation.targets[0, 0])
        retests = retest_samples(
            self.explainer, x, predicted, self.protocol.method, count=self.protocol.retests, seed=self.protocol.seed
        )
        return {
            "probabilities": explanation.probabilities[0].double().tolist(),
            "predicted": predicted,
            "status": str(explanation.status[self.protocol.method][0, 0]),
            "retests": _numbers(retests),
            "checks": [result.as_dict() for result in self._checks(explanation, material, predicted)],
        }

    def _checks(self, explanation: Explanation, material: Material, predicted: int) -> list[CheckResult]:
        found: list[CheckResult] = []
        for kind, region in material.regions.items():
            image, seen = material.image, explanation
            if kind == "artefacts" and material.artefact_image is not None:
                image = material.artefact_image
                seen = self.explainer(self.preprocess(image)[None])
            found += self._in_region(kind, region, image, seen)
        limits, method, seed = self.protocol.limits, self.protocol.method, self.protocol.seed
        x = material.sample.image[None]
        return found + checks.retest_stability(self.explainer, x, predicted, method, seed=seed, limits=limits)

    def _in_region(self, kind: RegionKind, region: MarkedRegion, image: Image, seen: Explanation) -> list[CheckResult]:
        limits, target = self.protocol.limits, int(seen.targets[0, 0])

        def intervention(artefact: Tensor) -> list[CheckResult]:
            x, mask = self.preprocess(image)[None], self.preprocess.mask(artefact)
            return checks.artefact_intervention(self.explainer, x, mask, target, self.protocol.method, limits=limits)

        return region_checks(
            {kind: region},
            self._heat(seen, image),
            intervention,
            spacing=image.spacing,
            affine=image.affine,
            measured=image.measured,
            probability=seen.probability(0, 0),
            limits=limits,
        )

    def _heat(self, explanation: Explanation, image: Image) -> Tensor:
        heat = explanation.heatmaps(self.protocol.method)[0, 0].cpu()
        return self.preprocess.to_original(heat, image.size)


def _described(material: Material) -> CaseRecord:
    truth, image = material.sample.ground_truth, material.image
    return {
        "label": material.sample.label,
        "positives": None if material.positives is None else sorted(material.positives),
        "complete": material.complete,
        "size": list(image.size),
        "bits": 8 * image.pixels.itemsize,
        "colour": image.pixels.ndim == 3,
        "spacing": None if image.spacing is None else list(image.spacing),
        "measured": image.measured,
        "finding_share": None if truth is None else float(truth.double().mean()),
    }


def _numbers(samples: Sequence[Retest]) -> CaseRecord:
    """Probability and marked share of the picture and of each retest, and the soft IoU of its map with the first."""
    raw = torch.from_numpy(np.stack([sample.raw for sample in samples])).clamp(min=0)
    peak = raw.flatten(1).amax(1)
    marked = (raw >= _MARKED * peak.reshape(-1, *[1] * (raw.ndim - 1))).flatten(1).double().mean(1)
    agreement = soft_iou(raw[:1].expand_as(raw), raw)[1:]
    return {
        "probability": [sample.probability for sample in samples],
        "marked": torch.where(peak > 0, marked, torch.nan).tolist(),
        "agreement": agreement.tolist(),
    }


class CasesFile:
    """``cases.jsonl``: a header with the protocol's SHA-256, then a line for each case that was measured.

    Args:
        folder: of the pack.
        protocol_sha256: what the numbers depend on, beside the cases; a file of another protocol is begun anew, for
            a deviation was stated.
    """

    def __init__(self, folder: Path, protocol_sha256: str) -> None:
        self.path = folder / CASES
        self._header = {"protocol_sha256": protocol_sha256}
        self._records: dict[str, CaseRecord] = {}
        lines = [line.values for line in lines_of(self.path) if line.values] if self.path.exists() else []
        if lines and lines[0] == self._header:
            self._records = {line["key"]: line["record"] for line in lines[1:] if {"key", "record"} <= line.keys()}
        self._rewrite()

    def get(self, key: str) -> CaseRecord | None:
        """Returns the record of a case that was measured before."""
        return self._records.get(key)

    def add(self, key: str, record: CaseRecord) -> None:
        """Adds a record, and hands it to the operating system at once."""
        self._records[key] = record
        append_line(self.path, without_nan({"key": key, "record": record}))

    def keep(self, keys: Sequence[str]) -> list[CaseRecord]:
        """Returns the records of these cases in this order, and leaves no others in the file."""
        self._records = {key: self._records[key] for key in keys}
        self._rewrite()
        return list(self._records.values())

    def _rewrite(self) -> None:
        lines: list[CaseRecord] = [
            self._header,
            *({"key": key, "record": record} for key, record in self._records.items()),
        ]
        write_whole(self.path, b"".join(as_line(without_nan(line)) for line in lines))


def measure_all(
    cases: Sequence[EvidenceCase], measuring: Measuring, file: CasesFile, progress: Callable[[int, int], None]
) -> list[CaseRecord]:
    """Measures what is not measured yet, and returns the records of all cases.

    Args:
        cases: in the order of the pack.
        measuring: see there.
        file: what was measured before.
        progress: told how many are done, and of how many, at the beginning and after each.
    """
    keys = [digest(case.identity()) for case in cases]
    progress(sum(file.get(key) is not None for key in keys), len(cases))
    for n, (key, case) in enumerate(zip(keys, cases, strict=True), 1):
        if file.get(key) is None:
            file.add(key, measuring(case))
        progress(n, len(cases))
    return file.keep(keys)


def positives_of(records: Sequence[CaseRecord], classes: int) -> NDArray[np.float64]:
    """Returns (n, classes) of 0 and 1: which classes are truly there; NaN where that is not known."""
    truth = np.full((len(records), classes), np.nan)
    for row, record in zip(truth, records, strict=True):
        if record["positives"] is not None:
            row[:] = 0
            row[record["positives"]] = 1
    return truth


def patients_of(records: Sequence[CaseRecord]) -> list[str]:
    """Returns the patient of each case; a case without one stands for itself."""
    return [record["patient"] or record["case"] for record in records]
