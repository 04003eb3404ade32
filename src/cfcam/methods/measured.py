"""What the scorecard says of each method, in a few words: one table, for `cfcam methods`."""

from __future__ import annotations

NOT_MEASURED = "not in the scorecard"

# Of docs/scorecard.md, on test pictures; a method that is not there was not measured.
_SAID: dict[str, str] = {
    "grad-cam": "what the others are compared with",
    "score-cam": "ADCC above cf-cam-steady's on two sets of six; its peak moves more often on three",
    "cf-cam": "on ImageNet steadier than Grad-CAM, its classes more alike; less steady with 64 channels",
    "cf-cam-steady": "its peak stays more often on five sets of six; ADCC worse on one, classes alike on two",
    "winsor-cam": "peak hardly ever stays; on chest films the best insertion − deletion",
    "cf-cam-best": "on pictures better than Grad-CAM in some respects, worse in none",
    "cf-cam-hierarchical": "no better than the default",
    "cf-cam-bilateral": "empty on nearly every real picture",
    "cf-cam-guided": "empty on nearly every real picture",
    "cf-cam-reference": "the same map for every class",
}


def said(method: str) -> str:
    """Returns what the scorecard says of a method, or that it is not there.

    Example:
        >>> said("grad-cam"), said("occlusion")
        ('what the others are compared with', 'not in the scorecard')
    """
    return _SAID.get(method, NOT_MEASURED)
