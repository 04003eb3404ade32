"""Is a map where it may be, what does it rest on, and does it hold still?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cfcam._lazy import lazy

if TYPE_CHECKING:
    from cfcam.clinical.checks.interventions import (
        Effect,
        dilate,
        heatmaps_and_probabilities,
        paste_artefact,
        remove_artefact,
    )
    from cfcam.clinical.checks.map_checks import (
        artefact_sensitivity,
        finding_coverage,
        plausibility,
        rank_accuracy,
        similar_cases,
        without_mask,
        zone_agreement,
    )
    from cfcam.clinical.checks.network_checks import artefact_intervention, retest_stability
    from cfcam.clinical.checks.results import CheckResult, Limits, Outcome, count_outcomes, over_cases

__all__ = [
    "CheckResult",
    "Effect",
    "Limits",
    "Outcome",
    "artefact_intervention",
    "artefact_sensitivity",
    "count_outcomes",
    "dilate",
    "finding_coverage",
    "heatmaps_and_probabilities",
    "over_cases",
    "paste_artefact",
    "plausibility",
    "rank_accuracy",
    "remove_artefact",
    "retest_stability",
    "similar_cases",
    "without_mask",
    "zone_agreement",
]

__getattr__ = lazy(
    __name__,
    {
        "cfcam.clinical.checks.interventions": (
            "Effect dilate heatmaps_and_probabilities paste_artefact remove_artefact"
        ),
        "cfcam.clinical.checks.map_checks": (
            "artefact_sensitivity finding_coverage plausibility rank_accuracy similar_cases without_mask zone_agreement"
        ),
        "cfcam.clinical.checks.network_checks": "artefact_intervention retest_stability",
        "cfcam.clinical.checks.results": "CheckResult Limits Outcome count_outcomes over_cases",
    },
)
