"""The rules by which a network's maps are judged, fixed in a file before anything is measured."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cfcam import json_text
from cfcam._version import __version__
from cfcam.clinical.checks.results import Limits
from cfcam.files import canonical, digest, write_json
from cfcam.jobs.evidence.files import EvidenceError

PROTOCOL = "protocol.json"


@dataclass(frozen=True)
class Rules:
    """What passes; every default is an arbitrary starting point, to be set by those who use the network.

    A rule that is None is not judged: its number is reported alone.

    Attributes:
        randomised_below_chance: least share of images whose map, once the network's weights are random, is less like
            the original than maps of other images are (model parameter randomisation).
        class_sensitivity: least mean difference (1 - soft IoU) of the maps of two classes of one image.
        above_controls: least lower end of the 95 % interval of the primary measure's difference from each control that
            knows nothing of the network.
        accuracy: least lower end of the 95 % interval of the accuracy.
        ece: largest expected calibration error.
        fewest: images that a sanity rule needs a number of; with fewer it is not assessed.
    """

    randomised_below_chance: float | None = 0.9
    class_sensitivity: float | None = 0.2
    above_controls: float | None = 0.0
    accuracy: float | None = None
    ece: float | None = None
    fewest: float = 3

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            if value is not None and not number:
                raise EvidenceError(f"rule {name} is {value!r}: give a number, or null for a rule that is not judged")


@dataclass(frozen=True)
class Protocol:
    """Everything that decides what is measured and what passes.

    Attributes:
        method: whose maps are judged.
        metrics: of the scorecard.
        primary: measure that the method is held against controls by, in the order of preference.
        explained: which class the scorecard explains.
        seed: of everything drawn.
        limit: largest number of cases, drawn by the seed; None: all.
        retests: how often each case is explained again.
        gallery: cases of each kind that the gallery shows.
        rules: what passes.
        limits: of the checks.
        model: what is judged: SHA-256 of the weights, layer, classes, preparation.
        data: number and SHA-256 of the cases.
    """

    method: str
    metrics: tuple[str, ...]
    primary: tuple[str, ...]
    explained: str
    seed: int
    limit: int | None
    retests: int
    gallery: int
    rules: Rules
    limits: Limits
    model: Mapping[str, Any]
    data: Mapping[str, Any]
    cfcam: str = __version__

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values, as they come back from JSON."""
        values: dict[str, Any] = json.loads(canonical(asdict(self)))
        return values


@dataclass(frozen=True)
class Fixed:
    """A protocol that lies in a folder.

    Attributes:
        sha256: of its canonical JSON.
        time: when it was fixed, UTC.
        deviations: what was changed afterwards, by whose reason; empty if nothing was.
    """

    sha256: str
    time: str
    deviations: tuple[Mapping[str, Any], ...] = field(default_factory=tuple)


def read_rules(values: Mapping[str, Any]) -> tuple[Rules, Limits]:
    """Returns the rules and limits in what a user gives as ``{"rules": {...}, "limits": {...}}``.

    Raises:
        CfcamError: a name is unknown, or a value no number.
    """
    for name, inner in values.items():
        if name not in ("rules", "limits") or not isinstance(inner, dict):
            raise EvidenceError(f"protocol: {name!r} is unknown or holds no fields; give rules and limits")
    for kind, given in ((Rules, values.get("rules", {})), (Limits, values.get("limits", {}))):
        known = [one.name for one in fields(kind)]
        if unknown := sorted(set(given) - set(known)):
            raise EvidenceError(f"protocol: {unknown[0]!r} is unknown; there are {', '.join(known)}")
    return Rules(**values.get("rules", {})), Limits(**values.get("limits", {}))


def fix(folder: Path, protocol: Protocol, deviation: str | None = None) -> Fixed:
    """Writes the protocol before anything is measured, or finds that it lies there already.

    Args:
        folder: of the pack; it exists.
        protocol: by which the pack is made.
        deviation: why the protocol is other than the one that lies there; without it that is refused.

    Raises:
        EvidenceError: the folder holds another protocol, or one that was changed by hand.
    """
    path = folder / PROTOCOL
    values = protocol.as_dict()
    own, now = digest(values), datetime.now(UTC).isoformat(timespec="seconds")
    if not path.exists():
        write_json(path, {"sha256": own, "fixed": now, "protocol": values, "deviations": []})
        return Fixed(own, now)
    there = _read(path)
    deviations = list(there["deviations"])
    if there["sha256"] == own:
        return Fixed(own, there["fixed"], tuple(deviations))
    differing = changes(there["protocol"], values)
    if deviation is None:
        raise EvidenceError(
            f"{folder.name}: its protocol was fixed on {there['fixed'][:10]} and differs in {_shown(differing)}: choose"
            " another --output folder, or state the reason with --deviation, which the pack will show"
        )
    deviations.append({"time": now, "reason": deviation, "before": there["sha256"], "after": own, "changes": differing})
    write_json(path, {"sha256": own, "fixed": there["fixed"], "protocol": values, "deviations": deviations})
    return Fixed(own, there["fixed"], tuple(deviations))


def changes(before: Mapping[str, Any], after: Mapping[str, Any], within: str = "") -> list[dict[str, Any]]:
    """Returns name, old and new value of every field that differs, inner ones with dots between."""
    found: list[dict[str, Any]] = []
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            found += changes(old, new, f"{within}{name}.")
        elif old != new:
            found.append({"field": f"{within}{name}", "before": old, "after": new})
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        there: dict[str, Any] = json_text.read(path)
        own, named = digest(there["protocol"]), there["sha256"]
        there["fixed"], there["deviations"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvidenceError(f"{PROTOCOL} cannot be read: choose another --output folder") from error
    if own != named:
        raise EvidenceError(
            f"{PROTOCOL} was changed after it was fixed (its SHA-256 is another): choose another --output folder"
        )
    return there


def _shown(differing: list[dict[str, Any]]) -> str:
    names = [change["field"] for change in differing]
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
