"""When objects were first made, so that the same object has the same bytes each time that it is asked for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom import Dataset


class Moments:
    """When each DICOM object was made first; of more than ``most`` the oldest is forgotten."""

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._known: OrderedDict[str, datetime] = OrderedDict()

    def settle(self, dataset: Dataset) -> None:
        """Lets an object say the moment at which the one of its UID was made first."""
        from cfcam.exchange.dicom.moments import now, say_when_made

        with self._lock:
            moment = self._known.setdefault(str(dataset.SOPInstanceUID), now())
            while len(self._known) > self._most:
                self._known.popitem(last=False)
        say_when_made(dataset, moment)
