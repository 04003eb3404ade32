"""What becomes of raw maps: whether they can be read, their size, their tables, their shares of regions."""

from cfcam.maps.raw import Status, check_together, ends, evidence_of, heatmaps_of, otsu_threshold, sides_of, statuses_of
from cfcam.maps.shares import RegionShare, RegionShares, region_shares, shares_of

__all__ = [
    "RegionShare",
    "RegionShares",
    "Status",
    "check_together",
    "ends",
    "evidence_of",
    "heatmaps_of",
    "otsu_threshold",
    "region_shares",
    "shares_of",
    "sides_of",
    "statuses_of",
]
