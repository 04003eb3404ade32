"""What the scorecard's columns mean in plain words, and what a comparison says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePath

from cfcam.metrics.scorecard.catalogue import METRICS, NAMED, PERTURBATIONS, SIMILARITIES

GROUP_QUESTIONS = {
    "faithfulness": "Does the network's answer depend on what the map marks?",
    "localization": "Does the map lie where the finding is?",
    "robustness": "Does the map stay when what should not matter changes, and move when the answer does?",
    "sanity": "Does the map depend on what the network has learned, and on the class?",
    "trust": "Do other networks, and other images of the class, give the same map?",
    "cost": "What does a map cost?",
    "protocol": "What does the published protocol say? Read above what is wrong with it.",
}
"""Group -> the question that it answers."""

CONTROL_WORDS = {
    "random": "noise, drawn anew for every image: knows nothing",
    "centre": "a blob in the middle of every picture: knows where photographers put things",
    "channel-mean": "what the layer responds to, whatever the class",
    "grad-cam": "the method most people use",
    "blurred-grad-cam": "Grad-CAM made smoother: shows what smoothness alone earns",
}
"""Control -> what it knows."""

KNOW_NOTHING = ("random", "centre", "channel-mean")
"""Controls that do not know which class is explained."""

VERDICTS = ("better", "worse", "no difference shown")
"""What a comparison can come to."""

_PLAIN: dict[str, str] = {
    "average-drop": "How much of the class's probability is lost when only what the map marks is kept.",
    "increase-in-confidence": "Share of images whose class becomes more probable when only what the map marks is kept.",
    "average-gain": "How much of the probability that was lacking is gained when only what the map marks is kept.",
    "coherency": "Whether the map stays the same when the network sees only what the map marks.",
    "complexity": "Mean of the map: how much of the picture it marks.",
    "adcc": "Average Drop, Coherency and Complexity in one number.",
    "road": "Whether removing the most important pixels first hurts more than removing the least important first.",
    "arcc": "ROAD, Coherency and Complexity in one number.",
    "part-removal": "Whether the map marks the parts of a picture in the order of how far the class's score falls in"
    " the same picture made without each; 1 in this order, -1 in the reverse, 0 no relation.",
    "part-removal-ceiling": "What a perfect map earns there on the method's grid: falls painted into their parts.",
    "hit-rate": "Share of images whose hottest point lies in the ground truth.",
    "energy": "Share of the map's heat that lies in the ground truth.",
    "enrichment": "Share of heat in the ground truth, as a multiple of the truth's share of the picture; 1 is chance.",
    "iou-otsu": "Overlap of ground truth and map, the map cut where Otsu's method cuts it.",
    "iou-tuned": "Overlap of ground truth and map, the map cut at a threshold that was tuned on other images.",
    "max-box-acc": "Share of images whose box round the heat overlaps the true box by 30, 50 or 70 %, at the best cut.",
    "auprc": "Average precision of the map's pixels as a detector of the ground truth's.",
    "lesion-coverage": "Share of the separate findings that the map reaches.",
    "false-components": "Number of hot spots away from every finding.",
    "responsiveness": "How much the map moves when a change of the image flips the predicted class.",
    "max-sensitivity": "The largest change of the map under small changes of the image.",
    "peak-shift": "Share of changes that nobody sees (one pixel to each side, JPEG 90, brightness 5 % up and down)"
    " under which the hottest cell of the map stays where it is.",
    "mprt": "Similarity of the map to that of the network with all weights random; a map of learned evidence loses it.",
    "mprt-passed": "Share of images where that similarity is below that of maps of different images.",
    "emprt": "Whether the map becomes more random as the weights do.",
    "class-sensitivity": "How different the maps of the two most probable classes are.",
    "class-agreement": "Whether the maps of the two most probable classes mark places in the same order: 1 if they are"
    " the same map, 0 if they have nothing in common.",
    "repeatability": "Similarity to the map of a second training of the same network.",
    "reproducibility": "Similarity to the map of another architecture.",
    "c-score": "How alike the maps of rightly classified images of one class are.",
    "milliseconds": "Time for one map, with the pass of the network that it needs; of the first batch, the median of"
    " up to five calls after one to warm up.",
    "forward-passes": "How often the network runs for one map.",
    "paper-average-drop": "Fall of the probability when all is black where the map is 0.5 or less; a rise is negative.",
    "paper-average-increase": "Probability of what the map has above 0.3 on grey, minus that of the grey alone.",
    "paper-insertion": "Mean probability while the picture is restored from zeros in 101 steps.",
    "paper-deletion": "Mean probability while the picture is replaced by zeros in 101 steps.",
    "peak-memory": "The most memory in use beyond what the network holds.",
}
_SHOWN = {
    "black": "black",
    "mean": "the mean colour",
    "blur": "a blurred copy",
    "noise": "noise of the picture's mean and contrast",
}

_NEEDS: dict[str, str] = {
    "part-removal": "parts: two or more, with the picture without each",
    "part-removal-ceiling": "parts: two or more, with the picture without each",
    "iou-tuned": "ground truth, --threshold",
    "responsiveness": "images whose class flips",
    "class-sensitivity": "two classes or more",
    "class-agreement": "two classes or more",
    "mprt-passed": "three images or more",
    "repeatability": "a second training (Python)",
    "reproducibility": "another network (Python)",
    "c-score": "labels, two right answers of a class",
}


def meaning(metric: str) -> str:
    """Returns in one sentence what a metric measures."""
    if metric in _PLAIN:
        return _PLAIN[metric]
    for kind, words in _SHOWN.items():
        if metric in NAMED and metric.endswith(f"-{kind}"):
            plain = _PLAIN[metric.removesuffix(f"-{kind}")].removesuffix(".")
            return f"{plain}; what the map leaves out becomes {words}."
        if metric == f"insertion-{kind}":
            return f"Mean probability while the picture is restored from {words}, in the order of the map."
        if metric == f"deletion-{kind}":
            return f"Mean probability while the picture is replaced by {words}, in the order of the map."
        if metric == f"insertion-deletion-{kind}":
            return f"Insertion minus deletion with {words}; 0 is what an order without information earns."
    for key, words in PERTURBATIONS.items():
        for similarity, title in SIMILARITIES.items():
            if metric == f"{key}-{similarity}":
                return f"Similarity ({title}) to the map under {words}, where the prediction stays the same."
    return METRICS[metric].title + "."


def needs(metric: str) -> str:
    """Returns what a metric needs beside the images; empty if nothing."""
    if metric in _NEEDS:
        return _NEEDS[metric]
    if metric in NAMED:
        return "its name, or --baselines"
    if METRICS[metric].group == "localization":
        return "ground truth"
    if metric.startswith("gradient-noise"):
        return "a method that uses gradients"
    return "pictures of 1 or 3 channels" if metric.startswith("jpeg") else ""


def listed(names: Sequence[str], most: int = 4) -> str:
    """Returns ``a, b and 3 more``."""
    if len(names) <= most:
        return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"


def in_words(method: str, reference: str, verdicts: Iterable[tuple[str, str]]) -> str:
    """Returns in one sentence how a method stands beside another.

    Args:
        method: its name.
        reference: the other's name.
        verdicts: metric and verdict ("better", "worse", "no difference shown") of each comparison.
    """
    by: dict[str, list[str]] = {verdict: [] for verdict in VERDICTS}
    for metric, verdict in verdicts:
        by[verdict].append(METRICS[metric].title)
    total = sum(map(len, by.values()))
    if not total:
        return f"{method} and {reference} could not be compared: no image has both their numbers."
    parts = [f"{word} in {len(by[word])} ({listed(by[word])})" for word in ("better", "worse") if by[word]]
    if by[VERDICTS[2]]:
        parts.append(f"no difference shown in {len(by[VERDICTS[2]])}")
    return f"{method} beside {reference}, {total} measures: {', '.join(parts)}."


def case_shown(name: str) -> str:
    """Returns what a case is called on the page: of a whole path, which is of this machine alone, the file.

    Example:
        >>> case_shown("/home/me/scans/a.png"), case_shown("nodule/a.png")
        ('a.png', 'nodule/a.png')
    """
    path = PurePath(name)
    return path.name if path.is_absolute() else name
