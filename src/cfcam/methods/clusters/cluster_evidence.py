"""What a few masked passes, one pair per cluster of channels, say of a gradient map: its Bayesian update."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cfcam.capture import Capture
from cfcam.methods.clustering import one_hot
from cfcam.methods.scored.score_cam import blurred, chunk_size

ROUND = 4
"""Groups that are shown before it is asked whether more are needed; whatever the device and the batch, so that
neither decides over a map."""

_SURE = 1.96
"""So many standard errors above 0 must the prior's scale be, before its map can be said to hold still."""

_CHECKED = 2
"""Groups, of the first round, that are shown in both precisions."""

_ROUNDING = 0.5
"""Of the tolerance, so much may be expected of rounding."""

_EXTREME = 1e-5  # probabilities nearer to 0 or 1 than this are rounding


def updated(
    capture: Capture,
    prior: Tensor,
    masks: Tensor,
    labels: Tensor,
    groups: int,
    doubt: float = 1.0,
    tolerance: float = 0.0,
    name: str = "",
) -> Tensor:
    """Returns maps (N, K, *layer_spatial), signed: a gradient map, corrected by what the network answers to masks.

    Each group's mean mask H hides all but its place (the score rises from that of the blurred input: how sufficient the
    place is), and then its place alone (the score falls from the input's: how necessary). Both are taken as noisy sums
    of the map over the mask, ``y = H m + noise``. The prior mean of m is the gradient map, scaled to fit y best; its
    prior variance grows with its own size; the noise's variance is that of the residual ``y - H m``. The posterior mean
    ``m + V H' (H V H' + s I)^-1 (y - H m)`` is the map. Scores are log-odds for classes, a callable's numbers else.

    The largest masks are shown first, `ROUND` groups at a time, until those left are not expected to move the map any
    more, see `Posterior.movement`. Each map takes what was shown until it held still itself: neither other images nor
    other targets decide over it, though they share the passes.

    Where the CPU has bfloat16, it takes half of the time, and its rounding is one more noise of the answers. The first
    masks are shown in both precisions; where the scores differ by so little that no more than half of the tolerance is
    expected of it, see `Posterior.rounding`, the map is made of rounded answers, and what is left of the tolerance says
    when it holds still. Else it is made of those of float32. What was done stands in the capture's notes.

    Args:
        capture: of N images and K targets.
        prior: (N, K, *layer_spatial) signed gradient maps.
        masks: (N, C, *layer_spatial) each channel scaled to [0, 1].
        labels: (N, C) the group of each channel; -1 for none.
        groups: number of groups G; two passes each at most, and two more.
        doubt: the noise's variance is so many times that of the residual: more of it stays nearer to the prior.
        tolerance: the expected movement that is none; 0: all masks are shown, in float32.
        name: whose passes may be rounded, for the notes; "": none are.
    """
    H = _group_masks(masks, labels, groups)
    used = H.flatten(2).amax(2) > 0  # a group without channels has neither mask nor answer
    order = H.flatten(2).double().sum(2).argsort(dim=1, descending=True, stable=True)
    hidden = blurred(blurred(blurred(capture.input)))  # thrice a box is nearly a Gaussian, of a sixteenth of each axis
    exact = _Answers(capture, H, hidden)
    may_round = bool(name) and tolerance > 0 and groups > ROUND and capture.rounds
    rounded = _Answers(capture, H, hidden, rounded=True) if may_round else exact
    moving = torch.ones(prior.shape[:2], dtype=torch.bool, device=prior.device)  # (N, K)
    rounds, lost = torch.full_like(moving, may_round), torch.zeros_like(moving, dtype=torch.float64)
    known = torch.zeros(*prior.shape[:2], groups, dtype=torch.bool, device=prior.device)
    for some in order.split(ROUND if tolerance else groups, dim=1):
        shown = torch.zeros_like(used).scatter(1, some, True) & used
        first = not known.any()
        rounded.ask(shown & (moving & rounds).any(1, keepdim=True))
        exact.ask(shown & (moving & ~rounds).any(1, keepdim=True))
        known |= shown[:, None] & moving[..., None]
        if may_round and first:
            checked = torch.zeros_like(used).scatter(1, some[:, :_CHECKED], True) & used
            exact.ask(checked)
            found = Posterior.of(prior, H, rounded.given, known, doubt)
            both = torch.cat([torch.ones_like(checked[:, :1])] * 2 + [checked] * 2, dim=1)
            lost = found.rounding(used, error_variance(exact.scores, rounded.scores, both))
            rounds = lost <= _ROUNDING * tolerance
            exact.ask(shown & ~checked & ~rounds.all(1, keepdim=True))
        y = torch.where(rounds[..., None], rounded.given, exact.given)
        found = Posterior.of(prior, H, y, known, doubt)
        left = used[:, None] & ~known
        if not (left.any(-1) & moving).any():
            break
        moving &= found.movement(left) > tolerance - torch.where(rounds, lost, 0)
        if not moving.any():
            break
    if may_round:
        _say(capture, f"{name}: ", rounds, lost, rounded.passes, exact.passes)
    return found.maps.to(prior.dtype).unflatten(2, prior.shape[2:])


def _say(capture: Capture, before: str, rounds: Tensor, lost: Tensor, rounded: Tensor, exact: Tensor) -> None:
    """Puts into the capture's notes how many passes (N,) of an image were rounded, and what that is expected to do."""
    notes: dict[str, list[int]] = capture.memo("notes", dict)  # line -> images
    for n in rounds.any(1).nonzero().flatten().tolist():
        most = float(lost[n][rounds[n]].max())
        line = (
            f"{before}{int(rounded[n])} masked passes in bfloat16, {int(exact[n])} in float32; the rounding is expected"
            f" to take {most:.1g} from the map's correlation"
        )
        notes[line] = sorted({*notes.get(line, []), n})


@dataclass(frozen=True)
class Posterior:
    """What is known of maps over S places, from the answers to some of R = 2G + 1 masks: G twice, and the whole.

    Attributes:
        maps: (N, K, S) the mean.
        prior: (N, K, S) that before, to scale.
        design: (N, 1, R, S) the masks.
        known: (N, K, R) 1 for answers that count, else 0.
        spread: (N, K, R, S) the masks times the prior variance.
        gram: (N, K, R, R) the prior variance of what the masks see.
        covariance: (N, K, R, R) that of the answers known; the noise alone for others.
        residual: (N, K, 1) the variance of what they differ by from the prior.
        noise: (N, K, 1) what is taken for that of the answers.
        fits: (N, K) bool, whether the answers tell the scale of the prior from 0.
    """

    maps: Tensor
    prior: Tensor
    design: Tensor
    known: Tensor
    spread: Tensor
    gram: Tensor
    covariance: Tensor
    residual: Tensor
    noise: Tensor
    fits: Tensor

    @classmethod
    def of(cls, prior: Tensor, H: Tensor, y: Tensor, known: Tensor, doubt: float) -> Posterior:
        """Returns it, see `updated`.

        Args:
            prior: (N, K, *layer_spatial).
            H: (N, G, *layer_spatial) the masks.
            y: (N, K, R) answers.
            known: (N, K, G) bool, which groups count.
            doubt: see `updated`.
        """
        ones = H.new_ones(len(H), 1, *H.shape[2:])
        design = torch.cat([H, H, ones], dim=1).flatten(2).double()[:, None]  # (N, 1, R, S)
        counts = torch.cat([known, known, torch.ones_like(known[..., :1])], dim=2).to(y)
        m = prior.flatten(2).double()
        y, fitted = y * counts, (design @ m[..., None])[..., 0] * counts
        along, length = (fitted * y).sum(-1, keepdim=True), fitted.square().sum(-1, keepdim=True)
        scale = along / length
        scale = torch.where(scale.isfinite() & (scale > 0), scale, 1)
        m, difference = m * scale, y - fitted * scale
        size = m.abs()
        level = size.mean(-1, keepdim=True)
        variance = (size + level) * level
        mean = difference.sum(-1, keepdim=True) / counts.sum(-1, keepdim=True)
        squares = ((difference - mean) * counts).square().sum(-1, keepdim=True)
        residual = squares / (counts.sum(-1, keepdim=True) - 1).clamp(min=1)
        fits = (along >= _SURE * (residual * length).sqrt())[..., 0]
        spread = variance[:, :, None] * design
        gram = spread @ design.mT
        covariance = gram * counts[..., None] * counts[..., None, :]
        jitter = 1e-9 * covariance.diagonal(dim1=-2, dim2=-1).mean(-1, keepdim=True)
        noise = doubt * residual + jitter + torch.finfo(torch.float64).tiny
        covariance = covariance + torch.diag_embed(noise.expand_as(y))
        solved = torch.linalg.solve_ex(covariance, difference[..., None]).result
        maps = m + (spread.mT @ solved)[..., 0]
        return cls(maps, m, design, counts, spread, gram, covariance, residual, noise, fits)

    def movement(self, left: Tensor) -> Tensor:
        """Returns (N, K): how far, as 1 - the correlation of the positive parts, the rest is expected to move the maps.

        The model tells how answers still to come scatter about the map so far: by ``T = B P B' + r I``, with B the
        masks left, P the posterior variance of the map, and r that of the residuals. They move it by the gain
        ``P B' (B P B' + s I)^-1`` times that, s being the noise. A small movement, of a relative mean square over the
        places, costs half of that in correlation. Movements that keep the map's shape count, so it is rather too large.
        The model takes the scale of the prior as known; where it may as well be 0, nothing is foretold: infinite.

        What is foretold is a mean: how far maps with a tolerance of 3e-4 are from those of all masks is in
        ``benchmarks/results/early-stop.md``. That the last rounds did not move the map is no such sign.

        Args:
            left: (N, K, G) bool, the groups that are not shown yet.
        """
        groups = left.shape[2]
        rest = left.to(self.gram)[..., None, :]  # (N, K, 1, G)
        across = self.gram[..., :groups] * self.known[..., None] * rest  # (N, K, R, G)
        eye = torch.eye(self.gram.shape[2], groups).to(self.gram)
        weights = eye * rest - torch.linalg.solve_ex(self.covariance, across).result  # of `spread`: they give P B'
        sight = (self.gram[..., :groups, :] * rest.mT) @ weights  # B P B'
        size = weights.mT @ (self.spread @ self.spread.mT) @ weights  # B P P B'
        # Both answers to a mask are of the same sum: their mean has half the noise.
        expected, scatter = (sight + eye[:groups] * (v[..., None] / 2) for v in (self.noise, self.residual))
        gained, spread = (torch.linalg.solve_ex(expected, v).result for v in (size, scatter))
        moved = (gained * spread.mT).sum((2, 3))
        shown = self.maps.clamp(min=0)
        total = (shown - shown.mean(-1, keepdim=True)).square().sum(-1)
        return torch.where(moved > 0, moved / (2 * total), 0).masked_fill(~self.fits, torch.inf)

    def rounding(self, used: Tensor, variance: Tensor) -> Tensor:
        """Returns (N, K): what errors of the scores cost the maps, as 1 - the correlation of the positive parts.

        The map is linear in the answers y, but for the noise that is taken from them: it is ``c m + K (y - c H m)``
        with ``K = V H' (H V H' + s I)^-1``, and the scale c is ``(H m)' y / |H m|^2``. So errors e move it by ``P e``,
        ``P = K + (m - K H m) (H m)' / |H m|^2``. Each answer is the difference of two passes' scores, of a mask's and
        of the whole's or of nothing's; errors that are independent of each other add up to the squares of the columns
        of ``P D``, D being these differences. Correlation sees them where the map is positive, about their mean there,
        and across the map: what only scales it costs nothing. What it sees, as a relative square, costs half of that.

        Args:
            used: (N, G) bool, the groups that will have been shown.
            variance: (N, K) that of the errors of one pass's scores, see `error_variance`.
        """
        used = used[:, None]
        counts = torch.cat([used, used, torch.ones_like(used[..., :1])], dim=2).to(self.gram)  # (N, 1, R)
        covariance = self.gram * counts[..., None] * counts[..., None, :]
        covariance = covariance + torch.diag_embed(self.noise.expand_as(self.known))
        gain = torch.linalg.solve_ex(covariance, self.spread * counts[..., None]).result  # (N, K, R, S): K'
        fitted = (self.design @ self.prior[..., None])[..., 0] * counts  # (N, K, R)
        along = (self.prior - (gain.mT @ fitted[..., None])[..., 0])[..., None, :]
        moves = gain + fitted[..., None] * along / fitted.square().sum(-1)[..., None, None]  # P'
        shown = self.maps.clamp(min=0)[:, :, None]
        about = shown - shown.mean(-1, keepdim=True)
        moves = moves * (shown > 0)
        moves = moves - moves.mean(-1, keepdim=True)
        moves = moves - (moves * about).sum(-1, keepdim=True) / about.square().sum(-1, keepdim=True) * about
        inside, outside, whole = moves.tensor_split((used.shape[2], 2 * used.shape[2]), dim=2)
        ends = [side.sum(2, keepdim=True) + whole for side in (inside, outside)]
        squares = torch.cat([inside, outside, *ends], dim=2).square().sum((2, 3))
        lost = squares * variance / (2 * about.square().sum((2, 3)))
        return torch.where(lost.isfinite() & self.fits, lost, torch.inf)


def error_variance(scores: Tensor, others: Tensor, shown: Tensor) -> Tensor:
    """Returns (N, K): the variance of how far other scores of the same passes are off; not finite if two were shown.

    It is taken about a line: what is added to all scores is in no answer, and a factor only scales a map.

    Args:
        scores: (N, M, K).
        others: the same, rounded.
        shown: (N, M) bool, which of them count.
    """
    counts = shown[..., None].to(scores)
    total = counts.sum(1)
    own, error = ((v - ((v * counts).sum(1) / total)[:, None]) * counts for v in (scores, others - scores))
    slope = ((own * error).sum(1) / own.square().sum(1)).nan_to_num()
    return (error - slope[:, None] * own).square().sum(1) / (total - 2)


def _group_masks(masks: Tensor, labels: Tensor, groups: int) -> Tensor:
    """Returns the mean mask of each group (N, G, *spatial); 0 for a group without channels."""
    membership = one_hot(labels, groups).to(masks.dtype)
    size = membership.sum(2, keepdim=True).clamp(min=1)
    return (membership @ masks.flatten(2) / size).unflatten(2, masks.shape[2:])


class _Answers:
    """What each mask alone brings, what is lost without it, and what the whole image brings: asked for as needed.

    Args:
        capture: of N images and K targets.
        H: (N, G, *layer_spatial) masks.
        hidden: what is seen of the input where a mask hides it.
        rounded: whether passes are, see `cfcam.capture.Capture.rescore`.
    """

    def __init__(self, capture: Capture, H: Tensor, hidden: Tensor, *, rounded: bool = False) -> None:
        self._capture, self._H, self._rounded, x = capture, H, rounded, capture.input
        self._parts = hidden, x - hidden, x + hidden
        self._rows = chunk_size(x) * (2 if rounded else 1)
        images = torch.arange(len(x), device=x.device)
        pairs = zip(torch.cat([hidden, x]).split(self._rows), images.repeat(2).split(self._rows), strict=True)
        ends = torch.cat([self._score(*pair) for pair in pairs]).double()
        self._ends = ends.unflatten(0, (2, len(x))).transpose(0, 1)  # (N, 2, K): of nothing and of the whole
        self._sides = ends.new_zeros(len(x), 2, H.shape[1], ends.shape[1])
        self.passes = torch.full((len(x),), 2)

    def ask(self, shown: Tensor) -> None:
        """Runs two passes for each group that is to be shown, (N, G) bool."""
        self.passes += 2 * shown.sum(1).cpu()
        for place in shown.nonzero().split(max(1, self._rows // 2)):
            if len(place) == 0:  # splitting nothing yields one empty part
                continue
            image, group = place.unbind(1)
            seen = self._capture.over_input(self._H[image, group].unsqueeze(1)).to(self._capture.input.dtype)
            hidden, rise, total = (v if len(v) == 1 else v[image] for v in self._parts)
            both = seen.new_empty(2 * len(place), *hidden.shape[1:])  # alone, then what is left of the two pictures
            torch.sub(total, torch.addcmul(hidden, seen, rise, out=both[: len(place)]), out=both[len(place) :])
            scores = self._score(both, image.repeat(2))
            self._sides[image, 0, group], self._sides[image, 1, group] = scores.double().chunk(2)

    @property
    def given(self) -> Tensor:
        """(N, K, 2G+1): anything where nothing was asked."""
        nothing, whole = self._ends[:, :1], self._ends[:, 1:]
        inside, outside = self._sides[:, 0] - nothing, whole - self._sides[:, 1]
        return torch.cat([inside, outside, whole - nothing], dim=1).transpose(1, 2)

    @property
    def scores(self) -> Tensor:
        """(N, 2 + 2G, K): of both ends, and of each side's masks; anything where nothing was asked."""
        return torch.cat([self._ends, self._sides.flatten(1, 2)], dim=1)

    def _score(self, x: Tensor, images: Tensor) -> Tensor:
        """Returns (M, K): log-odds of classes, on which masks add up better than on probabilities; else numbers."""
        values = self._capture.rescore(x, images, probability=True, rounded=self._rounded)
        odds = values.clamp(_EXTREME, 1 - _EXTREME).logit()
        own = torch.zeros(values.shape[1], dtype=torch.bool, device=values.device)
        own[list(self._capture.targets.functions)] = True
        return torch.where(own, values, odds)
