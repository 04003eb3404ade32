"""A way to a place that is held open from one object to the next, for who sends them as they are made."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cfcam.errors import ImageError
from cfcam.exchange.pacs.association import MOST_CONTEXTS, Context, associated
from cfcam.exchange.pacs.http import Web
from cfcam.exchange.pacs.objects import DicomObject
from cfcam.exchange.pacs.outcome import NetworkError, Outcome, Sent
from cfcam.exchange.pacs.place import Access, Place
from cfcam.exchange.pacs.store import contexts_of, not_sent, sent_through
from cfcam.exchange.pacs.stow import stow
from cfcam.imaging.reading.dicom_object import quiet


class Line:
    """An association, or a connection of HTTP; opened when there is something to send, and anew after it broke.

    Of one thread at a time.

    Args:
        place: where it leads.
        access: who one is.
    """

    def __init__(self, place: Place, access: Access) -> None:
        self._place, self._access = place, access
        self._contexts: dict[Context, None] = {}  # of all that was sent so far: the next association takes it, too
        self._open: Any = None
        self._stack = ExitStack()
        self._used = 0.0

    def send(self, file: Path) -> Sent:
        """Sends an object; what the place does is an outcome, as for `cfcam.exchange.pacs.send`.

        Raises:
            MissingExtraError: pynetdicom or requests is not installed.
        """
        with quiet():
            try:
                one = DicomObject.of(file, 0, 1)
            except ImageError as error:
                return Sent(0, "", Outcome.REFUSED, str(error), path=file)
            try:
                sent = self._stowed(one) if self._place.is_web else self._stored(one)
            except NetworkError as error:
                (sent,) = not_sent([one], error)
        self._used = time.monotonic()
        if not sent.done:
            self.close()
        return sent

    def close(self, *, idle_s: float = 0.0) -> None:
        """Closes it, if nothing went through it for so long."""
        if self._open is not None and time.monotonic() - self._used >= idle_s:
            self._open = None
            self._stack.close()

    def _stowed(self, one: DicomObject) -> Sent:
        if self._open is None:
            self._open = self._stack.enter_context(Web(self._place, self._access))
        (sent,) = stow(self._place, [one], self._access, web=self._open)
        return sent

    def _stored(self, one: DicomObject) -> Sent:
        asked = contexts_of([one])
        if self._open is not None and not (self._open.is_established and set(asked) <= set(self._contexts)):
            self.close()
        if len(self._contexts | dict.fromkeys(asked)) > MOST_CONTEXTS:
            self._contexts.clear()
        self._contexts |= dict.fromkeys(asked)
        if self._open is None:
            self._open = self._stack.enter_context(associated(self._place, self._access, list(self._contexts)))
        return sent_through(self._open, one)
