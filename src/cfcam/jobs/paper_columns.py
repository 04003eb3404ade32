"""The columns of the protocol of the published CF-CAM, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from cfcam.metrics.catalogue import METRICS, MetricInfo

NAME = "cfcam-paper"
_SOURCE = "arXiv 2504.00060, code"
COLUMNS = (
    MetricInfo("paper-average-drop", "Average Drop (paper)", "protocol", False, "%", _SOURCE),
    MetricInfo("paper-average-increase", "Average Increase (paper)", "protocol", True, "", _SOURCE),
    MetricInfo("paper-insertion", "Insertion AUC (paper)", "protocol", True, "", _SOURCE),
    MetricInfo("paper-deletion", "Deletion AUC (paper)", "protocol", False, "", _SOURCE),
)
"""The protocol's metrics: no part of the catalogue, so that nobody gets them who does not ask for the protocol."""

WRONG = (
    "Average Drop blackens all where the map is 0.5 or less: the size of the region decides, the order in it does not"
    " count. A rise in probability is a negative drop without bound, so that one image can make up for many failures."
    "\n"
    "Average Increase compares with a blank, not with the image, so to mark everything is rewarded; and its grey is"
    " the colour before normalisation, put into an input after it."
    "\n"
    "Insertion and Deletion take equal values in the order of the rows: the many zeros of a map are an order too."
    "\n"
    "A map without evidence is averaged in as if it were one. The same names stand for other numbers in other papers."
).splitlines()
"""What is wrong with the protocol, as the page says it."""


def info_of(metric: str) -> MetricInfo:
    """Returns what is known of a metric of the catalogue or of the protocol."""
    return next((info for info in COLUMNS if info.name == metric), None) or METRICS[metric]


@contextmanager
def catalogued(metrics: Iterable[str]) -> Iterator[None]:
    """Lets a scorecard of these metrics find the protocol's columns in the catalogue, for as long as it computes."""
    wanted = set(metrics)
    added = {info.name: info for info in COLUMNS if info.name in wanted and info.name not in METRICS}
    METRICS.update(added)
    try:
        yield
    finally:
        for name in added:
            del METRICS[name]
