"""How a network's output is read: as logits, or as probabilities that it has computed already."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any, cast, get_args

import torch
from torch import Tensor

from cfcam.capture.answers.activation import Trace
from cfcam.capture.answers.probabilities import Kind, Probability
from cfcam.capture.half_precision import at_least_float32
from cfcam.errors import InputError, OutputError, shown

_SUMS = 1e-4
_OUTSIDE = 1e-3
_BY_VALUES = "in [0, 1], sums to 1"


@dataclass(frozen=True)
class Reading:
    """How the numbers of one output become scores and probabilities.

    Attributes:
        kind: how scores become probabilities.
        given: why the output is taken for probabilities already, such as "sigmoid at the end"; None: it is logits.
        reached: the scores are those from before the activation; else the log-odds of what is given.
        log: the output is logarithms of probabilities.
        single: two columns (1 - p, p), which are one score.
        notes: what a user should know about it.
    """

    kind: Kind
    given: str | None = None
    reached: bool = False
    log: bool = False
    single: bool = False
    notes: tuple[str, ...] = ()

    @property
    def unsure(self) -> bool:
        """Whether it rests on the values of one batch, which those of another may contradict."""
        return self.given == _BY_VALUES or (self.given is None and bool(self.notes))

    @property
    def words(self) -> str:
        """How probabilities are read, as shown to people and kept in provenance."""
        return self.kind if self.given is None else f"given ({self.given})"

    def scores(self, output: Tensor, trace: Trace | None) -> Tensor:
        """Returns the scores (M, classes, ...) of an output (M, classes, ...) that is read so.

        Raises:
            OutputError: the output is made otherwise than in the pass that settled the reading.
        """
        if self.given is None:
            return output
        before = None if trace is None else trace.scores
        if not self.reached:
            return _log_odds(self._probabilities(output), self.kind)
        if before is None or before.shape != output.shape:
            raise OutputError(
                f"the output ended in a {self.given.split()[0]} in the first pass, and does not in this one: give the"
                " network a forward() that ends the same way for every batch"
            )
        assert trace is not None  # noqa: S101  (it has the scores)
        scores = before[:, 1:2] if self.single else before
        if trace.bounded and self.kind == "sigmoid":
            # Where the probability was clamped it is the clamped one, with the gradient of the score.
            p = self._probabilities(output)
            p = p[:, 1:2] if self.single else p
            with torch.no_grad():
                moved = (at_least_float32(scores).sigmoid() - p).abs() > 1e-6
                shift = torch.where(moved, _log_odds(p, "sigmoid") - scores, 0)
            scores = scores + shift.to(scores.dtype)
        return scores

    def _probabilities(self, output: Tensor) -> Tensor:
        return at_least_float32(output).exp() if self.log else at_least_float32(output)


def checked_probability(asked: Any) -> Probability:
    """Returns a user's ``probability``; raises `InputError` with the nearest choice if there is none such."""
    choices = get_args(Probability)
    if isinstance(asked, str) and asked in choices:
        return cast(Probability, asked)
    near = difflib.get_close_matches(str(asked), choices, n=1, cutoff=0.5)
    which = f"did you mean {near[0]!r}?" if near else f"give one of {', '.join(map(repr, choices))}"
    raise InputError(f"probability={shown(asked)} is unknown: {which}")


def read(output: Tensor, trace: Trace | None, asked: Probability, usual: Kind) -> Reading:
    """Returns how an output (N, classes, ...) is read.

    Args:
        output: what the network gave for class scores.
        trace: where it comes from, with scores laid out like it; None: not known.
        asked: what the user said.
        usual: how logits of this network become probabilities, where nothing is asked.

    Raises:
        OutputError: the output is no scores but decisions; a function is asked for that contradicts the one with which
            the network ends, or probabilities are asked for and the numbers are none.
    """
    if trace is not None and trace.decided:
        made = f"a {trace.words}" if trace.words else "scores"
        raise OutputError(
            f"the output is decisions, which {trace.decided} has made of {made}, and they have no gradient: return the"
            " scores or probabilities that they were made of, or choose another tensor with output=..."
        )
    kind: Kind = asked if asked in ("softmax", "sigmoid") else usual
    with torch.no_grad():
        found = _activated(output.detach(), trace) if trace is not None and trace.activated else None
        if found is None and (trace is None or trace.activated):
            found = _summing_to_one(output.detach())
        if asked == "given" and found is None:
            found = _as_told(output.detach())
        if found is None:
            return Reading(kind, notes=_doubts(output.detach(), trace, asked))
    clash = asked in ("softmax", "sigmoid") and asked != found.kind
    if clash and output.ndim > 1 and output.shape[1] > 1 and not found.single:
        raise OutputError(
            f"probability={asked!r} is asked for, and the output is probabilities already ({found.given}): take it as"
            " it is with probability='given', or give the network without its last function"
        )
    if asked in ("softmax", "sigmoid"):
        note = f"the output is probabilities already ({found.given}): the {asked} asked for is not applied once more"
        return Reading(found.kind, found.given, found.reached, found.log, found.single, (*found.notes, note))
    return found


def _activated(output: Tensor, trace: Trace) -> Reading | None:
    """The reading of an output that an activation has made; None: it holds no probabilities."""
    p = at_least_float32(output).exp() if trace.log else at_least_float32(output)
    if not trace.log and not _in_unit_interval(p):
        return None
    many = p.ndim > 1 and p.shape[1] > 1
    given = f"{trace.words} at the end"
    before = trace.scores
    if before is not None and before.shape == output.shape:
        z = at_least_float32(before.detach())
        single = trace.end == "sigmoid" and p.shape[1] == 2 and bool((z[:, 0] == -z[:, 1]).all())
        kind: Kind = "softmax" if trace.end == "softmax" and many else "sigmoid"
        made = z.sigmoid() if kind == "sigmoid" else z.softmax(1)
        if _alike(made, p, output.dtype, trace):
            return Reading(kind, given, reached=True, log=trace.log, single=single)
    exclusive = many and _sums(p, output.dtype)
    what = "log-odds" if not exclusive else "logarithm"
    note = f"the scores from before the {trace.words} cannot be reached: the {what} of the probability is explained"
    if trace.end == "softmax" and many and not exclusive:
        note += "; the softmax does not run over the classes (axis 1)"
    kind = "softmax" if exclusive else "sigmoid"
    return Reading(kind, given, log=trace.log, notes=(note,))


def _summing_to_one(output: Tensor) -> Reading | None:
    """The reading of numbers of unknown origin that are in [0, 1] and sum to 1 over the classes."""
    if output.ndim < 2 or output.shape[1] < 2 or not output.numel():
        return None
    p = at_least_float32(output)
    if not _in_unit_interval(p, 1e-6) or not _sums(p, output.dtype):
        return None
    note = (
        "the output lies in [0, 1] and sums to 1 over the classes, so it is taken for probabilities, and their"
        " logarithm is explained"
    )
    return Reading("softmax", _BY_VALUES, notes=(note,))


def _as_told(output: Tensor) -> Reading:
    p = at_least_float32(output)
    if not _in_unit_interval(p):
        raise OutputError(
            f"probability='given', but the output runs from {float(p.min()):.4g} to {float(p.max()):.4g}: probabilities"
            " lie in [0, 1]; leave it at 'auto' for logits"
        )
    exclusive = p.ndim > 1 and p.shape[1] > 1 and _sums(p, output.dtype)
    what = "logarithm" if exclusive else "log-odds"
    return Reading(
        "softmax" if exclusive else "sigmoid",
        "as asked, sums to 1" if exclusive else "as asked, each by itself",
        notes=(f"the {what} of the given probability is explained",),
    )


def check_given(output: Tensor, reading: Reading) -> None:
    """Raises `OutputError` if numbers that are read as probabilities without knowing their origin are none."""
    if reading.given is None or reading.reached or reading.log:
        return
    p = at_least_float32(output.detach())
    if not _in_unit_interval(p):
        raise OutputError(
            f"the output is read as probabilities ({reading.given}), and runs from {float(p.min()):.4g} to"
            f" {float(p.max()):.4g}: probabilities lie in [0, 1]; say probability='softmax' or 'sigmoid' for logits"
        )


def _doubts(output: Tensor, trace: Trace | None, asked: Probability) -> tuple[str, ...]:
    note = None
    if trace is not None and trace.activated:
        note = (
            f"the output is made of a {trace.words} and lies outside of [0, 1]: it is taken for logits; a number that"
            " is no class score is explained with targets='output-0'"
        )
    elif trace is None and asked == "auto" and _in_unit_interval(at_least_float32(output), 0.0):
        note = (
            "all outputs lie in [0, 1]: they are taken for logits; if they are probabilities already, say"
            " probability='given'"
        )
    return () if note is None else (note,)


def _in_unit_interval(p: Tensor, slack: float = _OUTSIDE) -> bool:
    finite = p[p.isfinite()]
    return bool(((finite >= -slack) & (finite <= 1 + slack)).all()) and finite.numel() > 0


def _sums(p: Tensor, dtype: torch.dtype) -> bool:
    tolerance = _SUMS if dtype in (torch.float32, torch.float64) else 2e-2
    total = p.sum(1)
    total = total[total.isfinite()]
    return total.numel() > 0 and bool(((total - 1).abs() <= tolerance).all())


def _alike(made: Tensor, p: Tensor, dtype: torch.dtype, trace: Trace) -> bool:
    """Whether the activation of the scores, as they arrived, is the probability: else they belong to other classes."""
    tolerance = 1e-4 if dtype in (torch.float32, torch.float64) else 2e-2
    if trace.bounded:
        tolerance = max(tolerance, 1e-3)
        if trace.end == "sigmoid":
            made = made.clamp(p.min(), p.max())
    both = made.isfinite() & p.isfinite()
    return bool(((made - p)[both].abs() <= tolerance).all())


def _log_odds(p: Tensor, kind: Kind) -> Tensor:
    """The scores whose probabilities are these; finite, so that certainty has a map."""
    tiny = torch.finfo(p.dtype).tiny
    if kind == "softmax":
        return p.clamp(min=tiny).log()
    top = 1 - torch.finfo(p.dtype).eps / 2
    return p.clamp(tiny, top).logit()
