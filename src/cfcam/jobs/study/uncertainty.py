"""How much the first map of a study varies, by the ways that were asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from cfcam.clinical.study_result import Uncertainty
from cfcam.errors import InputError
from cfcam.explainer import Explainer
from cfcam.explainer_windows import explain_windows
from cfcam.explanation import Explanation
from cfcam.jobs.engine.inference import Engine
from cfcam.jobs.study.settings import StudySettings

_SAMPLES = 20
_THRESHOLD = 0.5  # of the inclusion map, where the map itself has no threshold


def check_ways(how: StudySettings, engine: Engine) -> None:
    """Checks that the ways go with the run.

    Raises:
        InputError: methods are to be compared, and there is one only.
    """
    if "methods" in how.uncertainty and len(engine.methods) < 2:
        raise InputError("--uncertainty methods compares methods, and there is one: give --method twice or more")


def uncertainties(
    how: StudySettings,
    engine: Engine,
    x: Tensor,
    explanation: Explanation,
    threshold: float | None,
    back: Callable[[Tensor], Tensor],
) -> tuple[tuple[Uncertainty, ...], tuple[str, ...]]:
    """Estimates the uncertainty of a study's first map.

    Args:
        how: which ways, and how many samples.
        engine: what explained it; in windows, if it did.
        x: (C, *spatial), as the network saw it.
        explanation: of this one input.
        threshold: from which value on a position belongs to the region; None: not known.
        back: brings maps (3, *spatial) onto the grid of the source.

    Returns:
        One for each way, and a sentence for each that this network has nothing for.

    Raises:
        CfcamError: a network of the ensemble does not fit.
    """
    from cfcam.clinical.uncertainty import NotAvailableError, summarise, to_uncertainty

    found, missing = [], []
    for way in how.uncertainty:
        try:
            summary = summarise(_samples(way, how, engine, x, explanation), threshold or _THRESHOLD)
        except NotAvailableError as error:
            missing.append(f"{error}.")
        else:
            found.append(to_uncertainty(summary, back, class_name=explanation.label(0, 0)))
    return tuple(found), tuple(missing)


def _samples(way: str, how: StudySettings, engine: Engine, x: Tensor, explanation: Explanation) -> Iterator[Any]:
    from cfcam.clinical.uncertainty import augmentation, ensemble, mc_dropout, method_disagreement

    if way == "methods":
        return method_disagreement(explanation.select(targets=slice(0, 1)))
    method, target = explanation.methods[0], [int(explanation.targets[0, 0])]
    run = runner(engine)
    if way == "mc-dropout":
        return mc_dropout(engine.explainer, x[None], method, target, how.samples or _SAMPLES, run=run)
    if way == "augmentation":
        return augmentation(engine.explainer, x[None], method, target, run=run)
    members = [engine.explainer, *(engine.explainer_of(model.module) for model in how.ensemble)]
    return ensemble(members, x[None], method, target, run=run)


def runner(engine: Engine) -> Callable[[Explainer, Tensor, Any], Explanation]:
    """Returns how inputs are explained as a run explains them: as a whole, or in windows."""
    from cfcam.clinical.uncertainty import whole

    windows = engine.windows
    if windows is None:
        return whole

    def in_windows(explainer: Explainer, x: Tensor, targets: Any) -> Explanation:
        return explain_windows(explainer, x, windows.size, windows.overlap, targets, aggregate=windows.aggregate)

    return in_windows
