"""DICOM over the network, to and from archives: C-STORE, C-FIND, C-GET, and DICOMweb."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cfcam._lazy import lazy

if TYPE_CHECKING:
    from cfcam.exchange.pacs.fetching import fetch
    from cfcam.exchange.pacs.outcome import NetworkError, Outcome, Report, Sent
    from cfcam.exchange.pacs.place import Access, Place, Secret
    from cfcam.exchange.pacs.querying import query
    from cfcam.exchange.pacs.sending import send
    from cfcam.exchange.pacs.wanted import Wanted, listing

__all__ = [
    "Access",
    "NetworkError",
    "Outcome",
    "Place",
    "Report",
    "Secret",
    "Sent",
    "Wanted",
    "fetch",
    "listing",
    "query",
    "send",
]

__getattr__ = lazy(
    __name__,
    {
        "cfcam.exchange.pacs.fetching": "fetch",
        "cfcam.exchange.pacs.outcome": "NetworkError Outcome Report Sent",
        "cfcam.exchange.pacs.place": "Access Place Secret",
        "cfcam.exchange.pacs.querying": "query",
        "cfcam.exchange.pacs.sending": "send",
        "cfcam.exchange.pacs.wanted": "Wanted listing",
    },
)
