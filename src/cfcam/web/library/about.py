"""What is known of how a map was made, for what leaves the viewer; none of it is sent with the map itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cfcam.clinical.checks.peak_stability import PeakStability
    from cfcam.clinical.study_result import ModelIdentity
    from cfcam.web.library.maps import StudyMap

_UNVERSIONED = "unversioned"
_OF_THE_PASS = ("cfcam", "preprocess", "output", "probability")  # nothing that may hold a path


@dataclass(frozen=True)
class About:
    """How a map was made.

    Attributes:
        model: the network; None: not known.
        parameters: of the method.
        provenance: of the pass, as in a `cfcam.clinical.study_result.StudyResult`.
        stability: of the map's peak; None: not measured.
        limits: sentences about what was not done or is not known of the pass.
        explanation: the `cfcam.Explanation` of this map alone, for rooms that go on from it.
    """

    model: ModelIdentity | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    stability: PeakStability | None = None
    limits: tuple[str, ...] = ()
    explanation: Any = field(default=None, repr=False)


def about(one: StudyMap) -> About:
    """Returns what is known of a map; of one that keeps its explanation, what that says of itself."""
    known = one.about
    if isinstance(known, About):
        return known
    made = getattr(known, "provenance", None)
    if not isinstance(made, Mapping):
        return About()
    from cfcam.clinical.study_result import ModelIdentity

    network = made.get("model") or {}
    model = ModelIdentity(
        name=str(network.get("class") or "unnamed"),
        version=_UNVERSIONED,
        weights_sha256=str(network.get("sha256") or ""),
        layer=one.layer or "",
        classes=tuple(getattr(known, "classes", None) or ()),
    )
    parameters = (made.get("methods") or {}).get(one.method, {})
    provenance = {name: value for name, value in made.items() if name != "methods"}
    return About(model, parameters, provenance, explanation=known)


def about_run(settings: Mapping[str, Any], one: StudyMap) -> About:
    """Returns what is known of a map that a run wrote.

    Args:
        settings: of the run, as it keeps them; empty where they are gone.
        one: the map.
    """
    network, methods = settings.get("model"), settings.get("methods")
    if not isinstance(network, Mapping) or not network.get("spec"):
        return about(one)
    from cfcam.clinical.study_result import ModelIdentity
    from cfcam.models.spec import coded_name

    model = ModelIdentity(
        name=coded_name(str(network["spec"])),
        version=_UNVERSIONED,
        weights_sha256=str(network.get("sha256") or ""),
        layer=one.layer or str(settings.get("layer") or ""),
        classes=tuple(map(str, settings.get("classes") or ())),
    )
    parameters = methods.get(one.method, {}) if isinstance(methods, Mapping) else {}
    provenance = {name: settings[name] for name in _OF_THE_PASS if name in settings}
    return About(model, parameters, provenance, explanation=about(one).explanation)
