"""What is measured: cases of competitors that explain the same pictures, and what issue 3 asks of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks.libraries import PEERS, Adapter, forward, one_after_another, ours
from benchmarks.networks import CLASSES, RESNET18, RESNET50, STAGE_BEFORE, TINY, Subject
from cfcam.methods import ScoreCAM
from cfcam.methods.base import Method

OURS = "cfcam"
BARE = "forward"
GRADIENT_METHODS = ("grad-cam", "grad-cam++", "cf-cam")
POOLED_METHODS = (*GRADIENT_METHODS, "hires-cam", "xgrad-cam", "layer-cam")
FURTHER_METHODS = ("eigen-grad-cam", "shapley-cam", "smooth-grad-cam++", "expected-grad-cam")
# Where a peer computes something else by the same name, so that its map is not expected to be ours.
DIFFERENCES = {
    ("grad-cam++", "torch-cam"): "its alpha is g^2: the division is done on a copy and lost",
    ("score-cam", "pytorch-grad-cam"): "its masks are upsampled with align_corners=True, then scaled",
}
SOFTMAX_FORM = ScoreCAM(score="logit", normalize="softmax")  # what the peers call Score-CAM


@dataclass(frozen=True)
class Competitor:
    """A library's way to the maps of a case.

    Attributes:
        method: what is drawn, as it stands in the table.
        library: by whom.
        adapter: see `benchmarks.libraries`.
        targets: number of targets K.
        reference: competitor (of ours) whose maps these should equal; "": there is none.
        note: what a reader should know.
    """

    method: str
    library: str
    adapter: Adapter
    targets: int = 1
    reference: str = ""
    note: str = ""

    @property
    def key(self) -> str:
        return f"{self.method} | {self.library} | {self.targets}"


@dataclass(frozen=True)
class Row:
    """One line of the table; times in seconds, memory in bytes."""

    case: str
    method: str
    library: str
    batch: int
    targets: int
    median: float
    quartiles: tuple[float, float]
    rounds: int
    ratio: float
    ratio_of_least: float
    memory: int | None = None
    memory_share: float | None = None
    process_share: float | None = None
    agreement: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Verdict:
    """A line of the issue's "must" column, measured. ``value`` has to be at most (or at least) ``limit``."""

    what: str
    value: float
    limit: float
    unit: str = "x"
    at_least: bool = False

    @property
    def passed(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit


Rows = dict[str, Row]


@dataclass(frozen=True)
class Case:
    """Competitors on the same network and pictures, timed in turn.

    Attributes:
        processor_time: whether times are the processor's, which other work on the machine lengthens less.
    """

    name: str
    subject: Subject
    batch: int
    competitors: tuple[Competitor, ...]
    judge: Callable[[Rows], list[Verdict]]
    layer: str = ""
    budget: float = 60.0
    rounds: int = 21
    only_if_named: bool = False
    processor_time: bool = False

    @property
    def all(self) -> tuple[Competitor, ...]:
        """The competitors, behind the bare forward and the same once more, which shows how much times scatter."""
        again = Competitor(f"{BARE} again", "torch", forward, 0, note="how much a ratio scatters")
        return (Competitor(BARE, "torch", forward, 0, note="bare, inference_mode"), again, *self.competitors)


def _ours(method: str, *methods: str | Method, targets: int = 1, note: str = "", reference: str = "") -> Competitor:
    return Competitor(method, OURS, partial(ours, methods=methods or (method,)), targets, reference, note)


def _find(rows: Rows, method: str, targets: int = 1, library: str = OURS) -> Row:
    return rows[f"{method} | {library} | {targets}"]


def _note(method: str, library: str, targets: int) -> str:
    looped = "images one by one: it cannot batch" if (method, library) == ("grad-cam++", "monai") else ""
    one_forward = library == "torch-cam" and targets > 1
    times = f"{targets} backward passes" if one_forward else f"{targets} whole passes" if targets > 1 else ""
    return "; ".join(filter(None, [looped, times, DIFFERENCES.get((method, library), "")]))


def _peers(method: str, targets: int = 1) -> list[Competitor]:
    mine = f"{method} | {OURS} | {targets}"
    return [
        Competitor(method, library, adapter, targets, mine, _note(method, library, targets))
        for library, adapter in PEERS[method].items()
    ]


def _single(method: str, subject: Subject, batch: int) -> Case:
    def judge(rows: Rows) -> list[Verdict]:
        row = _find(rows, method)
        what = f"{method} at the last block, batch {batch}"
        verdicts = [Verdict(f"{what}, x forward", row.ratio, 1.05)] if method == "grad-cam" else []
        return verdicts + (_memory(row, what) if method == "grad-cam" else [])

    rounds = 21 if batch > 1 else 81  # of a pass this short the times scatter by more than what is to be seen
    return Case(f"{method}@{batch}", subject, batch, (_ours(method), *_peers(method)), judge, budget=90, rounds=rounds)


def _memory(row: Row, what: str) -> list[Verdict]:
    shares = {"the pass's own memory": row.memory_share, "the process's memory": row.process_share}
    return [
        Verdict(f"{what}, memory above the forward, of {of}", 100 * share, 15, "%")
        for of, share in shares.items()
        if share is not None
    ]


def _together(subject: Subject, batch: int) -> Case:
    methods = ("cam", *GRADIENT_METHODS)
    name = " + ".join(methods)

    def judge(rows: Rows) -> list[Verdict]:
        return [Verdict(f"{name}, batch {batch}, x forward", _find(rows, name).ratio, 1.4)]

    peers = []
    for library in ("torch-cam", "monai", "pytorch-grad-cam"):
        theirs = {method: PEERS[method][library] for method in methods if library in PEERS.get(method, {})}
        differing = [f"{m}: {DIFFERENCES[m, library]}" for m in theirs if (m, library) in DIFFERENCES]
        note = "; ".join([f"sum of the single ones, one after another: {', '.join(theirs)}", *differing])
        chain = partial(one_after_another, adapters=list(theirs.values()))
        peers.append(Competitor(name, library, chain, 1, f"{name} | {OURS} | 1", note))
    return Case(f"together@{batch}", subject, batch, (_ours(name, *methods), *peers), judge)


def _beyond(name: str, subject: Subject, layer: str, batch: int) -> Case:
    def judge(rows: Rows) -> list[Verdict]:
        row, bare = _find(rows, "cf-cam"), _find(rows, BARE, 0, "torch")
        what = f"cf-cam at {name}, batch {batch}"
        beyond = 1e3 * (row.median - bare.median) / batch
        return [Verdict(f"{what}, beyond the forward, an image", beyond, 25, "ms"), *_memory(row, what)]

    return Case(f"cf-cam-{name}", subject, batch, (_ours("grad-cam"), _ours("cf-cam")), judge, layer)


def _steady(subject: Subject, batch: int) -> Case:
    def judge(rows: Rows) -> list[Verdict]:
        what = f"cf-cam-steady, batch {batch}, x five forwards"
        return [Verdict(what, _find(rows, "cf-cam-steady").ratio / 5, 1.1)]

    return Case(f"cf-cam-steady@{batch}", subject, batch, (_ours("cf-cam"), _ours("cf-cam-steady")), judge)


def _many(subject: Subject, batch: int, targets: int, *, peers: bool) -> Case:
    every = " + ".join(GRADIENT_METHODS)
    groups = {**{m: (m,) for m in GRADIENT_METHODS}, every: GRADIENT_METHODS}
    competitors = [_ours(label, *methods, targets=k) for label, methods in groups.items() for k in (1, targets)]

    def judge(rows: Rows) -> list[Verdict]:
        return [
            Verdict(
                f"{label}, batch {batch}, K = {targets} instead of 1",
                _find(rows, label, targets).median / _find(rows, label).median,
                1.15,
            )
            for label in groups
        ]

    extra = _peers("grad-cam", targets) if peers else []
    return Case(f"targets@{batch}", subject, batch, (*competitors, *extra), judge)


def _all_classes(name: str, subject: Subject, counts: dict[str, int], *, processor_time: bool = False) -> Case:
    """As many classes of the network as are given for a method beside one."""
    notes = {"winsor-cam": "gradients of each class go back through all convolutions"}
    competitors = [_ours(m, targets=k, note=notes.get(m, "")) for m, many in counts.items() for k in (1, many)]

    def judge(rows: Rows) -> list[Verdict]:
        verdicts = []
        for method, many in counts.items():
            one, every = _find(rows, method), _find(rows, method, many)
            what = f"{method}, batch 1, K = {many} instead of 1"
            verdicts.append(Verdict(f"{what}, least times", every.ratio_of_least / one.ratio_of_least, 3))
            if one.memory_share is not None and every.memory_share is not None:
                verdicts.append(Verdict(f"{what}, memory", (1 + every.memory_share) / (1 + one.memory_share), 1.5))
        return verdicts

    return Case(name, subject, 1, tuple(competitors), judge, budget=90, processor_time=processor_time)


def _score_cam(name: str, subject: Subject, channels: int, targets: int, *, only_if_named: bool = False) -> Case:
    exact = f"score-cam | {OURS} | 1"
    softmax = "score-cam, softmax form"
    competitors = [
        _ours("score-cam", note=f"{channels} masked passes, {subject.title}"),
        _ours("score-cam", targets=targets),
        _ours(softmax, SOFTMAX_FORM, note="as the peers define it"),
        *(dataclasses.replace(p, reference=f"{softmax} | {OURS} | 1") for p in _peers("score-cam")),
    ]
    groups = channels // 32 or 1
    approximate = any(field.name == "approximate" for field in dataclasses.fields(ScoreCAM))
    short = f"score-cam, approximate={groups}"
    if approximate:
        competitors.append(_ours(short, ScoreCAM(approximate=groups), reference=exact))

    def judge(rows: Rows) -> list[Verdict]:
        one = _find(rows, "score-cam").median
        many = _find(rows, "score-cam", targets).median
        peers = [row for row in rows.values() if row.method == "score-cam" and row.library != OURS]
        verdicts = [Verdict(f"score-cam, K = {targets} instead of 1", many / one, 1.05)]
        if peers:
            fastest = min(peers, key=lambda row: row.median)
            what = f"score-cam exact against {fastest.library}"
            mine = _find(rows, softmax).median
            verdicts.append(Verdict(f"{what}, time", mine / fastest.median, 0.8))
            verdicts += [
                Verdict(f"score-cam exact against {row.library}, Pearson", row.agreement or 0, 0.9999, "", True)
                for row in peers
                if (row.method, row.library) not in DIFFERENCES
            ]
        if approximate:
            row = _find(rows, short)
            verdicts.append(Verdict(f"{short}, times faster than exact", one / row.median, 20, "x", True))
            verdicts.append(Verdict(f"{short}, Pearson (one phantom)", row.agreement or 0, 0.95, "", True))
        return verdicts

    return Case(name, subject, 1, tuple(competitors), judge, rounds=5, only_if_named=only_if_named)


def _recipro_cam(name: str, subject: Subject, channels: int, *, only_if_named: bool = False) -> Case:
    """Recipro-CAM beside Score-CAM: one pass (behind pooling no other is needed) against one for each channel."""

    def judge(rows: Rows) -> list[Verdict]:
        ratio = _find(rows, "score-cam").median / _find(rows, "recipro-cam").median
        return [Verdict(f"recipro-cam, times faster than exact score-cam, {subject.title}", ratio, 100, "x", True)]

    competitors = (
        _ours("recipro-cam", note=f"one pass: pooling and one linear layer follow, {subject.title}"),
        _ours("score-cam", note=f"2 + {channels} passes"),
    )
    return Case(name, subject, 1, competitors, judge, rounds=3, only_if_named=only_if_named)


def all_cases(*, quick: bool = False) -> list[Case]:
    """Returns the cases; the quick ones are the same on a tiny network."""
    deep, shallow = (TINY, TINY) if quick else (RESNET50, RESNET18)
    large, targets = (2, 3) if quick else (8, 14)
    further = dict.fromkeys(FURTHER_METHODS, CLASSES) | {"winsor-cam": 10}
    cases = [
        *(_single(method, deep, batch) for method in ("grad-cam", "grad-cam++") for batch in (1, large)),
        _together(deep, large),
        _beyond("2048x7x7", deep, deep.layer, large),
        _beyond("1024x14x14", deep, STAGE_BEFORE, large),
        _steady(deep, large),
        _many(deep, 1, targets, peers=True),
        _many(deep, large, targets, peers=False),
        _all_classes("all-classes@1", deep, dict.fromkeys(POOLED_METHODS, CLASSES)),
        _all_classes("all-classes-further@1", deep, further, processor_time=True),
        _score_cam("score-cam", shallow, 48 if quick else 512, targets),
        _recipro_cam("recipro-cam", shallow, 48 if quick else 512, only_if_named=True),
        _recipro_cam("recipro-cam-2048x7x7", deep, 48 if quick else 2048, only_if_named=True),
        _score_cam("score-cam-2048x7x7", deep, 48 if quick else 2048, targets, only_if_named=True),
    ]
    if not quick:
        return cases
    return [dataclasses.replace(case, budget=1.0, rounds=3) for case in cases]


def chosen(cases: Sequence[Case], patterns: Sequence[str] | None) -> list[Case]:
    """Returns the cases whose names match one of the patterns (``grad-cam*``); None: all that need not be named."""
    from fnmatch import fnmatchcase

    if not patterns:
        return [case for case in cases if not case.only_if_named]
    found = [case for case in cases if any(fnmatchcase(case.name, pattern) for pattern in patterns)]
    if not found:
        raise SystemExit(f"no case matches {', '.join(patterns)}; there are: {', '.join(c.name for c in cases)}")
    return found
