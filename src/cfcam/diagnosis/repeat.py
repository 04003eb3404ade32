"""Checks of the same input again: whether the answer is the same, and what a pass leaves behind in the network."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from cfcam.diagnosis.findings import Finding, Severity, ok
from cfcam.diagnosis.setup import Setup
from cfcam.diagnosis.variation import difference, tolerance

_NAMED = 4


def check_repeat(setup: Setup) -> Iterator[Finding]:
    """Runs the same input again: with the same state and random numbers, with others, and in the state it leaves."""
    seen = setup.variation
    limit = tolerance(seen.scores.dtype, 1e-5)
    yield _repeat(setup, limit)
    if seen.state:
        change, scale = (0.0, 1.0) if seen.in_a_row is None else difference(*seen.in_a_row)
        moves = change > limit * scale
        names = ", ".join(seen.state[:_NAMED]) + (
            f" and {len(seen.state) - _NAMED} more" if len(seen.state) > _NAMED else ""
        )
        yield Finding(
            "state",
            Severity.WARNING if moves else Severity.NOTE,
            f"a pass changes what the network holds: {names}"
            + (f"; a second call of yours then differs by {change:.3g} in scores up to {scale:.3g}" if moves else ""),
            "cfcam gives every pass the state that the network has now, and puts it back: a map explains one such call",
            "bring the network into the state you mean, as new or after earlier pictures, before it is explained"
            if moves
            else "",
            {"changed": seen.state, "change": change},
        )


def _repeat(setup: Setup, limit: float) -> Finding:
    seen = setup.variation
    change, scale = difference(seen.scores, seen.again)
    other, _ = difference(seen.scores, seen.redrawn)
    alike = all(torch.equal(_predicted(seen.scores), _predicted(s)) for s in (seen.again, seen.redrawn))
    worst, values = max(change, other), {"change": max(change, other), "scale": scale, "drawn_by": seen.drawing}
    if worst <= limit * scale:
        return ok(
            "repeat", f"two passes of the same input differ by {change:.1g} in scores up to {scale:.3g}", **values
        )
    differ = f"two passes of the same input differ by {worst:.3g} in scores up to {scale:.3g}"
    differ += "" if alike else ", and in their class"
    severity = Severity.WARNING if alike else Severity.PROBLEM
    if change > limit * scale:
        return Finding(
            "repeat",
            severity,
            f"{differ}, though they began with the same state and random numbers",
            "what differs is outside of the network and of the known generators: a global, a class attribute, the time,"
            " compiled code, or sums in no fixed order: a map explains one pass",
            "look for what forward() reads beside its input and self; torch.use_deterministic_algorithms(True)",
            values,
        )
    by = (
        f" ({', '.join(seen.drawing[:_NAMED])})" if seen.drawing else " (drawn by random or numpy, or by compiled code)"
    )
    dropping = any("dropout" in name for name in seen.drawing) or not seen.drawing
    return Finding(
        "repeat",
        severity,
        differ + f", with other random numbers{by}",
        "something is random in evaluation mode too: every pass of cfcam draws the same numbers, so that a map explains"
        " one draw",
        (
            "F.dropout(x, p, training=self.training), or no .train() in forward()"
            if dropping
            else "no noise in evaluation"
        )
        + "; or average: Augmented('grad-cam')",
        values,
    )


def _predicted(scores: Tensor) -> Tensor:
    """The strongest class of each image, on the mean over its places."""
    return (scores.flatten(2).mean(2) if scores.ndim > 2 else scores.reshape(len(scores), -1)).argmax(1)
