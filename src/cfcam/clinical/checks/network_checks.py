"""Checks that ask the network again: without the artefact or with another's, and after small changes."""

from __future__ import annotations

import math

from torch import Tensor

from cfcam.clinical.checks.interventions import (
    Explain,
    Inpaint,
    effect,
    paste_artefact,
    remove_artefact,
    retest,
)
from cfcam.clinical.checks.results import (
    DEFAULT_LIMITS,
    CheckResult,
    Limits,
    at_least,
    at_most,
    not_assessed,
)
from cfcam.shown import probability_text

INTERVENTION = ("artefact removed: probability", "artefact removed: map")
_PASTED = ("artefact pasted: probability", "artefact pasted: map")
_RETEST = ("test-retest: map", "test-retest: probability")


def artefact_intervention(
    explain: Explain,
    x: Tensor,
    artefact: Tensor,
    target: int,
    method: str,
    *,
    donor: Tensor | None = None,
    inpaint: Inpaint = "biharmonic",
    limits: Limits = DEFAULT_LIMITS,
) -> list[CheckResult]:
    """Checks what becomes of the class when the artefact is filled in from around it, or pasted from another image.

    Unlike a share of energy this asks the network itself. The filled image is one the network was not trained on: a
    flag may come from the filling; look at it, or compare with the same patient without the device.

    Args:
        explain: an `Explainer`.
        x: (1, C, *spatial), as the network takes it.
        artefact: (*spatial) bool, on the network's grid.
        target: class index.
        method: one of the explainer's.
        donor: (1, C, *spatial) with the artefact; given, its pixels are pasted into ``x`` instead.
        inpaint: see `remove_artefact`.
        limits: of the site.

    Returns:
        Two results: the change of the probability, in size, and 1 - soft IoU of the maps.

    Raises:
        InputError: the shapes do not fit.
        MissingExtraError: scikit-image is not installed.
    """
    names = INTERVENTION if donor is None else _PASTED
    if not bool(artefact.any()):
        return not_assessed(names, "the artefact's mask is empty")
    if donor is None:
        changed, how = remove_artefact(x, artefact, inpaint), f"filled in ({inpaint})"
    else:
        changed, how = paste_artefact(x, donor, artefact), "pasted"
    found = effect(explain, x, changed, target, method)
    before, after = (probability_text(p, 3) for p in (found.probability_before, found.probability_after))
    return [
        at_most(
            names[0],
            abs(found.probability_change),
            limits.artefact_probability_change,
            f"probability {before} -> {after}, artefact {how}",
            "probability",
        ),
        at_most(names[1], found.map_change, limits.artefact_map_change, f"1 - soft IoU of the maps, artefact {how}"),
    ]


def retest_stability(
    explain: Explain, x: Tensor, target: int, method: str, *, seed: int = 0, limits: Limits = DEFAULT_LIMITS
) -> list[CheckResult]:
    """Checks whether map and probability hold still under small changes, as between two acquisitions; see `retest`.

    Args:
        explain: an `Explainer`.
        x: (1, C, *spatial) with 2 or 3 spatial axes.
        target: class index.
        method: one of the explainer's.
        seed: of the noise.
        limits: of the site.

    Returns:
        Two results, each of the change that did most: the soft IoU of the maps, and the change of the probability.
    """
    effects = retest(explain, x, target, method, seed=seed)
    moved = [(1 - found.map_change, name) for name, found in effects.items() if not math.isnan(found.map_change)]
    if len(moved) < len(effects):
        vanished = "a map has no positive evidence, before or after a change"
        first = not_assessed(_RETEST[0], vanished)[0]
    else:
        agreement, name = min(moved)
        mean = sum(value for value, _ in moved) / len(moved)
        detail = f"least soft IoU of {len(moved)} changes ({name}); on average {mean:.3f}"
        first = at_least(_RETEST[0], agreement, limits.retest_agreement, detail)
    change, worst = max((abs(found.probability_change), name) for name, found in effects.items())
    detail = f"largest change of {len(effects)} ({worst})"
    return [first, at_most(_RETEST[1], change, limits.retest_probability_change, detail, "probability")]
