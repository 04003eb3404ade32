"""How steady the peaks of a study are, and whether that is measured: once for every map, for all that is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor

from cfcam.clinical.checks.peak_stability import PeakStability, peak_stabilities
from cfcam.clinical.study_result import MapResult, StudyResult
from cfcam.explainer import Explainer
from cfcam.explainer_windows import explain_windows
from cfcam.explanation import Explanation, unique_columns
from cfcam.jobs.engine.inference import Engine
from cfcam.jobs.study.settings import StudySettings
from cfcam.methods import ScoreCAM

_ASK = "--peak-stability measures it"
_UNKNOWN = "Whether a peak stays when the picture moves a little was not measured"


def with_stability(
    study: StudyResult,
    how: StudySettings,
    engine: Engine,
    x: Tensor,
    explanation: Explanation,
    back: Callable[[Tensor], Tensor],
    *,
    reported: bool,
) -> StudyResult:
    """Returns the study with the error bars of its maps' peaks.

    They are measured where somebody asked, and where a report is made for the maps that take no more than one pass: a
    method with masked passes would take them all again for every motion, as would windows for a whole volume.

    Args:
        study: with one map for each method and class.
        how: whether to.
        engine: what explained it.
        x: (C, *spatial), as the network saw it.
        explanation: of this one input.
        back: brings a map from the network's input onto the grid of the source.
        reported: whether a report is made of the study, or may be.

    Raises:
        CfcamError: the moved inputs cannot be explained.
    """
    if how.peak_stability is False or not (how.peak_stability or reported):
        return study if how.peak_stability is None else _noted(study, f"{_UNKNOWN}: it was switched off.")
    columns = unique_columns(explanation)
    targets = explanation.targets[0, columns]
    methods, why = _measured(how, engine, explanation.methods)
    if bool((targets < 0).any()):
        methods, why = [], f"{_UNKNOWN}: what is explained is no class."
    study = _noted(study, why) if why else study
    if not methods:
        return study
    found = peak_stabilities(
        _explain(engine, methods),
        x[None],
        targets,
        methods=methods,
        first=explanation.select(targets=slice(0, len(columns))) if columns == list(range(len(columns))) else None,
        back=back,
    )
    order = [(method, k) for k in range(len(columns)) for method in explanation.methods]
    maps = tuple(_with(one, found.get(key)) for one, key in zip(study.maps, order, strict=True))
    return replace(study, maps=maps)


def _with(one: MapResult, stability: PeakStability | None) -> MapResult:
    return replace(one, regions=replace(one.regions, stability=stability))


def _measured(how: StudySettings, engine: Engine, methods: Sequence[str]) -> tuple[list[str], str]:
    """The methods whose peaks are measured, and a sentence on those that are not."""
    if how.peak_stability:
        return list(methods), ""
    if engine.windows is not None:
        return [], f"{_UNKNOWN}: it would take all windows again for every motion ({_ASK})."
    dear = [name for name in methods if isinstance(engine.methods.get(name), ScoreCAM)]
    why = f"{_UNKNOWN} for {', '.join(dear)}: it would take all masked passes again for every motion ({_ASK})."
    return [name for name in methods if name not in dear], why if dear else ""


def _explain(engine: Engine, methods: Sequence[str]) -> Callable[[Tensor, Tensor], Explanation]:
    """As the run explains: as a whole, or in windows; by these methods only."""
    explainer: Explainer = engine.explainer_with(methods)
    windows = engine.windows
    if windows is None:
        return explainer
    return lambda x, targets: explain_windows(
        explainer, x, windows.size, windows.overlap, targets, aggregate=windows.aggregate
    )


def _noted(study: StudyResult, sentence: str) -> StudyResult:
    return replace(study, limits=(*study.limits, sentence))
