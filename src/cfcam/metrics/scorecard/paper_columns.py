"""The protocol of the published CF-CAM: its columns, and what is wrong with it."""

from __future__ import annotations

from cfcam.metrics.scorecard.catalogue import METRICS, PROTOCOL

NAME = "cfcam-paper"
COLUMNS = tuple(info for info in METRICS.values() if info.group == PROTOCOL)
"""The protocol's metrics: no part of "all", so that nobody gets them who does not ask for the protocol."""

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
