"""What is wrong with a network, an input and what is asked of them, and what to change: `diagnose`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cfcam.capture import Network
from cfcam.capture.answers.probabilities import Probability
from cfcam.capture.answers.readings import checked_probability
from cfcam.capture.targets.classes import class_names
from cfcam.diagnosis.batch import check_batch
from cfcam.diagnosis.findings import Diagnosis, Finding, Severity, not_assessed
from cfcam.diagnosis.input import INPUT_CHECKS, check_normalisation, check_tensor
from cfcam.diagnosis.layer import (
    check_activations,
    check_evidence,
    check_gradient,
    check_layer,
    check_target,
    needs_gradients,
)
from cfcam.diagnosis.model import MODEL_CHECKS
from cfcam.diagnosis.normalisation import MOST_PICTURES
from cfcam.diagnosis.output import check_classes, check_finite, check_output, check_saturation, why_it_does_not_run
from cfcam.diagnosis.repeat import check_repeat
from cfcam.diagnosis.setup import Setup, attempt, made_up_input
from cfcam.diagnosis.size import check_resizing
from cfcam.errors import InputError, describe
from cfcam.imaging import Preprocess, VolumePreprocess

__all__ = ["Diagnosis", "Finding", "Severity", "diagnose"]

PASS_CHECKS = (
    check_normalisation,
    check_resizing,
    check_finite,
    check_output,
    check_classes,
    check_repeat,
    check_batch,
    check_saturation,
    check_layer,
)
"""In this order, once a pass of the network succeeds."""


_OF_PREPARATION = re.compile(r"--(size|resize|mean|std|spacing|num-classes|weights)\b")


def diagnose(
    model: nn.Module,
    x: Tensor | None = None,
    *,
    layer: str | nn.Module | None = None,
    targets: Any = None,
    classes: Sequence[str] | None = None,
    probability: Probability = "auto",
    output: str | int | None = None,
    method: str = "grad-cam",
    preprocess: Preprocess | VolumePreprocess | None = None,
    files: Sequence[str | os.PathLike[str]] = (),
    brought: str = "",
) -> Diagnosis:
    """Checks a setup, and says in plain words what is wrong with it and what to change.

    It takes about ten passes of the network, more where size or resizing are to be found out, and changes nothing.
    What is wrong is returned, never raised.

    Args:
        model: the network.
        x: (N, C, *spatial) a few prepared images, as for `cfcam.explain`; the first eight are used. None: smooth noise
            of the network's size, on which normalisation and evidence are not judged.
        layer: as for `cfcam.explain`.
        targets: as for `cfcam.explain`.
        classes: class names.
        probability: as for `cfcam.explain`.
        output: as for `cfcam.explain`.
        method: the method whose maps are looked at.
        preprocess: what made ``x``, if that is known: other normalisations are then tried on the pixels of pictures.
            Without ``x`` it says of which size and how many channels the noise is.
        files: the pictures that ``x`` was made of: where size or resizing is assumed, others are tried on them.
        brought: whose words say how inputs are prepared, where they say all of it ("nnunet"): no option is advised then
            that would say it otherwise.

    Returns:
        The findings; print it, or leave it as the last line of a notebook's cell.
    """
    asked: tuple[tuple[str, Callable[[], Any]], ...] = (
        ("probability", lambda: checked_probability(probability)),
        ("classes", lambda: class_names(classes)),
    )
    for check, read in asked:
        _, wrong = attempt(read)
        if wrong is not None:
            return Diagnosis((Finding(check, Severity.PROBLEM, str(wrong)),), type(model).__name__)
    try:
        network = Network(model, probability, output)
    except InputError as error:
        finding = Finding("model", Severity.PROBLEM, str(error), "cfcam observes the modules of a Python model")
        return Diagnosis((finding,), type(model).__name__)
    given: Any = made_up_input(network.model, preprocess) if x is None else x
    tensor, findings = check_tensor(given, network.model)
    name = type(network.model).__name__
    if tensor is None:
        return Diagnosis(tuple(findings), name)
    setup = Setup(
        model,
        network,
        tensor,
        synthetic=x is None,
        wanted_layer=layer,
        targets=None if targets is None else targets,
        classes=classes,
        preprocess=preprocess,
        method=method,
        further=_further(given, tensor),
        files=[Path(file) for file in files],
    )
    network.want = setup.want
    findings += _examined(setup)
    findings = [_fitting(one, brought) for one in findings] if brought else findings
    mapped, _ = attempt(lambda: setup.layer) if "layer" in {f.check for f in findings} else (None, None)
    return Diagnosis(tuple(findings), name, mapped, tuple(setup.x.shape), setup.synthetic)


def _fitting(finding: Finding, brought: str) -> Finding:
    """A finding without advice to prepare inputs otherwise than the network's source says."""
    kept = [one for one in finding.advice.split(", or ") if not _OF_PREPARATION.search(one)]
    if len(kept) == len(finding.advice.split(", or ")):
        return finding
    return replace(
        finding, advice=", or ".join(kept) or f"nothing can be given here: {brought} says how it is prepared"
    )


def _further(given: Tensor, first: Tensor) -> Tensor | None:
    """The images behind the first ones, if they need no repair."""
    rest = given[len(first) : MOST_PICTURES]
    usable = given.shape[1:] == first.shape[1:] and given.is_floating_point() and bool(rest.isfinite().all())
    return rest if usable and len(rest) else None


def _examined(setup: Setup) -> list[Finding]:
    """Makes the checks in their order, as far as the network comes."""
    findings = _made(MODEL_CHECKS, setup)
    if any(f.check == "device" and f.severity is Severity.PROBLEM for f in findings):
        return findings
    with torch.inference_mode(False):
        setup.x = setup.network.prepare(setup.x)
    findings += _made(INPUT_CHECKS, setup)
    _, error = attempt(lambda: setup.first)
    if error is not None:
        return [*findings, *why_it_does_not_run(setup, error)]
    findings += _made(PASS_CHECKS, setup)
    if any(f.check == "layer" and f.severity is Severity.PROBLEM for f in findings):
        return findings
    capture, more = check_target(setup)
    findings += more
    if capture is None:
        return findings
    findings += list(check_activations(setup, capture))
    usable, more = check_gradient(setup, capture)
    findings += more
    if usable or not needs_gradients(setup.method):
        findings += list(check_evidence(setup, capture))
    return findings


def _made(checks: Sequence[Callable[[Setup], Iterable[Finding]]], setup: Setup) -> list[Finding]:
    """Makes some checks; one that a network makes impossible says so, and the others are made."""
    findings: list[Finding] = []
    for check in checks:
        found, error = attempt(lambda check=check: list(check(setup)))  # type: ignore[misc]
        if found is None:
            name = check.__name__.removeprefix("check_")
            findings.append(not_assessed(name, describe(error, 200) if error else ""))
        else:
            findings += found
    return findings
