"""Which object or series goes to which network, and why not to others."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from cfcam.errors import few
from cfcam.jobs.gateway.header import Header
from cfcam.jobs.gateway.settings import Rule

OWN = "cfcam made it: results are not explained again"
NO_PICTURE = "has no picture"
NO_RULE = "no rule fits"


@dataclass(frozen=True)
class Decision:
    """What becomes of an object or a series.

    Attributes:
        rule: that fits; None: nothing is to be done with it.
        reasons: of the rules before it (all, if none fits) why they do not, by their names; of what no rule is asked,
            under "".
    """

    rule: Rule | None
    reasons: dict[str, str]

    @property
    def why(self) -> str:
        """In one line why nothing is done; "" where a rule fits."""
        return "" if self.rule else self.reasons.get("", NO_RULE)


def decide(rules: Sequence[Rule], header: Header, *, sender: str, slices: int | None = None) -> Decision:
    """Returns the first rule that fits.

    Args:
        rules: in order.
        header: of the object, or of one object of the series.
        sender: AE title that sent it, "watch" or "poll".
        slices: of the series, frames counted; None: it is not known yet, and no rule is refused for it.
    """
    if header.ours:
        return Decision(None, {"": OWN})
    if not (header.rows and header.columns):
        return Decision(None, {"": NO_PICTURE})
    reasons: dict[str, str] = {}
    for rule in rules:
        reason = next(_reasons(rule, header, sender, slices), None)
        if reason is None:
            return Decision(rule, reasons)
        reasons[rule.name] = reason
    return Decision(None, reasons)


def _reasons(rule: Rule, header: Header, sender: str, slices: int | None) -> Iterator[str]:
    """Yields why a rule does not fit; what the object says is shown, for the user wrote the rule for it."""
    if rule.sender and sender not in rule.sender:
        yield f"it comes from {_said(sender)}, not from {few(rule.sender)}"
    if rule.modality and header.modality not in rule.modality:
        yield f"modality is {_said(header.modality)}, not {few(rule.modality)}"
    if rule.body_part and not _like(header.body_part, rule.body_part):
        yield f"body part is {_said(header.body_part)}, not {few(rule.body_part)}"
    if rule.view and header.view not in rule.view:
        yield f"view position is {_said(header.view)}, not {few(rule.view)}"
    yield from _of_image_type(rule, header)
    if rule.plane and header.plane not in rule.plane:
        yield f"plane is {_said(header.plane)}, not {few(rule.plane)}"
    if rule.thickest_mm is not None and (header.thickness is None or header.thickness > rule.thickest_mm):
        thick = "not said" if header.thickness is None else f"{header.thickness:g} mm"
        yield f"slice thickness is {thick}, at most {rule.thickest_mm:g} mm is asked for"
    if rule.smallest is not None and min(header.rows, header.columns) < rule.smallest:
        yield f"it has {header.rows} x {header.columns} pixels, fewer than {rule.smallest}"
    if rule.description and not any(re.search(one, header.description, re.IGNORECASE) for one in rule.description):
        yield "its description holds none of the patterns"  # which may name the patient, and is not repeated
    if slices is not None and rule.fewest_slices is not None and slices < rule.fewest_slices:
        yield f"it has {slices} slices, fewer than {rule.fewest_slices}"
    if slices is not None and rule.most_slices is not None and slices > rule.most_slices:
        yield f"it has {slices} slices, more than {rule.most_slices}"


def _of_image_type(rule: Rule, header: Header) -> Iterator[str]:
    lacking = [one for one in rule.image_type if one not in header.image_type]
    if lacking:
        yield f"its image type lacks {lacking[0]}"
    unwanted = [one for one in rule.not_image_type if one in header.image_type]
    if unwanted:
        yield f"its image type has {unwanted[0]}"


def _like(text: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(text.casefold(), pattern.casefold()) for pattern in patterns)


def _said(text: str) -> str:
    """A short code as it stands there; what is no code is not repeated."""
    if not text:
        return "not said"
    return text if re.fullmatch(r"[A-Za-z0-9_ -]{1,16}", text) else "something else"
