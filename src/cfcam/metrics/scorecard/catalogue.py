"""The scorecard's columns: what each is called, which way is better, and where it is defined."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from cfcam.errors import CfcamError, shown

GROUPS = ("faithfulness", "localization", "robustness", "sanity", "trust", "cost")
PROTOCOL = "protocol"
"""Group of the published CF-CAM's own figures, which is no part of "all"."""
BASELINES = ("black", "mean", "blur", "noise")
ZEROS = "zero"
"""The filling of the published masked picture, x . M: the value 0 of the network's input."""
MASKED = ("average-drop", "increase-in-confidence", "average-gain", "coherency", "adcc", "arcc")
"""Metrics of the picture under the map: as published with zeros beside it, and a column for each baseline."""
MASKING = (*MASKED, "insertion", "deletion", "insertion-deletion")
"""Metrics that depend on what is shown in place of what is removed."""
PERTURBATIONS = {
    "gradient-noise": "noise on the gradients, 3 standard deviations",
    "input-noise": "noise on the input, 0.2 standard deviations",
    "shift": "the input shifted by a sixteenth of its size",
    "jpeg": "the input compressed as JPEG, quality 30",
    "window": "the input's contrast 10 % higher and its brightness shifted by 5 %",
}
SIMILARITIES = {"soft-iou": "soft IoU", "pearson": "Pearson", "ssim": "SSIM"}


class MetricError(CfcamError, ValueError):
    """A metric is unknown, or cannot be computed in this set-up."""


@dataclass(frozen=True)
class MetricInfo:
    """A column of the scorecard.

    Attributes:
        name: as given on the command line and in the tables.
        title: as shown to people.
        group: one of `GROUPS`.
        higher_is_better: the direction; None: neither way is better by itself.
        unit: "%", "ms", "passes", "MiB", or "" for numbers without one.
        source: where it is defined.
        dataset: whether it is a number of all images together, not the mean of one per image.
    """

    name: str
    title: str
    group: str
    higher_is_better: bool | None
    unit: str = ""
    source: str = ""
    dataset: bool = False

    @property
    def arrow(self) -> str:
        """The direction as a sign."""
        return {True: "↑", False: "↓", None: ""}[self.higher_is_better]


def _faithfulness() -> Iterable[MetricInfo]:
    published = "arXiv 1710.11063"
    yield from _masked(MetricInfo("average-drop", "Average Drop", "faithfulness", False, "%", published))
    yield from _masked(
        MetricInfo("increase-in-confidence", "Increase in Confidence", "faithfulness", True, "%", published)
    )
    yield from _masked(MetricInfo("average-gain", "Average Gain", "faithfulness", True, "%", "arXiv 2301.07002"))
    for b in BASELINES:
        yield MetricInfo(f"insertion-{b}", f"Insertion ({b})", "faithfulness", True, "", "arXiv 1806.07421")
        yield MetricInfo(f"deletion-{b}", f"Deletion ({b})", "faithfulness", False, "", "arXiv 1806.07421")
        yield MetricInfo(f"insertion-deletion-{b}", f"Insertion − Deletion ({b})", "faithfulness", True)
    yield from _masked(MetricInfo("coherency", "Coherency", "faithfulness", True, "", "arXiv 2104.10252"))
    yield MetricInfo("complexity", "Complexity", "faithfulness", False, "", "arXiv 2104.10252")
    yield from _masked(MetricInfo("adcc", "ADCC", "faithfulness", True, "", "arXiv 2104.10252"))
    yield MetricInfo("road", "ROAD", "faithfulness", True, "", "arXiv 2202.00449")
    yield from _masked(MetricInfo("arcc", "ARCC", "faithfulness", True, "", "arXiv 2605.14641"))
    yield MetricInfo("part-removal", "Part removal", "faithfulness", True)
    yield MetricInfo("part-removal-ceiling", "Part removal, perfect map", "faithfulness", None)


def _masked(info: MetricInfo) -> Iterable[MetricInfo]:
    """The metric as published, and with each baseline."""
    yield info
    for b in BASELINES:
        yield replace(info, name=f"{info.name}-{b}", title=f"{info.title} ({b})", source=f"after {info.source}")


def _localization() -> Iterable[MetricInfo]:
    yield MetricInfo("hit-rate", "Hit rate", "localization", True, "", "pointing game; Saporta et al. 2022")
    yield MetricInfo("energy", "Energy in ground truth", "localization", True, "", "arXiv 1910.01279")
    yield MetricInfo("enrichment", "Enrichment", "localization", True, "", "CLEVR-XAI")
    yield MetricInfo("iou-otsu", "IoU (Otsu)", "localization", True, "", "Saporta et al. 2022")
    yield MetricInfo("iou-tuned", "IoU (tuned)", "localization", True, "", "Saporta et al. 2022")
    yield MetricInfo("max-box-acc", "MaxBoxAcc v2", "localization", True, "", "arXiv 2001.07437", dataset=True)
    yield MetricInfo("auprc", "AUPRC", "localization", True, "", "Arun et al. 2021")
    yield MetricInfo("lesion-coverage", "Lesion coverage", "localization", True)
    yield MetricInfo("false-components", "False components", "localization", False)


def _robustness() -> Iterable[MetricInfo]:
    for key in PERTURBATIONS:
        for similarity, title in SIMILARITIES.items():
            yield MetricInfo(f"{key}-{similarity}", f"{key.capitalize()} stability ({title})", "robustness", True)
    yield MetricInfo("responsiveness", "Responsiveness", "robustness", True, "", "arXiv 2508.18154")
    yield MetricInfo("max-sensitivity", "Max-sensitivity", "robustness", False, "", "arXiv 1901.09392")
    yield MetricInfo("peak-shift", "Peak stays", "robustness", True)


def _others() -> Iterable[MetricInfo]:
    yield MetricInfo("mprt", "Similarity after randomisation (soft IoU)", "sanity", False, "", "Adebayo et al. 2018")
    yield MetricInfo("mprt-passed", "Randomisation passed", "sanity", True, "", "Arun et al. 2021", dataset=True)
    yield MetricInfo("emprt", "eMPRT", "sanity", True, "", "arXiv 2405.02383")
    yield MetricInfo("class-sensitivity", "Class sensitivity", "sanity", True)
    yield MetricInfo("class-agreement", "Class agreement", "sanity", False, "", "after arXiv 2506.07327")
    yield MetricInfo("repeatability", "Repeatability", "trust", True, "", "Arun et al. 2021")
    yield MetricInfo("reproducibility", "Reproducibility", "trust", True, "", "Arun et al. 2021")
    yield MetricInfo("c-score", "Consistency (C-Score)", "trust", True, "", "arXiv 2604.08502", dataset=True)
    yield MetricInfo("milliseconds", "Time per image", "cost", False, "ms", dataset=True)
    yield MetricInfo("forward-passes", "Forward passes per image", "cost", False, "passes", dataset=True)
    yield MetricInfo("peak-memory", "Peak memory", "cost", False, "MiB", dataset=True)


def _protocol() -> Iterable[MetricInfo]:
    """The published CF-CAM's own figures: only for those who ask for its protocol by name."""
    source = "arXiv 2504.00060, code"
    yield MetricInfo("paper-average-drop", "Average Drop (paper)", PROTOCOL, False, "%", source)
    yield MetricInfo("paper-average-increase", "Average Increase (paper)", PROTOCOL, True, "", source)
    yield MetricInfo("paper-insertion", "Insertion AUC (paper)", PROTOCOL, True, "", source)
    yield MetricInfo("paper-deletion", "Deletion AUC (paper)", PROTOCOL, False, "", source)


METRICS: dict[str, MetricInfo] = {
    info.name: info for make in (_faithfulness, _localization, _robustness, _others, _protocol) for info in make()
}
CATALOGUE = tuple(name for name, info in METRICS.items() if info.group != PROTOCOL)
"""Names that can be asked for."""
NAMED = frozenset(f"{metric}-{kind}" for metric in MASKED for kind in BASELINES)
"""Those that are part of neither "all" nor a group: measured where they are named, or their baseline is."""
QUICK = (
    "average-drop",
    "coherency",
    "complexity",
    "adcc",
    "insertion-blur",
    "deletion-blur",
    "insertion-deletion-blur",
    "hit-rate",
    "energy",
    "enrichment",
    "gradient-noise-soft-iou",
    "input-noise-soft-iou",
    "class-sensitivity",
    "milliseconds",
    "forward-passes",
)
"""The default choice: every group that needs neither a second network nor hundreds of passes."""


def columns(metric: str) -> dict[str, str]:
    """Returns baseline -> name, of the columns of one of `MASKING`; `ZEROS` is the first of one of `MASKED`."""
    published = {ZEROS: metric} if metric in MASKED else {}
    return published | {kind: f"{metric}-{kind}" for kind in BASELINES}


def with_baselines(names: Iterable[str], baselines: Iterable[str]) -> tuple[str, ...]:
    """Returns the names, and with them each masking metric among them once more for each of some baselines.

    Args:
        names: as for `resolve_metrics`.
        baselines: of `BASELINES`.

    Raises:
        MetricError: a name or a baseline is unknown, or no masking metric is among the names.
    """
    given, kinds = tuple(names), tuple(baselines)
    if unknown := [kind for kind in kinds if kind not in BASELINES]:
        raise MetricError(f"no baseline is called {unknown[0]!r}: there are {', '.join(BASELINES)}")
    asked = set(resolve_metrics(given))
    masking = [m for m in MASKING if not asked.isdisjoint(columns(m).values())]
    if kinds and not masking:
        raise MetricError(
            f"baselines are for {', '.join(MASKING)}, and no metric that was asked for is one of them: add"
            f" insertion-deletion-{kinds[0]}"
        )
    more = [columns(m)[kind] for m in masking for kind in kinds]
    return (*given, *(name for name in more if name not in asked))


def resolve_metrics(names: str | Iterable[str] = "quick") -> tuple[str, ...]:
    """Returns the names of columns, in the order of `METRICS`.

    Args:
        names: names of metrics, of groups, "quick" or "all".

    Raises:
        MetricError: a name is unknown; the nearest are offered.
    """
    chosen: set[str] = set()
    several = [names] if isinstance(names, str) or not isinstance(names, Iterable) else list(names)
    if wrong := [name for name in several if not isinstance(name, str)]:
        raise MetricError(f"a metric is called {shown(wrong[0])}: give names, as cfcam metrics lists them")
    for name in several:
        if name == "all":
            chosen |= set(CATALOGUE) - NAMED
        elif name == "quick":
            chosen |= set(QUICK)
        elif name in GROUPS:
            chosen |= {info.name for info in METRICS.values() if info.group == name} - NAMED
        elif name in CATALOGUE:
            chosen.add(name)
        else:
            known = [*CATALOGUE, *GROUPS, "quick", "all"]
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or [*GROUPS, "quick", "all"]
            raise MetricError(f"no metric is called {name!r}; nearest: {', '.join(near)} (all: cfcam metrics)")
    if not chosen:
        raise MetricError(f"no metric given: choose of {', '.join((*GROUPS, 'quick', 'all'))}")
    return tuple(name for name in METRICS if name in chosen)
